"""`ponder train pipeline`: everything from nothing to a report, in one command that can be repeated at any time."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponder.cli import evaluate, models, output
from ponder.cli.output import JsonOption, Meter
from ponder.cli.recipe import checked, read_recipe
from ponder.cli.report import PAGE
from ponder.cli.report import write as write_report
from ponder.cli.runs_measure import measure_curve, measure_habits
from ponder.cli.train import validator
from ponder.cli.train_reward import measured
from ponder.errors import ConfigError
from ponder.evaluate.plots import Price, new_figure
from ponder.evaluate.practice import CURVE
from ponder.evaluate.problems import ProblemSet, held_out, parse_spec
from ponder.evaluate.records import Record
from ponder.evaluate.run import Settings, planned
from ponder.evaluate.run import evaluate as evaluate_all
from ponder.text.effort import AUTO, effort_named
from ponder.types import Effort

if TYPE_CHECKING:
    from ponder.model.checkpoint import Checkpoint
    from ponder.train.loop import Progress
    from ponder.train.monitors import Alarm
    from ponder.train.pipeline import Beside, EvaluationConfig, Pass, PipelineConfig
    from ponder.train.stages import Stage, StageListener, Tell


PASSES = 0.6
"""Share of an evaluation's time that is not spent on the checkpoints that practice kept."""


