"""How sure the measures of ratings are: 95 % intervals from a bootstrap over problems.

Rollouts of one problem are alike, so that whole problems are drawn, with all of their rollouts. Every number is
computed for all resamples together, from how often each problem was drawn, and is what `calibration.measure` would
find in the resample, where a problem that was drawn twice is two. Calibration errors alone are moved: noise can only
add to them, and a resample has it twice, so that most lie above what was measured. They are laid around it. Thresholds
that were chosen stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ponder.evaluate.calibration import (
    BINS,
    THRESHOLD,
    Rated,
    auc,
    chosen_first_errors,
    first_errors,
    measure,
    outputs,
    quality,
)
from ponder.evaluate.metrics import RESAMPLES
from ponder.evaluate.resampling import Numbers, draws, spread
from ponder.reward.boundary import Judged

MOST_AT_ONCE = 2_000_000
"""Weights of ratings that are held together."""


def intervals(
    judged: Sequence[Judged], *seed: str | int, times: int = RESAMPLES, threshold: float = THRESHOLD
) -> dict[str, tuple[float, float]]:
    """The interval of each number of `Measured.flat`, by the same name; what is undefined in most resamples is left
    out. A completion that names no problem stands for one of its own."""
    if not judged:
        return {}
    names: dict[object, int] = {}
    owners = np.array([names.setdefault(one.group or number, len(names)) for number, one in enumerate(judged)])
    drawn = draws(len(names), *seed, times=times)
    found = {
        f"{name}_{key}": values
        for name, pairs in outputs(judged).items()
        if pairs
        for key, values in _qualities(pairs, owners, drawn).items()
    }
    found["within_auc"] = _within(judged, owners, drawn)
    found["f1"] = _f1(first_errors(judged, threshold), owners, drawn)
    found["chosen_f1"] = _f1(chosen_first_errors(judged), owners, drawn)
    measured = measure(judged, threshold).flat()
    for name in [name for name in found if name.endswith("_ece") and name in measured]:
        found[name] = np.clip(found[name] - np.nanmedian(found[name]) + measured[name], 0.0, 1.0)
    spreads = {name: spread(values) for name, values in found.items()}
    return {name: ends for name, ends in spreads.items() if ends}


@dataclass(frozen=True)
class _Ordered:
    """N ratings from low to high, in T groups of equal ones."""

    said: Numbers
    """(N,)"""
    true: Numbers
    """(N,)"""
    owners: npt.NDArray[np.intp]
    """(N,), of which problem each was said."""
    starts: npt.NDArray[np.intp]
    """(T,)"""


def _qualities(pairs: Sequence[tuple[int, Rated]], owners: npt.NDArray[np.intp], drawn: Numbers) -> dict[str, Numbers]:
    """AUC, calibration error and loss of one output in every resample."""
    said = np.array([one.said for _, one in pairs])
    order = np.argsort(said, kind="stable")
    ordered = said[order]
    one = _Ordered(
        ordered,
        np.array([float(rated.true) for _, rated in pairs])[order],
        owners[[number for number, _ in pairs]][order],
        np.flatnonzero(np.diff(ordered, prepend=-np.inf)),
    )
    losses = np.array([quality([rated]).loss for _, rated in pairs])[order]
    summed = np.zeros((2, drawn.shape[1]))
    np.add.at(summed[0], one.owners, losses)
    np.add.at(summed[1], one.owners, 1.0)
    size = max(1, MOST_AT_ONCE // len(pairs))
    parts = [_ranked(one, drawn[at : at + size]) for at in range(0, len(drawn), size)]
    aucs, errors = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {"auc": aucs, "ece": errors, "loss": _ratio(drawn @ summed[0], drawn @ summed[1])}


def _ranked(one: _Ordered, drawn: Numbers) -> tuple[Numbers, Numbers]:
    """AUC and calibration error of some resamples: see `calibration.auc` and `calibration.bins`."""
    weights = drawn[:, one.owners]
    all_, true = (np.add.reduceat(column, one.starts, axis=1) for column in (weights, weights * one.true))
    false = all_ - true
    below = np.cumsum(false, axis=1) - false
    won = (true * (below + false / 2)).sum(axis=1)
    aucs = _ratio(won, true.sum(axis=1) * false.sum(axis=1))
    count = np.cumsum(all_, axis=1)
    over = np.cumsum(all_ * one.said[one.starts] - true, axis=1)  # by how much was said than was true
    errors = np.full(len(drawn), np.nan)
    for row, total in enumerate(count[:, -1]):
        if total:
            cuts = np.rint(np.arange(1, BINS + 1) * total / BINS)
            edges = np.searchsorted(count[row], cuts[cuts > 0])
            errors[row] = np.abs(np.diff(over[row, edges], prepend=0.0)).sum() / total
    return aucs, errors


def _within(judged: Sequence[Judged], owners: npt.NDArray[np.intp], drawn: Numbers) -> Numbers:
    """AUC among the answers to one problem, over all pairs."""
    groups: dict[int, list[Rated]] = {}
    for number, rated in outputs(judged)["outcome"]:
        groups.setdefault(int(owners[number]), []).append(rated)
    won, pairs = np.zeros((2, drawn.shape[1]))
    for owner, rated in groups.items():
        right = sum(one.true for one in rated)
        pairs[owner] = right * (len(rated) - right)
        won[owner] = (auc(rated) or 0.0) * pairs[owner]
    return _ratio(drawn @ won, drawn @ pairs)


def _f1(found: Sequence[tuple[int, int, int]], owners: npt.NDArray[np.intp], drawn: Numbers) -> Numbers:
    """First-error F1: see `calibration.first_error_f1`."""
    counts = np.zeros((4, drawn.shape[1]))  # wrong thoughts, those found; right ones, those passed
    for number, said, true in found:
        kind = 0 if true >= 0 else 2
        counts[kind, owners[number]] += 1
        counts[kind + 1, owners[number]] += said == true
    wrong, hit, right, passed = counts @ drawn.T
    of_wrong, of_right = _ratio(hit, wrong), _ratio(passed, right)
    both = of_wrong + of_right
    return np.where(both == 0, 0.0, _ratio(2 * of_wrong * of_right, both))


def _ratio(top: Numbers, bottom: Numbers) -> Numbers:
    """Their quotient; not a number where nothing is below."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
