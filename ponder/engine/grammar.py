"""The format as a state machine over tokens: which may come next at a place, and where each of them leads."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.text.format import BLOCKS, Mark, Place
from ponder.types import Segment

PLACES = tuple(Place)
AT = {place: number for number, place in enumerate(PLACES)}
"""A place's number."""
CLOSING = {
    Place.BETWEEN: (Mark.ANSWER, 3),
    Place.HEADLINE: (Mark.THOUGHTS, 3),
    Place.THOUGHTS: (Mark.SUMMARY, 2),
    Place.SUMMARY: (Mark.END_BLOCK, 1),
}
"""With so many tokens left, only that mark may come: a block that was begun closes, and no other is begun."""


@dataclass(frozen=True)
class Grammar:
    """The dialect's table as tensors."""

    allowed: Tensor
    """(2 * places, V), 0 where a token may come and -inf where it may not; the second half when tokens run out."""
    leads: Tensor
    """(places, V) to the next place's number."""
    closing: Tensor
    """(places,), from how many tokens left on the second half holds."""

    @classmethod
    def of(cls, special: dict[str, int], size: int, device: torch.device) -> "Grammar":
        """Build the tables for a vocabulary."""
        ids = list(special.values())
        allowed = torch.zeros(len(PLACES), size)
        allowed[:, ids] = -torch.inf
        leads = torch.arange(len(PLACES))[:, None].repeat(1, size)
        for place in (Place.BETWEEN, Place.DONE, Place.MALFORMED):
            allowed[AT[place]] = -torch.inf
        for (place, mark), to in BLOCKS.moves.items():
            if (place, mark) == (Place.HEADLINE, Mark.SUMMARY):
                continue  # folded blocks are read, never written
            token = special[BLOCKS.marker[mark].text]
            allowed[AT[place], token] = 0.0
            leads[AT[place], token] = AT[to]
        last, closing = allowed.clone(), torch.full((len(PLACES),), -1)
        for place, (mark, left) in CLOSING.items():
            last[AT[place]] = -torch.inf
            last[AT[place], special[BLOCKS.marker[mark].text]] = 0.0
            closing[AT[place]] = left
        return cls(torch.cat((allowed, last)).to(device), leads.to(device), closing.to(device))

    @classmethod
    def free(
        cls, ends: Collection[int], breaks: Collection[int], known: int, size: int, device: torch.device
    ) -> "Grammar":
        """Anything may be written, of the first `known` of `size` tokens.

        `ends` are over everywhere, `breaks` only outside the answer, which begins where its marker stands in the
        context; there is no end that tokens running out would force.
        """
        allowed = torch.zeros(2 * len(PLACES), size)
        allowed[:, known:] = -torch.inf
        leads = torch.arange(len(PLACES))[:, None].repeat(1, size)
        leads[:, list(ends)] = AT[Place.DONE]
        leads[AT[Place.BETWEEN], list(breaks)] = AT[Place.DONE]
        return cls(
            allowed.to(device), leads.to(device), torch.full((len(PLACES),), torch.iinfo(torch.long).min).to(device)
        )

    def masks(self, places: Tensor, left: Tensor) -> Tensor:
        """(B, V), what to add to the logits of rows at these places with so many tokens left."""
        return self.allowed[places + len(PLACES) * (left <= self.closing[places])]


@dataclass(frozen=True)
class Replay:
    """Goes through the format's places again as a sample went through them, so that a trainer can mask as it was."""

    allowed: Tensor
    """The grammar's."""
    leads: list[list[int]]
    closing: list[int]
    begins: Mapping[int, Place]
    """Where a sample begins by the last token of its context; anywhere else, between blocks."""

    @classmethod
    def of(cls, special: dict[str, int], size: int, device: torch.device) -> "Replay":
        """The replay of `Grammar.of` with the same vocabulary."""
        grammar = Grammar.of(special, size, device)
        marks = {Mark.ANSWER: Place.ANSWER, Mark.BLOCK: Place.HEADLINE}
        begins = {special[BLOCKS.marker[mark].text]: place for mark, place in marks.items()}
        return cls(grammar.allowed, grammar.leads.tolist(), grammar.closing.tolist(), begins)

    def rows(self, segment: Segment) -> list[int]:
        """The row of `allowed` that held for each generated token: the same steps as `Rows.draw` and `Rows.advance`."""
        assert segment.limit, "it was not sampled under a grammar"
        thinking, answer = segment.limit
        place = AT[self.begins.get(segment.context[-1], Place.BETWEEN)]
        left = answer if place == AT[Place.ANSWER] else thinking
        rows: list[int] = []
        for token in segment.generated:
            rows.append(place + len(PLACES) * (left <= self.closing[place]))
            before, place = place, self.leads[place][token]
            left = (answer if before == AT[Place.BETWEEN] and place == AT[Place.ANSWER] else left) - 1
        return rows
