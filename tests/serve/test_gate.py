"""Keys, limits, clients that leave, and engines that fail."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ponder.engine.scripted import Step
from ponder.errors import ConfigError, SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.serve.keys import Keys, read_keys
from ponder.serve.limits import Quota
from ponder.serve.settings import Price
from ponder.text.effort import Budget
from ponder.types import Block, Effort

if TYPE_CHECKING:
    from random import Random

    from tests.serve.conftest import Events, Serve, Served, Stepped

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
LONG = {effort: Budget(400, answer=100) for effort in Effort}


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "what is the sum of both"}]
    return {"model": "m", "messages": messages, "input": "what is the sum of both", **more}


class Endless:
    """Thinks until it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = threading.Event(), threading.Event()

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.cancelled.set()
        raise AssertionError("nobody waits that long")


async def leave(served: Served, path: str, told: dict[str, Any], until: Any) -> list[dict[str, Any]]:
    """Send a request, and leave once `until` is done; returns what was sent back."""
    raw, sent, asked = json.dumps(told).encode(), list[dict[str, Any]](), asyncio.Event()
    left = asyncio.ensure_future(until)

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": raw, "more_body": False}
        await asyncio.shield(left)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("ponder", 80)}
    await asyncio.wait_for(served.app(scope, receive, send), 20)  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_thought(serve: Serve, path: str, stream: bool) -> None:
    endless = Endless()
    served = serve(sampler=endless)

    async def main() -> None:
        await leave(served, path, body(stream=stream), asyncio.to_thread(endless.begun.wait, 10))

    asyncio.run(main())
    assert endless.begun.is_set() and endless.cancelled.wait(5)
    assert "ponder_thinking 0.0" in served.get("/metrics").text


@pytest.mark.parametrize("stream", [False, True])
def test_its_rows_are_free_within_a_step(micro: Serve, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    served = micro(budgets=LONG)
    scheduler, steps, gone = served.worker.sampler.scheduler, list[bool](), threading.Event()  # type: ignore[attr-defined]
    step = type(scheduler).step

    def slowly(self: Any) -> None:
        step(self)
        steps.append(gone.is_set())
        if len(steps) == 5:
            thinking.set()
        time.sleep(0.06)  # longer than it takes to hear that somebody has left

    monkeypatch.setattr(type(scheduler), "step", slowly)
    thinking = threading.Event()

    async def main() -> None:
        async def left() -> None:
            await asyncio.to_thread(thinking.wait, 10)
            gone.set()

        await leave(served, CHAT, body(stream=stream, n=16, temperature=1), left())

    asyncio.run(main())
    for _ in range(200):
        if not scheduler.busy:
            break
        asyncio.run(asyncio.sleep(0.01))
    assert not scheduler.busy and thinking.is_set()
    assert sum(steps) <= 3, "the step that was running, and one more"


def test_half_a_body_is_nobodys_request(serve: Serve) -> None:
    async def main() -> list[dict[str, Any]]:
        sent, parts = list[dict[str, Any]](), [{"type": "http.request", "body": b'{"mod', "more_body": True}]

        async def receive() -> dict[str, Any]:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "query_string": b""}
        await serve().app(scope, receive, send)  # type: ignore[arg-type]
        return sent

    assert asyncio.run(main()) == []


def test_a_slow_body_is_given_up(serve: Serve) -> None:
    async def drip() -> Any:
        yield b"{"
        await asyncio.sleep(5)

    reply = serve(body_seconds=0.05).ask(CHAT, content=drip())
    assert reply.status_code == 408 and reply.json()["error"]["code"] == "request_timeout"


def test_a_large_body_is_refused(serve: Serve) -> None:
    served = serve(most_bytes=1000)
    assert served.chat("x" * 2000).status_code == 413

    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 100

    reply = served.ask(CHAT, content=chunks())
    assert reply.status_code == 413 and reply.json()["error"]["code"] == "request_too_large"


def test_too_many_at_once_are_told_to_come_again(serve: Serve) -> None:
    endless = Endless()
    served = serve(sampler=endless, most_requests=1)
    refused: list[Any] = []

    async def main() -> None:
        async def then() -> None:
            await asyncio.to_thread(endless.begun.wait, 10)
            refused.append(await asyncio.to_thread(served.chat))
            refused.append(await asyncio.to_thread(served.get, "/health"))

        await leave(served, CHAT, body(stream=True), then())

    asyncio.run(main())
    assert refused[0].status_code == 429 and refused[0].headers["retry-after"] == "1"
    assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert refused[1].status_code == 200


