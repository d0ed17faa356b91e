"""Runs that differ by their seeds alone, as one: the mean over them, with intervals that hold for other seeds, too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from ponder.evaluate.metrics import mean, percentiles
from ponder.evaluate.practice import Kept, Practice, TrainCurve, TrainPoint, train_curve
from ponder.evaluate.resampling import Resampled, crossed_resamples
from ponder.evaluate.scaling import MEAN, Point

FREE = ("seed", "threads", "workers", "device", "dtype")
"""Settings in which runs of one recipe may differ."""


class Brought(NamedTuple):
    """What practice has brought to a task, from the first to the last checkpoint that all runs have."""

    task: str
    before: float
    after: float
    change: float
    low: float
    high: float
    """The 95 % interval over problems and runs."""
    tokens: tuple[float, float]


@dataclass(frozen=True)
class Pooled:
    """What several runs of one recipe come to."""

    runs: Sequence[str]
    curves: Sequence[TrainCurve]
    """The mean of all tasks first, as of a single run."""
    brought: Sequence[Brought]
    entropy: Sequence[tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON values."""
        return {
            "runs": list(self.runs),
            "curves": [curve.to_json() for curve in self.curves],
            "gains": [{name: _rounded(value) for name, value in one._asdict().items()} for one in self.brought],
        }


def _rounded(value: object) -> object:
    return round(value, 5) if isinstance(value, float) else value


def apart(practices: Sequence[Practice]) -> str:
    """Why runs cannot be pooled, in words; nothing where they can."""
    if any(not one.curves for one in practices):
        return "of one of them no curve was measured"
    for first, second in pairwise(practices):
        configs = [dict(one.history.config) for one in (first, second)]
        names = [name for name in {**configs[0], **configs[1]} if configs[0].get(name) != configs[1].get(name)]
        if others := sorted(set(names) - {*FREE}):
            return f"they differ in {', '.join(others)}"
        if _asked(first) != _asked(second):
            return "they were measured on other problems or rounds: give `ponder runs curve` the same options"
    return ""


def _asked(practice: Practice) -> Mapping[tuple[str, int], tuple[str, ...]]:
    """Of each task and round, the problems."""
    return {
        (curve.task, one.kept.round): tuple(sorted(one.point.seen)) for curve in practice.curves for one in curve.points
    }


def pooled(practices: Sequence[Practice]) -> Pooled:
    """Runs that are not `apart`, as one: accuracy, tokens, compute and entropy are means over them."""
    assert practices and not apart(practices)
    tasks = [curve.task for curve in practices[0].curves]
    found = [train_curve(task, _points(practices, task, tasks)) for task in tasks]
    entropies = zip(*(one.entropy for one in practices), strict=False)  # a run may have stopped earlier
    middle = [(sum(x for x, _ in ones) / len(ones), sum(y for _, y in ones) / len(ones)) for ones in entropies]
    names = [one.history.folder.name for one in practices]
    return Pooled(names, found, [_brought(curve) for curve in found if len(curve.points) > 1], middle)


def _points(practices: Sequence[Practice], task: str, tasks: Sequence[str]) -> list[TrainPoint]:
    """The task's points, round by round; the mean over tasks is resampled task by task."""
    parts = [one for one in tasks if one != MEAN] if task == MEAN else [task]
    curves = [{curve.task: curve for curve in one.curves} for one in practices]
    points: list[TrainPoint] = []
    for number in range(len(curves[0][task].points)):
        own = [run[task].points[number] for run in curves]
        values = [
            {
                part: {name: seen.accuracy for name, seen in run[part].points[number].point.seen.items()}
                for part in parts
            }
            for run in curves
        ]
        points.append(_point(own, crossed_resamples(values, "pooled")))
    return points


def _point(own: Sequence[TrainPoint], told: Resampled) -> TrainPoint:
    """One round of all runs."""
    first, again = own[0], told.resamples.tolist()
    low, high = percentiles(again)
    kept = Kept(
        first.kept.round,
        first.kept.folder,
        mean(one.kept.sampled for one in own) or 0.0,
        mean(one.kept.flop for one in own) or 0.0,
    )
    point = Point(
        label=first.point.label,
        samples=first.point.samples,
        n=first.point.n,
        accuracy=told.mean,
        low=low,
        high=high,
        tokens=mean(one.point.tokens for one in own) or 0.0,
        prompt=first.point.prompt,
        source=f"mean of {len(own)} runs",
        resamples=again,
        seen=first.point.seen,
    )
    return TrainPoint(kept, point)


def _brought(curve: TrainCurve) -> Brought:
    before, after = curve.points[0].point, curve.points[-1].point
    changes = [b - a for a, b in zip(before.resamples, after.resamples, strict=True)]
    low, high = percentiles(changes)
    change = after.accuracy - before.accuracy
    return Brought(curve.task, before.accuracy, after.accuracy, change, low, high, (before.tokens, after.tokens))
