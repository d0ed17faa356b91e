"""`ponder eval`: accuracy with its interval, and what it cost in tokens."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ponder.cli import models, options, output
from ponder.cli.models import (
    DeviceOption,
    DtypeOption,
    ModelOption,
    SeedOption,
    TemperatureOption,
    TopPOption,
    UpstreamDialectOption,
    UpstreamKeyOption,
    UpstreamModelOption,
    UpstreamOption,
    UpstreamWindowOption,
    WorkersOption,
)
from ponder.cli.output import JsonOption
from ponder.cli.raters import EXACT, HEAD, check_rater, rater_of, tell_undecided
from ponder.cli.tasks import split_named
from ponder.cli.think import WidthOption
from ponder.errors import ConfigError
from ponder.evaluate import problems
from ponder.evaluate.problems import ProblemSet
from ponder.evaluate.records import Ledger, Record, open_ledger
from ponder.evaluate.run import BY_EFFORT, DIRECT, SINGLE, Settings, planned
from ponder.evaluate.run import evaluate as evaluate_all
from ponder.evaluate.summary import Summary, summarize
from ponder.interfaces import Rater
from ponder.search import SEARCHES
from ponder.text.effort import AUTO, effort_named
from ponder.types import Effort, Split

MOST_SAMPLES = 4096
"""More of one problem tell nothing more."""


def evaluate(
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="TASK:LEVEL, or all:LEVEL; may be given again.", metavar="TASK:LEVEL"),
    ] = None,
    problems_file: Annotated[
        Path | None,
        typer.Option("--problems", help="Your own problems, one JSON object a line.", metavar="FILE.jsonl"),
    ] = None,
    gym: Annotated[
        list[str] | None,
        typer.Option(
            "--gym", help="reasoning-gym's problems, scored by itself; may be given again.", metavar="NAME:LEVEL"
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Problems of each --task and --gym.")] = 200,
    effort: Annotated[
        str, typer.Option("--effort", help="One effort, or several with commas; auto: the model chooses.")
    ] = "medium",
    split: Annotated[str, typer.Option("--split", help="Which part of a --task: test or validation.")] = "test",
    search: Annotated[
        str,
        typer.Option(
            "--search",
            help=f"One search, or several with commas: {', '.join(SEARCHES)}; "
            f"or {BY_EFFORT}: what each effort means to the model.",
            metavar="NAMES",
        ),
    ] = "single",
    samples: Annotated[
        str,
        typer.Option(
            "--samples",
            help="Answers to each problem, or what a search draws for one; several numbers with commas.",
            metavar="NUMBERS",
        ),
    ] = "1",
    width: WidthOption = None,
    rater: options.Rater = HEAD,
    temperature: TemperatureOption = 0.0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = 0,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    workers: WorkersOption = 0,
    upstream: UpstreamOption = None,
    upstream_model: UpstreamModelOption = None,
    upstream_key_env: UpstreamKeyOption = None,
    upstream_dialect: UpstreamDialectOption = models.Upstream.dialect,
    upstream_window: UpstreamWindowOption = models.Upstream.window,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Also write one JSON record a problem here, and go on with what is there.",
            metavar="FILE.jsonl",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a model on held-out problems: accuracy with a 95 % interval, and tokens.

    Example: ponder eval --task countdown:2 --task multiplication:2 --n 200 --effort none,medium

    Example: ponder eval --task all:2 --samples 16 --temperature 0.8 --json

    Example: ponder eval --task countdown:2 --search single,majority,beam --samples 1,4,16 --temperature 0.8

    Example: ponder eval --task countdown:2 --search weighted_vote,beam --samples 16 --temperature 0.8 --rater exact
    """
    models.check_sampling(temperature, top_p)
    settings = Settings(
        efforts=tuple(name if name == AUTO else effort_named(name) for name in names(effort)),
        searches=names(search),
        samples=numbers(samples),
        width=width,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    check_settings(settings)
    check_rater(rater, ())
    part = split_named(split)
    if part is Split.TRAIN:
        raise ConfigError("the train split is what models were taught: evaluate on test or validation")
    specs = dict.fromkeys(pair for text in task or () for pair in problems.parse_spec(text))
    if not (specs or problems_file or gym):
        raise ConfigError("nothing to evaluate: give --task TASK:LEVEL, --problems FILE or --gym NAME:LEVEL")
    check_out(out)
    sets = problems.from_file(problems_file) if problems_file else []
    server = models.Upstream(upstream, upstream_model, upstream_key_env, upstream_dialect, upstream_window)
    sets += [problems.from_gym(spec, n, seed=seed) for spec in dict.fromkeys(gym or ())]
    sets += [problems.held_out(name, level, n, split=part, seed=seed) for name, level in specs]
    asked = [problem for one in sets for problem in one.problems]
    check_rater(rater, asked)
    loaded = models.load(model, device, server, models.workers_for(workers, planned(sets, settings)), dtype)
    tell_shortages(sets)
    try:
        settings = rated(settings, rater, rater_of(rater, loaded, asked, seed))
        settings = of_model(settings, loaded, digest=out is not None)
        records = run(sets, settings, loaded, ledger(out))
    finally:
        loaded.close()
    tell_undecided(settings.rater)
    summaries = summarize(records)
    if json:
        output.document([{"model": loaded.name, "seed": seed} | summary.to_json() for summary in summaries])
    else:
        output.stdout().print(table(summaries))


def of_model(settings: Settings, model: models.Model, *, digest: bool) -> Settings:
    """The settings with what a model says of itself; refused where they ask for what it cannot do."""
    fixed = [model.effort(one) for one in settings.efforts if one != AUTO]
    router = model.router() if len(fixed) < len(settings.efforts) else None
    weights = model.weights() if digest else ""
    return replace(settings, model=model.name, weights=weights, plans=model.plans, router=router)


def rated(settings: Settings, name: str, rater: Rater | None) -> Settings:
    """The settings where somebody else rates, which every record then says."""
    return settings if rater is None else replace(settings, rater=rater, rated_by="exact" if name == EXACT else "judge")


def ledger(out: Path | None) -> Ledger | None:
    """The file that records go to, with what it holds already."""
    if out is None:
        return None
    found = open_ledger(out)
    if found.dropped:
        output.note(f"{out}: the last line was cut off and is dropped; its problem is computed again", style="yellow")
    return found


def check_settings(settings: Settings) -> None:
    """Refuse searches that do not fit, and samples that would all be the same."""
    replace(settings, efforts=tuple(one for one in settings.efforts if one != AUTO) or (Effort.MEDIUM,)).check()
    most = max(settings.counts)
    if most > 1 and settings.temperature == 0 and not {DIRECT, "revise", BY_EFFORT}.issuperset(settings.searches):
        raise ConfigError(f"{most} samples at temperature 0 are {most} times the same: give --temperature 0.8")


def check_out(out: Path | None) -> None:
    """Refuse a file that records cannot be written to, before anything is computed; its folder is made."""
    if out is None:
        return
    if out.is_dir():
        raise ConfigError(f"{out} is a directory: name a file in it for the records")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(
            f"{out.parent} cannot be made ({err.strerror}), so {out} cannot be written there: name another --out"
        ) from None


def names(text: str) -> tuple[str, ...]:
    """``none,medium`` as names, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def numbers(text: str) -> tuple[int, ...]:
    """``1,4,16`` as numbers of samples."""
    found = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= MOST_SAMPLES for part in found):
        raise ConfigError(f"samples {text!r} do not fit: give numbers from 1 to {MOST_SAMPLES}, such as 1,4,16")
    return tuple(map(int, found))


def tell_shortages(sets: Sequence[ProblemSet]) -> None:
    """Say where a level has fewer distinct problems than were asked for."""
    for one in sets:
        if len(one.problems) < one.wanted:
            have = f"{one.task}:{one.level} has only {len(one.problems)} distinct problems"
            output.note(f"{have}, not {one.wanted}: all of them are used", style="yellow")


def run(
    sets: Sequence[ProblemSet], settings: Settings, model: models.Model, ledger: Ledger | None = None
) -> list[Record]:
    """Evaluate, with a progress bar; what the ledger has is not computed again, and what is new goes there."""
    with output.meter("evaluating") as meter:

        def tell(done: int, total: int, share: float) -> None:
            meter.update(done, total, share=share)

        if ledger is None:
            return evaluate_all(sets, settings, model.sampler, on_progress=tell)
        before = len(ledger.records)
        records = evaluate_all(
            sets, settings, model.sampler, on_progress=tell, known=ledger.records, on_records=ledger.add
        )
    reused = len({record.asked for record in records}) - (len(ledger.records) - before)
    if reused:
        output.note(f"{ledger.path}: {reused} of {len(records)} records were there already")
    ledger.settle(records)
    return records


def table(summaries: Sequence[Summary]) -> Table:
    """The summaries for a reader."""
    sampled = any(summary.pass_at_k for summary in summaries)
    searched = any(summary.search != SINGLE for summary in summaries)
    unsure = any(summary.undecided for summary in summaries)
    shown = Table(box=None, pad_edge=False)
    for name in ("task", "level", "effort", *(("search", "samples") if searched else ())):
        shown.add_column(name, header_style="bold", no_wrap=True, overflow="fold")
    extra = (("pass@k",) if sampled else (), ("undecided",) if unsure else ())
    for name in ("n", "accuracy", "95 % interval", *extra[0], "tokens", "cut off", *extra[1]):
        shown.add_column(name, header_style="bold", justify="right", no_wrap=True, overflow="fold")
    for one in summaries:
        best = max((one.pass_at_k or {}).items(), default=None)
        shown.add_row(
            one.task,
            str(one.level),
            one.effort,
            *((one.search, str(one.samples)) if searched else ()),
            str(one.n),
            output.percent(one.accuracy),
            f"{100 * one.low:.1f} – {100 * one.high:.1f}",
            *((f"{output.percent(best[1])} (k={best[0]})" if best else "–",) if sampled else ()),
            f"{one.tokens:.0f}",
            output.percent(one.cut_off),
            *((str(one.undecided),) if unsure else ()),
        )
    for effort, search, samples in dict.fromkeys((one.effort, one.search, one.samples) for one in summaries):
        alike = [one for one in summaries if (one.effort, one.search, one.samples) == (effort, search, samples)]
        row = mean_row(alike)
        if row:
            how = (search, str(samples)) if searched else ()
            shown.add_row("[bold]mean[/bold]", "", effort, *how, "", row, end_section=True)
    return shown


def mean_row(summaries: Sequence[Summary]) -> str | None:
    """The mean accuracy over several tasks."""
    shares = [one.accuracy for one in summaries if one.accuracy is not None]
    return output.percent(sum(shares) / len(shares)) if len(shares) > 1 else None
