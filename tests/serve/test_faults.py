"""Clients that misbehave, against a server behind a real socket."""

from __future__ import annotations

import json
import resource
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

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
