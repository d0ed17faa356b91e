"""What the monitors' alarms lead to: a word, an end, or a way back.

Every HEALTHY rounds a state is kept that no alarm was about. Where a step too large has spoilt the policy, the run goes
back to one of them and on with a smaller step. How often it did stands in the state itself, so that a run which was
killed after that, or while it went back, still ends with the same bits.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.errors import TrainingError
from ponder.runs import Run, numbered, read_json
from ponder.train.loop import COMPANION_FILE, PROGRESS_FILE, Progress
from ponder.train.monitors import QUIET, RECENT, Action, Alarm, alarms

HEALTHY = 5
"""Rounds between states that are kept."""
SMALLER = 0.5
"""The step's size after going back, as a share of what it was."""
STEPS = "steps"
"""The folder of a run's checkpoints for the curve, by the number of rounds before them."""
ROLLED = "rolled"
"""Where a state says how often, and why, its run has gone back."""

Rolled = list[dict[str, Any]]
"""Records of going back, as they stand in the metrics."""


class Sick(Exception):
    """Ends an attempt: the run is to go back."""

    def __init__(self, alarm: Alarm, step: int, since: int) -> None:
        super().__init__(alarm.sentence)
        self.alarm, self.step, self.since = alarm, step, since
        """The step after which it was noticed, and the one since which it may have been so."""


@dataclass(eq=False)
class Watch:
    """Runs the monitors after each round, and does what they ask for."""

    run: Run
    updates: int
    alarm: Callable[[Alarm], None]
    step: int = 0

    def check(self, progress: Progress) -> None:
        """After an optimiser step; raises TrainingError where an alarm stops the run, Sick where it must go back."""
        self.step = progress.step
        if progress.step % self.updates:
            return
        records = self.run.metrics()
        history = [record for record in records if "degenerate" in record]
        quiet = progress.step - QUIET * self.updates
        told = {record["alarm"] for record in records if "alarm" in record and record["step"] > quiet}
        for alarm in alarms(history):
            if alarm.action is Action.ROLL_BACK:
                since = 0 if alarm.name == "finite" else RECENT * self.updates
                raise Sick(alarm, progress.step, progress.step - since)
            if alarm.action is Action.STOP or alarm.name not in told:
                self.run.log(_record(alarm, progress.step))
                self.alarm(alarm)
            if alarm.action is Action.STOP:
                raise TrainingError(_stopped(self.run, self.updates, progress.step, alarm.sentence))

    def keeps(self, progress: Progress) -> bool:
        """Whether the state is kept: it is asked only where `check` had nothing against going on."""
        return progress.step % (HEALTHY * self.updates) == 0


def _record(alarm: Alarm, step: int) -> dict[str, Any]:
    return {"step": step, "alarm": alarm.name, "action": alarm.action, "why": alarm.sentence}


def _stopped(run: Run, updates: int, step: int, why: str) -> str:
    """Why it ends, and where to go on from: the kept checkpoint from about half the way, before it went wrong."""
    early = [number for number in numbered(run.folder / STEPS) if 2 * number * updates <= step]
    kept = run.folder / STEPS / f"{early[-1]:05}"
    return (
        f"stopped after step {step}: {why}. What was learned before lies in {kept}: begin another run there, with "
        "other settings"
    )


def rolled_back(run: Run) -> Rolled:
    """How often, and why, the run has gone back so far."""
    path = run.state / COMPANION_FILE
    return read_json(path).get(ROLLED, []) if path.exists() else []


def roll_back(run: Run, sick: Sick, most: int, updates: int) -> None:
    """Put the last healthy state in the place of the newest one; raises TrainingError where that was done too often."""
    before, kept = rolled_back(run), run.kept_states()
    if len(before) >= most or not kept:
        again = f", though it went back {len(before)} times to go on with smaller steps" if before else ""
        raise TrainingError(_stopped(run, updates, sick.step, sick.alarm.sentence + again))
    to = max((step for step in kept if step <= sick.since), default=kept[0])
    record = _record(sick.alarm, to) | {"from": sick.step, "to": to, "smaller": SMALLER ** (len(before) + 1)}
    # A record stands at its step, and those after the state's own are dropped when a run goes on.
    rolled = [*({**old, "step": min(old["step"], to)} for old in before), record]
    source = run.healthy / f"{to:08}"
    with run.replacing_state() as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        companion = read_json(source / COMPANION_FILE) | {ROLLED: rolled}
        (folder / COMPANION_FILE).write_text(json.dumps(companion), encoding="utf-8")


def tidy(run: Run, updates: int) -> Rolled:
    """Before an attempt: drop what lies after the run's state, and see that its metrics tell how often it went back."""
    path = run.state / PROGRESS_FILE
    step = int(read_json(path)["step"]) if path.exists() else 0
    late: list[Path] = [run.healthy / f"{kept:08}" for kept in run.kept_states() if kept > step]
    late += [run.folder / STEPS / f"{number:05}" for number in numbered(run.folder / STEPS) if number * updates > step]
    for folder in late:
        shutil.rmtree(folder)
    rolled, told = rolled_back(run), run.metrics()
    for record in rolled:
        if record not in told:
            run.log(record)
    return rolled
