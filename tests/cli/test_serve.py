"""`ponder serve` as a process of its own, over real connections."""

import asyncio
import contextlib
import hashlib
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ponder.interfaces import Prefix
from ponder.serve.store import Kept, Store
from ponder.types import Effort, Message

PONDER = [sys.executable, "-c", "from ponder.cli import main; raise SystemExit(main())"]
BODY: dict[str, Any] = {"model": "micro", "messages": [{"role": "user", "content": "what is the sum of both"}]}


def started(checkpoint: Path | None, *options: str) -> "tuple[subprocess.Popen[str], httpx.Client]":
    """A server of a checkpoint, or of none, on a free port, and a client of it."""
    model = ["--model", str(checkpoint), "--device", "cpu"] if checkpoint else []
    command = [*PONDER, "serve", "--port", "0", *model, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = process.stderr.readline()
    while not (found := re.search(r"http://[\d.:]+", said)):
        assert process.poll() is None, said
        said = process.stderr.readline()
    threading.Thread(target=process.stderr.read, daemon=True).start()
    client = httpx.Client(base_url=found[0], timeout=240)
    for _ in range(200):
        try:
            client.get("/health")
            break
        except httpx.ConnectError:
            time.sleep(0.05)
    return process, client


def ended(process: "subprocess.Popen[str]", client: httpx.Client) -> None:
    client.close()
    process.kill()
    process.wait()
    assert process.stderr
    process.stderr.close()


@pytest.fixture
def serving(micro_checkpoint: Path) -> "Iterator[Callable[..., tuple[subprocess.Popen[str], httpx.Client]]]":
    """Starts servers, which end with the test."""
    running: list[tuple[subprocess.Popen[str], httpx.Client]] = []

    def start(*options: str) -> "tuple[subprocess.Popen[str], httpx.Client]":
        running.append(started(micro_checkpoint, *options))
        return running[-1]

    yield start
    for pair in running:
        ended(*pair)


@pytest.fixture(scope="module")
def server(micro_checkpoint: Path) -> "Iterator[tuple[subprocess.Popen[str], httpx.Client]]":
    """A server that many tests ask."""
    process, client = started(micro_checkpoint)
    yield process, client
    ended(process, client)


@pytest.fixture
def process(server: "tuple[subprocess.Popen[str], httpx.Client]") -> "subprocess.Popen[str]":
    """Its process."""
    return server[0]


@pytest.fixture
def client(server: "tuple[subprocess.Popen[str], httpx.Client]") -> httpx.Client:
    """Its client."""
    return server[1]


def test_it_answers_and_streams(client: httpx.Client) -> None:
    whole = client.post("/v1/chat/completions", json=BODY).json()["choices"][0]["message"]
    with client.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}) as reply:
        data = [line.removeprefix("data: ") for line in reply.iter_lines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    deltas = [json.loads(one)["choices"][0]["delta"] for one in data[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == whole["content"]
    assert client.post("/v1/responses", json={"model": "micro", "input": "hello"}).json()["object"] == "response"


def test_clients_that_vanish_leave_nothing_behind(client: httpx.Client) -> None:
    address = (client.base_url.host, client.base_url.port)
    raw = json.dumps(BODY | {"n": 16, "temperature": 1, "reasoning_effort": "max", "stream": True}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
    )
    for part in (head.encode()[:40], head.encode() + b"\r\n\r\n" + raw[:20], head.encode() + b"\r\n\r\n" + raw):
        with socket.create_connection(address) as connection:
            connection.sendall(part)
            time.sleep(0.1)
    for _ in range(100):
        if "ponder_thinking 0.0" in client.get("/metrics").text:
            break
        time.sleep(0.05)
    assert "ponder_thinking 0.0" in client.get("/metrics").text
    assert client.post("/v1/chat/completions", json=BODY).status_code == 200


def test_a_port_in_use_is_one_sentence(client: httpx.Client, micro_checkpoint: Path) -> None:
    command = [*PONDER, "serve", "--model", str(micro_checkpoint), "--port", str(client.base_url.port)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 2 and "ddress already in use" in outcome.stderr and "Traceback" not in outcome.stderr


Routed = dict[str, tuple[str, str]]


@pytest.fixture
def fast(micro_checkpoint: Path, tmp_path: Path) -> tuple[Path, Routed]:
    """A fast model whose head was set by hand, and questions with who must answer them, and how."""
    import torch

    from ponder.model.checkpoint import load_checkpoint, save_checkpoint
    from ponder.model.heads import new_head
    from ponder.reward.head import HeadRater

    own = load_checkpoint(micro_checkpoint)
    head = new_head(own.network.shape.hidden_size)
    torch.nn.init.normal_(head.outer.weight, std=2.0, generator=torch.Generator().manual_seed(0))
    asked = [f"so the sum of {a} and {b} is" for a in range(1, 9) for b in range(1, 9)]
    efforts = [Effort.NONE, Effort.LOW]
    rater = HeadRater(replace(own, head=head))
    found = {
        effort: [one.value for one in asyncio.run(rater.rate([Prefix((Message("user", a),), effort) for a in asked]))]
        for effort in efforts
    }
    table = {effort: sum(sorted(values)[40:42]) / 2 for effort, values in found.items()}
    surest: dict[tuple[str, str], tuple[float, str]] = {}
    for text, *values in zip(asked, *found.values(), strict=True):
        above = {effort: value - table[effort] for effort, value in zip(efforts, values, strict=True)}
        enough = next((("fast", str(effort)) for effort in efforts if above[effort] > 0), ("micro", "medium"))
        surest[enough] = max(surest.get(enough, (0.0, "")), (min(map(abs, above.values())), text))
    assert set(surest) == {("fast", "none"), ("fast", "low"), ("micro", "medium")}, "set the head otherwise"
    config = own.config.model_copy(update={"name": "fast", "auto": table | {Effort.HIGH: 0.0}})
    save_checkpoint(replace(own, head=head, config=config), tmp_path / "fast")
    return tmp_path / "fast", {text: who for who, (_, text) in surest.items()}


SHORT: dict[str, Any] = BODY | {"messages": [{"role": "user", "content": "and so"}], "max_completion_tokens": 60}
"""Micro thinks about it."""
SUMMARIES = {"reasoning", "reasoning_content"}


def fields(client: httpx.Client, **more: Any) -> list[set[str]]:
    """Under what names a chat's summaries come, whole and streamed."""
    whole = client.post("/v1/chat/completions", json=SHORT, **more).json()["choices"][0]["message"]
    text = client.post("/v1/chat/completions", json=SHORT | {"stream": True}, **more).text.split("\n")
    deltas = [one["choices"][0]["delta"] for one in told(iter(text)) if isinstance(one, dict)]
    return [SUMMARIES & set(whole), SUMMARIES & {name for delta in deltas for name in delta}]


def test_flags_of_two_models_prices_and_thoughts(serving: Any, fast: tuple[Path, Routed]) -> None:
    folder, routed = fast
    prices = ("--price", "3,60,1", "--fast-price", "1,2")
    _, client = serving("--fast-model", str(folder), *prices, "--expose-thoughts", "--reasoning-field", "both")
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["micro", "fast", "auto"]
    assert fields(client) == [SUMMARIES, SUMMARIES]
    for question, (name, effort) in routed.items():
        turns = [{"role": "user", "content": question}]
        reply = client.post("/v1/chat/completions", json=SHORT | {"model": "auto", "messages": turns})
        whole, usage = reply.json(), reply.json()["usage"]
        assert (whole["model"], whole["reasoning_effort"]) == (name, effort)
        assert (reply.headers["x-ponder-model"], reply.headers["x-ponder-effort"]) == (name, effort)
        read, cached, written = (1, 1, 2) if name == "fast" else (3, 1, 60)
        known = usage["prompt_tokens_details"]["cached_tokens"]
        cost = (usage["prompt_tokens"] - known) * read + known * cached + usage["completion_tokens"] * written
        assert reply.headers["x-ponder-cost"] == usage["x_ponder_cost"] == f"{cost / 1e6:.6f}"
    asked: dict[str, Any] = {"model": "micro", "input": "and so", "max_output_tokens": 60}
    raw = [client.post("/v1/responses", json=asked | more).json() for more in ({}, {"include": ["reasoning.content"]})]
    assert "content" not in raw[0]["output"][0] and raw[1]["output"][0]["content"][0]["type"] == "reasoning_text"


def test_flags_that_refuse(serving: Any) -> None:
    slow = ("--search", "majority", "--samples", "16", "--temperature", "1", "--answer-tokens", "20")
    _, client = serving("--strict", "--reasoning-field", "none", "--requests", "1", *slow)
    assert fields(client) == [set(), set()]
    for wrong, code in (({"temperature": 0.5}, "unsupported_value"), ({"tools": [{}]}, "unsupported_parameter")):
        reply = client.post("/v1/chat/completions", json=SHORT | wrong)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)
    include = {"model": "micro", "input": "and so", "include": ["reasoning.content"]}
    assert client.post("/v1/responses", json=include).status_code == 400
    with client.stream("POST", "/v1/chat/completions", json=BODY | {"reasoning_effort": "max", "stream": True}):
        reply = client.post("/v1/chat/completions", json=SHORT)
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "1"), "one is thought about at once"


def test_flags_of_keys_and_days(serving: Any, tmp_path: Path) -> None:
    owners = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("ann", "bob")}
    (tmp_path / "keys").write_text("".join(f"{digest} {name}\n" for name, digest in owners.items()))
    store = Store(tmp_path / "kept.sqlite")
    for id_ in ("resp_old", "resp_new"):
        asyncio.run(store.begin(Kept(id_, owners["bob"], None, [], {"id": id_})))
        asyncio.run(store.finish(id_, {"id": id_}, []))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "kept.sqlite")) as base, base:
        base.execute("UPDATE responses SET used = used - 2 * 86400 WHERE id = 'resp_old'")
    limits = ("--key-requests", "6", "--key-tokens", "1500", "--key-at-once", "1", "--reasoning-field", "reasoning")
    keys = ("--api-key-file", str(tmp_path / "keys"), "--store", str(tmp_path / "kept.sqlite"), "--store-days", "1")
    _, client = serving(*limits, *keys)
    path, ann, bob = "/v1/chat/completions", *({"authorization": f"Bearer {name}"} for name in owners)
    for stranger in ({}, {"authorization": "Bearer eve"}):
        assert client.post(path, json=SHORT, headers=stranger).json()["error"]["code"] == "invalid_api_key"
    assert fields(client, headers=ann) == [{"reasoning"}, {"reasoning"}]
    long = BODY | {"n": 16, "temperature": 1, "reasoning_effort": "max"}
    with client.stream("POST", path, json=long | {"stream": True}, headers=ann):
        at_once = client.post(path, json=SHORT, headers=ann)
    while "ponder_thinking 0.0" not in client.get("/metrics", headers=bob).text:
        time.sleep(0.02)
    while (spent := client.post(path, json=long | {"max_completion_tokens": 200}, headers=ann)).status_code == 200:
        pass
    for reply, said in ((at_once, "1 requests at once"), (spent, "1500 tokens a minute")):
        assert reply.status_code == 429 and said in reply.json()["error"]["message"]
        assert int(reply.headers["retry-after"]) >= 1
    small = {"model": "micro", "input": "x", "reasoning": {"effort": "none"}, "max_output_tokens": 4}
    replies = [client.post("/v1/responses", json=small, headers=bob) for _ in range(7)]
    assert [one.status_code for one in replies] == [200] * 6 + [429], "what ann used is not bob's"
    assert replies[0].headers["x-ratelimit-limit-requests"] == "6" and 1 <= int(replies[6].headers["retry-after"]) <= 10
    kept = [client.get(f"/v1/responses/resp_{age}", headers=bob).status_code for age in ("old", "new")]
    assert kept == [404, 200], "the day of one is over"


