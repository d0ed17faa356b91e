"""`ponder serve`: a model behind OpenAI's API."""

import asyncio
import gc
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponder.cli import models, output
from ponder.cli.models import (
    DeviceOption,
    DtypeOption,
    ModelOption,
    UpstreamDialectOption,
    UpstreamKeyOption,
    UpstreamModelOption,
    UpstreamOption,
    UpstreamWindowOption,
)
from ponder.cli.think import OwnSearchOption, OwnTemperatureOption, SamplesOption, WidthOption, asked_plan
from ponder.errors import ConfigError
from ponder.search import check_plan
from ponder.text.effort import AUTO, Budget, Plan
from ponder.text.format import BLOCKS
from ponder.types import Effort

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from ponder.engine.chances import Chances
    from ponder.interfaces import Sampler
    from ponder.serve.models import Model, Models
    from ponder.serve.settings import Price

LAST_SECONDS = 10
"""For telling streams that they end, once their grace is over."""
KEEP_SECONDS = 30
"""For the next request on a connection: longer than clients keep theirs, of which many would else meet a closed one."""
IDLE_SECONDS = 60.0
"""For a whole request on a connection, and for a client to take the rest of what it was sent."""
GARBAGE = 50_000, 20, 50
"""Python's collector looks through the youngest objects once there are so many more, through those that it has seen
once every 20th time, and through all every 50th time of those."""


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
    samples: SamplesOption = None,
    width: WidthOption = None,
    answer_tokens: Annotated[
        int, typer.Option("--answer-tokens", min=1, help="Tokens reserved for each answer.")
    ] = Budget(0).answer,
    requests: Annotated[
        int, typer.Option("--requests", min=1, help="How many are thought about at once; others get a 429.")
    ] = 512,
    key_requests: Annotated[
        int | None, typer.Option("--key-requests", min=1, help="Requests a minute for each key.", show_default="any")
    ] = None,
    key_tokens: Annotated[
        int | None,
        typer.Option("--key-tokens", min=1, help="Tokens a minute for each key, read and written.", show_default="any"),
    ] = None,
    key_at_once: Annotated[
        int | None, typer.Option("--key-at-once", min=1, help="Requests at once for each key.", show_default="any")
    ] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds that thoughts may go on once the server is told to stop.")
    ] = 30.0,
    price: Annotated[
        str | None,
        typer.Option(
            "--price",
            help="US dollars for a million tokens read and written, to tell costs, and for those known already.",
            metavar="READ,WRITTEN[,CACHED]",
            show_default=False,
        ),
    ] = None,
    fast_price: Annotated[
        str | None,
        typer.Option("--fast-price", help="The same for --fast-model.", show_default="as --price"),
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
    dtype: DtypeOption = "auto",
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
    from ponder.serve.limits import Quota
    from ponder.serve.models import Model, Models
    from ponder.serve.settings import REASONING_FIELDS, Price, Settings
    from ponder.serve.store import MEMORY, Store

    if reasoning_field not in REASONING_FIELDS:
        raise ConfigError(f"--reasoning-field {reasoning_field} is unknown: it is {', '.join(REASONING_FIELDS)}")
    models.check_sampling(temperature or 0.0, 1.0)
    plan = asked_plan(search, samples, width)
    if plan:
        check_plan(plan, temperature or 0.0)
    keys = read_keys(api_key_file) if api_key_file else None
    costs, fast_costs = _price("--price", price), _price("--fast-price", fast_price or price)
    server = models.Upstream(upstream, upstream_model, upstream_key_env, upstream_dialect, upstream_window)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    file = store or (_store_file(port) if port else Path(MEMORY))
    kept = Store(file, store_days)
    main = models.load(model, device, server, dtype=dtype)
    fast = models.load(fast_model, device, dtype=dtype) if fast_model else None
    if fast and fast.name == main.name:
        raise ConfigError(f"--fast-model is called {fast.name}, as the other one is: give one of them another name")
    if AUTO in (main.name, fast.name if fast else ""):
        raise ConfigError(f"a model is called {AUTO}, which is what chooses among them: give it another name")

    def served(loaded: models.Model, costs: Price | None) -> Model:
        return _served(loaded, plan, answer_tokens, temperature, costs)

    settings = Settings(
        expose_thoughts=expose_thoughts,
        strict=strict,
        reasoning_field=reasoning_field,
        keys=keys,
        quota=Quota(key_requests, key_tokens, key_at_once),
        most_requests=requests,
    )
    answering = Models(served(main, costs), served(fast, fast_costs) if fast else None)
    app = application(settings, answering, kept)
    if keys is None and host not in ("127.0.0.1", "::1", "localhost"):
        output.note("anybody who can reach this address is let in: --api-key-file closes it", style="yellow")
    if str(file) != MEMORY:
        output.note(f"responses are kept for {store_days:g} days in {file}; requests can say store: false")
    if fast and _unrouted(fast):
        output.note(f"model auto cannot choose: {_unrouted(fast)}", style="yellow")
    names = " and ".join(one.name for one in (main, fast) if one)
    output.note(f"{names} at http://{host}:{listening.getsockname()[1]}/v1; Ctrl-C stops it")
    # What is there now stays, and need not be looked through for garbage; what streams leave behind is looked for less
    # often than by default, which took 2 to 5 percent of the time with 500 of them (`LOG.md`).
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    # No limit_concurrency: it would count idle connections, too, and refuse in no client's shape, as the gate does.
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=round(grace) + LAST_SECONDS,
        timeout_keep_alive=KEEP_SECONDS,
    )
    asyncio.run(_run(uvicorn.Server(config), listening, answering, grace))


