"""What becomes of a request, in order: it begins, blocks fold, the answer grows, it is done."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.serve.tree import Tried
from ponder.types import Block, Completion, Segment

if TYPE_CHECKING:
    from ponder.engine.chances import Chance


@dataclass(frozen=True)
class Begun:
    """The prompt fits, and something is being written."""


@dataclass(frozen=True)
class Folded:
    """A block has closed."""

    block: Block


@dataclass(frozen=True)
class Told:
    """More of the answer."""

    text: str
    chances: "tuple[Chance, ...]" = ()
    """Of its tokens, where they were asked for."""


@dataclass(frozen=True)
class Refused:
    """There is an answer, but not in the form that was asked for."""

    why: str


@dataclass(frozen=True)
class Done:
    """The whole, with its counts."""

    completion: Completion
    forced: bool
    """Whether the model would have thought on, but had to answer."""
    cached: int = 0
    """Tokens of the prompt that the engine did not have to read, because it knew them from other requests."""
    segment: Segment | None = None
    """What the answer was written in."""
    chances: "tuple[Chance, ...]" = ()
    refusal: str | None = None
    """In place of an answer that is not in the form that was asked for."""


Event = Begun | Folded | Told | Refused | Tried | Done
