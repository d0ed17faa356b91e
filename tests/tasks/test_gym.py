"""Reasoning-gym's own problems through the worker: kept ones are of our test split, and both graders agree."""

import time

import pytest

from ponder.errors import ConfigError
from ponder.tasks import TASKS, gym, split_of
from ponder.tasks.cipher import CIPHER
from ponder.tasks.gym import DATA, LEVELS, gym_problems, gym_score, own_name
from ponder.tasks.letters import LETTERS
from ponder.types import Problem, Split

CASES = [(name, level) for name in DATA for level in LEVELS[own_name(name)]]


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    for task in (CIPHER, LETTERS):
        monkeypatch.setitem(TASKS, task.name, task)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_problems_are_of_the_test_split_and_right_by_both_graders(name, level):
    task = next((task for task in TASKS.values() if task.gym == own_name(name)), None)
    if task is None:
        pytest.skip(f"no task of ours is the twin of {name}")
    problems = gym_problems(name, level, 3, seed=11)
    assert len({problem.prompt for problem in problems}) == 3
    for problem in problems:
        assert problem.task == task.name and problem.level == level
        assert split_of(task, problem.data) is Split.TEST
        assert task.grade(problem, problem.answer).right
        assert gym_score(name, problem, problem.answer).right
        assert not gym_score(name, problem, "nonsense").right
    assert problems == gym_problems(name, level, 3, seed=11)
    assert problems[:2] == gym_problems(name, level, 2, seed=11)


def test_prompts_are_the_questions():
    (problem,) = gym_problems("caesar_cipher", 2, 1)
    assert problem.prompt == CIPHER.phrasings[0](problem.data)
    (problem,) = gym_problems("caesar_cipher+example", 2, 1)
    assert problem.prompt == CIPHER.phrasings[0](problem.data) and problem.data["example"]
    (problem,) = gym_problems("letter_counting", 2, 1)
    assert problem.prompt == LETTERS.phrasings[0](problem.data)


def test_unknown_names_and_levels_and_too_many_are_named():
    with pytest.raises(ConfigError, match=r"unknown gym task 'chess': the gym tasks are .*caesar_cipher"):
        gym_problems("chess", 1, 1)
    with pytest.raises(ConfigError, match="no level 9: its levels are 1, 2, 3"):
        gym_problems("caesar_cipher", 9, 1)
    with pytest.raises(ConfigError, match=r"gave [0-9]+ test problems, not n=90: ask for fewer"):
        gym_problems("caesar_cipher", 1, 90)


def test_without_reasoning_gym_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ponder\[gym\]'"):
        gym_problems("caesar_cipher", 1, 1)


def test_only_its_own_problems_can_be_scored():
    (problem,) = gym_problems("letter_counting", 1, 1)
    for id in ("", "letters:1:test:0", "gym:letter_counting:1:x:0", "gym:countdown:1:0:0", "gym:letter_counting:1:0:٣"):
        with pytest.raises(ConfigError, match="not made by gym_problems"):
            gym_score("letter_counting", Problem("letters", 1, "", "", problem.data, id), "3")


def test_nothing_but_arithmetic_reaches_the_scorer_that_evaluates(monkeypatch):
    problem = Problem("countdown", 1, "", "", {}, "gym:countdown:1:0:0")
    monkeypatch.setattr(gym, "_twin", lambda name, level: None)
    for text in ("__import__('os').getpid()", "x", "9" * 10_000, "1;2", "٣"):
        assert gym_score("countdown", problem, text).score == 0.0


def test_a_scorer_that_hangs_is_undecided(monkeypatch):
    problem = Problem("countdown", 1, "", "", {}, "gym:countdown:1:0:0")
    monkeypatch.setattr(gym, "_twin", lambda name, level: None)
    monkeypatch.setattr(gym, "SCORE_SECONDS", 4.0)
    started = time.monotonic()
    grade = gym_score("countdown", problem, "9**9**9**9**9")
    assert time.monotonic() - started < 12
    assert grade.score is None and "killed" in grade.note


def test_the_same_problems_in_our_wordings() -> None:
    theirs, ours = (gym_problems(name, 2, 8) for name in ("products", "products+ours"))
    assert [problem.answer for problem in theirs] == [problem.answer for problem in ours]
    task = TASKS["multiplication"]
    for problem in ours:
        assert problem.prompt in {wording(problem.data) for wording in task.phrasings[1:]}
    assert gym_score("products+ours", ours[0], ours[0].answer).right