def test_keys_let_in(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{hashlib.sha256(b'sk-1').hexdigest()} ann\n\n{hashlib.sha256(b'sk-2').hexdigest()}\n")
    served = serve(keys=read_keys(file))
    for header in (
        None,
        "sk-1",
        "Bearer sk-3",
        "Bearer ",
        "Basic sk-1",
        "Bearer " + hashlib.sha256(b"sk-1").hexdigest(),
    ):
        reply = served.get("/v1/models", headers={"authorization": header} if header else {})
        assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key"
        told = "Incorrect API key provided" if header else "You didn't provide an API key"
        assert reply.json()["error"]["message"].startswith(told)  # LiteLLM knows the one by its words
    for key in ("sk-1", "sk-2"):
        assert served.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert served.chat().status_code == 401 and served.get("/metrics").status_code == 401
    assert served.get("/health").status_code == served.get("/openapi.json").status_code == 200
    assert b"sk-1" not in repr(Keys).encode() and "sk-1" not in repr(read_keys(file))
    for wrong in ("sk-1\n", "# none\n"):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match="sha256sum"):
            read_keys(file)


def failing(prefix: Prefix, rng: Random) -> Step:
    if prefix.blocks:
        raise SamplerError("the engine broke")
    return Step(Block("Begin", "1", "2"))


def test_a_failure_is_told_with_a_status_or_in_the_stream(serve: Serve, events: Events) -> None:
    served = serve(failing)
    for reply in (served.chat(), served.respond()):
        assert reply.status_code == 500 and reply.json()["error"]["type"] == "server_error"
        assert "broke" not in reply.text
    told = events(served.chat(stream=True))
    assert told[-1]["error"]["code"] == "model_error" and "choices" in told[0]
    told = events(served.respond(stream=True))
    assert [one["type"] for one in told[-2:]] == ["error", "response.failed"]
    assert told[-1]["response"]["status"] == "failed" and told[-1]["response"]["error"]["code"] == "server_error"
    assert [one["sequence_number"] for one in told] == list(range(len(told)))


@pytest.mark.parametrize("search", ["single", "majority"])
def test_a_dead_upstream_is_told_as_one_without_its_address(
    serve: Serve, events: Events, search: str, caplog: pytest.LogCaptureFixture
) -> None:
    from ponder.engine.endpoint import Endpoint
    from ponder.engine.remote import RemoteSampler

    budgets = {effort: Budget(400, samples=3) for effort in Effort}
    nobody = RemoteSampler(Endpoint(url="http://127.0.0.1:9", model="m", retries=0))
    served = serve(sampler=nobody, search=search, budgets=budgets, temperature=1.0)
    for reply in (served.chat(), served.respond()):
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["type"]) == (502, "upstream_error", "server_error")
        assert "upstream server" in error["message"] and "127.0.0.1" not in reply.text
    assert "127.0.0.1:9" in caplog.text, "the operator is told which one"
    assert events(served.chat(stream=True))[-1]["error"]["code"] == "upstream_error"
    assert events(served.respond(stream=True))[-1]["response"]["status"] == "failed"


def test_a_bug_of_ours_is_a_500_that_says_nothing_more(serve: Serve) -> None:
    def broken(prefix: Prefix, rng: Random) -> Step:
        raise ZeroDivisionError("a secret path")

    for stream in (False, True):
        reply = serve(broken).chat(stream=stream)
        assert reply.status_code == 500 and "secret" not in reply.text
        assert reply.json()["error"]["code"] == "internal_error"


def test_a_silent_stream_pings(serve: Serve) -> None:
    endless = Endless()
    served = serve(sampler=endless, ping_seconds=0.02)

    async def main() -> list[dict[str, Any]]:
        return await leave(served, CHAT, body(stream=True), asyncio.sleep(0.3))

    sent = b"".join(message.get("body", b"") for message in asyncio.run(main()))
    assert sent.count(b": ping\n\n") >= 2


def test_models_health_numbers_and_description(micro: Serve) -> None:
    served = micro()
    listed, one = served.get("/v1/models").json(), served.get("/v1/models/m").json()
    assert listed == {"object": "list", "data": [one]} and (one["id"], one["object"]) == ("m", "model")
    assert served.get("/health").json()["status"] == "ok"
    usage = served.chat().json()["usage"]
    numbers = served.get("/metrics").text
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert f'ponder_tokens_total{{kind="prompt",model="m"}} {float(usage["prompt_tokens"])}' in numbers
    assert f'ponder_tokens_total{{kind="thinking",model="m"}} {float(reasoning)}' in numbers
    assert 'ponder_requests_total{path="/v1/chat/completions",status="200"} 1.0' in numbers
    described = served.get("/openapi.json").json()
    posts = {path for path, operations in described["paths"].items() if "post" in operations}
    assert posts == {CHAT, RESPONSES, f"{RESPONSES}/{{id}}/cancel"}
    chat = described["paths"][CHAT]["post"]["responses"]["200"]["content"]
    assert chat["application/json"]["schema"] == {"type": "object"} and "text/event-stream" in chat
    for path in described["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"] and {"400", "401", "429", "500"} <= set(operation["responses"])


