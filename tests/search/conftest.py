"""A puzzle with an exact rater: three digits are drawn, one a block; the answer is their sum, right from 7 on."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Any, TypeVar

import pytest

from ponder.engine.scripted import ScriptedSampler, Step
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.search import SEARCHES
from ponder.text.effort import Budget
from ponder.types import Block, Completion, Effort, Message, Node, Rating

T = TypeVar("T")
LENGTH = 3
"""Digits of a puzzle."""
DIGITS = 4
"""They are 0 to 3."""
GOAL = 7
"""The least sum that is right: 10 of 64 ways lead there, and most ways lead to 4 or 5."""
ROOT = Prefix((Message("user", "sum"),), Effort.MEDIUM)


def digits(prefix: Prefix) -> list[int]:
    return [int(block.summary[-1]) for block in prefix.blocks]


def value(prefix: Prefix) -> float:
    """The share of ways to go on that end right."""
    ways = list(product(range(DIGITS), repeat=max(0, LENGTH - len(prefix.blocks))))
    return sum(sum(digits(prefix)) + sum(way) >= GOAL for way in ways) / len(ways)


def rating(prefix: Prefix) -> Rating:
    return Rating(value(prefix), 0.5 + digits(prefix)[-1] / 8 if prefix.blocks else 1.0)


def play(prefix: Prefix, rng: Random) -> Step:
    """Draws a digit, then sums; of equal digits the thoughts differ, which folding hides."""
    if prefix.answering or (len(prefix.blocks) >= LENGTH and not prefix.think_on):
        return Step(f" {sum(digits(prefix))}", before=rating(prefix))
    digit = rng.randrange(DIGITS)
    so_far = "".join(map(str, (*digits(prefix), digit)))
    block = Block(f"draw {len(so_far)}", f"drawn {rng.randrange(10)}", so_far)
    after = Prefix(prefix.messages, prefix.effort, (*prefix.blocks, block))
    return Step(block, rating=rating(after), before=rating(prefix))


def bare(prefix: Prefix, rng: Random) -> Step:
    """The same without a head."""
    step = play(prefix, rng)
    return Step(step.says)


SAMPLER = ScriptedSampler({"sum": play})
BARE = ScriptedSampler({"sum": bare})


@dataclass
class Oracle:
    """Rates exactly; remembers what it was asked, and cannot rate what ends in a bad summary."""

    asked: list[Prefix] = field(default_factory=list)
    calls: int = 0
    bad: str = "none"

    async def rate(self, prefixes: Sequence[Prefix]) -> list[Rating]:
        self.calls += 1
        self.asked += prefixes
        await asyncio.sleep(0)
        if any(prefix.blocks and prefix.blocks[-1].summary.endswith(self.bad) for prefix in prefixes):
            raise SamplerError(f"cannot rate {self.bad}")
        return [rating(prefix) for prefix in prefixes]


@dataclass
class Shaky:
    """A sampler that answers in any order, and fails where it is told to."""

    fails: Callable[[Prefix, Sampling], bool] = lambda prefix, sampling: False
    sampler: ScriptedSampler = SAMPLER
    delays: Random = field(default_factory=lambda: Random(0))
    extensions: list[Extension] = field(default_factory=list)
    cancelled: int = 0
    begun: int = 0
    stuck: bool = False

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        self.begun += len(samplings)
        try:
            for _ in range(self.delays.randrange(6)):
                await asyncio.sleep(0)
            if self.stuck:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += len(samplings)
            raise
        if any(self.fails(prefix, sampling) for sampling in samplings):
            raise SamplerError("the machine is on fire")
        found = await self.sampler.extend(prefix, limit, samplings, hear)
        self.extensions += found
        return found


def run(work: Awaitable[T]) -> T:
    async def awaited() -> T:
        return await work

    return asyncio.run(awaited())


def search(
    name: str, samples: int = 1, width: int = 1, *, seed: int = 0, sampler=SAMPLER, rater=None, thinking: int = 10**6
) -> Completion:
    """One search of the puzzle."""
    budget = Budget(thinking, samples=samples, width=width)
    return run(SEARCHES[name](ROOT, budget, Sampling(1.0, seed=seed), sampler, rater))


def nodes(completion: Completion) -> tuple[Node, ...]:
    assert completion.tree
    return completion.tree.nodes


def best(completion: Completion) -> float:
    """The best rating that a search reached."""
    return max(node.rating.value for node in nodes(completion) if node.rating)


def costs(extensions: Sequence[Extension]) -> int:
    return sum(len(extension.segment.generated) for extension in extensions)


@pytest.fixture(scope="session")
def puzzle() -> Any:
    """All of the above."""
    return sys.modules[__name__]
