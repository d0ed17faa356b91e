"""README.md beside this file: `benchmarks.engine` writes its beginning, the others a section each, between marks."""

from pathlib import Path

PAGE = Path(__file__).parent / "README.md"
FIRST = "\n<!-- "


def begin(text: str, page: Path = PAGE) -> None:
    """Write what comes before all sections."""
    _, mark, sections = page.read_text(encoding="utf-8").partition(FIRST)
    page.write_text(text + mark + sections, encoding="utf-8")


def place(name: str, text: str, page: Path = PAGE) -> None:
    """Write a section in its place, at the end where it has none."""
    marks, old = (f"<!-- {name} -->", f"<!-- /{name} -->"), page.read_text(encoding="utf-8")
    new = f"{marks[0]}\n{text.strip()}\n{marks[1]}"
    if marks[0] in old:
        before, rest = old.split(marks[0], 1)
        page.write_text(before + new + rest.split(marks[1], 1)[1], encoding="utf-8")
    else:
        page.write_text(old.rstrip("\n") + "\n\n" + new + "\n", encoding="utf-8")
