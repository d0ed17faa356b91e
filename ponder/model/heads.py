"""The reward head: two probabilities read from the trunk at a boundary, for one small matrix product."""

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Value (what follows from here ends right) and validity (this block is correct), as logits."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, 2)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., 2): the logits of value and validity."""
        return self.linear(hidden.float())


def new_head(hidden: int) -> Head:
    """A head that says one half of everything."""
    head = Head(hidden)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
    return head
