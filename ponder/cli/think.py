"""`ponder think` and `ponder chat`: one question, or a conversation."""

import contextlib
import importlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ponder.cli import models, options, output
from ponder.cli.display import Display, Watched
from ponder.cli.models import (
    DeviceOption,
    DtypeOption,
    ModelOption,
    SeedOption,
    TopPOption,
    UpstreamDialectOption,
    UpstreamKeyOption,
    UpstreamModelOption,
    UpstreamOption,
    UpstreamWindowOption,
)
from ponder.cli.output import JsonOption
from ponder.cli.raters import HEAD, check_rater, rater_of, tell_undecided
from ponder.cli.trees import check_tree, write_tree
from ponder.errors import PonderError, ProblemError
from ponder.interfaces import Rater
from ponder.search import ONE_CHAIN, SEARCHES, check_plan
from ponder.text.effort import AUTO, Plan, effort_named
from ponder.text.format import DIALECTS
from ponder.think import Request
from ponder.think import think as think_all
from ponder.types import Completion, Effort, Ended, Message

MOST_BYTES = 1_000_000
"""A longer prompt is refused unread: no model here reads a hundredth of it."""
SAMPLES = 16
"""Candidates of a search where no number is given."""
CHAT_HELP = "/effort LEVEL changes how long to think · /new starts over · /quit leaves · anything else is asked"

EffortOption = Annotated[
    str | None,
    typer.Option(
        "--effort",
        help=f"How long to think: {', '.join(Effort)}; or auto, and the model chooses.",
        show_default="medium; none for a model that only answers",
    ),
]
ThoughtsOption = Annotated[
    bool, typer.Option("--show-thoughts", help="Keep the thoughts of each block, dimmed, on stderr (and in --json).")
]
SearchOption = Annotated[
    str, typer.Option("--search", help=f"How to search among thoughts: {', '.join(SEARCHES)}.", metavar="NAME")
]
OwnSearchOption = Annotated[
    str | None,
    typer.Option(
        "--search",
        help=f"How to search among thoughts: {', '.join(SEARCHES)}.",
        show_default="what the effort means to the model, else single",
        metavar="NAME",
    ),
]
OwnTemperatureOption = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        help="How freely tokens are drawn; 0 takes the likeliest.",
        show_default="what the model's own effort was measured at, else 0",
    ),
]
SamplesOption = Annotated[
    int | None,
    typer.Option("--samples", min=1, help="How many candidates a search draws.", show_default="1; 16 for --search"),
]
WidthOption = Annotated[
    int | None,
    typer.Option(
        "--width",
        min=1,
        help="How many candidates a search keeps, or a place in its tree has.",
        show_default="the largest divisor up to the root of --samples",
    ),
]


@dataclass(frozen=True)
class Thinker:
    """A model with the settings of one command."""

    model: models.Model
    display: Display
    temperature: float | None
    top_p: float
    seed: int
    rater: Rater | None = None
    """In place of the model's own ratings."""
    asked: Plan | None = None
    """The search that was asked for; else each effort means what the model's own plan for it says."""

    def plan(self, effort: Effort) -> Plan:
        """How a question of an effort is thought about, at a temperature that is known."""
        plan = self.asked or self.model.plan(effort)
        own = plan.temperature or 0.0
        plan = plan.model_copy(update={"temperature": own if self.temperature is None else self.temperature})
        check_plan(plan, plan.temperature or 0.0)
        return plan

    def answer(self, messages: tuple[Message, ...], effort: Effort) -> tuple[Completion, float]:
        """Think on screen; returns the completion and its seconds.

        Of a search that follows several branches at once, what it kept is shown when it is done.
        """
        plan = self.plan(effort)
        budget = plan.budget(effort)
        how = (plan.temperature or 0.0, self.top_p, self.seed, budget, plan.search, self.rater, self.model.same)
        request = Request(messages, effort, *how)
        start = time.monotonic()
        watched = plan.search in ONE_CHAIN
        sampler = Watched(self.model.sampler, self.display) if watched else self.model.sampler
        (completion,) = think_all([request], sampler)
        if not watched:
            self.display.show(completion.blocks)
        return completion, time.monotonic() - start


