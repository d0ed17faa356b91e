"""Does practice beat being shown? ``python -m benchmarks.demonstrations --run runs/RL [--run runs/RL-OTHER-SEED]``.

For each finished reinforcement learning, supervised training goes on from the same start, on fresh demonstrations of
the tasks that were practised, until it has spent as many FLOP; then the start and both ends answer the same test
problems at temperature 1. Compute is counted as in ``ponder/evaluate/practice.py``: 2 FLOP a parameter and sampled
token, 6 a parameter and token that was read in training. Making the demonstrations is free: a solver wrote them.

A training that is finished is not done again, one that was killed goes on.
"""

import argparse
import filecmp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gains import Exam, Score, accuracy, add_exam, bar, change, examine, percent, points
from benchmarks.page import commit, publish, table
from ponder.cli import output
from ponder.cli.recipe import checked, read_recipe
from ponder.errors import ConfigError
from ponder.evaluate.practice import kept_checkpoints, parameters
from ponder.evaluate.problems import parse_spec
from ponder.model.checkpoint import load_checkpoint
from ponder.runs import Run, open_run, read_json
from ponder.seeds import seed_for
from ponder.train.batch import collate, split_by_prompt
from ponder.train.loop import Progress
from ponder.train.reward import levels
from ponder.train.sft import SFTConfig, run_sft, step_rows

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "demonstrations.json"
NAME = "demonstrations"
PROBED = 32
"""Steps whose tokens are counted to know those of a step."""
ENDS = ("practised", "shown")
FLOP = 6
"""A parameter and token that was read in training."""


@dataclass(frozen=True)
class Practised:
    """A finished reinforcement learning."""

    folder: Path
    start: Path
    """The checkpoint that it kept before its first round."""
    tasks: Mapping[str, float]
    effort: str
    seed: int
    flop: float
    """All that it spent."""

    @property
    def end(self) -> Path:
        """Its last checkpoint."""
        return self.folder / "checkpoint"


def practised(folder: Path) -> Practised:
    """Such a run; raises ConfigError for one that is not finished, or is none."""
    if not (folder / "checkpoint").exists():
        raise ConfigError(f"{folder} is no finished `ponder train rl`: it has no checkpoint/ yet")
    config, kept = read_json(folder / "config.json"), kept_checkpoints(folder)
    if kept[0].round:
        raise ConfigError(f"{folder} has not kept the checkpoint of before its first round")
    start, named = kept[0].folder, config["tasks"]
    weights = named if isinstance(named, dict) else dict.fromkeys(named, 1.0)
    if not weights:
        weights = {f"{name}:{level}": 1.0 for name, level in levels((), load_checkpoint(start))}
    return Practised(folder, start, weights, config["efforts"][0], config["seed"], kept[-1].flop)


def equal_steps(config: SFTConfig, flop: float) -> tuple[int, float]:
    """How many steps spend so many FLOP, and the tokens that a step reads."""
    assert config.model
    tokenizer = load_checkpoint(Path(config.model)).own()[1]
    read = [
        sum(collate(group).tokens for group in split_by_prompt(step_rows(config, tokenizer, step), config.micro_tokens))
        for step in range(PROBED)
    ]
    tokens = sum(read) / len(read)
    return max(1, round(flop / (FLOP * parameters(Path(config.model)) * tokens))), tokens


def shown_config(run: Practised, recipe: Path, threads: int) -> tuple[SFTConfig, float]:
    """The supervised training beside a run: the recipe's, but for its start, its tasks and how long it takes."""
    fresh = seed_for("demonstrations", run.seed) % 1_000_000 + 1000  # other demonstrations than any earlier training's
    own = {"model": str(run.start), "tasks": dict(run.tasks), "seed": fresh, "threads": threads}
    config = checked(SFTConfig, read_recipe(recipe) | own, recipe)
    steps, tokens = equal_steps(config, run.flop)
    return config.model_copy(update={"steps": steps}), tokens


def show(config: SFTConfig, folder: Path) -> None:
    """Train it, or what is left of it; the recipe lies in the folder."""
    settings = config.model_dump(mode="json")
    if (folder / "checkpoint").exists():
        open_run(folder, config.model_dump())  # refuses other settings
        return
    with output.meter(folder.name) as meter:

        def step(progress: Progress, record: dict[str, float]) -> None:
            meter.update(progress.step, config.steps, f"loss {record['loss']:.3f}")

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        run_sft(config, folder, on_step=step)


