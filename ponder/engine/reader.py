"""Reads contexts: computes their keys and values, each context once, behind what is known of its beginning."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.engine.spans import Span, Store, empty_span, token_bytes
from ponder.model.heads import Head
from ponder.model.network import Causal

READ_AT_ONCE = 8192
"""Most context tokens of one step and of one pass, padding included, so that reading does not hold up the decoding; a
single longer context has a step of its own."""


class Known(NamedTuple):
    """What may be known of a context before it is read."""

    shared: int
    """So many of its first tokens are worth remembering for other contexts."""
    after: Sequence[tuple[int, ...]] = ()
    """Earlier contexts that it goes on from, as far as they are the same; the first that is remembered counts."""


class Read(NamedTuple):
    """What is known of a context."""

    spans: tuple[Span, ...]
    logits: Tensor
    """(V,), of what comes first."""
    rating: tuple[float, float] | None
    """Value and validity at its end, where there is a head."""
    known: int
    """So many of its first tokens did not have to be computed."""


def version_of(network: Causal) -> int:
    """A number that changes when the trainer of this process changes the weights in place."""
    return sum(parameter._version for parameter in network.parameters())


class Reader:
    """Reads with one network, and remembers beginnings within a budget of memory."""

    def __init__(self, network: Causal, head: Head | None, most_bytes: int) -> None:
        self._network, self._head = network, head
        self._device = next(network.parameters()).device
        self._store = Store(most_bytes)
        self._version = -1
        self.at_once = min(READ_AT_ONCE, most_bytes // token_bytes(network.shape))
        """Most tokens of one pass."""
        self.read_tokens = 0
        """Context tokens that had to be computed so far; the others were known."""

    @property
    def bytes(self) -> int:
        """Memory that the remembered prompts take."""
        return self._store.bytes

    def refresh(self) -> bool:
        """Forget everything if the trainer has changed the weights in place; says whether it has."""
        version = version_of(self._network)
        changed, self._version = version != self._version, version
        if changed:
            self._store.clear()
        return changed

    def forget(self) -> None:
        """The weights have changed where `refresh` cannot see it: in another process."""
        self._version = -1

    def read(self, contexts: Mapping[tuple[int, ...], Known]) -> dict[tuple[int, ...], Read]:
        """What is to be known of these contexts."""
        known = [self._known(context, *found) for context, found in contexts.items()]
        parts = [(span, context[span.tokens :]) for span, context in zip(known, contexts, strict=True)]
        read: dict[tuple[int, ...], Read] = {}
        for (context, (shared, _)), before, (span, logits, rating) in zip(
            contexts.items(), known, self._compute(parts), strict=True
        ):
            read[context] = Read((before, span), logits, rating, before.tokens)
            if before.tokens < shared - 1:
                self._store.keep(context[:shared], before.joined(span).first(shared))
        return read

    def _known(self, context: tuple[int, ...], shared: int, after: Sequence[tuple[int, ...]]) -> Span:
        """What the store has of a context, at most all but its last token, which is always read."""
        for ids in (context[:shared], *after):
            if ids and (found := self._store.find(ids)):
                return found.first(min(_common(ids, context), len(context) - 1))
        return empty_span(self._network.shape, self._device)

    def _compute(
        self, parts: list[tuple[Span, tuple[int, ...]]]
    ) -> list[tuple[Span, Tensor, tuple[float, float] | None]]:
        """For tokens behind known spans: their spans, and the logits and the rating after the last one."""
        found: dict[int, tuple[Span, Tensor, tuple[float, float] | None]] = {}
        sizes = [span.tokens + len(ids) for span, ids in parts]
        order = sorted(range(len(parts)), key=lambda index: sizes[index])
        while order:
            group = order[-max(1, self.at_once // sizes[order[-1]]) :]
            del order[-len(group) :]
            known, new = zip(*(parts[index] for index in group), strict=True)
            width = max(map(len, new))
            reading = Reading(known, [len(ids) for ids in new])
            ids = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in new], device=self._device)
            hidden = self._network.hidden(ids, reading.positions, reading)
            last = hidden[torch.arange(len(group)), torch.tensor(reading.new) - 1]
            self.read_tokens += sum(reading.new)
            results = zip(reading.spans(), self._network.logits(last).float(), self.rate(last), strict=True)
            found |= zip(group, results, strict=True)
        return [found[index] for index in range(len(parts))]

    def rate(self, hidden: Tensor) -> list[tuple[float, float] | None]:
        """Value and validity of (n, hidden)."""
        if self._head is None:
            return [None] * len(hidden)
        return [(value, validity) for value, validity in self._head(hidden).sigmoid().tolist()]


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many first tokens are the same."""
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


class Reading:
    """Contexts being read together, each behind a span that is known. An `Attend` of the network.

    Known parts are padded to P columns, the n rows of new tokens to w; what follows a row's last token is not used.
    """

    def __init__(self, known: Sequence[Span], new: Sequence[int]) -> None:
        width, past = max(new), max(span.tokens for span in known)
        device = known[0].keys.device
        self.new = tuple(new)
        self._known = [
            torch.stack([F.pad(half(span), (0, 0, 0, past - span.tokens)) for span in known], dim=1)
            for half in (lambda span: span.keys, lambda span: span.values)
        ]
        behind = torch.tensor([span.tokens for span in known], device=device)
        columns = torch.arange(width, device=device)
        seen = torch.arange(past, device=device) < behind[:, None]
        causal = (columns[:, None] >= columns).expand(len(known), -1, -1)
        self._mask = torch.cat((seen[:, None, :].expand(-1, width, -1), causal), dim=2)[:, None]
        ends = torch.tensor(self.new, device=device)[:, None] - 1
        self.positions = behind[:, None] + torch.minimum(columns, ends)
        """(n, w); padding stands at its row's last place, since some networks know no position beyond their window."""
        layers, _, heads, _, dim = self._known[0].shape
        self._new = [torch.zeros(layers, len(known), heads, width, dim, device=device) for _ in range(2)]

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Look at what is known and at the new tokens before one's own."""
        new = keys.transpose(1, 2), values.transpose(1, 2)
        for kept, x in zip(self._new, new, strict=True):
            kept[layer] = x  # a copy: the tensor that it is a part of can go
        k, v = (torch.cat((known[layer].to(x.dtype), x), dim=2) for known, x in zip(self._known, new, strict=True))
        q = queries.transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask, enable_gqa=True).transpose(1, 2)

    def spans(self) -> list[Span]:
        """What was read, a span for each row, once the network has gone through."""
        keys, values = self._new
        return [Span(keys[:, row, :, :t], values[:, row, :, :t]) for row, t in enumerate(self.new)]
