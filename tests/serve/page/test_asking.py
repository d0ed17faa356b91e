"""Asking on the page, and what becomes of conversations: choices, keys, other tries, and what is forgotten."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from ponder.serve.keys import Keys
from ponder.serve.settings import Settings
from tests.serve.page.stage import Paced, expect, needs_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Route

    from tests.serve.page.stage import Seen

pytestmark = needs_chromium


def kept(seen: Seen, response: str) -> int:
    """What the server says of a response."""
    return httpx.get(f"{seen.stage.url}/v1/responses/{response}").status_code


def test_auto_says_who_answered(seen: Seen) -> None:
    page, facts = seen.page, seen.page.locator(".turn:last-child .fact")
    expect(page.get_by_label("Model").locator("option")).to_have_text(["tiny", "auto"])
    page.get_by_label("Effort").select_option("auto")
    for count, (question, effort) in enumerate({"easy one": "low", "a hard one": "high"}.items(), 1):
        seen.ask(question)
        seen.done(count=count)
        expect(facts.nth(0)).to_have_text("tiny")
        expect(facts.nth(1)).to_have_text(f"auto: {effort}")
    page.get_by_label("Model").select_option("auto")
    expect(page.get_by_label("Effort")).to_have_value("auto")
    seen.ask("another easy one")
    seen.done(count=3)
    assert (seen.sent[-1]["model"], seen.sent[-1]["reasoning"]["effort"]) == ("auto", "auto")
    expect(facts.nth(0)).to_have_text("tiny")
    expect(facts.nth(0)).to_have_attribute("title", "The model that was chosen")
    page.reload()
    for name in ("Model", "Effort"):
        expect(page.get_by_label(name)).to_have_value("auto")


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


def test_what_is_asked_again_or_deleted_is_forgotten_by_the_server(seen: Seen) -> None:
    page = seen.page
    seen.ask("one")
    seen.done()
    seen.ask("two")
    seen.done(count=2)
    first, second = seen.responses()
    expect(page.get_by_text("until you delete them here")).to_be_visible()
    with page.expect_response(lambda reply: reply.request.method == "DELETE"):
        seen.button("Retry").nth(1).click()
    seen.done(count=2)
    third = seen.responses()[1]
    assert [kept(seen, one) for one in (first, second, third)] == [200, 404, 200]
    page.locator("#new").click()
    seen.ask("slow three")
    seen.sampler.go()
    expect(page.locator(".step")).to_have_count(1)
    page.reload()
    expect(page.locator(".thought.thinking")).to_be_visible()
    (running,) = set(seen.responses()) - {first, third}
    seen.button("Delete slow three").click()
    expect(page.locator("#welcome")).to_be_visible()
    assert seen.sampler.cancelled.wait(5)
    seen.button("Delete one").click()
    seen.until("localStorage.getItem('ponder.owed') === '[]'")
    assert [kept(seen, one) for one in (first, third, running)] == [404, 404, 404]
    expect(page.locator("#chats li")).to_have_count(0)
    assert not seen.complaints


def test_what_could_not_be_deleted_is_deleted_at_the_next_visit(seen: Seen) -> None:
    page = seen.page
    seen.ask("one")
    seen.done()
    (response,) = seen.responses()
    page.route(f"**/v1/responses/{response}", lambda route: route.abort())
    seen.button("Delete one").click()
    expect(page.locator("#chats li")).to_have_count(0)
    assert kept(seen, response) == 200
    page.unroute_all()
    page.reload()
    seen.until("localStorage.getItem('ponder.owed') === '[]'")
    assert kept(seen, response) == 404


def test_back_and_forward_go_through_conversations(seen: Seen) -> None:
    page, bubble = seen.page, seen.page.locator(".bubble")
    seen.ask("the first")
    seen.done()
    page.locator("#new").click()
    seen.ask("slow second")
    seen.sampler.go()
    expect(page.locator(".step")).to_have_count(1)
    page.get_by_role("link", name="the first").click()
    expect(bubble).to_have_text("the first")
    page.go_back()
    expect(bubble).to_have_text("slow second")
    seen.sampler.go(3)
    seen.done()
    page.go_back()
    expect(page.locator("#welcome")).to_be_visible()
    page.go_forward()
    expect(page.locator(".answer")).to_have_text("the answer to slow second")
    assert not seen.complaints


@pytest.mark.parametrize("seen", [{"permissions": ["clipboard-read", "clipboard-write"]}], indirect=True)
def test_an_answer_can_be_copied(seen: Seen) -> None:
    seen.ask("formula")
    seen.done()
    seen.button("Copy").click()
    expect(seen.button("Copied")).to_be_visible()
    assert seen.page.evaluate("navigator.clipboard.readText()").startswith("So $x = \\frac{-b")
    expect(seen.button("Copy")).to_have_text("Copy")


def test_what_was_cut_off_can_be_thought_about_for_longer(seen: Seen) -> None:
    seen.ask("endless")
    seen.done("incomplete")
    expect(seen.page.locator(".notice")).to_contain_text("The limit on tokens was reached")
    seen.button("Think longer").click()
    expect(seen.page.get_by_label("Effort")).to_have_value("high")
    seen.done("incomplete")
    assert [one["reasoning"]["effort"] for one in seen.sent] == ["medium", "high"]


def test_a_key_is_asked_for_and_kept(another: Callable[..., Seen]) -> None:
    seen = another(Paced(), Settings(keys=Keys((hashlib.sha256(b"right").digest(),))))
    page = seen.page
    seen.ask("let me in")
    seen.done("failed")
    for key, state in (("wrong", "failed"), ("right", "done")):
        page.get_by_label("API key").fill(key)
        with page.expect_response(re.compile("/v1/responses$")):
            page.keyboard.press("Enter")
        seen.done(state)
    expect(page.locator(".answer")).to_have_text("the answer to let me in")
    expect(page.get_by_label("Model").locator("option")).not_to_have_count(0)
    page.reload()
    seen.ask("and again")
    seen.done(count=2)


def test_a_question_sent_before_the_page_is_ready_is_asked_then(seen: Seen) -> None:
    page = seen.page
    seen.ask("the first")
    seen.done()
    held: list[Route] = []
    page.route("**/page/about.json", lambda route: held.append(route))
    with page.expect_request("**/page/about.json"):
        page.reload()
    seen.ask("too early")
    expect(page.get_by_label("Question", exact=True)).to_have_value("too early")
    assert len(held) == 1 and len(seen.sent) == 1
    held[0].continue_()
    seen.done(count=2)
    assert [one["content"] for one in seen.sent[-1]["input"]] == ["the first", "the answer to the first", "too early"]
    assert not seen.complaints


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
