"""From rewards to what is trained: the rollouts of one problem are compared with each other.

P problems have G rollouts each. An algorithm is a file beside this one and a line in ``algorithms.py``.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from ponder.reward.boundary import Labels
from ponder.train.batch import Row, pack_segments
from ponder.train.rewards import Reward
from ponder.train.rollout import Drawn
from ponder.types import Segment

SMALLEST_SPREAD = 1e-6
"""Rewards that are closer than this are the same."""


class Scored(NamedTuple):
    """A rollout and what it is worth."""

    drawn: Drawn
    reward: Reward

    @property
    def length(self) -> int:
        """Tokens that were sampled."""
        return sum(len(segment.generated) for segment in self.drawn.rollout.segments)

    def thinking(self, blocks: int) -> int:
        """Tokens of its first blocks."""
        kept = self.drawn.draw.kept
        new = self.drawn.rollout.segments[: max(0, blocks - len(kept.blocks))]
        return kept.thinking + sum(len(segment.generated) for segment in new)


Group = Sequence[Scored]
"""The rollouts of one problem."""


@dataclass(frozen=True)
class Fork:
    """A boundary of a rollout, from which others are to go on."""

    scored: Scored
    blocks: int
    """How many of its blocks stay."""
    samples: int


Again = Callable[[Sequence[Fork]], list[Group]]
"""Samples from each fork; the siblings of one of them are a group."""


@dataclass(frozen=True)
class Lesson:
    """One rollout to train on."""

    row: Row
    segments: tuple[Segment, ...]
    advantages: tuple[float, ...]
    """Of each segment."""
    weight: float
    """Of each of its tokens in the loss's sum."""
    terms: int
    """What it adds to the number that the sum is divided by."""
    labels: Labels = ()
    """What the head should have said at its boundaries, where it is trained."""
    label_weight: float = 0.0
    """Of the mean loss of these labels, beside the tokens'."""


Mean = Literal["token", "fixed", "sequence"]
"""What a loss's sum over tokens is divided by: all tokens (DAPO), rollouts times a fixed length (Dr. GRPO: a wrong
answer gains nothing by being long), or each rollout's own length and then the rollouts (the original)."""
Head = Literal["unused", "read", "trained"]
"""What an algorithm wants of the policy's reward head."""


class Algorithm(Protocol):
    """Decides what is learned from which rollout, and by which loss."""

    @property
    def head(self) -> Head:
        """Whether rollouts must be rated by it, and whether it learns too."""
        ...

    def lessons(self, groups: Sequence[Group], again: Again) -> list[Lesson]:
        """What of the groups, and of what is sampled again from their boundaries, is worth a backward pass."""
        ...

    def token_losses(self, logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        """(n,) log-probabilities now and as sampled, and advantages, to (n,) losses of tokens."""
        ...


def share(mean: Mean, tokens: int, length: int) -> tuple[float, int]:
    """Weight and terms of a rollout of so many tokens."""
    weight = {"token": 1.0, "fixed": 1.0 / length, "sequence": 1.0 / max(1, tokens)}[mean]
    return weight, tokens if mean == "token" else 1


def lesson(one: Scored, advantages: Sequence[float], weight: float, terms: int) -> Lesson:
    """A rollout with an advantage for each segment; segments that neither gain nor pay are left out."""
    pairs = list(zip(one.drawn.rollout.segments, advantages, strict=True))
    segments, told = zip(*([pair for pair in pairs if pair[1]] or pairs[-1:]), strict=True)
    return Lesson(pack_segments(segments), segments, told, weight, terms)


def degenerate(group: Group) -> bool:
    """Whether a group teaches nothing: all of its decided rollouts are right, or all wrong, to the same degree.

    Form and length alone do not count: else a group in which all are wrong would only teach to be wrong briefly.
    """
    signals = [one.reward.signal for one in group if one.reward.decided]
    return not signals or max(signals) - min(signals) < SMALLEST_SPREAD


def group_advantages(group: Group, *, std: bool) -> list[tuple[Scored, float]]:
    """Each decided rollout's reward above the group's mean (Shao et al. 2024), divided by their deviation or not.

    Dividing favours problems that are nearly always or nearly never solved (Liu et al. 2025, "Dr. GRPO").
    """
    decided = [one for one in group if one.reward.decided]
    if degenerate(decided):
        return []
    rewards = [one.reward.total for one in decided]
    mean, scale = statistics.fmean(rewards), statistics.pstdev(rewards) if std else 1.0
    return [(one, (reward - mean) / max(scale, SMALLEST_SPREAD)) for one, reward in zip(decided, rewards, strict=True)]
