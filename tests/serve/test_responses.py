"""Responses, from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ponder.text.effort import Budget
from ponder.types import Effort

if TYPE_CHECKING:
    from tests.serve.conftest import Events, Serve

SECRET = "nobody may read this"
PART = [
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
]
RAW = [
    "response.content_part.added",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.content_part.done",
]
BEGIN = ["response.created", "response.in_progress", "response.output_item.added"]
ANSWER = [
    "response.output_item.done",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
FIELDS = (
    "id object created_at completed_at status incomplete_details error model previous_response_id instructions output "
    "tools tool_choice truncation parallel_tool_calls text top_p temperature presence_penalty frequency_penalty "
    "top_logprobs reasoning usage max_output_tokens max_tool_calls store background service_tier metadata "
    "safety_identifier prompt_cache_key"
)


def test_a_response_has_every_field(serve: Serve) -> None:
    reply = serve().respond(metadata={"a": "b"}, instructions="be brief", max_output_tokens=5000)
    told = reply.json()
    assert set(FIELDS.split()) == set(told) and SECRET not in reply.text
    reasoning, message = told["output"]
    assert [part["text"] for part in reasoning["summary"]] == [
        "**Add the ones**\n\n4, no carry",
        "**Check**\n\n4 is right",
    ]
    assert "content" not in reasoning and message["content"][0]["text"] == "4"
    assert (told["status"], told["metadata"], told["instructions"]) == ("completed", {"a": "b"}, "be brief")
    usage = told["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert 0 < usage["output_tokens_details"]["reasoning_tokens"] < usage["output_tokens"]


def test_events_come_in_order_and_are_numbered(serve: Serve, events: Events) -> None:
    reply = serve().respond(stream=True)
    told = events(reply)
    assert SECRET not in reply.text
    assert [one["type"] for one in told] == [*BEGIN, *PART, *PART, *ANSWER, "response.completed"]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    assert [one["summary_index"] for one in told if "summary_index" in one] == [0] * 4 + [1] * 4
    assert told[0]["response"]["output"] == [] and told[0]["response"]["status"] == "in_progress"
    whole = told[-1]["response"]
    items = [one["item"] for one in told if one["type"] == "response.output_item.done"]
    assert whole["output"] == items and whole["id"] == told[0]["response"]["id"]
    assert [one["output_index"] for one in told if one["type"].startswith("response.output_item")] == [0, 0, 1, 1]


def test_without_thinking_there_is_no_reasoning_item(serve: Serve, events: Events) -> None:
    served = serve()
    told = events(served.respond(stream=True, reasoning={"effort": "none"}))
    assert [one["type"] for one in told] == [*BEGIN[:2], *ANSWER[1:], "response.completed"]
    assert {one["output_index"] for one in told if "output_index" in one} == {0}
    (message,) = served.respond(reasoning={"effort": "none"}).json()["output"]
    assert message["type"] == "message" and told[-1]["response"]["reasoning"]["effort"] == "none"


def test_raw_thoughts_need_both_the_operator_and_the_request(serve: Serve, events: Events) -> None:
    asked: dict[str, Any] = {"include": ["reasoning.content"]}
    closed, opened = serve(), serve(expose_thoughts=True)
    for stream in (False, True):
        refused = closed.respond(**asked, stream=stream)
        assert SECRET not in refused.text and refused.headers["x-ignored-params"] == "include"
        assert SECRET not in opened.respond(stream=stream).text
    reasoning = opened.respond(**asked).json()["output"][0]
    assert [part["type"] for part in reasoning["content"]] == ["reasoning_text"] * 2
    assert SECRET in reasoning["content"][1]["text"] and SECRET not in str(reasoning["summary"])
    told = events(opened.respond(**asked, stream=True))
    assert [one["type"] for one in told] == [*BEGIN, *PART, *RAW, *PART, *RAW, *ANSWER, "response.completed"]
    assert told[-1]["response"]["output"][0] == reasoning | {"id": told[-1]["response"]["output"][0]["id"]}
    assert serve(strict=True).respond(**asked).json()["error"]["code"] == "unsupported_parameter"
    assert SECRET not in opened.chat(**asked).text


def test_summaries_can_be_left_out(serve: Serve, events: Events) -> None:
    told = events(serve().respond(stream=True, reasoning={"summary": "none"}))
    assert [one["type"] for one in told] == [*BEGIN, *ANSWER, "response.completed"]
    assert serve().respond(reasoning={"summary": "loud"}).status_code == 400


@pytest.mark.parametrize(("search", "most"), [("single", 40), ("majority", 150)])
def test_a_limit_makes_it_incomplete_with_an_answer(serve: Serve, events: Events, search: str, most: int) -> None:
    samples = 1 if search == "single" else 2
    budgets = {effort: Budget(400, samples=samples) for effort in Effort}
    for stream in (False, True):
        served = serve(search=search, budgets=budgets, temperature=1.0)
        reply = served.respond(max_output_tokens=most, stream=stream)
        whole = events(reply)[-1]["response"] if stream else reply.json()
        assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert whole["output"][-1]["content"][0]["text"] == "4" and whole["usage"]["output_tokens"] <= most
        assert whole["output"][-1]["status"] == "incomplete"


def test_a_real_models_stream_is_its_response(micro: Serve, events: Events) -> None:
    for effort in ("none", "low", "high"):
        how: dict[str, Any] = {"seed": 2, "temperature": 1, "reasoning": {"effort": effort}}
        micro().respond(**how)  # so that as much of the prompt is known both times
        whole, told = micro().respond(**how).json(), events(micro().respond(**how, stream=True))
        last = told[-1]["response"]
        assert told[-1]["type"] == f"response.{last['status']}"
        text = "".join(one["delta"] for one in told if one["type"] == "response.output_text.delta")
        assert text == last["output"][-1]["content"][0]["text"] == whole["output"][-1]["content"][0]["text"]
        parts = [one["text"] for one in told if one["type"] == "response.reasoning_summary_text.done"]
        summaries = [part["text"] for item in whole["output"][:-1] for part in item["summary"]]
        assert parts == summaries and last["usage"] == whole["usage"]


def test_what_cannot_be_done_is_refused(serve: Serve) -> None:
    error = serve().respond(conversation="conv_1").json()["error"]
    assert (error["param"], error["code"]) == ("conversation", "unsupported_parameter")
    assert serve().respond(background=True, store=False).json()["error"]["param"] == "background"
    assert serve().respond([{"type": "function_call", "name": "f"}]).json()["error"]["param"] == "input[0].type"
