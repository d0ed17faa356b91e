"""Group-relative policy optimisation (Shao et al. 2024), with the corrections of Dr. GRPO and of DAPO as settings."""

from collections.abc import Sequence

import pydantic
from torch import Tensor

from ponder.train.advantages import Again, Group, Head, Lesson, Mean, group_advantages, lesson, share
from ponder.train.losses import clipped_surrogate


class Grpo(pydantic.BaseModel):
    """By default Dr. GRPO's mean and DAPO's clip; `std: true` and `mean: sequence` are the original."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    std: bool = False
    """Whether advantages are divided by their group's deviation."""
    mean: Mean = "fixed"
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
        return [lesson(one, advantage, *share(self.mean, one.length, self.length)) for one, advantage in found]

    def token_losses(self, logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        """The clipped surrogate."""
        return clipped_surrogate(logprobs, sampled, advantages, self.eps_low, self.eps_high)
