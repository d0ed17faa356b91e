"""The parts of a report's page: tables and pictures. Every text is escaped here."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from ponder.evaluate.plots import DPI
from ponder.text.document import document

_STYLE = """
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem }
p { max-width: 60rem }
img { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: .8rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums }
th, td { padding: .22rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--dim); font-weight: 600 } td:first-child, th:first-child, .left { text-align: left }
td.bad, .good { font-weight: 600 } .good { color: var(--kept) }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: .5rem 2rem; margin: .6rem 0 }
.pair pre { margin: .1rem 0 .3rem; white-space: pre-wrap }
details { margin: .1rem 0 }
pre { overflow-x: auto; font-size: .82rem; border-left: 3px solid var(--line); padding-left: .8rem }
"""


def page(title: str, about: str, parts: Sequence[str]) -> str:
    """The page of these parts, which are HTML."""
    head = [f"<h1>{escaped(title)}</h1>", f'<p class="dim">{escaped(about)}</p>']
    return document(title, _STYLE, "\n".join([*head, *parts]))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Cells are texts and are escaped; a cell that begins with ! is shown as bad."""

    def cell(tag: str, number: int, text: str) -> str:
        kinds = [kind for kind, on in (("left", number < left), ("bad", text.startswith("!"))) if on]
        named = f' class="{" ".join(kinds)}"' if kinds else ""
        return f"<{tag}{named}>{escaped(text.removeprefix('!'))}</{tag}>"

    lines = ["".join(cell("th", number, text) for number, text in enumerate(titles))]
    lines += ["".join(cell("td", number, text) for number, text in enumerate(row)) for row in rows]
    return f'<div class="wide"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def escaped(text: str) -> str:
    """A text as it may stand in a page."""
    return escape(text)


def picture(light: bytes, dark: bytes, title: str) -> str:
    """A picture that is part of the page, in the one of its two forms that suits the reader's screen."""

    def data(png: bytes) -> str:
        return f"data:image/png;base64,{b64encode(png).decode()}"

    source = f'<source media="(prefers-color-scheme: dark)" srcset="{data(dark)}">'
    width = int.from_bytes(light[16:20]) * 96 // DPI  # as a PNG's head tells it, in CSS pixels
    return f'<picture>{source}<img src="{data(light)}" width="{width}" alt="{escaped(title)}"></picture>'
