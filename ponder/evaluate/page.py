"""Pages that load nothing and run nothing: a frame, tables and pictures. Every text is escaped here."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1d2129; --dim: #667085; --paper: #fff; --line: #dfe3ea; --bad: #b42318 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --dim: #98a2b3; --paper: #12151b; --line: #2c323d;
  --bad: #f97066 } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem }
p { max-width: 60rem } .dim { color: var(--dim) }
img { max-width: 100%; height: auto }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums }
th, td { padding: .22rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--dim); font-weight: 600 } td:first-child, th:first-child, .left { text-align: left }
.bad { color: var(--bad); font-weight: 600 }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: .5rem 2rem; margin: .6rem 0 }
.pair pre { margin: .1rem 0 .3rem; white-space: pre-wrap } .good { color: #1a7f37; font-weight: 600 }
details { margin: .1rem 0 }
pre { overflow-x: auto; font-size: .82rem; border-left: 3px solid var(--line); padding-left: .8rem }
</style>
</head>
<body>
<h1>$title</h1>
<p class="dim">$about</p>
$parts
</body>
</html>
""")


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
    return f'<picture>{source}<img src="{data(light)}" alt="{escaped(title)}"></picture>'