async def _run(server: "uvicorn.Server", listening: socket.socket, answering: "Models", grace: float) -> None:
    """Serve until told to stop; what is thought about then has so many seconds to end, and is told so after them."""
    from ponder.serve.idle import close_idle
    from ponder.serve.refusal import Refusal

    async def drain() -> None:
        while not server.should_exit:
            await asyncio.sleep(0.1)
        await asyncio.sleep(grace)
        for model in answering.all:
            model.worker.give_up(Refusal(503, "The server is stopping: ask again.", code="server_stopping"))

    beside = [asyncio.create_task(work) for work in (drain(), close_idle(server, IDLE_SECONDS))]
    try:
        await server.serve(sockets=[listening])
    finally:
        for task in beside:
            task.cancel()


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
        worker=Worker(loaded.sampler, loaded.dialect, _remake(loaded), same=loaded.same),
        direct=loaded.style == "direct",
        plans=plans,
        budgets={effort: replace(own.budget(effort), answer=answer) for effort, own in plans.items()},
        temperature=temperature,
        router=None if why else loaded.router(),
        unrouted=why,
        price=price,
        chances=_chances(loaded),
    )


def _remake(loaded: models.Model) -> "Callable[[], Sampler] | None":
    """Makes the sampler anew, on the same weights."""
    from ponder.engine.local import LocalSampler

    sampler = loaded.sampler
    return (lambda: replace(sampler)) if isinstance(sampler, LocalSampler) else None


def _chances(loaded: models.Model) -> "Chances | None":
    """What reads log-probabilities, of a model on this machine that was made for blocks."""
    from ponder.engine.chances import Chances
    from ponder.engine.local import LocalSampler

    own = loaded.sampler.checkpoint if isinstance(loaded.sampler, LocalSampler) else None
    return Chances(own) if own and loaded.dialect == BLOCKS.name else None


def _unrouted(loaded: models.Model) -> str:
    """Why a model does not choose efforts, in a sentence; empty where it does."""
    try:
        loaded.router()
    except ConfigError as err:
        return str(err)
    return ""


def _price(option: str, given: str | None) -> "Price | None":
    from ponder.serve.settings import Price

    if given is None:
        return None
    try:
        prices = [float(one) for one in given.split(",")]
        if len(prices) not in (2, 3) or not all(0 <= one < float("inf") for one in prices):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{option} {given} does not fit: give two or three numbers of at least 0, such as 0.15,0.60,0.075"
        ) from None
    return Price(*prices)
