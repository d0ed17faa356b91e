"""What every request passes: an id, a key, a body of limited size, a free place; and errors always have a shape."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ponder.serve import sse
from ponder.serve.limits import Limits
from ponder.serve.meter import Meter
from ponder.serve.refusal import Refusal, refusal_of
from ponder.serve.settings import Settings
from ponder.serve.sse import Gone

log = logging.getLogger("ponder.serve")
OPEN_PATHS = ("/health", "/openapi.json", "/favicon.ico")
"""Need no key."""
THINKING_PATHS = ("/v1/chat/completions", "/v1/responses")
KNOWN_PATHS = (*OPEN_PATHS, *THINKING_PATHS, "/v1/models", "/metrics")
RETRY_SECONDS = 1
EVERYBODY = ""
"""Whose responses are kept where no keys are asked for."""
OWNER, PLACE = "ponder.owner", "ponder.place"
"""In a request's scope."""


@dataclass(eq=False)
class Place:
    """What a request holds while it is thought about; whoever thinks on after its reply takes it over."""

    free: Callable[[], None]
    taken: bool = False

    def take(self) -> Callable[[], None]:
        """Take it over; returns what gives it back."""
        self.taken = True
        return self.free


@dataclass(eq=False)
class _Reply:
    """One reply on its way out."""

    send: Send
    id: str
    start: float = field(default_factory=time.monotonic)
    status: int = 0
    """0 until it has begun."""
    more: dict[str, str] = field(default_factory=dict[str, str])
    """Headers that every reply to this request has."""

    async def pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            headers.update(self.more)
            headers["openai-processing-ms"] = str(round(1000 * (time.monotonic() - self.start)))
        await self.send(message)

    async def refuse(self, refusal: Refusal) -> None:
        body = sse.dumps(refusal.to_json())
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.pass_on({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


@dataclass(eq=False)
class Gate:
    """Wraps the application."""

    app: ASGIApp
    settings: Settings
    meter: Meter
    limits: Limits
    _thinking: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reply = _Reply(send, f"req_{secrets.token_hex(16)}")
        try:
            await self._let_in(scope, receive, reply)
        except (Gone, ClientDisconnect):
            log.info("%s: the client left", reply.id)
        except Exception as err:  # where a 500 has been sent, that was told and logged already
            if reply.status == 0:
                await reply.refuse(refusal_of(err))
            elif reply.status < 500:
                log.exception("%s broke off", reply.id)
        finally:
            path = _known(scope["path"])
            self.meter.replied(path, reply.status, time.monotonic() - reply.start)

    async def _let_in(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        headers = Headers(scope=scope)
        keys, path = self.settings.keys, scope["path"]
        thinks = scope["method"] == "POST" and path in THINKING_PATHS
        owner = keys.owner(headers.get("authorization")) if keys else EVERYBODY
        if owner is None and not _open(scope["method"], path):
            await reply.refuse(_stranger(headers.get("authorization")))
            return
        try:
            body = await self._read(headers, receive)
        except Refusal as refusal:
            await reply.refuse(refusal)
            return
        # Only now: whoever sends slowly must not hold a place.
        place = Place(lambda: None)
        if thinks:
            try:
                place = self._enter(owner or EVERYBODY)
            except Refusal as refusal:
                self.meter.limited.labels(refusal.limit).inc()
                reply.more = self.limits.headers(owner or EVERYBODY)
                await reply.refuse(refusal)
                return
            reply.more = self.limits.headers(owner or EVERYBODY)
        try:
            await self.app({**scope, OWNER: owner, PLACE: place}, _again(body, receive), reply.pass_on)
        finally:
            if not place.taken:
                place.free()

    def _enter(self, owner: str) -> Place:
        """A place for a request that is to be thought about; raises Refusal where there is none."""
        most = self.settings.most_requests
        if self._thinking >= most:
            message = f"This server thinks about {most} requests at once: try again soon."
            raise Refusal(429, message, code="rate_limit_exceeded", retry_after=RETRY_SECONDS, limit="server")
        self.limits.enter(owner)
        self._count(1)

        def free() -> None:
            self._count(-1)
            self.limits.leave(owner)

        return Place(free)

    def _count(self, more: int) -> None:
        self._thinking += more
        self.meter.thinking.set(self._thinking)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body, within its limits of size and time."""
        most = self.settings.most_bytes
        too_large = Refusal(413, f"The body has more than {most:,} bytes: shorten it.", code="request_too_large")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > most:
            raise too_large
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    parts.append(message.get("body", b""))
                    size, more = size + len(parts[-1]), message.get("more_body", False)
                    if size > most:
                        raise too_large
        except TimeoutError:
            raise Refusal(408, "The body took too long to arrive.", code="request_timeout") from None
        return b"".join(parts)


def _stranger(authorization: str | None) -> Refusal:
    """Why nobody without a right key is let in, in OpenAI's words: LiteLLM knows a wrong key by them."""
    missing = "You didn't provide an API key: send it as 'Authorization: Bearer KEY'."
    return Refusal(401, "Incorrect API key provided." if authorization else missing, code="invalid_api_key")


def _open(method: str, path: str) -> bool:
    """Whether a request needs no key; the page is open, because it asks for the key."""
    return path in OPEN_PATHS or (method == "GET" and (path == "/" or path.startswith("/page/")))


def _known(path: str) -> str:
    """A path's name in the numbers, which must not be as many as there are ids."""
    if path in KNOWN_PATHS:
        return path
    for prefix, name in {"/v1/responses/": "/v1/responses/{id}", "/v1/models/": "/v1/models/{id}"}.items():
        if path.startswith(prefix):
            return name
    return "other"


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that has been read, and then what really comes."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
