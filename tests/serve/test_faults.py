"""Clients that misbehave, against a server behind a real socket."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from ponder.serve.idle import close_idle
from ponder.text.effort import Budget
from ponder.types import Effort

if TYPE_CHECKING:
    from tests.serve.conftest import Live, Serve, Stepped

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "what is the sum of both"}],
    "reasoning_effort": "max",
    "temperature": 1,
    "n": 16,
    "stream": True,
}


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=10)


def post(path: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def idle(client: httpx.Client, scheduler: Any = None) -> bool:
    for _ in range(200):
        if "ponder_thinking 0.0" in client.get("/metrics").text and not (scheduler and scheduler.busy):
            return True
        time.sleep(0.05)
    return False


def test_who_vanishes_leaves_no_row_behind(micro: Serve, live: Live) -> None:
    served = micro()
    client, raw = live(served), json.dumps(BODY).encode()
    for part in (post(CHAT, len(raw))[:40], post(CHAT, len(raw)) + raw[:20], post(CHAT, len(raw)) + raw):
        with connect(client) as connection:
            connection.sendall(part)
            time.sleep(0.1)
    assert idle(client, served.worker.sampler.scheduler)  # type: ignore[attr-defined]
    assert client.post(CHAT, json=BODY | {"n": 1, "stream": False}).status_code == 200


def test_who_reads_slowly_holds_up_nobody(micro: Serve, live: Live) -> None:
    served = micro()
    client, raw = live(served), json.dumps(BODY).encode()
    with connect(client) as slow:
        slow.settimeout(60)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        slow.sendall(post(CHAT, len(raw)) + raw)
        seen = b"".join(slow.recv(1) for _ in range(20))
        assert seen.startswith(b"HTTP/1.1 200")
        assert client.post(CHAT, json=BODY | {"n": 1, "stream": False}).status_code == 200
        rest = b""
        while b"[DONE]" not in rest:
            rest += slow.recv(65536)
        assert rest.count(b'"finish_reason":"') == 16
    assert idle(client)


def test_a_hundred_megabytes_are_not_kept(serve: Serve, live: Live) -> None:
    client = live(serve())
    client.get("/health")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for chunked in (False, True):
        with connect(client) as connection:
            head = post(CHAT, 100_000_000)
            if chunked:
                head = head.replace(b"content-length: 100000000", b"transfer-encoding: chunked")
            sent = 0
            connection.sendall(head)
            try:
                while sent < 100_000_000:
                    part = b" " * 65536
                    connection.sendall(b"10000\r\n" + part + b"\r\n" if chunked else part)
                    sent += len(part)
            except OSError:  # the server has hung up
                pass
            else:
                assert connection.recv(4096).startswith(b"HTTP/1.1 413")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000, "it was kept"
    assert client.get("/health").status_code == 200


def test_bodies_that_nest_without_end_are_refused(serve: Serve) -> None:
    for raw in ("[" * 100_000, '{"a":' * 50_000, '{"model": "m", "input": ' + "[" * 9000 + "]" * 9000 + "}"):
        for path in (CHAT, RESPONSES):
            reply = serve().ask(path, content=raw.encode(), headers={"content-type": "application/json"})
            assert reply.status_code == 400 and reply.json()["error"]["type"] == "invalid_request_error"


def test_ids_are_the_servers_own(serve: Serve) -> None:
    served = serve()
    mine = {"x-request-id": "req_mine", "idempotency-key": "once"}
    replies = [served.ask(RESPONSES, {"model": "m", "input": "2+2?"}, headers=mine) for _ in range(3)]
    assert len({reply.json()["id"] for reply in replies} | {reply.headers["x-request-id"] for reply in replies}) == 6
    first = replies[0].json()["id"]
    two = [served.respond("and?", previous_response_id=first).json() for _ in range(2)]
    assert two[0]["id"] != two[1]["id"] and {one["previous_response_id"] for one in two} == {first}
    for id_ in ("", "resp_", "../../etc", "resp_" + "f" * 5000, "%00", "resp_%F0%28"):
        assert served.get(f"{RESPONSES}/{id_}").status_code in (404, 405)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_flood_is_answered_or_told_to_come_again(serve: Serve, stepped: Stepped, live: Live, path: str) -> None:
    client = live(serve(sampler=stepped, most_requests=4))
    raw = json.dumps({"model": "m", "messages": BODY["messages"], "input": "2+2?"}).encode()
    flood = [connect(client) for _ in range(60)]
    for connection in flood:
        connection.sendall(post(path, len(raw)) + raw)
    time.sleep(0.3)
    stepped.go(12)
    found = [connection.recv(65536) for connection in flood]
    statuses = [int(one.split()[1]) for one in found]
    assert statuses.count(200) == 4 and statuses.count(429) == 56
    for connection in flood:
        connection.close()
    assert idle(client)


def test_whole_answers_among_clients_that_vanish(micro: Serve, live: Live) -> None:
    served = micro()
    client, body = live(served), BODY | {"n": 2, "reasoning_effort": "low", "temperature": 0}
    raw = json.dumps(BODY).encode()
    usual = client.post(CHAT, json=body | {"stream": False}).json()["choices"][0]["message"]["content"]
    bad: list[socket.socket] = []
    for at in range(24):
        bad.append(connect(client))
        bad[-1].sendall((post(CHAT, len(raw)) + raw)[: -len(raw) // 2 if at % 3 == 0 else None])
        if at % 4 == 3:
            with client.stream("POST", CHAT, json=body) as reply:
                told = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: {")]
            parts = [one["choices"][0] for one in told]
            for index in (0, 1):
                said = [part["delta"].get("content") or "" for part in parts if part["index"] == index]
                assert "".join(said) == usual
            assert sum(part["finish_reason"] is not None for part in parts) == 2
            for _ in range(3):
                bad.pop(0).close()
    for connection in bad:
        connection.close()
    assert idle(client, served.worker.sampler.scheduler)  # type: ignore[attr-defined]


def test_connections_on_which_nothing_is_asked_are_closed(serve: Serve, stepped: Stepped) -> None:
    served = serve(sampler=stepped)
    raw = json.dumps(BODY | {"n": 1}).encode()
    whole, half = post(CHAT, len(raw)) + raw, post(CHAT, len(raw))[:40]

    async def main() -> None:
        server = uvicorn.Server(uvicorn.Config(served.app, port=0, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        closing = asyncio.create_task(close_idle(server, 0.3))
        address = server.servers[0].sockets[0].getsockname()
        first, asked = await asyncio.open_connection(*address)
        asked.write(whole)  # it is thought about for longer than that
        for sent in (b"", half):
            start, (reader, writer) = time.monotonic(), await asyncio.open_connection(*address)
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 5) == b"" and time.monotonic() - start > 0.25
            writer.close()
        stepped.go(3)
        assert (await asyncio.wait_for(first.readuntil(b"[DONE]"), 5)).startswith(b"HTTP/1.1 200")
        asked.write(half)
        assert b"HTTP" not in await asyncio.wait_for(first.read(), 5), "the next request was never whole"
        asked.close()
        server.should_exit = True
        await serving
        closing.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_who_never_reads_holds_no_place_for_ever(
    serve: Serve, live: Live, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    long = 500_000  # of a character that JSON needs 12 bytes for: more than all buffers on the way hold
    budgets = {effort: Budget(400, answer=2 * long) for effort in Effort}
    served = serve(f"<|answer|>{'😀' * long}<|end|>", budgets=budgets, most_requests=1, send_seconds=0.3)
    client = live(served)
    raw = json.dumps(BODY | {"n": 1, "input": "2+2?"}).encode()
    with connect(client) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        silent.sendall(post(path, len(raw)) + raw)
        while "ponder_thinking 1.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        assert client.post(CHAT, json=BODY | {"n": 1, "stop": "😀"}).status_code == 429
        assert idle(client), "its place is free, though it is still there"
        assert "broke off" not in caplog.text, "no fault of ours"
        assert client.post(CHAT, json=BODY | {"n": 1, "stop": "😀", "stream": False}).status_code == 200


@pytest.mark.slow
def test_thirty_who_read_a_byte_a_second_hold_up_nobody(micro: Serve, live: Live) -> None:
    served = micro()
    client, raw = live(served), json.dumps(BODY).encode()
    slow: list[socket.socket] = []
    for _ in range(30):
        slow.append(connect(client))
        slow[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        slow[-1].sendall(post(CHAT, len(raw)) + raw)
    for _ in range(20):
        start = time.monotonic()
        assert all(one.recv(1) for one in slow)
        assert client.post(CHAT, json=BODY | {"n": 1, "stream": False}).status_code == 200
        time.sleep(max(0.0, start + 1 - time.monotonic()))
    for one in slow:
        one.close()
    assert idle(client, served.worker.sampler.scheduler)  # type: ignore[attr-defined]


def test_half_a_body_is_given_up_and_holds_no_place(serve: Serve, live: Live) -> None:
    client, raw = live(serve(body_seconds=0.3, most_requests=1)), json.dumps(BODY).encode()
    with connect(client) as half:
        half.sendall(post(CHAT, len(raw)) + raw[: len(raw) // 2])
        time.sleep(0.05)
        assert client.post(CHAT, json=BODY | {"n": 1, "stream": False}).status_code == 200
        assert half.recv(4096).startswith(b"HTTP/1.1 408")
