"""The bootstrap as weights: how often each problem, or each seed, is drawn into each of many resamples.

A statistic that is a sum over problems is then one matrix product for all resamples together.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ponder.evaluate.metrics import RESAMPLES, Interval, percentiles
from ponder.seeds import seed_for

Numbers = npt.NDArray[np.float64]
Values = Mapping[str, Mapping[str, float]]
"""Task to problem to a value of it."""


def draws(n: int, *seed: str | int, times: int = RESAMPLES) -> Numbers:
    """(times, n): how often each of n things is drawn when n are drawn with replacement (Efron 1979)."""
    assert n
    rng = np.random.default_rng(seed_for("bootstrap", *seed))
    return rng.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)


def spread(resampled: Numbers) -> tuple[float, float] | None:
    """The 95 % interval of a statistic's resamples; None where it is undefined (not finite) in most of them."""
    defined = resampled[np.isfinite(resampled)]
    return percentiles(defined.tolist()) if 2 * len(defined) > len(resampled) else None


class Resampled(NamedTuple):
    """A statistic, and what it is in each resample."""

    mean: float
    resamples: Numbers


def crossed(runs: Sequence[Values], *seed: str | int, times: int = RESAMPLES) -> Interval:
    """The mean over tasks of values of problems, of several runs on the same problems, with its 95 % interval."""
    told = crossed_resamples(runs, *seed, times=times)
    return Interval(told.mean, *percentiles(told.resamples.tolist()))


def crossed_resamples(runs: Sequence[Values], *seed: str | int, times: int = RESAMPLES) -> Resampled:
    """The same with all resamples, which are paired where seed, tasks and the problems' order are the same.

    Problems are resampled within their tasks and runs among themselves, both at once (the pigeonhole bootstrap, Owen
    2007), so that it holds for other problems and for other seeds; of a single run, for other problems alone.
    """
    tasks = runs[0].keys()
    assert tasks and all(run.keys() == tasks for run in runs)
    chosen, means = draws(len(runs), "runs", *seed, times=times) / len(runs), list[float]()
    resampled = np.zeros(times)
    for task in tasks:
        names = list(runs[0][task])
        assert all(run[task].keys() == set(names) for run in runs), f"{task}: the runs answered other problems"
        values_SP = np.array([[run[task][name] for name in names] for run in runs])
        drawn = draws(len(names), task, *seed, times=times) / len(names)
        means.append(float(values_SP.mean()))
        resampled += ((chosen @ values_SP) * drawn).sum(axis=1) / len(tasks)
    return Resampled(sum(means) / len(means), resampled)
