"""What was read before, within a budget of memory: beginnings of contexts, and whole contexts that stand behind them.

A beginning is kept once, however many contexts go on from it: of a whole context only what follows is kept, with what
the network said at its end. So to go on from a state that is known costs nothing.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ponder.engine.spans import Span

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Whole:
    """A context that was read to its end."""

    base: Ids
    """The beginning, kept by itself, that it stands behind; empty where it stands alone."""
    behind: int
    """So many of the beginning's tokens are its own too."""
    tail: tuple[Span, ...]
    """What follows them."""
    logits: Tensor
    """(V,), of what comes next."""
    hidden: Tensor
    """(hidden,), the trunk's output at its end."""

    @property
    def bytes(self) -> int:
        """Memory it takes, the beginning's apart."""
        ends = sum(x.numel() * x.element_size() for x in (self.logits, self.hidden))
        return ends + sum(span.bytes for span in self.tail)

    def copied(self) -> "Whole":
        """The same, holding on to nothing else."""
        tail = tuple(span.copied() for span in self.tail)
        return replace(self, tail=tail, logits=self.logits.clone(), hidden=self.hidden.clone())


class Store:
    """Spans and whole contexts by their tokens; what was not used for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[bool, Ids], Span | Whole] = OrderedDict()
        """By whether it is a whole context, and its tokens."""

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.bytes = 0

    def find(self, ids: Ids) -> Span | None:
        """The span of exactly these tokens."""
        found = self._find((False, ids))
        assert not isinstance(found, Whole)
        return found

    def keep(self, ids: Ids, span: Span) -> None:
        """Remember a span."""
        if self._fits((False, ids), span):
            self._add((False, ids), span.copied())

    def whole(self, ids: Ids) -> tuple[Sequence[Span], Whole] | None:
        """All spans of a context that was read to its end, and that end."""
        whole = self._find((True, ids))
        if whole is None:
            return None
        assert isinstance(whole, Whole)
        if not whole.base:
            return whole.tail, whole
        base = self.find(whole.base)
        return ((base.first(whole.behind), *whole.tail), whole) if base else None

    def keep_whole(self, ids: Ids, whole: Whole) -> None:
        """Remember a whole context, unless the beginning that it stands behind is not remembered."""
        if self._fits((True, ids), whole) and (not whole.base or self.find(whole.base)):
            self._add((True, ids), whole.copied())

    def _find(self, key: tuple[bool, Ids]) -> Span | Whole | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _fits(self, key: tuple[bool, Ids], what: Span | Whole) -> bool:
        return key not in self._kept and what.bytes <= self.most_bytes

    def _add(self, key: tuple[bool, Ids], what: Span | Whole) -> None:
        self._kept[key] = what
        self.bytes += what.bytes
        while self.bytes > self.most_bytes:
            self.bytes -= self._kept.popitem(last=False)[1].bytes
