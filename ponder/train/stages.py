"""Stages that follow one another in one folder: what is there is not done again, and what no longer fits is.

A stage is known by its settings and by the digests of what it reads. Both are written down before it begins
(``stages/NAME.json``) and marked done after it. The same command then passes over stages that are done, goes on with
the one that was broken off, and does those again whose settings or inputs have changed; their old output is set aside.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.model.checkpoint import digest
from ponder.runs import read_json, write_whole

MARKERS, REPLACED = "stages", "replaced"
PRIOR = 60.0
"""Seconds for which the planned pace counts as if it had been measured: the first step of a stage is often slow."""

Tell = Callable[[float, str], None]
"""Hears the share of a stage that is done, and words on how it goes."""


@dataclass(frozen=True)
class Stage:
    """One part of a pipeline."""

    name: str
    """Also the name of its folder."""
    settings: Mapping[str, Any]
    """What decides its output beside its inputs, as plain JSON values."""
    inputs: Mapping[str, Path]
    """Checkpoints and files that it reads, by the stages' names that make them."""
    output: str
    """What it leaves in its folder: a checkpoint or a file, there only once it is whole."""
    work: Callable[[Path, Tell], None]
    """Does it in a folder, or goes on with what lies there."""
    minutes: float = 1.0
    """What it is planned to take."""


@dataclass(frozen=True)
class Passed:
    """A stage that is done."""

    name: str
    fresh: bool
    """Whether anything of it was done just now."""
    seconds: float
    """What was spent on it just now, or when it was done."""


@dataclass(frozen=True)
class StageListener:
    """What hears how a pipeline goes on."""

    begin: Callable[[Stage, str], None] = lambda stage, why: None
    """A stage begins, or goes on, and why that is needed."""
    skip: Callable[[Stage], None] = lambda stage: None
    tell: Callable[[Stage, float, str, float], None] = lambda stage, share, words, left: None
    """A share of a stage is done; words; seconds that are left of the whole pipeline."""
    end: Callable[[Stage, float], None] = lambda stage, seconds: None


@dataclass(eq=False)
class Schedule:
    """How long the rest takes: the plan's minutes, at the pace of what has been done so far."""

    minutes: Mapping[str, float]
    """Of the stages that are not done."""
    clock: Callable[[], float] = time.monotonic
    done: dict[str, float] = field(default_factory=dict[str, float])
    """Shares of stages."""
    given: dict[str, float] = field(default_factory=dict[str, float])
    """Shares that were there when a stage was first heard of: no time was spent on them here."""

    def __post_init__(self) -> None:
        self.started = self.clock()

    def left(self, name: str, share: float) -> float:
        """Seconds until all stages are done, with this share of one of them done."""
        if share:  # a stage that goes on says 0 as well, until it has read what was saved
            self.given.setdefault(name, share)
            self.done[name] = share
        planned = sum(self.minutes[one] * (self.done[one] - self.given[one]) for one in self.done) * 60
        pace = (self.clock() - self.started + PRIOR) / (planned + PRIOR)
        return pace * 60 * sum(minutes * (1 - self.done.get(one, 0.0)) for one, minutes in self.minutes.items())


def run_stages(stages: Sequence[Stage], out: Path, listener: StageListener | None = None) -> list[Passed]:
    """Do what is not done yet, in order; whatever instant this is killed at, the same call goes on."""
    listener = listener or StageListener()
    (out / MARKERS).mkdir(parents=True, exist_ok=True)
    passed: list[Passed] = []
    schedule: Schedule | None = None
    for number, stage in enumerate(stages):
        folder, marker = out / stage.name, out / MARKERS / f"{stage.name}.json"
        now = _asked(stage)
        before = read_json(marker) if marker.exists() else None
        changes = changed(before, now) if before else []
        finished = bool(before and before["done"]) and (folder / stage.output).exists()
        if finished and not changes:
            listener.skip(stage)
            passed.append(Passed(stage.name, False, float(before["seconds"]) if before else 0.0))
            continue
        if changes and folder.exists():
            _set_aside(folder, out / REPLACED)
        listener.begin(stage, _why(before, changes, folder))
        write_whole(marker, json.dumps(now | {"done": False}, indent=1) + "\n")
        schedule = schedule or Schedule({one.name: one.minutes for one in stages[number:]})
        seconds = _timed(stage, folder, schedule, listener)
        write_whole(marker, json.dumps(now | {"done": True, "seconds": round(seconds, 1)}, indent=1) + "\n")
        listener.end(stage, seconds)
        passed.append(Passed(stage.name, True, seconds))
    return passed


def _timed(stage: Stage, folder: Path, schedule: Schedule, listener: StageListener) -> float:
    started = time.monotonic()

    def tell(share: float, words: str) -> None:
        listener.tell(stage, share, words, schedule.left(stage.name, share))

    stage.work(folder, tell)
    schedule.left(stage.name, 1.0)
    assert (folder / stage.output).exists(), f"{stage.name} has left no {stage.output}"
    return time.monotonic() - started


def _asked(stage: Stage) -> dict[str, Any]:
    """What a stage's output follows from, as its file will say it."""
    settings = json.loads(json.dumps(dict(stage.settings)))
    return {"settings": settings, "inputs": {name: fingerprint(path) for name, path in stage.inputs.items()}}


def fingerprint(path: Path) -> str:
    """What tells a checkpoint or a file from all others."""
    if path.is_dir():
        return digest(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How a stage differs from what its file says, in words."""
    found: list[str] = []
    old, new = before["settings"], now["settings"]
    for name in [name for name in new if name in old]:  # what only one of them has, only other code knows
        if old[name] != new[name]:
            was, is_ = _short(json.dumps(old[name]), json.dumps(new[name]))
            found.append(f"{name} was {was} and is {is_}")
    read, reads = before["inputs"], now["inputs"]
    return found + [
        f"{name} has changed" for name in dict.fromkeys([*read, *reads]) if read.get(name) != reads.get(name)
    ]


def _short(was: str, is_: str) -> tuple[str, str]:
    """Two texts from a little before they differ."""
    same = next((at for at, (a, b) in enumerate(zip(was, is_, strict=False)) if a != b), 0)
    start = max(0, same - 30) if max(len(was), len(is_)) > 60 else 0
    parts = ("…" * (start > 0) + text[start : start + 60] + "…" * (len(text) > start + 60) for text in (was, is_))
    return next(parts), next(parts)


def _why(before: Mapping[str, Any] | None, changes: Sequence[str], folder: Path) -> str:
    if changes:
        return f"done again, because {'; '.join(changes)}"
    if before and before["done"]:
        return "done again, because its output is gone"
    return "going on" if before and folder.exists() else ""


def _set_aside(folder: Path, replaced: Path) -> None:
    """Nothing that took long to compute is thrown away: a wrong edit of a recipe can be taken back."""
    replaced.mkdir(exist_ok=True)
    taken = {path.name for path in replaced.iterdir()}
    number = next(n for n in range(1, len(taken) + 2) if f"{folder.name}-{n}" not in taken)
    os.replace(folder, replaced / f"{folder.name}-{number}")
