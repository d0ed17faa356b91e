"""Expert iteration (Zelikman et al. 2022, "STaR"): right thoughts, short and different ones first, are learned from."""

from collections.abc import Sequence

import pydantic
from torch import Tensor

from ponder.search.tree import State, state
from ponder.train.advantages import Again, Group, Head, Lesson, Scored, degenerate, lesson


class Star(pydantic.BaseModel):
    """How many thoughts of a problem are kept."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    keep: int = pydantic.Field(2, ge=1)
    """Most right thoughts of one problem: otherwise easy problems would drown the hard ones."""

    @property
    def head(self) -> Head:
        """Groups are compared by their rewards alone."""
        return "unused"

    def lessons(self, groups: Sequence[Group], again: Again) -> list[Lesson]:
        """The kept thoughts of problems that were not always solved."""
        kept = [one for group in groups if not degenerate(group) for one in self.kept(group)]
        return [lesson(one, (1.0,) * len(one.drawn.rollout.segments), 1.0, one.length) for one in kept]

    def kept(self, group: Group) -> list[Scored]:
        """Right rollouts, the shortest first, none of which goes through the same states as another."""
        right = [one for one in group if one.reward.decided and one.drawn.rollout.grade.right]
        chosen: dict[State, Scored] = {}
        for one in sorted(right, key=lambda one: one.length):
            chosen.setdefault(state(one.drawn.rollout.completion.blocks), one)
        return list(chosen.values())[: self.keep]

    def token_losses(self, logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        """Negative log-likelihood."""
        return -logprobs
