"""What practice has brought: accuracy, tokens and entropy of a run's kept checkpoints against its compute, with fits.

Compute is counted as 2 FLOP a parameter and sampled token, and 6 a parameter and token that was read in training
(Kaplan et al. 2020); attention is left out, which in folded contexts is little.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ponder.errors import CheckpointError, ConfigError
from ponder.evaluate.equal_tokens import shortened
from ponder.evaluate.examples import Example, read_examples
from ponder.evaluate.habits import HabitsSummary, read_probes, summarize_habits
from ponder.evaluate.history import History, read_history
from ponder.evaluate.metrics import Fit, fit_log2, percentiles
from ponder.evaluate.records import Record, read_records
from ponder.evaluate.run import SINGLE
from ponder.evaluate.scaling import COVERAGE, MEAN, Curve, Point, curves, difference

STEPS, CURVE, EXAMPLES, HABITS = "steps", "curve.jsonl", "examples.jsonl", "habits.jsonl"
"""In a run's folder: its checkpoints by rounds, and what was measured of them."""


class Kept(NamedTuple):
    """A checkpoint on the way, and what it had taken."""

    round: int
    folder: Path
    sampled: float
    """Tokens of all rollouts before it."""
    flop: float


def kept_checkpoints(folder: Path) -> list[Kept]:
    """A run's checkpoints in their order; raises ConfigError where it has none."""
    history = read_history(folder)
    steps = folder / STEPS
    named = sorted(path for path in steps.iterdir() if path.name.isdecimal()) if steps.is_dir() else []
    if not named:
        raise ConfigError(f"{folder} has no checkpoints in {STEPS}/: only `ponder train rl` keeps them")
    size, updates = parameters(named[0]), int(history.config.get("updates", 1))
    by_step = {int(record["step"]): record for record in history.steps}
    found: list[Kept] = []
    for path in named:
        last = by_step.get(int(path.name) * updates, {})
        if last or int(path.name) == 0:
            sampled, read = float(last.get("sampled", 0)), float(last.get("tokens", 0))
            found.append(Kept(int(path.name), path, sampled, size * (2 * sampled + 6 * read)))
    return found


def parameters(folder: Path) -> int:
    """How many numbers a checkpoint's weights are, by the head of their file."""
    path = folder / "model.safetensors"
    try:
        with path.open("rb") as file:
            head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return sum(prod(one["shape"]) for name, one in head.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(f"{path} is missing or damaged ({err}): fetch or train it again") from err


@dataclass(frozen=True)
class TrainPoint:
    """One checkpoint on one task."""

    kept: Kept
    point: Point


@dataclass(frozen=True)
class TrainCurve:
    """A task, or the mean of all, through a run."""

    task: str
    points: tuple[TrainPoint, ...]
    fit: Fit | None
    """Accuracy over the logarithm of FLOP, without the start, which has none."""
    slope: tuple[float, float] | None
    """The 95 % interval of the fit's slope."""

    @property
    def flops(self) -> list[float]:
        """The compute of each point."""
        return [one.kept.flop for one in self.points]

    def to_json(self) -> dict[str, Any]:
        """The curve as plain JSON values."""
        return {
            "task": self.task,
            "fit": self.fit and {**self.fit._asdict(), "slope_interval": self.slope},
            "points": [
                {
                    "round": one.kept.round,
                    "sampled": one.kept.sampled,
                    "flop": one.kept.flop,
                    "n": one.point.n,
                    "accuracy": round(one.point.accuracy, 5),
                    "low": round(one.point.low, 5),
                    "high": round(one.point.high, 5),
                    "tokens": round(one.point.tokens, 1),
                }
                for one in self.points
            ],
        }


class Before(NamedTuple):
    """A task at a run's start and end."""

    task: str
    name: str
    """`pass@1`, or `pass@k`."""
    before: Point
    after: Point
    change: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, Any]:
        """The change as plain JSON values."""
        return {
            "task": self.task,
            "at": self.name,
            "before": round(self.before.accuracy, 5),
            "after": round(self.after.accuracy, 5),
            "change": round(self.change, 5),
            "low": round(self.low, 5),
            "high": round(self.high, 5),
            "p": self.p,
            "tokens": [round(self.before.tokens, 1), round(self.after.tokens, 1)],
        }


@dataclass(frozen=True)
class Equal:
    """What practice has brought to a task where it may take no more tokens an answer than before."""

    gain: Before
    cut: float
    """The share of the last checkpoint's chains that were longer than that allows, and are read as wrong."""

    @property
    def sentence(self) -> str:
        """For a reader."""
        one = self.gain
        gain = f"at least {100 * one.change:+.1f} points ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
        told = f"{one.task}: {100 * one.before.accuracy:.1f} → {100 * one.after.accuracy:.1f} %"
        if self.cut:
            return (
                f"{told} at no more tokens an answer than before ({one.before.tokens:,.0f}), so practice has brought "
                f"{gain} at equal tokens: the {100 * self.cut:.1f} % of chains that are too long are read as wrong"
            )
        less = f"from {one.before.tokens:,.0f} to {one.after.tokens:,.0f} tokens an answer"
        return f"{told} {less}, so practice has brought {gain} at equal tokens: it took no more than before"


