"""Asking a server that speaks OpenAI's API: one JSON request at a time, patiently, within limits.

A request that failed for the server's reasons (429, 5xx, no connection, no reply in time) is tried again after a wait,
the server's own `Retry-After` where it gives one. What a server sends is read as data that may be wrong in every way,
and the API key goes into the request's header and nowhere else.
"""

import asyncio
import json
import math
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import pydantic

from ponder.errors import ConfigError, SamplerError, UpstreamError
from ponder.seeds import rng_for
from ponder.text.format import BLOCKS, DIALECTS

MOST_BYTES = 16 * 2**20
"""A longer reply is refused: it is no completion."""
MOST_SAID = 300
"""Characters of a server's own error message that are repeated."""
MOST_BACKOFF = 30.0
"""Seconds; the server may ask for more."""
_UNSUITED = "check the model's name; where a field does not suit this server, see Endpoint's extra and limit_field"
_REFUSED = "check the API key, and the environment variable that is named for it"
REMEDIES = {
    400: _UNSUITED,
    401: _REFUSED,
    403: _REFUSED,
    404: "check the URL, the model's name, and whether the server has this endpoint",
    422: _UNSUITED,
    429: "ask less at once, or wait",
}

Reply = TypeVar("Reply", bound=pydantic.BaseModel)


