"""Asking a server: retries, waits and limits hold, whatever it sends, and the key stays where it belongs."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from ponder.engine.endpoint import MOST_BYTES, Endpoint, Kind, Server
from ponder.errors import ConfigError, SamplerError

if TYPE_CHECKING:
    from tests.engine.conftest import Reply, Stub


class Good(pydantic.BaseModel):
    """A reply as it should be."""

    text: str
    count: pydantic.NonNegativeInt


GOOD = {"text": "hello", "count": 3, "more": None}
KEY = "sk-very-secret-0123456789"


def server(stub: Stub, **settings: Any) -> Server:
    """A client of the stub that does not wait long."""
    endpoint = Endpoint(url=stub.url, model="m", backoff=0.001, timeout=5.0)
    return Server(replace(endpoint, **settings), Random(0))


def ask(server: Server, body: dict[str, Any] | None = None) -> Good:
    return asyncio.run(server.ask(body or {}, Good))


def refused(server: Server, body: dict[str, Any] | None = None) -> str:
    """The one sentence that a request ends with."""
    with pytest.raises(SamplerError) as found:
        ask(server, body)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_a_reply_is_read(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(GOOD))
    assert ask(server(stub), {"prompt": "q"}) == Good(text="hello", count=3)
    assert stub.asked == [{"model": "m", "prompt": "q"}]
    assert stub.paths == ["/v1/completions"]
    assert "Authorization" not in stub.headers[0]


def test_extra_fields_are_added_and_taken_out(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(GOOD))
    ask(server(stub, extra={"top_p": None, "skip_special_tokens": False}), {"top_p": 1.0, "seed": None})
    assert stub.asked == [{"model": "m", "skip_special_tokens": False}]


@pytest.mark.parametrize(
    ("url", "kind", "address"),
    [
        ("http://host:8000", "completions", "http://host:8000/v1/completions"),
        ("http://host:8000/", "completions", "http://host:8000/v1/completions"),
        ("https://host/api/v2/", "completions", "https://host/api/v2/completions"),
        ("http://host/v1", "chat", "http://host/v1/chat/completions"),
    ],
)
def test_where_requests_go(url: str, kind: str, address: str) -> None:
    assert Endpoint(url=url, model="m", kind=Kind(kind), dialect="think_tags").address == address


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"url": "host:8000"}, "is no server's URL: write it like http://"),
        ({"url": "ftp://host"}, "is no server's URL"),
        ({"url": "http://"}, "is no server's URL"),
        ({"url": "http://host:99999"}, "cannot be read"),
        ({"url": "http://host\n"}, "cannot be read"),
        ({"url": "http://host/v1?key=1"}, "is no server's URL"),
        ({"url": "http://user:hunter2@host/v1"}, "holds a password"),
        ({"model": ""}, "no model is named"),
        ({"dialect": "latin"}, "unknown dialect 'latin': the dialects are blocks, think_tags"),
        ({"kind": Kind.CHAT}, "a chat server cannot fold blocks"),
        ({"concurrency": 0}, "concurrency=0 does not fit"),
        ({"retries": -1}, "retries=-1 does not fit"),
        ({"fold_window": 0}, "fold_window=0 does not fit"),
        ({"timeout": float("inf")}, "timeout=inf does not fit"),
        ({"backoff": 0.0}, "backoff=0.0 does not fit"),
    ],
)
def test_what_cannot_be_asked_is_refused(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as found:
        replace(Endpoint(url="http://host", model="m"), **settings)
    assert part in str(found.value) and "hunter2" not in str(found.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_pass_is_tried_again(stub: Stub, reply: type[Reply], status: int) -> None:
    stub.replies(reply(status=status), reply(status=status), reply(GOOD))
    assert ask(server(stub)).text == "hello"
    assert len(stub.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 302])
def test_what_will_not_pass_is_not(stub: Stub, reply: type[Reply], status: int) -> None:
    stub.replies(reply({"error": {"message": "no such\nthing"}}, status))
    said = refused(server(stub))
    assert f"{stub.url}/v1/completions replied {status} (no such thing): check the" in said
    assert len(stub.asked) == 1


def test_retries_end_and_say_how_many(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(b"<html>" + b"oops " * 1000, 503))
    said = refused(server(stub, retries=2))
    assert "replied 503 (<html>oops" in said and said.endswith("see the server's log (tried 3 times)")
    assert len(said) < 500 and len(stub.asked) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed_in_seconds(stub: Stub, reply: type[Reply], status: int) -> None:
    stub.replies(reply(status=status, headers={"Retry-After": "0.3"}), reply(GOOD))
    ask(server(stub))
    first, second = stub.times
    assert 0.3 <= second - first < 3


def test_retry_after_is_obeyed_as_a_date(stub: Stub, reply: type[Reply]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # whole seconds: 1 to 2 from now
    stub.replies(reply(status=429, headers={"Retry-After": date}), reply(GOOD))
    ask(server(stub))
    first, second = stub.times
    assert 0.9 <= second - first < 4


@pytest.mark.parametrize(
    "value", ["soon", "nan", "-5", "Wed, 99 Foo 2026 00:00:00 GMT", "", "Mon, 01 Jan 1990 00:00:00"]
)
def test_a_retry_after_without_sense_is_a_plain_wait(stub: Stub, reply: type[Reply], value: str) -> None:
    stub.replies(reply(status=429, headers={"Retry-After": value}), reply(GOOD))
    ask(server(stub))
    assert stub.times[1] - stub.times[0] < 2


def test_a_server_cannot_make_us_wait_for_ever(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(status=429, headers={"Retry-After": "86400"}))
    said = refused(server(stub))
    assert "asks to wait 86400 s, but only 5 s are allowed" in said and "replied 429" in said
    assert len(stub.asked) == 1


def test_waits_double_with_jitter_from_the_seed(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(status=500))
    refused(server(stub, backoff=0.1, retries=3))
    waits = [after - before for before, after in zip(stub.times, stub.times[1:], strict=False)]
    jitter = Random(0)
    for attempt, wait in enumerate(waits):
        wanted = 0.1 * 2**attempt * jitter.uniform(0.5, 1.0)
        assert wanted <= wait < wanted + 1


def test_no_reply_in_time(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(GOOD, after=0.5))
    began = time.monotonic()
    said = refused(server(stub, timeout=0.05, retries=1))
    assert "did not reply within 0.05 s" in said and "tried 2 times" in said
    assert time.monotonic() - began < 3


def test_a_reply_that_drips_is_none(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(GOOD, drip=0.04))
    assert "did not reply within 0.2 s" in refused(server(stub, timeout=0.2, retries=0))


def test_nobody_listens() -> None:
    gone = Server(Endpoint(url="http://127.0.0.1:9", model="m", retries=1, backoff=0.001))
    assert "could not be asked" in refused(gone)


def test_a_connection_that_breaks_is_tried_again(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(b"{", headers={"Content-Length": "1000"}), reply(GOOD))
    assert ask(server(stub)).text == "hello"
    assert len(stub.asked) == 2


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "the body: Invalid JSON"),
        (b"{", "the body: Invalid JSON"),
        (b'{"text": "caf\xff", "count": 1}', "Invalid JSON"),
        (b'{"text": "\\ud800", "count": 1}', "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"null", "the body: Input should be an object"),
        (b"[]", "the body: Input should be an object"),
        (b"__import__('os')", "Invalid JSON"),
        ({"text": "a"}, "count: Field required"),
        ({"count": 1}, "text: Field required"),
        ({"text": 1, "count": 1}, "text: Input should be a valid string"),
        ({"text": "a", "count": True}, "count: Input should be a valid integer"),
        ({"text": "a", "count": "1"}, "count: Input should be a valid integer"),
        ({"text": "a", "count": -1}, "count: Input should be greater"),
        (b'{"text": "a", "count": 1e999}', "count: Input should be"),
    ],
)
def test_a_reply_that_cannot_be_used(stub: Stub, reply: type[Reply], body: Any, part: str) -> None:
    stub.replies(reply(body))
    said = refused(server(stub))
    assert "sent a reply that cannot be used" in said and part in said
    assert len(stub.asked) == 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("status", [200, 400])
def test_a_huge_body_is_not_read(stub: Stub, reply: type[Reply], packed: bool, status: int) -> None:
    raw = b" " * (2 * MOST_BYTES)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    stub.replies(reply(gzip.compress(raw) if packed else raw, status, headers))
    assert "sent more than 16,777,216 bytes" in refused(server(stub))
    assert len(stub.asked) == 1


def test_an_encoding_that_is_none(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(b"plain", headers={"Content-Encoding": "gzip"}))
    assert "could not be asked" in refused(server(stub, retries=0))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"Incorrect API key provided: {KEY}"}},
        {"error": f"bad {KEY}"},
        {"detail": [{"msg": KEY}]},
        KEY.encode(),
    ],
)
def test_the_key_is_sent_and_never_told(
    stub: Stub, reply: type[Reply], monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    stub.replies(reply(body, 401))
    asking = server(stub, key_env="SOME_KEY")
    said = refused(asking)
    assert stub.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "replied 401" in said and "check the API key" in said
    assert KEY not in said and KEY not in repr(asking) and KEY not in repr(asking.endpoint)


def test_the_key_does_not_follow_a_redirect(stub: Stub, reply: type[Reply], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    stub.replies(reply(status=307, headers={"Location": f"{stub.url}/elsewhere"}))
    assert "replied 307: check the URL" in refused(server(stub, key_env="SOME_KEY"))
    assert stub.paths == ["/v1/completions"]


@pytest.mark.parametrize(("value", "part"), [("", "is empty"), (f"a {KEY}", "odd letters"), (f"{KEY}ü", "odd letters")])
def test_a_key_that_is_none(monkeypatch: pytest.MonkeyPatch, value: str, part: str) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(ConfigError, match=part) as found:
        Server(Endpoint(url="http://host", model="m", key_env="SOME_KEY"))
    assert "SOME_KEY" in str(found.value) and KEY not in str(found.value)


def test_never_more_at_once_than_allowed(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(GOOD, after=0.02))
    asking = server(stub, concurrency=3)

    async def many() -> None:
        await asyncio.gather(*(asking.ask({"i": i}, Good) for i in range(30)))

    asyncio.run(many())
    assert stub.busiest == 3 and len(stub.asked) == 30
    assert stub.connections <= 3


def test_each_event_loop_has_its_own_connections(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(GOOD))
    asking = server(stub)

    async def twice() -> None:
        await asking.ask({}, Good)
        await asking.ask({}, Good)

    for _ in range(3):
        asyncio.run(twice())
    assert (len(stub.asked), stub.connections) == (6, 3)


def test_two_loops_at_once_are_refused(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply(GOOD, after=0.5))
    asking = server(stub)
    thread = threading.Thread(target=lambda: ask(asking))
    thread.start()
    while not stub.asked:
        time.sleep(0.01)
    assert "give each loop its own" in refused(asking)
    thread.join()
