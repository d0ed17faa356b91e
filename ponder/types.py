"""The words of the design, as frozen values. Everything else in the package speaks in these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class Effort(StrEnum):
    """How long to think; what each one buys is in ``text/effort.py``."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class Split(StrEnum):
    """Which part of a task's problems: decided by a hash of the problem's content, never by its index."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Style(StrEnum):
    """How a demonstration thinks."""

    CLEAN = "clean"
    CORRECTED = "corrected"
    WANDERING = "wandering"
    DIRECT = "direct"


class Ended(StrEnum):
    """How a completion ended."""

    ANSWERED = "answered"
    CUT_OFF = "cut_off"
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Problem:
    """A question with a known answer, and what its grader needs to know."""

    task: str
    level: int
    prompt: str
    answer: str
    """One right answer, in the form the task's demonstrations give it."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values from which the prompt was rendered and the answer is graded."""
    id: str = ""


@dataclass(frozen=True)
class Grade:
    """A score in [0, 1], or None where the grader could not decide, with the reason in words."""

    score: float | None
    note: str = ""

    @property
    def right(self) -> bool:
        """Whether the answer counts as right; an undecided grade does not."""
        return self.score == 1.0


@dataclass(frozen=True)
class Block:
    """One reasoning step: what it is about, the work, and what is known after it."""

    headline: str
    thoughts: str
    summary: str


Thought = tuple[Block, ...]
"""The blocks of one completion, in order."""


@dataclass(frozen=True)
class BlockCheck:
    """What an exact checker says of one block; None where it cannot tell."""

    valid: bool | None
    winnable: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Demonstration:
    """A thought and an answer that a task's own solver wrote."""

    blocks: Thought
    answer: str


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Tokens:
    """Exact token counts of one completion."""

    prompt: int = 0
    thinking: int = 0
    answer: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt + other.prompt, self.thinking + other.thinking, self.answer + other.answer)


@dataclass(frozen=True)
class Completion:
    """A thought, an answer, what they cost, and how it ended."""

    blocks: Thought
    answer: str
    ended: Ended
    tokens: Tokens = Tokens()
    note: str = ""


@dataclass(frozen=True)
class Segment:
    """What training eats: the ids of one block or answer as sampled, and what it was sampled from.

    Empty where a remote server sampled, which sends no ids.
    """

    context: tuple[int, ...]
    generated: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Rollout:
    """The segments of one sampled completion, with its grade."""

    problem: Problem
    completion: Completion
    segments: tuple[Segment, ...]
    grade: Grade


@dataclass(frozen=True)
class Rating:
    """The model's own probabilities, read at a boundary."""

    value: float
    validity: float
