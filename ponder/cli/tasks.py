"""`ponder tasks`: what the tasks are, and what their problems look like."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ponder.cli import output
from ponder.cli.output import JsonOption
from ponder.errors import ConfigError
from ponder.evaluate.problems import STANDARD_LEVEL, distinct, parse_spec
from ponder.interfaces import Task
from ponder.seeds import rng_for
from ponder.tasks import TASKS, task_named
from ponder.types import Demonstration, Problem, Split, Style

app = typer.Typer(help="List the tasks, describe one, or sample its problems.", no_args_is_help=True)


@app.command("list")
def list_tasks(json: JsonOption = False) -> None:
    """List every task with its levels.

    Example: ponder tasks list
    """
    if json:
        output.document([_described(task) for task in TASKS.values()])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("task", "levels", "what it asks"):
        table.add_column(column, header_style="bold")
    for task in TASKS.values():
        table.add_row(task.name, ", ".join(map(str, task.levels)), Text(task.title))
    output.stdout().print(table)


@app.command("show")
def show(task: Annotated[str, typer.Argument(help="The task's name.")], json: JsonOption = False) -> None:
    """Describe one task: its levels, and a problem of each with its answer.

    Example: ponder tasks show countdown
    """
    found = task_named(task)
    examples = {level: next(distinct(found.name, level, Split.TRAIN, 0)) for level in found.levels}
    if json:
        output.document(_described(found) | {"examples": [_as_json(problem) for problem in examples.values()]})
        return
    output.result(f"{found.name}: {found.title}")
    if found.gym:
        output.result(f"reasoning-gym calls it {found.gym}")
    for level, problem in examples.items():
        standard = " (the standard)" if level == STANDARD_LEVEL else ""
        output.result(f"\nLevel {level}{standard}: {found.levels[level]}")
        output.result(_indented(problem.prompt))
        output.result(f"  → {_indented(problem.answer).lstrip()}")


@app.command("sample")
def sample(
    task: Annotated[str, typer.Argument(help="TASK or TASK:LEVEL; level 2 if not named.", metavar="TASK[:LEVEL]")],
    n: Annotated[int, typer.Option("--n", min=1, max=100_000, help="How many problems.")] = 3,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same problems.")] = 0,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "train",
    demo: Annotated[
        str | None, typer.Option("--demo", help=f"Show how the solver thinks: {', '.join(Style)}.", metavar="STYLE")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make problems of a task, with their answers and, with --demo, a solver's thoughts.

    Example: ponder tasks sample multiplication:1 --n 1 --demo corrected
    """
    style = _style(demo)
    part = split_named(split)
    for_json: list[dict[str, Any]] = []
    for name, level in parse_spec(task):
        made = 0
        for problem, _ in zip(distinct(name, level, part, seed), range(n), strict=False):
            made += 1
            shown = TASKS[name].demonstrate(problem, rng_for("demo", seed, problem.id), style) if style else None
            if json:
                for_json.append(_as_json(problem, shown))
            else:
                _print(problem, shown)
        if made < n:
            output.note(f"{name}:{level} has only {made} distinct {part} problems, not {n}", style="yellow")
    if json:
        output.document(for_json)


def split_named(name: str) -> Split:
    """The split of that name; unknown names list the known ones."""
    if name not in set(Split):
        raise ConfigError(f"unknown split {name!r}: the splits are {', '.join(Split)}")
    return Split(name)


def _style(name: str | None) -> Style | None:
    if name is not None and name not in set(Style):
        raise ConfigError(f"unknown style {name!r}: the styles are {', '.join(Style)}")
    return Style(name) if name else None


def _described(task: Task) -> dict[str, Any]:
    return {"task": task.name, "title": task.title, "levels": dict(task.levels), "gym": task.gym}


def _as_json(problem: Problem, shown: Demonstration | None = None) -> dict[str, Any]:
    value = {
        "task": problem.task,
        "level": problem.level,
        "id": problem.id,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "data": dict(problem.data),
    }
    return value | ({"demonstration": _demonstration_json(shown)} if shown else {})


def _demonstration_json(shown: Demonstration) -> dict[str, Any]:
    return {
        "blocks": [
            {part: getattr(block, part) for part in ("headline", "thoughts", "summary")} for block in shown.blocks
        ],
        "answer": shown.answer,
    }


def _print(problem: Problem, shown: Demonstration | None) -> None:
    output.result(f"{problem.id}\n{_indented(problem.prompt)}")
    for block in shown.blocks if shown else ():
        output.result(f"  ▸ {block.headline}\n{_indented(block.thoughts, 6)}\n{_indented('= ' + block.summary, 4)}")
    output.result(f"  → {_indented(shown.answer if shown else problem.answer).lstrip()}\n")


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in text.splitlines())
