"""As many chains as a question needs: more while the answers disagree or their ratings are low.

Spending the same on every question wastes most of it: on easy ones, and on those where many more chains would agree on
the same wrong answer (compute-optimal allocation, Snell et al. 2024, arXiv 2408.03314). Whether the leading answer will
stay ahead is asked as Aggarwal et al. 2023 (arXiv 2305.11860) do, with ratings in place of counts: a chain that is
rated low is little evidence.
"""

import math
from collections.abc import Sequence

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Chain, Key, Score, grouped
from ponder.search.tree import Growth
from ponder.search.weighted_vote import vote_weighted
from ponder.text.effort import Budget
from ponder.types import Completion

CONFIDENT = 0.7
"""Enough of a chance that the leading answer stays ahead: the least at which nothing was lost on validation."""
CELLS = 128
"""In which that chance is added up, on either side of one half."""


def settled(chains: Sequence[Chain], key: Key = str.strip) -> bool:
    """Whether the answer that has most of the values will stay ahead of the second."""
    weights = [0.0 if chain.answer is None else Score.LAST.of(chain.ratings) for chain in chains]
    groups = grouped((chain.answer for chain in chains), key).values()
    first, second, *_ = *sorted((sum(weights[index] for index in group) for group in groups), reverse=True), 0.0, 0.0
    return ahead(first, second) >= CONFIDENT


def ahead(first: float, second: float) -> float:
    """The chance that the first of two answers with these weights has the greater share, where any share was as likely
    before: that of more than one half under Beta(first + 1, second + 1)."""
    shares = [(cell + 0.5) / (2 * CELLS) for cell in range(2 * CELLS)]
    logs = [first * math.log(share) + second * math.log(1 - share) for share in shares]
    most = max(logs)
    chances = [math.exp(one - most) for one in logs]
    return sum(chances[CELLS:]) / sum(chances)


def rounds(budget: Budget) -> list[int]:
    """How many chains there are after each round: the width, then half as many more each time, up to all samples."""
    counts = [min(budget.width, budget.samples)]
    while counts[-1] < budget.samples:
        counts.append(min(counts[-1] + -(-counts[-1] // 2), budget.samples))
    return counts


def enough(chains: Sequence[Chain], budget: Budget, key: Key = str.strip) -> int:
    """After how many of these chains the search would have stopped."""
    return next((count for count in rounds(budget) if settled(chains[:count], key)), budget.samples)


async def adaptive(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """A weighted vote over `budget.width` chains at first, and over up to `budget.samples` while it is not settled."""
    grow = Growth("adaptive", root, budget, sampling, sampler, rater, needs_ratings=True)
    drawn = 0
    for count in rounds(budget):
        await grow.rated_chains(range(drawn, count))
        drawn = count
        if settled(grow.finished_chains(), key):
            break
    return grow.elected(vote_weighted, key)
