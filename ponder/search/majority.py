"""The answer that most chains give: self-consistency (Wang et al. 2022, arXiv 2203.11171)."""

from collections.abc import Sequence

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Chain, Key, vote
from ponder.search.tree import Growth
from ponder.text.effort import Budget
from ponder.types import Completion


def vote_majority(chains: Sequence[Chain], seed: int, key: Key = str.strip) -> int | None:
    """The first chain of the answer that most chains give."""
    return vote([chain.answer for chain in chains], [1.0] * len(chains), seed, key)


async def majority(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """A vote over `budget.samples` chains; needs no ratings."""
    grow = Growth("majority", root, budget, sampling, sampler, rater)
    await grow.chains(range(budget.samples))
    return grow.elected(vote_majority, key)
