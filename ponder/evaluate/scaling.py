"""From records to curves: accuracy against the tokens it took, for each search, task and effort, and their mean.

Where several single chains of a problem were drawn, coverage and votes over fewer of them are expected values over
random subsets, which vary less than the first chains alone. All intervals come from one bootstrap over problems, which
resamples the same problems for each point, so that points of a task can be compared problem by problem.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from typing import NamedTuple

from ponder.evaluate.metrics import (
    RESAMPLES,
    Cast,
    Fit,
    compared,
    fit_log2,
    mean,
    pass_at_k,
    percentiles,
    resampled,
    votes_at_k,
    wilson,
)
from ponder.evaluate.records import RATED_BY, Record
from ponder.evaluate.run import BY_EFFORT, SINGLE
from ponder.evaluate.summary import powers
from ponder.evaluate.votes import ADAPTIVE, chosen_again, readable
from ponder.search.select import Key
from ponder.seeds import seed_for
from ponder.tasks import TASKS
from ponder.text.effort import AUTO, Budget, usual_width
from ponder.types import Effort, Ended

MEAN = "mean"
"""In place of a task: the plain mean over all of them."""
COVERAGE = "coverage"
"""In place of a search: the chance that any of the chains is right, which no choice among them can beat."""
ESTIMATED = {"majority": False, "weighted_vote": True}
"""The votes of which single chains tell the expected value, and whether they need the chains' values."""


class Setting(NamedTuple):
    """What must be the same for numbers to stand in one figure."""

    model: str
    weights: str
    temperature: float | None
    """None where each effort has its own."""
    top_p: float


class Seen(NamedTuple):
    """What one problem came to."""

    accuracy: float
    tokens: float
    prompt: float


@dataclass(frozen=True, kw_only=True)
class Drop:
    """That more was worse than less."""

    best: str
    """The point that was better."""
    change: float
    low: float
    high: float
    """The 95 % interval of the change, problem by problem."""
    p: float
    """Of the exact sign test over all problems."""

    @property
    def sure(self) -> bool:
        """Whether chance alone does not explain it."""
        return self.high < 0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One number of samples, or one effort."""

    label: str
    samples: int
    n: int
    accuracy: float
    low: float
    high: float
    tokens: float
    """Generated for a problem, discarded ones included."""
    prompt: float
    source: str
    """Where the number comes from."""
    resamples: Sequence[float] = field(repr=False)
    seen: Mapping[str, Seen] = field(repr=False)
    drop: Drop | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """All points of one search."""

    setting: Setting
    task: str
    """TASK:LEVEL, or the mean."""
    effort: str
    search: str
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    """By number of samples."""
    fit: Fit | None = None
    slope: tuple[float, float] | None = None
    """The 95 % interval of the fit's slope."""


Cells = dict[tuple[str, int], tuple[str, dict[str, Seen]]]
"""Name of a search and its samples, to where the numbers come from and what each problem came to."""


def curves(records: Iterable[Record], *, times: int = RESAMPLES) -> list[Curve]:
    """A curve for each setting, effort, task and search; then the means over tasks, where there are several."""
    groups: dict[tuple[Setting, str, str], list[Record]] = {}
    for record in records:
        if record.search != BY_EFFORT:
            setting = Setting(record.model, record.weights, record.temperature, record.top_p)
            groups.setdefault((setting, record.effort, f"{record.task}:{record.level}"), []).append(record)
    found: list[Curve] = []
    for (setting, effort, task), own in groups.items():
        seeds = tuple(sorted({record.seed for record in own}))
        by_name: dict[str, list[Point]] = {}
        for (name, samples), (source, seen) in sorted(_rated_cells(own).items(), key=lambda cell: cell[0][1]):
            if seen:
                by_name.setdefault(name, []).append(_point(str(samples), samples, source, seen, task, times))
        found += [_curve(setting, task, effort, name, seeds, points) for name, points in by_name.items()]
    return found + _means(found)


def by_effort(records: Iterable[Record], *, times: int = RESAMPLES) -> list[Curve]:
    """A curve of a point an effort, for each setting and task, and the mean: by the models' plans, else single chains.

    Only where there are several efforts.
    """
    listed = list(records)
    search = BY_EFFORT if any(record.search == BY_EFFORT for record in listed) else SINGLE
    groups: dict[tuple[Setting, str, str], dict[str, list[Record]]] = {}
    for record in listed:
        if record.search == search:
            temperature = None if search == BY_EFFORT else record.temperature
            setting = Setting(record.model, record.weights, temperature, record.top_p)
            efforts = groups.setdefault((setting, f"{record.task}:{record.level}", record.titled), {})
            efforts.setdefault(record.effort, []).append(record)
    found: list[Curve] = []
    order = [*map(str, Effort), AUTO]
    for (setting, task, titled), efforts in groups.items():
        seeds = tuple(sorted({record.seed for own in efforts.values() for record in own}))
        points = [
            _point(effort, order.index(effort), "drawn", seen, task, times)
            for effort in sorted(efforts, key=order.index)
            if (seen := _singles(efforts[effort]))
        ]
        if len(points) > 1:
            found.append(_curve(setting, task, "", titled, seeds, points, fitted=False))
    return found + _means(found, fitted=False)


