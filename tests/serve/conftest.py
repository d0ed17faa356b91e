"""A server in this process: the micro checkpoint, or a script, behind the whole application."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from ponder.engine.scripted import ScriptedSampler
from ponder.interfaces import Sampler
from ponder.serve.app import application
from ponder.serve.models import Model, Models
from ponder.serve.settings import Settings
from ponder.serve.store import Store
from ponder.serve.worker import Worker
from ponder.text import format
from ponder.text.effort import Budget, Plan
from ponder.types import Block, Effort

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SECRET = "nobody may read this"
BLOCKS = (Block("Add the ones", f"2+2=4 {SECRET}", "4, no carry"), Block("Check", f"4-2=2 {SECRET}", "4 is right"))
USUAL = format.render(BLOCKS, "4")
SMALL = {
    effort: Budget(thinking, answer=40) for effort, thinking in zip(Effort, (0, 10, 30, 60, 90, 120, 150), strict=True)
}
"""Of a random model nothing is learned by letting it think long."""


class AnyPrompt(dict[str, Any]):
    """The same script for every prompt."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.script = script

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return self.script


@dataclass(frozen=True)
class Served:
    """An application, and short ways to ask it."""

    app: ASGIApp
    worker: Worker
    store: Store
    secret: str = SECRET
    """What the thoughts of the usual script hold."""

    def ask(self, path: str, body: Any = None, *, method: str = "POST", **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://ponder", timeout=60) as client:
                told = {"json": body} if body is not None else {}
                return await client.request(method, path, **told, **more)

        return asyncio.run(send())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask(path, method="GET", **more)

    def chat(self, text: str = "what is the sum of both", /, **more: Any) -> httpx.Response:
        return self.ask(CHAT, {"model": "m", "messages": [{"role": "user", "content": text}], **more})

    def respond(self, text: Any = "what is the sum of both", /, **more: Any) -> httpx.Response:
        return self.ask(RESPONSES, {"model": "m", "input": text, **more})


Events = Callable[[httpx.Response], list[dict[str, Any]]]


@pytest.fixture
def events() -> Events:
    """Reads the data of a stream that ended as it should."""
    return _events


def _events(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/event-stream"), reply.text
    assert reply.is_closed
    told = [part for part in reply.text.split("\n\n") if part and not part.startswith(":")]
    assert told[-1] == "data: [DONE]"
    found: list[dict[str, Any]] = []
    for part in told[:-1]:
        lines = dict(line.split(": ", 1) for line in part.split("\n"))
        found.append(json.loads(lines["data"]))
        assert lines.get("event") == found[-1].get("type")
    return found


Serve = Callable[..., Served]
Live = Callable[..., httpx.Client]


def served(worker: Worker, store: Store, given: dict[str, Any]) -> Served:
    """An application of one model, from the settings of both."""
    own = {"direct", "plans", "budgets", "temperature", "router", "unrouted", "price", "fast", "chances"} & set(given)
    how = {name: given.pop(name) for name in own}
    if search := given.pop("search", None):
        how["plans"] = {effort: Plan(search=search) for effort in Effort}
    fast = how.pop("fast", None)
    models = Models(Model(name="m", worker=worker, **how), fast)
    return Served(application(Settings(**given), models, store), worker, store)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a sampler, or a script for all prompts."""
    opened: list[Worker | Store] = []

    def make(
        script: Any = USUAL,
        sampler: Sampler | None = None,
        dialect: str = "blocks",
        store: Store | None = None,
        **settings: Any,
    ) -> Served:
        worker, store = Worker(sampler or ScriptedSampler(AnyPrompt(script)), dialect), store or Store()
        opened.extend((worker, store))
        return served(worker, store, settings)

    yield make
    for one in opened:
        one.close()


class Stepped:
    """Writes the usual completion, one extension for each `go`."""

    def __init__(self) -> None:
        self.inner, self.steps = ScriptedSampler(AnyPrompt(USUAL)), threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.cancelled = threading.Event()

    def go(self, steps: int = 1) -> None:
        """Let so many extensions be written."""
        self.steps.release(steps)

    async def extend(self, prefix: Any, limit: Any, samplings: Any, hear: Any = None) -> Any:
        self.asked.release()
        try:
            while not self.steps.acquire(blocking=False):
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await self.inner.extend(prefix, limit, samplings, hear)


@pytest.fixture
def stepped() -> Stepped:
    """A sampler that waits to be told."""
    return Stepped()


@pytest.fixture
def live() -> Iterator[Live]:
    """Puts an application behind a real socket: streams come as they are written.

    Its engines are looked after where it is `watched`: then its end is that of workers and store, too.
    """
    with ExitStack() as stack:

        def make(served: Served, watched: bool = False) -> httpx.Client:
            config = uvicorn.Config(served.app, port=0, log_level="error", lifespan="on" if watched else "off")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(setattr, server, "force_exit", not watched)
            stack.callback(setattr, server, "should_exit", True)
            while not server.started:
                time.sleep(0.005)
            host, port = server.servers[0].sockets[0].getsockname()
            return stack.enter_context(httpx.Client(base_url=f"http://{host}:{port}", timeout=20))

        yield make


@pytest.fixture(scope="session")
def micro(micro_checkpoint: Path) -> Iterator[Serve]:
    """Serves the micro checkpoint, with one worker for all."""
    from ponder.engine.local import LocalSampler
    from ponder.model.checkpoint import load_checkpoint

    worker, store = Worker(LocalSampler(load_checkpoint(micro_checkpoint))), Store()

    def make(**settings: Any) -> Served:
        return served(worker, store, {"budgets": SMALL} | settings)

    yield make
    worker.close()
    store.close()
