"""One number from the ratings of a whole thought.

Which one fits depends on what was labelled: a value already speaks of the end, so its last one says all (Snell et al.
2024); a thought is valid as far as its weakest block is, so validities go through the minimum or the product (Lightman
et al. 2023).
"""

import math
from collections.abc import Callable, Mapping, Sequence

from ponder.errors import ConfigError
from ponder.types import Rating


def _product(numbers: Sequence[float]) -> float:
    return math.prod(numbers)


def _last(numbers: Sequence[float]) -> float:
    return numbers[-1]


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)


AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": _product,
    "last": _last,
    "mean": _mean,
}


def aggregate(numbers: Sequence[float], how: str) -> float:
    """The probabilities of a thought's blocks as one; raises ConfigError for an unknown name or for no numbers."""
    if how not in AGGREGATES:
        raise ConfigError(f"unknown aggregate {how!r}: the aggregates are {', '.join(AGGREGATES)}")
    if not numbers:
        raise ConfigError("a thought without ratings has no aggregate: rate its start too")
    return AGGREGATES[how](numbers)


def thought_value(ratings: Sequence[Rating], how: str = "last") -> float:
    """The values of a thought's boundaries as one."""
    return aggregate([rating.value for rating in ratings], how)


def thought_validity(ratings: Sequence[Rating], how: str = "min") -> float:
    """The validities of a thought's boundaries as one."""
    return aggregate([rating.validity for rating in ratings], how)