@dataclass(frozen=True)
class Practice:
    """Everything that was measured of a run's checkpoints."""

    history: History
    curves: Sequence[TrainCurve]
    gains: Sequence[Before]
    equal: Sequence[Equal]
    """The same at equal tokens."""
    entropy: Sequence[tuple[float, float]]
    """FLOP and nats of a token, round by round."""
    records: Sequence[Record]
    examples: Sequence[Example]
    habits: Sequence[HabitsSummary]

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON values."""
        return {
            "run": str(self.history.folder),
            "curves": [curve.to_json() for curve in self.curves],
            "gains": [one.to_json() for one in self.gains],
            "equal_tokens": [
                {**one.gain.to_json(), "cut": round(one.cut, 5), "sentence": one.sentence} for one in self.equal
            ],
            "entropy": [list(pair) for pair in self.entropy],
            "habits": [one.to_json() for one in self.habits],
            "examples": [asdict(one) for one in self.examples],
        }


def read_practice(folder: Path) -> Practice:
    """What was measured of a run; raises ConfigError where nothing was."""
    history = read_history(folder)
    probes, shown = read_probes(folder / HABITS), read_examples(folder / EXAMPLES)
    habits = summarize_habits([one for one in probes if one.asked[3:] == probes[-1].asked[3:]])
    records = read_records(folder / CURVE) if (folder / CURVE).exists() else []
    records = [one for one in records if _alike(one) == _alike(records[-1])]  # what was measured last
    if not (records or habits):
        raise ConfigError(f"nothing was measured of {folder} yet: `ponder runs curve {folder}` does it")
    kept = kept_checkpoints(folder)
    found = curves(records)
    return Practice(
        history=history,
        curves=train_curves(found, kept),
        gains=gains(found, kept),
        equal=equal(records, kept),
        entropy=_entropies(history, kept),
        records=records,
        examples=shown,
        habits=habits,
    )


def _alike(record: Record) -> tuple[Any, ...]:
    return record.effort, record.temperature, record.top_p, len(record.answers), record.seed


def train_curves(found: Sequence[Curve], kept: Sequence[Kept]) -> list[TrainCurve]:
    """The accuracy of single chains, checkpoint by checkpoint, for each task and the mean."""
    by_name = {one.folder.name: one for one in kept}
    points: dict[str, list[TrainPoint]] = {}
    for curve in found:
        if curve.search == SINGLE and curve.setting.model in by_name:
            points.setdefault(curve.task, []).append(TrainPoint(by_name[curve.setting.model], curve.points[0]))
    return [train_curve(task, own) for task, own in sorted(points.items(), key=lambda item: item[0] != MEAN)]


def train_curve(task: str, points: Sequence[TrainPoint]) -> TrainCurve:
    """The points in the order of rounds, with the fit of those that had any compute."""
    ordered = tuple(sorted(points, key=lambda one: one.kept.round))
    paid = [one for one in ordered if one.kept.flop > 0]
    if len(paid) < 3:
        return TrainCurve(task, ordered, None, None)
    flops = [one.kept.flop for one in paid]
    fit = fit_log2(flops, [one.point.accuracy for one in paid])
    again = (fit_log2(flops, values) for values in zip(*(one.point.resamples for one in paid), strict=True))
    return TrainCurve(task, ordered, fit, percentiles([line.slope for line in again if line]))


def gains(found: Sequence[Curve], kept: Sequence[Kept]) -> list[Before]:
    """The last measured checkpoint beside the first one, on the same problems; pass@k too, where it is known."""
    ends: list[dict[tuple[str, str], Point]] = []
    names = _ends({curve.setting.model for curve in found}, kept)
    for name in names:
        own = [curve for curve in found if curve.setting.model == name and curve.search in (SINGLE, COVERAGE)]
        ends.append(
            {
                (curve.task, f"pass@{point.samples}"): point
                for curve in own
                for point in (curve.points if curve.search == SINGLE else curve.points[-1:])
            }
        )
    if len(names) < 2:
        return []
    told: list[Before] = []
    for (task, name), before in sorted(ends[0].items(), key=lambda item: (item[0][1] != "pass@1", item[0][0] != MEAN)):
        if after := ends[1].get((task, name)):
            change = difference(before, after)
            told.append(Before(task, name, before, after, change.change, change.low, change.high, change.p))
    return told


def equal(records: Sequence[Record], kept: Sequence[Kept]) -> list[Equal]:
    """The gains in single chains where no task may take more tokens an answer than at the start, the mean first."""
    ends = _ends({record.model for record in records}, kept)
    if len(ends) < 2:
        return []
    first, last = ([one for one in records if one.model == name] for name in ends)
    short = shortened(first, last)
    found = curves([*first, *(record for own in short.values() for record in own.records)])
    cuts = {task: own.cut for task, own in short.items()}
    cuts[MEAN] = sum(cuts.values()) / len(cuts)
    return [Equal(one, cuts[one.task]) for one in gains(found, kept) if one.name == "pass@1"]


def _ends(measured: Collection[str], kept: Sequence[Kept]) -> list[str]:
    """The first and the last of the checkpoints that were measured; fewer where there are fewer."""
    names = [one.folder.name for one in kept if one.folder.name in measured]
    return names[:1] + names[1:][-1:]


def _entropies(history: History, kept: Sequence[Kept]) -> list[tuple[float, float]]:
    """The entropy of the tokens that each round sampled, at the compute before that round."""
    size = parameters(kept[0].folder)
    found: list[tuple[float, float]] = []
    flop = 0.0
    for record in history.steps:
        if "entropy" in record:
            found.append((flop, float(record["entropy"])))
        flop = size * (2 * float(record.get("sampled", 0)) + 6 * float(record["tokens"]))
    return found


def by_task(summaries: Sequence[HabitsSummary]) -> Mapping[str, list[HabitsSummary]]:
    """Summaries of the same task beside each other, all tasks together first."""
    found: dict[str, list[HabitsSummary]] = {}
    for one in sorted(summaries, key=lambda one: one.task != "all"):
        found.setdefault(one.task, []).append(one)
    return found
