"""From records to curves: what is counted by hand, and what must hold of any."""

from dataclasses import replace
from itertools import combinations
from math import log2

import pytest

from ponder.evaluate.metrics import fit_log2
from ponder.evaluate.scaling import COVERAGE, MEAN, by_effort, curves, difference
from ponder.types import Ended, Tokens


def found(records, search, task="toy:2", times=200):
    return next(one for one in curves(records, times=times) if (one.search, one.task) == (search, task))


def test_single_chains_are_averaged_in_a_problem(make):
    curve = found(
        [make(0, 1.0, 0.0, None, 1.0), make(1, 0.0, 0.0, 0.0, 0.0), make(2, None, None, None, None)], "single"
    )
    (point,) = curve.points
    assert (point.n, point.samples, point.accuracy, point.tokens) == (2, 1, pytest.approx(1 / 3), 100)
    assert point.source == "mean of 4 chains" and curve.seeds == (0,) and curve.fit is None


def test_votes_and_coverage_are_expected_over_subsets_of_the_chains(make):
    one = make(0, 1.0, 1.0, 0.0, 0.0, answers=("r", " r", "w", "v"), values=(0.9, 0.2, 0.8, 0.1))
    found_ = {curve.search: curve for curve in curves([one], times=50)}
    assert set(found_) == {"single", COVERAGE, "majority", "weighted_vote"}

    def shares(search):
        return [pytest.approx(point.accuracy) for point in found_[search].points]

    assert shares(COVERAGE) == [1 / 2, 1 - 1 / 6, 1.0]
    assert shares("majority") == [1 / 2, (1 + 4 * 0.5 + 0) / 6, 1.0]
    values = dict(enumerate((0.9, 0.2, 0.8, 0.1)))
    pairs = [max(pair, key=values.__getitem__) < 2 or pair == (0, 1) for pair in combinations(range(4), 2)]
    assert shares("weighted_vote") == [1 / 2, sum(pairs) / 6, 1.0]
    assert [point.tokens for point in found_["majority"].points] == [100, 200, 400]
    assert {point.source for point in found_["majority"].points} == {"subsets of 4 chains"}


def test_an_unfinished_answer_has_no_vote(make):
    ended = (Ended.CUT_OFF, Ended.CUT_OFF, Ended.ANSWERED)
    one = make(0, 0.0, 0.0, 1.0, answers=("half", "half", "right"), ended=ended, values=(None, None, 0.1))
    for search in ("majority", "weighted_vote"):
        assert found([one], search).points[-1].accuracy == 1.0
    assert found([one], "majority").points[0].accuracy == pytest.approx(1 / 3)


def test_no_weighted_vote_where_a_finished_chain_has_no_value(make):
    one = make(0, 1.0, 0.0, values=(0.5, None))
    assert {curve.search for curve in curves([one], times=50)} == {"single", COVERAGE, "majority"}


def test_what_searches_discard_counts(make):
    records = [
        make(0, 1.0, search="beam", drawn=4, width=2, tokens=(Tokens(50, 90, 10, 300),)),
        make(0, 0.0, search="beam", drawn=4, width=4),
    ]
    assert found(records, "beam").points[0].tokens == 400
    assert found(records, "beam, width 4").points[0].accuracy == 0.0


def test_the_fit_is_of_the_curves_points(sweep):
    curve = found(sweep, "beam")
    assert [point.samples for point in curve.points] == [1, 4, 16]
    fit = fit_log2([100, 400, 1600], [point.accuracy for point in curve.points])
    assert curve.fit == fit and fit and curve.slope and curve.slope[0] < fit.slope < curve.slope[1]
    assert fit.slope * log2(16) == pytest.approx(curve.points[-1].accuracy - curve.points[0].accuracy, abs=0.05)


