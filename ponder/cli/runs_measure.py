"""`ponder runs curve` and `ponder runs habits`: what practice has brought, measured on held-out problems."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ponder.cli import models, output
from ponder.cli.models import DeviceOption, SeedOption
from ponder.cli.output import JsonOption
from ponder.errors import ConfigError
from ponder.evaluate.examples import Thinking, examples, thoughts_of, write_examples
from ponder.evaluate.habits import Habits, HabitsSummary, Probe, probe, read_probes, summarize_habits
from ponder.evaluate.practice import (
    CURVE,
    EXAMPLES,
    HABITS,
    Kept,
    Practice,
    by_task,
    kept_checkpoints,
    read_practice,
)
from ponder.evaluate.problems import ProblemSet, held_out, parse_spec
from ponder.runs import write_whole
from ponder.text.effort import effort_named
from ponder.types import Effort

if TYPE_CHECKING:
    from ponder.train.pipeline import CurveConfig
    from ponder.train.stages import Tell

RunArgument = Annotated[Path, typer.Argument(help="The folder of a `ponder train rl`.", show_default=False)]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", help="TASK:LEVEL, or all:LEVEL; may be given again.", show_default="what was practised"),
]


def curve(
    run: RunArgument,
    task: TaskOption = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Held-out problems of each task.")] = 100,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Answers to each problem.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="1: the policy as it practised.")] = 1.0,
    effort: Annotated[str | None, typer.Option("--effort", help="One effort.", show_default="as practised")] = None,
    shown: Annotated[
        int, typer.Option("--examples", min=0, help="Problems of each task that are thought about before and after.")
    ] = 1,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that sample on a CPU.")] = 1,
    json: JsonOption = False,
) -> None:
    """Measure a run's kept checkpoints on held-out problems: the train-time curve, for `ponder report --run RUN`.

    Records go to RUN/curve.jsonl, problem by problem; the same command goes on where it was stopped.

    Example: ponder runs curve runs/mini-rl --task countdown:2 --task letters:2 --n 200
    """
    from ponder.train.pipeline import CurveConfig

    if samples > 1 and temperature == 0:
        raise ConfigError(f"{samples} samples at temperature 0 are {samples} times the same: give --temperature 1")
    asked = CurveConfig(
        tasks=tuple(task or ()),
        problems=n,
        samples=samples,
        temperature=temperature,
        effort=effort_named(effort) if effort else None,
        examples=shown,
        seed=seed,
    )
    with output.meter("checkpoints") as meter:
        count = len(kept_checkpoints(run))

        def tell(share: float, words: str) -> None:
            meter.update(share * count, count, f"checkpoint {words}", share=share)

        measure_curve(run, asked, tell, device, workers)
    practice = read_practice(run)
    if json:
        output.document(practice.to_json())
        return
    output.stdout().print(_curve_table(practice))
    output.note(f"ponder report --run {run} --out {run / 'report'} draws it")


def measure_curve(run: Path, asked: "CurveConfig", tell: "Tell", device: str = "auto", workers: int = 1) -> None:
    """Records of all kept checkpoints into the run's folder, and thoughts of the first and the last one."""
    from ponder.cli.train_pipeline import evaluate_models
    from ponder.train.pipeline import EvaluationConfig, Pass

    kept = kept_checkpoints(run)
    tasks, effort = _tasks(run, asked.tasks), asked.effort or _effort(run)
    one = Pass(
        models=tuple(one.folder.name for one in kept),
        tasks=tasks,
        problems=asked.problems,
        efforts=(effort,),
        samples=(asked.samples,),
        temperature=asked.temperature,
        seed=asked.seed,
    )
    made = {one.folder.name: one.folder for one in kept}
    evaluate_models(EvaluationConfig(passes=(one,), workers=workers), made, run / CURVE, tell, device)
    if asked.examples:
        _examples(run, kept, _sets(tasks, asked.problems, asked.seed), asked.examples, effort, device)


def _curve_table(practice: Practice) -> Table:
    shown = Table(box=None, pad_edge=False)
    shown.add_column("task", header_style="bold", no_wrap=True)
    rounds = [one.kept.round for one in practice.curves[0].points]
    for number in rounds:
        shown.add_column(f"round {number}", header_style="bold", justify="right")
    for title in ("points a doubling", "R²"):
        shown.add_column(title, header_style="bold", justify="right")
    for one in practice.curves:
        by_round = {point.kept.round: point.point.accuracy for point in one.points}
        fit = ("–", "–")
        if one.fit:
            fit = f"{100 * one.fit.slope:+.2f}", "–" if one.fit.r2 is None else f"{one.fit.r2:.2f}"
        shown.add_row(one.task, *(output.percent(by_round.get(number)) for number in rounds), *fit)
    for row in practice.gains:
        if row.task == practice.curves[0].task:
            interval = f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
            shares = f"{output.percent(row.before.accuracy)} → {output.percent(row.after.accuracy)}"
            output.note(
                f"{row.task}, {row.name}: {shares}, {100 * row.change:+.1f} ({interval}); "
                f"tokens {row.before.tokens:,.0f} → {row.after.tokens:,.0f}"
            )
    for one in practice.equal[:1]:
        output.note(one.sentence)
    return shown


