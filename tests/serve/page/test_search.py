"""The tree of a search on the page: while it grows, and when it is whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ponder.engine.scripted import Step
from ponder.interfaces import Prefix
from ponder.serve.settings import Settings
from ponder.text.effort import Budget, Plan
from ponder.types import Block, Effort, Rating
from tests.serve.page.stage import SECRET, Paced, expect, needs_chromium

if TYPE_CHECKING:
    from tests.serve.page.stage import Seen

pytestmark = needs_chromium
SEARCH: dict[str, Any] = {
    "budgets": {effort: Budget(400, samples=6, width=2) for effort in Effort},
    "plans": {effort: Plan(search="beam") for effort in Effort},
    "temperature": 1.0,
    "router": None,
}


def play(prefix: Prefix, rng: Random) -> Step:
    """Two blocks, each of them good or bad."""
    if prefix.answering or len(prefix.blocks) == 2:
        return Step("4", Rating(0.5, 0.5))
    name = rng.choice(("good", "bad"))
    return Step(Block(f"a {name} idea", SECRET, f"{rng.random():.6f}"), Rating(0.9 if name == "good" else 0.1, 0.5))


@pytest.mark.parametrize("exposed", [False, True])
def test_the_tree_shows_what_was_tried_and_no_text_of_what_was_discarded(
    another: Callable[..., Seen], exposed: bool
) -> None:
    seen = another(Paced(play), Settings(expose_thoughts=exposed), **SEARCH)
    page = seen.page
    seen.ask("search")
    seen.done()
    seen.button("Tree of").click()
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


def test_the_tree_grows_while_the_search_goes_on(another: Callable[..., Seen]) -> None:
    seen = another(Paced(play), **SEARCH)
    page, dots = seen.page, seen.page.locator(".dot")
    seen.ask("slow search")
    seen.sampler.go(3)
    seen.button("Tree of 3").click()
    for count in (3, 5, 8):
        expect(dots).to_have_count(count)
        expect(page.locator("#tree-body .fact").first).to_have_text("searching…")
        expect(page.locator("#tree-body .fact").nth(1)).to_have_text(f"{count} candidates")
        assert not page.locator(".dot.kept").count()
        assert page.locator(".turn").get_attribute("data-state") == "thinking"
        assert all(mark.get_attribute("fill") for mark in page.locator(".dot .mark").all()), "each has its rating"
        seen.sampler.go({3: 2, 5: 3, 8: 20}[count])
    seen.done()
    expect(page.locator(".dot.kept")).to_have_count(3)
    expect(page.locator("#tree-body .fact").first).to_have_text("beam")
    assert dots.count() > 8 and not seen.complaints
