"""The official Python client, against a real socket."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.serve.conftest import Live, Serve, Served, Stepped

SECRET = "nobody may read this"
ASKED = "what is the sum of both"


@pytest.fixture
def client(live: Live) -> Callable[[Served], OpenAI]:
    """A client of an application."""

    def make(served: Served) -> OpenAI:
        return OpenAI(base_url=str(live(served).base_url).rstrip("/") + "/v1", api_key="any", max_retries=0)

    return make


def test_chats(serve: Serve, client: Any) -> None:
    api = client(serve())
    turns: list[Any] = [{"role": "user", "content": ASKED}]
    told = api.chat.completions.create(model="m", messages=turns, reasoning_effort="high")
    assert told.choices[0].message.content == "4" and told._request_id.startswith("req_")
    assert told.usage.completion_tokens_details.reasoning_tokens > 0 and SECRET not in told.to_json()
    assert "**Check**" in told.choices[0].message.reasoning_content
    turns += [told.choices[0].message, {"role": "user", "content": "and one more?"}]
    again = api.chat.completions.create(model="m", messages=turns)
    assert again.choices[0].message.content == "4"
    how: dict[str, Any] = {"reasoning_effort": "high", "stream_options": {"include_usage": True}}
    with api.chat.completions.stream(model="m", messages=turns[:1], **how) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_completion()
    assert "content.delta" in kinds and whole.choices[0].message.content == "4"
    assert whole.usage == told.usage


class Sum(BaseModel):
    value: int


class Both(BaseModel):
    value: int
    why: str


def test_answers_are_parsed(serve: Serve, client: Any) -> None:
    api, turns = client(serve()), [{"role": "user", "content": ASKED}]
    told = api.chat.completions.parse(model="m", messages=turns, response_format=Sum)
    assert told.choices[0].message.parsed == Sum(value=4)
    told = api.chat.completions.parse(model="m", messages=turns, response_format=Both)
    assert told.choices[0].message.parsed is None and "schema" in told.choices[0].message.refusal
    assert api.responses.parse(model="m", input=ASKED, text_format=Sum).output_parsed == Sum(value=4)


def test_responses(serve: Serve, client: Any) -> None:
    api = client(serve())
    told = api.responses.create(model="m", input=ASKED, reasoning={"effort": "high", "summary": "auto"})
    assert told.output_text == "4" and told.usage.output_tokens_details.reasoning_tokens > 0
    assert [part.text.split("\n")[0] for part in told.output[0].summary] == ["**Add the ones**", "**Check**"]
    with api.responses.stream(model="m", input=ASKED) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_response()
    assert whole.output_text == "4" and kinds[-1] == "response.completed"
    assert kinds.count("response.reasoning_summary_text.done") == 2
    assert api.responses.retrieve(whole.id).output[0] == whole.output[0]
    replayed = list(api.responses.retrieve(whole.id, stream=True, starting_after=3))
    assert [event.type for event in replayed] == kinds_of(api, whole.id)[4:]
    again = api.responses.create(model="m", input="and one more?", previous_response_id=whole.id)
    assert again.previous_response_id == whole.id
    items = list(api.responses.input_items.list(again.id, order="asc", limit=2))
    assert [item.type for item in items] == ["message", "reasoning", "message", "message"]
    api.responses.delete(whole.id)
    with pytest.raises(openai.NotFoundError):
        api.responses.retrieve(whole.id)


def kinds_of(api: Any, id_: str) -> list[str]:
    return [event.type for event in api.responses.retrieve(id_, stream=True)]


def test_sealed_thoughts_go_round(serve: Serve, client: Any) -> None:
    api = client(serve())
    how: dict[str, Any] = {"model": "m", "store": False, "include": ["reasoning.encrypted_content"]}
    turns: list[Any] = [{"role": "user", "content": ASKED}]
    first = api.responses.create(input=turns, **how)
    turns += [*first.output, {"role": "user", "content": "and one more?"}]
    assert api.responses.create(input=turns, **how).output_text == "4"
    turns[1] = first.output[0].model_copy(update={"encrypted_content": "gAAAAother"})
    with pytest.raises(openai.BadRequestError) as refused:
        api.responses.create(input=turns, **how)
    assert refused.value.code == "invalid_encrypted_content"


def test_background_and_cancel(serve: Serve, client: Any, stepped: Stepped) -> None:
    api = client(serve(sampler=stepped))
    stream = api.responses.create(model="m", input=ASKED, background=True, stream=True)
    stepped.go()
    id_ = ""
    for event in stream:
        id_ = event.response.id if event.type == "response.created" else id_
        if event.type == "response.reasoning_summary_part.done":
            break
    stream.close()
    assert api.responses.retrieve(id_).status == "in_progress"
    rest = api.responses.retrieve(id_, stream=True, starting_after=event.sequence_number)
    stepped.go(2)
    assert [one.type for one in rest][-1] == "response.completed"
    told = api.responses.create(model="m", input=ASKED, background=True)
    assert api.responses.cancel(told.id).status == "cancelled"
    told = api.responses.create(model="m", input=ASKED, background=True)
    stepped.go(3)
    while told.status in ("queued", "in_progress"):
        time.sleep(0.02)
        told = api.responses.retrieve(told.id)
    assert (told.status, told.output_text) == ("completed", "4")


def test_errors_have_their_classes(serve: Serve, client: Any) -> None:
    api = client(serve())
    turns: Any = [{"role": "user", "content": ASKED}]
    for wrong, kind, code in (
        ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
        ({"temperature": 9}, openai.BadRequestError, "invalid_value"),
        ({"reasoning_effort": "huge"}, openai.BadRequestError, "invalid_value"),
    ):
        with pytest.raises(kind) as refused:
            api.chat.completions.create(**({"model": "m", "messages": turns} | wrong))
        assert refused.value.code == code and refused.value.request_id.startswith("req_")
    with pytest.raises(openai.BadRequestError) as refused:
        api.responses.create(model="m", input="x", previous_response_id="resp_0")
    assert refused.value.code == "previous_response_not_found"


def test_models(serve: Serve, client: Any) -> None:
    api = client(serve())
    assert [model.id for model in api.models.list()] == ["m"] and api.models.retrieve("m").owned_by == "ponder"


def test_top_p_leaves_the_likeliest(micro: Serve, client: Any) -> None:
    api, turns = client(micro()), [{"role": "user", "content": ASKED}]

    def said(**how: Any) -> str:
        told = api.chat.completions.create(model="m", messages=turns, reasoning_effort="none", seed=3, **how)
        return told.choices[0].message.content

    greedy = said(temperature=0)
    assert said(temperature=1, top_p=1e-6) == greedy != said(temperature=1)
    whole = api.responses.create(model="m", input=ASKED, reasoning={"effort": "none"}, temperature=1, top_p=1e-6)
    assert (whole.output_text, whole.top_p) == (greedy, 1e-6)


@pytest.mark.parametrize("search", ["single", "majority"])
def test_log_probabilities_with_choices_stops_and_a_search(
    micro: Serve, micro_checkpoint: Any, client: Any, search: str
) -> None:
    from ponder.engine.chances import Chances
    from ponder.model.checkpoint import load_checkpoint
    from ponder.text.effort import Plan
    from ponder.types import Effort

    plan = Plan(search=search, samples=1 if search == "single" else 3, thinking=30)
    budgets = {effort: replace(plan.budget(effort), answer=40) for effort in Effort}
    api = client(micro(chances=Chances(load_checkpoint(micro_checkpoint)), search=search, budgets=budgets))
    how: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": ASKED}], "temperature": 1, "n": 3}
    how |= {"seed": 5, "logprobs": True, "top_logprobs": 2}
    free = api.chat.completions.create(**how)
    found = re.search("[ -~]{3}", free.choices[0].message.content[2:])
    assert found
    stop = found[0]
    for told in (free, api.chat.completions.create(stop=stop, **how)):
        for choice in told.choices:
            answer, tokens = choice.message.content, choice.logprobs.content
            said = b"".join(bytes(one.bytes) for one in tokens).decode(errors="replace")
            # A stop text may end the answer within a token, which is then not told.
            assert answer == said or (told is not free and answer.startswith(said.rstrip("\N{REPLACEMENT CHARACTER}")))
            assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 for one in tokens)
            assert told is free or stop not in answer
    assert len({choice.message.content for choice in free.choices}) == 3
    assert len(told.choices[0].message.content) < len(free.choices[0].message.content)
