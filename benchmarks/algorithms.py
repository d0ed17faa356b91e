"""Ways to learn, with and without a process term, at equal generated tokens: ``python -m benchmarks.algorithms``.

Every variant practises from the same checkpoint, seed by seed, until it has sampled as many tokens; what it samples
again from forks counts too. Learning rate, problems and samples are the recipe's for all of them; the rate is warmed up
and lowered to zero by the share of the tokens that is spent, so that a variant with longer answers has fewer rounds but
the same schedule. Then the start and the ends answer the same test problems at temperature 1.

A run that is finished is not run again, one that was killed goes on, and the table is made anew after each from all
runs that are there. So several commands may work on different variants side by side, and seeds may be added later.
"""

import argparse
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gains import Exam, Score, accuracy, add_exam, bar, change, examine, percent, points, score
from benchmarks.page import commit, publish, table
from ponder.cli import output
from ponder.cli.recipe import checked, read_recipe
from ponder.errors import ConfigError, TrainingError
from ponder.evaluate.metrics import mean
from ponder.evaluate.practice import STEPS
from ponder.evaluate.problems import parse_spec
from ponder.evaluate.records import read_records
from ponder.model.checkpoint import digest, load_checkpoint
from ponder.runs import Run, numbered, open_run, read_json, write_whole
from ponder.train.algorithms import ALGORITHMS, algorithm_named
from ponder.train.loop import Progress
from ponder.train.monitors import Alarm
from ponder.train.rl import Listener, run_rl
from ponder.train.rounds import RLConfig

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "algorithms.json"
NAME = "algorithms"
BLAME = "blame"
"""In place of a process term: what is worse than its group pays with its first and last bad block, which grpo can."""
PROCESSES = ("off", "exact", "head", BLAME)
RECORDS, STOPPED = "records.jsonl", "stopped.json"
MOST_ROUNDS = 1_000_000
"""More than the tokens allow."""
VARIED = ("algorithm", "options", "process", "seed")
"""The settings in which runs of one table differ."""
ENDS = 3
"""So many rounds tell the entropy at a run's start and end."""


def begun(model: Path, out: Path) -> Path:
    """A copy of the checkpoint from which all runs begin: another one may take its place before they are done."""
    copy, part = out / "start", out / "start.part"
    if not copy.exists():
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(model, part)
        part.replace(copy)
    if digest(copy) != digest(model):
        raise ConfigError(f"the runs in {out} began from another checkpoint than {model} is now: give another --out")
    return copy


class Variant(NamedTuple):
    """A row of the table."""

    algorithm: str
    process: str

    def __str__(self) -> str:
        return f"{self.algorithm}, {self.process}"


REFERENCE = Variant("grpo", "off")


def refusal(variant: Variant, head: bool) -> str:
    """Why a pair cannot be, in a sentence; nothing where it can."""
    if variant.algorithm == "star" and variant.process != "off":
        return "star imitates right thoughts and weighs none of them: a process term would change nothing it learns"
    if variant.process == BLAME and variant.algorithm != "grpo":
        return f"{variant.algorithm} has no option to let bad blocks alone pay for a rollout"
    if variant.process == "head" and not head:
        return "the model has no reward head that could rate blocks: train one with `ponder train reward`"
    return ""


def variants(algorithms: Sequence[str], processes: Sequence[str], head: bool) -> tuple[list[Variant], dict[str, str]]:
    """The pairs that can be, and why the others cannot."""
    for name in algorithms:
        algorithm_named(name, {})
    if unknown := [name for name in processes if name not in PROCESSES]:
        raise ConfigError(f"unknown process {unknown[0]!r}: it is one of {', '.join(PROCESSES)}")
    pairs = [Variant(algorithm, process) for algorithm in algorithms for process in processes]
    left = {str(one): why for one in pairs if (why := refusal(one, head))}
    if len(left) == len(pairs):
        raise ConfigError("; ".join(f"{pair}: {why}" for pair, why in left.items()))
    return [one for one in pairs if str(one) not in left], left


def config_of(base: Mapping[str, Any], variant: Variant, seed: int, recipe: Path | None = None) -> RLConfig:
    """A run's settings; the recipe's options are for its own algorithm alone, and what pays is the variant's."""
    own = dict(base.get("options", {})) if variant.algorithm == base.get("algorithm", "grpo") else {}
    if variant.algorithm == "grpo":
        own["blame"] = "block" if variant.process == BLAME else "rollout"
    process = "off" if variant.process == BLAME else variant.process
    varied = {"algorithm": variant.algorithm, "process": process, "options": own, "seed": seed}
    return checked(RLConfig, {**base, **varied}, recipe)


def variant_of(config: Mapping[str, Any]) -> Variant:
    """Which one a run's settings are."""
    blames = config.get("options", {}).get("blame") == "block"
    return Variant(config["algorithm"], BLAME if blames else config["process"])


# --- one run ----------------------------------------------------------------------------------------------------------