def _problem(record: Record) -> str:
    return f"{record.seed}/{record.id or record.prompt}"


def _rated_cells(records: Sequence[Record]) -> Cells:
    """The cells of each rater's records by themselves, under names that say who rated."""
    cells: Cells = {}
    for rater in dict.fromkeys(record.rater for record in records):
        own = _cells([record for record in records if record.rater == rater])
        cells |= {(name + RATED_BY[rater], samples): cell for (name, samples), cell in own.items()}
    return cells


def _cells(records: Sequence[Record]) -> Cells:
    most = max((len(record.answers) for record in records if record.search == SINGLE), default=0)
    chains = [record for record in records if record.search == SINGLE and len(record.answers) == most]
    cells: Cells = {(SINGLE, 1): ("drawn" if most == 1 else f"mean of {most} chains", _singles(chains))}
    drawn = {_problem(record): record for record in chains}
    for record in records:
        if record.search != SINGLE and record.scores[0] is not None:
            name = record.search
            if record.width not in (1, usual_width(record.drawn)):
                name += f", width {record.width}"
            _, seen = cells.setdefault((name, record.drawn), ("drawn", {}))
            again = _adapted(record, drawn.get(_problem(record))) if record.search == ADAPTIVE else None
            tokens = record.tokens[0]
            seen[_problem(record)] = again or Seen(float(record.scores[0] == 1.0), tokens.generated, tokens.prompt)
    return cells | _expected(chains, most) if most > 1 else cells


def _singles(records: Sequence[Record]) -> dict[str, Seen]:
    """Each problem's mean over its answers."""
    seen: dict[str, Seen] = {}
    for record in records:
        share = mean(float(right) for right in record.rights if right is not None)
        if share is not None:
            seen[_problem(record)] = Seen(share, _each(record), record.tokens[0].prompt)
    return seen


def _each(record: Record) -> float:
    """Mean tokens of its answers."""
    return fsum(tokens.generated for tokens in record.tokens) / len(record.tokens)


def _expected(chains: Sequence[Record], most: int) -> Cells:
    """What single chains tell of coverage, and of votes over fewer of them."""
    source, ks = f"subsets of {most} chains", powers(most)
    cells: Cells = {}
    for record in chains:
        each, prompt = _each(record), record.tokens[0].prompt
        decided = [right for right in record.rights if right is not None]
        covered = {k: pass_at_k(len(decided), sum(decided), k) for k in ks if k <= len(decided)}
        shares = {COVERAGE: covered} | {
            name: votes_at_k(casts, ks, record.task, _problem(record))
            for name, weighted in ESTIMATED.items()
            if (casts := _casts(record, weighted))
        }
        for name, by_k in shares.items():
            for k, share in by_k.items():
                _, seen = cells.setdefault((name, k), (source, {}))
                seen[_problem(record)] = Seen(share, k * each, prompt)
    return cells


def _adapted(record: Record, chains: Record | None) -> Seen | None:
    """What an adaptive search comes to on its problem's own chains where answers are one that differ in letters.

    A record may be older than its task's `same`; where answers are compared to the letter, it stands as it is.
    """
    if chains is None or len(chains.answers) < record.drawn or _same(record) is str.strip:
        return None
    if not readable(chains, ADAPTIVE):
        return None
    budget = Budget(chains.thinking, samples=record.drawn, width=record.width)
    seed = seed_for("evaluate", record.seed, record.task, record.id)
    chosen, count = chosen_again(chains, ADAPTIVE, budget, seed, _same(record))
    right = chosen is not None and chains.rights[chosen] is True
    spent = sum(tokens.generated for tokens in chains.tokens[:count])
    return Seen(float(right), spent, record.tokens[0].prompt)


def _same(record: Record) -> Key:
    """Which answers to its problem are one."""
    return TASKS[record.task].same if record.task in TASKS else str.strip


def _casts(record: Record, weighted: bool) -> list[Cast] | None:
    """The chains as votes see them; None where a finished one has no value and a vote needs it."""
    values = record.values if weighted else (1.0,) * len(record.answers)
    finished = [end is Ended.ANSWERED for end in record.ended]
    if not values or any(value is None for value, ended in zip(values, finished, strict=True) if ended):
        return None
    same = _same(record)
    return [
        Cast(same(answer) if ended else None, right, value or 0.0)
        for answer, ended, right, value in zip(record.answers, finished, record.rights, values, strict=True)
    ]


