"""Rollouts: completions sampled for training, with the ids and log-probabilities that the sampler produced."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampler, Sampling
from ponder.reward.exact import grade_completion
from ponder.reward.labels import continue_from
from ponder.text.effort import BUDGETS, Budget
from ponder.think import SIDE_BY_SIDE, Request, think_one
from ponder.types import Completion, Effort, Grade, Message, Problem, Rating, Rollout, Thought


@dataclass(eq=False)
class _Recorder:
    """A sampler that remembers what one chain was given."""

    sampler: Sampler
    given: list[Extension] = field(default_factory=list[Extension])

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """See `Sampler`."""
        found = await self.sampler.extend(prefix, limit, samplings, hear)
        self.given += found
        return found


@dataclass(frozen=True)
class Kept:
    """The beginning of an earlier rollout, from whose last boundary another one goes on."""

    blocks: Thought
    thinking: int
    """Tokens that it took."""


@dataclass(frozen=True)
class Draw:
    """One rollout to sample."""

    problem: Problem
    effort: Effort
    seed: int
    temperature: float = 1.0
    budget: Budget | None = None
    """In place of the effort's own."""
    kept: Kept = Kept((), 0)

    @property
    def most(self) -> Budget:
        """What the whole thought may take."""
        return self.budget or BUDGETS[self.effort]


Grader = Callable[[Problem, Completion], Grade]


@dataclass(frozen=True)
class Drawn:
    """A sampled rollout: a segment for each new block, and one for the answer. Its completion is the whole thought."""

    draw: Draw
    rollout: Rollout
    ratings: tuple[Rating, ...] | None
    """At each boundary, from a sampler that has a head: where it began, each new block's end, the answer's end."""

    def graded(self, grade: Grade) -> "Drawn":
        """The same with another grade."""
        return replace(self, rollout=replace(self.rollout, grade=grade))


async def roll_out(draw: Draw, sampler: Sampler, grader: Grader = grade_completion) -> Drawn:
    """Think once about a problem, and grade the answer. What ended thinking without a block is no segment."""
    recorder = _Recorder(sampler)
    completion = await (_thought_on(draw, recorder) if draw.kept.blocks else _thought(draw, recorder))
    new = [extension for extension in recorder.given if extension.block or extension.answer is not None]
    assert len(new) == len(completion.blocks) - len(draw.kept.blocks) + 1
    ratings = [rating for rating in (new[0].before, *(extension.rating for extension in new)) if rating]
    grade = grader(draw.problem, completion)
    rollout = Rollout(draw.problem, completion, tuple(extension.segment for extension in new), grade)
    return Drawn(draw, rollout, tuple(ratings) if len(ratings) == len(new) + 1 else None)


async def _thought(draw: Draw, sampler: Sampler) -> Completion:
    messages = (Message("user", draw.problem.prompt),)
    return await think_one(
        Request(messages, draw.effort, draw.temperature, seed=draw.seed, budget=draw.budget), sampler
    )


async def _thought_on(draw: Draw, sampler: Sampler) -> Completion:
    """The whole thought, of which the end is new; it may take what the beginning has left of the budget."""
    prefix = Prefix((Message("user", draw.problem.prompt),), draw.effort, draw.kept.blocks)
    left = replace(draw.most, thinking=max(0, draw.most.thinking - draw.kept.thinking))
    (end,) = await continue_from(prefix, sampler, [Sampling(draw.temperature, seed=draw.seed)], left)
    tokens = replace(end.tokens, thinking=end.tokens.thinking + draw.kept.thinking)
    return replace(end, blocks=(*draw.kept.blocks, *end.blocks), tokens=tokens)


async def roll_out_all(draws: Sequence[Draw], sampler: Sampler, grader: Grader = grade_completion) -> list[Drawn]:
    """Many rollouts in order, up to `think`'s SIDE_BY_SIDE at once."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(draw: Draw) -> Drawn:
        async with gate:
            return await roll_out(draw, sampler, grader)

    return list(await asyncio.gather(*(one(draw) for draw in draws)))
