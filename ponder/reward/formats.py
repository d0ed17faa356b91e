"""Step labels that others made, one JSON object a line: PRM800K, Math-Shepherd, MATH-APS, ProcessBench, and plain ones.

Each format has a reader from one line's object to one or more labelled solutions. A line that cannot be read is an
error with file, line number and what was expected, never passed over.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, cast

from ponder.errors import ConfigError, ProblemError
from ponder.tasks.jsonl import json_object, kind_of

MOST_BYTES = 20_000_000
"""Of one line; a tree of MATH-APS may take some hundred thousand."""
STEP_TAG = "ки"
"""What ends a step in Math-Shepherd's input, and stands as + or - in its label."""
FIRST_STEP = "Step 1:"


class Neutral(StrEnum):
    """What PRM800K's neutral rating, 0, counts as: not wrong, but of no use, or ambiguous."""

    RIGHT = "right"
    WRONG = "wrong"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, kw_only=True)
class LabelledSteps:
    """One solution in steps, with a label for each."""

    prompt: str
    steps: tuple[str, ...]
    labels: tuple[bool | None, ...]
    """Whether each step is right; None where nobody said."""
    values: tuple[float | None, ...] = ()
    """Monte-Carlo shares of right continuations after each step, from formats that have them."""
    start: float | None = None
    """The same before the first step."""
    answer: str | None = None
    """The problem's right answer."""
    right: bool | None = None
    """Whether the solution ends right."""
    line: int = 0
    """Where it comes from, counted from 1."""

    @property
    def first_error(self) -> int:
        """Index of the first wrong step, or -1: ProcessBench's label."""
        return next((index for index, label in enumerate(self.labels) if label is False), -1)


Record = Mapping[str, Any]
Reader = Callable[[Record, Neutral], list[LabelledSteps]]


def read_steps(
    path: Path | str, format: str | None = None, neutral: Neutral = Neutral.RIGHT
) -> Iterator[LabelledSteps]:
    """All labelled solutions of a file, as it is read; the first line tells the format where none is named.

    Raises ProblemError at the first line that cannot be read, and ConfigError for a format that does not exist.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}: the formats are {', '.join(FORMATS)}")
    empty = True
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not line.strip():
                    continue
                empty = False
                try:
                    format, found = read_line(line, format, neutral)
                except ProblemError as err:
                    raise ProblemError(f"{path} line {number}: {err}; mend that line, or take it out") from None
                yield from (replace(one, line=number) for one in found)
    except OSError as err:
        raise ProblemError(f"{path} cannot be read: {err.strerror or err}") from None
    if empty:
        raise ProblemError(f"{path} has no step labels: write one JSON object a line, such as {_KEYS_OF['plain']}")


def read_line(
    line: bytes, format: str | None = None, neutral: Neutral = Neutral.RIGHT
) -> tuple[str, list[LabelledSteps]]:
    """One line's format and solutions; raises ProblemError saying what was expected."""
    record = json_object(line, MOST_BYTES)
    format = format or _detect(record)
    try:
        return format, FORMATS[format](record, neutral)
    except ProblemError as err:
        raise ProblemError(f"not {format}: {err}") from None


def _detect(record: Record) -> str:
    for name, keys in _KEYS.items():
        if keys <= record.keys():
            return name
    wanted = "; ".join(f"{name} {_KEYS_OF[name]}" for name in FORMATS)
    raise ProblemError(f"no known format has the keys {sorted(record)[:8]}: expected {wanted}")


# --- the formats ------------------------------------------------------------------------------------------------------


