"""The only door to thinking: the command line and the evaluation both come through here.

A search grows chains block by block. When a chain's thinking budget is used up it must answer, and the answer's own
tokens were never part of that budget, so there is always room for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ponder.errors import ConfigError, ContextError, ProblemError
from ponder.interfaces import Prefix, Rater, Sampler, Sampling
from ponder.search import VOTES, check_budget, search_named
from ponder.search.select import Key
from ponder.search.tree import together
from ponder.text.effort import BUDGETS, Budget
from ponder.types import Completion, Effort, Message

SIDE_BY_SIDE = 512
"""Most requests that are thought about at once."""


@dataclass(frozen=True)
class Request:
    """One question to think about."""

    messages: tuple[Message, ...]
    effort: Effort = Effort.MEDIUM
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    budget: Budget | None = None
    """In place of the effort's own."""
    search: str = "single"
    rater: Rater | None = None
    """In place of the sampler's own ratings."""
    key: Key = str.strip
    """Answers are the same to a vote where this says the same of them."""


def think(
    requests: Sequence[Request], sampler: Sampler, *, on_done: Callable[[int], None] | None = None
) -> list[Completion]:
    """A completion for every request; `on_done` hears how many are finished."""
    completions: dict[int, Completion] = {}

    def take(index: int, completion: Completion) -> None:
        completions[index] = completion
        if on_done:
            on_done(len(completions))

    think_each(requests, sampler, take)
    return [completions[index] for index in range(len(requests))]


def think_each(
    requests: Sequence[Request],
    sampler: Sampler,
    take: Callable[[int, Completion], None],
    *,
    refused: Callable[[int, ContextError], None] | None = None,
) -> None:
    """Give each completion to `take`, with its request's number, as soon as it is there.

    A prompt longer than the model reads goes to `refused`, and the others go on; without it, that ends them all.

    Some are thought about at once (`side_by_side`), and as soon as one has its answer the next takes its place.
    """
    for request in requests:
        _check(request)
    with contextlib.suppress(RuntimeError):
        if asyncio.get_running_loop():
            raise ConfigError("think() runs an event loop of its own: where one runs already, await think_one()")
    asyncio.run(_think_all(requests, sampler, take, refused))


async def _think_all(
    requests: Sequence[Request],
    sampler: Sampler,
    take: Callable[[int, Completion], None],
    refused: Callable[[int, ContextError], None] | None,
) -> None:
    waiting = iter(enumerate(requests))

    async def work() -> None:
        for index, request in waiting:
            try:
                completion = await think_one(request, sampler)
            except ContextError as err:
                if refused is None:
                    raise
                refused(index, err)
                continue
            take(index, completion)

    await together(work() for _ in range(side_by_side(requests)))


def side_by_side(requests: Sequence[Request]) -> int:
    """How many requests are thought about at once: with many chains each, fewer of them, so that the first are done
    early, and what is done is kept where the rest is cut short."""
    chains = max((_at_once(request) for request in requests), default=1)
    return min(len(requests), max(2, -(-2 * SIDE_BY_SIDE // chains)), SIDE_BY_SIDE)


def _at_once(request: Request) -> int:
    """Chains that a request has in work together."""
    budget = request.budget or BUDGETS[request.effort]
    return budget.samples if request.search in VOTES else budget.width


async def think_one(request: Request, sampler: Sampler) -> Completion:
    """A completion for one request; many may be awaited at once."""
    _check(request)
    root = Prefix(request.messages, request.effort)
    sampling = Sampling(request.temperature, request.top_p, request.seed)
    search, budget = search_named(request.search), request.budget or BUDGETS[request.effort]
    return await search(root, budget, sampling, sampler, request.rater, key=request.key)


def _check(request: Request) -> None:
    if not request.messages or not request.messages[-1].content.strip():
        raise ProblemError("the prompt is empty: ask a question")
    check_budget(request.search, request.budget or BUDGETS[request.effort])
