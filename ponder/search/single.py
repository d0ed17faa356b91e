"""One chain: think block by block, then answer."""

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Key
from ponder.search.tree import Growth
from ponder.text.effort import Budget
from ponder.types import Completion


async def single(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """One chain; extension k draws from ``seed_for(seed, k)``."""
    grow = Growth("single", root, budget, sampling, sampler, rater)
    leaf = await grow.chain(grow.root, 0, sampling.seed, alone=True)
    return grow.finish(leaf if leaf.done else None)
