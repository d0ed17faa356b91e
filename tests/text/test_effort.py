"""The effort table grows, and always leaves room for the answer."""

import pytest

from ponder.errors import ConfigError
from ponder.text.effort import BUDGETS, effort_named, smallest_effort
from ponder.types import Effort


def test_more_effort_buys_more_thinking() -> None:
    tokens = [BUDGETS[effort].thinking for effort in Effort]
    assert tokens == sorted(set(tokens))
    assert all(budget.answer > 0 for budget in BUDGETS.values())


def test_unknown_effort_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'lots'.*none, minimal"):
        effort_named("lots")


@pytest.mark.parametrize("effort", list(Effort)[:-1])
def test_smallest_effort_holds_the_thought(effort: Effort) -> None:
    assert smallest_effort(BUDGETS[effort].thinking) is effort
    assert smallest_effort(BUDGETS[effort].thinking + 1) is not effort
