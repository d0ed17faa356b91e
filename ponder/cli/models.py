"""Which model a command uses, how it is loaded, and the options for that. Loading is the first time torch is needed."""

import asyncio
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

import ponder
from ponder.cli import output
from ponder.errors import CheckpointError, ConfigError
from ponder.interfaces import Rater, Sampler
from ponder.reward.route import Router
from ponder.search import check_budget
from ponder.search.select import Key
from ponder.tasks import same_of
from ponder.text.effort import AUTO, Plan, effort_named
from ponder.text.format import BLOCKS, THINK_TAGS
from ponder.types import Effort, Message

MANY = 512
"""From so many chains on, the seconds that further processes take to start are soon earned."""
EMBEDDED = "ponder-mini"
VARIABLE = "PONDER_MODEL"

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help=f"Directory of the model that thinks; else ${VARIABLE}, else the embedded {EMBEDDED}.",
        show_default=False,
        metavar="DIR",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda; auto takes cuda where there is one.")]
DtypeOption = Annotated[
    str, typer.Option("--dtype", help="Of weights and caches: float32, bfloat16, or auto, bfloat16 on cuda alone.")
]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", help="How freely tokens are drawn; 0 takes the likeliest.")
]
TopPOption = Annotated[
    float, typer.Option("--top-p", help="Draw only from the likeliest tokens that together have this probability.")
]
UpstreamOption = Annotated[
    str | None,
    typer.Option(
        "--upstream",
        help="A server that speaks OpenAI's API and thinks in place of --model.",
        show_default=False,
        metavar="URL",
    ),
]
UpstreamModelOption = Annotated[
    str | None, typer.Option("--upstream-model", help="The model's name there.", show_default=False, metavar="NAME")
]
UpstreamKeyOption = Annotated[
    str | None,
    typer.Option(
        "--upstream-key-env", help="The environment variable with its API key.", show_default=False, metavar="VAR"
    ),
]
UpstreamDialectOption = Annotated[
    str,
    typer.Option(
        "--upstream-dialect",
        help="blocks: a Ponder checkpoint, over /completions; think_tags: any other, over /chat/completions.",
    ),
]
UpstreamWindowOption = Annotated[
    int,
    typer.Option("--upstream-window", min=0, help="The fold_window of that checkpoint's ponder.json; 0 for all."),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", min=0, help="Processes that sample on a CPU; 0 for one a core where there is enough to do."
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]


@dataclass(frozen=True)
class Model:
    """What a command needs of a loaded model."""

    sampler: Sampler
    name: str
    style: str = "thinking"
    """`thinking`, or `direct` for one that only answers."""
    dialect: str = BLOCKS.name
    plans: Mapping[Effort, Plan] = field(default_factory=dict[Effort, Plan])
    """How it spends efforts, by its ``ponder.json``."""
    auto: Mapping[Effort, float] = field(default_factory=dict[Effort, float])
    """Its table of what effort ``auto`` chooses by."""
    rater: Rater | None = None
    """Its reward head."""
    source: Path | str = ""
    """Its directory, or its server's address."""
    same: Key = str.strip
    """Which of its answers are one to a vote, by the tasks that it was taught."""

    def weights(self) -> str:
        """What tells its weights from all others; of a directory that takes a second a gigabyte."""
        if isinstance(self.source, str):
            return self.source
        from ponder.model.checkpoint import digest

        return digest(self.source)

    def plan(self, effort: Effort) -> Plan:
        """How it spends an effort."""
        return self.plans.get(effort, Plan())

    def router(self) -> Router:
        """What chooses in place of ``auto``; raises ConfigError with the remedy where nothing can."""
        if self.rater is None:
            raise ConfigError(
                f"{self.name} has no reward head, which effort auto chooses by: train one with `ponder train reward`, "
                f"or name one of the efforts {', '.join(Effort)}"
            )
        if not self.auto:
            raise ConfigError(
                f"{self.name} has no table for effort auto: have one measured with `python -m benchmarks.effort`, "
                f"or name one of the efforts {', '.join(Effort)}"
            )
        return Router(self.auto, self.rater)

    def close(self) -> None:
        """End the processes that it samples in, where it does."""
        if close := getattr(self.sampler, "close", None):
            close()

    def effort(self, wanted: str | None, messages: tuple[Message, ...] = ()) -> Effort:
        """The effort asked for, checked against what the model can do; by default medium, or none for a direct one.

        In place of ``auto``, the effort that the model chooses for these messages.
        """
        direct = self.style == "direct"
        if wanted == AUTO:
            (chosen,) = asyncio.run(self.router().choose([messages]))
            return chosen
        effort = effort_named(wanted) if wanted else (Effort.NONE if direct else Effort.MEDIUM)
        if direct and effort is not Effort.NONE:
            raise ConfigError(f"{self.name} was taught to answer without thinking: use --effort none")
        return effort


@dataclass(frozen=True)
class Upstream:
    """The server that a command was told to use, as its options say it."""

    url: str | None = None
    model: str | None = None
    key_env: str | None = None
    dialect: str = BLOCKS.name
    window: int = 1