def _prm800k(record: Record, neutral: Neutral) -> list[LabelledSteps]:
    """The solution that the labeller went along, then one for each step that was rated but not chosen.

    A completion that the labeller wrote counts as right, as no other reader of the data set has it rated either.
    """
    question, label = _take(record, "question", dict), _take(record, "label", dict)
    finish = _take(label, "finish_reason", str)
    prompt, gold = _take(question, "problem", str), _maybe(question, "ground_truth_answer", str)
    path: list[tuple[str, bool | None]] = []
    branches: list[list[tuple[str, bool | None]]] = []
    for at, step in enumerate(_objects(label, "steps")):
        rated = _objects(step, "completions") if step.get("completions") is not None else []
        options = [(_take(one, "text", str), _rating(one, neutral)) for one in rated]
        chosen, human = _maybe(step, "chosen_completion", int), _maybe(step, "human_completion", dict)
        if chosen is not None and not 0 <= chosen < len(options):
            raise ProblemError(f"step {at} chooses completion {chosen} of {len(options)}")
        if chosen is None and human is None:  # it ends here: the first completion is what the model went on with
            branches += [[*path, option] for option in options[1:]]
            path += options[:1]
            break
        branches += [[*path, option] for index, option in enumerate(options) if index != chosen]
        path.append((_take(human, "text", str), True) if chosen is None and human else options[chosen or 0])
    right = {"solution": True, "found_error": False}.get(finish)
    made = [_labelled(prompt, path, answer=gold, right=right)] if path else []
    return [*made, *(_labelled(prompt, branch, answer=gold) for branch in branches)]


def _rating(completion: Record, neutral: Neutral) -> bool | None:
    rating = _maybe(completion, "rating", int)
    if rating not in (None, -1, 0, 1):
        raise ProblemError(f"rating is {rating}: a step is rated -1, 0, 1 or null")
    if rating == 0:
        return {Neutral.RIGHT: True, Neutral.WRONG: False, Neutral.LEFT_OUT: None}[neutral]
    return None if rating is None else rating == 1


def _math_shepherd(record: Record, neutral: Neutral) -> list[LabelledSteps]:
    """Input and label are the same text, but for what ends each step; the last step's label is the outcome."""
    text, marked = _take(record, "input", str), _take(record, "label", str)
    parts = text.split(STEP_TAG)
    at, labels = 0, list[bool | None]()
    for part in parts[:-1]:
        if not marked.startswith(part, at) or marked[at + len(part) : at + len(part) + 1] not in ("+", "-"):
            raise ProblemError(f"after step {len(labels)} the label is not the input with + or - for {STEP_TAG!r}")
        at += len(part) + 1
        labels.append(marked[at - 1] == "+")
    if not labels:
        raise ProblemError(f"the input has no steps that end in {STEP_TAG!r}")
    if marked[at:].strip() or parts[-1].strip():
        raise ProblemError(f"text follows the last step, which must end in {STEP_TAG!r}")
    start = parts[0].rfind(FIRST_STEP)
    if start < 0:
        raise ProblemError(f"the input does not say where its steps begin: expected {FIRST_STEP!r}")
    steps = [part.strip() for part in (parts[0][start:], *parts[1:-1])]
    return [_labelled(parts[0][:start].strip(), list(zip(steps, labels, strict=True)), right=labels[-1])]


def _math_aps(record: Record, neutral: Neutral) -> list[LabelledSteps]:
    """One solution for each leaf of the search tree, whose nodes are prefixes; a step is right if any continuation was.

    A prefix that was tried several times has the mean of its shares.
    """
    question, gold = _take(record, "question", str), _maybe(record, "final_answer", str)
    shares: dict[str, list[float]] = {}
    for at, node in enumerate(_objects(record, "reasoning_steps")):
        prefix, share = _take(node, "solution_prefix", str), _take(node, "mc_value", float)
        if not prefix.startswith(question):
            raise ProblemError(f"solution_prefix {at} does not begin with the question")
        if not 0 <= share <= 1:
            raise ProblemError(f"mc_value {at} is {share}: expected a share from 0 to 1")
        shares.setdefault(prefix, []).append(share)
    mean = {prefix: sum(own) / len(own) for prefix, own in shares.items()}
    found: list[LabelledSteps] = []
    prefixes = sorted(prefix for prefix in mean if prefix != question)
    path: list[str] = []
    for prefix, following in zip(prefixes, (*prefixes[1:], ""), strict=True):
        while path and not prefix.startswith(path[-1]):
            path.pop()
        path.append(prefix)
        if not following.startswith(prefix):
            ends = (len(question), *map(len, path))
            steps = [prefix[a:b].strip() for a, b in zip(ends, ends[1:], strict=False)]
            values = tuple(mean[node] for node in path)
            labels = [value > 0 for value in values]
            one = _labelled(question, list(zip(steps, labels, strict=True)), answer=gold)
            found.append(replace(one, values=values, start=mean.get(question)))
    return found


