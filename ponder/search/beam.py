"""Beam search over blocks, led by ratings (Snell et al. 2024, arXiv 2408.03314)."""

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Key, top, vote
from ponder.search.tree import Growth, Leaf, together
from ponder.text.effort import Budget
from ponder.types import Completion


async def beam(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """Of `budget.samples` candidates for the next block the `budget.width` best go on, each with an equal share.

    A candidate that answers competes with the value of its thought, and keeps its place in the beam; the answers vote
    in the end, each with its value.
    """
    grow = Growth("beam", root, budget, sampling, sampler, rater, needs_ratings=True)
    each = budget.samples // budget.width
    finished: list[Leaf] = []
    pool = await grow.branch(grow.root, budget.samples)
    while pool:
        pool = grow.merged(await grow.rated(pool))
        best = top([leaf.value for leaf in pool], budget.width - len(finished), sampling.seed, len(grow.leaves))
        finished += [pool[index] for index in best if pool[index].done]
        going = [pool[index] for index in best if not pool[index].done]
        grow.narrow([*finished, *going])
        made = await together(grow.branch(leaf, each) for leaf in going)
        pool = [leaf for leaves in made for leaf in leaves]
    chosen = vote([leaf.answer for leaf in finished], [leaf.value for leaf in finished], sampling.seed, key)
    return grow.finish(None if chosen is None else finished[chosen])
