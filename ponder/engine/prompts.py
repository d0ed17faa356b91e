"""Prompts that several rows share: their keys and values are held once, and read once a step for all of their rows.

The queries of all rows that begin with a prompt are one matrix against its keys; what they find there is merged with
what they find among their own tokens by the sums of the two softmaxes (Hydragen, Juravsky et al. 2024). To fork a row
is to name its prompt.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.engine.spans import Span
from ponder.model.sizes import Sizes

SHORTEST = 64
"""Columns of the shelf of the shortest prompts; the next one has twice as many, and so on."""


class Spot(NamedTuple):
    """Where a prompt stands."""

    columns: int
    """Of its shelf."""
    number: int
    """On it."""


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, sums: bool) -> tuple[Tensor, Tensor | None]:
    """Attention of (n, G, D) over (n, t, D) under a mask (n, 1, t); returns (n, G, D), and (n, G), the logarithm of
    the softmax's sum, where it is asked for.

    As two products: three times as fast as torch's own on a CPU where so few queries share keys (`LOG.md`, 2026-11-21).
    The softmax is computed in float32.
    """
    scores = torch.baddbmm(mask.to(queries.dtype), queries, keys.transpose(1, 2), alpha=queries.shape[-1] ** -0.5)
    if not sums:
        return torch.bmm(scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype), values), None
    scores = scores.float()
    most = scores.amax(dim=-1, keepdim=True)
    scores = scores.sub_(most).exp_()
    total = scores.sum(dim=-1, keepdim=True)
    found = torch.bmm(scores.to(values.dtype), values) / total
    return found.to(values.dtype), (most + total.log())[..., 0]


@dataclass(eq=False)
class Shelf:
    """Prompts of like lengths, (L, P, K, T, D)."""

    keys: Tensor
    values: Tensor
    users: list[int] = field(default_factory=list[int])
    """Rows of each; with none its number is free."""
    ids: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])

    @property
    def room(self) -> int:
        """Prompts that it has room for."""
        return self.keys.shape[1]

    def more(self) -> int:
        """How many prompts it would grow by for one more; none where a number is free."""
        return 0 if 0 in self.users or len(self.users) < self.room else _more(self.room)


@dataclass(frozen=True)
class Look:
    """The rows that share prompts of one shelf."""

    shelf: Shelf
    count: int
    """So many prompts, from the first on, are read; those without rows in vain."""
    rows: Tensor | slice
    """(n,), or all of them."""
    at: Tensor
    """(n,), each row's prompt times `most`, plus its rank among that prompt's rows."""
    most: int
    """Most rows of one prompt."""
    mask: Tensor
    """(P * K, 1, T)"""
    inside: Tensor | None = None
    """(n,), which of the rows do share one, where others are among them."""

    def __call__(self, layer: int, queries: Tensor) -> tuple[Tensor, Tensor]:
        """For queries (S, H, D) of all rows, what `rows` find in their prompts: (n, H, D), and the sums (n, H)."""
        _, H, D = queries.shape
        P, K = self.count, self.shelf.keys.shape[2]
        sides = (P, self.most, K, H // K, D)
        q = queries.new_zeros(P * self.most, H, D)
        q[self.at] = queries[self.rows]
        q = q.view(sides).transpose(1, 2).reshape(P * K, -1, D)
        k, v = self.shelf.keys[layer, :P].flatten(0, 1), self.shelf.values[layer, :P].flatten(0, 1)
        found, sums = attention(q, k, v, self.mask, True)
        assert sums is not None
        found = found.view(P, K, self.most, H // K, D).transpose(1, 2).reshape(-1, H, D)
        sums = sums.view(P, K, self.most, H // K).transpose(1, 2).reshape(-1, H)[self.at]
        return found[self.at], sums if self.inside is None else sums.masked_fill(~self.inside[:, None], -torch.inf)


class Prompts:
    """The prompts that rows share at this moment, on shelves by length."""

    def __init__(self, shape: Sizes, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self._size = shape.num_hidden_layers, shape.num_key_value_heads, shape.head_dim
        self._device, self._dtype = device, dtype
        self._shelves: dict[int, Shelf] = {}
        self._spots: dict[tuple[int, ...], Spot] = {}

    @property
    def tokens(self) -> int:
        """Tokens that the shelves have room for."""
        return sum(columns * shelf.room for columns, shelf in self._shelves.items())

    @property
    def users(self) -> int:
        """Rows that share a prompt."""
        return sum(sum(shelf.users) for shelf in self._shelves.values())

    @property
    def shelves(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values (L, P, K, T, D) of all prompts, by the columns of their spots."""
        return {columns: (shelf.keys, shelf.values) for columns, shelf in self._shelves.items()}

    def tokens_of(self, spots: Iterable[Spot | None]) -> int:
        """Tokens that shelves with these prompts alone would have room for."""
        return sum(spot.columns for spot in {spot for spot in spots if spot})

    def growth(self, prompts: Iterable[tuple[int, ...]]) -> int:
        """By how many tokens the shelves would grow for these prompts together."""
        joining = Counter(_columns(len(ids)) for ids in set(prompts) if ids not in self._spots)
        grown = 0
        for columns, count in joining.items():
            shelf = self._shelves.get(columns)
            room = before = shelf.room if shelf else 0
            count -= shelf.users.count(0) + room - len(shelf.users) if shelf else 0
            while count > 0:
                more = _more(room)
                room, count = room + more, count - more
            grown += columns * (room - before)
        return grown

    def join(self, ids: tuple[int, ...], spans: Iterable[Span]) -> Spot:
        """One more row begins with this prompt, whose keys and values these are."""
        if ids in self._spots:
            spot = self._spots[ids]
            self._shelves[spot.columns].users[spot.number] += 1
            return spot
        columns = _columns(len(ids))
        shelf = self._shelves.get(columns) or self._new_shelf(columns)
        if more := shelf.more():
            shelf.keys, shelf.values = (F.pad(x, (0, 0, 0, 0, 0, 0, 0, more)) for x in (shelf.keys, shelf.values))
        if 0 not in shelf.users:
            shelf.users.append(0)
            shelf.ids.append(())
        spot = Spot(columns, shelf.users.index(0))
        shelf.users[spot.number], shelf.ids[spot.number] = 1, ids
        start = 0
        for span in spans:
            shelf.keys[:, spot.number, :, start : start + span.tokens] = span.keys
            shelf.values[:, spot.number, :, start : start + span.tokens] = span.values
            start += span.tokens
        assert start == len(ids)
        self._spots[ids] = spot
        return spot

    def leave(self, spot: Spot) -> None:
        """One of a prompt's rows is gone."""
        shelf = self._shelves[spot.columns]
        shelf.users[spot.number] -= 1
        if not shelf.users[spot.number] and self._spots.get(shelf.ids[spot.number]) == spot:
            del self._spots[shelf.ids[spot.number]]

    def forget(self) -> None:
        """No further row may join these prompts: the weights have changed."""
        self._spots.clear()

    def compact(self) -> Mapping[Spot, Spot]:
        """Drop the prompts without rows; returns where the others stand now."""
        moved: dict[Spot, Spot] = {}
        for columns, shelf in list(self._shelves.items()):
            used = [number for number, users in enumerate(shelf.users) if users]
            if not used:
                del self._shelves[columns]
                continue
            for new, old in enumerate(used):
                moved[Spot(columns, old)] = Spot(columns, new)
                if self._spots.get(shelf.ids[old]) == Spot(columns, old):
                    self._spots[shelf.ids[old]] = Spot(columns, new)
            if len(used) < shelf.room:
                shelf.keys, shelf.values = shelf.keys[:, used], shelf.values[:, used]
            shelf.users = [shelf.users[number] for number in used]
            shelf.ids = [shelf.ids[number] for number in used]
        return moved

    def clean(self) -> None:
        """Take out what is not finite: leavings must not meet the next prompt's mask."""
        for shelf in self._shelves.values():
            shelf.keys.nan_to_num_(0.0, 0.0, 0.0)
            shelf.values.nan_to_num_(0.0, 0.0, 0.0)

    def looks(self, spots: Sequence[Spot | None]) -> list[Look]:
        """How rows with these prompts, one spot a row, look at them."""
        return [
            self._look(columns, shelf, rows)
            for columns, shelf in self._shelves.items()
            if (rows := [(row, spot.number) for row, spot in enumerate(spots) if spot and spot.columns == columns])
        ]

    def _look(self, columns: int, shelf: Shelf, rows: list[tuple[int, int]]) -> Look:
        ranks = [0] * len(shelf.users)
        at: list[tuple[int, int]] = []
        for _, number in rows:
            at.append((number, ranks[number]))
            ranks[number] += 1
        most, count = max(ranks), max(number for _, number in rows) + 1
        # An empty number's scores must be finite, though nobody hears them.
        lengths = torch.tensor([max(1, len(ids)) for ids in shelf.ids[:count]], device=self._device)
        beyond = torch.arange(columns, device=self._device) >= lengths[:, None]
        mask = torch.zeros(beyond.shape, device=self._device).masked_fill(beyond, -torch.inf)
        return Look(
            shelf=shelf,
            count=count,
            rows=torch.tensor([row for row, _ in rows], device=self._device),
            at=torch.tensor([number * most + rank for number, rank in at], device=self._device),
            most=most,
            mask=mask.repeat_interleave(self._size[1], dim=0)[:, None],
        )

    def _new_shelf(self, columns: int) -> Shelf:
        layers, heads, dim = self._size
        keys, values = torch.zeros(2, layers, 0, heads, columns, dim, dtype=self._dtype, device=self._device)
        self._shelves[columns] = Shelf(keys, values)
        return self._shelves[columns]


def _more(room: int) -> int:
    """By how many prompts a full shelf grows."""
    return max(1, room // 2)


def _columns(tokens: int) -> int:
    """The columns of the shelf for prompts of that length."""
    return max(SHORTEST, 1 << (tokens - 1).bit_length())
