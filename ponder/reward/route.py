"""``effort=auto``: the cheapest effort that the model expects to be right with, by its value at the effort's token.

Read before anything is thought, so a question costs one reading of its prompt for each effort, and no token generated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ponder.interfaces import Prefix, Rater
from ponder.types import Effort, Message


@dataclass(frozen=True)
class Router:
    """What chooses efforts for one model."""

    thresholds: Mapping[Effort, float]
    """The efforts that may be chosen, each with the least value it is enough with."""
    rater: Rater

    def __post_init__(self) -> None:
        assert self.thresholds

    async def choose(self, questions: Sequence[tuple[Message, ...]]) -> list[Effort]:
        """An effort for each question: the first in the order of efforts whose value is enough, else the last.

        Raises SamplerError where a question cannot be rated.
        """
        efforts = [effort for effort in Effort if effort in self.thresholds]
        prefixes = [Prefix(question, effort) for question in questions for effort in efforts[:-1]]
        ratings = iter(await self.rater.rate(prefixes) if prefixes else ())
        values = [{effort: next(ratings).value for effort in efforts[:-1]} for _ in questions]
        return [chosen(told, self.thresholds) for told in values]

    async def enough(self, question: tuple[Message, ...], effort: Effort | None = None) -> Effort | None:
        """The first effort whose value reaches its threshold, or None where no value does: others should be asked.

        A threshold of 0 promises nothing, so that it is not among them. With an `effort`, that one alone, held against
        the largest threshold. Raises SamplerError where the question cannot be rated.
        """
        promising = {effort: value for effort, value in self.thresholds.items() if value > 0}
        if effort is not None:
            promising = {effort: max(promising.values())} if promising else {}
        efforts = [one for one in Effort if one in promising]
        ratings = await self.rater.rate([Prefix(question, one) for one in efforts]) if efforts else []
        values = zip(efforts, ratings, strict=True)
        return next((one for one, rating in values if rating.value >= promising[one]), None)


def chosen(values: Mapping[Effort, float], thresholds: Mapping[Effort, float]) -> Effort:
    """The effort that these values at its tokens lead to; of the last one no value is needed."""
    efforts = [effort for effort in Effort if effort in thresholds]
    return next((effort for effort in efforts[:-1] if values[effort] >= thresholds[effort]), efforts[-1])