def _point(label: str, samples: int, source: str, seen: Mapping[str, Seen], task: str, times: int) -> Point:
    names = sorted(seen)
    values = [seen[name].accuracy for name in names]
    resamples = resampled(values, task, times=times)
    # Where all problems came to the same, resampling knows no doubt; what else could have been, Wilson's interval says.
    low, high = percentiles(resamples) if len(set(values)) > 1 else wilson(fsum(values), len(values))
    return Point(
        label=label,
        samples=samples,
        n=len(values),
        accuracy=fsum(values) / len(values),
        low=low,
        high=high,
        tokens=fsum(one.tokens for one in seen.values()) / len(values),
        prompt=fsum(one.prompt for one in seen.values()) / len(values),
        source=source,
        resamples=resamples,
        seen={name: seen[name] for name in names},
    )


def _means(found: Sequence[Curve], *, fitted: bool = True) -> list[Curve]:
    """The mean curves of those that all tasks of a setting and effort have, point by point."""
    groups: dict[tuple[Setting, str], list[Curve]] = {}
    for curve in found:
        groups.setdefault((curve.setting, curve.effort), []).append(curve)
    means: list[Curve] = []
    for (setting, effort), own in groups.items():
        tasks = {curve.task for curve in own}
        if len(tasks) < 2:
            continue
        for search in dict.fromkeys(curve.search for curve in own):
            alike = [curve for curve in own if curve.search == search]
            by_label: dict[str, list[tuple[str, Point]]] = {}
            for curve in alike:
                for point in curve.points:
                    by_label.setdefault(point.label, []).append((curve.task, point))
            points = [_averaged(parts) for parts in by_label.values() if len(parts) == len(tasks)]
            if points:
                points.sort(key=lambda point: point.samples)
                seeds = tuple(sorted({seed for curve in alike for seed in curve.seeds}))
                means.append(_curve(setting, MEAN, effort, search, seeds, points, fitted=fitted))
    return means


def _averaged(parts: Sequence[tuple[str, Point]]) -> Point:
    points = [point for _, point in parts]
    resamples = [fsum(ones) / len(ones) for ones in zip(*(point.resamples for point in points), strict=True)]
    low, high = percentiles(resamples)
    return Point(
        label=points[0].label,
        samples=points[0].samples,
        n=sum(point.n for point in points),
        accuracy=fsum(point.accuracy for point in points) / len(points),
        low=low,
        high=high,
        tokens=fsum(point.tokens for point in points) / len(points),
        prompt=fsum(point.prompt for point in points) / len(points),
        source=points[0].source,
        resamples=resamples,
        seen={f"{task}/{name}": seen for task, point in parts for name, seen in point.seen.items()},
    )


def _curve(
    setting: Setting,
    task: str,
    effort: str,
    search: str,
    seeds: tuple[int, ...],
    points: Sequence[Point],
    *,
    fitted: bool = True,
) -> Curve:
    """A curve with its fit and its drops."""
    fit, slope = (_fitted(points) if fitted and len(points) > 2 else None) or (None, None)
    return Curve(
        setting=setting,
        task=task,
        effort=effort,
        search=search,
        seeds=seeds,
        points=_dropping(points),
        fit=fit,
        slope=slope,
    )


def _fitted(points: Sequence[Point]) -> tuple[Fit, tuple[float, float]] | None:
    tokens = [point.tokens for point in points]
    fit = fit_log2(tokens, [point.accuracy for point in points]) if min(tokens) > 0 else None
    if fit is None:
        return None
    lines = (fit_log2(tokens, again) for again in zip(*(point.resamples for point in points), strict=True))
    return fit, percentiles([line.slope for line in lines if line])


def _dropping(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points, each with what it lost to the best one before it, where it lost anything."""
    found: list[Point] = []
    best: Point | None = None
    for point in points:
        if best is not None and point.accuracy < best.accuracy - 1e-12 and point.label != AUTO:
            found.append(replace(point, drop=difference(best, point)))
        else:
            found.append(point)
            best = point if point.label != AUTO else best
    return tuple(found)


def difference(first: Point, second: Point) -> Drop:
    """The second point less the first, on the problems that both have."""
    both = [name for name in first.seen if name in second.seen]
    pairs = [(first.seen[name].accuracy, second.seen[name].accuracy) for name in both]
    test = compared([one for one, _ in pairs], [other for _, other in pairs], times=1)
    changes = [b - a for a, b in zip(first.resamples, second.resamples, strict=True)]
    low, high = percentiles(changes)
    change = second.accuracy - first.accuracy
    return Drop(best=first.label, change=change, low=low, high=high, p=test.p)
