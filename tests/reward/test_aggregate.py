"""One number from many, by hand."""

import pytest

from ponder.errors import ConfigError
from ponder.reward.aggregate import AGGREGATES, aggregate, thought_validity, thought_value
from ponder.types import Rating


def test_by_hand() -> None:
    numbers = [0.5, 0.25, 0.75]
    assert {how: aggregate(numbers, how) for how in AGGREGATES} == {
        "min": 0.25,
        "product": 0.09375,
        "last": 0.75,
        "mean": 0.5,
    }


def test_values_and_validities() -> None:
    ratings = [Rating(0.5, 1.0), Rating(0.25, 0.5)]
    assert thought_value(ratings) == 0.25 and thought_validity(ratings) == 0.5
    assert thought_value(ratings, "mean") == 0.375 and thought_validity(ratings, "product") == 0.5


def test_what_cannot_be_aggregated() -> None:
    with pytest.raises(ConfigError, match="unknown aggregate 'max': the aggregates are min, product, last, mean"):
        aggregate([0.5], "max")
    with pytest.raises(ConfigError, match="without ratings"):
        aggregate([], "min")
