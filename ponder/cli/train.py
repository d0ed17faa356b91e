"""`ponder train`: teaching a model. The settings come from a recipe, and from options, which win."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponder.cli import options, output
from ponder.cli.output import JsonOption, Meter
from ponder.cli.recipe import checked, read_recipe
from ponder.errors import ConfigError
from ponder.evaluate.metrics import mean
from ponder.evaluate.problems import STANDARD_LEVEL, held_out
from ponder.evaluate.run import Settings
from ponder.evaluate.run import evaluate as evaluate_all
from ponder.evaluate.summary import summarize
from ponder.types import Effort, Split

if TYPE_CHECKING:
    from ponder.model.checkpoint import Checkpoint
    from ponder.train.loop import Progress
    from ponder.train.sft import SFTConfig, Start

app = typer.Typer(help="Train a model.", no_args_is_help=True)

MARK_PROBLEMS = 20
"""Validation problems of each task at an evaluation mark."""


@app.callback()
def group() -> None:
    """Train a model."""


@app.command("sft")
def sft(
    recipe: options.Recipe = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The run's folder.", show_default="runs/sft-SIZE-STYLE", metavar="DIR"),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A checkpoint to go on from.", show_default="none", metavar="DIR")
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="mini, base or large.", show_default="mini")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="A part of the mix; may be given again.",
            show_default="levels 1 to 3 of every task",
            metavar="TASK:LEVEL[=WEIGHT]",
        ),
    ] = None,
    style: Annotated[
        str | None, typer.Option("--style", help="thinking, or direct: only answers.", show_default="thinking")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.", show_default="3000")] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Completions in a step.", show_default="24")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak rate.", show_default="0.003")
    ] = None,
    decay: Annotated[
        float | None, typer.Option("--decay", help="Share of the steps over which the rate falls.", show_default="0.98")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the weights and the data.", show_default="0")] = None,
    vocabulary: Annotated[
        int | None, typer.Option("--vocabulary", help="Entries of the tokenizer.", show_default="1024")
    ] = None,
    fold_window: Annotated[
        int | None, typer.Option("--fold-window", help="Folded blocks that stay; 0 for all.", show_default="1")
    ] = None,
    micro_tokens: Annotated[
        int | None, typer.Option("--micro-tokens", help="Most tokens of one forward pass.", show_default="16384")
    ] = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes that make demonstrations.", show_default="1")
    ] = None,
    evaluations: options.Evaluations = 8,
    json: JsonOption = False,
) -> None:
    """Teach a model, from nothing or from a checkpoint, by demonstrations of the tasks' own solvers.

    The same command again goes on where it stopped, whatever stopped it. The folder holds config.json, metrics.jsonl
    and, at the end, checkpoint/, which every --model takes.

    Example: ponder train sft --recipe recipes/ponder-mini.yaml --out runs/mini

    Example: ponder train sft --model models/ponder-mini --task cipher:2 --steps 500 --out runs/cipher

    Example: ponder train sft --task multiplication:2 --task program:2=2 --steps 1000 --style direct
    """
    given = {
        "model": model,
        "size": size,
        "tasks": _weights(task) if task else None,
        "style": style,
        "steps": steps,
        "rows": rows,
        "learning_rate": learning_rate,
        "decay": decay,
        "seed": seed,
        "vocabulary": vocabulary,
        "micro_tokens": micro_tokens,
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "workers": workers,
    }
    settings = read_recipe(recipe) | {name: value for name, value in given.items() if value is not None}
    if fold_window is not None:
        settings["fold_window"] = fold_window or None
    config = _config(settings, recipe)
    folder = out or Path("runs") / f"sft-{config.size}-{config.style}"
    checkpoint = _train(config, folder, evaluations)
    told = report(folder, checkpoint)
    if json:
        output.document(told)
    else:
        output.result(str(checkpoint))


def _weights(specs: list[str]) -> dict[str, float]:
    """``TASK:LEVEL=WEIGHT`` options as a mix; the weight is 1 where none is given."""
    weights: dict[str, float] = {}
    for spec in specs:
        name, _, weight = spec.partition("=")
        try:
            weights[name] = float(weight) if weight else 1.0
        except ValueError:
            raise ConfigError(f"{spec!r} is not TASK:LEVEL=WEIGHT, such as countdown:2=0.5") from None
    return weights


def _config(settings: dict[str, Any], recipe: Path | None) -> "SFTConfig":
    """The settings, checked."""
    from ponder.train.sft import SFTConfig

    config = checked(SFTConfig, settings, recipe)
    if config.style not in ("thinking", "direct"):
        raise ConfigError(f"unknown style {config.style!r}: the styles are thinking, direct")
    return config


def _train(config: "SFTConfig", folder: Path, evaluations: int) -> Path:
    """Run it, with a bar; returns the checkpoint."""
    from ponder.train.sft import mix, run_sft

    effort = Effort.NONE if config.style == "direct" else Effort.MEDIUM
    with output.meter("training") as meter:

        def start(start: "Start") -> None:
            meter.note(f"{'going on with' if start.resumed else 'starting'} {folder}: {start.parameters:,} parameters")
            meter.note(start.reason)

        def step(progress: "Progress", record: dict[str, float]) -> None:
            seconds = progress.seconds or 1.0
            words = f"loss {record['loss']:.3f}  {progress.tokens / seconds:,.0f} tokens/s"
            meter.update(progress.step, config.steps, f"{words}  {100 * progress.waited / seconds:.1f} % waiting")

        try:
            return run_sft(
                config,
                folder,
                on_start=start,
                on_step=step,
                evaluate=validator(mix(config), effort, meter),
                evaluations=evaluations,
            )
        except KeyboardInterrupt:
            meter.note(f"stopped: the same command goes on with {folder}")
            raise


def validator(
    mixed: Iterable[tuple[str, int]], effort: Effort, meter: Meter
) -> "Callable[[Checkpoint, Progress], dict[str, float]]":
    """Measures a model in training, on a few validation problems of each task in its mix, greedily."""
    from ponder.engine.local import LocalSampler

    levels: dict[str, list[int]] = {}
    for name, level in mixed:
        levels.setdefault(name, []).append(level)
    chosen = {name: STANDARD_LEVEL if STANDARD_LEVEL in has else min(has) for name, has in levels.items()}
    sets = [held_out(name, level, MARK_PROBLEMS, split=Split.VALIDATION) for name, level in chosen.items()]
    settings = Settings(efforts=(effort,))

    def validate(checkpoint: "Checkpoint", progress: "Progress") -> dict[str, float]:
        summaries = summarize(evaluate_all(sets, settings, LocalSampler(checkpoint)))
        found = {f"{one.task}:{one.level}": one.accuracy for one in summaries if one.accuracy is not None}
        average = mean(found.values())
        parts = [f"{name} {100 * share:.0f}" for name, share in found.items()]
        meter.note(f"step {progress.step}: validation mean {output.percent(average)}  ({', '.join(parts)})")
        return found | ({"mean": average} if average is not None else {})

    return validate


def report(folder: Path, checkpoint: Path) -> dict[str, Any]:
    """What a finished run came to."""
    from ponder.runs import Run

    records = Run(folder).metrics()
    steps = [record for record in records if "loss" in record]
    marks = [record for record in records if "evaluation" in record]
    last = dict(steps[-1]) if steps else {}
    return {"checkpoint": str(checkpoint), **last, "evaluations": marks}
