"""Every interval is that of the plain measures, recomputed in each resample; and it covers what it should."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.evaluate.calibration import chosen_first_errors, first_error_f1, measure
from ponder.evaluate.confidence import intervals
from ponder.evaluate.metrics import percentiles
from ponder.evaluate.resampling import crossed, draws, spread
from ponder.reward.boundary import Judged, Label
from ponder.seeds import rng_for
from ponder.types import Rating

SAID = (0.0, 0.2, 0.35, 0.5, 0.51, 0.8, 1.0)
completions = st.builds(
    lambda group, said, labels, right: Judged(
        tuple(Rating(a, b) for a, b in said[: len(labels) + 2]),
        (Label(right), *(Label(right, label) for label in labels), Label(right, right)),
        group,
    ),
    st.sampled_from("abcd"),
    st.lists(st.tuples(st.sampled_from(SAID), st.sampled_from(SAID)), min_size=5, max_size=5),
    st.lists(st.sampled_from([0.0, 1.0, None]), max_size=3),
    st.sampled_from([0.0, 1.0, 1.0, None]),
)


@settings(max_examples=30)
@given(st.lists(completions, min_size=2, max_size=12))
def test_intervals_are_those_of_the_measures_in_each_resample(judged: list[Judged]) -> None:
    times, names = 24, list(dict.fromkeys(one.group for one in judged))
    found = intervals(judged, "seed", 1, times=times)
    resamples: dict[str, list[float]] = {}
    for counts in draws(len(names), "seed", 1, times=times):
        some: list[Judged] = []
        for name, count in zip(names, counts, strict=True):
            own = [one for one in judged if one.group == name]
            some += [replace(one, group=f"{name}{copy}") for copy in range(int(count)) for one in own]
        kept = dict(zip(names, map(int, counts), strict=True))  # thresholds that were chosen once
        pairs = [pair[1:] for pair in chosen_first_errors(judged) for _ in range(kept[judged[pair[0]].group])]
        numbers = {**measure(some).flat(), "chosen_f1": first_error_f1(pairs).f1}
        for key, value in numbers.items():
            if value is not None:
                resamples.setdefault(key, []).append(value)
    for key in [key for key in resamples if key.endswith("_ece")]:  # laid around what was measured
        shift = measure(judged).flat()[key] - float(np.median(resamples[key]))
        resamples[key] = [min(1.0, max(0.0, value + shift)) for value in resamples[key]]
    expected = {key: percentiles(values) for key, values in resamples.items() if 2 * len(values) > times}
    assert found.keys() == expected.keys()
    for key, ends in expected.items():
        assert found[key] == pytest.approx(ends, abs=1e-9), key
    assert intervals([], 0) == {}


def test_rollouts_of_one_problem_count_as_one() -> None:
    """A hundred problems, each asked once or twenty times with the same end: equally sure."""
    rng = rng_for("confidence")
    pairs = [(rng.random(), float(rng.random() < 0.6)) for _ in range(100)]

    def asked(times: int, groups: bool) -> dict[str, tuple[float, float]]:
        judged = [
            Judged((Rating(said, said),) * 2, (Label(right), Label(right, right)), f"{number}" if groups else "")
            for number, (said, right) in enumerate(pairs)
            for _ in range(times)
        ]
        return intervals(judged, 0)

    once, often, apart = asked(1, True), asked(20, True), asked(20, False)
    assert often["outcome_auc"] == pytest.approx(once["outcome_auc"])
    width = [high - low for low, high in (once["outcome_auc"], apart["outcome_auc"])]
    assert width[1] < width[0] / 3


def test_crossed_intervals_hold_for_other_problems_and_other_runs() -> None:
    problems = {f"{n}": float(n % 2) for n in range(200)}
    one = crossed([{"t": problems}], 0)
    assert one.mean == 0.5 and one.high - one.low == pytest.approx(4 * math.sqrt(0.25 / 200), rel=0.15)
    lucky = [{"t": dict.fromkeys(problems, shift)} for shift in (0.0, 0.1, 0.2)]
    runs = crossed(lucky, 0)
    assert runs.mean == pytest.approx(0.1) and runs.low < 0.05 < 0.15 < runs.high, "runs that differ are not one run"
    two = crossed([{"a": {"x": 1.0}, "b": {"x": 0.0, "y": 0.0, "z": 0.0}}], 0)
    assert two == pytest.approx((0.5, 0.5, 0.5)), "tasks count alike"
    assert spread(np.array([1.0, np.nan, np.nan])) is None and spread(np.array([1.0, 1.0, np.nan])) == (1.0, 1.0)
