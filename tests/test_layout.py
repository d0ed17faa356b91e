"""The structure is a promise: imports point only upward in this list, and torch stays where it is needed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ponder"
ORDER = (
    ("errors", "types", "interfaces", "seeds"),
    ("text",),
    ("sandbox",),
    ("tasks",),
    ("model",),
    ("engine",),
    ("search",),
    ("think",),
    ("reward",),
    ("runs",),
    ("train",),
    ("evaluate",),
    ("serve",),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
TORCH = (
    "model/",
    "engine/local.py",
    "engine/decoder.py",
    "engine/native/",
    "engine/reading.py",
    "engine/sampling.py",
    "engine/kv_cache.py",
    "engine/parallel.py",
    "engine/prompts.py",
    "engine/reader.py",
    "engine/spans.py",
    "engine/store.py",
    "engine/chances.py",
    "engine/grammar.py",
    "engine/graphs.py",
    "engine/rows.py",
    "engine/scheduler.py",
    "engine/form.py",
    "engine/folding.py",
    "engine/paragraphs.py",
    "reward/head.py",
    "train/",
)
ARRAYS = ("evaluate/resampling.py", "evaluate/confidence.py")
"""What needs numpy alone: bootstraps of statistics that a thousand plain loops would take minutes for."""
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Dotted names of every import in a file, function-level ones included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide the direction"
            yield node.module
            if node.module == "ponder":
                yield from (f"ponder.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_upward(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts == ("__init__",):
        return
    own = parts[0]
    assert own in RANK, f"{own} is not in the layout"
    for name in imported(path):
        pieces = name.split(".")
        if pieces[0] == "ponder" and len(pieces) > 1 and pieces[1] in RANK:
            assert RANK[pieces[1]] <= RANK[own], f"{path.name} imports {name}, which lies below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_stays_in_its_place(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    if not name.startswith(TORCH):
        heavy = {"torch", "transformers", "numpy", "numba"} & {module.split(".")[0] for module in imported(path)}
        heavy -= {"numpy"} if name in ARRAYS else set()
        assert not heavy, f"{name} imports {', '.join(heavy)}"


def test_markers_live_in_format_alone() -> None:
    for path in FILES:
        if path.name != "format.py":
            found = re.search(r"<\|[a-z]", path.read_text(encoding="utf-8"))
            assert not found, f"{path} spells a marker: format.py owns them"
