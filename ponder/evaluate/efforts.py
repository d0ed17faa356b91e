"""What each effort should buy from a model, and when ``auto`` should choose it: found from validation records.

An effort's plan is one of what was measured at that effort: the model sees its token. Among those that leave each
effort dearer and no worse than the one before, the plans are taken that lie nearest to the front of all that was
measured, and whose costs grow by about the same factor from effort to effort.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import fsum, log2

from ponder.errors import ConfigError
from ponder.evaluate.records import RATED_BY
from ponder.evaluate.scaling import COVERAGE, MEAN, Curve, Seen
from ponder.reward.route import chosen
from ponder.text.effort import Plan
from ponder.types import Effort

OTHERS = tuple(filter(None, RATED_BY.values()))
"""How curves end that the model's own head did not rate."""
POINT = 0.01
"""Being a point of accuracy below the front counts as much as being a doubling of tokens from where it should be."""
GRID = 24
"""Thresholds of each effort that are tried."""
MOST_TRIED = 20_000
"""Tables of thresholds that are tried; with more efforts the grid is coarser."""
NEVER = 1.01
"""A threshold that no value reaches."""


@dataclass(frozen=True)
class Candidate:
    """One way to spend an effort, and what it came to."""

    effort: Effort
    plan: Plan
    accuracy: float
    tokens: float
    seen: Mapping[str, Seen] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Thresholds, and what choosing by them comes to on the problems that they were found on."""

    thresholds: Mapping[Effort, float]
    accuracy: float
    tokens: float
    reference: Effort
    reference_accuracy: float
    reference_tokens: float


def candidates(curves: Sequence[Curve]) -> list[Candidate]:
    """All that the curves of one model measured, over all of its tasks."""
    tasks = {curve.task for curve in curves}
    wanted = MEAN if len(tasks - {MEAN}) > 1 else next(iter(tasks), MEAN)
    if len({(curve.setting.model, curve.setting.weights) for curve in curves}) > 1:
        raise ConfigError("the records come from several models or weights: give those of one")
    if other := next((curve.search for curve in curves if curve.search.endswith(OTHERS)), ""):
        raise ConfigError(f"what was found by {other} says nothing of the model alone: leave those records out")
    found: list[Candidate] = []
    for curve in curves:
        search, _, width = curve.search.partition(", width ")
        if curve.task != wanted or search in (COVERAGE, "direct") or curve.effort not in list(Effort):
            continue
        for point in curve.points:
            plan = Plan(
                search=search,
                samples=point.samples,
                width=int(width) if width else None,
                temperature=curve.setting.temperature or None,
            )
            found.append(Candidate(Effort(curve.effort), plan, point.accuracy, point.tokens, point.seen))
    return found


def front(found: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that nothing beats: all that cost no more are less accurate. Cheapest first."""
    kept: list[Candidate] = []
    for one in sorted(found, key=lambda one: (one.tokens, -one.accuracy)):
        if not kept or one.accuracy > kept[-1].accuracy:
            kept.append(one)
    return kept


def pick_plans(found: Sequence[Candidate]) -> list[Candidate]:
    """One candidate for each effort that was measured, in the order of efforts.

    Raises ConfigError where no choice lets both tokens and accuracy grow.
    """
    best = front(found)
    if not best:
        raise ConfigError("nothing was measured that an effort could buy: evaluate some searches on validation")
    efforts = [effort for effort in Effort if any(one.effort is effort for one in found)]
    first, last = log2(max(best[0].tokens, 1)), log2(max(best[-1].tokens, 1))
    # Of each candidate of the last effort so far: how good the best way to it is, and that way.
    ways: list[tuple[float, list[Candidate]]] = [(0.0, [])]
    for number, effort in enumerate(efforts):
        wanted = last if len(efforts) == 1 else first + (last - first) * number / (len(efforts) - 1)
        longer: list[tuple[float, list[Candidate]]] = []
        for one in front([one for one in found if one.effort is effort]):
            cost = (log2(max(one.tokens, 1)) - wanted) ** 2 + (_below(one, best) / POINT) ** 2
            before = [(sum_ + cost, way) for sum_, way in ways if not way or _grows(way[-1], one)]
            if before:
                sum_, way = min(before, key=lambda way: way[0])
                longer.append((sum_, [*way, one]))
        if not longer:
            raise ConfigError(
                f"effort {effort} buys nothing better than the efforts before it: measure larger searches at it, "
                "or leave it out"
            )
        ways = longer
    return min(ways, key=lambda way: way[0])[1]


def _grows(less: Candidate, more: Candidate) -> bool:
    return less.tokens < more.tokens and less.accuracy <= more.accuracy


def _below(one: Candidate, best: Sequence[Candidate]) -> float:
    """How much less accurate it is than the front is for as many tokens."""
    return max(0.0, max(other.accuracy for other in best if other.tokens <= one.tokens) - one.accuracy)


def pick_thresholds(
    picked: Sequence[Candidate], values: Mapping[Effort, Mapping[str, float]], *, keep: float = 0.97
) -> Table:
    """The thresholds that spend least while they keep this share of the last plan's accuracy.

    `values` are the model's own at each effort's token, by problem; of the last plan's effort none are needed. Raises
    ConfigError where fewer than two plans or no problems are common to all.
    """
    common = sorted(set.intersection(*(set(one.seen) for one in picked))) if len(picked) > 1 else []
    if not common:
        raise ConfigError("auto needs at least two efforts that were measured on the same problems")
    efforts, last = [one.effort for one in picked], picked[-1]
    size = max(2, min(GRID, int(MOST_TRIED ** (1 / (len(efforts) - 1)))))
    grids = [_quantiles([values[effort][name] for name in common], size) for effort in efforts[:-1]]
    told = [{effort: values[effort][name] for effort in efforts[:-1]} for name in common]
    came = [{one.effort: one.seen[name] for one in picked} for name in common]
    reference = [came_to[last.effort] for came_to in came]
    wanted = keep * fsum(seen.accuracy for seen in reference)
    found: tuple[float, float, dict[Effort, float]] | None = None
    for limits in product(*grids):
        thresholds = dict(zip(efforts, (*limits, 0.0), strict=True))
        taken = [of[chosen(value, thresholds)] for value, of in zip(told, came, strict=True)]
        right, spent = fsum(seen.accuracy for seen in taken), fsum(seen.tokens for seen in taken)
        if right >= wanted - 1e-9 and (found is None or spent < found[0]):
            found = spent, right, thresholds
    assert found  # NEVER is in each grid: always taking the last effort keeps all
    return Table(
        thresholds=found[2],
        accuracy=found[1] / len(common),
        tokens=found[0] / len(common),
        reference=last.effort,
        reference_accuracy=fsum(seen.accuracy for seen in reference) / len(common),
        reference_tokens=fsum(seen.tokens for seen in reference) / len(common),
    )


def _quantiles(values: Sequence[float], size: int) -> list[float]:
    """Thresholds that equally many values lie between, and one that none reaches."""
    ordered = sorted(values)
    return sorted({ordered[round(i * (len(ordered) - 1) / (size - 1))] for i in range(size - 1)} | {NEVER})
