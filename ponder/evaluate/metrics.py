"""The statistics of an evaluation, as plain functions of plain numbers."""

import math
from collections.abc import Iterable, Sequence

from ponder.search.select import grouped

Z95 = 1.959963984540054
"""Standard deviations of a normal distribution that hold 95 % of it."""


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


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer; of equally frequent ones the one that came first."""
    assert answers
    return answers[max(grouped(answers, key=str).values(), key=len)[0]]
