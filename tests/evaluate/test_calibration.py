"""Measures of ratings, against values by hand and brute force."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.evaluate.calibration import (
    Rated,
    auc,
    bins,
    calibration_error,
    chosen_first_errors,
    first_error,
    first_error_f1,
    measure,
    plot_reliability,
    quality,
    reliability_curves,
)
from ponder.reward.boundary import Judged, Label
from ponder.seeds import rng_for
from ponder.types import Rating

rated_lists = st.lists(st.builds(Rated, st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), max_size=40)


def test_auc_by_hand() -> None:
    assert auc([Rated(0.1, False), Rated(0.4, False), Rated(0.35, True), Rated(0.8, True)]) == 0.75  # scikit-learn's
    assert auc([Rated(0.5, True), Rated(0.5, False)]) == 0.5
    assert auc([Rated(0.5, True)]) is None and auc([]) is None


@given(rated_lists)
def test_auc_is_the_share_of_pairs_in_order(rated: list[Rated]) -> None:
    pairs = [(a.said, b.said) for a in rated if a.true for b in rated if not b.true]
    brute = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs) if pairs else None
    found = auc(rated)
    assert found == brute if brute is None else found == pytest.approx(brute)


def test_calibration_error_by_hand() -> None:
    rated = [Rated(0.2, False), Rated(0.4, True), Rated(0.6, True), Rated(0.9, True)]
    # Two bins: said 0.3 and 0.75, true 0.5 and 1.
    assert calibration_error(rated, 2) == pytest.approx((0.2 + 0.25) / 2)
    assert calibration_error(rated, 4) == pytest.approx((0.2 + 0.6 + 0.4 + 0.1) / 4)
    assert calibration_error([]) is None


@given(rated_lists, st.integers(1, 20))
def test_bins_hold_everything_once_in_nearly_equal_parts(rated: list[Rated], count: int) -> None:
    found = bins(rated, count)
    assert sum(one.size for one in found) == len(rated) and len(found) <= min(count, len(rated))
    assert all(a.said < b.said for a, b in zip(found, found[1:], strict=False))
    once = [Rated(index / 64, one.true) for index, one in enumerate(rated)]
    sizes = [one.size for one in bins(once, count)]
    assert sum(sizes) == len(rated) and len(sizes) == min(count, len(rated))
    assert not sizes or max(sizes) - min(sizes) <= 1
    error = calibration_error(rated, count)
    assert error is None or 0 <= error <= 1


def test_the_loss_of_a_sure_error_is_finite() -> None:
    found = quality([Rated(0.0, True), Rated(0.5, False)])
    assert found.base == 0.5 and found.n == 2 and found.loss and 13 < found.loss < 15


def test_first_error_f1_as_processbench_defines_it() -> None:
    # Two of four erroneous ones found, nine of ten right ones passed: 2 · 0.5 · 0.9 / 1.4.
    found = first_error_f1([(2, 2), (0, 0), (1, 2), (-1, 3), *[(-1, -1)] * 9, (4, -1)])
    assert (found.wrong, found.right, found.n_wrong, found.n_right) == (0.5, 0.9, 4, 10)
    assert found.f1 == pytest.approx(0.642857, abs=1e-6)
    assert first_error_f1([(0, 1), (0, -1)]).f1 == 0.0
    assert first_error_f1([(-1, -1)]).f1 is None
    assert first_error([0.9, 0.4, 0.1]) == 1 and first_error([0.9, 0.5]) == -1 and first_error([]) == -1


def judged(values: list[float], validities: list[float], labels: list[float | None], right: float | None) -> Judged:
    """A completion of len(labels) blocks; values and validities of every boundary."""
    ratings = tuple(Rating(a, b) for a, b in zip(values, validities, strict=True))
    return Judged(ratings, (Label(right), *(Label(right, label) for label in labels), Label(right, right)))


def test_measure_reads_each_boundary_where_it_belongs() -> None:
    good = judged([0.6, 0.7, 0.8, 0.9], [0.0, 0.9, 0.8, 0.0], [1.0, 1.0], 1.0)
    lost = judged([0.4, 0.5, 0.2, 0.1], [1.0, 0.9, 0.3, 1.0], [1.0, 0.0], 0.0)
    found = measure([good, lost])
    assert found.outcome.auc == found.start.auc == found.value.auc == found.validity.auc == 1.0
    assert (found.outcome.n, found.start.n, found.value.n, found.validity.n) == (2, 2, 4, 4)
    assert found.first_error.f1 == 1.0
    assert found.outcome.ece == pytest.approx(0.1) and found.start.ece == pytest.approx(0.4)
    assert found.flat()["f1"] == 1.0 and found.flat()["outcome_auc"] == 1.0
    assert measure([good, lost], threshold=0.2).first_error.wrong == 0.0


def test_within_compares_answers_to_one_problem_alone() -> None:
    def one(group: str, said: float, right: float | None) -> Judged:
        return replace(judged([said, said], [0.5, 0.5], [], right), group=group)

    # The easy problem's answers are all rated above the hard one's; within each, one pair of two is in order.
    easy = [one("easy", 0.8, 1.0), one("easy", 0.9, 0.0), one("easy", 0.95, 1.0)]
    hard = [one("hard", 0.2, 1.0), one("hard", 0.1, 0.0), one("hard", 0.3, 0.0)]
    found = measure([*easy, *hard, one("solved", 0.5, 1.0), one("odd", 0.5, None)])
    assert found.within == pytest.approx(2 / 4) and found.outcome.auc != found.within
    assert measure([one("solved", 0.5, 1.0)]).within is None


def test_what_is_not_known_is_left_out() -> None:
    unknown = judged([0.5] * 4, [0.9] * 4, [None, 0.0], None)
    later = judged([0.5] * 4, [0.2] * 4, [0.0, None], 0.0)
    soft = judged([0.5] * 3, [0.5] * 3, [0.5], 0.25)
    found = measure([unknown, later, soft])
    assert found.outcome.n == 1 and found.validity.n == 2 and found.value.n == 2
    assert found.first_error.n_wrong == 1 and found.first_error.wrong == 1.0  # only `later` tells where it begins
    assert measure([]).outcome.n == 0 and measure([]).flat() == {}


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    both = [judged([0.6, 0.7, 0.9], [0.5, 0.9, 0.5], [1.0], 1.0), judged([0.4, 0.5, 0.1], [0.5, 0.3, 0.5], [0.0], 0.0)]
    curves = reliability_curves(both)
    assert list(curves) == ["value, end of answer", "value, blocks", "validity, blocks"]
    plot_reliability({"one": curves, "other": {"value, blocks": curves["value, blocks"]}}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_equal_ratings_are_one_bin() -> None:
    half = [Rated(0.5, index % 2 == 0) for index in range(100)]
    assert [one.size for one in bins(half)] == [100]
    assert calibration_error(half) == pytest.approx(0.0)
    fifths = [Rated(said / 5, index < 20 * said) for said in range(6) for index in range(100)]
    assert calibration_error(fifths) == pytest.approx(0.0, abs=1e-9)
    assert sum(one.size for one in bins(fifths)) == 600
    spread = [Rated(index / 300, index % 2 == 0) for index in range(300)]
    assert [one.size for one in bins(spread)] == [20] * 15


def shifted(by: float) -> list[Judged]:
    """Forty problems of one thought each, every other one with a wrong block, whose validities stand high or low."""
    found = list[Judged]()
    for number in range(40):
        wrong = number % 2 == 1
        said = by - 0.1 if wrong else by + 0.1
        ratings = (Rating(0.5, 0.5), Rating(0.5, by + 0.1), Rating(0.5, said), Rating(0.5, 0.5))
        labels = (Label(1.0), Label(1.0, 1.0), Label(1.0, float(not wrong)), Label(1.0))
        found.append(Judged(ratings, labels, f"problem {number}"))
    return found


def test_a_threshold_is_chosen_on_other_problems_than_it_is_held_against() -> None:
    high = measure(shifted(0.8))
    assert high.first_error.f1 == 0.0, "at one half nothing is wrong"
    assert high.chosen.f1 == 1.0 and (high.chosen.n_wrong, high.chosen.n_right) == (20, 20)
    assert sorted(number for number, _, _ in chosen_first_errors(shifted(0.8))) == list(range(40))
    half = {number for number in range(40) if rng_for("half", f"problem {number}").random() < 0.5}
    mixed = [low if at in half else up for at, (low, up) in enumerate(zip(shifted(0.3), shifted(0.8), strict=True))]
    assert (measure(mixed).chosen.f1 or 0.0) < 0.5, "each half would have needed its own threshold"
