"""The API: which path answers what. `application` is all of it, as ASGI."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from ponder import __version__
from ponder.errors import PonderError
from ponder.serve import chat, responses
from ponder.serve.archive import Archive
from ponder.serve.ask import Ask, chat_ask, responses_ask
from ponder.serve.desk import Desk
from ponder.serve.events import Done, Event
from ponder.serve.formed import formed
from ponder.serve.gate import OWNER, PLACE, Gate
from ponder.serve.limits import Limits
from ponder.serve.meter import Meter, Used
from ponder.serve.models import Models
from ponder.serve.refusal import Refusal, invalid, refusal_of
from ponder.serve.seal import Seal
from ponder.serve.settings import Settings
from ponder.serve.site import add_site
from ponder.serve.sse import Events, Gone, Json, unless_gone
from ponder.serve.store import Store
from ponder.serve.usage import dollars, total
from ponder.serve.wire import ChatBody, ErrorReply, ResponsesBody
from ponder.text.effort import AUTO
from ponder.types import Effort, Tokens

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": what}
    for status, what in {
        400: "The request cannot be answered as it is.",
        401: "The API key is missing or wrong.",
        404: "No such model, response, item or path.",
        405: "The path knows no such method.",
        408: "The body took too long to arrive.",
        409: "The response that this one goes on from is still being written.",
        413: "The body is too large.",
        429: "Too many requests are thought about, or this key has used up its minute.",
        500: "The server or its model failed.",
        502: "The server that the model runs on could not be reached, or failed.",
        503: "The server is stopping, or its engine has stopped.",
    }.items()
}
OBJECT: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The reply; with `stream`, as events.",
        "content": OBJECT | {"text/event-stream": {"itemSchema": EVENT}},
    }
}
PLAIN: dict[int | str, dict[str, Any]] = {200: {"description": "The reply.", "content": OBJECT}}


@dataclass(frozen=True)
class Api:
    """The endpoints."""

    settings: Settings
    models: Models
    meter: Meter
    limits: Limits
    desk: Desk
    seal: Seal
    started: int = field(default_factory=lambda: int(time.time()))

    @property
    def archive(self) -> Archive:
        """The responses that are kept."""
        return Archive(self.desk, self.settings)

    async def chat(self, body: ChatBody, request: Request) -> Response:
        """Answer a conversation."""
        ask = await chat_ask(body, self.settings, self.models)
        events = self._events(ask, request.scope[OWNER])
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            await _begin(request, events)
            return self._stream(ask, chat.chunks(ask, events, self.settings, usage=usage))
        dones = await _all(request, events)
        return Json(chat.completion(ask, dones, self.settings), headers=self._headers(ask, dones))

    async def respond(self, body: ResponsesBody, request: Request) -> Response:
        """Answer a conversation, with summaries of the thought as an item of its own."""
        owner = request.scope[OWNER]
        body = await self.archive.resolved(body, owner)
        earlier = await self.archive.before(body.previous_response_id, owner)
        ask = await responses_ask(body, self.settings, self.models, earlier)
        for at, item in enumerate([] if isinstance(body.input, str) else body.input):
            if item.type == "reasoning" and item.encrypted_content:
                self.seal.open(item.encrypted_content, owner, f"input[{at}].encrypted_content")
        paper = responses.Paper(ask, body, self.settings, lambda blocks: self.seal.seal(blocks, owner))
        script = responses.Script(paper)
        free = request.scope[PLACE].take() if body.background else None
        writing = self.desk.write(script, self._events(ask, owner), owner, free)
        try:
            await unless_gone(request.receive, writing.begun() if body.stream or body.background else writing.end())
        except BaseException:
            await writing.stop()
            raise
        if body.stream:
            return self._stream(ask, writing.follow() if body.background else writing.alone())
        dones = [script.done] if script.done else None
        return Json(script.whole, headers=self._headers(ask, dones))

    async def listed(self) -> Response:
        """The models that there are, and ``auto`` where one of them can choose."""
        return Json({"object": "list", "data": [self._model(name) for name in self.models.names]})

    async def model(self, id: str) -> Response:
        """One model."""
        self.models.check(id)
        return Json(self._model(id))

    async def health(self) -> Response:
        """Whether the server can think."""
        if not all(model.worker.alive for model in self.models.all):
            raise Refusal(503, "The engine has stopped: restart the server.", code="engine_stopped")
        return Json({"status": "ok", "models": [model.name for model in self.models.all], "version": __version__})

    async def metrics(self) -> Response:
        """Numbers for Prometheus."""
        return Response(self.meter.text(), media_type=CONTENT_TYPE_LATEST)

    def _model(self, name: str) -> dict[str, Any]:
        own = next((model for model in self.models.all if model.name == name), None)
        told = {"id": name, "object": "model", "created": self.started, "owned_by": "ponder"}
        return told | {"x_ponder_efforts": own.efforts if own else [*map(str, Effort), AUTO]}

    def _events(self, ask: Ask, owner: str) -> AsyncGenerator[tuple[int, Event]]:
        used = Used()

        def spend(tokens: Tokens) -> None:
            self.limits.spend(owner, tokens.prompt + tokens.generated)
            used.add(tokens)

        events = ask.model.worker.events(ask.requests(), ask.stop, spend, tree=ask.tree)
        return self.meter.watch(ask, formed(ask, events), used)

    def _stream(self, ask: Ask, lines: AsyncGenerator[bytes]) -> Response:
        return Events(lines, self._headers(ask), self.settings)

    def _headers(self, ask: Ask, dones: list[Done] | None = None) -> dict[str, str]:
        headers = {"x-ponder-model": quote(ask.model.name, safe=" "), "x-ponder-effort": str(ask.effort)}
        headers["x-ponder-search"] = ask.search
        if ask.ignored:
            headers["x-ignored-params"] = ", ".join(
                quote(name[:64], safe="[]", errors="replace") for name in ask.ignored[:32]
            )
        if dones and ask.model.price:
            headers["x-ponder-cost"] = dollars(total(dones), ask.model.price)
        return headers


def application(settings: Settings, models: Models, store: Store | None = None) -> ASGIApp:
    """The server of some models; workers and store are closed with it. Without a store, what is kept dies with it."""
    desk, meter, limits = Desk(store or Store()), Meter(), Limits(settings.quota)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        watching = [
            asyncio.create_task(model.worker.watch(meter.restarts.labels(model.name).inc)) for model in models.all
        ]
        watching.append(asyncio.create_task(desk.store.sweeping(settings.sweep_seconds)))
        yield
        await desk.end()
        for task in watching:
            task.cancel()
        for model in models.all:
            model.worker.close()
        desk.store.close()

    app = FastAPI(
        title="Ponder",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=ERRORS,
    )
    api = Api(settings, models, meter, limits, desk, Seal(desk.store.secret("seal")))
    posts = {"/v1/chat/completions": api.chat, "/v1/responses": api.respond}
    for path, answer in posts.items():
        app.add_api_route(path, answer, methods=["POST"], response_class=Json, responses=STREAMS)
    one = "/v1/responses/{id}"
    app.add_api_route(one, api.archive.get, methods=["GET"], response_class=Json, responses=STREAMS)
    app.add_api_route(one, api.archive.delete, methods=["DELETE"], response_class=Json, responses=PLAIN)
    app.add_api_route(f"{one}/cancel", api.archive.cancel, methods=["POST"], response_class=Json, responses=PLAIN)
    app.add_api_route(f"{one}/input_items", api.archive.items, methods=["GET"], response_class=Json, responses=PLAIN)
    for path, answer in {"/v1/models": api.listed, "/v1/models/{id:path}": api.model}.items():
        app.add_api_route(path, answer, methods=["GET"], response_class=Json, responses=PLAIN)
    app.add_api_route("/metrics", api.metrics, methods=["GET"], response_class=PlainTextResponse)
    app.add_api_route("/health", api.health, methods=["GET"], response_class=Json, responses=PLAIN)
    add_site(app, settings, models)
    for kind in (Refusal, PonderError, RequestValidationError, HTTPException, Gone, Exception):
        app.add_exception_handler(kind, _refuse)
    _describe(app)
    return Gate(app, settings, meter, limits)


async def _begin(request: Request, events: AsyncGenerator[tuple[int, Event]]) -> None:
    """Wait until thinking has begun, so that what is refused at once is refused with a status of its own."""
    try:
        await unless_gone(request.receive, anext(events))
    except BaseException:
        await events.aclose()
        raise


async def _all(request: Request, events: AsyncGenerator[tuple[int, Event]]) -> list[Done]:
    """What becomes of all choices, in their order."""

    async def collect() -> dict[int, Done]:
        return {number: event async for number, event in events if isinstance(event, Done)}

    try:
        found = await unless_gone(request.receive, collect())
    finally:
        await events.aclose()
    return [found[number] for number in sorted(found)]


async def _refuse(request: Request, error: Exception) -> Response:
    match error:
        case Gone():
            return Response(status_code=499)
        case RequestValidationError():
            refusal = _unreadable(error)
        case HTTPException(status_code=404):
            refusal = Refusal(404, f"Unknown request URL: {request.method} {request.url.path}", code="unknown_url")
        case HTTPException():
            refusal = Refusal(error.status_code, f"{error.detail}.", code="invalid_request")
        case _:
            refusal = refusal_of(error)
    more = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return Json(refusal.to_json(), refusal.status, headers=more | refusal.headers)


def _unreadable(error: RequestValidationError) -> Refusal:
    """The first thing that is wrong with a body, by the name that its sender gave it."""
    first = error.errors()[0]
    kind, said = str(first["type"]), str(first["msg"])
    steps = [step for step in first["loc"][1:] if isinstance(step, int) or step.isidentifier()]
    if kind == "json_invalid" or not first["loc"][1:]:
        return invalid(f"The body is not a JSON object: {said}.", code=None)
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    name = name.removesuffix(".str")
    if kind == "missing":
        return invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    code = "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"
    return invalid(f"Invalid value for '{name}': {said}.", name, code)


def _describe(app: FastAPI) -> None:
    """A 422 is never sent: the description must not say so."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        told = plain()
        for path in told["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return told

    app.openapi = openapi
