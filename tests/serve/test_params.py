"""Parameters and errors: what is honoured, what is told as ignored, what is refused, always in one shape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

if TYPE_CHECKING:
    import httpx

    from tests.serve.conftest import Serve, Served

USER = [{"role": "user", "content": "hello"}]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


def refused(reply: httpx.Response) -> dict[str, Any]:
    """The error of a refusal in the right shape."""
    assert reply.status_code >= 400 and set(reply.json()) == {"error"}
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["type"]
    assert reply.headers["x-request-id"].startswith("req_")
    return error


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"messages": USER}, 400, "model", "missing_required_parameter"),
        ({"model": "m"}, 400, "messages", "missing_required_parameter"),
        ({"model": "m", "messages": []}, 400, "messages", "invalid_value"),
        ({"model": "gpt-9", "messages": USER}, 404, "model", "model_not_found"),
        ({"model": "m", "messages": [{"role": "king", "content": ""}]}, 400, "messages[0].role", "invalid_value"),
        ({"model": "m", "messages": [{"role": "tool", "content": ""}]}, 400, "messages[0].role", "unsupported_value"),
        ({"model": "m", "messages": [{"role": "user", "content": 3}]}, 400, "messages[0].content", "invalid_type"),
        ({"model": "m", "messages": [{"role": "user", "content": " "}]}, 400, None, "invalid_value"),
        ({"model": "m", "messages": USER, "temperature": 3}, 400, "temperature", "invalid_value"),
        ({"model": "m", "messages": USER, "n": 0}, 400, "n", "invalid_value"),
        ({"model": "m", "messages": USER, "n": "two"}, 400, "n", "invalid_type"),
        ({"model": "m", "messages": USER, "stop": ""}, 400, "stop", "invalid_value"),
        ({"model": "m", "messages": USER, "reasoning_effort": "huge"}, 400, "reasoning_effort", "invalid_value"),
        ({"model": "m", "messages": USER, "max_completion_tokens": 0}, 400, "max_completion_tokens", "invalid_value"),
    ],
)
def test_errors_have_one_shape(serve: Serve, body: Any, status: int, param: str | None, code: str) -> None:
    for stream in ({}, {"stream": True}):
        reply = serve().ask(CHAT, body | stream)
        error = refused(reply)
        assert (reply.status_code, error["param"], error["code"]) == (status, param, code)
        assert error["type"] == "invalid_request_error"


def test_images_are_refused_by_their_place(serve: Serve) -> None:
    parts = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "x"}}]
    error = refused(serve().ask(CHAT, {"model": "m", "messages": [{"role": "user", "content": parts}]}))
    assert error["param"] == "messages[0].content[1]"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"a":' * 100_000, b"1" * 5000, b"null"])
def test_bodies_that_are_no_json_object(serve: Serve, raw: bytes) -> None:
    for path in (CHAT, RESPONSES):
        for kind in ("application/json", "text/plain"):
            reply = serve().ask(path, content=raw, headers={"content-type": kind})
            assert reply.status_code == 400 and refused(reply)


def test_half_characters_do_no_harm(serve: Serve) -> None:
    for raw in (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', b'{"\\ud800":1}'):
        assert refused(serve().ask(CHAT, content=raw, headers={"content-type": "application/json"}))
    reply = serve().chat(**{"½\r\nset-cookie: a": 1})
    assert reply.headers["x-ignored-params"] == "%C2%BD%0D%0Aset-cookie%3A%20a"


def test_paths_and_methods_that_do_not_exist(serve: Serve) -> None:
    served = serve()
    assert refused(served.get("/v1/nothing"))["code"] == "unknown_url"
    reply = served.ask(CHAT, method="GET")
    assert reply.status_code == 405 and reply.headers["allow"] == "POST" and refused(reply)
    assert served.ask("/v1/models/gpt-9", method="GET").status_code == 404


def test_a_prompt_that_is_too_long_is_refused_with_a_status_even_where_it_streams(micro: Serve) -> None:
    for text in ("word " * 2000, "word " * 100_000):
        for how in ({}, {"stream": True}):
            replies = micro().chat(text, **how), micro().respond(text, **how)
            assert [refused(reply)["code"] for reply in replies] == ["context_length_exceeded"] * 2
            assert all("This model's maximum context length is" in refused(reply)["message"] for reply in replies)
            assert [reply.status_code for reply in replies] == [400] * 2


def test_what_has_no_effect_is_named(serve: Serve) -> None:
    served = serve()
    reply = served.chat(
        frequency_penalty=0.5,
        tools=[{"type": "function"}],
        logprobs=True,
        user="me",
        response_format={"type": "json_object"},
    )
    assert reply.status_code == 200
    assert reply.headers["x-ignored-params"] == "frequency_penalty, logprobs, tools, user"
    nothing = {"frequency_penalty": 0, "tools": [], "logprobs": False, "tool_choice": "auto", "user": None}
    for quiet in (
        served.chat(**nothing, response_format={"type": "text"}),
        served.respond(text={"format": {"type": "text"}}),
    ):
        assert "x-ignored-params" not in quiet.headers
    told = served.respond(store=True, include=["reasoning.encrypted_content"], reasoning={"context": "all_turns"})
    assert told.headers["x-ignored-params"] == "reasoning.context" and told.json()["store"] is True


def test_strict_speaks_as_o1_did(serve: Serve) -> None:
    served = serve(strict=True)
    error = refused(served.chat(temperature=0.5))
    assert error == {
        "message": "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value "
        "is supported.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "unsupported_value",
    }
    error = refused(served.chat(max_tokens=100))
    assert error["code"] == "unsupported_parameter" and error["message"] == (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    error = refused(served.chat(logprobs=True))
    assert error["message"] == "Unsupported parameter: 'logprobs' is not supported with this model."
    assert refused(served.chat(presence_penalty=1))["code"] == "unsupported_value"
    assert served.chat(temperature=1, max_completion_tokens=2000, user="me", store=True).status_code == 200


def test_a_direct_model_has_one_effort(serve: Serve) -> None:
    served = serve(direct=True)
    assert served.chat().status_code == 200
    assert refused(served.chat(reasoning_effort="high"))["code"] == "unsupported_value"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]) | JSON}
    ).flatmap(lambda turn: st.builds(lambda content: turn | {"content": content}, st.text(max_size=9) | JSON)),
    max_size=3,
)
NAMES = (
    "temperature top_p n seed stop stream stream_options reasoning reasoning_effort max_completion_tokens max_tokens "
    "max_output_tokens tools thinking chat_template_kwargs response_format metadata logprobs text include instructions"
)
BODIES = st.builds(
    lambda turns, more: {"model": "m", "messages": turns, "input": turns, **more},
    TURNS | JSON,
    st.dictionaries(st.sampled_from(NAMES.split()), JSON, max_size=4),
)


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve()


@hypothesis(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(BODIES | JSON)
def test_no_body_is_the_servers_fault(served: Served, body: Any) -> None:
    for path in (CHAT, RESPONSES):
        raw = json.dumps(body).encode()
        reply = served.ask(path, content=raw, headers={"content-type": "application/json"})
        assert reply.status_code in (200, 400, 404), reply.text
        if reply.status_code != 200:
            refused(reply)
        elif reply.headers["content-type"].startswith("text/event-stream"):
            assert reply.text.endswith("data: [DONE]\n\n") and '"error":{' not in reply.text
