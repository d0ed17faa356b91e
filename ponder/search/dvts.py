"""Diverse verifier tree search (Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models").

A beam's best places soon stem from one early block. Here the tree is split at the question into independent subtrees,
each of which goes on from its own best candidate alone, so that many samples stay different.
"""

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Key, top, vote
from ponder.search.tree import Growth, Leaf, together
from ponder.text.effort import Budget
from ponder.types import Completion


async def dvts(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """`budget.width` subtrees share `budget.samples` candidates; their answers vote, each with its value.

    The subtrees take their steps together, so that equal states have the same rating whoever is faster.
    """
    grow = Growth("dvts", root, budget, sampling, sampler, rater, needs_ratings=True)
    each = budget.samples // budget.width
    finished: list[Leaf] = []
    going = [(subtree, grow.root) for subtree in range(budget.width)]
    while going:
        firsts = [0 if leaf.path else subtree * each for subtree, leaf in going]
        made = await together(grow.branch(leaf, each, first) for (_, leaf), first in zip(going, firsts, strict=True))
        await grow.rated([leaf for leaves in made for leaf in leaves])
        step: list[tuple[int, Leaf]] = []
        for (subtree, _), leaves in zip(going, made, strict=True):
            pool = grow.merged([grow.leaves[leaf.path] for leaf in leaves if grow.leaves[leaf.path].error is None])
            best = top([leaf.value for leaf in pool], 1, sampling.seed, subtree, len(grow.leaves))
            step += [(subtree, pool[index]) for index in best]
        finished += [leaf for _, leaf in step if leaf.done]
        going = [(subtree, leaf) for subtree, leaf in step if not leaf.done]
        grow.narrow([*finished, *(leaf for _, leaf in going)])
    chosen = vote([leaf.answer for leaf in finished], [leaf.value for leaf in finished], sampling.seed, key)
    return grow.finish(None if chosen is None else finished[chosen])
