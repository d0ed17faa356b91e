"""A model on another server behind ours: what it says is told as if it were here, and its failures are not ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ponder.engine.endpoint import Endpoint, Kind
from ponder.engine.remote import RemoteSampler
from ponder.text.format import THINK_TAGS

if TYPE_CHECKING:
    from tests.serve.conftest import Events, Live, Serve, Served, Stepped

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "what is the sum of both"}]}


@pytest.fixture
def behind(serve: Serve) -> Iterator[Callable[[str], Served]]:
    """Serves the model m of the server at an address, over its chats."""

    def make(url: str) -> Served:
        how: dict[str, Any] = {"kind": Kind.CHAT, "dialect": THINK_TAGS.name, "backoff": 0.001}
        endpoint = Endpoint(url=f"{url.rstrip('/')}/v1", model="m", **how)
        return serve(sampler=RemoteSampler(endpoint), dialect=THINK_TAGS.name, expose_thoughts=True)

    yield make


def test_it_answers_and_streams_with_the_counts_of_the_other_server(
    serve: Serve, live: Live, behind: Any, events: Events
) -> None:
    upstream = live(serve())
    served, own = behind(str(upstream.base_url)), upstream.post(CHAT, json=BODY).json()
    told = served.chat().json()
    message, usage = told["choices"][0]["message"], told["usage"]
    assert message["content"] == "4" and "no carry" not in str(told), "its thoughts are hidden, too"
    raw = served.respond(include=["reasoning.content"]).json()["output"][0]["content"]
    assert any("no carry" in part["text"] for part in raw)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[name] == own["usage"][name], name
    reasoning = own["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == reasoning > 0
    chunks = events(served.chat(stream=True, stream_options={"include_usage": True}))
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks[:-1]) == "4"
    assert chunks[-1]["usage"] == usage
    ends = events(served.respond(stream=True))[-1]
    assert ends["type"] == "response.completed" and ends["response"]["usage"]["total_tokens"] == usage["total_tokens"]
    two = served.chat(n=2, temperature=1).json()
    assert [one["message"]["content"] for one in two["choices"]] == ["4", "4"]
    assert two["usage"]["completion_tokens"] == 2 * usage["completion_tokens"]
    assert two["usage"]["prompt_tokens"] == usage["prompt_tokens"], "their prompt is one"


def test_a_server_that_is_dead_is_told_without_its_name(behind: Any, events: Events) -> None:
    served = behind("http://127.0.0.1:9")
    for reply in (served.chat(), served.respond()):
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")
        assert "127.0.0.1" not in reply.text
    *_, last = events(served.respond(stream=True))
    assert last["type"] == "response.failed" and "127.0.0.1" not in str(last)
    assert served.get("/health").status_code == 200


def test_who_vanishes_is_not_answered_by_the_other_server_either(
    serve: Serve, live: Live, behind: Any, stepped: Stepped
) -> None:
    upstream = live(serve(sampler=stepped))
    client = live(behind(str(upstream.base_url)))
    for path, stream in ((CHAT, False), (CHAT, True), (RESPONSES, True)):
        stepped.cancelled.clear()
        with pytest.raises(httpx.ReadTimeout):
            asked = BODY | {"input": "2+2?", "stream": stream}
            with client.stream("POST", path, json=asked, timeout=0.5) as reply:
                reply.read()
        assert stepped.asked.acquire(timeout=10) and stepped.cancelled.wait(10), f"{path} is still thought about"
    for one in (client, upstream):
        for _ in range(100):
            if "ponder_thinking 0.0" in one.get("/metrics").text:
                break
            time.sleep(0.05)
        assert "ponder_thinking 0.0" in one.get("/metrics").text
    stepped.go(3)
    assert client.post(CHAT, json=BODY).json()["choices"][0]["message"]["content"] == "4"