def test_a_server_upstream(client: httpx.Client) -> None:
    url = ("--upstream", f"{client.base_url}/v1".replace("//v1", "/v1"), "--upstream-model", "micro")
    process, ours = started(None, *url, "--upstream-dialect", "think_tags")
    asked = SHORT | {"reasoning_effort": "none"}
    both = [one.post("/v1/chat/completions", json=asked).json() for one in (ours, client)]
    assert both[0]["choices"][0]["message"]["content"] == both[1]["choices"][0]["message"]["content"].strip()
    assert both[0]["usage"]["completion_tokens"] == both[1]["usage"]["completion_tokens"]
    ended(process, ours)


def told(lines: Iterator[str], until: str = "") -> list[Any]:
    """The data of a stream, up to an event of a type, or all."""
    found: list[Any] = []
    for line in lines:
        if line.startswith("data: "):
            found.append(line if line.endswith("[DONE]") else json.loads(line.removeprefix("data: ")))
            if isinstance(found[-1], dict) and found[-1].get("type") == until:
                break
    return found


def test_killed_under_load_then_told_to_stop(serving: Any, tmp_path: Path) -> None:
    # Many chains to a request, so that what is asked is still in work when the end comes.
    slow = ("--search", "majority", "--samples", "128", "--temperature", "1")
    options = (*slow, "--store", str(tmp_path / "responses.sqlite"), "--grace", "0")
    process, client = serving(*options)
    asked: dict[str, Any] = {"model": "micro", "input": "what is the sum of both", "temperature": 1}
    whole = [client.post("/v1/responses", json=asked | {"reasoning": {"effort": "none"}}).json() for _ in range(3)]
    long = asked | {"reasoning": {"effort": "max"}, "background": True}
    open_ = [client.post("/v1/responses", json=long).json()["id"] for _ in range(6)]
    brief = {"stream": True, "reasoning": {"effort": "none"}, "max_output_tokens": 8}
    seen = streams(client, asked | brief, 40, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()

    process, client = serving(*options)
    for events in filter(None, seen):
        as_seen(client, events)
    assert [client.get(f"/v1/responses/{one['id']}").json() for one in whole] == whole
    found = [client.get(f"/v1/responses/{id_}").json() for id_ in open_]
    assert {one["status"] for one in found} <= {"failed", "completed", "incomplete"}
    failed = [one for one in found if one["status"] == "failed"]
    assert failed and all(one["error"]["code"] == "server_error" for one in failed)
    again = client.post("/v1/responses", json=asked | {"previous_response_id": whole[0]["id"]})
    assert again.status_code == 200

    chat = BODY | {"n": 2, "temperature": 1, "reasoning_effort": "max", "stream": True}
    with (
        client.stream("POST", "/v1/responses", json=long | {"stream": True}) as response,
        client.stream("POST", "/v1/chat/completions", json=chat) as chunks,
    ):
        lines = response.iter_lines(), chunks.iter_lines()
        (id_,) = {one["response"]["id"] for one in told(lines[0], "response.created")}
        next(lines[1])
        unheard = client.post("/v1/responses", json=long).json()["id"]
        with ThreadPoolExecutor(2) as pool:
            bodies = {"/v1/chat/completions": chat | {"stream": False}, "/v1/responses": long | {"background": False}}
            waiting = [pool.submit(client.post, path, json=body) for path, body in bodies.items()]
            while "ponder_thinking 5.0" not in client.get("/metrics").text:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            ends = [told(one) for one in lines]
            refused = [one.result(60) for one in waiting]
    for reply in refused:
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["type"]) == (503, "server_stopping", "server_error")
    assert ends[0][-1] == ends[1][-1] == "data: [DONE]"
    assert ends[0][-2]["type"] == "response.failed" and "stopping" in ends[0][-2]["response"]["error"]["message"]
    assert ends[1][-2]["error"]["code"] == "server_stopping"
    assert process.wait(60) in (0, -signal.SIGTERM)
    store = Store(tmp_path / "responses.sqlite")
    kept = asyncio.run(store.find(id_, ""))
    assert kept and kept.whole == ends[0][-2]["response"]
    left = asyncio.run(store.find(unheard, ""))
    assert left and left.whole["status"] == "failed" and "stopping" in left.whole["error"]["message"]
    store.close()
    check_rows(tmp_path / "responses.sqlite")


