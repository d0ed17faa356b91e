"""The chain that is rated best (Cobbe et al. 2021, arXiv 2110.14168).

It is the first search to be fooled by a rater: with many chains, some bad one is rated high. A weighted vote is harder
to fool.
"""

from collections.abc import Sequence
from functools import partial

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Chain, Key, Score, top
from ponder.search.tree import Growth
from ponder.text.effort import Budget
from ponder.types import Completion


def vote_best(chains: Sequence[Chain], seed: int, key: Key = str.strip, *, by: Score = Score.LAST) -> int | None:
    """The finished chain with the highest score."""
    able = [index for index, chain in enumerate(chains) if chain.answer is not None]
    best = top([by.of(chains[index].ratings) for index in able], 1, seed)
    return able[best[0]] if best else None


async def best_of_n(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
    by: Score = Score.LAST,
) -> Completion:
    """The best of `budget.samples` chains."""
    grow = Growth("best_of_n", root, budget, sampling, sampler, rater, needs_ratings=True)
    await grow.rated_chains(range(budget.samples), whole=by is not Score.LAST)
    return grow.elected(partial(vote_best, by=by), key)
