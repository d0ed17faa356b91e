"""README.md beside this file: `benchmarks.engine` writes its beginning, the others a section each, between marks."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "README.md"
FIRST = "\n<!-- "
"""What the first section begins with."""


def begin(text: str, page: Path = PAGE) -> None:
    """Write what comes before all sections."""
    _, mark, sections = page.read_text(encoding="utf-8").partition(FIRST)
    page.write_text(text + mark + sections, encoding="utf-8")


def place(name: str, text: str, page: Path = PAGE) -> None:
    """Write a section in its place, at the end where it has none."""
    page.write_text(placed(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def placed(page: str, name: str, text: str) -> str:
    """A page with a section's text in its place."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = f"{first}\n{text.strip()}\n{last}"
    if first in page:
        before, rest = page.split(first, 1)
        return before + whole + rest.split(last, 1)[1]
    return page.rstrip("\n") + "\n\n" + whole + "\n"


def publish(found: Mapping[str, Any], results: Path, name: str, text: str) -> None:
    """Write results, and their section in its place."""
    results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    place(name, text)


def commit() -> str:
    """Which code is measured."""
    asked = ["git", "-C", str(PAGE.parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
