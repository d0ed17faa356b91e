"""What a rollout is worth: named terms in one sum, in which nothing can outweigh whether the answer is right.

Every term but the outcome lies in a span of one, and their weights together stay below the outcome's, so that the
worst right answer is worth more than the best wrong one. The process term is never a sum of ratings: a policy that is
paid for each good block writes blocks, and no answers (Cheng et al. 2025, "PURE"; DeepSeek-R1 2025).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ponder.errors import ConfigError, TrainingError
from ponder.reward.exact import UNKNOWN, exact_ratings, grade_completion, outcome
from ponder.train.rollout import Drawn, Grader
from ponder.types import Completion, Ended, Grade, Problem, Rating

Process = Literal["off", "exact", "head"]
Form = Literal["min", "progress"]


@dataclass(frozen=True)
class Reward:
    """One rollout's terms, each already weighted; none where it could not be told what it is worth."""

    terms: Mapping[str, float]
    note: str = ""
    """Why there are none."""

    @property
    def decided(self) -> bool:
        """Whether the rollout can be learned from."""
        return bool(self.terms)

    @property
    def total(self) -> float:
        """The sum of all terms."""
        return math.fsum(self.terms.values())

    @property
    def signal(self) -> float:
        """What tells good rollouts from bad ones: a group in which it is the same for all teaches nothing."""
        return self.terms["outcome"] + self.terms.get("process", 0.0)


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """Which terms there are, and how much they weigh beside an outcome of 1."""

    process: Process = "off"
    """Whose ratings of blocks count: the task's checker's, or the policy's own head's."""
    form: Form = "min"
    """`min`: the validity of the worst block. `progress`: how much value the worst block lost."""
    process_weight: float = 0.2
    format_weight: float = 0.05
    length_weight: float = 0.05
    soft_length: float = 0.8
    """From this share of the thinking budget on, a thought costs more the longer it is (Yu et al. 2025, "DAPO")."""

    def __post_init__(self) -> None:
        weights = {"process": self.process_weight, "format": self.format_weight, "length": self.length_weight}
        if any(not 0 <= weight < 1 for weight in weights.values()) or sum(weights.values()) >= 0.999:
            told = ", ".join(f"{name}_weight={weight}" for name, weight in weights.items())
            raise ConfigError(f"{told} do not fit: none is negative, and together they stay below the outcome's 1")
        if not 0 <= self.soft_length < 1:
            raise ConfigError(f"soft_length={self.soft_length} does not fit: it is a share of the budget, below 1")

    def of(self, drawn: Drawn) -> Reward:
        """What a rollout is worth, by its grade."""
        rollout = drawn.rollout
        right = outcome(rollout.grade)
        if right is None:
            return Reward({}, rollout.grade.note or "the grader could not decide")
        terms = {
            "outcome": right,
            "format": self.format_weight * form_term(rollout.completion),
            "length": self.length_weight * self._length(drawn),
        }
        if self.process != "off":
            # Of what was sampled: what a rollout has kept of another one is no merit of its own.
            ratings = exact_ratings(rollout.problem, rollout.completion)[len(drawn.draw.kept.blocks) :]
            if self.process == "head":
                assert drawn.ratings, "only a checkpoint with a head is sampled from here"
                ratings = drawn.ratings[:-1]
            if not all(math.isfinite(rating.value) and math.isfinite(rating.validity) for rating in ratings):
                return Reward({}, "its ratings are not finite")
            terms["process"] = self.process_weight * FORMS[self.form](ratings)
        return Reward(terms)

    def _length(self, drawn: Drawn) -> float:
        """In [-1, 0]: 0 up to the soft limit, -1 where the whole budget is used up."""
        most = drawn.draw.most.thinking
        if not most:
            return 0.0
        over = drawn.rollout.completion.tokens.thinking / most - self.soft_length
        return -min(1.0, max(0.0, over / (1 - self.soft_length)))


def form_term(completion: Completion) -> float:
    """In [-1, 0]: whether there is a finished answer."""
    return 0.0 if completion.ended is Ended.ANSWERED else -1.0


def worst_validity(ratings: tuple[Rating, ...]) -> float:
    """In [0, 1]: a thought is as good as its worst block; one without blocks is neither good nor bad."""
    return min((rating.validity for rating in ratings[1:]), default=UNKNOWN)


def worst_progress(ratings: tuple[Rating, ...]) -> float:
    """In [-1, 0]: the most value that a block has lost. More blocks can only lower it."""
    values = [rating.value for rating in ratings]
    return min(0.0, *(after - before for before, after in zip(values, values[1:], strict=False)), 0.0)


FORMS = {"min": worst_validity, "progress": worst_progress}


def grade_alone(problem: Problem, completion: Completion, grader: Grader = grade_completion) -> Grade:
    """A grade whatever the grader does: one that fails, or says what is no score, has not decided about this sample."""
    try:
        grade = grader(problem, completion)
        score = grade.score
        fits = score is None or 0 <= score <= 1  # NaN is in no interval
    except TrainingError:
        raise  # it says itself that there is no use in going on
    except Exception as err:  # a grader is the user's code: what it does costs this sample alone, and is counted
        return Grade(None, f"the grader failed: {err or type(err).__name__}")
    return grade if fits else Grade(None, f"the grader's score of {score} is not in [0, 1]")
