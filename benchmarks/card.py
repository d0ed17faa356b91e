"""Writes a model's card, its learning curve and the results table of the README, from what the commands printed.

``python -m benchmarks.card ponder-mini runs/ponder-mini=COMMIT runs/ponder-mini-2=COMMIT`` (the runs that followed one
another, each with the commit whose code it ran) reads ``benchmarks/results/ponder-mini/*.json`` (each the
``--json`` output of the `ponder eval` command that stands in COMMANDS) and the run's metrics. Nothing is typed by hand.
"""

import argparse
import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.page import table
from ponder.runs import Run
from ponder.tasks import TASKS
from ponder.tasks.gym import OURS

ROOT = Path(__file__).parents[1]
GYM = [
    *("products", "chain_sum", "simple_equations", "mini_sudoku", "knights_knaves", "caesar_cipher"),
    *("caesar_cipher+example", "letter_counting", "countdown"),
]
GYM += [name + OURS for name in GYM if "+" not in name]
COMMANDS = {
    "levels": "ponder eval --task all:1 --task all:2 --n 500 --effort none,medium --json",
    "higher": "ponder eval --task all:3 --task all:4 --n 500 --effort none,medium --json",
    "gym": "ponder eval " + " ".join(f"--gym {name}:2" for name in GYM) + " --n 200 --json",
    "sampled": "ponder eval --task all:2 --n 32 --samples 16 --temperature 1 --json",
    "direct": "ponder eval --model runs/ponder-direct/checkpoint --task all:2 --n 500 --effort none --json",
}
Summary = Mapping[str, Any]
USUAL_N = 500
"""Cells with fewer problems than this say so: some levels do not have more, and samples cost more."""


def read(name: str) -> dict[str, list[Summary]]:
    """What each command printed, where it has been run."""
    folder = ROOT / "benchmarks" / "results" / name
    files = {part: folder / f"{part}.json" for part in COMMANDS}
    found = {part: json.loads(file.read_text(encoding="utf-8")) for part, file in files.items() if file.exists()}
    return found | {"levels": found["levels"] + found.get("higher", [])}


def percent(summary: Summary | None) -> str:
    """An accuracy with its interval, in percent."""
    if summary is None or summary["accuracy"] is None:
        return "–"
    fewer = f", n={summary['n']}" if summary["n"] < USUAL_N else ""
    return f"{100 * summary['accuracy']:.1f} ({100 * summary['low']:.0f}–{100 * summary['high']:.0f}{fewer})"


def find(summaries: Iterable[Summary], **wanted: object) -> Summary | None:
    """The summary with these values."""
    return next((one for one in summaries if all(one[key] == value for key, value in wanted.items())), None)


def average(summaries: Sequence[Summary | None]) -> str:
    """The mean accuracy over tasks, in percent."""
    shares = [one["accuracy"] for one in summaries if one and one["accuracy"] is not None]
    return f"{100 * sum(shares) / len(shares):.1f}" if shares else "–"


def standard(found: Mapping[str, list[Summary]]) -> str:
    """Level 2: thinking, the same model answering at once, the direct baseline, samples."""
    levels, direct, sampled = found["levels"], found.get("direct", []), found.get("sampled", [])
    rows: list[list[str]] = []
    columns: list[list[Summary | None]] = [[], [], []]
    for name in TASKS:
        thinking = find(levels, task=name, level=2, effort="medium")
        at_once = find(levels, task=name, level=2, effort="none")
        baseline = find(direct, task=name, level=2, effort="none")
        drawn = find(sampled, task=name, level=2)
        for column, one in zip(columns, (thinking, at_once, baseline), strict=True):
            column.append(one)
        passes = drawn["pass_at_k"] if drawn else {}
        ends = " / ".join(f"{100 * passes[k]:.0f}" for k in ("1", "16") if k in passes) or "–"
        tokens = f"{thinking['tokens']:.0f}" if thinking else "–"
        rows.append([name, percent(thinking), percent(at_once), percent(baseline), ends, tokens])
    rows.append(["**mean**", *(f"**{average(column)}**" for column in columns), "", ""])
    head = ["task, level 2", "thinking (medium)", "at once (none)", "direct baseline", "T=1: pass@1 / @16", "tokens"]
    return table(head, rows)