HERE = Upstream()
"""No server: the model thinks on this machine."""


def embedded_folder() -> Path:
    """Where the embedded model lies in a checkout, whether it does or not."""
    return Path(ponder.__file__).resolve().parents[1] / "models" / EMBEDDED


def find_model(given: Path | None) -> Path:
    """The model directory that a command uses."""
    if given is not None:
        return given
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if not embedded_folder().is_dir():
        raise CheckpointError(
            f"there is no model: {embedded_folder()} does not exist, so give --model DIR, set {VARIABLE}, "
            "or train one with `ponder train sft`"
        )
    return embedded_folder()


def load(
    given: Path | None, device: str = "auto", upstream: Upstream = HERE, workers: int = 1, dtype: str = "auto"
) -> Model:
    """Load a model onto a device, in a number format, or take the one on a server.

    On a CPU a narrow network samples in so many processes; wider ones use all cores in one.
    """
    if upstream != HERE:
        if device != "auto":
            raise ConfigError(f"--device {device} is for a model on this machine: --upstream computes where it is")
        return _remote(upstream, given)
    folder = find_model(given)
    from ponder.engine.decoder import compiled_first
    from ponder.engine.local import LocalSampler
    from ponder.engine.parallel import ParallelSampler
    from ponder.engine.scheduler import MOST_BYTES, MOST_CUDA_ROWS, MOST_ROWS, least_bytes
    from ponder.model.checkpoint import load_checkpoint
    from ponder.model.device import (
        DTYPES,
        narrow,
        pick_device,
        pick_sampling_dtype,
        settle_decoding_threads,
        spare_bytes,
    )
    from ponder.reward.head import HeadRater

    picked = pick_device(device)
    format = pick_sampling_dtype(picked.value, dtype)
    checkpoint = load_checkpoint(folder).to(picked.value, DTYPES[format.value])
    config, shape = checkpoint.config, checkpoint.network.shape
    check_plans(folder, config.efforts)
    compiling = "its decoding is being compiled for this processor, once: about ten seconds"
    lesser = f"it computes in {format.value}: {format.reason}"
    told = [compiling] if compiled_first(checkpoint.network) else []
    for note in (*checkpoint.notes, *told, *([] if format.value == "float32" else [lesser])):
        output.note(f"{config.name}: {note}", style="yellow")
    settle_decoding_threads(picked.value, shape.hidden_size)
    # Caches grow with what is generated: a large model's budget only says how far they may.
    most = max(MOST_BYTES, workers * least_bytes(shape), spare_bytes(picked.value))
    rows = MOST_CUDA_ROWS if picked.value == "cuda" else MOST_ROWS
    if workers > 1 and narrow(picked.value, shape.hidden_size):
        sampler = ParallelSampler(checkpoint, workers, most_bytes=most)
    else:
        sampler = LocalSampler(checkpoint, rows, most)
    rater = HeadRater(checkpoint) if checkpoint.head and config.dialect == BLOCKS.name else None
    same = same_of(config.tasks)
    return Model(sampler, config.name, config.style, config.dialect, config.efforts, config.auto, rater, folder, same)


def check_plans(folder: Path, plans: Mapping[Effort, Plan]) -> None:
    """Refuse a ``ponder.json`` whose efforts name searches or numbers that do not fit."""
    for effort, plan in plans.items():
        try:
            check_budget(plan.search, plan.budget(effort))
        except ConfigError as err:
            raise CheckpointError(f"{folder / 'ponder.json'}, effort {effort}: {err}") from None


def _remote(upstream: Upstream, given: Path | None) -> Model:
    if given is not None:
        raise ConfigError("--model thinks here and --upstream on a server: give one of them")
    if upstream.url is None or upstream.model is None:
        raise ConfigError("a server needs --upstream URL and --upstream-model NAME: give both, or no --upstream option")
    from ponder.engine.endpoint import Endpoint, Kind
    from ponder.engine.remote import RemoteSampler

    endpoint = Endpoint(
        url=upstream.url,
        model=upstream.model,
        key_env=upstream.key_env,
        kind=Kind.CHAT if upstream.dialect == THINK_TAGS.name else Kind.COMPLETIONS,
        dialect=upstream.dialect,
        fold_window=upstream.window or None,
    )
    return Model(RemoteSampler(endpoint), upstream.model, dialect=upstream.dialect, source=upstream.url)


def workers_for(wanted: int, chains: int) -> int:
    """How many processes to sample so many chains in: what was asked for, else one a core for many."""
    return wanted or ((os.cpu_count() or 1) if chains >= MANY else 1)


def check_sampling(temperature: float, top_p: float) -> None:
    """Refuse what cannot be sampled with."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"temperature {temperature} does not fit: it is 0 for the likeliest token, or up to about 2")
    if not 0 < top_p <= 1:
        raise ConfigError(f"top-p {top_p} does not fit: it is above 0 and at most 1")
