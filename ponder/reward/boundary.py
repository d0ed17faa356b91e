"""What is known, and what was said, at the boundaries of one completion.

A completion of n blocks has n + 2 boundaries: the start (where nothing is thought yet), the end of each block, and the
end of the answer. Everything here is in that order.
"""

from dataclasses import dataclass

from ponder.types import Rating


@dataclass(frozen=True)
class Label:
    """What a rating should say at one boundary; None where nothing is known."""

    value: float | None
    """Probability that the final answer will be right: 0 or 1 from one outcome, a share from several continuations."""
    validity: float | None = None
    """Probability that the block which ends here is correct; at the end of the answer, that the answer is."""


Labels = tuple[Label, ...]
"""One for each boundary of a completion."""


@dataclass(frozen=True)
class Judged:
    """One completion's ratings beside its labels, boundary by boundary."""

    ratings: tuple[Rating, ...]
    labels: Labels
    group: str = ""
    """What it is compared within: its problem."""

    def __post_init__(self) -> None:
        assert len(self.ratings) == len(self.labels) >= 2
