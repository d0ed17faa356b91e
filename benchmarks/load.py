"""Clients of a server, as many as one process can be: each asks the next question as soon as its last is answered.

They share the machine with the server, so they do as little as can be done while it works: a connection each, kept
open, what comes set aside with its times, and read only when all is over.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
ENDS = (b"0\r\n\r\n", b"\r\n0\r\n\r\n")
MARKS = {"summary": b"event: response.reasoning_summary_text.done", "answer": b"event: response.output_text.delta"}
"""What is waited for in a stream of a response, and the bytes that say it is there."""
OVERLAP = max(map(len, MARKS.values()))
APART = 1000
"""So many clients begin in a second: they do not all connect in the same instant."""


@dataclass(eq=False)
class Heard:
    """One reply, as a client saw it; seconds from its request."""

    asked: int
    """The number of its question."""
    raw: bytes = b""
    whole: float = 0.0
    first: dict[str, float] = field(default_factory=dict[str, float])
    """When each mark was first seen."""
    lost: str = ""
    """Why there is no whole reply."""


async def closed_loop(ask: Callable[[int, int], Awaitable[T]], clients: int, seconds: float) -> list[T]:
    """All that `ask`, given a client's number and a question's, comes to: begun for so many seconds, each one ended."""
    found: list[T] = []
    waiting, end = iter(range(10**9)), time.monotonic() + seconds

    async def client(number: int) -> None:
        await asyncio.sleep(number / APART)
        while time.monotonic() < end:
            found.append(await ask(number, next(waiting)))

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found


class _Line(asyncio.Protocol):
    """A client's connection."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.parts: list[bytes] = []
        self.heard, self.start = Heard(-1), 0.0
        self.over: asyncio.Future[None] | None = None
        self.missing: dict[str, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._end(f"lost: {exc or 'the server hung up'}")

    def data_received(self, data: bytes) -> None:
        parts = self.parts
        if self.missing:
            now, seen = time.monotonic() - self.start, (parts[-1][-OVERLAP:] if parts else b"") + data
            for name in [name for name, mark in self.missing.items() if mark in seen]:
                self.heard.first[name] = now
                del self.missing[name]
        parts.append(data)
        if len(parts) == 1 and not data.startswith(b"HTTP/1.1 200"):
            # First of all: a length of 250 looks like a stream's end.
            self._end(f"refused: {data[9:12].decode(errors='replace')}")
        elif data.endswith(ENDS[0]):
            tail = data if len(data) >= len(ENDS[1]) else b"".join(parts[-2:])
            if tail.endswith(ENDS[1]):
                self._end("")

    def _end(self, why: str) -> None:
        if self.over and not self.over.done():
            self.heard.whole, self.heard.raw = time.monotonic() - self.start, b"".join(self.parts)
            self.heard.lost = why
            self.over.set_result(None)


@dataclass(eq=False)
class Clients:
    """So many connections to one server, which ask `body` of a question."""

    port: int
    path: str
    body: Callable[[int], dict[str, Any]]
    lines: dict[int, _Line] = field(default_factory=dict[int, _Line])

    async def ask(self, client: int, question: int) -> Heard:
        """One question by one client, and all of the stream that answers it."""
        line, heard = self.lines.get(client), Heard(question)
        try:
            if line is None or line.transport is None:
                loop = asyncio.get_running_loop()
                _, line = await loop.create_connection(_Line, "127.0.0.1", self.port)
                self.lines[client] = line
        except OSError as err:
            heard.lost = f"lost: {err}"
            await asyncio.sleep(1)
            return heard
        raw = json.dumps(self.body(question)).encode()
        head = (
            f"POST {self.path} HTTP/1.1",
            "host: x",
            "content-type: application/json",
            f"content-length: {len(raw)}",
        )
        line.parts, line.heard, line.start, line.missing = [], heard, time.monotonic(), dict(MARKS)
        line.over = asyncio.get_running_loop().create_future()
        line.transport.write("\r\n".join([*head, "", ""]).encode() + raw)
        await line.over
        if heard.lost:
            del self.lines[client]
            if line.transport:
                line.transport.abort()
        return heard

    def close(self) -> None:
        """Hang up."""
        for line in self.lines.values():
            if line.transport:
                line.transport.abort()
        self.lines.clear()


def load(clients: Clients, count: int, seconds: float) -> list[Heard]:
    """All streams of so many clients, begun in so many seconds."""

    async def run() -> list[Heard]:
        try:
            return await closed_loop(clients.ask, count, seconds)
        finally:
            clients.close()

    return asyncio.run(run())


# --- reading what was heard ----------------------------------------------------------------------------------------


def body_of(raw: bytes) -> bytes:
    """A chunked reply's body; raises ValueError where its chunks are not whole."""
    at, found = raw.index(b"\r\n\r\n") + 4, list[bytes]()
    while True:
        end = raw.index(b"\r\n", at)
        size = int(raw[at:end], 16)
        if size == 0:
            break
        found.append(raw[end + 2 : end + 2 + size])
        if raw[end + 2 + size : end + 4 + size] != b"\r\n":
            raise ValueError("a chunk is not as long as it says")
        at = end + 4 + size
    return b"".join(found)


def datas(body: bytes) -> list[tuple[str, Any]]:
    """A stream's events, their names and data; raises ValueError where it has not ended as streams do."""
    parts = [part for part in body.decode().split("\n\n") if part and not part.startswith(":")]
    if not parts or parts[-1] != "data: [DONE]":
        raise ValueError("it ends without [DONE]")
    found: list[tuple[str, Any]] = []
    for part in parts[:-1]:
        name, _, data = part.rpartition("data: ")
        found.append((name.removeprefix("event: ").strip(), json.loads(data)))
    return found


SHORT = {
    "response.created": "C",
    "response.in_progress": "P",
    "response.output_item.added": "I",
    "response.output_item.done": "i",
    "response.reasoning_summary_part.added": "S",
    "response.reasoning_summary_text.delta": "t",
    "response.reasoning_summary_text.done": "T",
    "response.reasoning_summary_part.done": "s",
    "response.content_part.added": "A",
    "response.output_text.delta": "d",
    "response.output_text.done": "D",
    "response.content_part.done": "a",
    "response.completed": "E",
    "response.incomplete": "E",
}
ORDER = re.compile("CPI(StTs)*iIAd*DaiE")
"""The events of a response that thought, one letter each."""


@dataclass(frozen=True)
class Read:
    """What a stream of a response came to."""

    tokens: int = 0
    answer: str = ""
    wrong: str = ""
    """What is wrong with it; empty where it is whole."""


def read_response(heard: Heard) -> Read:
    """Read a stream of ``/v1/responses`` and look at everything that its events say twice."""
    if heard.lost:
        return Read(wrong=heard.lost)
    try:
        events = datas(body_of(heard.raw))
    except ValueError as err:
        return Read(wrong=f"corrupted: {err}")
    if not ORDER.fullmatch("".join(SHORT.get(name, "?") for name, _ in events)):
        last = events[-1][0] if events else "nothing"
        return Read(wrong=f"corrupted: events end with {last}, or are in another order")
    if [data["sequence_number"] for _, data in events] != list(range(len(events))):
        return Read(wrong="corrupted: events are missing")
    if any(name != data["type"] for name, data in events):
        return Read(wrong="corrupted: an event has another's name")
    whole = events[-1][1]["response"]
    thought, message = whole["output"]
    told: dict[str, list[str]] = {"t": [], "d": []}
    for name, data in events:
        if SHORT[name] in told:
            told[SHORT[name]].append(data["delta"])
    answer, usage = message["content"][0]["text"], whole["usage"]
    if "".join(told["d"]) != answer or told["t"] != [part["text"] for part in thought["summary"]]:
        return Read(wrong="corrupted: its parts are not its whole")
    reasoning = usage["output_tokens_details"]["reasoning_tokens"]
    if not 0 <= reasoning < usage["output_tokens"] == usage["total_tokens"] - usage["input_tokens"]:
        return Read(wrong=f"corrupted: its usage is {usage}")
    return Read(usage["output_tokens"], answer)


def read_chat(heard: Heard) -> Read:
    """A stream of ``/v1/chat/completions`` of any server; its tokens are its usage's."""
    if heard.lost:
        return Read(wrong=heard.lost)
    try:
        body = body_of(heard.raw).replace(b"\r\n", b"\n")
        chunks = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    except ValueError as err:
        return Read(wrong=f"corrupted: {err}")
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    if not usage:
        return Read(wrong=f"no usage: {chunks[-1] if chunks else body[:80]!r}")
    texts = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())]
    return Read(usage["completion_tokens"], "".join(texts))
