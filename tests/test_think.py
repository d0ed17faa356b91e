"""Thinking with a scripted model: budgets hold, and there is always an answer or a reason."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ponder.engine.scripted import ScriptedSampler
from ponder.errors import ConfigError, ProblemError, SamplerError
from ponder.text import format
from ponder.text.effort import Budget
from ponder.think import SIDE_BY_SIDE, Request, side_by_side, think, think_one
from ponder.types import Block, Effort, Ended, Message

BLOCKS = tuple(Block(f"step {i}", "thinking hard", f"so {i}") for i in range(4))
SIZE = len(format.text_of(format.render_block(BLOCKS[0])))
SAMPLER = ScriptedSampler({"q": format.render(BLOCKS, "42"), "endless": format.render(BLOCKS * 50, "43")})


def request(prompt: str = "q", effort: Effort = Effort.MEDIUM, budget: Budget | None = None) -> Request:
    return Request((Message("user", prompt),), effort, budget=budget)


def test_a_chain_thinks_and_answers() -> None:
    found = think([request()], SAMPLER)[0]
    assert (found.blocks, found.answer, found.ended) == (BLOCKS, "42", Ended.ANSWERED)
    assert (found.tokens.thinking, found.tokens.answer) == (4 * SIZE, 2)


def test_no_effort_means_no_thought() -> None:
    found = think([request(effort=Effort.NONE)], SAMPLER)[0]
    assert (found.blocks, found.answer, found.tokens.thinking) == ((), "42", 0)


@pytest.mark.parametrize("thinking", [0, 5, SIZE - 1, SIZE, SIZE + 3, 2 * SIZE + 9, 3 * SIZE])
def test_the_budget_is_never_passed_and_the_answer_always_has_room(thinking: int) -> None:
    found = think([request("endless", budget=Budget(thinking))], SAMPLER)[0]
    assert found.tokens.thinking <= thinking
    assert found.answer == "43" and found.ended is Ended.ANSWERED
    assert len(found.blocks) == thinking // SIZE


def test_depth_ends_a_thought() -> None:
    found = think([request("endless", budget=Budget(10**6, depth=3))], SAMPLER)[0]
    assert len(found.blocks) == 3 and found.answer == "43"


def test_an_answer_longer_than_its_reserve_says_so() -> None:
    found = think([request(budget=Budget(0, answer=1))], SAMPLER)[0]
    assert (found.answer, found.ended) == ("4", Ended.CUT_OFF)


def test_many_requests_keep_their_order() -> None:
    found = think([request("endless", Effort.LOW), request(), request(effort=Effort.NONE)], SAMPLER)
    assert [completion.answer for completion in found] == ["43", "42", "42"]


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ProblemError, match="empty"):
        think([request("  ")], SAMPLER)


def test_a_prompt_without_a_script_is_an_error() -> None:
    with pytest.raises(SamplerError, match="no script"):
        think([request("unheard of")], SAMPLER)


def test_a_search_is_named_in_the_request() -> None:
    asked = replace(request(), search="majority", budget=Budget(10**6, samples=3), temperature=1.0)
    found = think([asked, request()], SAMPLER)
    assert found[0].tokens.discarded == 2 * found[1].tokens.generated and found[0].answer == found[1].answer
    assert found[0].tree and found[0].tree.search == "majority"
    assert found[1].tree and all(node.kept for node in found[1].tree.nodes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search": "bream"}, "unknown search 'bream': the searches are"),
        ({"search": "beam", "budget": Budget(100, samples=3, width=2)}, "not a multiple"),
        ({"search": "majority", "budget": Budget(100, samples=0)}, "at least 1"),
        ({"search": "best_of_n"}, "`ponder train reward`"),
    ],
)
def test_a_search_that_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        think([replace(request(), **changes)], SAMPLER)


def test_inside_a_running_loop_the_error_names_the_way_out() -> None:
    async def inside() -> None:
        with pytest.raises(ConfigError, match="await think_one"):
            think([request()], SAMPLER)
        assert (await think_one(request(), SAMPLER)).answer == think_answer

    think_answer = think([request()], SAMPLER)[0].answer
    asyncio.run(inside())


def test_requests_with_many_chains_are_done_one_after_the_other() -> None:
    def asked(search: str, samples: int) -> Request:
        return Request((Message("user", "?"),), Effort.LOW, search=search, budget=Budget(8, samples=samples, width=2))

    assert side_by_side([asked("majority", 64)] * 300) == 2 * SIDE_BY_SIDE // 64
    assert side_by_side([asked("majority", 10**6)] * 300) == 2
    assert side_by_side([asked("mcts", 64)] * 3000) == SIDE_BY_SIDE
    assert side_by_side([asked("single", 1)] * 3) == 3
    assert side_by_side([]) == 0
