"""What the page is tested with: a model whose thoughts wait to be let on, its server, and a page in a real browser."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from ponder.engine.scripted import Play, ScriptedSampler, Step
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.reward.route import Router
from ponder.serve.app import application
from ponder.serve.models import Model, Models
from ponder.serve.settings import Price, Settings
from ponder.serve.store import Store
from ponder.serve.worker import Worker
from ponder.text.effort import BUDGETS
from ponder.types import Block, Effort, Rating

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    expect = sync_playwright = None
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or sync_playwright is None,
    reason="the page is tested in Chromium: `make chromium` installs it, `pip install playwright` what drives it",
)

SECRET = "nobody may read this"
TITLES = ("Add the ones", "Carry", "Check it")
LONG = "a long thought"
"""The question that is thought about in more than a thousand tokens."""
ATTACK = (
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script> [a](javascript:window.pwned=1) '
    "![b](https://elsewhere.example/pixel.png) <style>*{display:none}</style> $\\href{javascript:1}{x}$ **<b>bold</b>**"
)
ANSWERS = {
    "attack": ATTACK,
    "formula": "So $x = \\frac{-b \\pm \\sqrt{b^2}}{2a}$, costs $5 and 2*3*4.\n\n"
    "| a | b |\n|--|--:|\n| 1 | `x` |\n\n```py\ny\n```",
    "units": "$9.81\\,\\mathrm{m/s^2}$",
    "endless": "and so on " * 100,
}
ROUTED = {Effort.LOW: 0.5, Effort.HIGH: 0.0}


def usual(prefix: Prefix, rng: Random) -> Step:
    """Three blocks, then the answer."""
    question, at = prefix.messages[-1].content, len(prefix.blocks)
    if prefix.answering or at == len(TITLES):
        return Step(ANSWERS.get(question, f"the answer to {question}"))
    thoughts = f"{SECRET} {at}" + "." * (500 if question == LONG else 0)
    return Step(Block(TITLES[at], thoughts, f"found {at}"))


@dataclass(eq=False)
class Paced:
    """Thinks by a script about everything; about what begins with "slow" one extension for each `go`."""

    play: Play = usual
    steps: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    cancelled: threading.Event = field(default_factory=threading.Event)
    heard: list[str] = field(default_factory=list[str])
    """Every context that the model read, as text."""
    era: int = 0

    def go(self, steps: int = 1) -> None:
        """Let so many extensions be written."""
        self.steps.release(steps)

    def rest(self) -> None:
        """Take back what was not used, and end what still waits: the next test begins."""
        self.era += 1
        while self.steps.acquire(blocking=False):
            pass
        self.cancelled.clear()
        self.heard.clear()

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: list[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        question = prefix.messages[-1].content
        self.heard.append(" ".join(message.content for message in prefix.messages))
        era = self.era
        try:
            while question.startswith("slow") and not self.steps.acquire(blocking=False):
                await asyncio.sleep(0.005)
                if era != self.era:
                    raise SamplerError("nobody waits for this any more")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await ScriptedSampler({question: self.play}).extend(prefix, limit, samplings, hear)


class Easy:
    """A rater that expects to be right at once about what is easy."""

    async def rate(self, prefixes: Sequence[Prefix]) -> list[Rating]:
        return [Rating(0.9 if "easy" in prefix.messages[-1].content else 0.1, 1.0) for prefix in prefixes]


@dataclass(frozen=True)
class Stage:
    """A server, and the browser."""

    url: str
    sampler: Paced
    browser: Browser
    server: uvicorn.Server

    def hang_up(self) -> None:
        """Break all connections, as a network does."""
        for one in list(self.server.server_state.connections):
            one.loop.call_soon_threadsafe(one.transport.abort)


def served(stack: ExitStack, browser: Browser, sampler: Any, settings: Settings | None = None, **model: Any) -> Stage:
    """A stage whose server ends with the stack."""
    budgets = {effort: replace(budget, answer=600) for effort, budget in BUDGETS.items()}
    usual = {"price": Price(1, 2), "budgets": budgets, "router": Router(ROUTED, Easy())}
    main = Model(name="tiny", worker=Worker(sampler), **usual | model)
    server = uvicorn.Server(
        uvicorn.Config(
            application(settings or Settings(), Models(main), Store()),
            port=0,
            log_level="error",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    stack.callback(thread.join, 10)
    stack.callback(setattr, server, "should_exit", True)
    while not server.started:
        time.sleep(0.005)
    host, port = server.servers[0].sockets[0].getsockname()
    return Stage(f"http://{host}:{port}", sampler, browser, server)


@dataclass(frozen=True)
class Seen:
    """A page with all that went over its wire, and what it complained of."""

    page: Page
    stage: Stage
    wire: list[str] = field(default_factory=list[str])
    """Methods and addresses, in their order."""
    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The bodies of what was asked."""
    complaints: list[str] = field(default_factory=list[str])

    @property
    def sampler(self) -> Paced:
        """What thinks."""
        return self.stage.sampler

    def begin(self) -> None:
        """Show the page as to one who was never here."""
        self.page.unroute_all()
        self.page.goto(f"{self.stage.url}/page/icon.svg")  # what the page saves when it is left is saved by then
        self.page.evaluate("localStorage.clear()")
        for told in (self.wire, self.sent, self.complaints):
            told.clear()
        self.page.goto(self.stage.url)
        expect(self.page.locator("#examples button")).to_have_count(9)

    def ask(self, question: str) -> None:
        """As a user does."""
        self.page.get_by_label("Question", exact=True).fill(question)
        self.page.keyboard.press("Enter")

    def done(self, state: str = "done", count: int = 1) -> None:
        """Wait until so many turns have ended so."""
        expect(self.page.locator(f".turn[data-state={state}]")).to_have_count(count)

    def until(self, expression: str) -> None:
        """Wait until this is true on the page, whose policy keeps the browser's driver from waiting there itself."""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"never came true: {expression}"
            self.page.wait_for_timeout(20)

    def button(self, name: str) -> Locator:
        """By what it is called."""
        return self.page.get_by_role("button", name=name)

    def responses(self) -> list[str]:
        """The ids of all responses that this browser knows."""
        return self.page.evaluate(
            "Object.entries(localStorage).filter(([name]) => name.startsWith('ponder.chat.'))"
            ".flatMap(([, turns]) => JSON.parse(turns).map((turn) => turn.response)).filter(Boolean)"
        )


def look(stage: Stage, **how: Any) -> Seen:
    """A page in a context of its own, which is the caller's to close."""
    seen = Seen(stage.browser.new_context(**how).new_page(), stage)
    page = seen.page
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and seen.complaints.append(f"{said.text} {said.location}"))
    page.on("request", lambda request: seen.wire.append(f"{request.method} {request.url}"))
    asked = "/v1/responses"
    page.on("request", lambda one: one.url.endswith(asked) and seen.sent.append(one.post_data_json or {}))
    # Streams are read by the page itself: what passes here is what it got, chunk by chunk.
    page.add_init_script(
        "{ const decode = TextDecoderStream; window.wire = [];"
        " window.TextDecoderStream = class extends decode { get readable() {"
        " const [a, b] = super.readable.tee(); (async () => { for await (const text of b) window.wire.push(text) })()"
        ".catch(() => {});"
        " return a } } }"
    )
    seen.begin()
    return seen
