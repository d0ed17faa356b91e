"""Answer at once, without a thought."""

from dataclasses import replace

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Key
from ponder.search.tree import Growth
from ponder.text.effort import Budget
from ponder.types import Completion, Effort


async def direct(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """One answer at effort none, whatever the effort asked for."""
    start = replace(root, effort=Effort.NONE, answering=True)
    grow = Growth("direct", start, budget, sampling, sampler, rater)
    leaf = await grow.chain(grow.root, 0, sampling.seed)
    return grow.finish(leaf if leaf.done else None)
