"""A thought on the page: while it comes, when it has ended, and where something goes wrong with it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import httpx

from tests.serve.page.stage import LONG, SECRET, TITLES, expect, needs_chromium

if TYPE_CHECKING:
    from tests.serve.page.stage import Seen

pytestmark = needs_chromium
TIMED = """() => {
  window.times = {};
  addEventListener("keydown", () => (times.sent = performance.now()), true);
  new MutationObserver(() => {
    const label = document.querySelector(".thought.thinking .headline");
    if (label?.textContent && label.offsetHeight) times.shown ??= performance.now();
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""
"""Notes when a question is sent, and when the thinking block is to be seen."""


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


def test_the_block_shimmers_at_once(seen: Seen) -> None:
    page = seen.page
    took: list[float] = []
    for count in range(3):  # of which one may be held up by whatever else the machine does
        page.evaluate(TIMED)
        seen.ask("slow to begin")
        seen.until("times.shown")
        took.append(page.evaluate("times.shown - times.sent"))
        if count < 2:
            seen.sampler.go(4)
            seen.done(count=count + 1)
    assert min(took) <= 200  # milliseconds; nothing that a server says is waited for
    label = page.locator(".turn:last-child .headline")
    expect(label).to_have_css("animation-name", "shimmer")
    expect(page.locator(".turn:last-child .pulse")).to_have_css("animation-name", "turn")
    seen.sampler.go(4)
    seen.done(count=3)
    expect(label).to_have_css("animation-name", "none")


def test_thousands_are_grouped(seen: Seen) -> None:
    seen.page.get_by_label("Effort").select_option("high")
    seen.ask(LONG)
    seen.done()
    expect(seen.page.locator(".headline")).to_have_text(
        re.compile("^Thought for [\\d.]+\u00a0s · 1\u202f\\d{3} tokens$")
    )
    expect(seen.page.locator(".fact").nth(2)).to_have_text(re.compile("^1\u202f\\d{3} tokens$"))


def test_what_was_folded_stays_so(seen: Seen) -> None:
    page, fold = seen.page, seen.page.locator(".fold")
    seen.ask("slow to fold")
    seen.sampler.go()
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.click()
    seen.sampler.go()
    expect(page.locator(".step")).to_have_count(2)
    expect(fold).to_have_attribute("aria-expanded", "false")
    fold.click()
    seen.sampler.go(2)
    seen.done()
    expect(fold).to_have_attribute("aria-expanded", "true")
    page.reload()
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.click()
    page.locator("#new").click()
    page.go_back()
    expect(fold).to_have_attribute("aria-expanded", "false")


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


def test_a_broken_connection_is_taken_up_where_it_broke(seen: Seen) -> None:
    page = seen.page
    seen.ask("slow and broken")
    seen.sampler.go()
    expect(page.locator(".step")).to_have_count(1)
    for steps in (1, 2):
        with page.expect_request(re.compile("starting_after=[0-9]+$")):
            seen.stage.hang_up()
        seen.sampler.go()
        expect(page.locator(".step")).to_have_count(steps + 1)
    seen.sampler.go()
    seen.done()
    expect(page.locator(".step strong")).to_have_text(TITLES)
    expect(page.locator(".answer")).to_have_text("the answer to slow and broken")
    assert len(seen.sent) == 1 and not page.get_by_role("alert").count()


def test_what_the_server_no_longer_has_is_lost(seen: Seen) -> None:
    page = seen.page
    seen.ask("slow and lost")
    seen.sampler.go()
    expect(page.locator(".step")).to_have_count(1)
    page.goto("about:blank")
    page.go_back()
    (response,) = seen.responses()
    page.goto("about:blank")
    assert httpx.delete(f"{seen.stage.url}/v1/responses/{response}").status_code == 200
    page.go_back()
    seen.done("lost")
    expect(page.locator(".notice")).to_have_text("The answer was interrupted, and the server no longer has it.")
    expect(page.locator(".step")).to_have_count(1)
    seen.button("Retry").click()
    seen.sampler.go(4)
    seen.done()


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
