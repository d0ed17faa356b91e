"""Server-sent events, and noticing that whoever asked has left."""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ponder.serve.settings import Settings

T = TypeVar("T")
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
ENCODER = json.JSONEncoder(separators=(",", ":"))
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Gone(Exception):
    """The client has left: nobody hears the reply."""


def dumps(value: Any) -> bytes:
    """A JSON value in one line; in ASCII, because a text of half a character has no other encoding."""
    return ENCODER.encode(value).encode("ascii")


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event."""
    line = f"event: {name}\n".encode() if name else b""
    return line + b"data: " + dumps(data) + b"\n\n"


class Json(Response):
    """A JSON body; see `dumps`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of any JSON value."""
        return dumps(content)


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """What the work comes to; it is cancelled where the client leaves, and Gone is raised. The body has been read."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        await _cancelled(task, gone)


class Events(Response):
    """A stream of events: closed as soon as the client leaves, and never silent for long."""

    media_type = "text/event-stream"

    def __init__(self, lines: AsyncGenerator[bytes], headers: Mapping[str, str], settings: Settings) -> None:
        super().__init__(headers={**headers, **HEADERS})
        del self.headers["content-length"]
        self._lines, self._settings, self._sent = lines, settings, time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""
        # Not a wait for each event and whoever might leave: that costs more than the event.
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        tasks = [asyncio.ensure_future(work) for work in (self._send(send), self._ping(send), _gone(receive))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(Gone):  # the status was sent: all that is left is to hang up
                    task.result()
        finally:
            await _cancelled(*tasks)
            await self._lines.aclose()

    async def _send(self, send: Send) -> None:
        async for lines in self._lines:
            await self._put(send, lines)
        self._sent = math.inf  # nothing may be sent behind the end
        await self._put(send, b"", more=False)

    async def _ping(self, send: Send) -> None:
        seconds = self._settings.ping_seconds
        while self._sent < math.inf:
            await asyncio.sleep(max(0.0, self._sent + seconds - time.monotonic()))
            if time.monotonic() >= self._sent + seconds:
                await self._put(send, PING)

    async def _put(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Send a piece, which waits while the client has not taken enough of those before; raises Gone if for long."""
        self._sent = max(self._sent, time.monotonic())
        try:
            async with asyncio.timeout(self._settings.send_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            raise Gone from None


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel what still runs, and wait until it has ended; what it came to was told, or does not matter."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(BaseException):
            await task
