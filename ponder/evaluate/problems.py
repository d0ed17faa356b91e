"""Where an evaluation's problems come from: a task's held-out part, a user's file, or reasoning-gym itself."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ponder.errors import ConfigError
from ponder.tasks import TASKS, make, task_named
from ponder.tasks.gym import gym_problems, gym_score
from ponder.tasks.jsonl import OPEN, grade_open, read_problems
from ponder.types import Grade, Problem, Split

STANDARD_LEVEL = 2
"""The level that is meant where none is named."""
SEED_SPAN = 1_000_000
"""Seed S owns the problem numbers from S * SEED_SPAN on."""
PATIENCE = 2_000
"""So many repeats in a row, and a level is taken to have no further problems."""

Grader = Callable[[Problem, str], Grade]


@dataclass(frozen=True)
class ProblemSet:
    """Problems that are evaluated and summed up together, and what grades them."""

    task: str
    level: int
    problems: tuple[Problem, ...]
    grade: Grader
    wanted: int
    """How many were asked for; there may be fewer."""
    same: Callable[[str], str] = str.strip
    """Which answers are one to a vote."""


def split_spec(text: str) -> tuple[str, int]:
    """``NAME:LEVEL`` taken apart; no level means the standard one."""
    name, colon, level = text.partition(":")
    if colon and not (level.isascii() and level.isdecimal() and len(level) < 3):
        raise ConfigError(f"{text!r} is not NAME:LEVEL, such as countdown:2")
    return name, int(level) if colon else STANDARD_LEVEL


def parse_spec(text: str) -> list[tuple[str, int]]:
    """``countdown:2`` as [(task, level)]; ``all:2`` names every task that has that level."""
    name, level = split_spec(text)
    if name == "all":
        found = [(task.name, level) for task in TASKS.values() if level in task.levels]
        if not found:
            raise ConfigError(f"no task has a level {level}: see `ponder tasks list`")
        return found
    levels = task_named(name).levels
    if level not in levels:
        raise ConfigError(f"{name} has no level {level}: its levels are {', '.join(map(str, levels))}")
    return [(name, level)]


def distinct(task: str, level: int, split: Split, seed: int) -> Iterator[Problem]:
    """The seed's problems of a task and level, none twice; ends when no new ones come."""
    seen: set[str] = set()
    repeats = 0
    for index in range(seed * SEED_SPAN, (seed + 1) * SEED_SPAN):
        problem = make(TASKS[task], level, split, index)
        content = json.dumps(problem.data, sort_keys=True)
        if content in seen:
            repeats += 1
            if repeats >= PATIENCE:
                return
            continue
        repeats = 0
        seen.add(content)
        yield problem


def held_out(task: str, level: int, n: int, *, split: Split = Split.TEST, seed: int = 0) -> ProblemSet:
    """`n` distinct problems of a task and level, or as many as there are."""
    found = tuple(problem for problem, _ in zip(distinct(task, level, split, seed), range(n), strict=False))
    return ProblemSet(task, level, found, task_named(task).grade, n, task_named(task).same)


def from_file(path: Path) -> list[ProblemSet]:
    """A user's problems, one set for each task and level in the file."""
    groups: dict[tuple[str, int], list[Problem]] = {}
    for problem in read_problems(path):
        groups.setdefault((problem.task, problem.level), []).append(problem)
    return [
        ProblemSet(task, level, tuple(problems), grade_open, len(problems))
        if task == OPEN
        else ProblemSet(task, level, tuple(problems), TASKS[task].grade, len(problems), TASKS[task].same)
        for (task, level), problems in groups.items()
    ]


def from_gym(spec: str, n: int, *, seed: int = 0) -> ProblemSet:
    """`n` problems of a reasoning-gym task, ``NAME:LEVEL``, graded by its own scorer in a worker process."""
    name, level = split_spec(spec)
    problems = gym_problems(name, level, n, seed)
    return ProblemSet(f"gym:{name}", level, tuple(problems), partial(gym_score, name), n)
