"""Users' own problems, one JSON object a line: ``{"task": ..., "prompt": ..., "answer": ..., "data": {...}}``.

A line of a known task needs only ``data``, which the task checks, renders and grades by; the task ``open`` has no data
and is graded by comparing texts. A line that cannot be used is an error with its number, never passed over.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Task
from ponder.seeds import rng_for
from ponder.tasks import TASKS, phrase
from ponder.tasks.answers import MAX_CHARS, plain
from ponder.types import Grade, Problem

OPEN = "open"
"""The task of a question that no task of ours knows."""
MAX_LINE = 100_000
"""Bytes."""
MAX_DEPTH = 50
"""Lists and objects within each other."""
_KEYS = {"task": str, "prompt": str, "answer": str, "data": dict, "level": int, "id": str}


def read_problems(path: Path | str) -> list[Problem]:
    """All problems of a file; raises ProblemError naming file, line and what is wrong at the first that is not one."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as err:
        raise ProblemError(f"{path} cannot be read: {err.strerror or err}") from None
    problems: list[Problem] = []
    for number, line in _lines(content):
        try:
            problems.append(_problem(line))
        except ProblemError as err:
            raise ProblemError(f"{path} line {number}: {err}") from None
    if not problems:
        raise ProblemError(f'{path} has no problems: write one a line, such as {{"task": "open", "prompt": ..., ...}}')
    return problems


def grade_open(problem: Problem, text: str) -> Grade:
    """Right when the texts are the same but for outer dressing (a lead-in, quotes, a final period) and spacing."""
    try:
        given, gold = (" ".join(plain(one).split()) for one in (text, problem.answer))
    except AnswerUnreadable as err:
        return Grade(0.0, str(err))
    if given == gold:
        return Grade(1.0)
    return Grade(0.0, f"not {gold[:60]!r}" if given else "the answer is empty")


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1, and lines that are not blank; a byte order mark at the start is not text."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, line


def json_object(line: bytes, most_bytes: int = MAX_LINE) -> dict[str, Any]:
    """The JSON object of a line that anybody may have written; raises ProblemError saying what is wrong with it."""
    if len(line) > most_bytes:
        raise ProblemError(f"{len(line)} bytes long, more than {most_bytes}")
    try:
        text = line.decode()
    except UnicodeDecodeError as err:
        raise ProblemError(f"not UTF-8 at byte {err.start + 1}: save the file as UTF-8") from None
    try:
        record = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
    except json.JSONDecodeError as err:
        raise ProblemError(f"not JSON: {err.msg} at character {err.pos + 1}") from None
    except ProblemError:
        raise
    except RecursionError:
        raise ProblemError(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError as err:  # integers of thousands of digits
        raise ProblemError(f"not usable JSON: {err}") from None
    if not isinstance(record, dict):
        raise ProblemError(f"not an object but {kind_of(record)}: write {{...}}")
    record = cast(dict[str, Any], record)
    for text in _texts(record):
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
            raise ProblemError("a text has a NUL character or half a surrogate pair: remove it")
    return record


def _record(line: bytes) -> dict[str, Any]:
    """The JSON object of a line, with keys that we know and of the right types."""
    record = json_object(line)
    for key, value in record.items():
        if key not in _KEYS:
            raise ProblemError(f"unknown key {key[:40]!r}: the keys are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            raise ProblemError(f"{key} must be {_NAMES[_KEYS[key]]}, not {kind_of(value)}")
    return record


def _problem(line: bytes) -> Problem:
    record = _record(line)
    if "task" not in record:
        raise ProblemError(f"task is missing: it is one of {', '.join([*TASKS, OPEN])}")
    name, level = record["task"], record.get("level", 0)
    id = record.get("id") or hashlib.blake2b(line.strip(), digest_size=6).hexdigest()
    if name == OPEN:
        for key in ("prompt", "answer"):
            if not record.get(key, "").strip():
                raise ProblemError(f"{key} is missing or empty: an open problem needs prompt and answer")
        if len(record["answer"]) > MAX_CHARS:
            raise ProblemError(f"answer has {len(record['answer'])} characters: more than {MAX_CHARS} are never graded")
        return Problem(OPEN, level, record["prompt"], record["answer"], record.get("data", {}), id)
    if name not in TASKS:
        raise ProblemError(f"unknown task {name[:40]!r}: the tasks are {', '.join([*TASKS, OPEN])}")
    return _known(TASKS[name], record, level, id)


def _known(task: Task, record: Mapping[str, Any], level: int, id: str) -> Problem:
    """A problem of one of our tasks: its data rules; a prompt and an answer of the user's own must be usable."""
    if "data" not in record:
        raise ProblemError(f"data is missing: {task.name} problems are graded by it")
    if record.get("prompt") is not None and not record["prompt"].strip():
        raise ProblemError(f"prompt is empty: leave it out, and {task.name} will word the problem itself")
    data = task.validate(record["data"])
    if unknown := sorted(set(record["data"]) - set(data)):
        raise ProblemError(f"data has unknown keys {unknown}: {task.name} has {', '.join(data)}")
    prompt = record.get("prompt") or phrase(task, data, rng_for("jsonl", task.name, task.canonical(data)))
    problem = Problem(task.name, level, prompt, record.get("answer") or task.answer(data), data, id)
    grade = task.grade(problem, problem.answer)
    if not grade.right:
        raise ProblemError(f"answer {problem.answer[:60]!r} is not right by its data: {grade.note}")
    return problem


_NAMES = {str: "a text", dict: "an object", int: "a whole number"}


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    names = ((bool, "true or false"), (str, "a text"), (int | float, "a number"), (dict, "an object"), (list, "a list"))
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, keys too; raises ProblemError where it is nested too deeply."""
    rest = [(value, 0)]
    while rest:
        value, depth = rest.pop()
        if depth > MAX_DEPTH:
            raise ProblemError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            rest += [(part, depth + 1) for pair in cast(dict[str, Any], value).items() for part in pair]
        elif isinstance(value, list):
            rest += [(part, depth + 1) for part in cast(list[Any], value)]


def _no_constant(name: str) -> float:
    raise ProblemError(f"{name} is not a number that JSON has")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ProblemError("a key stands twice in one object")
    return found
