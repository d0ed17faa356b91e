"""The page, in a real browser: one server of scripted thoughts, and one Chromium, for all that is seen here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.serve.page.stage import CHROMIUM, Paced, Seen, Stage, expect, look, served, sync_playwright


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """The usual server."""
    assert sync_playwright and expect
    with ExitStack() as stack:
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--disable-dev-shm-usage", "--disable-gpu"])
        stack.callback(browser.close)
        expect.set_options(timeout=20_000)  # nothing takes so long but on a machine that has other things to do
        sampler = Paced()
        yield served(stack, browser, sampler)
        sampler.go(100)


@pytest.fixture(scope="package")
def usual(stage: Stage) -> Seen:
    """One page for many tests: a context of its own would cost each of them half a second."""
    return look(stage)


@pytest.fixture
def seen(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Seen]:
    """The page as it is at the first visit; a parameter is how the browser is set up."""
    stage.sampler.rest()
    if how := getattr(request, "param", None):
        found = look(stage, **how)
        yield found
        found.page.context.close()
    else:
        found = request.getfixturevalue("usual")
        found.begin()
        yield found


@pytest.fixture
def another(stage: Stage) -> Iterator[Callable[..., Seen]]:
    """A page of another server, from its sampler, settings and model."""
    with ExitStack() as stack:

        def make(sampler: Any, settings: Any = None, **model: Any) -> Seen:
            found = look(served(stack, stage.browser, sampler, settings, **model))
            stack.callback(found.page.context.close)
            return found

        yield make