def summary(
    runs: Sequence[tuple[Practised, Path, SFTConfig]], start: Score, ends: Mapping[str, Sequence[Score]]
) -> dict[str, Any]:
    """Everything as plain JSON values."""
    told: list[dict[str, Any]] = []
    for run, folder, config in runs:
        practice, shown = (Run(path).metrics() for path in (run.folder, folder))
        last, after = (next(one for one in reversed(records) if "loss" in one) for records in (practice, shown))
        spent = FLOP * parameters(run.start) * after["tokens"]
        told.append(
            {
                "run": run.folder.name,
                "flop": run.flop,
                "sampled": last["sampled"],
                "minutes": [round(last["seconds"] / 60, 1), round(after["seconds"] / 60, 1)],
                "shown_flop": spent,
                "steps": config.steps,
                "demonstrations": config.steps * config.rows,
            }
        )
    found: dict[str, Any] = {"start": accuracy([start]), "start_tokens": start.tokens, "runs": told}
    for name, scores in ends.items():
        found[name] = {
            "after": accuracy(scores),
            "change": change([start], scores),
            "tokens": sum(one.tokens for one in scores) / len(scores),
            "tasks": {task: change([start.on(task)], [one.on(task) for one in scores]) for task in start.right},
        }
    found["practised_less_shown"] = change(ends["shown"], ends["practised"])
    return found


def section(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    exam, runs = found["exam"], found["runs"]
    rows = [["the start", "–", percent(found["start"]), "–", f"{found['start_tokens']:.0f}", "–"]]
    for at, name in enumerate(ENDS):
        one, flop = found[name], [run["flop" if name == "practised" else "shown_flop"] for run in runs]
        minutes = sum(run["minutes"][at] for run in runs) / len(runs)
        rows.append(
            [
                f"{name}, {len(runs)} seed{'s' * (len(runs) > 1)}",
                f"{sum(flop) / len(flop):.2e}",
                percent(one["after"]),
                points(one["change"]),
                f"{one['tokens']:.0f}",
                f"{minutes:.0f}",
            ]
        )
    count = sum(run["demonstrations"] for run in runs) / len(runs)
    lines = [
        "## Practised or shown, at equal compute",
        "",
        f"`{found['command']}`: from the same start, reinforcement learning on its own thoughts beside {count:,.0f} "
        f"fresh demonstrations of the same tasks ({found['recipe']}). Sampled pass@1 at temperature 1, mean of "
        f"{len(exam['tasks'])} task{'s' * (len(exam['tasks']) > 1)}, "
        f"{exam['n']} test problems each, {exam['samples']} answers to each; 95 % "
        "intervals of a paired bootstrap over problems and seeds (of one seed, over problems alone).",
        "",
        table(["", "FLOP", "pass@1, %", "change, points", "tokens an answer", "minutes"], rows),
        "",
        f"Practised less shown: {points(found['practised_less_shown'])} points.",
    ]
    if len(exam["tasks"]) > 1:
        by_task = [[name, *(points(found[name]["tasks"][task]) for task in exam["tasks"])] for name in ENDS]
        lines += ["", table(["change, points", *exam["tasks"]], by_task)]
    lines += ["", f"The code of commit {found['commit']}."]
    return "\n".join(lines)


def main() -> None:
    """Train what is not trained yet, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", required=True, help="a finished `ponder train rl`")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "ponder-mini-8.yaml", help="how to be shown")
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--plan", action="store_true", help="only tell how many steps it will be")
    parser.add_argument("--dry", action="store_true", help="print the table, write none")
    add_exam(parser, "to measure on; else what was practised")
    given = parser.parse_args()
    runs = [practised(folder) for folder in given.run]
    files = [one.start / "model.safetensors" for one in runs]
    if not all(filecmp.cmp(files[0], file, shallow=False) for file in files):
        raise ConfigError("the runs began from different checkpoints: compare those of one start")
    planned = [(one, given.out / one.folder.name, *shown_config(one, given.recipe, given.threads)) for one in runs]
    for one, folder, config, tokens in planned:
        output.note(
            f"{folder}: {one.flop:.3e} FLOP are {config.steps} steps of {config.rows} demonstrations, {tokens:,.0f} "
            "tokens each"
        )
    if given.plan:
        return
    tasks = [f"{name}:{level}" for key in given.task or runs[0].tasks for name, level in parse_spec(key)]
    exam = Exam.of(given, tasks, runs[0].effort)
    for _, folder, config, _ in planned:
        show(config, folder)
    models = {"start": runs[0].start} | {f"{one.folder.name}, practised": one.end for one in runs}
    models |= {f"{one.folder.name}, shown": folder / "checkpoint" for one, folder, _, _ in planned}
    with output.meter("exam") as meter:
        start, *others = examine(models, exam, given.out / "records.jsonl", bar(meter))
    ends = {"practised": others[: len(runs)], "shown": others[len(runs) :]}
    found = summary([(one, folder, config) for one, folder, config, _ in planned], start, ends)
    found |= {"exam": exam.told(), "recipe": given.recipe.name, "commit": commit()}
    found["command"] = "python -m benchmarks.demonstrations " + " ".join(f"--run {folder}" for folder in given.run)
    text = section(found)
    if not given.dry:
        publish(found, RESULTS, NAME, text)
    print(text)


if __name__ == "__main__":
    main()
