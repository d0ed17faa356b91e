"""The claims' numbers are those of the curves, paired, and what was not reached says so."""

import json
from math import inf

import pytest

from ponder.evaluate.claims import claims, reached
from ponder.evaluate.metrics import compared
from ponder.evaluate.scaling import COVERAGE, MEAN, by_effort, curves
from ponder.types import Tokens


@pytest.fixture(scope="module")
def told(sweep):
    return claims(curves(sweep, times=300), by_effort(sweep, times=300))


def one(told, name, task=MEAN):
    (found,) = [claim for claim in told if claim.name.startswith(name) and claim.task == task]
    return found


def test_every_claim_is_there_for_each_task_and_the_mean(told):
    names = {
        "majority@16 − pass@1",
        "weighted_vote@16 − majority@16",
        "majority, a doubling of tokens",
        "weighted_vote, a doubling of tokens",
        f"{COVERAGE}@16",
        "beam: tokens to match majority@16, of its tokens",
        "weighted_vote: tokens to match majority@16, of its tokens",
        "auto: accuracy, of high's",
        "auto: tokens, of high's",
        "effort high − low",
    }
    for task in (MEAN, "toy:2", "other:2"):
        assert {claim.name for claim in told if claim.task == task} == names
    assert told[0].task == MEAN and all(claim.low <= claim.value <= claim.high for claim in told if claim.high)
    assert json.loads(json.dumps([claim.to_json() for claim in told], allow_nan=False))[0]["model"] == "toy"


def test_a_gain_is_paired_problem_by_problem(sweep, told):
    by_name = {(curve.search, curve.task): curve for curve in curves(sweep, times=300)}
    first, second = by_name["majority", "toy:2"].points[-1], by_name["weighted_vote", "toy:2"].points[-1]
    both = [[point.seen[name].accuracy for name in sorted(first.seen)] for point in (first, second)]
    wanted = compared(*both, "toy:2", times=300)
    claim = one(told, "weighted_vote@16 −", "toy:2")
    assert (claim.value, claim.low, claim.high) == pytest.approx((wanted.mean, wanted.low, wanted.high))
    apart = (second.high - second.low) + (first.high - first.low)
    assert claim.high - claim.low < apart
    assert f"p {wanted.p:.3f}" in claim.note and claim.n == 40


def test_efforts_are_held_against_each_other(told):
    auto, tokens = one(told, "auto: accuracy"), one(told, "auto: tokens")
    assert 0.85 < auto.value < 1.1 and auto.low < auto.value < auto.high
    assert tokens.value == tokens.low == tokens.high == pytest.approx(600 / 1600)  # all problems took the same
    gain = one(told, "effort high − low")
    assert gain.value > 0.3 and "16.0× tokens; no effort surely worse" in gain.note


def test_where_a_curve_reaches_an_accuracy():
    tokens, accuracies = [100, 200, 800], [0.2, 0.4, 0.6]
    assert reached(tokens, accuracies, 0.1) == 100
    assert reached(tokens, accuracies, 0.4) == pytest.approx(200)
    assert reached(tokens, accuracies, 0.5) == pytest.approx(400)
    assert reached(tokens, accuracies, 0.7) == inf
    assert reached([100, 200, 400], [0.3, 0.1, 0.5], 0.4) == pytest.approx(200 * 2**0.75)


def test_what_is_never_reached_says_so(make):
    records = []
    for number in range(20):
        records.append(make(number, 1.0, 1.0, 1.0, 0.0))
        weak = {"search": "beam", "width": 1, "tokens": (Tokens(50, 90, 10),)}
        records += [make(number, 0.0, drawn=1, **weak), make(number, float(number < 5), drawn=2, **weak)]
    claim = one(claims(curves(records, times=100)), "beam: tokens", "toy:2")
    assert claim.value is claim.high is None and claim.told == "not reached" and "at best 25.0 %" in claim.note
    assert "NaN" not in json.dumps(claim.to_json(), allow_nan=False)
