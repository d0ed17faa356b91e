"""How long to think: the one table from effort to what it buys, and from a thought's real length to its effort."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pydantic

from ponder.errors import ConfigError
from ponder.types import Effort


@dataclass(frozen=True)
class Budget:
    """What an effort buys. Answer tokens are reserved on top: thinking can never eat them."""

    thinking: int
    """Most tokens of thought, markers included."""
    answer: int = 192
    """Tokens reserved for the answer."""
    samples: int = 1
    """Chains or candidates that a search may draw; each chain has the thinking tokens for itself."""
    width: int = 1
    """How many of them it keeps at once, or draws at one place; see each search."""
    depth: int = 256
    """Most blocks in one chain."""


BUDGETS: Mapping[Effort, Budget] = {
    Effort.NONE: Budget(0),
    Effort.MINIMAL: Budget(96),
    Effort.LOW: Budget(320),
    Effort.MEDIUM: Budget(1024),
    Effort.HIGH: Budget(2048),
    Effort.XHIGH: Budget(4096),
    Effort.MAX: Budget(8192),
}

AUTO = "auto"
"""In place of an effort: a model's own choice among them, question by question."""


class Plan(pydantic.BaseModel):
    """How one effort is spent: on which search, and with how many candidates.

    A model's own plans stand in its ``ponder.json``, found by measurement; without one, an effort is one chain.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    search: str = "single"
    samples: pydantic.PositiveInt = 1
    width: pydantic.PositiveInt | None = None
    """Else the usual one of its samples."""
    thinking: pydantic.NonNegativeInt | None = None
    """Most tokens of thought in one chain; else the effort's own."""
    temperature: pydantic.NonNegativeFloat | None = None
    """What it was measured at, and is used at where no other one is asked for; else 0."""

    def budget(self, effort: Effort) -> Budget:
        """What it buys at an effort, whose token the model sees."""
        base, width = BUDGETS[effort], self.width or usual_width(self.samples)
        thinking = base.thinking if self.thinking is None else self.thinking
        return replace(base, thinking=thinking, samples=self.samples, width=width)

    def words(self) -> str:
        """For a reader: ``majority, 16 samples``."""
        return self.search if self.samples == 1 else f"{self.search}, {self.samples} samples"


def usual_width(samples: int) -> int:
    """The width where none is named: the largest divisor that is not above the root, such as 4 of 16."""
    return next((width for width in range(int(max(samples, 1) ** 0.5), 0, -1) if samples % width == 0), 1)


LEAST_ANSWER = 32
"""So many tokens of a limit on everything are the answer's before anything is thought."""


def within(budget: Budget, tokens: int) -> Budget:
    """The budget where thinking and answer, of all samples together, take at most so many tokens; at least one.

    An answer always has its share; what thinking does not need is the answer's too, up to what the budget gives it.
    """
    if tokens < budget.samples * LEAST_ANSWER:
        budget = replace(budget, samples=1, width=1)
    most = tokens // budget.samples
    reserved = min(budget.answer, max(most // 4, min(most, LEAST_ANSWER)))
    thinking = min(budget.thinking, most - reserved)
    return replace(budget, thinking=thinking, answer=min(budget.answer, most - thinking))


def effort_named(name: str) -> Effort:
    """The effort of that name; unknown names list the known ones."""
    try:
        return Effort(name)
    except ValueError:
        raise ConfigError(f"unknown effort {name!r}: the efforts are {', '.join(Effort)}") from None


def smallest_effort(tokens: int) -> Effort:
    """The smallest effort whose budget holds a thought of that many tokens."""
    return next((effort for effort, budget in BUDGETS.items() if tokens <= budget.thinking), Effort.MAX)
