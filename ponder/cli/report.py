"""`ponder report`: records as a page and as pictures."""

import json as jsonlib
import math
from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import Annotated

import typer
from rich.table import Table

from ponder.cli import output
from ponder.cli.output import JsonOption
from ponder.errors import ConfigError
from ponder.evaluate.claims import Claim
from ponder.evaluate.plots import Price
from ponder.evaluate.practice import read_practice
from ponder.evaluate.records import read_records
from ponder.evaluate.report import Report, make_report
from ponder.runs import write_whole

PAGE, SUMMARY = "index.html", "summary.json"


def report(
    out: Annotated[Path, typer.Option("--out", help="A folder for the page and its pictures.", metavar="DIR")],
    records: Annotated[
        list[Path] | None, typer.Argument(help="Files that `ponder eval --out` wrote.", show_default=False)
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", help="A run that `ponder runs curve` measured; may be given again.", metavar="RUN"),
    ] = None,
    price_in: Annotated[
        float, typer.Option("--price-in", help="US dollars a million prompt tokens; o1's, as an example.")
    ] = Price.prompt,
    price_out: Annotated[
        float, typer.Option("--price-out", help="US dollars a million generated tokens; o1's, as an example.")
    ] = Price.generated,
    json: JsonOption = False,
) -> None:
    """Draw accuracy against tokens and cost from records, and against training compute from a run's checkpoints: one
    page, its pictures, and all numbers as JSON. What thinking longer has brought is also told here.

    Example: ponder report runs/eval.jsonl --out runs/report

    Example: ponder report runs/eval.jsonl --run runs/mini-rl --out runs/report
    """
    price = priced(price_in, price_out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file: name a folder for the report")
    if not (records or run):
        raise ConfigError("nothing to report: give files of records, or --run RUN")
    made, files = write(records or (), out, price, run or ())
    if json:
        output.document({"files": files, **made.to_json()})
        return
    for file in files:
        output.result(file)
    if made.claims:
        output.stdout().print(table(made.claims))


def write(records: Sequence[Path], out: Path, price: Price, runs: Sequence[Path] = ()) -> tuple[Report, list[str]]:
    """Make the report of some files of records and of some runs, and write it into a folder; returns the files too."""
    read = {record.asked: record for path in records for record in read_records(path)}
    words = ["ponder", "report", *map(str, records), "--out", str(out)]
    for folder in runs:
        words += ["--run", str(folder)]
    if price != Price():
        words += ["--price-in", f"{price.prompt:g}", "--price-out", f"{price.generated:g}"]
    practices = [read_practice(folder) for folder in runs]
    made = make_report(list(read.values()), price, practices=practices, command=join(words))
    out.mkdir(parents=True, exist_ok=True)
    for name, png in made.pictures.items():
        (out / name).write_bytes(png)
    write_whole(out / SUMMARY, jsonlib.dumps(made.to_json(), indent=1, ensure_ascii=False) + "\n")
    write_whole(out / PAGE, made.page)  # last: a report is there once its page is
    return made, [str(out / name) for name in (PAGE, *made.pictures, SUMMARY)]


def table(claims: Sequence[Claim]) -> Table:
    """The claims for a reader."""
    shown = Table(box=None, pad_edge=False)
    models = len({(one.setting, one.effort) for one in claims if one.effort}) > 1
    shown.add_column("task", header_style="bold", no_wrap=True)
    shown.add_column("claim", header_style="bold")
    for name in ("number", "95 % interval", "n"):
        shown.add_column(name, header_style="bold", justify="right", no_wrap=True)
    last = ""
    for one in claims:
        at = f"{one.setting.model} {one.effort} {one.task}" if models else one.task
        shown.add_row(at if at != last else "", one.name, one.told, one.interval, str(one.n))
        last = at
    return shown


def priced(prompt: float, generated: float) -> Price:
    """Prices as they were given; o1's keep their name."""
    if not all(math.isfinite(one) and one >= 0 for one in (prompt, generated)):
        raise ConfigError(f"prices {prompt} and {generated} do not fit: give US dollars a million tokens, such as 15")
    own = Price(prompt, generated)
    return own if own == Price() else Price(prompt, generated, "these prices")
