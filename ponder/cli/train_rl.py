"""`ponder train rl`: reinforcement learning on a checkpoint's own thoughts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponder.cli import options, output
from ponder.cli.output import JsonOption
from ponder.cli.recipe import checked, read_recipe
from ponder.cli.train import report, validator

if TYPE_CHECKING:
    from ponder.train.loop import Progress
    from ponder.train.monitors import Alarm
    from ponder.train.rl import RLConfig
    from ponder.train.sft import Start


def rl(
    recipe: options.Recipe = None,
    model: Annotated[str | None, typer.Option("--model", help="The checkpoint to begin from.", metavar="DIR")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The run's folder.", show_default="runs/rl-MODEL-ALGORITHM", metavar="DIR"),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="May be given again; a task's levels open one after the other.",
            show_default="what the checkpoint was taught",
            metavar="TASK:LEVEL",
        ),
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option("--algorithm", help="grpo, branch, ppo or star.", show_default="grpo")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Rounds of sampling.", show_default="60")] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="End once so many are sampled, too.", show_default="no such end")
    ] = None,
    problems: Annotated[int | None, typer.Option("--problems", help="In a round.", show_default="48")] = None,
    samples: options.Samples = None,
    updates: Annotated[
        int | None, typer.Option("--updates", help="Optimiser steps on each round.", show_default="1")
    ] = None,
    effort: options.Efforts = None,
    process: Annotated[
        str | None, typer.Option("--process", help="Ratings of blocks: off, exact or head.", show_default="off")
    ] = None,
    process_form: Annotated[
        str | None,
        typer.Option("--process-form", help="min: the worst block; progress: what it lost.", show_default="min"),
    ] = None,
    kl: Annotated[
        float | None, typer.Option("--kl", help="Weight of staying near the start.", show_default="0")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak rate.", show_default="0.0002")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the problems and the samples.", show_default="0")
    ] = None,
    device: options.Device = None,
    threads: options.Threads = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that sample.", show_default="2")] = None,
    evaluations: options.Evaluations = 4,
    report_to: options.ReportTo = None,
    json: JsonOption = False,
) -> None:
    """Let a checkpoint practise: sample thoughts, grade the answers, and make the better ones likelier.

    Problems are chosen where about half of the samples are right. Monitors stop a run that goes wrong, and say why;
    the same command again goes on where it stopped. The folder holds metrics.jsonl, samples.jsonl, steps/ (checkpoints
    for the curve) and, at the end, checkpoint/.

    Example: ponder train rl --recipe recipes/ponder-mini-rl.yaml --out runs/mini-rl

    Example: ponder train rl --model models/ponder-mini --task countdown:2 --steps 20 --out runs/countdown
    """
    given: dict[str, Any] = {
        "model": model,
        "tasks": task or None,
        "algorithm": algorithm,
        "steps": steps,
        "tokens": tokens,
        "problems": problems,
        "samples": samples,
        "updates": updates,
        "efforts": effort or None,
        "process": process,
        "process_form": process_form,
        "kl": kl,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
        "threads": threads,
        "workers": workers,
    }
    from ponder.train.rl import RLConfig

    settings = read_recipe(recipe) | {name: value for name, value in given.items() if value is not None}
    config = checked(RLConfig, settings, recipe)
    folder = out or Path("runs") / f"rl-{Path(config.model).name}-{config.algorithm}"
    checkpoint = _train(config, folder, evaluations, report_to)
    told = report(folder, checkpoint)
    if json:
        output.document(told)
    else:
        output.result(str(checkpoint))


def _train(config: "RLConfig", folder: Path, evaluations: int, report_to: str | None) -> Path:
    """Run it, with a bar; returns the checkpoint."""
    from ponder.train.reporters import check_reporter

    if report_to:
        check_reporter(report_to)
    from ponder.model.checkpoint import load_checkpoint
    from ponder.train.reward import levels
    from ponder.train.rl import Listener, run_rl

    with output.meter("rl") as meter:

        def start(start: "Start") -> None:
            meter.note(f"{'going on with' if start.resumed else 'starting'} {folder}: {start.parameters:,} parameters")
            meter.note(start.reason)

        def step(progress: "Progress", record: dict[str, float]) -> None:
            names = {"success": "success", "entropy": "entropy", "degenerate": "same", "length": "tokens"}
            words = [f"{label} {record[name]:.3g}" for name, label in names.items() if name in record]
            total, share = config.steps * config.updates, config.share(progress.step, record["sampled"])
            meter.update(share * total, total, "  ".join(words))

        def alarm(alarm: "Alarm") -> None:
            meter.note(f"{alarm.action}: {alarm.sentence}")

        mixed = levels(tuple(config.tasks), load_checkpoint(Path(config.model)))
        evaluate = validator(mixed, config.efforts[0], meter)
        listener = Listener(start=start, step=step, alarm=alarm)
        try:
            return run_rl(
                config, folder, listener=listener, evaluate=evaluate, evaluations=evaluations, report_to=report_to
            )
        except KeyboardInterrupt:
            meter.note(f"stopped: the same command goes on with {folder}")
            raise