def _processbench(record: Record, neutral: Neutral) -> list[LabelledSteps]:
    """`label` is the first wrong step, or -1; of the steps after it nobody said anything."""
    steps, first = _texts(record, "steps"), _take(record, "label", int)
    if not -1 <= first < len(steps):
        raise ProblemError(f"label is {first}: expected -1 or the index of one of {len(steps)} steps")
    labels = [True if first < 0 or at < first else False if at == first else None for at in range(len(steps))]
    right = _maybe(record, "final_answer_correct", bool)
    pairs = list(zip(steps, labels, strict=True))
    return [_labelled(_take(record, "problem", str), pairs, right=right)]


def _plain(record: Record, neutral: Neutral) -> list[LabelledSteps]:
    """``{"prompt", "completions", "labels"}``, true, false or null for each completion; perhaps answer, right."""
    steps, labels = _texts(record, "completions"), _take(record, "labels", list)
    if len(labels) != len(steps):
        raise ProblemError(f"{len(labels)} labels for {len(steps)} completions: each needs its own")
    for at, label in enumerate(labels):
        if label is not None and not isinstance(label, bool):
            raise ProblemError(f"label {at} must be true, false or null, not {kind_of(label)}")
    prompt, answer, right = _take(record, "prompt", str), _maybe(record, "answer", str), _maybe(record, "right", bool)
    return [_labelled(prompt, list(zip(steps, labels, strict=True)), answer=answer, right=right)]


FORMATS: Mapping[str, Reader] = {
    "prm800k": _prm800k,
    "math_shepherd": _math_shepherd,
    "math_aps": _math_aps,
    "processbench": _processbench,
    "plain": _plain,
}
_KEYS: Mapping[str, set[str]] = {
    "math_aps": {"question", "reasoning_steps"},
    "prm800k": {"question", "label"},
    "math_shepherd": {"input", "label"},
    "processbench": {"problem", "steps", "label"},
    "plain": {"prompt", "completions", "labels"},
}
_KEYS_OF = {name: "{" + ", ".join(f'"{key}"' for key in sorted(keys)) + "}" for name, keys in _KEYS.items()}


# --- taking an object apart -------------------------------------------------------------------------------------------

T = TypeVar("T")
_NAMES: Mapping[type, str] = {
    str: "a text",
    dict: "an object",
    list: "a list",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def _take(record: Record, key: str, kind: type[T]) -> T:
    """A field that must be there, of a kind; a whole number is a number, and a bool is neither."""
    if key not in record:
        raise ProblemError(f"{key} is missing")
    value = record[key]
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ProblemError(f"{key} must be {_NAMES[kind]}, not {kind_of(value)}")
    return cast(T, value)


def _maybe(record: Record, key: str, kind: type[T]) -> T | None:
    return None if record.get(key) is None else _take(record, key, kind)


def _objects(record: Record, key: str) -> list[Record]:
    values = cast(list[Any], _take(record, key, list))
    for at, value in enumerate(values):
        if not isinstance(value, dict):
            raise ProblemError(f"{key} {at} must be an object, not {kind_of(value)}")
    return values


def _texts(record: Record, key: str) -> list[str]:
    values = cast(list[Any], _take(record, key, list))
    for at, value in enumerate(values):
        if not isinstance(value, str):
            raise ProblemError(f"{key} {at} must be a text, not {kind_of(value)}")
    return values


def _labelled(
    prompt: str, pairs: Sequence[tuple[str, bool | None]], *, answer: str | None = None, right: bool | None = None
) -> LabelledSteps:
    steps, labels = tuple(step for step, _ in pairs), tuple(label for _, label in pairs)
    return LabelledSteps(prompt=prompt, steps=steps, labels=labels, answer=answer, right=right)
