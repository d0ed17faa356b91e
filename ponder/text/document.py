"""Pages that stand alone: nothing to load, nothing that runs, and one look, in light and in dark.

The page's own policy forbids scripts and all connections, so that even a text that slipped through could do nothing.
"""

from html import escape
from string import Template

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1e24; --dim: #6a7280; --paper: #fbfaf8; --card: #fff; --line: #e3e0da;
  --track: #e9e6e0; --kept: #0d7d63; --glow: #e5f4ee; --bad: #b42318; --light: 42% }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e9ec; --dim: #98a0ad; --paper: #15171b; --card: #1e2126;
  --line: #2e323a; --track: #2a2e36; --kept: #4cc9a0; --glow: #17312a; --bad: #f97066; --light: 55% } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 Inter, system-ui, sans-serif }
.dim { color: var(--dim) } .bad { color: var(--bad) }
$style
</style>
</head>
<body>
$body
</body>
</html>
""")


def document(title: str, style: str, body: str) -> str:
    """The page; `title` is a text, `style` CSS beside the common one, and `body` HTML whose texts are escaped."""
    return _PAGE.substitute(title=escape(title), style=style.strip(), body=body)
