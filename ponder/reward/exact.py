"""Labels and ratings from a task's own checker: the truth, where a task knows it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ponder.errors import ConfigError
from ponder.interfaces import Prefix
from ponder.reward.boundary import Label, Labels
from ponder.tasks import TASKS
from ponder.tasks.jsonl import grade_open
from ponder.types import Block, BlockCheck, Completion, Ended, Grade, Problem, Rating

UNKNOWN = 0.5
"""What a rating says where the checker cannot tell."""


def exact_checks(problem: Problem, completion: Completion) -> tuple[BlockCheck, ...]:
    """The checker's word on each block; of a problem that no task checks it knows nothing."""
    return _checks(problem, completion.blocks)


def _checks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    if problem.task not in TASKS:
        return (BlockCheck(None),) * len(blocks)
    return TASKS[problem.task].check_blocks(problem, blocks)


def grade_completion(problem: Problem, completion: Completion) -> Grade:
    """The task's grade of a finished answer; anything else is wrong, for half an answer may look like a right one."""
    if completion.ended is not Ended.ANSWERED:
        return Grade(0.0, f"no finished answer: {completion.ended}")
    grade = TASKS[problem.task].grade if problem.task in TASKS else grade_open
    return grade(problem, completion.answer)


def outcome(grade: Grade) -> float | None:
    """A grade as a label: 1 right, 0 not right, None where the grader could not decide."""
    return None if grade.score is None else float(grade.right)


def exact_labels(
    problem: Problem, completion: Completion, grade: Grade, *, value: Literal["outcome", "winnable"] = "outcome"
) -> Labels:
    """Value: how this completion ended. Validity: the checker's word on each block, and the grade of the answer.

    With `winnable`, a block's value is whether the goal can still be reached from it, where the checker knows that.
    """
    end, by_outcome = outcome(grade), value == "outcome"
    blocks = (
        Label(end if by_outcome or check.winnable is None else float(check.winnable), _known(check.valid))
        for check in exact_checks(problem, completion)
    )
    return (Label(end), *blocks, Label(end, end))


def _known(truth: bool | None) -> float | None:
    return None if truth is None else float(truth)


def outcome_labels(completion: Completion, grade: Grade) -> Labels:
    """An outcome reward model's labels (Cobbe et al. 2021): the value at the end of the answer, and nothing else."""
    return (*(Label(None),) * (len(completion.blocks) + 1), Label(outcome(grade)))


@dataclass(frozen=True)
class OracleRater:
    """A Rater that knows the truth: for tests and upper bounds only, never for a claimed result.

    It says 1 or 0, and UNKNOWN where the checker cannot tell: validity of the last block (of the start: 1), value by
    whether the goal can still be reached from it, or else by whether all blocks so far are valid.
    """

    problems: Iterable[Problem]
    """Those whose prompts may come."""
    _known: dict[str, Problem] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", {problem.prompt: problem for problem in self.problems})

    async def rate(self, prefixes: Sequence[Prefix]) -> list[Rating]:
        """One rating for each prefix, in order."""
        return [self._one(prefix) for prefix in prefixes]

    def _one(self, prefix: Prefix) -> Rating:
        prompt = prefix.messages[-1].content
        if prompt not in self._known:
            raise ConfigError(
                f"the oracle does not know the problem {prompt[:60]!r}: give it the problem with its data"
            )
        problem = self._known[prompt]
        if not prefix.blocks:
            return Rating(1.0, 1.0)
        return _rating(_checks(problem, prefix.blocks))


def exact_ratings(problem: Problem, completion: Completion) -> tuple[Rating, ...]:
    """What the truth says at the start and at the end of each block, as `OracleRater` would."""
    checks = exact_checks(problem, completion)
    return (Rating(1.0, 1.0), *(_rating(checks[: n + 1]) for n in range(len(checks))))


def _rating(checks: Sequence[BlockCheck]) -> Rating:
    last, valid = checks[-1], [check.valid for check in checks]
    sound = False if False in valid else None if None in valid else True
    return Rating(_said(sound if last.winnable is None else last.winnable), _said(last.valid))


def _said(truth: bool | None) -> float:
    return UNKNOWN if truth is None else float(truth)
