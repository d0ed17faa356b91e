"""Keys and values of the rows that decode, behind the prompts they share.

A slot is one row of a dense buffer, so that a decoding step reads it without any gathering. What is copied into it is
short: the prompt that a row shares with others stands apart (`prompts.py`), and folds have a few dozen tokens. Copying
those takes a small part of one decoding step, where pages read through a table would have to be gathered at every step
and every layer (`benchmarks/engine.py` measures both).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.engine.prompts import Look, Prompts, Spot, attention
from ponder.engine.spans import Span
from ponder.model.sizes import Sizes

GROWTH = 64
"""Columns by which the slots grow: memory follows what is generated, not what might be."""
PARTS, SMALLEST_PART = 4, 16
"""Into how many parts attention divides the rows, and how few rows are not worth it."""


def columns_of(tokens: int) -> int:
    """Columns of a buffer that holds so many tokens."""
    return -(-tokens // GROWTH) * GROWTH


class Slots:
    """The cache of the decoding rows, (L, S, K, T, D), behind the prompts they share. An `Attend` of the network for
    one new token a row.

    Attention reads a part of the rows at a time, up to that part's longest row: sorted by length, little is read in
    vain.
    """

    def __init__(self, shape: Sizes, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        size = (shape.num_hidden_layers, 0, shape.num_key_value_heads, 0, shape.head_dim)
        self.keys, self.values = torch.zeros(2, *size, dtype=dtype, device=device)
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)
        """(S,), tokens of each row that are in its slot."""
        self.behind = torch.zeros(0, dtype=torch.long, device=device)
        """(S,), tokens of the prompts before them."""
        self.prompts = Prompts(shape, device, dtype)
        self.changes = 0
        """How often a row has joined, left or moved."""
        self.spots: list[Spot | None] = []
        """Of each row's prompt; None where it stands in the slot with the rest."""
        self._standing = Standing(self.keys, self.values, (self.lengths, self.lengths), (), ())
        self._looks: list[Look] = []
        self._looked = -1
        """At how many changes these looks were made."""

    @property
    def rows(self) -> int:
        """Slots there are, used or free."""
        return self.keys.shape[1]

    @property
    def columns(self) -> int:
        """Tokens that each of them has room for."""
        return self.keys.shape[3]

    @property
    def tokens(self) -> int:
        """Tokens that rows and shared prompts have room for."""
        return self.rows * self.columns + self.prompts.tokens

    @property
    def positions(self) -> Tensor:
        """(S, 1), of each row's next token."""
        return (self.behind + self.lengths)[:, None]

    def columns_for(self, tokens: int) -> int:
        """Columns there will be when a row has so many tokens."""
        return max(self.columns, columns_of(tokens))

    def columns_of(self, slots: Sequence[int]) -> int:
        """Columns that these rows need."""
        lengths = self.lengths.tolist()
        return columns_of(max((lengths[slot] for slot in slots), default=0))

    def tokens_with(self, slots: Sequence[int]) -> int:
        """Tokens that these rows alone would have room for, each with one more of its own."""
        lengths = self.lengths.tolist()
        columns = self.columns_for(1 + max(lengths[slot] for slot in slots))
        return len(slots) * columns + self.prompts.tokens_of(self.spots[slot] for slot in slots)

    def clean(self) -> None:
        """Take out what is not finite: a free row's leavings must not meet the next one's mask."""
        self.prompts.clean()
        self.keys.nan_to_num_(0.0, 0.0, 0.0)
        self.values.nan_to_num_(0.0, 0.0, 0.0)

    def reserve(self, rows: int, tokens: int) -> None:
        """Make room for at least so many rows, and so many tokens in each."""
        more_rows, more_columns = max(0, rows - self.rows), self.columns_for(tokens) - self.columns
        if more_rows or more_columns:
            pad = (0, 0, 0, more_columns, 0, 0, 0, more_rows)
            self.keys = F.pad(self.keys, pad)
            self.values = F.pad(self.values, pad)
            self.lengths, self.behind = F.pad(self.lengths, (0, more_rows)), F.pad(self.behind, (0, more_rows))
            self.spots += [None] * more_rows
            self.changes += 1

    def put(self, slot: int, *spans: Span, prompt: Spot | None = None, behind: int = 0) -> None:
        """Fill a slot with spans, one after the other, behind a prompt of so many tokens that has been joined."""
        start, self.spots[slot], self.behind[slot] = 0, prompt, behind
        self.changes += 1
        for span in spans:
            self.keys[:, slot, :, start : start + span.tokens] = span.keys
            self.values[:, slot, :, start : start + span.tokens] = span.values
            start += span.tokens
        self.lengths[slot] = start

    def free(self, slots: Sequence[int]) -> None:
        """Nothing of these rows is needed any more."""
        at = torch.tensor(slots, dtype=torch.long, device=self.lengths.device)
        self.lengths[at], self.behind[at] = 0, 0
        for slot in slots:
            if spot := self.spots[slot]:
                self.prompts.leave(spot)
                self.spots[slot] = None
                self.changes += 1

    def keep(self, slots: Tensor) -> None:
        """Drop all rows but these, which move to the front in this order, and the columns that none of them needs."""
        kept = slots.tolist()
        columns = self.columns_of(kept)
        self.free(sorted(set(range(self.rows)) - set(kept)))
        moved = self.prompts.compact()
        self.spots = [spot and moved[spot] for spot in (self.spots[slot] for slot in kept)]
        self.changes += 1
        self.lengths, self.behind = self.lengths[slots], self.behind[slots]
        self.keys = self.keys[:, slots, :, :columns]
        self.values = self.values[:, slots, :, :columns]

    def grow(self) -> None:
        """Before a step: room for one more token in every row."""
        self.reserve(self.rows, int(self.lengths.max()) + 1)

    def prepare(self) -> None:
        """Before a step as an `Attend`: room for its tokens, and where all rows stand."""
        self.grow()
        lengths, heads = self.lengths.tolist(), self.keys.shape[2]
        at = self.lengths if heads == 1 else self.lengths.repeat_interleave(heads)
        size = -(-self.rows // (PARTS if self.rows >= PARTS * SMALLEST_PART else 1))
        parts: list[tuple[slice, int, Tensor]] = []
        for start in range(0, self.rows, size):
            part = slice(start, min(start + size, self.rows))
            end = max(lengths[part]) + 1
            beyond = torch.arange(end, device=self.lengths.device) > self.lengths[part, None]
            mask = torch.zeros(beyond.shape, dtype=self.keys.dtype, device=beyond.device).masked_fill(
                beyond, -torch.inf
            )
            mask = mask.repeat_interleave(heads, dim=0)[:, None]
            parts.append((slice(part.start * heads, part.stop * heads), end, mask))
        if self._looked != self.changes:
            self._looks, self._looked = self.prompts.looks(self.spots), self.changes
        heads_of = torch.arange(len(at), device=at.device), at
        self._standing = Standing(self.keys.flatten(1, 2), self.values.flatten(1, 2), heads_of, parts, self._looks)

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Keep each row's new token and look at all of the row's tokens."""
        return self._standing(layer, queries, keys, values)


@dataclass(frozen=True)
class Standing:
    """Where all rows stand while one token of each goes through the network: its `Attend`."""

    keys: Tensor
    values: Tensor
    """(L, S * K, T, D)"""
    at: tuple[Tensor, Tensor]
    """Where each head's new token goes: (S * K,) twice."""
    parts: Sequence[tuple[slice, int, Tensor]]
    """Of the heads of rows that attention takes together, their last column, and the mask of each row's own columns."""
    looks: Sequence[Look]

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Keep each row's new token and look at all of the row's tokens."""
        (S, _, H, D), k, v = queries.shape, self.keys[layer], self.values[layer]
        k.index_put_(self.at, keys.reshape(-1, D).to(k.dtype))
        v.index_put_(self.at, values.reshape(-1, D).to(v.dtype))
        # The heads that share keys are one row's queries at the same place: so they are read once for all of them.
        q, looking = queries.reshape(len(k), -1, D), bool(self.looks)
        found = [attention(q[part], k[part, :end], v[part, :end], mask, looking) for part, end, mask in self.parts]
        own = (torch.cat([one for one, _ in found]) if len(found) > 1 else found[0][0]).view(S, H, D)
        if looking:
            sums = torch.cat([one for _, one in found if one is not None]).view(S, H)
            for look in self.looks:  # a row has one prompt at most
                theirs, their_sums = look(layer, queries[:, 0])
                share = (sums[look.rows] - their_sums).sigmoid()[..., None].to(own.dtype)
                own[look.rows] = torch.lerp(theirs, own[look.rows], share)
        return own[:, None]
