"""Group-relative policy optimisation (Shao et al. 2024), with the corrections of Dr. GRPO and of DAPO as settings."""

from collections.abc import Sequence
from typing import Literal

import pydantic
from torch import Tensor

from ponder.reward.exact import exact_checks
from ponder.train.advantages import Again, Group, Head, Lesson, Mean, Scored, group_advantages, lesson, share
from ponder.train.losses import clipped_surrogate

SPENT = 0.95
"""Share of the thinking budget from which on it has run out."""


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

    blame: Literal["rollout", "block"] = "rollout"
    """What pays where a rollout is worse than its group: all of it, or of the blocks that the task's checker refuses
    the first, where it went wrong (after PURE, Cheng et al. 2025), and the last, where that was still not seen: with
    the first alone, checks went on to say "ok" of what they had just found wrong (`LOG.md`, 2026-11-22). Where there
    is none, and where the budget ran out, all of it pays: else a habit of beginning again and again costs nothing. Nor
    does a better one gain by such blocks. What gains and pays nothing is not computed."""

    @property
    def head(self) -> Head:
        """Groups are compared by their rewards alone."""
        return "unused"

    def lessons(self, groups: Sequence[Group], again: Again) -> list[Lesson]:
        """Every decided rollout of a group that has both better and worse ones."""
        found = [pair for group in groups for pair in group_advantages(group, std=self.std)]
        return [
            lesson(one, self._advantages(one, advantage), *share(self.mean, one.length, self.length))
            for one, advantage in found
        ]

    def token_losses(self, logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        """The clipped surrogate."""
        return clipped_surrogate(logprobs, sampled, advantages, self.eps_low, self.eps_high)

    def _advantages(self, one: Scored, advantage: float) -> list[float]:
        """Of each segment."""
        rollout = one.drawn.rollout
        usual = [advantage] * len(rollout.segments)
        if self.blame == "rollout":
            return usual
        checks = exact_checks(rollout.problem, rollout.completion)[len(one.drawn.draw.kept.blocks) :]
        bad = [at for at, check in enumerate(checks) if check.valid is False]
        ran_out = one.thinking(len(rollout.completion.blocks)) > SPENT * one.drawn.draw.most.thinking
        if not bad or ran_out:
            return usual
        if advantage < 0:
            return [advantage if at in (bad[0], bad[-1]) else 0.0 for at in range(len(usual))]
        return [0.0 if at in bad else advantage for at in range(len(usual))]