class Kind(StrEnum):
    """What a server is asked for."""

    COMPLETIONS = "completions"
    CHAT = "chat"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server, the model on it, and how they are to be asked."""

    url: str
    """Up to the version, such as ``http://127.0.0.1:8000/v1``; where there is no path, ``/v1`` is meant."""
    model: str
    """The model's name there."""
    key_env: str | None = None
    """The environment variable that holds the API key."""
    kind: Kind = Kind.COMPLETIONS
    dialect: str = BLOCKS.name
    fold_window: int | None = 1
    """Folded blocks that stay in the context, None for all: as in the checkpoint's ``ponder.json``."""
    logprobs: bool = False
    """Ask for log-probabilities (completions only)."""
    limit_field: str = "max_tokens"
    """The name of the token limit; OpenAI's own reasoning models want ``max_completion_tokens``."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """More fields of every request, such as ``{"skip_special_tokens": False}``; None takes one of ours out."""
    concurrency: int = 8
    """Most requests at once."""
    timeout: float = 600.0
    """Most seconds that one try may take, and that a server may ask to wait."""
    retries: int = 4
    backoff: float = 0.5
    """Seconds before the first retry; they double, with jitter."""

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not self.model:
            raise ConfigError(f"no model is named for {self.url}: give the name that the server knows it by")
        if self.dialect not in DIALECTS:
            raise ConfigError(f"unknown dialect {self.dialect!r}: the dialects are {', '.join(DIALECTS)}")
        if self.kind == Kind.CHAT and DIALECTS[self.dialect].folds:
            raise ConfigError(f"a chat server cannot fold {self.dialect}: use kind completions, or dialect think_tags")
        window = 1 if self.fold_window is None else self.fold_window
        wholes = (("concurrency", self.concurrency, 1), ("retries", self.retries, 0), ("fold_window", window, 1))
        for name, value, least in wholes:
            if value < least:
                raise ConfigError(f"{name}={value} does not fit: it is at least {least}")
        for name, value in (("timeout", self.timeout), ("backoff", self.backoff)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name}={value} does not fit: it is a number of seconds above 0")

    @property
    def address(self) -> str:
        """Where requests go."""
        base = self.url.rstrip("/")
        path = {Kind.COMPLETIONS: "completions", Kind.CHAT: "chat/completions"}[self.kind]
        return f"{base}/{path}" if urlsplit(base).path else f"{base}/v1/{path}"

    def key(self) -> str | None:
        """The API key, from its variable; no error shows it."""
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise ConfigError(f"the environment variable {self.key_env} is empty: put the API key into it")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigError(f"what the environment variable {self.key_env} holds is no API key: it has odd letters")
        return key


def _check_url(url: str) -> None:
    example = "write it like http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        raise ConfigError(f"the server's URL cannot be read: {example}") from None
    if "@" in parts.netloc:
        raise ConfigError("the server's URL holds a password: name an environment variable for the key instead")
    if not fits or parts.query or parts.fragment:
        raise ConfigError(f"{url!r} is no server's URL: {example}")


class _Failure(NamedTuple):
    """Why a try failed."""

    why: str
    again: bool
    """Whether another may not."""
    wait: float | None = None
    """Seconds that the server asked for."""


@dataclass(frozen=True)
class _Line:
    """The connections and the queue of one event loop."""

    loop: asyncio.AbstractEventLoop
    client: httpx.AsyncClient
    gate: asyncio.Semaphore
    keeper: AsyncGenerator[None, None]
    """Closes the connections when the loop ends, for a loop then closes its generators."""


async def _kept_open(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await client.aclose()


@dataclass(eq=False)
class Server:
    """An endpoint that is asked; its connections live as long as the event loop they were opened in."""

    endpoint: Endpoint
    rng: Random = field(default_factory=lambda: rng_for("retries"), repr=False)
    """For the jitter of waits."""
    _key: str | None = field(init=False, repr=False)
    _line: _Line | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._key = self.endpoint.key()

    @property
    def who(self) -> str:
        """The server, for errors."""
        return f"the server at {self.endpoint.address}"

    async def ask(self, body: Mapping[str, Any], shape: type[Reply]) -> Reply:
        """Post a body, and read the reply as `shape`."""
        merged = {"model": self.endpoint.model, **body, **self.endpoint.extra}
        raw = await self._insist({name: value for name, value in merged.items() if value is not None})
        try:
            return shape.model_validate_json(raw, strict=True)
        except pydantic.ValidationError as err:
            first = err.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise UpstreamError(
                f"{self.who} sent a reply that cannot be used ({where}: {first['msg']}): "
                "it must speak OpenAI's API, with choices and with the usage by which tokens are counted"
            ) from None

    async def _insist(self, body: Mapping[str, Any]) -> bytes:
        """Try until a reply comes; who waits keeps the place in the queue, so a busy server is asked less."""
        line = await self._opened()
        async with line.gate:
            for attempt in range(self.endpoint.retries + 1):
                found = await self._try(line.client, body)
                if isinstance(found, bytes):
                    return found
                wait = self._wait(found, attempt)
                if wait is None:
                    tries = f" (tried {attempt + 1} times)" if attempt else ""
                    raise UpstreamError(f"{self.who} {found.why}{tries}")
                await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    async def _opened(self) -> _Line:
        """The connections of the running loop."""
        loop = asyncio.get_running_loop()
        if self._line and self._line.loop is loop:
            return self._line
        if self._line and self._line.loop.is_running():
            raise SamplerError("the sampler is in use by another thread's event loop: give each loop its own")
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        client = httpx.AsyncClient(headers=headers, timeout=None, limits=httpx.Limits(max_connections=None))
        line = self._line = _Line(loop, client, asyncio.Semaphore(self.endpoint.concurrency), _kept_open(client))
        await anext(line.keeper)
        return line

    async def _try(self, client: httpx.AsyncClient, body: Mapping[str, Any]) -> bytes | _Failure:
        try:
            async with (
                asyncio.timeout(self.endpoint.timeout),
                client.stream("POST", self.endpoint.address, json=body) as response,
            ):
                raw = await self._read(response)
        except TimeoutError:
            why = f"did not reply within {self.endpoint.timeout:g} s: allow more time, or fewer tokens"
            return _Failure(why, again=True)
        except httpx.HTTPError as err:
            return _Failure(f"could not be asked ({err or type(err).__name__}): see whether it runs", again=True)
        if response.status_code == 200:
            return raw
        status = response.status_code
        said = self._said(raw)
        remedy = REMEDIES.get(status, "see the server's log" if status >= 500 else "check the URL")
        why = f"replied {status}{f' ({said})' if said else ''}: {remedy}"
        return _Failure(why, status == 429 or status >= 500, _retry_after(response.headers.get("Retry-After", "")))

    async def _read(self, response: httpx.Response) -> bytes:
        raw = bytearray()
        async for chunk in response.aiter_bytes():
            raw += chunk
            if len(raw) > MOST_BYTES:
                raise UpstreamError(f"{self.who} sent more than {MOST_BYTES:,} bytes: it does not speak OpenAI's API")
        return bytes(raw)

    def _said(self, raw: bytes) -> str:
        """The message in an error's body, made harmless."""
        text = raw.decode("utf-8", "replace")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        while isinstance(value, dict):  # {"error": {"message": …}}, or {"detail": …}
            fields = cast(dict[str, Any], value)
            value = next((fields[name] for name in ("error", "message", "detail") if name in fields), "")
        if self._key:
            value = str(value).replace(self._key, "…")
        words = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
        return words if len(words) <= MOST_SAID else words[:MOST_SAID] + " …"

    def _wait(self, failure: _Failure, attempt: int) -> float | None:
        """Seconds until the next try; None where there is none."""
        if not failure.again or attempt >= self.endpoint.retries:
            return None
        backoff = min(MOST_BACKOFF, self.endpoint.backoff * 2**attempt) * self.rng.uniform(0.5, 1.0)
        if failure.wait is None:
            return backoff
        if failure.wait > self.endpoint.timeout:
            raise UpstreamError(
                f"{self.who} asks to wait {failure.wait:.0f} s, but only {self.endpoint.timeout:g} s are allowed: "
                f"it {failure.why}"
            )
        return max(failure.wait, backoff)


def _retry_after(value: str) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date; None where it holds neither."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
