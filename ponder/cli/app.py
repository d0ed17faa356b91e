"""The commands by name, and what every one of them shares: how it ends.

Exit code 0: it worked. 1: it worked, with a bad outcome (no finished answer; something is missing). 2: an error of the
user's, told in one sentence. Nothing here imports torch: a command does when it needs it.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from ponder import __version__
from ponder.cli import (
    demo,
    doctor,
    evaluate,
    output,
    report,
    runs,
    runs_measure,
    serve,
    tasks,
    think,
    train,
    train_distill,
    train_pipeline,
    train_reward,
    train_rl,
)
from ponder.errors import PonderError

app = typer.Typer(
    help="Ponder trains a language model to think before it answers, in blocks that fold.",
    epilog='Try: ponder think "Calculate 347 * 86."   ·   Every command takes --help and --json.   ·   '
    "Exit code: 0 it worked, 1 a bad outcome, 2 an error of yours.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("think")(think.think)
app.command("chat")(think.chat)
app.command("serve")(serve.serve)
app.add_typer(tasks.app, name="tasks")
train.app.command("reward")(train_reward.reward)
train.app.command("rl")(train_rl.rl)
train.app.command("distill")(train_distill.distill)
train.app.command("pipeline")(train_pipeline.pipeline)
app.add_typer(train.app, name="train")
runs.app.command("curve")(runs_measure.curve)
runs.app.command("habits")(runs_measure.habits)
app.add_typer(runs.app, name="runs")
app.command("eval")(evaluate.evaluate)
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say the version and leave.")] = False,
) -> None:
    """Ponder trains a language model to think before it answers, in blocks that fold."""
    if version:
        output.result(f"ponder {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        output.result(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left. What is still buffered has nowhere to go, and that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        outcome = app(args=argv, prog_name="ponder", standalone_mode=False)
    except (KeyboardInterrupt, Abort):
        return 130
    except BrokenPipeError:
        raise
    except PonderError as err:
        output.fail(str(err))
        return 2
    except TyperException as err:
        if message := err.format_message().rstrip("."):  # empty where the help was shown instead
            output.fail(f"{message}: see --help")
        return 2
    except OSError as err:
        output.fail(f"{err.strerror or err}{f': {err.filename}' if err.filename else ''}")
        return 2
    return outcome if isinstance(outcome, int) else 0
