"""Budget forcing (Muennighoff et al. 2025, "s1: Simple test-time scaling", arXiv 2501.19393).

When the model would answer, it must write another block instead, so that it checks what it has; and when its thinking
is used up, it must answer. s1 appends "Wait"; here the format itself holds the answer back.
"""

from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search.select import Key
from ponder.search.tree import Growth, Leaf
from ponder.seeds import seed_for
from ponder.text.effort import Budget
from ponder.types import Completion


async def revise(
    root: Prefix,
    budget: Budget,
    sampling: Sampling,
    sampler: Sampler,
    rater: Rater | None = None,
    *,
    key: Key = str.strip,
) -> Completion:
    """One chain that answers up to `budget.samples` times, and thinks on in between; the last answer counts.

    Revising can turn a right answer wrong, too (38 % of them in Snell et al. 2024); with one sample this is `single`.
    """
    grow = Growth("revise", root, budget, sampling, sampler, rater)
    answers: list[Leaf] = []
    leaf, think_on = grow.root, False
    for number in range(budget.samples * (budget.depth + 2)):
        leaf = await grow.extend(leaf, int(think_on), seed_for(sampling.seed, number), think_on=think_on)
        think_on = False
        if leaf.error is not None:
            break
        if leaf.done:
            answers.append(leaf)
            before = grow.leaves.get(leaf.path[:-1], grow.root)
            if before.prefix.answering or len(answers) >= budget.samples:
                break
            leaf, think_on = before, True
        grow.narrow([*[one for one in answers if one.answered][-1:], leaf])
    good = [leaf for leaf in answers if leaf.answered]
    return grow.finish(good[-1] if good else None)
