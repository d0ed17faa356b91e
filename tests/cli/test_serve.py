"""`ponder serve` as a process of its own, over real connections."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

PONDER = [sys.executable, "-c", "from ponder.cli import main; raise SystemExit(main())"]
BODY: dict[str, Any] = {"model": "micro", "messages": [{"role": "user", "content": "what is the sum of both"}]}


@pytest.fixture(scope="module")
def process(micro_checkpoint: Path) -> Iterator["subprocess.Popen[str]"]:
    """The server of the micro checkpoint, on a free port."""
    command = [*PONDER, "serve", "--model", str(micro_checkpoint), "--port", "0", "--device", "cpu"]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield started
    started.kill()
    started.communicate()


@pytest.fixture(scope="module")
def client(process: "subprocess.Popen[str]") -> Iterator[httpx.Client]:
    """Connected to it."""
    assert process.stderr
    said = process.stderr.readline()
    found = re.search(r"http://[\d.:]+", said)
    assert found, said + process.stderr.read()
    threading.Thread(target=process.stderr.read, daemon=True).start()
    with httpx.Client(base_url=found[0], timeout=30) as client:
        for _ in range(100):
            try:
                client.get("/health")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield client


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


def test_told_to_stop_it_finishes_what_it_streams(client: httpx.Client, process: "subprocess.Popen[str]") -> None:
    body = BODY | {"n": 16, "temperature": 1, "reasoning_effort": "max", "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = reply.iter_lines()
        first = next(lines)
        process.send_signal(signal.SIGTERM)
        data = [line for line in [first, *lines] if line.startswith("data: ")]
    assert data[-1] == "data: [DONE]" and sum('"finish_reason":"' in line for line in data) == 16
    assert process.wait(20) in (0, -signal.SIGTERM)
