"""The answer whose chains are rated highest together (Li et al. 2022, arXiv 2206.02336; Uesato et al. 2022)."""

from collections.abc import Sequence
from functools import partial

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Chain, Key, Score, vote
from ponder.search.tree import Growth
from ponder.text.effort import Budget
from ponder.types import Completion


def vote_weighted(chains: Sequence[Chain], seed: int, key: Key = str.strip, *, by: Score = Score.LAST) -> int | None:
    """The best chain of the answer with the largest sum of scores."""
    weights = [0.0 if chain.answer is None else by.of(chain.ratings) for chain in chains]
    return vote([chain.answer for chain in chains], weights, seed, key)


async def weighted_vote(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
    by: Score = Score.LAST,
) -> Completion:
    """A vote over `budget.samples` chains, each with the weight of its score."""
    grow = Growth("weighted_vote", root, budget, sampling, sampler, rater, needs_ratings=True)
    await grow.rated_chains(range(budget.samples), whole=by is not Score.LAST)
    return grow.elected(partial(vote_weighted, by=by), key)
