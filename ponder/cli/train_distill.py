"""`ponder train distill`: a smaller model learns from a larger one's right thoughts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponder.cli import models, options, output
from ponder.cli.models import (
    UpstreamDialectOption,
    UpstreamKeyOption,
    UpstreamModelOption,
    UpstreamOption,
    UpstreamWindowOption,
)
from ponder.cli.output import JsonOption
from ponder.cli.recipe import checked, read_recipe
from ponder.cli.train import report, validator
from ponder.errors import ConfigError

if TYPE_CHECKING:
    from ponder.interfaces import Sampler
    from ponder.train.distill import DistillConfig, Yield
    from ponder.train.loop import Progress
    from ponder.train.sft import Start


def distill(
    recipe: options.Recipe = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="The checkpoint that thinks; or give --upstream.", metavar="DIR")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option("--student", help="The checkpoint that learns.", show_default="a new one", metavar="DIR"),
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="Of a new student.", show_default="mini")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The run's folder.", show_default="runs/distill-TEACHER", metavar="DIR"),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", help="May be given again.", show_default="what the teacher was taught", metavar="TASK:LEVEL"
        ),
    ] = None,
    problems: Annotated[int | None, typer.Option("--problems", help="To think about.", show_default="2000")] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Thoughts about each.", show_default="4")] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", help="Most right thoughts of a problem to learn from.", show_default="2")
    ] = None,
    effort: options.Efforts = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of the teacher's thoughts.", show_default="0.8")
    ] = None,
    demonstrations: Annotated[
        float | None,
        typer.Option("--demonstrations", help="Share of solvers' demonstrations beside them.", show_default="0.25"),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="The student's steps.", show_default="3000")] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Completions in a step.", show_default="24")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="The student's peak rate.", show_default="0.003")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of problems and thoughts.", show_default="0")] = None,
    device: options.Device = None,
    threads: options.Threads = None,
    upstream: UpstreamOption = None,
    upstream_model: UpstreamModelOption = None,
    upstream_key_env: UpstreamKeyOption = None,
    upstream_dialect: UpstreamDialectOption = models.Upstream.dialect,
    upstream_window: UpstreamWindowOption = models.Upstream.window,
    evaluations: options.Evaluations = 4,
    json: JsonOption = False,
) -> None:
    """Teach a student by a teacher's own thoughts: those that came to right answers, short and different ones first.

    The teacher is a checkpoint, or any server with a model that writes blocks. The same command again goes on where it
    stopped. The folder holds thoughts/ and, at the end, student/checkpoint/.

    Example: ponder train distill --recipe recipes/ponder-mini-distill.yaml --out runs/distilled

    Example: ponder train distill --teacher models/ponder-base --student models/ponder-mini --task countdown:2
    """
    server = models.Upstream(upstream, upstream_model, upstream_key_env, upstream_dialect, upstream_window)
    remote = _remote(server, teacher)
    given: dict[str, Any] = {
        "teacher": f"{upstream} {upstream_model}" if remote else teacher,
        "tasks": task or None,
        "problems": problems,
        "samples": samples,
        "keep": keep,
        "efforts": effort or None,
        "temperature": temperature,
        "demonstrations": demonstrations,
        "seed": seed,
    }
    taught: dict[str, Any] = {
        "model": student,
        "size": size,
        "steps": steps,
        "rows": rows,
        "learning_rate": learning_rate,
        "device": device,
        "threads": threads,
    }
    settings = read_recipe(recipe)
    settings |= {name: value for name, value in given.items() if value is not None}
    own = settings.get("student", {})
    if isinstance(own, dict):
        settings["student"] = own | {name: value for name, value in taught.items() if value is not None}
    from ponder.train.distill import STUDENT, DistillConfig

    config = checked(DistillConfig, settings, recipe)
    folder = out or Path("runs") / f"distill-{upstream_model or Path(config.teacher).name}"
    checkpoint = _train(config, folder, evaluations, remote)
    if json:
        from ponder.runs import Run

        (came,) = Run(folder).metrics()
        output.document({"thoughts": came, **report(folder / STUDENT, checkpoint)})
    else:
        output.result(str(checkpoint))


def _remote(server: models.Upstream, teacher: str | None) -> "Sampler | None":
    """The server that thinks, where one was named."""
    if server == models.HERE:
        return None
    if teacher is not None:
        raise ConfigError("--teacher thinks here and --upstream on a server: give one of them")
    return models.load(None, "auto", server).sampler


def _train(config: "DistillConfig", folder: Path, evaluations: int, remote: "Sampler | None") -> Path:
    """Run it, with a bar; returns the student's checkpoint."""
    from ponder.model.checkpoint import load_checkpoint
    from ponder.train.distill import Listener, run_distill
    from ponder.train.distill import taught as levels_of

    with output.meter("distilling") as meter:

        def sampled(done: int, total: int, came: "Yield") -> None:
            words = f"{came.sampled:,} thoughts, {came.right:,} right, {came.kept:,} kept"
            meter.update(done, total, words)
            if done == total:
                lost = f", {came.lost} lost" * bool(came.lost) + f", {came.undecided} not graded" * bool(came.undecided)
                meter.note(words + lost)

        def start(start: "Start") -> None:
            meter.restart()
            meter.note(f"{'going on with' if start.resumed else 'starting'} {folder}: {start.parameters:,} parameters")
            meter.note(start.reason)

        def step(progress: "Progress", record: dict[str, float]) -> None:
            meter.update(progress.step, config.student.steps, f"loss {record['loss']:.3f}")

        levels = levels_of(config, None if remote else load_checkpoint(Path(config.teacher)))
        try:
            return run_distill(
                config,
                folder,
                sampler=remote,
                listener=Listener(sampled=sampled, start=start, step=step),
                evaluate=validator(levels, config.efforts[0], meter),
                evaluations=evaluations,
            )
        except KeyboardInterrupt:
            meter.note(f"stopped: the same command goes on with {folder}")
            raise
