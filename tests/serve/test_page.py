"""The page, in a real browser: one server of scripted thoughts, and one Chromium, for all that is seen here."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from ponder.engine.scripted import ScriptedSampler, Step
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.serve.app import application
from ponder.serve.models import Model, Models
from ponder.serve.settings import Price, Settings
from ponder.serve.store import Store
from ponder.serve.worker import Worker
from ponder.text.effort import BUDGETS, Budget, Plan
from ponder.types import Block, Effort, Rating

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or sync_playwright is None,
    reason="the page is tested in Chromium: `make chromium` installs it, `pip install playwright` what drives it",
)

SECRET = "nobody may read this"
TITLES = ("Add the ones", "Carry", "Check it")
ATTACK = (
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script> [a](javascript:window.pwned=1) '
    "![b](https://elsewhere.example/pixel.png) <style>*{display:none}</style> $\\href{javascript:1}{x}$ **<b>bold</b>**"
)
ANSWERS = {
    "attack": ATTACK,
    "formula": "So $x = \\frac{-b \\pm \\sqrt{b^2}}{2a}$, costs $5 and 2*3*4.\n\n"
    "| a | b |\n|--|--:|\n| 1 | `x` |\n\n```py\ny\n```",
}


@dataclass(eq=False)
class Paced:
    """Thinks three blocks about everything; about what begins with "slow" one extension for each `go`."""

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

    def play(self, prefix: Prefix, rng: Random) -> Step:
        """What comes next."""
        at = len(prefix.blocks)
        if prefix.answering or at == len(TITLES):
            return Step(ANSWERS.get(prefix.messages[-1].content, f"the answer to {prefix.messages[-1].content}"))
        return Step(Block(TITLES[at], f"{SECRET} {at}", f"found {at}"))


@dataclass(frozen=True)
class Stage:
    """The server and the browser."""

    url: str
    sampler: Paced
    browser: Browser


def serving(stack: ExitStack, settings: Settings, sampler: Any, **model: Any) -> str:
    """The address of a server that ends with the stack."""
    app = application(settings, Models(Model(name="tiny", worker=Worker(sampler), **model)), Store())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    stack.callback(thread.join, 10)
    stack.callback(setattr, server, "should_exit", True)
    while not server.started:
        time.sleep(0.005)
    return "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        sampler = Paced()
        budgets = {effort: replace(budget, answer=600) for effort, budget in BUDGETS.items()}
        url = serving(stack, Settings(), sampler, price=Price(1, 2), budgets=budgets)
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--disable-dev-shm-usage", "--disable-gpu"])
        stack.callback(browser.close)
        expect.set_options(timeout=20_000)  # nothing takes so long but on a machine that has other things to do
        yield Stage(url, sampler, browser)
        sampler.go(100)


@dataclass(frozen=True)
class Seen:
    """A page with all that went over its wire, and what it complained of."""

    page: Page
    sampler: Paced
    wire: list[str]
    sent: list[dict[str, Any]]
    complaints: list[str]

    def ask(self, question: str) -> None:
        """As a user does."""
        self.page.get_by_label("Question", exact=True).fill(question)
        self.page.keyboard.press("Enter")

    def done(self, state: str = "done", count: int = 1) -> None:
        """Wait until so many turns have ended so."""
        expect(self.page.locator(f".turn[data-state={state}]")).to_have_count(count)


@pytest.fixture
def seen(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Seen]:
    context = stage.browser.new_context(**getattr(request, "param", {}))
    found = Seen(context.new_page(), stage.sampler, [], [], [])
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("console", lambda said: said.type == "error" and found.complaints.append(said.text))

    def keep(response: Any) -> None:
        if "/v1/responses" in response.url:
            found.sent.append(json.loads(response.request.post_data or "{}"))

    found.page.on("response", keep)
    # Streams are read by the page itself: what passes here is what it got, chunk by chunk.
    found.page.add_init_script(
        "{ const decode = TextDecoderStream; window.wire = [];"
        " window.TextDecoderStream = class extends decode { get readable() {"
        " const [a, b] = super.readable.tee(); (async () => { for await (const text of b) window.wire.push(text) })();"
        " return a } } }"
    )
    found.page.goto(stage.url)
    expect(found.page.locator("#examples button")).to_have_count(9)
    stage.sampler.rest()
    yield found
    context.close()


def test_the_block_is_there_before_the_answer_and_folds_when_it_comes(seen: Seen) -> None:
    page, label = seen.page, seen.page.locator(".headline")
    seen.ask("slow sum")
    expect(page.locator(".thought.thinking")).to_be_visible()
    expect(label).to_have_text("Thinking…")
    expect(page.locator(".answer")).to_be_empty()
    for number, title in enumerate(TITLES, 1):
        seen.sampler.go()
        expect(label).to_have_text(title)
        expect(page.locator(".step")).to_have_count(number)
    expect(page.get_by_role("status")).to_contain_text(re.compile("|".join(TITLES)))
    expect(page.locator(".fold")).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".clock")).to_have_text(re.compile(r"^\d+\ss$"))
    seen.sampler.go()
    seen.done()
    expect(page.locator(".answer")).to_have_text("the answer to slow sum")
    expect(label).to_have_text(re.compile(r"^Thought for [\d.]+\ss · \d+ tokens$"))
    expect(page.locator(".fold")).to_have_attribute("aria-expanded", "false")
    facts = page.locator(".foot .fact")
    expect(facts.nth(0)).to_have_text("tiny")
    expect(facts.nth(1)).to_have_text("medium")
    expect(facts.nth(2)).to_have_text(re.compile(r"^\d+ tokens$"))
    expect(facts.nth(3)).to_have_text(re.compile(r"^\$0\.\d{6}$"))
    expect(page.get_by_role("status")).to_contain_text("the answer to slow sum")
    assert not seen.complaints


def test_raw_thoughts_are_neither_shown_nor_sent(seen: Seen) -> None:
    seen.ask("quick one")
    seen.done()
    seen.ask("and another")
    seen.done(count=2)
    wire = "".join(seen.page.evaluate("window.wire"))
    assert all(title in wire for title in TITLES)
    assert SECRET not in wire and SECRET not in seen.page.content()
    assert SECRET not in seen.page.evaluate("JSON.stringify(localStorage)")
    last = seen.sent[-1]
    assert [item["content"] for item in last["input"]] == ["quick one", "the answer to quick one", "and another"]
    assert not any(title in json.dumps(seen.sent) for title in TITLES)
    assert not any(word in context for context in seen.sampler.heard for word in (SECRET, *TITLES))


def test_what_was_being_thought_goes_on_after_a_reload(seen: Seen) -> None:
    page = seen.page
    seen.ask("slow reload")
    seen.sampler.go(2)
    expect(page.locator(".step")).to_have_count(2)
    page.reload()
    expect(page.locator(".thought.thinking .step")).to_have_count(2)
    seen.sampler.go(2)
    seen.done()
    expect(page.locator(".step")).to_have_count(3)
    expect(page.locator(".answer")).to_have_text("the answer to slow reload")
    page.reload()
    expect(page.locator(".answer")).to_have_text("the answer to slow reload")
    expect(page.locator(".bubble")).to_have_text("slow reload")
    assert not seen.complaints


def test_stop_ends_the_thought_and_keeps_what_there_is(seen: Seen) -> None:
    page = seen.page
    seen.ask("slow to be stopped")
    seen.sampler.go()
    expect(page.locator(".step")).to_have_count(1)
    page.get_by_role("button", name="Stop", exact=True).click()
    seen.done("stopped")
    assert seen.sampler.cancelled.wait(5)
    expect(page.locator(".notice")).to_have_text("Stopped.")
    expect(page.locator(".step")).to_have_count(1)
    page.reload()
    seen.done("stopped")
    seen.sampler.cancelled.clear()
    seen.ask("slow by key")
    page.keyboard.press("Escape")
    seen.done("stopped", 2)
    assert seen.sampler.cancelled.wait(10)


def test_retry_and_edit_ask_again_in_place(seen: Seen) -> None:
    page = seen.page
    seen.ask("first")
    seen.done()
    page.get_by_role("button", name="Retry").click()
    seen.done()
    expect(page.locator(".turn")).to_have_count(1)
    seen.ask("second")
    seen.done(count=2)
    page.locator(".asked").first.hover()
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Edit the question").fill("instead")
    page.keyboard.press("Enter")
    seen.done()
    expect(page.locator(".bubble")).to_have_text("instead")
    assert [item["content"] for item in seen.sent[-1]["input"]] == ["instead"]


def test_a_models_text_is_only_text(seen: Seen) -> None:
    page = seen.page
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    seen.ask("attack")
    seen.done()
    page.locator(".fold").click()
    assert page.evaluate("window.pwned") is None
    assert page.locator(".turn img, .turn script, .turn style, .turn [onerror], .turn a").count() == 1  # the picture
    expect(page.locator(".answer a")).to_have_attribute("href", "https://elsewhere.example/pixel.png")
    expect(page.locator(".answer strong")).to_have_text("<b>bold</b>")
    expect(page.locator(".answer")).to_contain_text("<script>window.pwned=1</script>")
    assert not [url for url in requests if "elsewhere" in url]
    seen.ask(ATTACK)
    seen.done(count=2)
    page.reload()
    seen.done(count=2)
    assert page.evaluate("window.pwned") is None and not seen.complaints


def test_markdown_and_formulas(seen: Seen) -> None:
    answer = seen.page.locator(".answer")
    seen.ask("formula")
    seen.done()
    expect(answer.locator("math mfrac msqrt msup")).to_have_count(1)
    expect(answer.locator("p").first).to_contain_text("costs $5 and 2*3*4.")
    expect(answer.locator("td").nth(1)).to_have_css("text-align", "right")
    expect(answer.locator("pre code")).to_have_text("y")
    assert not answer.locator("math merror, math + code").count()


def test_everything_works_by_keyboard(seen: Seen) -> None:
    page = seen.page
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    seen.done()
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
    fold = page.locator(".fold")
    fold.focus()
    for key, state in (("Enter", "true"), ("Space", "false"), ("Enter", "true")):
        page.keyboard.press(key)
        expect(fold).to_have_attribute("aria-expanded", state)
    expect(page.locator(".step strong").first).to_be_visible()
    for name in ("Model", "Effort"):
        page.get_by_label(name).focus()
        expect(page.get_by_label(name)).to_be_focused()
    page.get_by_label("Effort").select_option("none")
    seen.ask("at once")
    seen.done(count=2)
    assert seen.sent[-1]["reasoning"]["effort"] == "none"
    expect(page.locator(".turn").nth(1).locator(".thought")).to_be_hidden()


@pytest.mark.parametrize(
    "seen", [{"viewport": {"width": 340, "height": 640}, "reduced_motion": "reduce"}], indirect=True
)
def test_a_narrow_screen_without_motion(seen: Seen) -> None:
    page = seen.page
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    seen.ask("slow " + "long" * 60)
    expect(page.locator(".thought.thinking")).to_be_visible()
    assert page.locator(".headline").evaluate("one => getComputedStyle(one).animationName") == "none"
    seen.sampler.go(4)
    seen.done()
    assert not page.evaluate(wide)
    expect(page.locator("#side")).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(page.locator("#chats li")).to_have_count(1)
    page.get_by_role("button", name="New chat").first.click()
    expect(page.locator("#welcome")).to_be_visible()


def test_an_example_is_answered_and_graded(seen: Seen) -> None:
    seen.page.locator("#examples button").first.click()
    seen.done()
    expect(seen.page.locator(".fact.wrong")).to_have_text("✗ wrong")


def test_an_error_is_told_with_its_id(seen: Seen) -> None:
    seen.page.route(
        "**/v1/responses",
        lambda route: route.fulfill(
            status=429, headers={"x-request-id": "req_7"}, json={"error": {"message": "Try again soon.", "code": "x"}}
        ),
    )
    seen.ask("anything")
    seen.done("failed")
    expect(seen.page.get_by_role("alert")).to_contain_text("Try again soon.")
    expect(seen.page.get_by_role("alert")).to_contain_text("req_7")


@pytest.mark.parametrize("exposed", [False, True])
def test_the_tree_shows_what_was_tried_and_no_text_of_what_was_discarded(stage: Stage, exposed: bool) -> None:
    def play(prefix: Prefix, rng: Random) -> Step:
        if prefix.answering or len(prefix.blocks) == 2:
            return Step("4", Rating(0.5, 0.5))
        name = rng.choice(("good", "bad"))
        return Step(Block(f"a {name} idea", SECRET, f"{rng.random():.6f}"), Rating(0.9 if name == "good" else 0.1, 0.5))

    class Anything(ScriptedSampler):
        async def extend(self, prefix: Prefix, *more: Any) -> list[Extension]:
            return await ScriptedSampler({prefix.messages[-1].content: play}).extend(prefix, *more)

    budgets = {effort: Budget(400, samples=6, width=2) for effort in Effort}
    plans = {effort: Plan(search="beam") for effort in Effort}
    with ExitStack() as stack:
        settings = Settings(expose_thoughts=exposed)
        url = serving(stack, settings, Anything({}), plans=plans, budgets=budgets, temperature=1.0)
        page = stage.browser.new_page()
        stack.callback(page.close)
        page.goto(url)
        page.get_by_label("Question", exact=True).fill("search")
        page.get_by_label("Question", exact=True).press("Enter")
        expect(page.locator(".turn[data-state=done]")).to_have_count(1)
        page.get_by_role("button", name="Tree of").click()
        dots, kept = page.locator(".dot"), page.locator(".dot.kept")
        expect(kept).to_have_count(3)
        assert dots.count() > 8 and page.locator(".lines path.kept").count() == 3
        expect(page.locator(".tree-detail strong")).to_have_text("4")
        kept.first.focus()
        expect(page.locator(".tree-detail strong")).to_have_text(re.compile("^a (good|bad) idea$"))
        page.keyboard.press("ArrowRight")
        expect(kept.nth(1)).to_be_focused()
        page.locator(".dot.block:not(.kept)").first.click()
        hidden = page.get_by_text("Its text is not shown: it was discarded.")
        expect(hidden).to_be_hidden() if exposed else expect(hidden).to_be_visible()
        assert SECRET not in page.content()
        page.keyboard.press("Escape")
        expect(page.locator("#tree")).to_be_hidden()
