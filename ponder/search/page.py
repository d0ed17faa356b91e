"""A search's tree as one page of HTML that stands alone, with every text of the model's escaped."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from string import Template

from ponder.text.document import document
from ponder.types import Completion, Ended, Node, Tree

LONGEST = 140
"""Characters of a node's line."""

_STYLE = """
h1 { font-size: 1.15rem; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 .75rem }
.answer { border-left: 4px solid var(--kept); border-radius: .3rem; background: var(--glow); color: var(--ink);
  padding: .6rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1.1rem }
.answer.bad { border-color: var(--bad) }
dl { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0 }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .35rem .8rem }
dt { color: var(--dim); font-size: .78rem } dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600 }
label { color: var(--dim); font-size: .9rem; cursor: pointer }
details { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: .35rem 0 }
details.kept { border-color: var(--kept) } details.kept > summary { background: var(--glow) }
summary { display: flex; gap: .6rem; align-items: baseline; padding: .35rem .7rem; cursor: pointer;
  border-radius: .5rem; list-style: none }
summary::-webkit-details-marker { display: none }
summary::before { content: "▸"; color: var(--dim) } details[open] > summary::before { content: "▾" }
.line { flex: 1; min-width: 0; overflow-wrap: anywhere } .kept > summary .line { font-weight: 600 }
.side { color: var(--dim); font-size: .8rem; white-space: nowrap; font-variant-numeric: tabular-nums }
.tag { color: var(--kept); font-size: .78rem } .lost .line, .lost .tag { color: var(--bad) }
.bar { flex: none; align-self: center; width: 6rem; height: .55rem; border-radius: .3rem; background: var(--track);
  overflow: hidden } .bar i { display: block; height: 100% }
.text { padding: 0 1rem .6rem; white-space: pre-wrap; overflow-wrap: anywhere }
.thoughts { color: var(--dim); border-left: 2px solid var(--line); padding-left: .7rem; margin: .3rem 0 }
.fork { border-left: 2px solid var(--line); margin: .35rem 0 .35rem .8rem; padding-left: .7rem }
details > .run { padding: 0 .5rem .3rem }
body:has(#only:checked) details:not(.kept) { display: none }
@media (max-width: 40rem) { .bar { width: 3rem } .side { display: none } }
"""

_BODY = Template("""\
<h1>$question</h1>
<div class="answer$bad">$answer</div>
<dl>$counts</dl>
<p><label><input type="checkbox" id="only"> only what was kept</label></p>
<main>
$tree
</main>""")


def page(completion: Completion, *, thoughts: bool = False) -> str:
    """The page of a completion that carries its tree; raw thoughts only where they were asked for."""
    tree = completion.tree
    assert tree is not None
    question = tree.messages[-1].content
    finished = completion.ended is Ended.ANSWERED
    body = _BODY.substitute(
        question=_text(question),
        answer=_text(completion.answer) if finished else _text(f"no finished answer ({completion.ended})"),
        bad="" if finished else " bad",
        counts="".join(
            f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in _counts(completion, tree)
        ),
        tree="\n".join(_tree(tree, thoughts)),
    )
    return document(_cut(f"{tree.search}: {question}"), _STYLE, body)


def _text(text: str) -> str:
    return escape(text)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _counts(completion: Completion, tree: Tree) -> list[tuple[str, str]]:
    tokens = completion.tokens
    lost = sum(bool(node.lost) for node in tree.nodes)
    return [
        ("search", tree.search),
        ("effort", tree.effort),
        ("candidates", f"{len(tree.nodes):,}" + (f", {lost:,} lost" if lost else "")),
        ("kept: thinking", f"{tokens.thinking:,} tokens"),
        ("kept: answer", f"{tokens.answer:,} tokens"),
        ("discarded", f"{tokens.discarded:,} tokens"),
        ("prompt", f"{tokens.prompt:,} tokens"),
        ("read", f"{sum(node.tokens.prompt for node in tree.nodes):,} tokens, {tokens.cached:,} of them cached"),
    ]


def _tree(tree: Tree, thoughts: bool) -> Iterator[str]:
    """The nodes, depth first: an only child follows its parent, several lie in a fork, each with all that follows it.

    By a stack, not by recursion: a chain may have more blocks than Python has frames.
    """
    below: dict[int | None, list[Node]] = {}
    for node in tree.nodes:
        below.setdefault(node.parent, []).append(node)
    todo: list[str | tuple[Node, bool]] = []
    _put(todo, below.get(None, ()))
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
            continue
        node, forked = one
        yield from _node(node, thoughts, forked)
        if forked:
            todo.append("</div></details>")
        _put(todo, below.get(node.id, ()))


def _put(todo: list[str | tuple[Node, bool]], children: Sequence[Node]) -> None:
    """What comes next, the first on top."""
    if len(children) == 1:
        todo.append((children[0], False))
    elif children:
        todo.append("</div>")
        todo.extend((child, True) for child in reversed(children))
        todo.append('<div class="fork">')


def _node(node: Node, thoughts: bool, forked: bool) -> Iterator[str]:
    """One node's lines; where it is one of several, what follows it goes inside."""
    kind = " ".join(name for name, on in (("kept", node.kept), ("lost", bool(node.lost))) if on)
    yield f'<details class="{kind}"{" open" if forked and node.kept else ""}>'
    bar = ""
    if node.rating:
        share = 100 * node.rating.value
        colour = f"hsl({1.3 * share:.0f} 65% var(--light))"
        bar = f'<span class="bar"><i style="width:{share:.0f}%;background:{colour}"></i></span>'
    tags = "".join(f'<span class="tag">{_text(tag)}</span>' for tag in _tags(node))
    yield f'<summary>{bar}<span class="line">{_text(_cut(_line(node, thoughts)))}</span>{tags}'
    yield f'<span class="side">{_text(_side(node))}</span></summary>'
    yield f'<div class="text">{"".join(_body(node, thoughts))}</div>'
    yield '<div class="run">' if forked else "</details>"


def _line(node: Node, thoughts: bool) -> str:
    if node.lost and not node.block:
        return f"lost: {node.lost}"
    if node.answer is not None:
        return f"answer: {node.answer}" if node.ended is Ended.ANSWERED else f"no finished answer ({node.ended})"
    if node.block is None:
        return "thinking ended"
    return node.block.headline or (node.block.thoughts if thoughts else "a paragraph")


def _tags(node: Node) -> Iterator[str]:
    if node.kept:
        yield "kept"
    if node.lost:
        yield "lost"
    if node.same_as is not None:
        yield f"same as {node.same_as}"


def _side(node: Node) -> str:
    parts: Mapping[str, bool] = {
        f"value {node.rating.value:.2f}, validity {node.rating.validity:.2f}" if node.rating else "": True,
        f"{node.visits} visits": node.visits > 0,
        f"{node.tokens.kept:,} tokens": True,
        f"#{node.id}": True,
    }
    return " · ".join(part for part, shown in parts.items() if shown and part)


def _body(node: Node, thoughts: bool) -> Iterator[str]:
    if node.block and thoughts and node.block.thoughts:
        yield f'<div class="thoughts">{_text(node.block.thoughts)}</div>'
    if node.block and node.block.summary:
        yield f"= {_text(node.block.summary)}"
    if node.answer is not None:
        yield _text(node.answer)
    if node.lost:
        yield f"<div>lost: {_text(node.lost)}</div>"
