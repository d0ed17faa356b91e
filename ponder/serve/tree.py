"""A search's tree on the wire, for who asks for it: shape, ratings and counts, and of texts only what was kept.

Nothing discarded is shown, unless the operator exposes thoughts: then headlines, summaries and answers of all
candidates are. Raw thoughts are in neither.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.interfaces import Extension, Prefix
from ponder.search.tree import spent
from ponder.types import Node, Rating, Tree

GROWN = "ponder.tree.grown"
"""The event of one more candidate. Clients that did not ask for the tree never see it."""


@dataclass(frozen=True)
class Tried:
    """A search has one more candidate."""

    id: int
    """In the order of coming."""
    parent: int | None
    """The candidate that it goes on from; None for the question."""
    rating: Rating | None
    tokens: int
    answers: bool


@dataclass(eq=False)
class Growing:
    """Tells of each candidate, as the search asks its sampler for it."""

    tell: Callable[[Tried], None]
    _count: int = 0
    _numbers: dict[tuple[int, ...], int] = field(default_factory=dict[tuple[int, ...], int])
    """By their blocks, which the search keeps: two candidates that read the same are two."""

    def hear(self, prefix: Prefix, extensions: Sequence[Extension]) -> None:
        """One more of each; where thinking only ended, there is nothing to tell."""
        place = tuple(map(id, prefix.blocks))
        for one in extensions:
            if one.block is None and one.answer is None:
                continue
            self.tell(Tried(self._count, self._numbers.get(place), one.rating, spent(one).kept, one.block is None))
            if one.block:
                self._numbers[(*place, id(one.block))] = self._count
            self._count += 1


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