def train(config: RLConfig, folder: Path) -> None:
    """Run it, or what is left of it; one that a monitor stopped says so in a file, and stays as it is."""
    if (folder / "checkpoint").exists() or (folder / STOPPED).exists():
        open_run(folder, config.model_dump(mode="json"))  # refuses other settings
        return
    with output.meter(folder.name) as meter:

        def step(progress: Progress, record: dict[str, float]) -> None:
            words = "  ".join(f"{name} {record[name]:.3g}" for name in ("success", "entropy") if name in record)
            share = config.share(progress.step, record["sampled"])
            meter.update(round(share * config.tokens), config.tokens, words)

        def alarm(alarm: Alarm) -> None:
            meter.note(f"{alarm.action}: {alarm.sentence}")

        try:
            run_rl(config, folder, listener=Listener(step=step, alarm=alarm))
        except TrainingError as err:
            write_whole(folder / STOPPED, json.dumps({"why": str(err)}) + "\n")
            meter.note(str(err))


def end_of(folder: Path) -> Path:
    """The last checkpoint of a run; of one that was stopped, the last that it kept on the way."""
    if (folder / "checkpoint").exists():
        return folder / "checkpoint"
    return folder / STEPS / f"{numbered(folder / STEPS)[-1]:05}"


def sit(folder: Path, exam: Exam) -> None:
    """Ask a run's end what it was not asked yet; the records appear when they are whole."""
    path = folder / RECORDS
    file = path if path.exists() else path.with_suffix(".growing")
    with output.meter(f"{folder.name}, exam") as meter:
        examine({folder.name: end_of(folder)}, exam, file, bar(meter))
    file.replace(path)


# --- all runs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """A run that was trained and examined."""

    variant: Variant
    seed: int
    folder: Path
    score: Score
    rounds: Sequence[Mapping[str, Any]]
    """Its records."""

    @property
    def stopped(self) -> str:
        """Why a monitor stopped it; nothing where none did."""
        path = self.folder / STOPPED
        return str(read_json(path)["why"]) if path.exists() else ""

    def to_json(self) -> dict[str, Any]:
        """Its own numbers."""
        ends = [[one["entropy"] for one in part] for part in (self.rounds[:ENDS], self.rounds[-ENDS:])]
        return {
            "seed": self.seed,
            "sampled": self.rounds[-1]["sampled"],
            "rounds": len(self.rounds),
            "minutes": round(self.rounds[-1]["seconds"] / 60, 1),
            "entropy": [round(mean(part) or 0.0, 4) for part in ends],
            "accuracy": accuracy([self.score]).mean,
            "tokens": self.score.tokens,
        } | ({"stopped": self.stopped} if self.stopped else {})


def gathered(out: Path, like: RLConfig, exam: Exam, start: Score) -> list[Finished]:
    """All runs in a folder that differ from the settings only as rows of one table do, and have had the exam."""
    found: list[Finished] = []
    asked = {task: set(values) for task, values in start.right.items()}
    for path in sorted(out.glob(f"*/{RECORDS}")):
        folder, config = path.parent, read_json(path.parent / "config.json")
        if _fixed(config) != _fixed(like.model_dump(mode="json")):
            continue
        told = score(read_records(path), digest(end_of(folder)), exam)
        if {task: set(values) for task, values in told.right.items()} == asked:
            rounds = [record for record in Run(folder).metrics() if "degenerate" in record]
            found.append(Finished(variant_of(config), config["seed"], folder, told, rounds))
    order = [Variant(algorithm, process) for algorithm in ALGORITHMS for process in PROCESSES]
    return sorted(found, key=lambda one: (order.index(one.variant), one.seed))


def _fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in VARIED}


def row(variant: Variant, runs: Sequence[Finished], start: Score, reference: Sequence[Finished]) -> dict[str, Any]:
    """A variant's runs together, with intervals over problems and seeds."""
    scores = [one.score for one in runs]
    seeds = sorted({one.seed for one in runs} & {one.seed for one in reference})
    pair = [[one.score for one in side if one.seed in seeds] for side in (reference, runs)]
    return {
        **variant._asdict(),
        "after": accuracy(scores),
        "change": change([start], scores),
        "against": change(*pair) if seeds and variant != REFERENCE else None,
        "tasks": {task: change([start.on(task)], [one.on(task) for one in scores]) for task in start.right},
        "runs": [one.to_json() for one in runs],
    }