def think(
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from stdin.", show_default=False)],
    model: ModelOption = None,
    effort: EffortOption = None,
    temperature: OwnTemperatureOption = None,
    top_p: TopPOption = 1.0,
    seed: SeedOption = 0,
    show_thoughts: ThoughtsOption = False,
    search: OwnSearchOption = None,
    samples: SamplesOption = None,
    width: WidthOption = None,
    rater: options.OwnRater = HEAD,
    tree: Annotated[
        Path | None,
        typer.Option("--tree", help="Write all that was tried as a page or as JSON.", metavar="FILE.html|FILE.json"),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    upstream: UpstreamOption = None,
    upstream_model: UpstreamModelOption = None,
    upstream_key_env: UpstreamKeyOption = None,
    upstream_dialect: UpstreamDialectOption = models.Upstream.dialect,
    upstream_window: UpstreamWindowOption = models.Upstream.window,
    json: JsonOption = False,
) -> None:
    """Think about one question; the answer goes to stdout, the thinking to stderr.

    Example: ponder think "Use 3, 7, 10 and 14 to make 42." --effort high

    Example: ponder think "Use 3, 7, 10 and 14 to make 42." --search beam --temperature 0.8 --tree tree.html

    Exit code 1 means that no finished answer came.
    """
    text = read_prompt(prompt)
    asked = asked_plan(search, samples, width)
    if asked:
        check_plan(asked, temperature or 0.0)
    check_tree(tree)
    check_rater(rater)
    server = models.Upstream(upstream, upstream_model, upstream_key_env, upstream_dialect, upstream_window)
    thinker = open_thinker(model, device, effort, temperature, top_p, seed, show_thoughts, json, server, dtype)
    thinker = replace(thinker, asked=asked, rater=rater_of(rater, thinker.model, seed=seed))
    messages = (Message("user", text),)
    chosen = thinker.model.effort(effort, messages)
    plan = thinker.plan(chosen)
    completion, seconds = thinker.answer(messages, chosen)
    tell_undecided(thinker.rater)
    if tree:
        write_tree(tree, completion, show_thoughts)
    if json:
        output.document(
            {
                "answer": completion.answer,
                **completion_json(completion, show_thoughts),
                "effort": chosen,
                "model": thinker.model.name,
                "temperature": plan.temperature,
                "top_p": top_p,
                "seed": seed,
                "search": plan.search,
                "seconds": round(seconds, 3),
            }
        )
    else:
        show_answer(completion, chosen, seconds)
    if completion.ended is not Ended.ANSWERED:
        raise typer.Exit(1)


def asked_plan(search: str | None, samples: int | None, width: int | None) -> Plan | None:
    """The search that the options ask for; None where they leave it to the effort."""
    if search is None:
        if samples is None and width is None:
            return None
        search = "single"
    return Plan(search=search, samples=samples or (1 if search in ONE_CHAIN else SAMPLES), width=width)


def open_thinker(
    model: models.Path | None,
    device: str,
    effort: str | None,
    temperature: float | None,
    top_p: float,
    seed: int,
    show_thoughts: bool,
    quiet: bool,
    upstream: models.Upstream = models.HERE,
    dtype: str = "auto",
) -> Thinker:
    """Check the settings, then load the model."""
    models.check_sampling(temperature or 0.0, top_p)
    if effort not in (None, AUTO):
        effort_named(effort)
    loaded = models.load(model, device, upstream, 1, dtype)
    if effort == AUTO:
        loaded.router()
    display = Display(output.stderr(), show_thoughts, quiet, DIALECTS[loaded.dialect])
    return Thinker(loaded, display, temperature, top_p, seed)


def show_answer(completion: Completion, effort: Effort, seconds: float) -> None:
    """The answer on stdout; what it cost, and whether it is one, on stderr."""
    if completion.answer:
        output.result(completion.answer)
    if completion.ended is not Ended.ANSWERED:
        why = {Ended.CUT_OFF: "was cut off by its budget", Ended.MALFORMED: "broke its format"}[completion.ended]
        output.note(f"no finished answer: the model {why}; try another --effort or --seed", style="yellow")
    tokens, blocks = completion.tokens, len(completion.blocks)
    output.note(
        f"{blocks} block{'' if blocks == 1 else 's'}, {tokens.thinking} thinking + {tokens.answer} answer tokens, "
        + (f"{tokens.discarded} discarded, " if branches(completion) else "")
        + f"effort {effort}, {seconds:.1f} s"
    )


def completion_json(completion: Completion, show_thoughts: bool) -> dict[str, Any]:
    """A completion as JSON values; raw thoughts only where they were asked for."""
    blocks: list[dict[str, str]] = []
    for block in completion.blocks:
        shown = {"thoughts": block.thoughts} if show_thoughts else {}
        blocks.append({"headline": block.headline, **shown, "summary": block.summary})
    tokens = completion.tokens
    told = {"prompt": tokens.prompt, "thinking": tokens.thinking, "answer": tokens.answer}
    if branches(completion):
        told |= {"discarded": tokens.discarded, "cached": tokens.cached}
    return {"ended": completion.ended, "blocks": blocks, "tokens": told, "note": completion.note}


def branches(completion: Completion) -> bool:
    """Whether more was tried than what was kept."""
    return completion.tree is not None and not all(node.kept for node in completion.tree.nodes)


def read_prompt(prompt: str) -> str:
    """The prompt, from stdin where it is ``-``; refused if it is empty, not UTF-8, or longer than anything reads."""
    piped = prompt == "-"
    raw = sys.stdin.buffer.read(MOST_BYTES + 1) if piped else prompt.encode("utf-8", "surrogateescape")
    if len(raw) > MOST_BYTES:
        raise ProblemError(f"the prompt is longer than {MOST_BYTES:,} bytes: shorten it")
    return decode(raw, "stdin" if piped else "the prompt")


def decode(raw: bytes, source: str) -> str:
    """Text from bytes, which must be UTF-8 and more than blanks."""
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as err:
        raise ProblemError(f"{source} is not UTF-8 (byte {raw[err.start]:#04x} at {err.start}): convert it") from None
    if not text:
        raise ProblemError(f"{source} is empty: ask a question")
    return text


def chat(
    model: ModelOption = None,
    effort: EffortOption = None,
    temperature: OwnTemperatureOption = None,
    top_p: TopPOption = 1.0,
    seed: SeedOption = 0,
    show_thoughts: ThoughtsOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Talk with a model, turn by turn; it sees the earlier turns, but not its earlier thoughts.

    Example: printf 'What is 12 * 34?\\n' | ponder chat

    While it runs: /effort LEVEL, /new, /help, /quit.
    """
    thinker = open_thinker(model, device, effort, temperature, top_p, seed, show_thoughts, json)
    turns = Conversation(thinker, AUTO if effort == AUTO else thinker.model.effort(effort))
    if sys.stdin.isatty():
        output.note(f"{thinker.model.name}, effort {turns.effort}. {CHAT_HELP}")
    for line in _lines():
        try:
            if not turns.take(line, show_thoughts, json):
                break
        except PonderError as err:
            if not sys.stdin.isatty():
                raise
            output.fail(str(err))
    if json:
        output.document(turns.record)


@dataclass
class Conversation:
    """The turns so far, without their thoughts."""

    thinker: Thinker
    effort: str
    """An effort's name, or ``auto``: then each turn has one of its own."""
    messages: tuple[Message, ...] = ()
    record: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What was asked and answered, as JSON values."""

    def take(self, line: str, show_thoughts: bool, quiet: bool) -> bool:
        """Obey or answer one line; False to leave."""
        word, _, rest = line.partition(" ")
        match word:
            case "":
                return True
            case "/quit" | "/exit":
                return False
            case "/help":
                output.note(CHAT_HELP)
            case "/new":
                self.messages = ()
            case "/effort":
                self.effort = self._named(rest.strip() or None)
                output.note(f"effort {self.effort}")
            case _ if word.startswith("/"):
                raise ProblemError(f"unknown command {word!r}: {CHAT_HELP}")
            case _:
                self._ask(line, show_thoughts, quiet)
        return True

    def _named(self, wanted: str | None) -> str:
        if wanted != AUTO:
            return self.thinker.model.effort(wanted)
        self.thinker.model.router()
        return AUTO

    def _ask(self, question: str, show_thoughts: bool, quiet: bool) -> None:
        asked = (*self.messages, Message("user", question))
        effort = self.thinker.model.effort(self.effort, asked)
        completion, seconds = self.thinker.answer(asked, effort)
        self.messages = (*asked, Message("assistant", completion.answer))
        if quiet:
            shown = {"prompt": question, "answer": completion.answer, **completion_json(completion, show_thoughts)}
            self.record.append({**shown, "effort": effort, "seconds": round(seconds, 3)})
        else:
            show_answer(completion, effort, seconds)


def _lines() -> Iterator[str]:
    """What the user types or pipes in, a line at a time."""
    if not sys.stdin.isatty():
        for number, raw in enumerate(sys.stdin.buffer, 1):
            yield decode(raw, f"line {number}") if raw.strip() else ""
        return
    with contextlib.suppress(ImportError):  # not on Windows
        importlib.import_module("readline")  # importing it gives input() its line editing
    while True:
        try:
            yield input("> ").strip()
        except EOFError:
            output.note("")
            return
