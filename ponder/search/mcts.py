"""Monte-Carlo tree search over blocks: PUCT, with the value of a block as the estimate of what follows.

The selection is AlphaZero's (Silver et al. 2018) with MuZero's constant (Schrittwieser et al. 2020). Candidates are
drawn from the model itself, so how often one is drawn is its prior (Hubert et al. 2021, arXiv 2104.06303). No rollout
is played to its end: the value stands for it, and only what looks best is thought through.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Key, top, vote
from ponder.search.tree import Growth, Leaf
from ponder.seeds import seed_for
from ponder.text.effort import Budget
from ponder.types import Completion

EXPLORE = 1.25
"""Weight of what was seldom visited against what is worth most."""
ENOUGH = 0.99
"""An answer of this value ends the search early."""


@dataclass(eq=False)
class _Arm:
    """A place in the tree, with what the visits below it were worth."""

    leaf: Leaf
    prior: float = 1.0
    """Its share of the candidates that were drawn beside it."""
    value: float = 0.0
    """Its own rating: what it is worth before anything below it is known."""
    visits: int = 0
    total: float = 0.0
    arms: "list[_Arm] | None" = field(default=None)
    """None where it has not been expanded."""
    closed: bool = False
    """Whether nothing below it is left to try."""

    @property
    def mean(self) -> float:
        """What it is worth by all that is known; its own rating counts as one visit."""
        return (self.value + self.total) / (1 + self.visits)

    def score(self, visits: int) -> float:
        """PUCT, under a place with so many visits."""
        return self.mean + EXPLORE * self.prior * math.sqrt(visits) / (1 + self.visits)


async def mcts(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """`budget.samples` expansions of `budget.width` candidates each, fewer where an answer is good enough.

    An expansion is one block deep, so this costs less than as many chains: compare it by tokens, not by samples.
    The answers that were reached vote, each with its value; where there is none yet, the best places are thought
    through to their end, one after the other until one answers.
    """
    grow = Growth("mcts", root, budget, sampling, sampler, rater, needs_ratings=True)
    start = _Arm(grow.root)
    finished: list[Leaf] = []
    for number in range(budget.samples):
        if start.closed or any(leaf.value >= ENOUGH for leaf in finished):
            break
        way = _descend(start, sampling.seed, number)
        drawn = await grow.rated(await grow.branch(way[-1].leaf, budget.width))
        way[-1].arms = _arms(grow, drawn)
        finished += [arm.leaf for arm in way[-1].arms if arm.leaf.done]
        worth = sum(arm.prior * arm.value for arm in way[-1].arms)
        for arm in reversed(way):
            arm.visits, arm.total = arm.visits + 1, arm.total + worth
            arm.closed = all(below.closed for below in arm.arms or ())
        grow.narrow([*finished, *(arm.leaf for arm in _all(start) if arm.arms is None and not arm.closed)])
    arms = _all(start)
    if not finished:
        finished = await _through(grow, [arm for arm in arms if arm.arms is None and not arm.leaf.done])
    chosen = vote([leaf.answer for leaf in finished], [leaf.value for leaf in finished], sampling.seed, key)
    visits = {arm.leaf.path: arm.visits for arm in arms}
    return grow.finish(None if chosen is None else finished[chosen], visits)


def _arms(grow: Growth, drawn: list[Leaf]) -> list[_Arm]:
    """What was drawn, each state once."""
    leaves = grow.merged(drawn)
    times = Counter(grow.leaves[leaf.path].same_as or leaf.path for leaf in drawn)
    return [_Arm(leaf, times[leaf.path] / len(drawn), leaf.value, closed=leaf.done) for leaf in leaves]


def _descend(start: _Arm, seed: int, number: int) -> list[_Arm]:
    """From the question to a place that has not been expanded."""
    way = [start]
    while way[-1].arms is not None:
        arms = [arm for arm in way[-1].arms if not arm.closed]
        scores = [arm.score(way[-1].visits) for arm in arms]
        way.append(arms[top(scores, 1, seed, number, len(way))[0]])
    return way


def _all(start: _Arm) -> list[_Arm]:
    """All places, the question first."""
    found = [start]
    for arm in found:  # it grows while it is read
        found += arm.arms or []
    return found


async def _through(grow: Growth, arms: list[_Arm]) -> list[Leaf]:
    """The best place's chain to its answer; the next best one's where that was lost or broke off."""
    order = top([arm.mean for arm in arms], len(arms), grow.sampling.seed, "through")
    for place, index in enumerate(order):
        grow.narrow(arms[other].leaf for other in order[place:])
        leaf, alone = arms[index].leaf, index == order[-1]
        last = await grow.chain(leaf, 0, seed_for(grow.sampling.seed, "through", *leaf.path), alone=alone)
        if last.answered and (rated := await grow.rated([last])):
            return rated
    return []