def summary(runs: Sequence[Finished], start: Score, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as plain JSON values."""
    by_variant: dict[Variant, list[Finished]] = {}
    for one in runs:
        by_variant.setdefault(one.variant, []).append(one)
    reference = by_variant.get(REFERENCE, [])
    rows = [row(variant, own, start, reference) for variant, own in by_variant.items()]
    before = {"accuracy": accuracy([start]), "tokens": start.tokens}
    before["tasks"] = {task: accuracy([start.on(task)]) for task in start.right}
    return {**settings, "commit": commit(), "start": before, "rows": rows}


def section(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    exam, start = found["exam"], found["start"]
    rows: list[list[str]] = []
    for one in found["rows"]:
        runs = one["runs"]
        sampled, minutes, tokens = (
            sum(run[name] for run in runs) / len(runs) for name in ("sampled", "minutes", "tokens")
        )
        entropy = [sum(run["entropy"][at] for run in runs) / len(runs) for at in (0, 1)]
        stopped = sum("stopped" in run for run in runs)
        rows.append(
            [
                one["algorithm"],
                one["process"],
                f"{len(runs)}{f', {stopped} stopped by a monitor' if stopped else ''}",
                f"{sampled / 1e6:.2f}M",
                f"{100 * start['accuracy'][0]:.1f} → {percent(one['after'])}",
                points(one["change"]),
                points(one["against"]) if one["against"] else "–",
                f"{start['tokens']:.0f} → {tokens:.0f}",
                f"{entropy[0]:.3f} → {entropy[1]:.3f}",
                f"{minutes:.0f}",
            ]
        )
    head = ["algorithm", "process", "seeds", "generated tokens", "pass@1, %", "change, points", "against grpo, off"]
    head += ["tokens an answer", "entropy, nats", "minutes"]
    lines = [
        "## Ways to learn, at equal generated tokens",
        "",
        f"`{found['command']}`: each variant practises from {found['model']} until it has sampled "
        f"{found['tokens']:,} tokens (forks included; the last round is finished). Sampled pass@1 at temperature 1, "
        f"mean of {len(exam['tasks'])} task{'s' * (len(exam['tasks']) > 1)}, {exam['n']} test problems each, "
        f"{exam['samples']} answers to each; in brackets 95 % intervals of a paired bootstrap over problems and seeds "
        "(of one seed, over problems alone). Minutes are of a core that other programs used too.",
        "",
        table(head, rows),
    ]
    if len(exam["tasks"]) > 1:
        by_task = [
            [f"{one['algorithm']}, {one['process']}", *(points(one["tasks"][task]) for task in exam["tasks"])]
            for one in found["rows"]
        ]
        begun = ["start, %", *(percent(start["tasks"][task]) for task in exam["tasks"])]
        lines += ["", table(["change, points", *exam["tasks"]], [begun, *by_task])]
    lines += [f"\nLeft out: {pair}: {why}." for pair, why in found["left_out"].items()]
    lines += ["", f"The code of commit {found['commit']}."]
    return "\n".join(lines)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """While another command writes what all of them write, wait."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/ponder-mini"))
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "ponder-mini-rl.yaml", help="other settings")
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS))
    parser.add_argument("--process", default=",".join(PROCESSES))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tokens", type=int, default=1_500_000, help="that each run samples")
    parser.add_argument("--problems", type=int, help="of a round; else the recipe's")
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--dry", action="store_true", help="print the table, write none")
    add_exam(parser, "to practise and to measure on; else the recipe's")
    return parser.parse_args()


def main() -> None:
    """Run what is not done yet, and write the table after each run."""
    given = _options()
    base = read_recipe(given.recipe)
    with alone(given.out):
        start_folder = begun(given.model, given.out)
    fixed = {"model": str(start_folder), "tokens": given.tokens, "steps": MOST_ROUNDS, "probe": 0}
    fixed |= {name: getattr(given, name) for name in ("threads", "workers", "device")}
    base |= fixed | ({"tasks": given.task} if given.task else {})
    base |= {"problems": given.problems} if given.problems else {}
    head = load_checkpoint(given.model).head is not None
    chosen, left = variants(given.algorithms.split(","), given.process.split(","), head)
    for pair, why in left.items():
        output.note(f"left out: {pair}: {why}", style="yellow")
    seeds = [int(seed) for seed in given.seeds.split(",")]
    like = config_of(base, chosen[0], seeds[0], given.recipe)
    tasks = [f"{name}:{level}" for key in like.tasks for name, level in parse_spec(key)]
    if not tasks:
        raise ConfigError("nothing to practise and to measure on: name --task TASK:LEVEL")
    exam = Exam.of(given, tasks, like.efforts[0])
    settings = {"model": str(given.model), "tokens": given.tokens, "exam": exam.told(), "left_out": left}
    settings["command"] = f"python -m benchmarks.algorithms --tokens {given.tokens} --n {given.n}"
    settings["command"] += f" --problems {given.problems}" if given.problems else ""
    settings["command"] += "".join(f" --task {task}" for task in given.task or ())
    output.note(f"{len(seeds) * len(chosen)} runs of {given.tokens:,} tokens, {like.problems} × {like.samples} a round")
    with alone(given.out), output.meter("start") as meter:
        (start,) = examine({"start": start_folder}, exam, given.out / "start.jsonl", bar(meter))
    for seed in seeds:
        for variant in chosen:
            folder = given.out / f"{variant.algorithm}-{variant.process}-{seed}"
            train(config_of(base, variant, seed, given.recipe), folder)
            sit(folder, exam)
            with alone(given.out):
                found = summary(gathered(given.out, like, exam, start), start, settings)
                text = section(found)
                if not given.dry:
                    publish(found, RESULTS, NAME, text)
    print(text)


if __name__ == "__main__":
    main()
