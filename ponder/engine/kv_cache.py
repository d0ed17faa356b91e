"""Keys and values: slots for the rows that decode, and a store of prompts that many rows begin with.

A slot is one row of a dense buffer, so that a decoding step reads its cache without any gathering. A row that begins
with something known copies it in: at these sizes copying a hundred tokens takes a small part of one decoding step,
where pages read through a table would have to be gathered at every step and every layer (`benchmarks/engine.py`).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.model.sizes import Sizes

GROWTH = 64
"""Columns by which the slots grow: memory follows what is generated, not what might be."""
PARTS, SMALLEST_PART = 4, 16
"""Into how many parts attention divides the rows, and how few rows are not worth it."""


@dataclass(frozen=True)
class Span:
    """Keys and values of some consecutive tokens, (L, K, t, D) each."""

    keys: Tensor
    values: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens it holds."""
        return self.keys.shape[2]

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def first(self, tokens: int) -> "Span":
        """The part of it that holds its first tokens, at most all of them."""
        return Span(self.keys[:, :, :tokens], self.values[:, :, :tokens])

    def joined(self, other: "Span") -> "Span":
        """Both, one after the other."""
        if not self.tokens:
            return other
        return Span(torch.cat((self.keys, other.keys), dim=2), torch.cat((self.values, other.values), dim=2))


def empty_span(shape: Sizes, device: torch.device) -> Span:
    """A span of no tokens."""
    size = (shape.num_hidden_layers, shape.num_key_value_heads, 0, shape.head_dim)
    return Span(torch.zeros(size, device=device), torch.zeros(size, device=device))


def token_bytes(shape: Sizes) -> int:
    """What one token of one row takes in float32."""
    return 8 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim


def columns(tokens: int) -> int:
    """Columns of a buffer that holds so many tokens."""
    return -(-tokens // GROWTH) * GROWTH


class Slots:
    """The cache of the decoding rows, (L, S, K, T, D). An `Attend` of the network for one new token a row.

    Attention reads a part of the rows at a time, up to that part's longest row: sorted by length, little is read in
    vain.
    """

    def __init__(self, shape: Sizes, device: torch.device) -> None:
        size = (shape.num_hidden_layers, 0, shape.num_key_value_heads, 0, shape.head_dim)
        self.keys, self.values = torch.zeros(size, device=device), torch.zeros(size, device=device)
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)
        """(S,), tokens of each row that are in the cache."""
        self._rows = self.lengths
        self._parts: list[tuple[slice, int, Tensor]] = []

    @property
    def rows(self) -> int:
        """Slots there are, used or free."""
        return self.keys.shape[1]

    @property
    def columns(self) -> int:
        """Tokens that each of them has room for."""
        return self.keys.shape[3]

    def columns_for(self, tokens: int) -> int:
        """Columns there will be when a row has so many tokens."""
        return max(self.columns, columns(tokens))

    def columns_of(self, slots: Sequence[int]) -> int:
        """Columns that these rows need."""
        lengths = self.lengths.tolist()
        return columns(max((lengths[slot] for slot in slots), default=0))

    def clean(self) -> None:
        """Take out what is not finite: a free row's leavings must not meet the next one's mask."""
        self.keys.nan_to_num_(0.0, 0.0, 0.0)
        self.values.nan_to_num_(0.0, 0.0, 0.0)

    def reserve(self, rows: int, tokens: int) -> None:
        """Make room for at least so many rows, and so many tokens in each."""
        more_rows, more_columns = max(0, rows - self.rows), self.columns_for(tokens) - self.columns
        if more_rows or more_columns:
            pad = (0, 0, 0, more_columns, 0, 0, 0, more_rows)
            self.keys = F.pad(self.keys, pad)
            self.values = F.pad(self.values, pad)
            self.lengths = F.pad(self.lengths, (0, more_rows))

    def put(self, slot: int, *spans: Span) -> None:
        """Fill a slot with spans, one after the other."""
        start = 0
        for span in spans:
            self.keys[:, slot, :, start : start + span.tokens] = span.keys
            self.values[:, slot, :, start : start + span.tokens] = span.values
            start += span.tokens
        self.lengths[slot] = start

    def keep(self, slots: Tensor) -> None:
        """Drop all rows but these, which move to the front in this order, and the columns that none of them needs."""
        columns = self.columns_of(slots.tolist())
        self.lengths = self.lengths[slots]
        self.keys = self.keys[:, slots, :, :columns]
        self.values = self.values[:, slots, :, :columns]

    def prepare(self) -> None:
        """Before a step: each part's heads of rows, its last column, and the mask of each row's own columns."""
        lengths, heads = self.lengths.tolist(), self.keys.shape[2]
        self.reserve(self.rows, max(lengths) + 1)
        self._rows = torch.arange(self.rows, device=self.lengths.device)
        size = -(-self.rows // (PARTS if self.rows >= PARTS * SMALLEST_PART else 1))
        self._parts = []
        for start in range(0, self.rows, size):
            part = slice(start, min(start + size, self.rows))
            end = max(lengths[part]) + 1
            beyond = torch.arange(end, device=self.lengths.device) > self.lengths[part, None]
            mask = torch.zeros(beyond.shape, device=beyond.device).masked_fill(beyond, -torch.inf)
            mask = mask.repeat_interleave(heads, dim=0)[:, None]
            self._parts.append((slice(part.start * heads, part.stop * heads), end, mask))

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Keep each row's new token and look at all of the row's tokens."""
        self.keys[layer][self._rows, :, self.lengths] = keys[:, 0].to(self.keys.dtype)
        self.values[layer][self._rows, :, self.lengths] = values[:, 0].to(self.values.dtype)
        # The heads that share keys are one row's queries at the same place: so they are read once for all of them.
        S, _, H, D = queries.shape
        q = queries.reshape(S * keys.shape[2], -1, D)
        k, v = self.keys[layer].flatten(0, 1), self.values[layer].flatten(0, 1)
        found = [_look(q[part], k[part, :end], v[part, :end], mask.to(q.dtype)) for part, end, mask in self._parts]
        return (torch.cat(found) if len(found) > 1 else found[0]).view(S, 1, H, D)


def _look(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of (n, G, D) over (n, t, D) as two products: three times as fast as torch's own on a CPU where so few
    queries share keys (`LOG.md`, 2026-11-21)."""
    chances = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=queries.shape[-1] ** -0.5).softmax(dim=-1)
    return torch.bmm(chances, values)


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


class Store:
    """Spans by the tokens that they begin a context with; the one not used for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._spans: OrderedDict[tuple[int, ...], Span] = OrderedDict()

    def clear(self) -> None:
        """Forget everything."""
        self._spans.clear()
        self.bytes = 0

    def find(self, ids: tuple[int, ...]) -> Span | None:
        """The span of exactly these tokens."""
        if ids in self._spans:
            self._spans.move_to_end(ids)
        return self._spans.get(ids)

    def keep(self, ids: tuple[int, ...], span: Span) -> None:
        """Remember a span (a copy of its own, so that it holds on to nothing else)."""
        if ids in self._spans or span.bytes > self.most_bytes:
            return
        self._spans[ids] = Span(span.keys.clone(), span.values.clone())
        self.bytes += span.bytes
        while self.bytes > self.most_bytes:
            self.bytes -= self._spans.popitem(last=False)[1].bytes
