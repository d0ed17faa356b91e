"""Answers in JSON, with log-probabilities, and thoughts that clients keep sealed."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.serve.keys import Keys
from ponder.serve.schema import Schema, Unreadable
from ponder.serve.store import Store

if TYPE_CHECKING:
    from tests.serve.conftest import Events, Serve

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SECRET = "nobody may read this"


def answering(text: str) -> str:
    return f"<|answer|>{text}<|end|>"


def schema(*required: str, **properties: Any) -> dict[str, Any]:
    whole = {"type": "object", "properties": properties, "required": list(required or properties)}
    return whole | {"additionalProperties": False}


def chat_form(root: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "result", "schema": root, "strict": True}}


NUMBER, TEXT = {"type": "number"}, {"type": "string"}
SHAPED: list[tuple[str, dict[str, Any], Any]] = [
    ("9716", schema(value=NUMBER), {"value": 9716}),
    ("9716", schema(value=TEXT), {"value": "9716"}),
    ("-2.5", schema(value={"type": ["integer", "number"]}), {"value": -2.5}),
    ("knave", schema(who={"enum": ["knight", "knave"]}), {"who": "knave"}),
    ("true", schema(is_it={"type": "boolean"}), {"is_it": True}),
    ('{"a": 1, "b": "x"}', schema(a=NUMBER, b=TEXT), {"a": 1, "b": "x"}),
    ("[1, 2]", schema(row={"type": "array", "items": NUMBER}), {"row": [1, 2]}),
    ("5", schema("value", value=NUMBER, note=TEXT), {"value": 5}),
    ("5", {"$ref": "#/$defs/it", "$defs": {"it": schema(value=NUMBER)}}, {"value": 5}),
]
UNFIT = [
    ("about nine", schema(value=NUMBER)),
    ("2.5", schema(value={"type": "integer"})),
    ("NaN", schema(value=NUMBER)),
    ("1e999", schema(value=NUMBER)),
    ("5", schema(a=NUMBER, b=NUMBER)),
    ("500", schema(value={"type": "integer", "maximum": 100})),
    ('{"a": 1}', schema(a=NUMBER, b=TEXT)),
    ("thief", schema(who={"enum": ["knight", "knave"]})),
]


@pytest.mark.parametrize(("text", "root", "value"), SHAPED)
def test_answers_are_put_into_the_form(
    serve: Serve, events: Events, text: str, root: dict[str, Any], value: Any
) -> None:
    served = serve(answering(text))
    message = served.chat(response_format=chat_form(root)).json()["choices"][0]["message"]
    assert json.loads(message["content"]) == value and message["refusal"] is None
    told = events(served.chat(response_format=chat_form(root), stream=True))
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in told) == message["content"]
    form = {"format": {"type": "json_schema", "name": "result", "schema": root, "strict": True}}
    whole = served.respond(text=form).json()
    assert whole["output"][-1]["content"][0]["text"] == message["content"]
    assert whole["text"]["format"]["schema"] == root
    last = events(served.respond(text=form, stream=True))[-1]["response"]
    assert last["output"][-1]["content"] == whole["output"][-1]["content"]


@pytest.mark.parametrize(("text", "root"), UNFIT)
def test_what_does_not_fit_is_refused_and_never_of_a_wrong_type(
    serve: Serve, events: Events, text: str, root: dict[str, Any]
) -> None:
    served = serve(answering(text))
    choice = served.chat(response_format=chat_form(root)).json()["choices"][0]
    assert choice["message"]["content"] is None and "schema" in choice["message"]["refusal"]
    deltas = [one["choices"][0]["delta"] for one in events(served.chat(response_format=chat_form(root), stream=True))]
    assert [delta["refusal"] for delta in deltas if delta.get("refusal")] == [choice["message"]["refusal"]]
    assert not any(delta.get("content") for delta in deltas)
    told = events(served.respond(text={"format": {"type": "json_schema", "name": "r", "schema": root}}, stream=True))
    kinds = [one["type"] for one in told if "refusal" in one["type"] or "output_text" in one["type"]]
    assert kinds == ["response.refusal.delta", "response.refusal.done"]
    (part,) = told[-1]["response"]["output"][-1]["content"]
    assert part == {"type": "refusal", "refusal": choice["message"]["refusal"]}


def test_any_object_holds_any_answer(serve: Serve) -> None:
    for text, value in (("42", {"answer": "42"}), ('{"x": 1}', {"x": 1}), ("½ {", {"answer": "½ {"})):
        served = serve(answering(text))
        told = served.chat(response_format={"type": "json_object"}).json()["choices"][0]["message"]["content"]
        assert json.loads(told) == value
        told = served.respond(text={"format": {"type": "json_object"}}).json()
        assert json.loads(told["output"][-1]["content"][0]["text"]) == value


@pytest.mark.parametrize(
    "form",
    [
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        chat_form({"type": "string"}),
        chat_form(schema(value={"type": "number", "multipleOf": 3})),
        chat_form(schema(value={"$ref": "#/nowhere"})),
        chat_form({"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}),
        chat_form(schema(value={"type": "complex"})),
    ],
)
def test_forms_that_cannot_be_checked_are_refused(serve: Serve, form: dict[str, Any]) -> None:
    reply = serve().chat(response_format=form)
    assert reply.status_code == 400 and reply.json()["error"]["param"].startswith("response_format")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab$"), inner, max_size=3),
    max_leaves=5,
)
WORDS = st.sampled_from(["type", "properties", "required", "items", "anyOf", "$ref", "enum", "minimum", "const"])


@given(st.dictionaries(WORDS, ANY | st.dictionaries(WORDS, ANY, max_size=3), max_size=4), ANY)
def test_no_schema_breaks_the_checker(root: dict[str, Any], value: Any) -> None:
    try:
        found = Schema(root)
    except Unreadable:
        return
    assert found.fits(value) in (True, False)


def test_log_probabilities_are_of_the_answers_tokens(micro: Serve, micro_checkpoint: Any, events: Events) -> None:
    from ponder.engine.chances import Chances
    from ponder.model.checkpoint import load_checkpoint

    served = micro(chances=Chances(load_checkpoint(micro_checkpoint)))
    how: dict[str, Any] = {"seed": 3, "temperature": 1, "logprobs": True, "top_logprobs": 3}
    for effort in ("none", "medium"):
        choice = served.chat(**how, reasoning_effort=effort).json()["choices"][0]
        told, answer = choice["logprobs"]["content"], choice["message"]["content"].encode()
        said = b"".join(bytes(one["bytes"]) for one in told)
        assert said.decode(errors="replace") == answer.decode() and told
        for one in told:
            assert one["logprob"] <= 0 and len(one["top_logprobs"]) == 3
            chances = [other["logprob"] for other in one["top_logprobs"]]
            assert chances == sorted(chances, reverse=True) and sum(map(math.exp, chances)) <= 1.001
            assert one["logprob"] <= chances[0] + 1e-6
        parts = [one["choices"][0] for one in events(served.chat(**how, reasoning_effort=effort, stream=True))]
        (with_them,) = [part for part in parts if part["logprobs"] and part["logprobs"]["content"]]
        assert [one["token"] for one in with_them["logprobs"]["content"]] == [one["token"] for one in told]
        whole = served.respond(
            seed=3,
            temperature=1,
            top_logprobs=3,
            include=["message.output_text.logprobs"],
            reasoning={"effort": effort},
        ).json()
        tokens = [one["token"] for one in whole["output"][-1]["content"][0]["logprobs"]]
        assert tokens == [one["token"] for one in told] and whole["top_logprobs"] == 3
    assert served.chat(seed=3, logprobs=True).json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []
    assert served.chat(top_logprobs=2).json()["error"]["param"] == "top_logprobs"
    assert served.chat(logprobs=True, top_logprobs=21).status_code == 400


def test_log_probabilities_are_those_that_were_sampled_with(micro: Serve, micro_checkpoint: Any) -> None:
    import asyncio

    from ponder.engine.chances import Chances
    from ponder.engine.local import LocalSampler
    from ponder.interfaces import Limit, Prefix, Sampling
    from ponder.model.checkpoint import load_checkpoint
    from ponder.types import Effort, Message

    checkpoint = load_checkpoint(micro_checkpoint)
    prefix = Prefix((Message("user", "what is the sum of both"),), Effort.MEDIUM, answering=True)
    found = asyncio.run(LocalSampler(checkpoint).extend(prefix, Limit(50, 12), [Sampling(1.0, seed=5)]))
    segment = found[0].segment
    chances = asyncio.run(Chances(checkpoint).of(segment, 2))
    assert len(chances) >= 11
    for one, sampled in zip(chances, segment.logprobs, strict=False):
        assert one.token.logprob == pytest.approx(sampled, abs=1e-4)


def test_a_model_that_cannot_tell_names_the_parameter(serve: Serve) -> None:
    reply = serve().chat(logprobs=True, top_logprobs=2)
    assert reply.headers["x-ignored-params"] == "logprobs, top_logprobs"
    assert reply.json()["choices"][0]["logprobs"] is None


def test_thoughts_go_to_the_client_sealed_and_come_back_checked(serve: Serve, events: Events) -> None:
    served = serve()
    how: dict[str, Any] = {"include": ["reasoning.encrypted_content"], "store": False}
    whole = served.respond(**how).json()
    sealed = whole["output"][0]["encrypted_content"]
    assert sealed.startswith("gAAAA") and SECRET not in str(whole)
    assert "encrypted_content" not in served.respond().json()["output"][0]
    told = events(served.respond(**how, stream=True))
    items = [one["item"] for one in told if one["type"] == "response.output_item.done"]
    assert items == told[-1]["response"]["output"] and items[0]["encrypted_content"].startswith("gAAAA")
    turns = [{"role": "user", "content": "2+2?"}, *whole["output"], {"role": "user", "content": "sure?"}]
    again = served.respond(turns, **how).json()
    assert again["status"] == "completed"
    assert again["input_transformations"][0]["id"] == whole["output"][0]["id"]
    for wrong in (sealed[:-8] + "AAAAAAA=", sealed[:40], "gAAAA", "", "½", json.dumps({"owner": ""})):
        turns[1] = whole["output"][0] | {"encrypted_content": wrong or "x"}
        reply = served.respond(turns, **how)
        assert reply.json()["error"]["code"] == "invalid_encrypted_content", wrong
        assert reply.json()["error"]["param"] == "input[1].encrypted_content"


def test_a_seal_is_one_servers_and_one_owners(serve: Serve) -> None:
    keys = Keys(tuple(hashlib.sha256(key).digest() for key in (b"ann", b"bob")))
    ann, bob = ({"authorization": f"Bearer {name}"} for name in ("ann", "bob"))
    store = Store()
    body: dict[str, Any] = {"model": "m", "input": "2+2?", "include": ["reasoning.encrypted_content"]}
    whole = serve(keys=keys, store=store).ask(RESPONSES, body, headers=ann).json()
    turns = [whole["output"][0], {"role": "user", "content": "sure?"}]
    asked = {"model": "m", "input": turns}
    same, other = serve(keys=keys, store=store), serve(keys=keys)
    assert same.ask(RESPONSES, asked, headers=ann).status_code == 200
    assert same.ask(RESPONSES, asked, headers=bob).status_code == 400
    assert other.ask(RESPONSES, asked, headers=ann).status_code == 400
