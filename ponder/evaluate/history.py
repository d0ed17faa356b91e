"""What run folders tell: what kind of run each is, how far it came, what its numbers came to, and what it sampled."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ponder.errors import ConfigError
from ponder.evaluate.metrics import mean
from ponder.runs import Run, read_json
from ponder.tasks import TASKS, make
from ponder.types import Block, BlockCheck, Problem, Split

KINDS = {"teacher": "distill", "algorithm": "rl", "labels": "reward", "style": "sft"}
"""A setting that only one kind of run has, to the kind's name."""
ENDS = ("checkpoint", "student/checkpoint")
"""What a finished run has: one of these."""
FIRST, LAST = 3, 5
"""So many records are the start of a run, and so many are how it stands now."""
DEEPEST = 2
"""How far below a folder runs are looked for."""
WATCHED: Mapping[str, tuple[str, ...]] = {
    "rl": (
        *("success", "reward", "reward_outcome", "reward_process", "reward_format", "reward_length", "entropy"),
        *("length", "length_right", "length_wrong", "degenerate", "cut_off", "malformed", "repetition"),
        *("undecided", "optimism", "gap", "grad_norm"),
    ),
}
"""The numbers of a record that a summary tells; of other kinds the loss and the gradient."""
AT = "at "
"""What the names of running success of a level begin with, in the records of a reinforcement learning."""


class Change(NamedTuple):
    """A number at a run's start and as it stands."""

    start: float
    now: float


@dataclass(frozen=True)
class History:
    """One run's folder, read."""

    folder: Path
    config: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    @property
    def kind(self) -> str:
        """`sft`, `reward`, `rl`, `distill`, or `run` where the settings tell none of them."""
        return next((kind for name, kind in KINDS.items() if name in self.config), "run")

    @cached_property
    def steps(self) -> list[Mapping[str, Any]]:
        """The records of optimiser steps."""
        return [record for record in self.records if "loss" in record]

    @property
    def step(self) -> int:
        """The last one that was written down."""
        return int(self.steps[-1]["step"]) if self.steps else 0

    @property
    def planned(self) -> int:
        """How many steps there will be; 0 where the settings do not say, as of a run that ends by its tokens."""
        return 0 if self.config.get("tokens") else int(self.config.get("steps", 0)) * int(self.config.get("updates", 1))

    @property
    def alarms(self) -> list[Mapping[str, Any]]:
        """What the monitors said."""
        return [record for record in self.records if "alarm" in record]

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """The measurements on the way, each with its step."""
        return [record for record in self.records if "evaluation" in record]

    @property
    def state(self) -> str:
        """In words: finished, stopped by a monitor, or how far it is."""
        if any((self.folder / path).is_dir() for path in ENDS):
            return "finished"
        if self.alarms and self.alarms[-1].get("action") == "stop":
            return f"stopped by {self.alarms[-1]['alarm']}"
        return f"unfinished at {self.step}" if self.step else "begun"

    @property
    def numbers(self) -> dict[str, Change]:
        """Each watched number: the mean of the first records and of the last ones."""
        names = WATCHED.get(self.kind, ("loss", "grad_norm"))
        return {name: change for name in names if (change := self._change(name))}

    @property
    def levels(self) -> dict[str, Change]:
        """The running success of every task and level that was practised: when it was first met, and as it stands."""
        names = dict.fromkeys(name for record in self.steps for name in record if name.startswith(AT))
        found: dict[str, Change] = {}
        for name in sorted(names):
            values = [float(record[name]) for record in self.steps if name in record]
            found[name.removeprefix(AT)] = Change(values[0], values[-1])
        return found

    def _change(self, name: str) -> Change | None:
        values = [float(record[name]) for record in self.steps if name in record]
        start, now = mean(values[:FIRST]), mean(values[-LAST:])
        return None if start is None or now is None else Change(start, now)

    @property
    def spent(self) -> dict[str, float]:
        """Seconds, tokens that were read in training and tokens that were sampled, as far as the records tell."""
        last = self.steps[-1] if self.steps else {}
        return {name: last[name] for name in ("seconds", "waited", "tokens", "trained", "sampled") if name in last}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "run": str(self.folder),
            "kind": self.kind,
            "state": self.state,
            "step": self.step,
            "steps": self.planned,
            **self.spent,
            "numbers": {name: change._asdict() for name, change in self.numbers.items()},
            "levels": {name: change._asdict() for name, change in self.levels.items()},
            "evaluations": [dict(record) for record in self.evaluations],
            "alarms": [dict(record) for record in self.alarms],
            "settings": dict(self.config),
        }


