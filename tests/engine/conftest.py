"""A small server of our own, on a real socket, that replies what a test tells it to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Body = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server sends; a dict becomes JSON."""

    body: Body | bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    after: float = 0.0
    """Seconds until the first byte."""
    drip: float = 0.0
    """Seconds between two bytes."""


@dataclass
class Stub:
    """Replies to each request by a function of its body; remembers what was asked."""

    url: str = ""
    reply: Callable[[Body], Reply] = lambda _: Reply(status=500)
    asked: list[Body] = field(default_factory=list[Body])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    paths: list[str] = field(default_factory=list[str])
    times: list[float] = field(default_factory=list[float])
    connections: int = 0
    busy: int = 0
    busiest: int = 0
    """Most requests that were open at once."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def replies(self, *replies: Reply) -> None:
        """Reply these in turn, the last one for ever."""
        waiting = list(replies)
        self.reply = lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with stub.lock:
                stub.connections += 1

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                stub.busy += 1
                stub.busiest = max(stub.busiest, stub.busy)
                stub.asked.append(body)
                stub.headers.append(dict(self.headers))
                stub.paths.append(self.path)
                stub.times.append(time.monotonic())
                reply = stub.reply(body)
            try:
                self.answer(reply)
            except ConnectionError:
                self.close_connection = True
            finally:
                with stub.lock:
                    stub.busy -= 1

        def answer(self, reply: Reply) -> None:
            raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            time.sleep(reply.after)
            self.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(raw))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            for part in (raw[at : at + 1] for at in range(len(raw))) if reply.drip else (raw,):
                self.wfile.write(part)
                time.sleep(reply.drip)
            if "Content-Length" in reply.headers:  # a test's own, which need not be true
                self.close_connection = True

    return Handler


@pytest.fixture
def stub() -> Iterator[Stub]:
    """The server; it knows no model."""
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(stub))
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield stub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def reply() -> type[Reply]:
    """What a server sends."""
    return Reply
