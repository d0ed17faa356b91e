"""What an evaluation's records sum up to."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ponder.evaluate.metrics import mean, pass_at_k, wilson
from ponder.evaluate.records import Record
from ponder.types import Ended


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the records of one task, level, effort, search and number of samples come to."""

    task: str
    level: int
    effort: str
    search: str
    """With who rated, where that was not the model itself."""
    samples: int
    """Of each problem."""
    n: int
    """Problems of which at least one sample could be graded."""
    accuracy: float | None
    """Share of right samples, a problem's samples averaged first; None where nothing was graded."""
    low: float
    high: float
    """The 95 % interval over problems; with several samples a problem it errs on the wide side."""
    tokens: float
    """Mean tokens of an answer: thought and answer, and what its search discarded."""
    pass_at_k: dict[int, float] | None
    """k to pass@k for powers of two up to the number of answers; None for one answer."""
    undecided: int
    """Samples the grader could not decide: left out of the accuracy."""
    cut_off: float
    """Share of samples without a finished answer."""
    malformed: float

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON values."""
        return asdict(self)


def summarize(records: Iterable[Record]) -> list[Summary]:
    """One summary for each task, level, effort, search and number of samples, in the order of their first records."""
    groups: dict[tuple[str, int, str, str, int, int], list[Record]] = {}
    for record in records:
        how = (record.effort, record.titled, record.drawn, len(record.answers))
        groups.setdefault((record.task, record.level, *how), []).append(record)
    return [_summary(group) for group in groups.values()]


def _summary(records: Sequence[Record]) -> Summary:
    first, answers = records[0], len(records[0].answers)
    decided_PG = [[right for right in record.rights if right is not None] for record in records]
    shares_P = [sum(right) / len(right) for right in decided_PG if right]
    accuracy = mean(shares_P)
    low, high = wilson(sum(shares_P), len(shares_P))
    ended = [end for record in records for end in record.ended]
    spent = [tokens.generated for record in records for tokens in record.tokens]
    return Summary(
        task=first.task,
        level=first.level,
        effort=first.effort,
        search=first.titled,
        samples=answers * first.drawn,
        n=len(shares_P),
        accuracy=accuracy,
        low=low,
        high=high,
        tokens=mean(spent) or 0.0,
        pass_at_k=_pass_at(decided_PG, answers) if answers > 1 else None,
        undecided=len(ended) - sum(map(len, decided_PG)),
        cut_off=ended.count(Ended.CUT_OFF) / len(ended),
        malformed=ended.count(Ended.MALFORMED) / len(ended),
    )


def powers(most: int) -> list[int]:
    """1, 2, 4, … up to a number, and the number itself."""
    return sorted({2**power for power in range(most.bit_length())} | {most})


def _pass_at(decided_PG: Sequence[Sequence[bool]], samples: int) -> dict[int, float]:
    """pass@k over the problems that have at least k graded samples."""
    values = {k: mean(pass_at_k(len(g), sum(g), k) for g in decided_PG if len(g) >= k) for k in powers(samples)}
    return {k: value for k, value in values.items() if value is not None}