def habits(
    run: RunArgument,
    task: TaskOption = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Held-out problems of each task.")] = 50,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="1: the policy as it practised.")] = 1.0,
    effort: Annotated[str | None, typer.Option("--effort", help="One effort.", show_default="as practised")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Measure self-correction before and after practice: how often thoughts verify, backtrack and set subgoals, and
    how often they end right although a wrong block was forced in.

    Probes go to RUN/habits.jsonl, problem by problem; the same command goes on where it was stopped.

    Example: ponder runs habits runs/mini-rl --task all:2 --n 100
    """
    from ponder.train.pipeline import CurveConfig

    asked = CurveConfig(
        tasks=tuple(task or ()),
        temperature=temperature,
        effort=effort_named(effort) if effort else None,
        habits=n,
        seed=seed,
    )
    with output.meter("habits") as meter:

        def tell(share: float, words: str) -> None:
            meter.update(2 * share, 2, words, share=share)

        found, without = measure_habits(run, asked, tell, device)
    if without:
        output.note(f"{without} problems are left out: no demonstration of theirs has a mistake that is known")
    summaries = summarize_habits(found)
    if json:
        output.document([one.to_json() for one in summaries])
        return
    output.stdout().print(_habits_table(summaries))


def measure_habits(run: Path, asked: "CurveConfig", tell: "Tell", device: str = "auto") -> tuple[list[Probe], int]:
    """Probes of the first and the last checkpoint into the run's folder, and how many problems were left out."""
    kept = kept_checkpoints(run)
    sets, file = _sets(_tasks(run, asked.tasks), asked.habits, asked.seed), run / HABITS
    found, without = list[Probe](), 0
    for number, one in enumerate(ends := [kept[0], kept[-1]] if len(kept) > 1 else kept):

        def progress(
            done: int, total: int, before: int = number, of: int = len(ends), on: str = one.folder.name
        ) -> None:
            tell((before + done / total) / of, f"habits of {on}")

        loaded, effort = models.load(one.folder, device), asked.effort or _effort(run)
        how = Habits(
            model=loaded.name, weights=loaded.weights(), effort=effort, temperature=asked.temperature, seed=asked.seed
        )
        known = read_probes(file)
        write_whole(file, "".join(probe.line() for probe in known))  # without a line that a kill cut off
        try:
            made, without = probe(
                sets, how, loaded.sampler, known=known, on_probe=lambda one: _append(file, one), on_progress=progress
            )
        finally:
            loaded.close()
        found += made
    return found, without


def _append(path: Path, found: Probe) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(found.line())


def _habits_table(summaries: list[HabitsSummary]) -> Table:
    shown = Table(box=None, pad_edge=False)
    for title in ("task", "checkpoint"):
        shown.add_column(title, header_style="bold", no_wrap=True)
    titles = ("n", "verify", "backtrack", "subgoal", "right: free", "same start", "wrong block", "95 % interval")
    for title in (*titles, "changed", "gives up"):
        shown.add_column(title, header_style="bold", justify="right")
    for name, own in by_task(summaries).items():
        for one in own:
            wrong = one.right["wrong"]
            shown.add_row(
                name,
                one.model,
                str(one.n),
                *(f"{100 * one.kinds[kind]:.0f} %" for kind in ("verify", "backtrack", "subgoal")),
                *(output.percent(one.right[arm].share) for arm in ("free", "before", "wrong")),
                f"{100 * wrong.low:.0f} – {100 * wrong.high:.0f}",
                output.percent(one.changed.share),
                output.percent(one.backtracks.share),
            )
    return shown


def _tasks(run: Path, given: Sequence[str]) -> tuple[str, ...]:
    """The tasks that were asked for, else those that were practised."""
    from ponder.evaluate.history import read_history

    named = tuple(given or read_history(run).config.get("tasks", ()))
    if not named:
        raise ConfigError(f"{run} does not say what was practised: give --task TASK:LEVEL")
    return named


def _effort(run: Path) -> Effort:
    from ponder.evaluate.history import read_history

    efforts = read_history(run).config.get("efforts") or [Effort.MEDIUM]
    return effort_named(str(efforts[0]))


def _sets(tasks: Sequence[str], n: int, seed: int) -> list[ProblemSet]:
    pairs = dict.fromkeys(pair for text in tasks for pair in parse_spec(text))
    return [held_out(name, level, n, seed=seed) for name, level in pairs]


def _examples(run: Path, kept: list[Kept], sets: list[ProblemSet], count: int, effort: Effort, device: str) -> None:
    """Greedy thoughts of the first and the last checkpoint about the first problems of each task."""
    found: list[list[Thinking]] = []
    for one in (kept[0], kept[-1]):
        loaded = models.load(one.folder, device)
        try:
            found.append(thoughts_of(one.folder.name, sets, count, effort, loaded.sampler))
        finally:
            loaded.close()
    write_examples(run / EXAMPLES, examples(sets, count, found))