def read_history(folder: Path) -> History:
    """Read a run's folder; raises ConfigError for any other folder, CheckpointError for damaged settings."""
    if not (folder / "config.json").is_file() or not Run(folder).metrics_file.is_file():
        raise ConfigError(f"{folder} is no run's folder: `ponder runs --in DIR` lists those below a folder")
    return History(folder, read_json(folder / "config.json"), Run(folder).metrics())


def find_runs(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """The run folders in a folder, by name, and those of pipelines in it; raises ConfigError where it is none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no directory: give --in DIR, where runs lie")
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            continue
        if (path / "config.json").is_file() and Run(path).metrics_file.is_file():
            yield path
        if depth > 1:
            yield from find_runs(path, depth - 1)


# --- sampled thoughts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One sampled thought as a run wrote it down, with what the task's checker says of its blocks today."""

    step: int
    problem: str
    prompt: str
    gold: str
    effort: str
    blocks: tuple[Block, ...]
    answer: str
    ended: str
    score: float | None
    note: str
    reward: Mapping[str, float]
    ratings: tuple[tuple[float, float], ...]
    """Value and validity at the start, after each block and after the answer; empty where nobody rated."""
    checks: tuple[BlockCheck, ...]
    """Of each block; empty where the problem cannot be made again."""

    @property
    def task(self) -> str:
        """Its task's name."""
        return self.problem.partition(":")[0]

    @property
    def right(self) -> bool | None:
        """Whether its answer was right; None where nobody could tell."""
        return None if self.score is None else self.score == 1.0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's sampled thoughts, as they were written; raises ConfigError where it wrote none."""
    found = Run(folder).samples()
    if not found:
        raise ConfigError(f"{folder} has no sampled thoughts: only `ponder train rl` writes them, with shown above 0")
    return found


def chosen(
    samples: Iterable[Mapping[str, Any]], *, task: str = "", step: int | None = None, right: bool | None = None
) -> list[Mapping[str, Any]]:
    """Those of a task (or TASK:LEVEL), from a step on, and right or wrong alone."""
    return [
        one
        for one in samples
        if (not task or f"{one['problem']}:".startswith(f"{task}:"))
        and (step is None or one["step"] >= step)
        and (right is None or (one["score"] is not None and (one["score"] == 1.0) is right))
    ]


def read_sample(record: Mapping[str, Any]) -> Sample:
    """A record of a sampled thought, with its blocks checked."""
    blocks = tuple(Block(*block) for block in record["blocks"])
    problem = problem_again(record["problem"], record["prompt"])
    checks = TASKS[problem.task].check_blocks(problem, blocks) if problem else ()
    ratings = tuple((value, validity) for value, validity in record["ratings"])
    told = {name: record[name] for name in ("step", "problem", "prompt", "gold", "effort", "answer", "ended", "score")}
    return Sample(
        **told, note=record["note"], blocks=blocks, reward=record["reward"], ratings=ratings, checks=tuple(checks)
    )


def problem_again(name: str, prompt: str) -> Problem | None:
    """The problem of that name; None where it has another prompt by now, because its task was changed since."""
    parts = name.split(":")
    if len(parts) != 4 or parts[0] not in TASKS or not (parts[1].isdecimal() and parts[3].isdecimal()):
        return None
    task = TASKS[parts[0]]
    if int(parts[1]) not in task.levels or parts[2] not in set(Split):
        return None
    made = make(task, int(parts[1]), Split(parts[2]), int(parts[3]))
    return made if made.prompt == prompt else None