ENDS = ("response.completed", "response.incomplete")


def as_seen(client: httpx.Client, events: list[Any]) -> Any:
    """A response that was streamed, as it is kept: as its client saw it end, or as failed."""
    id_ = events[0]["response"]["id"]
    whole = client.get(f"/v1/responses/{id_}").json()
    if events[-1]["type"] in ENDS:
        assert whole == events[-1]["response"]
    assert whole["status"] in ("failed", "completed", "incomplete") and whole["id"] == id_
    (end,) = told(iter(client.get(f"/v1/responses/{id_}?stream=true").text.split("\n")))[-2:-1]
    assert end["response"] == whole
    return whole


def check_rows(file: Path) -> None:
    """Nothing in a store is half-written."""
    with contextlib.closing(sqlite3.connect(file)) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("SELECT count(*) FROM responses WHERE running").fetchone() == (0,)
        assert all(map(json.loads, (whole for (whole,) in base.execute("SELECT whole FROM responses"))))


def streams(client: httpx.Client, asked: dict[str, Any], count: int, ends: int) -> list[list[Any]]:
    """What so many clients see of a response each; returns as soon as so many of them have ended."""
    seen: list[list[Any]] = [[] for _ in range(count)]

    def follow(events: list[Any]) -> None:
        try:
            with client.stream("POST", "/v1/responses", json=asked) as reply:
                for line in reply.iter_lines():
                    if line.startswith("data: {"):
                        events.append(json.loads(line[6:]))
        except httpx.TransportError:  # the server was killed
            pass

    following = [threading.Thread(target=follow, args=(events,)) for events in seen]
    for one in following:
        one.start()
    while sum(any(event["type"] in ENDS for event in tuple(events)) for events in seen) < ends:
        assert any(one.is_alive() for one in following)
        time.sleep(0.01)
    return seen


