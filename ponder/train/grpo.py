"""Group-relative policy optimisation (Shao et al. 2024), with the corrections of Dr. GRPO and of DAPO as settings."""

from collections.abc import Sequence
from typing import Literal

import pydantic
import torch
from torch import Tensor

from ponder.train.advantages import Again, Group, Head, Lesson, group_advantages, lesson


class Grpo(pydantic.BaseModel):
    """By default Dr. GRPO's mean and DAPO's clip; `std: true` and `mean: sequence` are the original."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    std: bool = False
    """Whether advantages are divided by their group's deviation."""
    mean: Literal["token", "fixed", "sequence"] = "fixed"
    """What the sum over tokens is divided by: all tokens (DAPO), rollouts times a fixed length (Dr. GRPO: a wrong
    answer gains nothing by being long), or each rollout's own length and then the rollouts (the original)."""
    length: int = pydantic.Field(default=256, ge=1)
    """The fixed length, in tokens."""
    eps_low: float = pydantic.Field(default=0.2, gt=0, lt=1)
    eps_high: float = pydantic.Field(default=0.28, gt=0)
    """How far the ratio to the sampled probability is followed, downwards and upwards; more upwards keeps unlikely
    tokens alive (DAPO's clip-higher)."""

    @property
    def head(self) -> Head:
        """Groups are compared by their rewards alone."""
        return "unused"

    def lessons(self, groups: Sequence[Group], again: Again) -> list[Lesson]:
        """Every decided rollout of a group that has both better and worse ones."""
        found = [pair for group in groups for pair in group_advantages(group, std=self.std)]
        weights = {"token": lambda n: 1.0, "fixed": lambda n: 1.0 / self.length, "sequence": lambda n: 1.0 / max(1, n)}
        weight = weights[self.mean]
        return [
            lesson(one, advantage, weight(one.length), one.length if self.mean == "token" else 1)
            for one, advantage in found
        ]

    def token_losses(self, logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        """The clipped surrogate (Schulman et al. 2017), to be minimised."""
        ratio = (logprobs - sampled).exp()
        clipped = ratio.clamp(1 - self.eps_low, 1 + self.eps_high)
        return -torch.minimum(ratio * advantages, clipped * advantages)
