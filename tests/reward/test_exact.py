"""Exact labels follow the tasks' own checkers, and the oracle's ratings follow the truth."""

import asyncio
from dataclasses import replace

import pytest

from ponder.errors import ConfigError
from ponder.interfaces import Prefix
from ponder.reward.boundary import Label
from ponder.reward.exact import OracleRater, exact_checks, exact_labels, grade_completion, outcome_labels
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.types import Block, Completion, Demonstration, Effort, Ended, Grade, Message, Problem, Split, Style


def shown(name: str, index: int = 0) -> tuple[Problem, Demonstration]:
    problem = make(TASKS[name], 2, Split.TRAIN, index)
    return problem, TASKS[name].demonstrate(problem, rng_for("exact", index), Style.CLEAN)


@pytest.mark.parametrize("name", TASKS)
def test_a_clean_demonstration_is_right_everywhere(name: str) -> None:
    problem, demonstration = shown(name)
    completion = Completion(demonstration.blocks, demonstration.answer, Ended.ANSWERED)
    labels = exact_labels(problem, completion, grade_completion(problem, completion))
    assert len(labels) == len(completion.blocks) + 2
    assert labels[0] == Label(1.0) and labels[-1] == Label(1.0, 1.0)
    assert all(label == Label(1.0, 1.0) for label in labels[1:-1])


@pytest.mark.parametrize("name", TASKS)
def test_a_damaged_block_is_not_valid(name: str) -> None:
    problem, demonstration = shown(name)
    at = len(demonstration.blocks) // 2
    blocks = list(demonstration.blocks)
    blocks[at] = replace(blocks[at], summary="so it is nothing", thoughts="nothing at all")
    completion = Completion(tuple(blocks), "nonsense", Ended.ANSWERED)
    labels = exact_labels(problem, completion, grade_completion(problem, completion))
    assert labels[at + 1].validity == 0.0 and all(label.validity == 1.0 for label in labels[1 : at + 1])
    assert {label.value for label in labels} == {0.0}


def checked(name: str, blocks: tuple[Block, ...], answer: str, value: str, index: int = 0) -> list[float | None]:
    """Values at the start, after each block and after the answer."""
    problem, _ = shown(name, index)
    completion = Completion(blocks, answer, Ended.ANSWERED)
    grade = grade_completion(problem, completion)
    return [label.value for label in exact_labels(problem, completion, grade, value=value)]  # type: ignore[arg-type]


def test_a_block_is_worth_what_can_still_be_reached_where_that_is_asked_for() -> None:
    problem, demonstration = shown("sudoku")
    *first, last, _ = demonstration.blocks
    blocks = (*first, replace(last, summary=last.summary.translate(str.maketrans("12", "21"))))
    checks = exact_checks(problem, Completion(blocks, "", Ended.ANSWERED))
    assert [check.winnable for check in checks] == [True] * (len(blocks) - 1) + [False]
    known = [1.0] * (len(blocks) - 1)
    assert checked("sudoku", blocks, "nothing", "winnable") == [0.0, *known, 0.0, 0.0]
    assert checked("sudoku", blocks, "nothing", "outcome") == [0.0] * (len(blocks) + 2)
    # Lost in between, and yet answered rightly: the block says what was known there, start and end how it ended.
    assert checked("sudoku", blocks, demonstration.answer, "winnable") == [1.0, *known, 0.0, 1.0]


def test_where_no_checker_knows_what_can_be_reached_the_outcome_stands() -> None:
    problem, demonstration = shown("countdown")
    torn = (Block("?", "?", "?"),)
    assert exact_checks(problem, Completion(torn, "", Ended.ANSWERED))[0].winnable is None
    assert checked("countdown", torn, demonstration.answer, "winnable") == [1.0, 1.0, 1.0]
    assert checked("countdown", torn, "nothing", "winnable") == [0.0, 0.0, 0.0]


def test_what_nobody_knows_has_no_label() -> None:
    problem, demonstration = shown("countdown")
    completion = Completion(demonstration.blocks, "?", Ended.ANSWERED)
    assert exact_labels(problem, completion, Grade(None, "no worker"))[-1] == Label(None, None)
    open_problem = Problem("open", 0, "Who?", "me")
    labels = exact_labels(open_problem, replace(completion, answer="me"), Grade(1.0))
    assert [label.validity for label in labels] == [None] * (len(labels) - 1) + [1.0]
    only = outcome_labels(completion, Grade(0.0))
    assert only[-1] == Label(0.0) and set(only[:-1]) == {Label(None)} and len(only) == len(completion.blocks) + 2


def test_half_an_answer_is_wrong() -> None:
    problem, demonstration = shown("multiplication")
    for ended, right in ((Ended.ANSWERED, True), (Ended.CUT_OFF, False), (Ended.MALFORMED, False)):
        assert grade_completion(problem, Completion((), demonstration.answer, ended)).right is right
    assert grade_completion(Problem("open", 0, "Who?", "me"), Completion((), " me.", Ended.ANSWERED)).right


def test_the_oracle_rates_prefixes() -> None:
    problem, demonstration = shown("countdown")
    oracle = OracleRater([problem])
    messages = (Message("user", problem.prompt),)
    prefixes = [Prefix(messages, Effort.LOW, demonstration.blocks[:n]) for n in range(len(demonstration.blocks) + 1)]
    spoiled = Prefix(messages, Effort.LOW, (Block("make 3", "is a secret", "1"),))
    ratings = asyncio.run(oracle.rate([*prefixes, spoiled]))
    assert all((rating.value, rating.validity) == (1.0, 1.0) for rating in ratings[:-1])
    assert ratings[-1].validity == 0.0
    with pytest.raises(ConfigError, match="does not know the problem 'x'"):
        asyncio.run(oracle.rate([Prefix((Message("user", "x"),), Effort.LOW)]))


def test_the_oracle_says_a_half_where_no_task_checks() -> None:
    oracle = OracleRater([Problem("open", 0, "Who?", "me")])
    prefix = Prefix((Message("user", "Who?"),), Effort.LOW, (Block("a", "b", "c"),))
    (rating,) = asyncio.run(oracle.rate([prefix]))
    assert (rating.value, rating.validity) == (0.5, 0.5)
