"""The tasks by name, and what all of them share: levels, phrasings, and splits by content hash."""

import hashlib
from collections.abc import Callable, Iterable
from random import Random

from ponder.errors import ConfigError
from ponder.interfaces import Data, Task
from ponder.seeds import rng_for
from ponder.tasks.arithmetic import ARITHMETIC
from ponder.tasks.cipher import CIPHER
from ponder.tasks.countdown import COUNTDOWN
from ponder.tasks.equations import EQUATIONS
from ponder.tasks.knights_knaves import KNIGHTS_KNAVES
from ponder.tasks.letters import LETTERS
from ponder.tasks.multiplication import MULTIPLICATION
from ponder.tasks.program import PROGRAM
from ponder.tasks.sudoku import SUDOKU
from ponder.types import Problem, Split

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        COUNTDOWN,
        MULTIPLICATION,
        ARITHMETIC,
        PROGRAM,
        SUDOKU,
        EQUATIONS,
        KNIGHTS_KNAVES,
        CIPHER,
        LETTERS,
    )
}

GYM_SHARE = 0.25
"""How often a problem is worded exactly as reasoning-gym words it, where that task exists there."""


def split_of(task: Task, data: Data) -> Split:
    """Which split a problem's content belongs to: 8 of 10 train, 1 validation, 1 test."""
    text = f"{task.name}\x1f{task.canonical(data)}"
    bucket = hashlib.blake2b(text.encode(), digest_size=4).digest()[0] % 10
    return {0: Split.TEST, 1: Split.VALIDATION}.get(bucket, Split.TRAIN)


def task_named(name: str) -> Task:
    """The task of that name; unknown names list the known ones."""
    if name not in TASKS:
        raise ConfigError(f"unknown task {name!r}: the tasks are {', '.join(TASKS)}")
    return TASKS[name]


def same_of(taught: Iterable[str]) -> Callable[[str], str]:
    """Which answers are one to a vote where nobody knows the task: those that are in any of the TASK:LEVEL taught."""
    names = dict.fromkeys(name.partition(":")[0] for name in taught)
    forms = [TASKS[name].same for name in names if name in TASKS and TASKS[name].same is not str.strip]

    def same(text: str) -> str:
        for form in forms:
            text = form(text)
        return text.strip()

    return same


def phrase(task: Task, data: Data, rng: Random) -> str:
    """The prompt of a problem, in one of the task's phrasings."""
    rest = task.phrasings[1:] if task.gym else task.phrasings
    if task.gym and (not rest or rng.random() < GYM_SHARE):
        return task.phrasings[0](data)
    return rng.choice(rest)(data)


def make(task: Task, level: int, split: Split, index: int) -> Problem:
    """Problem number `index` of a level and split: pure, the same on every machine."""
    if level not in task.levels:
        raise ConfigError(f"{task.name} has no level {level}: its levels are {', '.join(map(str, task.levels))}")
    for attempt in range(10_000):
        rng = rng_for(task.name, level, split, index, attempt)
        data = task.draw(level, rng)
        if split_of(task, data) is split:
            prompt = phrase(task, data, rng)
            return Problem(task.name, level, prompt, task.answer(data), data, f"{task.name}:{level}:{split}:{index}")
    raise AssertionError(f"{task.name} level {level}: no problem in split {split} after 10,000 draws")
