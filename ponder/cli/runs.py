"""`ponder runs`: what trainings have left in their folders."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ponder.cli import output
from ponder.cli.output import JsonOption, clean
from ponder.errors import ConfigError
from ponder.evaluate.history import (
    Change,
    History,
    Sample,
    chosen,
    find_runs,
    read_history,
    read_sample,
    read_samples,
)
from ponder.types import Block, BlockCheck

app = typer.Typer(help="List runs, and show what a run's numbers and thoughts were.")

MARKS_SHOWN = 6
"""Evaluations on the way that have room beside each other."""
WHERE = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}


@app.callback(invoke_without_command=True)
def runs(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Option("--in", help="Where the runs lie.", metavar="DIR")] = Path("runs"),
    json: JsonOption = False,
) -> None:
    """List the runs of a folder, or show one of them.

    Example: ponder runs

    Example: ponder runs show runs/mini-rl --wrong
    """
    if ctx.invoked_subcommand is not None:
        return
    found = [read_history(path) for path in find_runs(folder)]
    if json:
        output.document([_line(one) for one in found])
        return
    if not found:
        output.note(f"no runs in {folder} yet: `ponder train` makes them")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("run", "kind", "state"):
        table.add_column(title, header_style="bold", no_wrap=True, overflow="fold")
    for title in ("step", "time", "tokens", "loss", "success", "validation"):
        table.add_column(title, header_style="bold", justify="right", no_wrap=True)
    for one in found:
        line = _line(one)
        table.add_row(
            str(one.folder),
            one.kind,
            one.state,
            f"{one.step}/{one.planned}" if one.planned else str(one.step),
            output.clock(line["seconds"]) if line["seconds"] else "–",
            f"{line['tokens']:,.0f}" if line["tokens"] else "–",
            "–" if line["loss"] is None else f"{line['loss']:.3f}",
            output.percent(line["success"]),
            output.percent(line["validation"]),
        )
    output.stdout().print(table)


def _line(history: History) -> dict[str, Any]:
    last = history.steps[-1] if history.steps else {}
    marks = [record["evaluation"]["mean"] for record in history.evaluations if "mean" in record["evaluation"]]
    return {
        "run": str(history.folder),
        "kind": history.kind,
        "state": history.state,
        "step": history.step,
        "steps": history.planned,
        "seconds": last.get("seconds"),
        "tokens": last.get("tokens"),
        "loss": last.get("loss"),
        "success": change.now if (change := history.numbers.get("success")) else None,
        "validation": marks[-1] if marks else None,
    }


@app.command("show")
def show(
    run: Annotated[Path, typer.Argument(help="The run's folder.", show_default=False)],
    task: Annotated[str, typer.Option("--task", help="Only thoughts about TASK or TASK:LEVEL.", metavar="TASK")] = "",
    step: Annotated[int | None, typer.Option("--from-step", min=0, help="Only thoughts from this step on.")] = None,
    right: Annotated[bool | None, typer.Option("--right/--wrong", help="Only those, where it is known.")] = None,
    n: Annotated[int, typer.Option("--n", min=0, help="Thoughts on a page; 0 for the numbers alone.")] = 3,
    page: Annotated[
        int | None,
        typer.Option("--page", min=1, help="Which page.", show_default="all of them, on a terminal; else the first"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Sum up a run's numbers, and page through the thoughts that it sampled: rewards, ratings and checks of each block.

    On a terminal everything goes through your pager. ✓ ✗ · before a block: what the task's exact checker says of it.

    Example: ponder runs show runs/mini-rl --task countdown --wrong --from-step 20
    """
    history = read_history(run)
    records: Sequence[Mapping[str, Any]] = ()
    if n and history.kind == "rl":
        records = chosen(read_samples(run), task=task, step=step, right=right)
        if not records:
            raise ConfigError(f"{run} has no such thoughts: ask for fewer things at once")
    pages = -(-len(records) // n) if n else 0
    if page is not None and page > max(pages, 1):
        raise ConfigError(f"there is no page {page}: the thoughts fill {pages} pages of {n}")
    whole = output.stdout().is_terminal and page is None and not json
    first = 0 if whole else ((page or 1) - 1) * n
    shown = [read_sample(record) for record in (records if whole else records[first : first + n])]
    if json:
        output.document(
            history.to_json() | {"samples": [one.to_json() for one in shown], "samples_found": len(records)}
        )
        return
    console = output.stdout()
    with console.pager(styles=True) if whole and shown else nullcontext():
        _summary(console, history)
        for one in shown:
            _sample(console, one)
    if records and not whole:
        more = f"; --page {(page or 1) + 1} goes on" if first + n < len(records) else ""
        output.note(f"thoughts {first + 1} to {first + len(shown)} of {len(records)}{more}")


# --- the numbers ------------------------------------------------------------------------------------------------------


def _summary(console: Console, history: History) -> None:
    spent = history.spent
    console.print(Text.assemble((str(history.folder), "bold"), f"  {history.kind}, {history.state}"))
    words = [f"step {history.step} of {history.planned}" if history.planned else f"step {history.step}"]
    if seconds := spent.get("seconds"):
        words.append(output.clock(seconds))
        words.append(f"{spent.get('tokens', 0):,.0f} tokens read, {spent.get('tokens', 0) / seconds:,.0f} a second")
        words.append(f"{100 * spent.get('waited', 0) / seconds:.1f} % of the time waiting for data")
    if "sampled" in spent:
        words.append(f"{spent['sampled']:,.0f} tokens sampled")
    console.print(Text("  ".join(words), style="dim"))
    for title, changes, shown in (
        ("mean of a few records", history.numbers, _number),
        ("running success", history.levels, output.percent),
    ):
        if changes:
            console.print()
            console.print(_changes(title, changes, shown))
    if history.evaluations:
        console.print()
        console.print(_evaluations(history))
    for alarm in history.alarms:
        colour = "red" if alarm.get("action") == "stop" else "yellow"
        console.print(Text(f"step {alarm['step']}: {alarm['action']}: {clean(str(alarm['why']))}", style=colour))


def _changes(title: str, changes: Mapping[str, Change], shown: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title, header_style="bold", no_wrap=True)
    for name in ("at the start", "now"):
        table.add_column(name, header_style="bold", justify="right")
    for name, change in changes.items():
        table.add_row(name, shown(change.start), shown(change.now))
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _evaluations(history: History) -> Table:
    """Measurements on the way, the first and the last ones where there are many."""
    marks = history.evaluations
    if len(marks) > MARKS_SHOWN:
        marks = [marks[0], *marks[1 - MARKS_SHOWN :]]
    table = Table(box=None, pad_edge=False)
    table.add_column("validation", header_style="bold", no_wrap=True)
    for mark in marks:
        table.add_column(f"step {mark['step']}", header_style="bold", justify="right")
    for name in dict.fromkeys(name for mark in marks for name in mark["evaluation"]):
        values = [mark["evaluation"].get(name) for mark in marks]
        share = ":" in name or name == "mean"
        table.add_row(name, *("–" if one is None else output.percent(one) if share else _number(one) for one in values))
    return table


# --- thoughts ---------------------------------------------------------------------------------------------------------


def _sample(console: Console, sample: Sample) -> None:
    verdict = {True: ("right", "green"), False: ("wrong", "red"), None: ("not graded", "yellow")}[sample.right]
    head = Text.assemble(
        ("─── ", "dim"),
        (f"step {sample.step}  {sample.problem.rpartition(':')[0]}  effort {sample.effort}  ", "bold"),
        verdict,
    )
    console.print()
    console.print(head)
    if sample.reward:
        terms = "  ".join(f"{name} {value + 0.0:+.3g}" for name, value in sample.reward.items())
        console.print(Text(f"reward {sum(sample.reward.values()):+.3g}  =  {terms}", style="dim"))
    if sample.note:
        console.print(Text(clean(sample.note), style="yellow"))
    console.print(_indented(sample.prompt))
    if sample.ratings:
        console.print(Text(f"  before thinking: {_rated(sample.ratings[0])}", style="dim"))
    checks: Sequence[BlockCheck | None] = sample.checks or (None,) * len(sample.blocks)
    for number, (block, check) in enumerate(zip(sample.blocks, checks, strict=True), 1):
        rating = sample.ratings[number] if len(sample.ratings) > number else None
        console.print(_block(block, check, rating))
    ends = f"  ({sample.ended})" if sample.ended != "answered" else ""
    console.print(Text.assemble("  answer ", (clean(sample.answer), "bold"), ends, (f"   gold {sample.gold}", "dim")))


def _block(block: Block, check: BlockCheck | None, rating: tuple[float, float] | None) -> Text:
    mark, colour = WHERE[check.valid if check else None]
    line = Text.assemble((f"  {mark} ", colour), (clean(block.headline), "bold"))
    if rating:
        line += Text(f"   {_rated(rating)}", style="dim")
    if check and check.note:
        line += Text(f"   {clean(check.note)}", style="yellow")
    if check and check.valid is not False and check.winnable is False:
        line += Text("   cannot end right any more", style="yellow")
    for thought in clean(block.thoughts).splitlines():
        line += Text(f"\n      {thought}", style="dim")
    return line + Text("\n      = " + clean(block.summary).replace("\n", "\n        "))


def _rated(rating: tuple[float, float]) -> str:
    return f"value {rating[0]:.2f}, valid {rating[1]:.2f}"


def _indented(text: str) -> Text:
    return Text("\n".join(f"  {line}" for line in clean(text).splitlines()))
