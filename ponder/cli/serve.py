"""`ponder serve`: a model behind OpenAI's API."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponder.cli import models, output
from ponder.cli.models import (
    DeviceOption,
    ModelOption,
    UpstreamDialectOption,
    UpstreamKeyOption,
    UpstreamModelOption,
    UpstreamOption,
    UpstreamWindowOption,
)
from ponder.cli.think import OwnSearchOption, OwnTemperatureOption, WidthOption, asked_plan
from ponder.errors import ConfigError
from ponder.search import check_plan
from ponder.text.effort import AUTO, Budget, Plan
from ponder.types import Effort

if TYPE_CHECKING:
    from ponder.serve.models import Model
    from ponder.serve.settings import Price

GRACE_SECONDS = 30
"""So long streams may go on after the server was told to stop."""


def serve(
    model: ModelOption = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            help="SHA-256 digests of the keys that are let in, one a line; without it everybody is.",
            metavar="FILE",
        ),
    ] = None,
    expose_thoughts: Annotated[
        bool, typer.Option("--expose-thoughts", help="Show raw thoughts to requests that ask for them.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse parameters without effect, as o1 did.")] = False,
    reasoning_field: Annotated[
        str,
        typer.Option(
            "--reasoning-field",
            help="Where chat replies carry summaries: reasoning_content, reasoning, both, none.",
            metavar="NAME",
        ),
    ] = "reasoning_content",
    fast_model: Annotated[
        Path | None,
        typer.Option(
            "--fast-model",
            help="Directory of a smaller model: for model auto, its value head says which questions it answers.",
            show_default=False,
            metavar="DIR",
        ),
    ] = None,
    temperature: OwnTemperatureOption = None,
    search: OwnSearchOption = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="How many candidates a search draws.", show_default="1; 16 for --search"),
    ] = None,
    width: WidthOption = None,
    answer_tokens: Annotated[
        int, typer.Option("--answer-tokens", min=1, help="Tokens reserved for each answer.")
    ] = Budget(0).answer,
    requests: Annotated[
        int, typer.Option("--requests", min=1, help="How many are thought about at once; others get a 429.")
    ] = 512,
    price: Annotated[
        str | None,
        typer.Option(
            "--price",
            help="US dollars for a million tokens read and written, to tell costs.",
            metavar="READ,WRITTEN",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            help="Where responses are kept, readable by nobody else; :memory: forgets them with the server.",
            metavar="FILE",
            show_default="~/.local/state/ponder/PORT.sqlite, or :memory: for --port 0",
        ),
    ] = None,
    store_days: Annotated[
        float, typer.Option("--store-days", min=0, help="How long a response is kept after it was last gone on from.")
    ] = 30.0,
    device: DeviceOption = "auto",
    upstream: UpstreamOption = None,
    upstream_model: UpstreamModelOption = None,
    upstream_key_env: UpstreamKeyOption = None,
    upstream_dialect: UpstreamDialectOption = models.Upstream.dialect,
    upstream_window: UpstreamWindowOption = models.Upstream.window,
) -> None:
    """Serve a model: /v1/chat/completions, /v1/responses, /v1/models, /health, /metrics, /openapi.json.

    Example: ponder serve --port 8000

    Example: curl localhost:8000/v1/chat/completions -H 'content-type: application/json' -d '{"model": "ponder-mini",
    "messages": [{"role": "user", "content": "What is 12 * 34?"}]}'
    """
    import uvicorn

    from ponder.serve.app import application
    from ponder.serve.keys import read_keys
    from ponder.serve.models import Model, Models
    from ponder.serve.settings import REASONING_FIELDS, Settings
    from ponder.serve.store import MEMORY, Store

    if reasoning_field not in REASONING_FIELDS:
        raise ConfigError(f"--reasoning-field {reasoning_field} is unknown: it is {', '.join(REASONING_FIELDS)}")
    models.check_sampling(temperature or 0.0, 1.0)
    plan = asked_plan(search, samples, width)
    if plan:
        check_plan(plan, temperature or 0.0)
    keys = read_keys(api_key_file) if api_key_file else None
    costs = _price(price)
    server = models.Upstream(upstream, upstream_model, upstream_key_env, upstream_dialect, upstream_window)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    file = store or (_store_file(port) if port else Path(MEMORY))
    kept = Store(file, store_days)
    main = models.load(model, device, server)
    fast = models.load(fast_model, device) if fast_model else None
    if fast and fast.name == main.name:
        raise ConfigError(f"--fast-model is called {fast.name}, as the other one is: give one of them another name")
    if AUTO in (main.name, fast.name if fast else ""):
        raise ConfigError(f"a model is called {AUTO}, which is what chooses among them: give it another name")

    def served(loaded: models.Model) -> Model:
        return _served(loaded, plan, answer_tokens, temperature, costs)

    settings = Settings(
        expose_thoughts=expose_thoughts,
        strict=strict,
        reasoning_field=reasoning_field,
        keys=keys,
        most_requests=requests,
    )
    app = application(settings, Models(served(main), served(fast) if fast else None), kept)
    if keys is None and host not in ("127.0.0.1", "::1", "localhost"):
        output.note("anybody who can reach this address is let in: --api-key-file closes it", style="yellow")
    if str(file) != MEMORY:
        output.note(f"responses are kept for {store_days:g} days in {file}; requests can say store: false")
    if fast and _unrouted(fast):
        output.note(f"model auto cannot choose: {_unrouted(fast)}", style="yellow")
    names = " and ".join(one.name for one in (main, fast) if one)
    output.note(f"{names} at http://{host}:{listening.getsockname()[1]}/v1; Ctrl-C stops it")
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS)
    uvicorn.Server(config).run(sockets=[listening])


def _store_file(port: int) -> Path:
    """A server's own file, by its port: two servers cannot share one."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "ponder" / f"{port}.sqlite"


def _served(
    loaded: models.Model, plan: Plan | None, answer: int, temperature: float | None, price: "Price | None"
) -> "Model":
    """A loaded model as it is served; a plan that was asked for holds for all efforts, in place of its own."""
    from ponder.serve.models import Model
    from ponder.serve.worker import Worker

    plans = {effort: plan or loaded.plan(effort) for effort in Effort}
    why = _unrouted(loaded)
    return Model(
        name=loaded.name,
        worker=Worker(loaded.sampler, loaded.dialect),
        direct=loaded.style == "direct",
        plans=plans,
        budgets={effort: replace(own.budget(effort), answer=answer) for effort, own in plans.items()},
        temperature=temperature,
        router=None if why else loaded.router(),
        unrouted=why,
        price=price,
    )


def _unrouted(loaded: models.Model) -> str:
    """Why a model does not choose efforts, in a sentence; empty where it does."""
    try:
        loaded.router()
    except ConfigError as err:
        return str(err)
    return ""


def _price(given: str | None) -> "Price | None":
    from ponder.serve.settings import Price

    if given is None:
        return None
    try:
        read, written = map(float, given.split(","))
    except ValueError:
        raise ConfigError(f"--price {given} does not fit: give two numbers, such as 0.15,0.60") from None
    if not (0 <= read < float("inf") and 0 <= written < float("inf")):
        raise ConfigError(f"--price {given} does not fit: prices are at least 0")
    return Price(read, written)
