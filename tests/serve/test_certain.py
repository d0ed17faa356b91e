"""Searches are shown while they go on: a block as soon as it is certain to be kept, and nothing that is discarded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from ponder.engine.scripted import ScriptedSampler, Step
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.search import SEARCHES
from ponder.text.effort import Budget
from ponder.think import Request, think
from ponder.types import Block, Effort, Ended, Message, Rating, Thought

if TYPE_CHECKING:
    from tests.serve.conftest import Live, Serve, Stepped

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "input": "2+2?", "stream": True}


class Shown:
    """A sampler that is told what is certain."""

    def __init__(self, script: Any) -> None:
        self.inner, self.told = ScriptedSampler({"2+2?": script}), list[Thought]()

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        return await self.inner.extend(prefix, limit, samplings, hear)

    def certain(self, blocks: Thought) -> None:
        self.told.append(blocks)


def wild(sameness: float, broken: float) -> Any:
    """Blocks of which few or many read the same, answers that break off, and candidates that are lost."""

    def play(prefix: Prefix, rng: Random) -> Step:
        rated = Rating(rng.random(), rng.random())
        if rng.random() < broken / 4:
            raise SamplerError("lost")
        if prefix.answering or (not prefix.think_on and rng.random() < 0.3):
            ended = Ended.CUT_OFF if rng.random() < broken else Ended.ANSWERED
            return Step(rng.choice("45"), rated, rated, ended)
        name = "same" if rng.random() < sameness else f"{rng.random()}"
        return Step(Block(name, f"{name}?", name), rated, rated)

    return play


@hypothesis(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.1, 0.6, 0.95]),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.sampled_from([(1, 1), (4, 1), (4, 2), (6, 3), (12, 4)]),
)
def test_what_is_told_is_kept(seed: int, sameness: float, broken: float, drawn: tuple[int, int]) -> None:
    budget = Budget(600, samples=drawn[0], width=drawn[1], depth=5)
    for search in SEARCHES:
        shown = Shown(wild(sameness, broken))
        asked = Request((Message("user", "2+2?"),), temperature=1.0, seed=seed, budget=budget, search=search)
        try:
            (completion,) = think([asked], shown)
        except SamplerError:  # all candidates were lost: the stream ends in an error, with what was certain till then
            kept = max(shown.told, key=len, default=())
        else:
            kept = completion.blocks
        assert all(blocks == kept[: len(blocks)] for blocks in shown.told), search


def test_one_line_is_certain_at_once_and_a_tree_where_its_lines_meet() -> None:
    soon: dict[str, int] = {}
    for search in SEARCHES:
        for samples, width in ((1, 1), (4, 2)):
            for seed in range(8):
                shown = Shown(wild(0.8, 0.0))
                budget = Budget(150, samples=samples, width=width, depth=5)
                asked = Request((Message("user", "2+2?"),), temperature=1.0, seed=seed, budget=budget, search=search)
                (completion,) = think([asked], shown)
                told = max(map(len, shown.told), default=0)
                assert samples > 1 or search == "mcts" or told == len(completion.blocks)
                soon[search] = soon.get(search, 0) + (told if samples > 1 else 0)
    assert {search for search, told in soon.items() if told} >= {"single", "beam", "dvts", "mcts", "revise"}


def play(prefix: Prefix, rng: Random) -> Step:
    """A first step that all candidates agree on, then some that differ."""
    if prefix.answering or len(prefix.blocks) == 3:
        return Step("4", Rating(0.5, 0.5))
    name = f"{rng.random()}" if prefix.blocks else "Add the ones"
    return Step(Block(name, "work", f"{name} is done"), Rating(rng.random(), 0.5))


def summaries(lines: Iterator[str], *, most: int = 1) -> list[str]:
    """The first summaries of an open stream, of either API."""
    found: list[str] = []
    for line in lines:
        if not line.startswith("data: {"):
            continue
        told = json.loads(line.removeprefix("data: "))
        for choice in told.get("choices", ()):
            found += [choice["delta"]["reasoning_content"]] if "reasoning_content" in choice["delta"] else []
        found += [told["text"]] if told.get("type") == "response.reasoning_summary_text.done" else []
        if len(found) >= most:
            break
    return found


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize(("search", "steps"), [("beam", 4), ("revise", 1), ("single", 1)])
def test_the_first_summary_comes_while_it_still_thinks(
    serve: Serve, stepped: Stepped, live: Live, path: str, search: str, steps: int
) -> None:
    stepped.inner = ScriptedSampler({"2+2?": play})
    budgets = {effort: Budget(400, samples=4, width=2) for effort in Effort}
    client = live(serve(sampler=stepped, search=search, budgets=budgets, temperature=1.0))
    with client.stream("POST", path, json=ASK) as reply:
        stepped.go(steps)
        lines = reply.iter_lines()
        assert summaries(lines) == ["**Add the ones**\n\nAdd the ones is done"]
        assert "ponder_thinking 1.0" in client.get("/metrics").text
        stepped.go(99)
        rest = summaries(lines, most=9)
    assert len(rest) >= 2


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_vote_whose_chains_are_independent_is_not_silent(
    serve: Serve, stepped: Stepped, live: Live, path: str
) -> None:
    budgets = {effort: Budget(400, samples=4) for effort in Effort}
    served = serve(sampler=stepped, search="majority", budgets=budgets, temperature=1.0, ping_seconds=0.02)
    with live(served).stream("POST", path, json=ASK) as reply:
        stepped.go(4)  # each chain has its first block
        seen, lines = list[str](), reply.iter_lines()
        while seen.count(": ping") < 3:
            seen.append(next(lines))
        assert path == CHAT or "event: response.in_progress" in seen
        stepped.go(99)
        rest = list(lines)
    assert "ones" not in str(seen) and "Add the ones" in str(rest) and rest[-2] == "data: [DONE]"
