"""Regenerate from the first bad block: siblings that go on from the boundary before it are compared with each other.

A group in which nothing is right teaches nothing as a whole, and of a hard task most groups are such. But its thoughts
have often come far before they went wrong: from there on, some siblings are right, and what tells them apart are a few
blocks instead of a whole thought (after VinePPO, Kazemnejad et al. 2024, whose siblings only estimate values).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import pydantic
from torch import Tensor

from ponder.reward.exact import exact_checks
from ponder.search.tree import State, state
from ponder.train.advantages import Again, Fork, Group, Head, Lesson, Scored
from ponder.train.grpo import Grpo


class Branch(pydantic.BaseModel):
    """Whole groups are learned from as by `grpo`, and the siblings of every fork are a group like any other."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    by: Literal["exact", "head"] = "exact"
    """Who finds the boundary: the task's checker, or the policy's own reward head."""
    boundary: Literal["winnable", "valid"] = "winnable"
    """Where the checker finds it: the last one that a good block led to and from which the goal can still be reached,
    of tasks that know of it; or the one before the first block that is not valid."""
    doubt: float = pydantic.Field(0.5, ge=0, le=1)
    """A block whose validity the head puts below this is bad."""
    groups: Literal["failed", "wrong"] = "failed"
    """Which ones are branched: those without any right rollout, or all those with a wrong one."""
    forks: int = pydantic.Field(1, ge=1)
    """Most wrong rollouts of a group that are branched: those that came farthest, from different states."""
    siblings: int = pydantic.Field(8, ge=2)
    """Rollouts from each fork."""
    room: float = pydantic.Field(0.25, ge=0, lt=1)
    """Least share of the thinking budget that a boundary must have left."""
    grpo: Grpo = Grpo()
    """How rollouts are compared, and the loss."""

    @property
    def head(self) -> Head:
        """The finder needs it."""
        return "read" if self.by == "head" else "unused"

    def lessons(self, groups: Sequence[Group], again: Again) -> list[Lesson]:
        """Of whole groups, and of siblings only what they do not have in common."""
        siblings = again([fork for group in groups for fork in self.forks_of(group)])
        return self.grpo.lessons([*groups, *siblings], again)

    def token_losses(self, logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        """Those of `grpo`."""
        return self.grpo.token_losses(logprobs, sampled, advantages)

    def forks_of(self, group: Group) -> list[Fork]:
        """Where a group is branched."""
        decided = [one for one in group if one.reward.decided]
        wrong = [one for one in decided if not one.drawn.rollout.grade.right]
        if self.groups == "failed" and len(wrong) < len(decided):
            return []
        found: dict[State, Fork] = {}
        for one in wrong:
            if at := self.boundary_of(one):
                kept = state(one.drawn.rollout.completion.blocks[:at])
                found.setdefault(kept, Fork(one, at, self.siblings))
        return sorted(found.values(), key=lambda fork: -fork.blocks)[: self.forks]

    def boundary_of(self, one: Scored) -> int:
        """How many blocks of a wrong rollout stay; 0 where none is worth it."""
        most = one.drawn.draw.most.thinking * (1 - self.room)
        roomy = [at for at in range(len(one.drawn.rollout.completion.blocks) + 1) if one.thinking(at) <= most]
        sound = self._by_head(one) if self.by == "head" else self._by_checker(one)
        return max((at for at in sound if at in roomy), default=0)

    def _by_checker(self, one: Scored) -> Sequence[int]:
        """The boundaries that may be gone on from."""
        checks = exact_checks(one.drawn.rollout.problem, one.drawn.rollout.completion)
        if self.boundary == "winnable" and any(check.winnable is not None for check in checks):
            # After a bad block the goal may be within reach, but not for a policy that has just taken it for reached.
            return [0, *(at for at, check in enumerate(checks, start=1) if check.winnable and check.valid is not False)]
        return _before(at for at, check in enumerate(checks) if check.valid is False)

    def _by_head(self, one: Scored) -> Sequence[int]:
        assert one.drawn.ratings, "only a checkpoint with a head is sampled from here"
        ratings = one.drawn.ratings[1:-1]
        return _before(at for at, rating in enumerate(ratings) if rating.validity < self.doubt)


def _before(bad: Iterable[int]) -> Sequence[int]:
    """The boundary before the first bad block alone: what came before it is sound, but no reason to begin there."""
    first = next(iter(bad), None)
    return () if first is None else (first,)
