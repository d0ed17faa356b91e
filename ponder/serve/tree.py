"""A search's tree on the wire, for who asks for it: shape, ratings and counts, and of texts only what was kept.

Nothing discarded is shown, unless the operator exposes thoughts: then headlines, summaries and answers of all
candidates are. Raw thoughts are in neither.
"""

from typing import Any

from ponder.serve.worker import Tried
from ponder.types import Node, Rating, Tree

GROWN = "ponder.tree.grown"
"""The event of one more candidate. Clients that did not ask for the tree never see it."""


def grown(event: Tried) -> dict[str, Any]:
    """A candidate as it comes: whether it is kept is known only at the end."""
    told = {"id": event.id, "parent": event.parent, "kind": "answer" if event.answers else "block"}
    return told | _rated(event.rating) | {"tokens": event.tokens}


def told(tree: Tree, *, discarded: bool) -> dict[str, Any]:
    """The whole tree; with the texts of what was discarded only where those may be shown."""
    nodes = [_node(node, texts=node.kept or discarded) for node in tree.nodes]
    return {"search": tree.search, "effort": tree.effort, "nodes": nodes}


def _node(node: Node, *, texts: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {"id": node.id, "parent": node.parent, "kind": _kind(node), "kept": node.kept}
    shape |= _rated(node.rating) | {"tokens": node.tokens.kept, "visits": node.visits, "same_as": node.same_as}
    if texts and node.block:
        shape |= {"headline": node.block.headline, "summary": node.block.summary}
    if texts and node.answer is not None:
        shape |= {"answer": node.answer}
    return shape


def _kind(node: Node) -> str:
    if node.lost:
        return "lost"
    if node.answer is not None:
        return "answer"
    return "block" if node.block else "end"


def _rated(rating: Rating | None) -> dict[str, Any]:
    return {"value": round(rating.value, 4), "validity": round(rating.validity, 4)} if rating else {}
