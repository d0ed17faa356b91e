"""`ponder demo`: a few held-out problems thought through on screen, then a small table of all tasks."""

import time
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ponder.cli import evaluate, output
from ponder.cli.models import DeviceOption, ModelOption, SeedOption
from ponder.cli.output import JsonOption
from ponder.cli.think import completion_json, open_thinker, show_answer
from ponder.evaluate.metrics import mean
from ponder.evaluate.problems import STANDARD_LEVEL, distinct, held_out
from ponder.evaluate.run import Settings
from ponder.evaluate.summary import Summary, summarize
from ponder.seeds import rng_for
from ponder.tasks import TASKS
from ponder.text.effort import Plan
from ponder.types import Effort, Ended, Message, Problem, Split

SHOWN = 5
"""Problems that are thought through on screen."""


def demo(
    model: ModelOption = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Problems of each task in the table.")] = 20,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Watch a model think through held-out problems, then see how often it is right, with and without thinking.

    Example: ponder demo --seed 7
    """
    # One chain, whatever the effort means to the model: it is to be watched, and the table is of single chains.
    thinker = replace(open_thinker(model, device, None, 0.0, 1.0, seed, False, json), asked=Plan())
    effort = thinker.model.effort(None)
    started = time.monotonic()
    shown: list[dict[str, Any]] = []
    for problem in _problems(seed):
        if not json:
            output.result(f"\n{problem.task}, level {problem.level}\n{problem.prompt}")
        completion, seconds = thinker.answer((Message("user", problem.prompt),), effort)
        grade = TASKS[problem.task].grade(problem, completion.answer)
        right = grade.right and completion.ended is Ended.ANSWERED
        if not json:
            show_answer(completion, effort, seconds)
            _verdict(right, problem)
        told = {"task": problem.task, "level": problem.level, "prompt": problem.prompt, "gold": problem.answer}
        shown.append(told | {"answer": completion.answer, "right": right, **completion_json(completion, False)})
    sets = [
        held_out(task.name, STANDARD_LEVEL, n, seed=seed) for task in TASKS.values() if STANDARD_LEVEL in task.levels
    ]
    evaluate.tell_shortages(sets)
    efforts = tuple(dict.fromkeys((Effort.NONE, effort)))
    if not json:
        output.note(f"\n{n} held-out problems of each task, {' and '.join(efforts)} …")
    summaries = summarize(evaluate.run(sets, Settings(efforts=efforts, seed=seed), thinker.model))
    if json:
        output.document({"problems": shown, "summary": [summary.to_json() for summary in summaries]})
        return
    output.stdout().print(_table(summaries, n))
    output.note(f"{output.clock(time.monotonic() - started)} minutes on this machine")


def _problems(seed: int) -> list[Problem]:
    """One held-out problem each of a few tasks, which depend on the seed."""
    names = [task.name for task in TASKS.values() if STANDARD_LEVEL in task.levels]
    chosen = rng_for("demo", seed).sample(names, min(SHOWN, len(names)))
    return [p for name in chosen for p in islice(distinct(name, STANDARD_LEVEL, Split.TEST, seed), 1)]


def _verdict(right: bool, problem: Problem) -> None:
    wrong = Text(f"✗ wrong: a right answer is {problem.answer}", style="red")
    output.stdout().print(Text("✓ right", style="green") if right else wrong, soft_wrap=True)


def _table(summaries: list[Summary], n: int) -> Table:
    efforts = list(dict.fromkeys(one.effort for one in summaries))
    titles: dict[str, str] = {Effort.NONE: "direct (effort none)"}
    table = Table(box=None, pad_edge=False, title=f"right of {n} held-out problems, level {STANDARD_LEVEL}")
    table.add_column("task", header_style="bold")
    for effort in efforts:
        table.add_column(titles.get(effort, f"thinking ({effort})"), header_style="bold", justify="right")
    by_key = {(one.task, one.effort): one.accuracy for one in summaries}
    for task in dict.fromkeys(one.task for one in summaries):
        table.add_row(task, *(output.percent(by_key[task, effort]) for effort in efforts))
    means = [mean(a for (_, e), a in by_key.items() if e is effort and a is not None) for effort in efforts]
    table.add_row(Text("mean", style="bold"), *(Text(output.percent(share), style="bold") for share in means))
    return table
