"""Problems of reasoning-gym's own generators, and its own scorers: both only inside a worker that can be killed.

A problem keeps in its id how it was made (``gym:countdown:2:42:17`` is name, level, seed, index), so that its scorer
sees the very entry again. The functions that begin with ``in_worker`` run there; nothing else imports reasoning_gym.
"""

import atexit
import importlib.util
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ponder.errors import ConfigError, ProblemError
from ponder.interfaces import Data, Task
from ponder.sandbox.worker import Worker, WorkerError
from ponder.seeds import rng_for, seed_for
from ponder.tasks import TASKS, split_of
from ponder.tasks.cipher_steps import encode
from ponder.tasks.words import common_word
from ponder.types import Grade, Problem, Split

Entry = Mapping[str, Any]
"""What reasoning-gym makes: question, answer, metadata."""

LEVELS: dict[str, dict[int, dict[str, Any]]] = {
    "products": {1: {"min_digits": 2, "max_digits": 2}, 2: {"min_digits": 3, "max_digits": 3}, 3: {"min_digits": 4}},
    "chain_sum": {
        1: {"min_terms": 2, "max_terms": 3, "max_digits": 2},
        2: {"min_terms": 4, "max_terms": 6, "max_digits": 3},
        3: {"min_terms": 8, "max_terms": 8, "max_digits": 3},
    },
    "simple_equations": {1: {"max_terms": 2, "max_value": 12}, 2: {}, 3: {"min_terms": 4}},
    "mini_sudoku": {1: {"min_empty": 1, "max_empty": 6}, 2: {"min_empty": 8, "max_empty": 12}},
    "knights_knaves": {1: {"n_people": 2}, 2: {"n_people": 3}, 3: {"n_people": 4}},
    "caesar_cipher": {
        1: {"min_words": 3, "max_words": 3},
        2: {"min_words": 3, "max_words": 6},
        3: {"min_words": 5, "max_words": 8},
    },
    "letter_counting": {
        1: {"min_words": 2, "max_words": 5},
        2: {"min_words": 5, "max_words": 15},
        3: {"min_words": 16, "max_words": 40},
    },
    "countdown": {
        1: {"min_numbers": 3, "max_numbers": 3, "max_value": 20, "min_target": 1, "max_target": 50},
        2: {"min_numbers": 4, "max_numbers": 4, "max_value": 20, "min_target": 10, "max_target": 100},
        3: {"min_numbers": 4, "max_numbers": 4, "max_value": 99, "min_target": 10, "max_target": 100},
    },
}
"""Reasoning-gym's name and our level to its settings; all that is not named is its default."""

BATCH = 64
SECONDS = 60.0
"""For one batch; the first one imports reasoning-gym."""
SCORE_SECONDS = 20.0
MAX_DRAWS = 60
"""Entries drawn per problem wanted before giving up; one in ten falls into the test split."""
MAX_ANSWER = 2_000
_ARITHMETIC = frozenset("0123456789+-*/() .")


def own_name(name: str) -> str:
    """Reasoning-gym's name of what we may have added something to."""
    return name.partition("+")[0]


# --- in the worker -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _own_seed(name: str, seed: int) -> int:
    """A seed far from those of other seeds: reasoning-gym's item i of seed s is its item 0 of seed s + i."""
    return seed_for("gym", name, seed) % 2**31


def _dataset(name: str, level: int, seed: int) -> Any:
    import reasoning_gym

    name = own_name(name)
    return reasoning_gym.create_dataset(name, seed=_own_seed(name, seed), size=2**31, **LEVELS[name][level])


def in_worker_entries(name: str, level: int, seed: int, start: int, count: int) -> list[dict[str, Any] | None]:
    """Entries `start` to `start + count`; None where the generator itself gave up (countdown does now and then)."""
    dataset, entries = _dataset(name, level, seed), []
    for index in range(start, start + count):
        try:
            entry = dataset[index]
        except ValueError:
            entries.append(None)
            continue
        entries.append({"question": entry["question"], "answer": entry["answer"], "metadata": entry["metadata"]})
    return entries


def in_worker_score(name: str, level: int, seed: int, index: int, text: str) -> float:
    """The score that reasoning-gym gives an answer text."""
    dataset = _dataset(name, level, seed)
    return float(dataset.score_answer(text, dataset[index]))


# --- an entry as our data ----------------------------------------------------------------------------------------


def _wording(task: Task, data: Data, question: str, choices: int) -> Data:
    """The data with the wording that gives the question, where reasoning-gym chose it at random."""
    for wording in range(choices):
        if task.phrasings[0]({**data, "wording": wording}) == question:
            return {**data, "wording": wording}
    return data


def _factors(entry: Entry, _: Task) -> Data:
    a, b = entry["metadata"]["expression"].split(" * ")
    return {"a": int(a), "b": int(b)}


def _equation(entry: Entry, task: Task) -> Data:
    made = entry["metadata"]
    return _wording(task, {"equations": [made["equation"]], "variables": [made["variable"]]}, entry["question"], 3)


def _countdown(entry: Entry, task: Task) -> Data:
    made = entry["metadata"]
    return _wording(task, {"numbers": made["numbers"], "target": made["target"]}, entry["question"], 3)


def _island(entry: Entry, _: Task) -> Data:
    made = entry["metadata"]
    terms = made["knight_knave_terms"]
    roles = [terms["a_knight"], terms["a_knave"]]
    return {"names": list(made["names"]), "statements": made["statements"], "roles": roles}


