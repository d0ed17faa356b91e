"""Proximal policy optimisation (Schulman et al. 2017) over blocks: a block is an action, a boundary a state, and the
reward head's value at the boundary is the baseline.

There are a dozen actions in a thought instead of hundreds of tokens, so credit reaches far back. Groups are not
compared: a problem may have a single rollout, and one that is always solved still teaches the head.
"""

import statistics
from collections.abc import Sequence

import pydantic
from torch import Tensor

from ponder.reward.boundary import Label
from ponder.reward.exact import exact_labels
from ponder.train.advantages import Again, Group, Head, Lesson, Mean, Scored, share
from ponder.train.batch import pack_segments
from ponder.train.losses import clipped_surrogate


class Ppo(pydantic.BaseModel):
    """Generalised advantages (Schulman et al. 2016) without discount, and the clipped loss of `grpo`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    decay: float = pydantic.Field(default=0.95, ge=0, le=1)
    """How much of a later surprise a block is given credit for, block by block: 1 for all of it, without bias; 0 for
    what the value says right after it alone."""
    value_weight: float = pydantic.Field(default=0.1, gt=0)
    """Of the head's loss beside the policy's: it says how far the trunk follows; the head learns as fast anyway."""
    mean: Mean = "fixed"
    length: int = pydantic.Field(default=256, ge=1)
    """The fixed length, in tokens."""
    eps_low: float = pydantic.Field(default=0.2, gt=0, lt=1)
    eps_high: float = pydantic.Field(default=0.28, gt=0)
    """How far the ratio to the sampled probability is followed, downwards and upwards."""

    @property
    def head(self) -> Head:
        """Its value is the baseline."""
        return "trained"

    def lessons(self, groups: Sequence[Group], again: Again) -> list[Lesson]:
        """Every decided rollout; the terms beside the outcome count by how far they are from their mean."""
        decided = [one for group in groups for one in group if one.reward.decided]
        if not decided:
            return []
        usual = statistics.fmean(one.reward.total - one.reward.terms["outcome"] for one in decided)
        return [self._lesson(one, usual) for one in decided]

    def token_losses(self, logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        """The clipped surrogate."""
        return clipped_surrogate(logprobs, sampled, advantages, self.eps_low, self.eps_high)

    def _lesson(self, one: Scored, usual: float) -> Lesson:
        assert one.drawn.ratings, "only a checkpoint with a head is sampled from here"
        rollout, right = one.drawn.rollout, one.reward.terms["outcome"]
        values = [rating.value for rating in one.drawn.ratings[:-1]]
        weight, terms = share(self.mean, one.length, self.length)
        # Value from what followed, in [0, 1]; validity from the checker, so that the head stays what it is called.
        checked = exact_labels(rollout.problem, rollout.completion, rollout.grade)
        learned = [value + more for value, more in zip(values, advantages(values, right, self.decay), strict=True)]
        labels = tuple(
            Label(min(1.0, max(0.0, value)), label.validity)
            for value, label in zip((*learned, right), checked, strict=True)
        )
        return Lesson(
            row=pack_segments(rollout.segments),
            segments=rollout.segments,
            advantages=tuple(advantages(values, one.reward.total - usual, self.decay)),
            weight=weight,
            terms=terms,
            labels=labels,
            label_weight=self.value_weight,
        )


def advantages(values: Sequence[float], end: float, decay: float) -> list[float]:
    """Of the action after each of these states, of which the last one led to the end."""
    found = list[float]()
    later, after = 0.0, end
    for value in reversed(values):
        later = after - value + decay * later
        found.append(later)
        after = value
    return found[::-1]
