"""As many chains as a question needs: more while the ratings are low or the answers disagree.

Spending the same on every question wastes most of it on easy ones (compute-optimal allocation, Snell et al. 2024,
arXiv 2408.03314; stopping by agreement, Aggarwal et al. 2023, arXiv 2305.11860).
"""

from collections.abc import Sequence

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Chain, Key, Score, grouped
from ponder.search.tree import Growth
from ponder.search.weighted_vote import vote_weighted
from ponder.text.effort import Budget
from ponder.types import Completion

AGREE = 0.8
"""Share of all values that the winning answer must have."""
SURE = 0.7
"""Mean value that its chains must have."""


def settled(chains: Sequence[Chain], key: Key = str.strip) -> bool:
    """Whether one answer has most of the values, and its chains are rated well."""
    weights = [0.0 if chain.answer is None else Score.LAST.of(chain.ratings) for chain in chains]
    groups = grouped((chain.answer for chain in chains), key).values()
    best = max(groups, key=lambda group: sum(weights[index] for index in group), default=[])
    weight = sum(weights[index] for index in best)
    return bool(best) and weight >= SURE * len(best) and weight >= AGREE * sum(weights)


def rounds(budget: Budget) -> list[int]:
    """How many chains there are after each round: the width, then twice as many each time, up to all samples."""
    counts = [min(budget.width, budget.samples)]
    while counts[-1] < budget.samples:
        counts.append(min(2 * counts[-1], budget.samples))
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