def by_level(found: Mapping[str, list[Summary]]) -> str:
    """Thinking against answering at once, every level."""
    rows = []
    for name, task in TASKS.items():
        cells = [
            " vs ".join(percent(find(found["levels"], task=name, level=level, effort=e)) for e in ("medium", "none"))
            for level in task.levels
        ]
        rows.append([name, *cells])
    return table(["task", "level 1", "level 2", "level 3", "level 4"], rows)


def gym(found: Mapping[str, list[Summary]]) -> str:
    """Reasoning-gym's own generator and scorer beside our wordings of its problems, and beside our own problems."""
    rows = []
    for one in found.get("gym", []):
        if one["task"].endswith(OURS):
            continue
        twin = next((task.name for task in TASKS.values() if f"gym:{task.gym}" == one["task"].partition("+")[0]), "")
        ours = find(found["levels"], task=twin, level=one["level"], effort="medium")
        reworded = find(found["gym"], task=one["task"] + OURS)
        rows.append([one["task"], percent(one), percent(reworded), f"{twin}: {percent(ours)}"])
    head = ["reasoning-gym task", "its wording", "the same problems in our wordings", "our own problems"]
    return table(head, rows)


@dataclass(frozen=True)
class Stage:
    """One run of those that made the model, and what the runs before it had already spent."""

    run: Run
    commit: str
    tokens: int
    minutes: float

    @property
    def steps(self) -> list[Summary]:
        """The records of its steps."""
        return [record for record in self.run.metrics() if "loss" in record]

    @property
    def config(self) -> Summary:
        """Its settings."""
        return json.loads((self.run.folder / "config.json").read_text(encoding="utf-8"))

    def line(self) -> str:
        """How it was run, in words."""
        settled = json.loads((self.run.folder / "settled.json").read_text(encoding="utf-8"))
        kind = "rl" if "algorithm" in self.config else "reward" if "held_out" in self.config else "sft"
        name, threads = self.run.folder.name, f"{settled['threads']} thread{'s' * (settled['threads'] > 1)}"
        command = f"ponder train {kind} --recipe recipes/{name}.yaml --out runs/{name}"
        said = {"rl": self._practised, "reward": self._rated, "sft": self._shown}[kind]()
        return (
            f"* `{command}` (seed {self.config['seed']}, code of commit {self.commit}, {threads} of "
            f"{platform.machine()} in {settled['dtype']}, other programs running beside it): {said}"
        )

    def _shown(self) -> str:
        last = self.steps[-1]
        rate, learned = last["tokens"] / last["seconds"], last["trained"] / last["seconds"]
        return (
            f"{last['step']:,} steps, {last['tokens'] / 1e6:.1f}M tokens read, {last['trained'] / 1e6:.1f}M of them "
            f"learned, {last['seconds'] / 60:.0f} minutes: {rate:,.0f} tokens/s read, {learned:,.0f} learned, "
            f"{100 * last['waited'] / last['seconds']:.1f} % of the time waiting for data"
        )

    def _practised(self) -> str:
        last, config = self.steps[-1], self.config
        return (
            f"{config['steps']} rounds of {config['problems']} problems with {config['samples']} thoughts each, "
            f"{last['sampled'] / 1e6:.1f}M tokens sampled and {last['tokens'] / 1e6:.1f}M read, "
            f"{last['seconds'] / 60:.0f} minutes"
        )

    def _rated(self) -> str:
        config = self.config
        found = [record["evaluation"] for record in self.run.metrics() if "evaluation" in record][-1]
        told = {"first-error F1": "f1", "validity AUC": "validity_auc", "outcome AUC": "outcome_auc"}
        words = ", ".join(f"{name} {found[key]:.2f}" for name, key in told.items())
        return (
            f"the reward head, on {config['problems'] * config['samples']:,} of the model's own thoughts; "
            f"{words} on {config['held_out'] * config['samples']:,} held-out ones"
        )


