"""`ponder train reward`: teaching a checkpoint to rate its own thoughts."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponder.cli import options, output
from ponder.cli.output import JsonOption, Meter
from ponder.cli.recipe import checked, read_recipe
from ponder.cli.train import report
from ponder.evaluate.calibration import measure
from ponder.reward.boundary import Judged

if TYPE_CHECKING:
    from ponder.train.loop import Progress
    from ponder.train.reward import RewardConfig
    from ponder.train.sft import Start


def reward(
    recipe: options.Recipe = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The checkpoint that samples, and is to rate.", metavar="DIR")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The run's folder.", show_default="runs/reward-MODEL-LABELS-TRUNK", metavar="DIR"),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", help="May be given again.", show_default="what the checkpoint was taught", metavar="TASK:LEVEL"
        ),
    ] = None,
    rollouts: Annotated[
        str | None,
        typer.Option(
            "--rollouts", help="Another such run, whose rollouts are labelled.", show_default="sampled", metavar="RUN"
        ),
    ] = None,
    fresh: Annotated[
        bool | None, typer.Option("--fresh", help="Begin a new head where the model has one.", show_default=False)
    ] = None,
    problems: Annotated[int | None, typer.Option("--problems", help="To sample from.", show_default="2000")] = None,
    samples: options.Samples = None,
    effort: options.Efforts = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="exact (checkers), mc (continuations), outcome, or human (files).", show_default="exact"
        ),
    ] = None,
    step_labels: Annotated[
        list[str] | None,
        typer.Option(
            "--step-labels",
            help="Labelled steps, for human: PRM800K, Math-Shepherd, MATH-APS, ProcessBench or plain; "
            "may be given again.",
            metavar="FILE.jsonl",
        ),
    ] = None,
    neutral: Annotated[
        str | None,
        typer.Option("--neutral", help="PRM800K's neutral steps are right, wrong or left_out.", show_default="right"),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(
            "--value",
            help="Of blocks, for exact: outcome, or winnable: can the goal still be reached?",
            show_default="outcome",
        ),
    ] = None,
    continuations: Annotated[
        int | None, typer.Option("--continuations", help="Of each boundary, for mc.", show_default="8")
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", help="Boundaries that mc asks: linear or binary.", show_default="linear")
    ] = None,
    trunk: Annotated[
        str | None, typer.Option("--trunk", help="joint, or frozen: only the head learns.", show_default="joint")
    ] = None,
    language_weight: Annotated[
        float | None, typer.Option("--language-weight", help="Of the language model's loss.", show_default="1")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.", show_default="600")] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Rollouts in a step.", show_default="32")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak rate of the trunk.", show_default="0.0005")
    ] = None,
    head_rate: Annotated[
        float | None, typer.Option("--head-rate", help="The head's, as a multiple of it.", show_default="10")
    ] = None,
    held_out: Annotated[
        int | None, typer.Option("--held-out", help="Validation problems to measure on.", show_default="100")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the rollouts and their order.", show_default="0")
    ] = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    evaluations: options.Evaluations = 4,
    json: JsonOption = False,
) -> None:
    """Train a checkpoint's reward head on its own rollouts: will this end right, and is this block correct?

    Samples rollouts, labels them, and trains; the same command again goes on where it stopped. The folder holds
    rollouts/, metrics.jsonl and, at the end, checkpoint/ with heads.safetensors.

    Example: ponder train reward --model models/ponder-mini --task countdown:2 --out runs/reward

    Example: ponder train reward --model models/ponder-mini --labels mc --search binary --trunk frozen

    Example: ponder train reward --model models/ponder-mini --labels human --step-labels prm800k.jsonl --trunk frozen

    Example: ponder train reward --rollouts runs/reward --model models/ponder-mini --labels outcome --trunk frozen
    """
    given = {
        "model": model,
        "tasks": task or None,
        "rollouts": rollouts,
        "fresh": fresh,
        "problems": problems,
        "samples": samples,
        "efforts": effort or None,
        "labels": labels,
        "step_labels": step_labels or None,
        "neutral": neutral,
        "value": value,
        "continuations": continuations,
        "search": search,
        "trunk": trunk,
        "language_weight": language_weight,
        "steps": steps,
        "rows": rows,
        "learning_rate": learning_rate,
        "head_rate": head_rate,
        "held_out": held_out,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "threads": threads,
    }
    from ponder.train.reward import RewardConfig

    settings = read_recipe(recipe) | {name: value for name, value in given.items() if value is not None}
    config = checked(RewardConfig, settings, recipe)
    folder = out or Path("runs") / f"reward-{Path(config.model).name}-{config.labels}-{config.trunk}"
    checkpoint = _train(config, folder, evaluations)
    told = report(folder, checkpoint)
    if json:
        output.document(told)
    else:
        output.result(str(checkpoint))


def _train(config: "RewardConfig", folder: Path, evaluations: int) -> Path:
    """Run it, with a bar; returns the checkpoint."""
    from ponder.train.reward import Listener, run_reward

    with output.meter("rollouts") as meter:

        def start(start: "Start") -> None:
            meter.note(f"{'going on with' if start.resumed else 'starting'} {folder}: {start.parameters:,} trained")
            meter.note(start.reason)

        def step(progress: "Progress", record: dict[str, float]) -> None:
            meter.update(progress.step, config.steps, f"loss {record['loss']:.3f}")

        def sampled(done: int, total: int) -> None:
            meter.update(done, total, "chunks of rollouts")

        def read(done: int, total: int) -> None:
            meter.update(done, total, "rollouts read")

        listener = Listener(sampled=sampled, read=read, say=meter.note, start=start, step=step)
        try:
            return run_reward(
                config, folder, listener=listener, measure=partial(measured, meter=meter), evaluations=evaluations
            )
        except KeyboardInterrupt:
            meter.note(f"stopped: the same command goes on with {folder}")
            raise


def measured(judged: Sequence[Judged], meter: Meter) -> dict[str, float]:
    """What the head is worth on held-out rollouts, with a line about it."""
    found = measure(judged).flat()
    shown = ("outcome_auc", "within_auc", "start_auc", "validity_auc", "f1", "outcome_ece")
    meter.note("held out: " + ", ".join(f"{name} {found[name]:.3f}" for name in shown if name in found))
    return found