def _cipher(entry: Entry, _: Task) -> Data:
    return {"cipher": entry["metadata"]["cipher_text"], "plain": entry["metadata"]["clear_text"]}


def _cipher_with_example(entry: Entry, task: Task) -> Data:
    data, shift = _cipher(entry, task), entry["metadata"]["rotation"]
    rng = rng_for("gym example", data["cipher"])
    word = common_word(rng, low=4).upper()
    return {**data, "example": [encode("caesar", (shift,), word, rng), word]}


def _letters(entry: Entry, _: Task) -> Data:
    return {"letter": entry["metadata"]["target_letter"], "text": " ".join(entry["metadata"]["span"])}


_READ: dict[str, Callable[[Entry, Task], Data]] = {
    "products": _factors,
    "chain_sum": lambda entry, _: {"expression": entry["metadata"]["expression"]},
    "simple_equations": _equation,
    "mini_sudoku": lambda entry, _: {"grid": entry["metadata"]["puzzle"]},
    "knights_knaves": _island,
    "countdown": _countdown,
    "caesar_cipher": _cipher,
    "caesar_cipher+example": _cipher_with_example,
    "letter_counting": _letters,
}
OURS = "+ours"
DATA = _READ | {name + OURS: read for name, read in _READ.items() if name == own_name(name)}
"""Reasoning-gym's name to what turns its entry into data that the twin task's ``validate`` checks.

A ``+`` stands before what we add to its entries; the question is then our task's wording of it. With ``+ours`` nothing
is added: the same problems in our task's other wordings, which tells what the wording alone does.
"""


# --- here --------------------------------------------------------------------------------------------------------

_WORKER = Worker(SECONDS)
atexit.register(_WORKER.close)


def _twin(name: str, level: int) -> Task:
    """Our task of the same kind; raises ConfigError when there is none, or no such level, or no reasoning-gym."""
    tasks = {name: task for name in DATA for task in TASKS.values() if task.gym == own_name(name)}
    if name not in tasks:
        raise ConfigError(f"unknown gym task {name!r}: the gym tasks are {', '.join(tasks)}")
    levels = LEVELS[own_name(name)]
    if level not in levels:
        raise ConfigError(f"gym task {name} has no level {level}: its levels are {', '.join(map(str, levels))}")
    if importlib.util.find_spec("reasoning_gym") is None:
        raise ConfigError("gym problems need reasoning-gym, which is not installed: pip install 'ponder[gym]'")
    return tasks[name]


def _problem(task: Task, name: str, level: int, entry: Entry, id: str) -> Problem | None:
    """The entry as a problem of the test split, or None: of another split, or nothing that our task could ask."""
    try:
        data = task.validate(DATA[name](entry, task))
    except ProblemError:
        return None
    if split_of(task, data) is not Split.TEST:
        return None
    own = rng_for("our wording", id).choice(task.phrasings[1:]) if name.endswith(OURS) else task.phrasings[0]
    question = entry["question"] if name == own_name(name) else own(data)
    return Problem(task.name, level, question, task.answer(data), data, id)


def gym_problems(name: str, level: int, n: int, seed: int = 0) -> list[Problem]:
    """`n` differently worded problems of a reasoning-gym task, all in our test split; other splits are passed over.

    Entries that are no problem of our task (an equation that every number solves, letters outside A-Z) are passed over
    too. Raises ConfigError when the generator has not got so many.
    """
    task, problems, seen = _twin(name, level), [], set[str]()
    for start in range(0, MAX_DRAWS * n + BATCH, BATCH):
        if len(problems) >= n:
            break
        entries = _WORKER.call("ponder.tasks.gym:in_worker_entries", name, level, seed, start, BATCH)
        for index, entry in enumerate(entries, start):
            problem = entry and _problem(task, name, level, entry, f"gym:{name}:{level}:{seed}:{index}")
            if problem and problem.prompt not in seen:
                seen.add(problem.prompt)
                problems.append(problem)
    if len(problems) < n:
        raise ConfigError(f"gym task {name} level {level} gave {len(problems)} test problems, not n={n}: ask for fewer")
    return problems[:n]


def _made_by(name: str, problem: Problem) -> tuple[int, int, int]:
    """Level, seed and index of a problem that `gym_problems` made."""
    parts = problem.id.split(":")
    numbers = [part for part in parts[2:] if part.isascii() and part.removeprefix("-").isdigit()]
    if parts[:2] != ["gym", name] or len(parts) != 5 or len(numbers) != 3:
        raise ConfigError(
            f"problem {problem.id!r} was not made by gym_problems({name!r}, ...): only those can be scored"
        )
    level, seed, index = map(int, numbers)
    return level, seed, index


def gym_score(name: str, problem: Problem, text: str) -> Grade:
    """The score of reasoning-gym's own scorer (some give part of the points); None when the scorer did not decide."""
    level, seed, index = _made_by(name, problem)
    _twin(name, level)
    if len(text) > MAX_ANSWER:
        return Grade(0.0, f"the answer has {len(text)} characters, more than {MAX_ANSWER}")
    if own_name(name) == "countdown" and not _ARITHMETIC.issuperset(text.strip()):
        # That scorer evaluates what it is given, so it is given nothing but arithmetic.
        return Grade(0.0, f"not an arithmetic expression: {text[:60]!r}")
    try:
        call = ("ponder.tasks.gym:in_worker_score", name, level, seed, index, text)
        return Grade(float(_WORKER.call(*call, seconds=SCORE_SECONDS)))
    except WorkerError as err:
        return Grade(None, str(err))
