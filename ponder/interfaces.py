"""The contracts between the parts: a task, and the things that thinking is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, runtime_checkable

from ponder.types import (
    Block,
    BlockCheck,
    Demonstration,
    Effort,
    Ended,
    Grade,
    Message,
    Problem,
    Rating,
    Segment,
    Style,
    Thought,
    Tokens,
)

Data = Mapping[str, Any]
"""A problem's content as plain JSON values."""


@dataclass(frozen=True)
class Task:
    """A family of problems, as plain functions. ``tasks.make`` adds levels, splits and phrasings to them."""

    name: str
    title: str
    """What the task asks, in one line."""
    levels: Mapping[int, str]
    """Level to what it contains, in words."""
    draw: Callable[[int, Random], Data]
    """The content of one problem of a level; always solvable."""
    canonical: Callable[[Data], str]
    """The same text for problems that are the same: the split hash reads only this."""
    phrasings: tuple[Callable[[Data], str], ...]
    """Content to prompt. The first one is the exact wording of the reasoning-gym task, where there is one."""
    answer: Callable[[Data], str]
    """One right answer."""
    grade: Callable[[Problem, str], Grade]
    """Exact; reads the answer text alone."""
    check_blocks: Callable[[Problem, Sequence[Block]], tuple[BlockCheck, ...]]
    demonstrate: Callable[[Problem, Random, Style], Demonstration]
    validate: Callable[[Data], Data]
    """The content of a user's own problem, checked; raises ProblemError naming what is wrong."""
    gym: str | None = None
    """The reasoning-gym task whose wording ``phrasings[0]`` is."""
    same: Callable[[str], str] = str.strip
    """Answers of which this says the same are one answer to a vote; they have one grade. It knows no problem."""


@dataclass(frozen=True)
class Prefix:
    """All that the next step depends on: the conversation, the effort, and the closed blocks."""

    messages: tuple[Message, ...]
    effort: Effort
    blocks: Thought = ()
    answering: bool = False
    """Whether thinking is over and the answer must come next."""
    think_on: bool = False
    """Whether a block must come next, however much the model wants to answer."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; ``temperature=0`` takes the likeliest."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    """Only so many of the likeliest tokens; 0 for all."""
    min_p: float = 0.0
    """Only tokens with at least this share of the likeliest one's probability."""


@dataclass(frozen=True)
class Limit:
    """Most tokens that one extension may take: of thinking, or of the answer where it goes over to answering."""

    thinking: int
    answer: int
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""


@dataclass(frozen=True)
class Extension:
    """What a sampler added to a prefix: one block, or the answer; neither, where thinking ended without a block."""

    block: Block | None
    answer: str | None
    ended: Ended | None
    """None while the thought goes on."""
    segment: Segment
    rating: Rating | None = None
    """Read after its last token, by samplers that have a head."""
    before: Rating | None = None
    """The same at the end of what it was sampled from: with no blocks yet, at the effort token."""
    spent: Tokens | None = None
    """What it cost, from a sampler that knows the count but not the ids; else the segment's ids are counted."""
    last: bool = False
    """Whether the model ended its thinking here, so that the answer must come next."""
    known: int = 0
    """Tokens of its context that did not have to be computed for it; of samplers that do not say, 0."""


Hear = Callable[[int, str], None]
"""Called with a sample's number and its next piece of text, while it is generated."""


class Sampler(Protocol):
    """Extends a prefix by one block or by the answer; many extensions may be awaited at once."""

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One extension for each sampling, within the limit and drawn from its own seed.

        `hear` follows the text as it comes, from samplers that stream; the others do not call it.
        """
        ...


@runtime_checkable
class Yielding(Protocol):
    """What samples in this process, whose other threads wait for the interpreter meanwhile."""

    def aside(self, work: Callable[[], None]) -> None:
        """Have something done soon that gives them work, when it is best for both; in the thread that samples."""
        ...


@runtime_checkable
class Following(Protocol):
    """A sampler that shows a thought while its search goes on."""

    def certain(self, blocks: Thought) -> None:
        """The search keeps these blocks from the question on, whatever comes after them."""
        ...


class Rater(Protocol):
    """Rates thoughts at their last boundary, whatever sampled them."""

    async def rate(self, prefixes: Sequence[Prefix]) -> list[Rating]:
        """A rating for each prefix: of its last block, or of the question where there is none.

        Values and validities lie in [0, 1]; raises SamplerError where one of them cannot be rated.
        """
        ...