def stages(specs: Sequence[str]) -> list[Stage]:
    """The runs, in order, from FOLDER=COMMIT."""
    found: list[Stage] = []
    tokens, minutes = 0, 0.0
    for spec in specs:
        folder, _, commit = spec.partition("=")
        found.append(Stage(Run(Path(folder)), commit, tokens, minutes))
        last = found[-1].steps[-1]
        if "held_out" not in found[-1].config:  # a head's readings are none of the network's learning
            tokens, minutes = tokens + last["tokens"], minutes + last["seconds"] / 60
    return found


def curve(runs: Sequence[Stage], picture: Path) -> str:
    """The learning curve as a picture and a table; returns the table."""
    figure, left = plt.subplots(figsize=(7, 3.6), layout="constrained")
    left.set(xlabel="million tokens read", ylabel="loss (nats a token)", yscale="log")
    right = left.twinx()
    right.set(ylabel="validation, level 2, mean of tasks (%)", ylim=(0, 100))
    rows, points = list[list[str]](), list[tuple[float, float]]()
    for stage in runs:
        if "held_out" in stage.config:
            continue
        steps = stage.steps
        read = [(stage.tokens + record["tokens"]) / 1e6 for record in steps]
        if "algorithm" not in stage.config:
            left.plot(read, [record["loss"] for record in steps], color="0.6", linewidth=0.8)
        marks = {r["step"]: r["evaluation"]["mean"] for r in stage.run.metrics() if "evaluation" in r}
        for record, million in zip(steps, read, strict=True):
            if record["step"] in marks:
                share, minutes = 100 * marks[record["step"]], stage.minutes + record["seconds"] / 60
                points.append((million, share))
                name = f"{stage.run.folder.name}, {record['step']}"
                rows.append([name, f"{million:.1f}M", f"{minutes:.0f}", f"{share:.1f} %"])
    right.plot(*zip(*points, strict=True), "o-", color="tab:blue")
    figure.savefig(picture, dpi=130)
    return table(["run, step", "tokens read", "minutes", "validation, 20 problems a task, greedy"], rows)


def card(name: str, runs: Sequence[Stage], found: Mapping[str, list[Summary]]) -> str:
    """The whole card."""
    folder = ROOT / "models" / name
    points, lines = curve(runs, folder / "curve.png"), "\n".join(stage.line() for stage in runs)
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# {name}

Thinks in folding blocks about nine kinds of problem, and was trained from nothing by this repository's own code, on
demonstrations that the tasks' solvers made while it trained, and then on its own thoughts. It knows nothing else, and
says so when asked. Its reward head (`heads.safetensors`) rates every block, and the chances before the first one.

{lines}
* **Weights**: {(folder / "model.safetensors").stat().st_size / 1e6:.1f} MB, Qwen3 architecture; loads with
  `AutoModelForCausalLM.from_pretrained`

Accuracy in percent on held-out problems, greedy, with 95 % Wilson intervals.

## Level 2, the standard

{standard(found)}

The direct baseline is a network of the same size taught only to answer at once, in the same mix.

## Every level, thinking (medium) against answering at once (none)

{by_level(found)}

## Reasoning-gym

{gym(found)}

## Learning curve

![learning curve](curve.png)

{points}

## Commands behind the numbers

{"".join(f"* `{COMMANDS[part]}`{chr(10)}" for part in found)}"""


def main() -> None:
    """Write the card and the README's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("runs", nargs="+", metavar="FOLDER=COMMIT")
    given = parser.parse_args()
    found = read(given.name)
    (ROOT / "models" / given.name / "README.md").write_text(
        card(given.name, stages(given.runs), found), encoding="utf-8"
    )
    readme = ROOT / "README.md"
    marks = ("<!-- results -->", "<!-- /results -->")
    text = f"{marks[0]}\n{standard(found)}\n{marks[1]}"
    old = readme.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.DOTALL)
    readme.write_text(pattern.sub(lambda _: text, old), encoding="utf-8")


if __name__ == "__main__":
    main()
