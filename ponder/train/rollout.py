"""Rollouts: completions sampled for training, with the ids and log-probabilities that the sampler produced."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampler, Sampling
from ponder.reward.exact import grade_completion
from ponder.text.effort import Budget
from ponder.think import SIDE_BY_SIDE, Request, think_one
from ponder.types import Completion, Effort, Grade, Message, Problem, Rating, Rollout


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
class Draw:
    """One rollout to sample."""

    problem: Problem
    effort: Effort
    seed: int
    temperature: float = 1.0
    budget: Budget | None = None
    """In place of the effort's own."""


Grader = Callable[[Problem, Completion], Grade]


@dataclass(frozen=True)
class Drawn:
    """A sampled rollout: one segment for each block, and one for the answer."""

    draw: Draw
    rollout: Rollout
    ratings: tuple[Rating, ...] | None
    """At each boundary, from a sampler that has a head: the start, each block's end, the answer's end."""

    def graded(self, grade: Grade) -> "Drawn":
        """The same with another grade."""
        return replace(self, rollout=replace(self.rollout, grade=grade))


async def roll_out(draw: Draw, sampler: Sampler, grader: Grader = grade_completion) -> Drawn:
    """Think once about a problem, and grade the answer. What ended thinking without a block is no segment."""
    recorder = _Recorder(sampler)
    messages = (Message("user", draw.problem.prompt),)
    request = Request(messages, draw.effort, draw.temperature, seed=draw.seed, budget=draw.budget)
    completion = await think_one(request, recorder)
    kept = [extension for extension in recorder.given if extension.block or extension.answer is not None]
    assert len(kept) == len(completion.blocks) + 1
    ratings = [rating for rating in (kept[0].before, *(extension.rating for extension in kept)) if rating]
    grade = grader(draw.problem, completion)
    rollout = Rollout(draw.problem, completion, tuple(extension.segment for extension in kept), grade)
    return Drawn(draw, rollout, tuple(ratings) if len(ratings) == len(kept) + 1 else None)


async def roll_out_all(draws: Sequence[Draw], sampler: Sampler, grader: Grader = grade_completion) -> list[Drawn]:
    """Many rollouts in order, up to `think`'s SIDE_BY_SIDE at once."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(draw: Draw) -> Drawn:
        async with gate:
            return await roll_out(draw, sampler, grader)

    return list(await asyncio.gather(*(one(draw) for draw in draws)))
