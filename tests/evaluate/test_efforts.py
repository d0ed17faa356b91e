"""What efforts should buy: found on measurements that are made up."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import ConfigError
from ponder.evaluate.efforts import NEVER, Candidate, candidates, front, pick_plans, pick_thresholds
from ponder.evaluate.scaling import Seen, curves
from ponder.reward.route import chosen
from ponder.text.effort import Plan
from ponder.types import Effort

LADDER = (Effort.LOW, Effort.MEDIUM, Effort.HIGH)


def candidate(effort: Effort, tokens: float, accuracy: float, samples: int = 1, seen=None) -> Candidate:
    return Candidate(effort, Plan(search="majority", samples=samples), accuracy, tokens, seen or {})


measured = st.lists(
    st.builds(candidate, st.sampled_from(LADDER), st.integers(1, 5000), st.integers(0, 100).map(lambda x: x / 100)),
    min_size=1,
    max_size=12,
)


@given(measured)
def test_nothing_beats_the_front_and_the_front_beats_the_rest(found):
    best = front(found)
    for one in found:
        beaten = any(o.tokens <= one.tokens and o.accuracy >= one.accuracy for o in best)
        assert beaten or one in best
    assert all(a.tokens < b.tokens and a.accuracy < b.accuracy for a, b in zip(best, best[1:], strict=False))


@given(measured)
def test_plans_cost_more_and_do_no_worse_from_effort_to_effort(found):
    efforts = [effort for effort in LADDER if any(one.effort is effort for one in found)]
    try:
        picked = pick_plans(found)
    except ConfigError:
        own = [front([one for one in found if one.effort is effort]) for effort in efforts]
        assert not any(
            all(a.tokens < b.tokens and a.accuracy <= b.accuracy for a, b in zip(way, way[1:], strict=False))
            for way in product(*own)
        )
        return
    assert [one.effort for one in picked] == efforts and all(one in found for one in picked)
    for less, more in zip(picked, picked[1:], strict=False):
        assert less.tokens < more.tokens and less.accuracy <= more.accuracy


def test_plans_are_even_steps_along_the_front():
    found = [
        candidate(effort, 100 * 2**step * dearer, 0.2 + 0.1 * step - 0.02 * (dearer > 1), 2**step)
        for effort, dearer in zip(LADDER, (1, 1, 2), strict=True)
        for step in range(7)
    ]
    picked = pick_plans(found)
    assert [one.plan.samples for one in picked][0] == 1 and picked[-1].accuracy >= 0.75
    assert picked[1].plan.samples == 8


def test_an_effort_that_buys_nothing_is_refused():
    with pytest.raises(ConfigError, match="effort medium buys nothing better"):
        pick_plans([candidate(Effort.LOW, 100, 0.9), candidate(Effort.MEDIUM, 200, 0.5)])
    with pytest.raises(ConfigError, match="nothing was measured"):
        pick_plans([])


def test_candidates_come_from_the_mean_of_all_tasks(sweep):
    found = candidates(curves(sweep, times=20))
    by_plan = {(one.plan.search, one.plan.samples): one for one in found}
    assert set(by_plan) == {
        ("single", 1),
        *((search, n) for search in ("majority", "weighted_vote") for n in (1, 2, 4, 8, 16)),
        *((search, n) for search in ("beam", "best_of_n") for n in (1, 4, 16)),
    }
    beam = by_plan["beam", 16]
    assert (beam.effort, beam.plan.temperature, beam.tokens, len(beam.seen)) == (Effort.MEDIUM, 0.8, 1600, 80)


def test_weights_are_not_mixed(make):
    with pytest.raises(ConfigError, match="several models or weights"):
        candidates(curves([make(0, 1.0), make(0, 1.0, weights="w2")], times=20))


def ladder(problems: int, easy: int) -> tuple[list[Candidate], dict[Effort, dict[str, float]]]:
    """The first problems are right at every effort, the others at the last alone; the values know."""
    seen = {
        effort: {f"{i:03}": Seen(float(i < easy or effort is Effort.HIGH), 100 * 4**place, 50) for i in range(problems)}
        for place, effort in enumerate(LADDER)
    }
    made = [
        candidate(effort, 100 * 4**place, easy / problems if effort is not Effort.HIGH else 1.0, seen=seen[effort])
        for place, effort in enumerate(LADDER)
    ]
    value = {f"{i:03}": 0.9 - 0.001 * i if i < easy else 0.3 - 0.001 * i for i in range(problems)}
    return made, dict.fromkeys(LADDER, value)


def test_thresholds_save_what_can_be_saved():
    picked, values = ladder(40, 20)
    table = pick_thresholds(picked, values, keep=1.0)
    assert table.accuracy == table.reference_accuracy == 1.0 and table.reference_tokens == 1600
    assert table.tokens == pytest.approx((20 * 100 + 20 * 1600) / 40, rel=0.1)
    assert list(table.thresholds) == list(LADDER) and table.reference is Effort.HIGH
    taken = [chosen({effort: values[effort][name] for effort in LADDER}, table.thresholds) for name in values["low"]]
    assert sum(100 * 4 ** LADDER.index(one) for one in taken) / 40 == table.tokens


def test_blind_values_save_nothing_that_counts():
    picked, values = ladder(40, 20)
    blind = {effort: dict.fromkeys(of, 0.5) for effort, of in values.items()}
    table = pick_thresholds(picked, blind, keep=0.97)
    assert table.tokens == 1600 and table.thresholds[Effort.LOW] == NEVER


def test_auto_needs_two_efforts_on_the_same_problems():
    picked, values = ladder(4, 2)
    with pytest.raises(ConfigError, match="at least two efforts"):
        pick_thresholds(picked[:1], values)
