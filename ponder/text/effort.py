"""How long to think: the one table from effort to what it buys, and from a thought's real length to its effort."""

from collections.abc import Mapping
from dataclasses import dataclass

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


def effort_named(name: str) -> Effort:
    """The effort of that name; unknown names list the known ones."""
    try:
        return Effort(name)
    except ValueError:
        raise ConfigError(f"unknown effort {name!r}: the efforts are {', '.join(Effort)}") from None


def smallest_effort(tokens: int) -> Effort:
    """The smallest effort whose budget holds a thought of that many tokens."""
    return next((effort for effort, budget in BUDGETS.items() if tokens <= budget.thinking), Effort.MAX)
