"""What every sampler refuses, and where an answer stops."""

import math
from collections.abc import Sequence

from ponder.errors import SamplerError
from ponder.interfaces import Limit, Sampling
from ponder.types import Ended

HOTTEST = 100.0
"""Beyond this temperature every token is equally likely."""


def check(limit: Limit, samplings: Sequence[Sampling]) -> None:
    """Refuses what cannot be sampled."""
    if limit.thinking < 0 or limit.answer < 1:
        raise SamplerError(f"{limit.thinking} thinking and {limit.answer} answer tokens: an answer needs at least one")
    if "" in limit.stop:
        raise SamplerError("an empty stop text would end every answer before it begins: leave it out")
    for one in samplings:
        right = 0 <= one.temperature <= HOTTEST and 0 < one.top_p <= 1 and 0 <= one.top_k < 2**31
        if not (right and 0 <= one.min_p <= 1) or not math.isfinite(one.temperature):
            raise SamplerError(
                f"{one} is out of range: temperature 0 to {HOTTEST:g}, top_p in (0, 1], top_k from 0, min_p in [0, 1]"
            )


def before_stop(answer: str, ended: Ended, stops: Sequence[str]) -> tuple[str, Ended]:
    """The answer up to the first stop text in it; one that was stopped is whole."""
    at = [answer.find(stop) for stop in stops if stop in answer]
    return (answer[: min(at)], Ended.ANSWERED) if at else (answer, ended)
