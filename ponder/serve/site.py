"""The page at ``/``: its files, and what it asks for beside the API. Nothing on it comes from anywhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from ponder.errors import ConfigError
from ponder.search import ONE_CHAIN
from ponder.serve.models import Models
from ponder.serve.refusal import Refusal, invalid
from ponder.serve.settings import Settings
from ponder.tasks import TASKS, make, task_named
from ponder.types import Effort, Split

FOLDER = "page"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
HEADERS: Mapping[str, str] = {
    # No text of a model's can become more than text: scripts come from here alone, and none writes HTML.
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
HARDEST = 3
"""The highest level of the problems on offer."""


@dataclass(frozen=True)
class File:
    """One file of the page, as it is sent."""

    body: bytes
    kind: str
    tag: str

    def reply(self, request: Request) -> Response:
        """The file, unless the browser has it."""
        headers = {**HEADERS, "etag": self.tag}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.kind)


def read_files() -> dict[str, File]:
    """All files of the page, by name."""
    found: dict[str, File] = {}
    for entry in sorted(files("ponder.serve").joinpath(FOLDER).iterdir(), key=lambda one: one.name):
        kind = KINDS.get(f".{entry.name.rpartition('.')[2]}")
        if kind:
            body = entry.read_bytes()
            found[entry.name] = File(body, kind, f'"{sha256(body).hexdigest()[:32]}"')
    return found


class Attempt(BaseModel):
    """An answer to one of the problems on offer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(max_length=80)
    answer: str = Field(max_length=4_000)


@dataclass(frozen=True)
class Site:
    """The page's own paths."""

    settings: Settings
    models: Models
    files: Mapping[str, File]

    async def index(self, request: Request) -> Response:
        """The page."""
        return self.files["index.html"].reply(request)

    async def file(self, name: str, request: Request) -> Response:
        """One of its files."""
        if name not in self.files:
            raise Refusal(404, f"Unknown request URL: GET {request.url.path}", code="unknown_url")
        return self.files[name].reply(request)

    async def icon(self, request: Request) -> Response:
        """Its icon, where browsers look for one before they have read which it is."""
        return self.files["icon.svg"].reply(request)

    async def about(self) -> Response:
        """What the page can offer."""
        spent = [model.spent(effort, None) for model in self.models.all for effort in Effort]
        searches = any(search not in ONE_CHAIN for search, _, _ in spent)
        told = {"effort": self.models.main.effort, "thoughts": self.settings.expose_thoughts, "tree": searches}
        return _json(told)

    async def examples(self, draw: int = 0) -> Response:
        """A problem of every task; another number draws others, the next harder ones."""
        if not 0 <= draw < 1_000_000:
            raise invalid(f"'draw' is {draw}: it is at least 0.", "draw")
        return _json(_examples(draw))

    async def grade(self, attempt: Attempt) -> Response:
        """What the exact grader says of an answer to a problem on offer."""
        try:
            name, level, split, index = attempt.id.split(":")
            task = task_named(name)
            problem = make(task, int(level), Split(split), int(index))
        except (ConfigError, ValueError):
            raise invalid(f"There is no problem {attempt.id!r}.", "id") from None
        grade = task.grade(problem, attempt.answer)
        return _json({"score": grade.score, "note": grade.note, "answer": problem.answer})


@lru_cache(maxsize=64)
def _examples(draw: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for task in TASKS.values():
        levels = sorted(task.levels)[:HARDEST]
        level = levels[draw % len(levels)]
        # Of some wordings the shortest: it is read on a card.
        some = [make(task, level, Split.TEST, 4 * draw + number) for number in range(4)]
        problem = min(some, key=lambda one: len(one.prompt))
        told = {"task": task.name, "title": task.title, "level": level, "id": problem.id, "prompt": problem.prompt}
        found.append(told)
    return found


def _json(value: Any) -> Response:
    return JSONResponse(value, headers=dict(HEADERS))


def add_site(app: FastAPI, settings: Settings, models: Models) -> None:
    """Give an application the page."""
    site = Site(settings, models, read_files())
    gets = {
        "/": site.index,
        "/favicon.ico": site.icon,
        "/page/about.json": site.about,
        "/page/examples.json": site.examples,
    }
    for path, answer in (gets | {"/page/{name}": site.file}).items():
        app.add_api_route(path, answer, methods=["GET"], include_in_schema=False)
    app.add_api_route("/page/grade", site.grade, methods=["POST"], include_in_schema=False)
