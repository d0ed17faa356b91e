"""The format as a state machine over tokens: which may come next at a place, and where each of them leads."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.text.format import BLOCKS, Mark, Place

PLACES = tuple(Place)
AT = {place: number for number, place in enumerate(PLACES)}
"""A place's number."""


@dataclass(frozen=True)
class Grammar:
    """The dialect's table as tensors."""

    allowed: Tensor
    """(places, V), 0 where a token may come and -inf where it may not."""
    leads: Tensor
    """(places, V) to the next place's number."""

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
        return cls(allowed.to(device), leads.to(device))
