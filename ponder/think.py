"""The only door to thinking: the command line and the evaluation both come through here.

A chain grows block by block. When its thinking budget is used up it must answer, and the answer's own tokens were
never part of that budget, so there is always room for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ponder.errors import ConfigError, ProblemError
from ponder.interfaces import Extension, Limit, Prefix, Sampler, Sampling
from ponder.seeds import seed_for
from ponder.text.effort import BUDGETS, Budget
from ponder.types import Block, Completion, Effort, Message, Tokens

SIDE_BY_SIDE = 512
"""Most chains that think in one batch."""
SMALLEST_BLOCK = 8
"""With fewer thinking tokens left than this, a block is not begun."""


@dataclass(frozen=True)
class Request:
    """One chain to think."""

    messages: tuple[Message, ...]
    effort: Effort = Effort.MEDIUM
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    budget: Budget | None = None
    """In place of the effort's own."""


@dataclass
class _Chain:
    request: Request
    budget: Budget
    blocks: tuple[Block, ...] = ()
    tokens: Tokens = Tokens()
    extended: int = 0
    """How often the chain has been extended; each extension draws from a seed of its own."""
    answering: bool = False
    done: Completion | None = None

    def prefix(self) -> Prefix:
        return Prefix(self.request.messages, self.request.effort, self.blocks, self.answering)

    def limit(self) -> Limit:
        return Limit(self.budget.thinking - self.tokens.thinking, self.budget.answer)

    def sampling(self) -> Sampling:
        seed = seed_for(self.request.seed, self.extended)
        return Sampling(self.request.temperature, self.request.top_p, seed)


def think(
    requests: Sequence[Request], sampler: Sampler, *, on_done: Callable[[int], None] | None = None
) -> list[Completion]:
    """A completion for every request; `on_done` hears how many are finished.

    Up to SIDE_BY_SIDE chains think at once, and as soon as one has answered the next takes its place.
    """
    for request in requests:
        _check(request.messages)
    with contextlib.suppress(RuntimeError):
        if asyncio.get_running_loop():
            raise ConfigError("think() runs an event loop of its own: where one runs already, await think_one()")
    return asyncio.run(_think_all(requests, sampler, on_done))


async def _think_all(
    requests: Sequence[Request], sampler: Sampler, on_done: Callable[[int], None] | None
) -> list[Completion]:
    waiting = iter(enumerate(requests))
    completions: dict[int, Completion] = {}

    async def work() -> None:
        for index, request in waiting:
            completions[index] = await think_one(request, sampler)
            if on_done:
                on_done(len(completions))

    workers = [asyncio.ensure_future(work()) for _ in range(min(SIDE_BY_SIDE, len(requests)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:  # where one has failed, the others need not go on
            worker.cancel()
    return [completions[index] for index in range(len(requests))]


async def think_one(request: Request, sampler: Sampler) -> Completion:
    """A completion for one request; many may be awaited at once."""
    _check(request.messages)
    chain = _Chain(request, request.budget or BUDGETS[request.effort])
    chain.answering = chain.budget.thinking < SMALLEST_BLOCK
    while chain.done is None:
        (extension,) = await sampler.extend(chain.prefix(), chain.limit(), [chain.sampling()])
        _grow(chain, extension)
    return chain.done


def _check(messages: Sequence[Message]) -> None:
    if not messages or not messages[-1].content.strip():
        raise ProblemError("the prompt is empty: ask a question")


def _grow(chain: _Chain, extension: Extension) -> None:
    """Add one extension to a chain; ends the chain, or makes it answer, when it must."""
    chain.extended += 1
    spent = _spent(extension)
    chain.tokens += replace(spent, prompt=0) if chain.tokens.prompt else spent
    if extension.answer is not None:
        assert extension.ended is not None
        chain.done = Completion(chain.blocks, extension.answer, extension.ended, chain.tokens)
        return
    if extension.block is not None:
        chain.blocks += (extension.block,)
    left = chain.budget.thinking - chain.tokens.thinking
    over = extension.block is None or extension.last
    if over or left < SMALLEST_BLOCK or len(chain.blocks) >= chain.budget.depth:
        chain.answering = True


def _spent(extension: Extension) -> Tokens:
    """What an extension cost, by the server's count or by ours."""
    if extension.spent is not None:
        return extension.spent
    prompt, generated = len(extension.segment.context), len(extension.segment.generated)
    return Tokens(prompt, answer=generated) if extension.answer is not None else Tokens(prompt, thinking=generated)
