"""How far an evaluation is: requests differ by a thousand times in what they take, so tokens are counted, not requests.

What a kind of request takes is learned from those that are finished. Until the first of a kind is, it is taken to be
what one sample took on average, times its samples.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    """Requests that take about the same."""

    name: Hashable
    samples: int


class Outlook:
    """The share of all tokens that is done."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = kinds
        self._wanted = Counter(kinds)
        self._done: Counter[Kind] = Counter()
        self._tokens: Counter[Kind] = Counter()

    def finished(self, index: int, tokens: int) -> float:
        """The share with one more request finished, which took so many tokens."""
        kind = self._kinds[index]
        self._done[kind] += 1
        self._tokens[kind] += tokens
        return self.share

    @property
    def share(self) -> float:
        """From 0 to 1; exactly 1 once everything is finished."""
        done = self._tokens.total()
        samples = sum(kind.samples * count for kind, count in self._done.items())
        if not samples:
            return 0.0 if self._wanted else 1.0
        left = 0.0
        for kind, wanted in self._wanted.items():
            seen = self._done[kind]
            each = self._tokens[kind] / seen if seen else done / samples * kind.samples
            left += (wanted - seen) * each
        return done / (done + left) if left else 1.0
