"""What thinking longer is claimed to bring, as numbers: one line a claim for each task and the mean of all tasks.

Everything is read from the curves' points. Intervals are of the paired bootstrap over problems that the points share: a
resample holds the same problems for both sides of a claim. Where tokens are compared, only accuracy is resampled unless
it is said otherwise: the tokens of a point are a mean over its problems that varies little.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import exp2, inf, isfinite, log2
from typing import Any

from ponder.evaluate.metrics import percentiles, resampled
from ponder.evaluate.records import BOUND
from ponder.evaluate.run import ADAPTIVE, SINGLE
from ponder.evaluate.scaling import COVERAGE, MEAN, Curve, Point, Setting, difference
from ponder.text.effort import AUTO
from ponder.types import Effort

MAJORITY, WEIGHTED = "majority", "weighted_vote"
CHEAPER = ("beam", "mcts", ADAPTIVE, WEIGHTED)
"""The searches whose tokens are held against a majority vote's."""
POINTS, SHARE = "points", "share"
"""What a claim's number is: points of accuracy as a share of 1, or a share of something."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One number that is claimed of a model."""

    setting: Setting
    effort: str
    """Empty where it compares efforts."""
    task: str
    """TASK:LEVEL, or the mean."""
    name: str
    unit: str
    value: float | None
    """None where what is claimed was not reached by anything that was measured."""
    low: float | None
    high: float | None
    """The 95 % interval; None for an end that lies beyond what was measured."""
    n: int
    note: str = ""

    @property
    def told(self) -> str:
        """The number for a reader."""
        return "not reached" if self.value is None else self._number(self.value)

    @property
    def interval(self) -> str:
        """Its interval for a reader."""
        if self.low is None and self.high is None:
            return "–"
        ends = ("not reached" if end is None else self._number(end).removesuffix(" %") for end in (self.low, self.high))
        return " to ".join(ends)

    def _number(self, value: float) -> str:
        return f"{100 * value:+.1f}" if self.unit == POINTS else f"{100 * value:.1f} %"

    def to_json(self) -> dict[str, Any]:
        """The claim as plain JSON values."""
        told = asdict(self) | {name: _rounded(getattr(self, name)) for name in ("value", "low", "high")}
        return {**self.setting._asdict(), **{name: value for name, value in told.items() if name != "setting"}}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def claims(found: Sequence[Curve], efforts: Sequence[Curve] = ()) -> list[Claim]:
    """All claims that searches' and efforts' curves have the points for, the mean of all tasks first."""
    made: list[Claim] = []
    groups: dict[tuple[Setting, str, str], dict[str, Curve]] = {}
    for curve in sorted(found, key=lambda curve: curve.task != MEAN):
        groups.setdefault((curve.setting, curve.effort, curve.task), {})[curve.search] = curve
    for by_search in groups.values():
        made += _of_searches(by_search)
    efforts = [curve for curve in efforts if not curve.search.endswith(BOUND)]
    for curve in sorted(efforts, key=lambda curve: curve.task != MEAN):
        own = curve.setting, curve.search
        alike = [one for one in efforts if one.task != MEAN and (one.setting, one.search) == own]
        made += _of_efforts(curve, alike)
    return made


# --- searches -------------------------------------------------------------------------------------------------------


def _of_searches(by_search: Mapping[str, Curve]) -> Iterator[Claim]:
    single, majority, weighted = (by_search.get(name) for name in (SINGLE, MAJORITY, WEIGHTED))
    if single and majority:
        most = majority.points[-1]
        yield _gain(majority, f"{MAJORITY}@{most.label} − pass@1", single.points[0], most)
    if majority and weighted and (both := _largest(majority, weighted)):
        first, second = both
        yield _gain(weighted, f"{WEIGHTED}@{second.label} − {MAJORITY}@{first.label}", first, second)
    for curve in (majority, weighted):
        if curve and curve.fit and curve.slope:
            fitted = "flat" if curve.fit.r2 is None else f"R² {curve.fit.r2:.3f}"
            times = curve.points[-1].tokens / curve.points[0].tokens
            note = f"{fitted} over {times:.0f}× tokens"
            ends = (curve.fit.slope, *curve.slope)
            yield _claim(curve, f"{curve.search}, a doubling of tokens", POINTS, ends, curve.points[-1], note)
    if bound := by_search.get(COVERAGE):
        point = bound.points[-1]
        ends = (point.accuracy, point.low, point.high)
        yield _claim(bound, f"{COVERAGE}@{point.label}", SHARE, ends, point, "any chain right: no vote can beat it")
    if majority and len(majority.points) > 1:
        for name in CHEAPER:
            if curve := by_search.get(name):
                yield _cheaper(curve, majority.points[-1])


