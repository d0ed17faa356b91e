"""The reward head: two probabilities read at a boundary, for two small matrix products.

It reads the trunk's output there, and how surprised the model was by what it wrote up to there: where a small model
slips it is mostly in doubt, and its last state does not say so (`LOG.md`, 2026-11-21). So a frozen trunk is enough.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ponder.types import Surprise

DOUBTS = 6
"""Numbers in which the surprises of a chain of blocks are told."""
WIDTH = 64
"""Of the layer between."""


def doubts(surprises: Sequence[Surprise | None]) -> list[float]:
    """The last block's surprises, the chain's, and how many blocks there are, all as log(1 + x).

    A block that another hand wrote surprised nobody.
    """
    known = [one or Surprise(0.0, 0.0) for one in surprises]
    most, total = zip(*known, strict=True) if known else ((0.0,), (0.0,))
    numbers = (most[-1], total[-1], max(most), sum(most), sum(total), float(len(known)))
    return [math.log1p(max(0.0, number)) for number in numbers]


class Head(nn.Module):
    """Value (what follows from here ends right) and validity (this block is correct), as logits."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden + DOUBTS, WIDTH)
        self.outer = nn.Linear(WIDTH, 2)

    def forward(self, hidden: Tensor, told: Tensor) -> Tensor:
        """The trunk's output (..., hidden) and `doubts` (..., DOUBTS) to (..., 2): the logits of value and validity."""
        return self.outer(F.silu(self.inner(torch.cat((hidden.float(), told.float()), dim=-1))))


def new_head(hidden: int) -> Head:
    """A head that says one half of everything; the same one every time."""
    head = Head(hidden)
    with torch.no_grad():
        head.inner.weight.normal_(0.0, (hidden + DOUBTS) ** -0.5, generator=torch.Generator().manual_seed(0))
        for part in (head.inner.bias, head.outer.weight, head.outer.bias):
            part.zero_()
    return head