@pytest.mark.slow
def test_killed_again_and_again_what_was_seen_is_what_is_kept(serving: Any, tmp_path: Path) -> None:
    file, asked = tmp_path / "responses.sqlite", {"model": "micro", "input": "what is the sum of both", "stream": True}
    asked |= {"temperature": 1, "reasoning": {"effort": "low"}}
    kept: dict[str, Any] = {}
    for ends in (1, 8, 20):
        process, client = serving("--store", str(file))
        for id_, whole in kept.items():
            assert client.get(f"/v1/responses/{id_}").json() == whole
        seen = streams(client, asked, 40, ends)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process, client = serving("--store", str(file))
        for events in filter(None, seen):
            whole = as_seen(client, events)
            kept[whole["id"]] = whole
        process.send_signal(signal.SIGKILL)
        process.wait()
        check_rows(file)
    assert len({one["status"] for one in kept.values()}) > 1, "they were all killed, or none"


def test_told_to_stop_it_finishes_what_it_streams(client: httpx.Client, process: "subprocess.Popen[str]") -> None:
    body = BODY | {"n": 16, "temperature": 1, "reasoning_effort": "minimal", "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = reply.iter_lines()
        first = next(lines)
        process.send_signal(signal.SIGTERM)
        data = [line for line in [first, *lines] if line.startswith("data: ")]
    assert data[-1] == "data: [DONE]" and sum('"finish_reason":"' in line for line in data) == 16
    assert process.wait(60) in (0, -signal.SIGTERM)
