"""What an operator decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ponder.serve.keys import Keys
from ponder.text.effort import BUDGETS, Budget
from ponder.types import Effort

REASONING_FIELDS = ("reasoning_content", "reasoning", "both", "none")
"""Names under which chat replies carry the summaries; servers and clients disagree about them."""


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    read: float
    """Of prompts."""
    written: float
    """Of thoughts, discarded ones included, and answers."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One server's."""

    model: str
    """The name that clients use."""
    direct: bool = False
    """Whether the model was taught to answer without thinking."""
    search: str = "single"
    budgets: Mapping[Effort, Budget] = field(default_factory=lambda: BUDGETS)
    temperature: float = 0.0
    """Where a request gives none."""
    expose_thoughts: bool = False
    """Whether a request may ask for raw thoughts."""
    strict: bool = False
    """Whether parameters without effect are refused, as o1 did, rather than named in ``x-ignored-params``."""
    reasoning_field: str = REASONING_FIELDS[0]
    keys: Keys | None = None
    """None lets everybody in."""
    price: Price | None = None
    """None where no costs are told."""
    most_requests: int = 512
    """Requests that are thought about at once; further ones get a 429."""
    most_bytes: int = 1_000_000
    """Of a request's body."""
    body_seconds: float = 30.0
    """A body that takes longer to arrive is given up."""
    ping_seconds: float = 10.0
    """A stream is never silent for longer."""

    @property
    def effort(self) -> Effort:
        """Where a request names none."""
        return Effort.NONE if self.direct else Effort.MEDIUM
