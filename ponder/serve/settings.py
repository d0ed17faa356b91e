"""What an operator decides."""

from dataclasses import dataclass

from ponder.serve.keys import Keys
from ponder.serve.limits import Quota

REASONING_FIELDS = ("reasoning_content", "reasoning", "both", "none")
"""Names under which chat replies carry the summaries; servers and clients disagree about them."""


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    read: float
    """Of prompts."""
    written: float
    """Of thoughts, discarded ones included, and answers."""
    cached: float | None = None
    """Of the part of a prompt that the engine did not have to read; else as `read`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One server's."""

    expose_thoughts: bool = False
    """Whether a request may ask for raw thoughts."""
    strict: bool = False
    """Whether parameters without effect are refused, as o1 did, rather than named in ``x-ignored-params``."""
    reasoning_field: str = REASONING_FIELDS[0]
    keys: Keys | None = None
    """None lets everybody in."""
    quota: Quota = Quota()
    """Of each key, or of everybody together where there are none."""
    most_requests: int = 512
    """Requests that are thought about at once; further ones get a 429."""
    most_bytes: int = 1_000_000
    """Of a request's body."""
    body_seconds: float = 30.0
    """A body that takes longer to arrive is given up."""
    ping_seconds: float = 10.0
    """A stream is never silent for longer."""
    send_seconds: float = 60.0
    """A client that takes nothing of a stream for so long has gone: it must not hold its place for ever."""
    sweep_seconds: float = 3600.0
    """Between looking for responses that have been kept for long enough."""
