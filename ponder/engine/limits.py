"""What every sampler refuses, and where an answer stops."""

import math
from collections.abc import Sequence

from ponder.errors import RequestError
from ponder.interfaces import Limit, Sampling
from ponder.text.format import Dialect
from ponder.types import Ended

HOTTEST = 100.0
"""Beyond this temperature every token is equally likely."""


MOST_STOPS, LONGEST_STOP = 16, 1000
"""Most stop texts of one request, and most characters of one: the answer is searched for all of them at each token."""


def check(limit: Limit, samplings: Sequence[Sampling], dialect: Dialect) -> None:
    """Refuses what cannot be sampled, with RequestError."""
    if not samplings:
        raise RequestError("no samples are asked for (n=0): ask for at least one")
    if limit.thinking < 0 or limit.answer < 1:
        raise RequestError(f"{limit.thinking} thinking and {limit.answer} answer tokens: an answer needs at least one")
    _check_stops(limit.stop, dialect)
    for one in samplings:
        right = 0 <= one.temperature <= HOTTEST and 0 < one.top_p <= 1 and 0 <= one.top_k < 2**31
        if not (right and 0 <= one.min_p <= 1) or not math.isfinite(one.temperature):
            raise RequestError(
                f"{one} is out of range: temperature 0 to {HOTTEST:g}, top_p in (0, 1], top_k from 0, min_p in [0, 1]"
            )


def _check_stops(stops: Sequence[object], dialect: Dialect) -> None:
    if isinstance(stops, str) or len(stops) > MOST_STOPS:
        raise RequestError(f"{len(stops)} stop texts: give a list of at most {MOST_STOPS}")
    for stop in stops:
        if not isinstance(stop, str):
            raise RequestError(f"the stop {stop!r} is no text: write it as one")
        if not stop:
            raise RequestError("an empty stop text would end every answer before it begins: leave it out")
        if len(stop) > LONGEST_STOP:
            raise RequestError(f"a stop text of {len(stop):,} characters: {LONGEST_STOP:,} at most")
        if "\0" in stop or any("\ud800" <= letter <= "\udfff" for letter in stop):
            raise RequestError(f"the stop text {stop!r} holds NUL or half a character, which no answer does")
        if dialect.folds and (mark := dialect.lexer.search(stop)):
            raise RequestError(
                f"the stop text {stop!r} spells the marker {mark[0]}, which is no text in an answer: it ends by itself"
            )


def before_stop(answer: str, ended: Ended, stops: Sequence[str]) -> tuple[str, Ended]:
    """The answer up to the first stop text in it; one that was stopped is whole."""
    at = [answer.find(stop) for stop in stops if stop in answer]
    return (answer[: min(at)], Ended.ANSWERED) if at else (answer, ended)
