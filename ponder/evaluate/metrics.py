"""The statistics of an evaluation, as plain functions of plain numbers."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import linear_regression
from typing import NamedTuple

from ponder.search.select import grouped
from ponder.seeds import rng_for

Z95 = 1.959963984540054
"""Standard deviations of a normal distribution that hold 95 % of it."""
RESAMPLES = 1000
"""Of a bootstrap: its 95 % interval then has ends of 25 resamples each."""
DRAWS = 64
"""Random subsets of one problem's chains; the problems average out what they leave."""
TIE = 1e-9
"""Sums of weights that differ by a smaller share than this are equal: they were added in another order."""


class Cast(NamedTuple):
    """One chain of a problem, as a vote sees it."""

    answer: str | None
    """None where no finished answer came."""
    right: bool | None
    """None where the grader could not decide."""
    weight: float = 1.0


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better a second way did than a first one on the same problems."""

    mean: float
    low: float
    high: float
    """The 95 % interval of a bootstrap over problems."""
    wins: int
    losses: int
    """Problems on which the second did better, and worse."""
    p: float
    """Of the exact sign test; of single answers, which are right or wrong, that is McNemar's exact test."""


class Fit(NamedTuple):
    """accuracy = at_one + slope · log2(tokens), by least squares."""

    at_one: float
    slope: float
    """Accuracy that each doubling of the tokens brings."""
    r2: float | None
    """Share of the variance that the line explains; None where accuracy does not vary."""

    def at(self, tokens: float) -> float:
        """What the line says of so many tokens."""
        return self.at_one + self.slope * math.log2(tokens)


def mean(values: Iterable[float]) -> float | None:
    """The mean, or None where there is nothing to average."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, `successes` out of `n` (Wilson 1927); with n = 0 everything is possible."""
    assert 0 <= successes <= n
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def pass_at_k(n: int, right: int, k: int) -> float:
    """Chance that at least one of k samples is right, from n of which `right` are; unbiased (Chen et al. 2021)."""
    assert 0 <= right <= n and 1 <= k <= n
    if n - right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - right + 1, n + 1))


def votes_at_k(casts: Sequence[Cast], ks: Iterable[int], *seed: str | int, draws: int = DRAWS) -> dict[int, float]:
    """Chance that a vote over k of these chains, drawn without replacement, elects a right answer, for each k.

    The largest sum of weights wins; of equal sums each has the same chance. Exact where there are no more than `draws`
    subsets, else the mean over so many that the seed names. Subsets that elect an undecided answer are left out, and
    k for which that leaves none.
    """
    right = {
        answer: next((casts[index].right for index in group if casts[index].right is not None), None)
        for answer, group in grouped(cast.answer for cast in casts).items()
    }
    cleaned = [cast._replace(answer=None if cast.answer is None else cast.answer.strip()) for cast in casts]
    found: dict[int, float] = {}
    for k in ks:
        assert 1 <= k <= len(casts)
        chances = [_elects(subset, right) for subset in _subsets(cleaned, k, draws, seed)]
        average = mean(chance for chance in chances if chance is not None)
        if average is not None:
            found[k] = average
    return found


def _subsets(casts: Sequence[Cast], k: int, draws: int, seed: Sequence[str | int]) -> Iterator[Sequence[Cast]]:
    if math.comb(len(casts), k) <= draws:
        yield from combinations(casts, k)
        return
    rng = rng_for("subsets", k, *seed)
    for _ in range(draws):
        yield rng.sample(casts, k)


def _elects(casts: Sequence[Cast], right: Mapping[str, bool | None]) -> float | None:
    """Chance that the elected answer is right; 0 without any answer, None where none of the elected is decided."""
    sums: dict[str, float] = {}
    for answer, _, weight in casts:
        if answer is not None:
            sums[answer] = sums.get(answer, 0.0) + weight
    if not sums:
        return 0.0
    least = max(sums.values()) * (1 - TIE)
    elected = (right[answer] for answer, weight in sums.items() if weight >= least)
    return mean(float(one) for one in elected if one is not None)


def resampled(values: Sequence[float], *seed: str | int, times: int = RESAMPLES) -> list[float]:
    """The means of so many bootstrap resamples of the values (Efron 1979).

    Equal seeds and equally many values resample the same places, so that what belongs together can be compared.
    """
    assert values
    rng, n = rng_for("bootstrap", *seed), len(values)
    return [math.fsum(rng.choices(values, k=n)) / n for _ in range(times)]


def percentiles(means: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval that resampled means leave: their 2.5th and 97.5th percentiles."""
    ordered, last = sorted(means), len(means) - 1
    return ordered[math.floor(0.025 * last)], ordered[math.ceil(0.975 * last)]


def bootstrap(values: Sequence[float], *seed: str | int, times: int = RESAMPLES) -> Interval:
    """The mean of one value a problem, with its percentile bootstrap interval over problems."""
    return Interval(math.fsum(values) / len(values), *percentiles(resampled(values, *seed, times=times)))


def compared(first: Sequence[float], second: Sequence[float], *seed: str | int, times: int = RESAMPLES) -> Difference:
    """The second way less the first, problem by problem."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    average, low, high = bootstrap(differences, *seed, times=times)
    wins, losses = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    return Difference(mean=average, low=low, high=high, wins=wins, losses=losses, p=sign_test(wins, losses))


def sign_test(wins: int, losses: int) -> float:
    """Chance of a split at least as uneven if both sides were equally likely: two-sided and exact (McNemar 1947)."""
    n = wins + losses
    tail = sum(math.comb(n, i) for i in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**n)


def fit_log2(tokens: Sequence[float], accuracies: Sequence[float]) -> Fit | None:
    """The line through accuracies over the logarithm of tokens; None where fewer than two numbers of tokens differ."""
    assert all(count > 0 for count in tokens)
    xs = [math.log2(count) for count in tokens]
    if len(set(xs)) < 2:
        return None
    slope, at_one = linear_regression(xs, accuracies)
    middle = math.fsum(accuracies) / len(accuracies)
    total = math.fsum((y - middle) ** 2 for y in accuracies)
    rest = math.fsum((y - at_one - slope * x) ** 2 for x, y in zip(xs, accuracies, strict=True))
    return Fit(at_one, slope, 1 - rest / total if total > 1e-18 else None)