def pipeline(
    recipe: Annotated[
        Path,
        typer.Option(
            "--recipe", help="laptop, gpu, or a YAML file of your own.", metavar="NAME|FILE.yaml", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder of all runs.", show_default="runs/RECIPE", metavar="DIR")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu or cuda.", show_default="the recipe's")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=0, help="CPU threads; 0 for all cores.", show_default="the recipe's")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train, reward, practise, measure and report: a direct baseline, demonstrations, a reward head, reinforcement
    learning, the head again, an evaluation of all of them, and a page about it.

    Every stage has its folder in the one of the pipeline, and is passed over when it is done. Whatever stopped it, the
    same command goes on; after a change of the recipe it does again what the change concerns, and says why.

    Example: ponder train pipeline --recipe laptop --out runs/laptop

    Example: timeout 590 ponder train pipeline --recipe gpu --out runs/gpu    (again and again, until it is done)
    """
    from ponder.train.pipeline import PipelineConfig, run_pipeline

    given = {"device": device, "threads": threads}
    settings = read_recipe(recipe) | {name: value for name, value in given.items() if value is not None}
    config = checked(PipelineConfig, settings, recipe)
    check(config)
    folder = out or Path("runs") / recipe.stem
    with output.meter("pipeline") as meter:
        beside = _beside(config, meter)
        try:
            final, passed = run_pipeline(config, folder, beside=beside, listener=_listener(config, meter))
        except KeyboardInterrupt:
            meter.note(f"stopped: the same command goes on with {folder}")
            raise
    page = folder / "report" / PAGE
    told = {"checkpoint": str(final), "report": str(page) if page.exists() else None}
    if json:
        output.document(told | {"stages": [vars(one) for one in passed]})
        return
    for one in passed:
        output.note(f"{one.name}: {output.clock(one.seconds)}{'' if one.fresh else ', done before'}")
    output.result(str(final))
    if page.exists():
        output.result(str(page))


def check(config: "PipelineConfig") -> None:
    """Refuse what only the last stages would stumble over, before the first one begins."""
    for one in config.evaluation.passes if config.evaluation else ():
        if not [pair for text in one.tasks for pair in parse_spec(text)]:
            raise ConfigError("nothing to evaluate: name tasks in evaluation.passes")
        evaluate.check_settings(asked(one))
    if config.evaluation:
        new_figure()  # the report needs matplotlib


def asked(one: "Pass") -> Settings:
    """How a pass of the evaluation samples."""
    return Settings(
        efforts=tuple(name if name == AUTO else effort_named(name) for name in one.efforts),
        searches=one.searches,
        samples=one.samples,
        temperature=one.temperature,
        seed=one.seed,
    )


def _beside(config: "PipelineConfig", meter: Meter) -> "Beside":
    """What the pipeline needs of evaluation."""
    from ponder.train.pipeline import RECORDS, Beside

    def validating(
        mixed: Iterable[tuple[str, int]], effort: Effort
    ) -> "Callable[[Checkpoint, Progress], dict[str, float]]":
        return validator(mixed, effort, meter)

    def measuring(chosen: "EvaluationConfig", made: Mapping[str, Path], file: Path, tell: "Tell") -> None:
        end = PASSES if chosen.curve else 1.0
        evaluate_models(chosen, made, file, lambda share, words: tell(end * share, words), config.device)
        if chosen.curve:
            run, rest = made["rl"].parent, 1.0 - end
            half = rest / 2 if chosen.curve.habits else rest

            def curve(share: float, words: str) -> None:
                tell(end + half * share, f"checkpoint {words}")

            measure_curve(run, chosen.curve, curve, config.device, chosen.workers)
            if chosen.curve.habits:
                measure_habits(
                    run, chosen.curve, lambda share, words: tell(end + half + half * share, words), config.device
                )

    def drawing(out: Path, folder: Path) -> None:
        run = out / "rl"
        measured_runs = [run] if (run / CURVE).exists() else []
        write_report([out / "evaluation" / RECORDS], folder, Price(), measured_runs)

    def alarm(alarm: "Alarm") -> None:
        meter.note(f"{alarm.action}: {alarm.sentence}")

    return Beside(
        validator=validating,
        measure=lambda judged: measured(judged, meter),
        evaluate=measuring,
        report=drawing,
        alarm=alarm,
    )


def evaluate_models(
    config: "EvaluationConfig", made: Mapping[str, Path], file: Path, tell: "Tell", device: str = "auto"
) -> None:
    """All passes over all their models into one file of records; what it holds is not computed again."""
    works = [(one, name, _sets(one)) for one in config.passes for name in one.models]
    wanted = [planned(sets, asked(one)) for one, _, sets in works]
    ledger, found, before = evaluate.ledger(file), list[Record](), 0
    assert ledger
    for (one, name, sets), requests in zip(works, wanted, strict=True):
        loaded = models.load(made[name], device, workers=config.workers if requests >= models.MANY else 1)

        def share(
            done: int, total: int, part: float, start: int = before, size: int = requests, on: str = name
        ) -> None:
            tell((start + part * size) / sum(wanted), f"{on}: {done} of {total} questions")

        try:
            settings = evaluate.of_model(asked(one), loaded, digest=True)
            found += evaluate_all(
                sets, settings, loaded.sampler, known=ledger.records, on_records=ledger.add, on_progress=share
            )
        finally:
            loaded.close()
        before += requests
    ledger.settle(found)


def _sets(one: "Pass") -> list[ProblemSet]:
    pairs = dict.fromkeys(pair for text in one.tasks for pair in parse_spec(text))
    return [held_out(name, level, one.problems, seed=one.seed) for name, level in pairs]


def _listener(config: "PipelineConfig", meter: Meter) -> "StageListener":
    from ponder.train.stages import StageListener

    names = config.stages

    def begin(stage: "Stage", why: str) -> None:
        number = names.index(stage.name) + 1
        meter.note(f"stage {number} of {len(names)}, {stage.name}{f': {why}' if why else ''}")

    def skip(stage: "Stage") -> None:
        meter.note(f"stage {names.index(stage.name) + 1} of {len(names)}, {stage.name}: there already")

    def tell(stage: "Stage", share: float, words: str, left: float) -> None:
        done = names.index(stage.name) + share
        meter.update(done, len(names), f"{stage.name} {100 * share:.0f} %  {words}", seconds=left)

    def end(stage: "Stage", seconds: float) -> None:
        meter.note(f"{stage.name}: done in {output.clock(seconds)}")

    return StageListener(begin=begin, skip=skip, tell=tell, end=end)