def test_the_mean_is_over_tasks_that_all_have_the_point(sweep):
    other = [replace(one, drawn=9) if (one.task, one.drawn) == ("other", 4) else one for one in sweep]
    mean = found(other, "beam", MEAN)
    assert [point.samples for point in mean.points] == [1, 16]
    parts = [found(other, "beam", task).points[-1] for task in ("toy:2", "other:2")]
    assert mean.points[-1].accuracy == pytest.approx(sum(part.accuracy for part in parts) / 2)
    assert mean.points[-1].n == 80
    assert mean.points[-1].high - mean.points[-1].low < max(part.high - part.low for part in parts)


def test_more_that_is_worse_is_found(sweep):
    fooled = found(sweep, "best_of_n", MEAN, times=400)
    last = fooled.points[-1]
    assert fooled.points[0].drop is None and last.drop and last.drop.sure
    assert last.drop.best == "1" and last.drop.change < -0.3 and last.drop.p < 0.001
    assert last.drop.low < last.drop.change < last.drop.high < 0
    assert all(point.drop is None for point in found(sweep, COVERAGE, MEAN).points)


def test_what_is_the_same_does_not_differ(sweep):
    point = found(sweep, "beam").points[0]
    told = difference(point, point)
    assert (told.change, told.low, told.high, told.p, told.sure) == (0, 0, 0, 1, False)


def test_all_right_is_no_certainty(make):
    point = found([make(number, 1.0) for number in range(10)], "single").points[0]
    assert (point.accuracy, point.high) == (1.0, 1.0) and 0.65 < point.low < 0.8


def test_efforts_are_by_plan_where_there_are_plans(sweep, make):
    mean = next(curve for curve in by_effort(sweep, times=100) if curve.task == MEAN)
    assert [point.label for point in mean.points] == ["low", "medium", "high", "auto"] and mean.search == "effort"
    assert [point.tokens for point in mean.points] == [100, 400, 1600, 600]
    assert mean.fit is None and mean.points[-1].drop is None
    plain = [make(number, 1.0, effort=effort) for number in range(3) for effort in ("high", "low")]
    (curve,) = by_effort(plain, times=50)
    assert (curve.search, [point.label for point in curve.points]) == ("single", ["low", "high"])
    assert by_effort(plain[:1], times=50) == []


def test_settings_stay_apart(make):
    records = [make(0, 1.0), make(0, 0.0, temperature=0.0), make(0, 0.0, weights="w2"), make(0, 0.0, effort="low")]
    assert [curve.points[0].accuracy for curve in curves(records, times=50)] == [1.0, 0.0, 0.0, 0.0]
    both = [make(0, 1.0), make(0, 0.0, seed=1)]
    assert found(both, "single").points[0].n == 2 and found(both, "single").seeds == (0, 1)


def test_votes_are_over_answers_in_one_form(make):
    """Three spellings of one expression outvote two of another; adaptive sees that they agree and stops."""
    told = {"task": "countdown", "id": "countdown:2:test:0"}
    spelled, scores = ("3*7+25", "50-4", "25+3*7", "50-4", "7*3+25"), (1.0, 0.0, 1.0, 0.0, 1.0)
    chains = make(0, *scores, answers=spelled, values=(0.9, 0.1, 0.9, 0.1, 0.9), **told)
    literal = make(0, 0.0, search="adaptive", drawn=5, width=1, answers=("50-4",), tokens=(Tokens(50, 90, 10, 400),))
    adaptive = replace(literal, **told)
    assert found([chains], "majority", "countdown:2").points[-1].accuracy == 1.0
    assert found([chains], "weighted_vote", "countdown:2").points[-1].accuracy == 1.0
    (point,) = found([chains, adaptive], "adaptive", "countdown:2").points
    assert (point.accuracy, point.tokens) == (1.0, 100)
    other = replace(chains, task="toy", id=literal.id)
    assert found([other, literal], "majority").points[-1].accuracy == 0.0
    (point,) = found([other, literal], "adaptive").points
    assert (point.accuracy, point.tokens) == (0.0, 500)
