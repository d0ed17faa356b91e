"""What practice has brought at equal tokens an answer: longer thoughts alone would make answers right more often, too.

Where the practised model thinks less than before, its gain stands as it is: with as many tokens as before it could only
think more. Where it thinks more, its longest chains are cut until it takes no more tokens than before, and those are
read as wrong, though they might have answered in time had they been told to. Either way the gain is a lower bound.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import fsum, inf
from typing import NamedTuple

from ponder.evaluate.records import Record
from ponder.types import Ended, Tokens


class Shortened(NamedTuple):
    """Records of one task, read at no more tokens a chain than others of it took."""

    records: Sequence[Record]
    cut: float
    """The share of their chains that were cut."""


def shortened(before: Iterable[Record], after: Iterable[Record]) -> dict[str, Shortened]:
    """TASK:LEVEL to the second records, with their longest chains cut until they take no more than the first ones."""
    spent, found = _by_task(before), dict[str, Shortened]()
    for task, own in _by_task(after).items():
        counts, allowed = _counts(own), _counts(spent.get(task, ()))
        most = longest(counts, fsum(allowed) / len(allowed)) if allowed else inf
        found[task] = Shortened([_cut(one, most) for one in own], sum(count > most for count in counts) / len(counts))
    return found


def _by_task(records: Iterable[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(f"{record.task}:{record.level}", []).append(record)
    return groups


def _counts(records: Sequence[Record]) -> list[int]:
    """Tokens of each chain."""
    return [tokens.generated for record in records for tokens in record.tokens]


def longest(counts: Sequence[int], mean: float) -> float:
    """Where to cut so that the counts have at most this mean; infinite where they have it as they are."""
    rest = mean * len(counts)
    if fsum(counts) <= rest:
        return inf
    for number, count in enumerate(sorted(counts)):
        if count * (len(counts) - number) > rest:
            return rest / (len(counts) - number)
        rest -= count
    raise AssertionError("the counts are above the mean, so one of them must be")


def _cut(record: Record, most: float) -> Record:
    long = [tokens.generated > most for tokens in record.tokens]
    if not any(long):
        return record
    return replace(
        record,
        scores=tuple(
            0.0 if over and score is not None else score for score, over in zip(record.scores, long, strict=True)
        ),
        ended=tuple(Ended.CUT_OFF if over else end for end, over in zip(record.ended, long, strict=True)),
        tokens=tuple(
            Tokens(tokens.prompt, int(most)) if over else tokens
            for tokens, over in zip(record.tokens, long, strict=True)
        ),
    )
