"""How likely an answer's tokens were, as both APIs tell it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ponder.engine.chances import Chance, Likely


def likely(chances: "Sequence[Chance]") -> list[dict[str, Any]]:
    """Token by token; a token that is a part of a character has its bytes alone for certain."""
    return [_told(one.token) | {"top_logprobs": [_told(other) for other in one.others]} for one in chances]


def _told(one: "Likely") -> dict[str, Any]:
    return {"token": one.bytes.decode(errors="replace"), "logprob": one.logprob, "bytes": list(one.bytes)}