def counted(served: Served) -> dict[str, float]:
    """Tokens by kind, and dollars, of all requests so far."""
    lines = [line.rsplit(" ", 1) for line in served.get("/metrics").text.splitlines()]
    tokens = {name.split('"')[1]: float(value) for name, value in lines if name.startswith("ponder_tokens_total")}
    return tokens | {"dollars": sum(float(value) for name, value in lines if name.startswith("ponder_cost_dollars_t"))}


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_what_broke_off_is_counted_by_what_it_used(serve: Serve, stepped: Stepped, path: str) -> None:
    served = serve(sampler=stepped, price=Price(1.0, 10.0))
    stepped.go(1)

    def second() -> None:
        for _ in range(2):  # the first block is there once the next one is asked for
            assert stepped.asked.acquire(timeout=10)

    asyncio.run(leave(served, path, body(stream=True), asyncio.to_thread(second)))
    found = counted(served)
    block = len("Add the ones2+2=4 nobody may read this4, no carry")
    assert found["prompt"] > 20 and found["thinking"] > block and found["answer"] == found["discarded"] == 0
    assert found["dollars"] == pytest.approx((found["prompt"] + 10 * found["thinking"]) / 1e6)
    failed = serve(failing)
    assert failed.ask(path, body(n=3)).status_code == 500
    assert counted(failed)["thinking"] > 0 and counted(failed)["prompt"] == found["prompt"], "one prompt for all"


@pytest.mark.parametrize("search", ["single", "majority"])
@pytest.mark.parametrize("choices", [1, 3])
def test_usage_is_what_the_sampler_generated(
    micro: Serve, search: str, choices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets = {effort: Budget(60, answer=20, samples=1 if search == "single" else 4) for effort in Effort}
    served = micro(search=search, budgets=budgets, temperature=1.0)
    sampler, made = served.worker.sampler, list[Extension]()

    class Watched:
        async def extend(
            self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
        ) -> list[Extension]:
            found = await sampler.extend(prefix, limit, samplings, hear)
            made.extend(found)
            return found

    monkeypatch.setattr(served.worker, "sampler", Watched())
    for path in (CHAT, RESPONSES) if choices == 1 else (CHAT,):
        made.clear()
        usage = served.ask(path, body(n=choices, seed=6)).json()["usage"]
        told = {name.replace("completion", "output").replace("prompt", "input"): usage[name] for name in usage}
        reasoning = told["output_tokens_details"]["reasoning_tokens"]
        answers = [len(one.segment.generated) for one in made if one.answer is not None]
        thinking = sum(len(one.segment.generated) for one in made if one.answer is None)
        assert told["output_tokens"] == thinking + sum(answers) == told["total_tokens"] - told["input_tokens"]
        assert told["input_tokens"] == min(len(one.segment.context) for one in made)
        assert len(answers) >= choices and thinking > 0
        if search == "single":
            assert reasoning == thinking
        else:  # answers that lost the vote were thinking, too
            assert thinking < reasoning and min(answers) * choices <= told["output_tokens"] - reasoning


def test_every_reply_has_an_id_of_its_own(serve: Serve) -> None:
    async def drip() -> Any:
        yield b"{"
        await asyncio.sleep(5)

    keys, key = Keys((hashlib.sha256(b"sk-1").digest(),)), {"authorization": "Bearer sk-1"}
    closed = serve(keys=keys, quota=Quota(requests=3), body_seconds=0.05, most_bytes=1000)
    replies = {
        401: closed.ask(CHAT, body()),
        408: closed.ask(CHAT, content=drip(), headers=key),
        413: closed.ask(CHAT, body(metadata={"a": "x" * 2000}), headers=key),
    }
    streams = [closed.ask(path, body(stream=True), headers=key) for path in (CHAT, RESPONSES)]
    replies[200] = closed.ask(RESPONSES, body(), headers=key)
    replies[429] = closed.ask(CHAT, body(), headers=key)
    assert [reply.status_code for reply in (*replies.values(), *streams)] == [401, 408, 413, 200, 429, 200, 200]
    ids = [reply.headers["x-request-id"] for reply in (*replies.values(), *streams)]
    assert all(one.startswith("req_") for one in ids) and len(set(ids)) == len(ids)
    assert all(reply.headers["content-type"].startswith("text/event-stream") for reply in streams)


def test_a_stopped_engine_is_told(serve: Serve) -> None:
    served = serve()
    served.worker.close()
    assert served.get("/health").status_code == 503
