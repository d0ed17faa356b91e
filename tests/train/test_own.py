"""Whatever a reward function of the user's own does costs its sample alone, or stops the run with the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ponder.errors import ConfigError, TrainingError
from ponder.reward.exact import grade_completion
from ponder.runs import Run
from ponder.tasks import TASKS, make
from ponder.train.own import MOST_HANGS, OwnGrader
from ponder.train.rewards import grade_alone
from ponder.train.rl import RLConfig, run_rl
from ponder.types import Block, Completion, Ended, Grade, Split

PROBLEM = make(TASKS["multiplication"], 1, Split.TRAIN, 0)
REWARDS = """
import math, os, sys, time
def score(problem, completion):
    print("it may print")
    what = completion["answer"]
    if what == "raise": raise ValueError("torn")
    if what == "nan": return math.nan
    if what == "many": return [1.0, 0.0]
    if what == "far": return 7
    if what == "die": os._exit(3)
    if what == "hang": time.sleep(60)
    if what == "none": return None
    if what == "yes": return True
    return float(what == problem["answer"]) if completion["blocks"] else 0.5
def odd(problem, completion):
    if "5" in completion["answer"]: raise ValueError("five")
    return float("3" in completion["answer"] or "7" in completion["answer"])
broken = 3
"""


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "rewards.py"
    path.write_text(REWARDS, encoding="utf-8")
    return path


def said(answer: str) -> Completion:
    return Completion((Block("a", "b", "c"),), answer, Ended.ANSWERED)


def test_each_sample_has_its_own_score(rewards: Path) -> None:
    own = OwnGrader(f"{rewards}:score", 2.0, grade_completion)
    answers = [PROBLEM.answer, "raise", "x", "nan", PROBLEM.answer, "many", "die", "far", "none", "yes", PROBLEM.answer]
    try:
        grades = [grade_alone(PROBLEM, said(answer), own.grade) for answer in answers]
        assert [grade.score for grade in grades] == [1.0, None, 0.0, None, 1.0, None, None, None, None, None, 1.0]
        for index, why in ((1, "torn"), (3, "nan"), (5, "a list of 2 instead of one score"), (6, "died"), (7, "7")):
            assert why in grades[index].note
        half = replace(said("x"), blocks=())
        assert own.grade(PROBLEM, half) == Grade(0.5)
    finally:
        own.close()


def test_one_that_hangs_is_killed_and_then_stops_the_run(rewards: Path) -> None:
    own = OwnGrader(f"{rewards}:score", 0.5, grade_completion)
    own._worker.call("ponder.sandbox.own:check", str(rewards), "score", seconds=30)  # starting it is not its fault
    try:
        assert "took more than 0.5 s" in grade_alone(PROBLEM, said("hang"), own.grade).note
        assert all(grade_alone(PROBLEM, said("hang"), own.grade).score is None for _ in range(MOST_HANGS - 2))
        with pytest.raises(TrainingError, match="3 samples in a row"):
            grade_alone(PROBLEM, said("hang"), own.grade)
    finally:
        own.close()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rewards.py", "is not FILE.py:FUNCTION"),
        ("none.py:score", "cannot be used"),
        ("{}:other", "no attribute 'other'"),
        ("{}:broken", "is not FILE.py:FUNCTION"),
    ],
)
def test_what_is_no_function_is_refused(rewards: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        OwnGrader(name.format(rewards), 5.0, grade_completion)


def test_a_run_learns_by_it(taught: Path, rewards: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tasks": ("multiplication:1",), "efforts": ("none",), "thinking": 24, "answer": 6}
    settings |= {"problems": 4, "samples": 4, "steps": 2, "threads": 1, "workers": 1, "probe": 0}
    run_rl(RLConfig.model_validate({"model": str(taught), "grader": f"{rewards}:odd", **settings}), tmp_path / "run")
    records = [record for record in Run(tmp_path / "run").metrics() if "degenerate" in record]
    assert all(0 < record["undecided"] < 1 and record["success"] > 0 for record in records), "counted, and shown"
