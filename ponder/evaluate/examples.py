"""The same held-out problems, thought about before and after a training: the first ones, not chosen ones."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ponder.errors import ProblemError
from ponder.evaluate.problems import ProblemSet
from ponder.interfaces import Sampler
from ponder.runs import write_whole
from ponder.think import Request, think
from ponder.types import Effort, Ended, Message


@dataclass(frozen=True)
class Thinking:
    """One model's thought about a problem."""

    model: str
    blocks: tuple[tuple[str, str, str], ...]
    """Headline, thoughts and summary of each."""
    answer: str
    right: bool
    ended: str
    tokens: int


@dataclass(frozen=True)
class Example:
    """A problem and what models thought about it, in their order."""

    task: str
    prompt: str
    gold: str
    thoughts: tuple[Thinking, ...]


def thoughts_of(model: str, sets: Sequence[ProblemSet], count: int, effort: Effort, sampler: Sampler) -> list[Thinking]:
    """Greedy thoughts about the first problems of each set."""
    pairs = [(one, problem) for one in sets for problem in one.problems[:count]]
    made = think([Request((Message("user", problem.prompt),), effort) for _, problem in pairs], sampler)
    return [
        Thinking(
            model,
            tuple((block.headline, block.thoughts, block.summary) for block in completion.blocks),
            completion.answer,
            completion.ended is Ended.ANSWERED and one.grade(problem, completion.answer).right,
            completion.ended,
            completion.tokens.kept,
        )
        for (one, problem), completion in zip(pairs, made, strict=True)
    ]


def examples(sets: Sequence[ProblemSet], count: int, thoughts: Sequence[Sequence[Thinking]]) -> list[Example]:
    """The problems with every model's thoughts about them."""
    pairs = [(one, problem) for one in sets for problem in one.problems[:count]]
    return [
        Example(f"{one.task}:{one.level}", problem.prompt, problem.answer, tuple(column))
        for (one, problem), column in zip(pairs, zip(*thoughts, strict=True), strict=True)
    ]


def write_examples(path: Path, found: Sequence[Example]) -> None:
    """One a line, in place of what was there."""
    write_whole(path, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found))


def read_examples(path: Path) -> list[Example]:
    """What was written; nothing where there is no file. Raises ProblemError for a file of something else."""
    if not path.exists():
        return []
    try:
        return [_example(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError, KeyError) as err:
        raise ProblemError(f"{path} holds no examples ({err}): remove it, and measure the run again") from None


def _example(told: dict[str, Any]) -> Example:
    thoughts = tuple(
        Thinking(**one | {"blocks": tuple(tuple(block) for block in one["blocks"])}) for one in told["thoughts"]
    )
    return Example(told["task"], told["prompt"], told["gold"], thoughts)
