"""Reads contexts: computes their keys and values, each context once, behind what is known of its beginning."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ponder.engine.decoder import Decoder
from ponder.engine.spans import Span, cut, empty_span, token_bytes
from ponder.engine.store import Ids, Store, Whole
from ponder.model.heads import Head, doubts
from ponder.model.network import Causal
from ponder.types import Surprise

READ_AT_ONCE = 8192
"""Most context tokens of one step and of one pass, padding included, so that reading does not hold up the decoding; of
a single longer context a step reads so many, and the next step goes on."""


class Known(NamedTuple):
    """What may be known of a context before it is read."""

    shared: int
    """So many of its first tokens are worth remembering for other contexts."""
    after: Sequence[Ids] = ()
    """Earlier contexts that it goes on from, as far as they are the same; the first that is remembered counts."""


class Read(NamedTuple):
    """What is known of a context."""

    spans: Sequence[Span]
    logits: Tensor
    """(V,), of what comes first."""
    hidden: Tensor
    """(hidden,), the trunk's output at its end."""
    known: int
    """So many of its first tokens did not have to be computed."""


def version_of(parameters: Iterable[Tensor]) -> int:
    """A number that changes when the trainer of this process changes the weights in place."""
    return sum(parameter._version for parameter in parameters)


class Reader:
    """Reads with one network, and remembers beginnings within a budget of memory."""

    def __init__(self, network: Causal, decoder: Decoder, head: Head | None, most_bytes: int) -> None:
        self._network, self._decoder, self._head = network, decoder, head
        self._parameters = tuple(network.parameters())  # finding them takes longer than asking them all
        self._device, self._dtype = self._parameters[0].device, self._parameters[0].dtype
        self._store = Store(most_bytes)
        self._version = -1
        self._begun: tuple[Ids, Span] | None = None
        """A long context, and what was read of it so far."""
        self.at_once = min(READ_AT_ONCE, most_bytes // token_bytes(network.shape, self._dtype))
        """Most tokens of one pass."""
        self.read_tokens = 0
        """Context tokens that had to be computed so far; the others were known."""

    @property
    def bytes(self) -> int:
        """Memory that is taken by what is remembered, and by a context that is read in parts."""
        return self._store.bytes + (self._begun[1].bytes if self._begun else 0)

    def refresh(self) -> bool:
        """Forget everything if the trainer has changed the weights in place; says whether it has."""
        version = version_of(self._parameters)
        changed, self._version = version != self._version, version
        if changed:
            self._store.clear()
            self._begun = None
        return changed

    def forget(self) -> None:
        """The weights have changed where `refresh` cannot see it: in another process."""
        self._version = -1

    def begin(self, context: Ids, known: Known) -> bool:
        """Read the next part of a context that is too long for one pass; False where the rest of it is not."""
        if self._store.whole(context):
            return False
        _, before = self._known(context, *known)
        if len(context) - before.tokens <= self.at_once:
            return False
        part = context[before.tokens :][: self.at_once]
        ((span, _, _),) = self._compute([(before, part)])
        self._begun = context, before.joined(span)
        return True

    def give_up(self, context: Ids) -> None:
        """Nobody waits for this context any more: let go what was read of it so far."""
        if self._begun and self._begun[0] == context:
            self._begun = None

    def read(self, contexts: Mapping[Ids, Known]) -> dict[Ids, Read]:
        """What is to be known of these contexts."""
        read = {ids: found for ids in contexts if (found := self._whole(ids))}
        missing = [ids for ids in contexts if ids not in read]
        known = [self._known(ids, *contexts[ids]) for ids in missing]
        parts = [(span, ids[span.tokens :]) for (_, span), ids in zip(known, missing, strict=True)]
        for ids, (base, before), (span, logits, hidden) in zip(missing, known, self._compute(parts), strict=True):
            read[ids] = Read((before, span), logits, hidden, before.tokens)
            self._remember(ids, contexts[ids].shared, base, read[ids])
            self.give_up(ids)
        return read

    def _whole(self, context: Ids) -> Read | None:
        """A context that is known to its end: one sample begins from it after the other, or a search goes back."""
        if found := self._store.whole(context):
            spans, whole = found
            return Read(spans, whole.logits, whole.hidden, len(context))
        return None

    def _known(self, context: Ids, shared: int, after: Sequence[Ids]) -> tuple[Ids, Span]:
        """The kept beginning that a context goes on from, and as much of it as they share: at most all but the
        context's last token, which must be read to know its end."""
        if self._begun and self._begun[0] == context:
            return (), self._begun[1]
        for ids in (context[:shared], *after):
            if ids and (found := self._store.find(ids)):
                return ids, found.first(min(_common(ids, context), len(context) - 1))
        return (), empty_span(self._network.shape, self._device, self._dtype)

    def _remember(self, context: Ids, shared: int, base: Ids, read: Read) -> None:
        """Keep the part that other contexts share, once, and this context behind it."""
        before, span = read.spans
        if before.tokens < shared - 1:
            self._store.keep(context[:shared], before.joined(span).first(shared))
        base, behind = (context[:shared], shared) if shared else (base, before.tokens if base else 0)
        tail = tuple(cut(read.spans, behind))
        self._store.keep_whole(context, Whole(base, behind, tail, read.logits, read.hidden))

    def _compute(self, parts: list[tuple[Span, Ids]]) -> list[tuple[Span, Tensor, Tensor]]:
        """For tokens behind known spans: their spans, and the logits and the trunk's output after the last one."""
        found: dict[int, tuple[Span, Tensor, Tensor]] = {}
        sizes = [span.tokens + len(ids) for span, ids in parts]
        order = sorted(range(len(parts)), key=lambda index: sizes[index])
        while order:
            group = order[-max(1, self.at_once // sizes[order[-1]]) :]
            del order[-len(group) :]
            known, new = zip(*(parts[index] for index in group), strict=True)
            spans, hidden, logits = self._decoder.read(known, new)
            self.read_tokens += sum(map(len, new))
            results = zip(spans, logits, hidden, strict=True)
            found |= zip(group, results, strict=True)
        return [found[index] for index in range(len(parts))]

    def rate(self, hidden: Tensor, surprises: Sequence[Sequence[Surprise | None]]) -> list[tuple[float, float] | None]:
        """Value and validity of (n, hidden), where the blocks up to there have had these surprises."""
        if self._head is None:
            return [None] * len(hidden)
        told = torch.tensor([doubts(one) for one in surprises], device=hidden.device)
        return [(value, validity) for value, validity in self._head(hidden, told).sigmoid().tolist()]


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many first tokens are the same."""
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
