"""The effort table grows, and always leaves room for the answer."""

from dataclasses import replace

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import ConfigError
from ponder.text.effort import BUDGETS, Budget, Plan, effort_named, smallest_effort, usual_width, within
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


def test_the_usual_width_divides() -> None:
    assert [usual_width(n) for n in (1, 2, 4, 6, 7, 8, 16, 64)] == [1, 1, 2, 2, 1, 2, 4, 8]


def test_a_plan_is_the_efforts_budget_with_what_it_names() -> None:
    assert Plan().budget(Effort.LOW) == BUDGETS[Effort.LOW]
    plan = Plan(search="beam", samples=16, thinking=500)
    assert plan.budget(Effort.HIGH) == Budget(500, samples=16, width=4)
    assert Plan(samples=16, width=2, thinking=0).budget(Effort.HIGH) == Budget(0, samples=16, width=2)
    assert plan.words() == "beam, 16 samples"


@pytest.mark.parametrize("wrong", [{"sample": 4}, {"samples": 0}, {"width": 0}, {"thinking": -1}, {"temperature": -1}])
def test_a_plan_refuses_what_does_not_fit(wrong: dict[str, int]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Plan.model_validate(wrong)


@given(st.integers(1, 20_000), st.sampled_from(list(BUDGETS.values())), st.integers(1, 8))
def test_a_limit_on_everything_leaves_room_for_an_answer(most: int, budget: Budget, samples: int) -> None:
    small = within(replace(budget, samples=samples, width=samples), most)
    assert small.samples * (small.thinking + small.answer) <= most and small.answer >= min(32, most)
    assert small.thinking <= budget.thinking and small.answer <= budget.answer and small.samples in (1, samples)
    assert within(budget, 100_000) == budget