def _largest(first: Curve, second: Curve) -> tuple[Point, Point] | None:
    """The points with the most samples that both have."""
    own = {point.samples: point for point in first.points}
    return next(((own[point.samples], point) for point in reversed(second.points) if point.samples in own), None)


def _gain(curve: Curve, name: str, first: Point, second: Point) -> Claim:
    told = difference(first, second)
    note = f"{100 * first.accuracy:.1f} → {100 * second.accuracy:.1f} %, p {told.p:.3f}"
    return _claim(curve, name, POINTS, (told.change, told.low, told.high), second, note)


def _cheaper(curve: Curve, goal: Point) -> Claim:
    """With which share of a majority vote's tokens a search is as accurate."""
    name = f"{curve.search}: tokens to match {MAJORITY}@{goal.label}, of its tokens"
    tokens = [point.tokens for point in curve.points]
    share = reached(tokens, [point.accuracy for point in curve.points], goal.accuracy) / goal.tokens
    again = zip(goal.resamples, *(point.resamples for point in curve.points), strict=True)
    low, high = percentiles([reached(tokens, accuracies, wanted) / goal.tokens for wanted, *accuracies in again])
    best = max(curve.points, key=lambda point: point.accuracy)
    note = f"{100 * goal.accuracy:.1f} % at {goal.tokens:,.0f} tokens"
    if not isfinite(share):
        note += f"; at best {100 * best.accuracy:.1f} % at {best.tokens:,.0f}"
    elif curve.points[0].accuracy >= goal.accuracy:
        note += "; the least that was measured does"
    return _claim(curve, name, SHARE, (share, low, high), curve.points[-1], note)


def reached(tokens: Sequence[float], accuracies: Sequence[float], wanted: float) -> float:
    """With how many tokens a curve first is as accurate as is wanted, between its points on a line over log tokens.

    Infinite where it never is; where its first point is, that one's tokens.
    """
    if accuracies[0] >= wanted:
        return tokens[0]
    for (less, below), (more, above) in pairwise(zip(tokens, accuracies, strict=True)):
        if below < wanted <= above:
            return exp2(log2(less) + (log2(more) - log2(less)) * (wanted - below) / (above - below))
    return inf


# --- efforts --------------------------------------------------------------------------------------------------------


def _of_efforts(curve: Curve, alike: Sequence[Curve]) -> Iterator[Claim]:
    """What a curve of efforts claims; `alike` are those of all single tasks."""
    at = {point.label: point for point in curve.points}
    auto, high, low = at.get(AUTO), at.get(Effort.HIGH), at.get(Effort.LOW)
    if auto and high and high.accuracy and high.tokens:
        pairs = zip(auto.resamples, high.resamples, strict=True)
        ends = percentiles([one / other if other else inf for one, other in pairs])
        note = f"{100 * auto.accuracy:.1f} of {100 * high.accuracy:.1f} %"
        yield _claim(curve, "auto: accuracy, of high's", SHARE, (auto.accuracy / high.accuracy, *ends), auto, note)
        spent = zip(*(_tokens_again(curve, alike, label) for label in (AUTO, Effort.HIGH)), strict=True)
        ends = percentiles([one / other if other else inf for one, other in spent])
        note = f"{auto.tokens:,.0f} of {high.tokens:,.0f} tokens; tokens resampled"
        yield _claim(curve, "auto: tokens, of high's", SHARE, (auto.tokens / high.tokens, *ends), auto, note)
    most = next((at[effort] for effort in reversed(Effort) if effort in at), None)
    if low and most and most is not low:
        worse = [point.label for point in curve.points if point.drop and point.drop.sure]
        order = f"{', '.join(worse)} surely worse than less" if worse else "no effort surely worse than a lower one"
        told = _gain(curve, f"effort {most.label} − low", low, most)
        yield replace(told, note=f"{told.note}; {most.tokens / max(low.tokens, 1):.1f}× tokens; {order}")


def _tokens_again(curve: Curve, alike: Sequence[Curve], label: str) -> list[float]:
    """Mean tokens of an effort in resamples of the same problems as its accuracy has."""
    parts = [one for one in alike if curve.task in (MEAN, one.task)]
    points = [(one.task, point) for one in parts for point in one.points if point.label == label]
    times = len(curve.points[0].resamples)
    means = [resampled([one.tokens for one in point.seen.values()], task, times=times) for task, point in points]
    return [sum(ones) / len(ones) for ones in zip(*means, strict=True)]


def _claim(curve: Curve, name: str, unit: str, ends: tuple[float, float, float], point: Point, note: str = "") -> Claim:
    value, low, high = (end if isfinite(end) else None for end in ends)
    return Claim(
        setting=curve.setting,
        effort=curve.effort,
        task=curve.task,
        name=name,
        unit=unit,
        value=value,
        low=low,
        high=high,
        n=point.n,
        note=note,
    )
