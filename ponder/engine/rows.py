"""What the rows of a batch are at: tensors whose first axis is the slots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ponder.engine.grammar import AT, Grammar
from ponder.engine.sampling import Draws, draw
from ponder.interfaces import Limit, Sampling
from ponder.text.format import Place

WRITTEN = 256
"""Tokens by which the record of what is written grows."""


class Begun(NamedTuple):
    """A row that begins."""

    place: Place
    limit: Limit
    sampling: Sampling


@dataclass(eq=False)
class Rows:
    """Place in the format, tokens left, how to draw, and what was written."""

    place: Tensor
    left: Tensor
    answer_limit: Tensor
    seeds: Tensor
    drawn: Tensor
    temperatures: Tensor
    top_ps: Tensor
    top_ks: Tensor
    min_ps: Tensor
    active: Tensor
    written: Tensor
    """(S, tokens)"""
    logprobs: Tensor

    @classmethod
    def none(cls, device: torch.device) -> "Rows":
        """No rows."""

        def zeros(*size: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        real = torch.float32
        return cls(
            place=zeros(0),
            left=zeros(0),
            answer_limit=zeros(0),
            seeds=zeros(0),
            drawn=zeros(0),
            temperatures=zeros(0, dtype=real),
            top_ps=zeros(0, dtype=real),
            top_ks=zeros(0),
            min_ps=zeros(0, dtype=real),
            active=zeros(0, dtype=torch.bool),
            written=zeros(0, WRITTEN),
            logprobs=zeros(0, WRITTEN, dtype=real),
        )

    def keep(self, slots: Tensor) -> None:
        """Only these, in this order."""
        for name, value in vars(self).items():
            setattr(self, name, value[slots])

    def extend(self, rows: int) -> None:
        """Room for more rows."""
        for name, value in vars(self).items():
            more = torch.zeros(rows, *value.shape[1:], dtype=value.dtype, device=value.device)
            setattr(self, name, torch.cat((value, more)))

    def seat(self, slots: Sequence[int], begun: Sequence[Begun]) -> None:
        """Begin rows at these slots."""
        device = self.place.device
        at = torch.tensor(slots, device=device)

        def fill(target: Tensor, values: Sequence[float]) -> None:
            target[at] = torch.tensor(values, dtype=target.dtype, device=device)

        samplings = [one.sampling for one in begun]
        fill(self.place, [AT[one.place] for one in begun])
        fill(self.left, [one.limit.answer if one.place is Place.ANSWER else one.limit.thinking for one in begun])
        fill(self.answer_limit, [one.limit.answer for one in begun])
        fill(self.seeds, [(one.seed + 2**63) % 2**64 - 2**63 for one in samplings])
        fill(self.temperatures, [one.temperature for one in samplings])
        fill(self.top_ps, [one.top_p for one in samplings])
        fill(self.top_ks, [one.top_k for one in samplings])
        fill(self.min_ps, [one.min_p for one in samplings])
        self.drawn[at], self.active[at] = 0, True

    def free(self, slots: Sequence[int]) -> None:
        """Nobody listens to these any more: they write on, likeliest token first, which costs least."""
        at = torch.tensor(slots, dtype=torch.long, device=self.place.device)
        self.active[at] = False
        self.temperatures[at] = 0.0

    def make_room(self) -> None:
        """The record has room for one more token of every row."""
        if int(self.drawn.max()) >= self.written.shape[1]:
            for name in ("written", "logprobs"):
                value = getattr(self, name)
                setattr(self, name, torch.cat((value, torch.zeros_like(value[:, :WRITTEN])), dim=1))

    def draw(self, logits: Tensor, grammar: Grammar, by: Callable[[Tensor, Draws], Tensor] = draw) -> Tensor:
        """The next token of every row, (S,), written down, where there is room, with its log-probability among the
        allowed ones."""
        logits = logits + grammar.masks(self.place, self.left)
        tokens = by(logits, Draws(self.temperatures, self.top_ps, self.top_ks, self.min_ps, self.seeds, self.drawn))
        at = torch.arange(len(tokens), device=tokens.device)
        self.written[at, self.drawn] = tokens
        self.logprobs[at, self.drawn] = logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
        return tokens

    def advance(self, tokens: Tensor, grammar: Grammar) -> Tensor:
        """Move every row on by its token, in place; returns which closed a block, answered, or have no tokens left,
        (S,) of bool."""
        before, place = self.place, grammar.leads[self.place, tokens]
        begun = (before == AT[Place.BETWEEN]) & (place == AT[Place.ANSWER])
        self.drawn += self.active
        self.left.copy_(torch.where(begun, self.answer_limit, self.left) - 1)
        closed = (place == AT[Place.BETWEEN]) & (before == AT[Place.SUMMARY])
        over = self.active & (closed | (place == AT[Place.DONE]) | (self.left <= 0))
        # A free row writes on, unheard: in an answer anything may follow.
        self.place.copy_(place.masked_fill(~self.active | over, AT[Place.ANSWER]))
        return over

    def read(self, slots: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        """What these have written, and its log-probabilities."""
        at = torch.tensor(slots, dtype=torch.long, device=self.place.device)
        counts, ids, logprobs = (x[at].tolist() for x in (self.drawn, self.written, self.logprobs))
        rows = zip(counts, ids, logprobs, strict=True)
        return [(tuple(tokens[:count]), tuple(chances[:count])) for count, tokens, chances in rows]
