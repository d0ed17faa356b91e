"""Where words go: results to stdout, everything else to stderr; and what they look like."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

LINE_SECONDS = 10.0
"""Where stderr is no terminal, a progress line comes at most this often."""

EARLY = 0.05
"""Of things that take unequal times the short ones are done first: until so much is done, no time is named."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead.")]


def stderr() -> Console:
    """The console of everything that is not the result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def stdout() -> Console:
    """The console of results that are tables; a file or a pipe has room for all of their columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def clean(text: str) -> str:
    """The text without characters that steer a terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def result(text: str) -> None:
    """One line of the result."""
    typer.echo(clean(text))


def document(value: Any) -> None:
    """The result as one JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str, style: str = "dim") -> None:
    """A remark beside the result."""
    stderr().print(Text(clean(text), style=style))


def fail(sentence: str) -> None:
    """An error, in one sentence."""
    note(" ".join(sentence.split()), style="red")


def percent(share: float | None) -> str:
    """A share for a reader."""
    return "–" if share is None else f"{100 * share:.1f} %"


def clock(seconds: float) -> str:
    """A duration for a reader: 1:05, or 2:03:20."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@dataclass
class Meter:
    """Shows how far a long job is: a bar on a terminal, else a line now and then."""

    name: str
    progress: Progress
    bar: TaskID
    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    """The share that was done at the first call: the time left is judged by what came after."""
    told: float = field(default_factory=time.monotonic)

    def update(
        self, done: float, total: int, words: str = "", *, share: float | None = None, seconds: float | None = None
    ) -> None:
        """So much of so much is done; where things take unequal times, that share of all the time.

        `seconds` are those that are left, from whoever knows them better.
        """
        now = time.monotonic()
        part = share if share is not None else done / max(total, 1)
        if self.first is None:
            self.first, self.started = part, now
        if seconds is None and part > self.first + (EARLY if share is not None else 0):
            seconds = (1 - part) * (now - self.started) / (part - self.first)
        left = "" if seconds is None else f"{clock(seconds)} left"
        text = "  ".join(part for part in (words, left) if part)
        if self.progress.console.is_terminal:
            self.progress.update(self.bar, completed=done, total=total, words=text)
        elif now - self.told >= LINE_SECONDS or (done == total and now - self.started >= LINE_SECONDS):
            self.told = now
            self.progress.console.print(Text(f"{self.name} {done:.0f}/{total}  {text}".rstrip()))

    def restart(self) -> None:
        """Another part of the job begins, which is counted and timed by itself."""
        self.first = None

    def note(self, text: str) -> None:
        """A lasting line above the bar."""
        self.progress.console.print(Text(clean(text), style="dim"))


@contextmanager
def meter(name: str) -> Generator[Meter]:
    """A meter on stderr, gone when the job is done."""
    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    progress = Progress(
        *columns,
        TextColumn("{task.fields[words]}", style="dim"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        yield Meter(name, progress, progress.add_task(name, total=1, words=""))
