"""Sampled accuracy of checkpoints on the same held-out test problems, and how far they are apart, with intervals."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ponder.cli.output import Meter
from ponder.cli.train_pipeline import evaluate_models
from ponder.evaluate.metrics import Interval
from ponder.evaluate.records import Record, read_records
from ponder.evaluate.resampling import Values, crossed
from ponder.evaluate.run import SINGLE
from ponder.model.checkpoint import digest
from ponder.train.pipeline import EvaluationConfig, Pass

TEMPERATURE = 1.0
"""The policy as it practised."""
Tell = Callable[[float, str], None]
"""Hears the share that is done, and words."""


@dataclass(frozen=True, kw_only=True)
class Exam:
    """What every checkpoint is asked."""

    tasks: tuple[str, ...]
    """As TASK:LEVEL."""
    n: int
    """Problems of each."""
    samples: int
    """Answers to each."""
    effort: str
    seed: int
    workers: int = 1
    device: str = "auto"

    @classmethod
    def of(cls, given: argparse.Namespace, tasks: Iterable[str], effort: str) -> "Exam":
        """From the options of `add_exam`."""
        return cls(
            tasks=tuple(tasks),
            n=given.n,
            samples=given.samples,
            effort=effort,
            seed=given.exam_seed,
            workers=given.workers,
            device=given.device,
        )

    def told(self) -> dict[str, Any]:
        """What decides the records."""
        return {"tasks": list(self.tasks), "n": self.n, "samples": self.samples, "effort": self.effort} | {
            "seed": self.seed
        }


def add_exam(parser: argparse.ArgumentParser, task: str) -> None:
    """The options of an exam, and a word on its tasks."""
    parser.add_argument("--task", action="append", metavar="TASK:LEVEL", help=task)
    parser.add_argument("--n", type=int, default=300, help="test problems of each task")
    parser.add_argument("--samples", type=int, default=4, help="answers to each, at temperature 1")
    parser.add_argument("--exam-seed", type=int, default=0, help="of the test problems and their samples")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that sample")
    parser.add_argument("--device", default="auto")


@dataclass(frozen=True)
class Score:
    """What a checkpoint came to."""

    right: Values
    """Of each task's problems, the share of answers that are right."""
    tokens: float
    """Of an answer and its thought, mean over tasks."""

    def on(self, task: str) -> "Score":
        """The same of one task alone; its tokens remain those of all."""
        return replace(self, right={task: self.right[task]})


def examine(models: Mapping[str, Path], exam: Exam, file: Path, tell: Tell = lambda share, words: None) -> list[Score]:
    """Ask checkpoints, by names, what is not in the file yet; returns their scores in order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    asked = Pass(
        models=tuple(models),
        tasks=exam.tasks,
        problems=exam.n,
        efforts=(exam.effort,),
        samples=(exam.samples,),
        temperature=TEMPERATURE,
        seed=exam.seed,
    )
    evaluate_models(EvaluationConfig(passes=(asked,), workers=exam.workers), models, file, tell, exam.device)
    found = read_records(file)
    return [score(found, digest(folder), exam) for folder in models.values()]


def score(records: Iterable[Record], weights: str, exam: Exam) -> Score:
    """What the records say of some weights; without the tasks of which they say nothing."""
    right: dict[str, dict[str, float]] = {}
    tokens: dict[str, list[int]] = {}
    for one in records:
        asked = one.weights, one.search, one.effort, one.temperature, one.seed, len(one.answers)
        task = f"{one.task}:{one.level}"
        decided = [was for was in one.rights if was is not None]
        wanted = weights, SINGLE, exam.effort, TEMPERATURE, exam.seed, exam.samples
        if asked == wanted and task in exam.tasks and decided:
            right.setdefault(task, {})[one.id] = sum(decided) / len(decided)
            tokens.setdefault(task, []).extend(spent.generated for spent in one.tokens)
    means = [sum(spent) / len(spent) for spent in tokens.values()]
    return Score(right, sum(means) / len(means) if means else 0.0)


def accuracy(scores: Sequence[Score]) -> Interval:
    """The mean over tasks, problems and runs."""
    return crossed([one.right for one in scores], "accuracy")


def change(before: Sequence[Score], after: Sequence[Score]) -> Interval:
    """How much better the second ones are, problem by problem and run by run.

    One score before, of the one start of several runs, stands beside each of them.
    """
    first = before * len(after) if len(before) == 1 else before
    return crossed([_differences(one.right, other.right) for one, other in zip(first, after, strict=True)], "change")


def _differences(first: Values, second: Values) -> Values:
    """On the problems that both have been graded on."""
    return {
        task: {name: second[task][name] - value for name, value in values.items() if name in second[task]}
        for task, values in first.items()
    }


def percent(found: Interval | Sequence[float]) -> str:
    """An accuracy with its interval, in percent."""
    mean, low, high = (100 * one for one in found)
    return f"{mean:.1f} ({low:.1f}–{high:.1f})"


def points(found: Interval | Sequence[float]) -> str:
    """A change with its interval, in points."""
    mean, low, high = (100 * one for one in found)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def bar(meter: Meter) -> Tell:
    """What shows it."""
    return lambda share, words: meter.update(share, 1, words, share=share)
