"""Where `--tree` goes: all that a search tried, as a page or as JSON."""

import json
from pathlib import Path

from ponder.errors import ConfigError
from ponder.runs import write_whole
from ponder.search.page import page
from ponder.types import Completion

PAGES = (".html", ".json")
"""What a tree is written as, by the file's ending."""


def check_tree(file: Path | None) -> None:
    """Refuse a file that a tree cannot be written to, before anything is thought."""
    if file is None:
        return
    if file.suffix not in PAGES:
        raise ConfigError(f"--tree {file} ends in neither {' nor '.join(PAGES)}: name it tree.html or tree.json")
    if file.is_dir() or not file.parent.is_dir():
        raise ConfigError(f"--tree {file} cannot be written: {file.parent} must be a directory, and {file.name} a file")


def write_tree(file: Path, completion: Completion, show_thoughts: bool) -> None:
    """All that a search tried, as a page or as JSON; raw thoughts only where they were asked for."""
    assert completion.tree
    if file.suffix == ".html":
        write_whole(file, page(completion, thoughts=show_thoughts))
        return
    told = {"answer": completion.answer, "ended": completion.ended, "tokens": vars(completion.tokens)}
    write_whole(
        file, json.dumps(told | completion.tree.to_json(thoughts=show_thoughts), indent=2, ensure_ascii=False) + "\n"
    )
