"""The one optimiser loop: accumulate, clip, schedule, log, checkpoint, resume. A stage brings batches and a loss.

Muon (Jordan et al. 2024) moves the matrices, AdamW the embedding and the norms. Everything that a step does depends on
the state and the step's number alone, so a run that was killed ends with the same bits as one that was not.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ponder.errors import CheckpointError, DivergedError
from ponder.model.device import DTYPES
from ponder.runs import Run, read_json

HEAD = "head."
"""What the names of a reward head's parameters begin with."""
PROGRESS_FILE = "progress.json"
COMPANION_FILE = "companion.json"


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How to optimise."""

    steps: int
    learning_rate: float
    """Peak rate: warmed up to linearly, held, then lowered linearly to zero."""
    warmup: float = 0.02
    """Share of the steps spent warming up."""
    decay: float = 0.5
    """Share of the steps, at the end, over which the rate falls to zero."""
    head_rate: float = 1.0
    """A reward head's rate as a multiple of the others'."""
    weight_decay: float = 0.05
    clip: float = 1.0
    dtype: str = "float32"
    device: str = "cpu"
    log_every: int = 10
    save_seconds: float = 60.0
    """Wall time between two saved states; it has no influence on the weights."""
    save_multiple: int = 1
    """States are saved after multiples of so many steps alone, and after the last one."""


@dataclass
class Progress:
    """Where a run is; also what the metrics and the display read."""

    step: int = 0
    tokens: int = 0
    """Tokens the network has read, padding included."""
    trained: int = 0
    """Tokens the loss has seen."""
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds spent waiting for data."""


class MicroBatch(Protocol):
    """What one forward and backward pass reads."""

    @property
    def trained(self) -> int:
        """Terms of the loss's sum: the loop divides by them."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens that the network reads."""
        ...

    def to(self: "B", device: str) -> "B":
        """The batch on another device."""
        ...


class Companion(Protocol):
    """What a stage keeps beside the weights: it is saved with them, and its numbers are logged with the loop's."""

    def record(self) -> dict[str, float]:
        """Numbers of the step that was just taken."""
        ...

    def state(self) -> dict[str, Any]:
        """What the next steps depend on, as plain JSON values."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        ...


M = TypeVar("M", bound=nn.Module)
B = TypeVar("B", bound=MicroBatch)
Loss = Callable[[M, B], Tensor]
"""A model and a micro-batch to a sum over its terms."""


def rate(step: int, config: LoopConfig) -> float:
    """Learning rate of a step as a share of the peak: warm-up, plateau, linear decay to zero."""
    warmup = max(1, round(config.warmup * config.steps))
    decay = max(1, round(config.decay * config.steps))
    return min(1.0, (step + 1) / warmup, (config.steps - step) / decay)


def rate_between(before: float, after: float, config: LoopConfig) -> float:
    """The same of a step before and after which such shares of a run are done, where they are not counted in steps."""
    return min(1.0, after / config.warmup, (1.0 - before) / config.decay)


@dataclass(frozen=True)
class Optimizers:
    """Muon for the matrices of the layers, AdamW for the rest; one that has nothing to move is not there."""

    parts: Mapping[str, torch.optim.Optimizer]

    def step(self, share: float, config: LoopConfig) -> None:
        """One update at a share of the peak rate."""
        for optimizer in self.parts.values():
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * share * group["scale"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def new_optimizers(model: nn.Module, config: LoopConfig) -> Optimizers:
    """Optimisers for what can be trained; Muon's updates are scaled to AdamW's size, so that one rate serves both."""
    named = _trainable(model)
    head = [p for name, p in named.items() if name.startswith(HEAD)]
    matrices = [p for n, p in named.items() if p.dim() == 2 and "embed" not in n and not n.startswith(HEAD)]
    others = [p for n, p in named.items() if (p.dim() != 2 or "embed" in n) and not n.startswith(HEAD)]
    groups = [{"params": others, "scale": 1.0}, {"params": head, "scale": config.head_rate}]
    groups = [group for group in groups if group["params"]]
    rate, parts = config.learning_rate, dict[str, torch.optim.Optimizer]()
    if matrices:
        moved = [{"params": matrices, "scale": 1.0}]
        parts["muon"] = torch.optim.Muon(
            moved, lr=rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
    if groups:
        parts["adam"] = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    return Optimizers(parts)


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def fit(
    network: M,
    batches: Callable[[int], Iterable[Sequence[B]]],
    loss: Loss[M, B],
    config: LoopConfig,
    run: Run,
    *,
    on_step: Callable[[Progress, dict[str, float]], None] | None = None,
    on_boundary: Callable[[Progress], None] | None = None,
    boundaries: frozenset[int] = frozenset(),
    companion: Companion | None = None,
    keep: Callable[[Progress], bool] = lambda progress: False,
    over: Callable[[Progress], bool] = lambda progress: False,
    schedule: Callable[[int], float] | None = None,
) -> Progress:
    """Train to the last step, from the run's saved state if there is one.

    `batches(first)` gives each step's micro-batches from step `first` on. `on_boundary` is called before the steps
    named in `boundaries` and after the last one, for evaluations; it must not touch the weights. Where `keep` says so,
    a state is kept beside the newest one; where `over` does, no further step is taken. `schedule` gives the rate of
    step s, once its batches are there, in place of `rate`. Raises DivergedError where the gradient is not finite,
    before anything is changed by it, and where a weight is not, before it is saved.
    """
    schedule = schedule or (lambda step: rate(step, config))
    network.zero_grad(set_to_none=True)  # what a step that failed has left
    optimizers = new_optimizers(network, config)
    progress = load_state(run, network, optimizers, companion)
    saved, stored = time.monotonic(), progress.step
    if progress.step == 0 and keep(progress):
        keep_state(run, network, optimizers, progress, companion)
    stream = iter(batches(progress.step))
    network.train()
    while progress.step < config.steps and not over(progress):
        if on_boundary and progress.step in boundaries:
            on_boundary(progress)
        record = _step(network, stream, loss, optimizers, config, progress, schedule)
        record |= companion.record() if companion else {}
        if progress.step % config.log_every == 0 or progress.step == config.steps:
            run.log(record)
        if on_step:
            on_step(progress, record)
        if keep(progress):
            keep_state(run, network, optimizers, progress, companion)
        if time.monotonic() - saved > config.save_seconds and progress.step % config.save_multiple == 0:
            save_state(run, network, optimizers, progress, companion)
            saved, stored = time.monotonic(), progress.step
    if progress.step != stored:
        save_state(run, network, optimizers, progress, companion)
    network.eval()
    if on_boundary:
        on_boundary(progress)
    return progress


def marks(steps: int, evaluations: int) -> frozenset[int]:
    """The steps before which to evaluate, evenly spread, so that with the one after the end there are so many."""
    return frozenset(round(steps * (i + 1) / evaluations) for i in range(evaluations - 1))


def once(
    run: Run, network: nn.Module, evaluate: Callable[[Progress], dict[str, float]] | None
) -> Callable[[Progress], None]:
    """What `fit` calls at its boundaries: an evaluation into the metrics, unless that step has one already."""

    def boundary(progress: Progress) -> None:
        measured = {record["step"] for record in run.metrics() if "evaluation" in record}
        if evaluate and progress.step not in measured:
            network.eval()
            run.log({"step": progress.step, "evaluation": evaluate(progress)})
            network.train()

    return boundary


def _step(
    network: M,
    stream: Iterator[Sequence[B]],
    loss: Loss[M, B],
    optimizers: Optimizers,
    config: LoopConfig,
    progress: Progress,
    schedule: Callable[[int], float],
) -> dict[str, float]:
    start = time.monotonic()
    micro = next(stream)
    waited = time.monotonic() - start
    trained = sum(batch.trained for batch in micro)
    total = 0.0
    for batch in micro:
        with torch.autocast(config.device, DTYPES[config.dtype], enabled=config.dtype != "float32"):
            value = loss(network, batch.to(config.device)) / trained
        value.backward()
        total += value.item()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip).item()
    if not math.isfinite(norm) or not math.isfinite(total):
        raise DivergedError(
            f"step {progress.step + 1} has a loss of {total} and a gradient of {norm}: the run stops before they reach "
            "the weights; begin another run with a smaller --learning-rate"
        )
    share = schedule(progress.step)
    optimizers.step(share, config)
    progress.step += 1
    progress.tokens += sum(batch.tokens for batch in micro)
    progress.trained += trained
    progress.waited += waited
    progress.seconds += time.monotonic() - start
    return {
        "step": progress.step,
        "loss": round(total, 5),
        "grad_norm": round(norm, 4),
        "rate": round(config.learning_rate * share, 7),
        "tokens": progress.tokens,
        "trained": progress.trained,
        "seconds": round(progress.seconds, 2),
        "waited": round(progress.waited, 3),
    }


def save_state(
    run: Run, network: nn.Module, optimizers: Optimizers, progress: Progress, companion: Companion | None = None
) -> None:
    """Write what is trained, optimisers, progress and the companion; the previous state stays until it is complete."""
    with run.replacing_state() as folder:
        _write_state(folder, network, optimizers, progress, companion)


def keep_state(
    run: Run, network: nn.Module, optimizers: Optimizers, progress: Progress, companion: Companion | None
) -> None:
    """The same, beside the newest state."""
    with run.keeping_state(progress.step) as folder:
        _write_state(folder, network, optimizers, progress, companion)


def _write_state(
    folder: Path, network: nn.Module, optimizers: Optimizers, progress: Progress, companion: Companion | None
) -> None:
    broken = [name for name, value in _trainable(network).items() if not bool(value.isfinite().all())]
    if broken:
        raise DivergedError(f"after step {progress.step} {broken[0]} is not finite: the state before it is kept")
    tensors: dict[str, Tensor] = {f"network.{name}": value for name, value in _trainable(network).items()}
    for name, optimizer in optimizers.parts.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, folder / "state.safetensors")
    (folder / PROGRESS_FILE).write_text(json.dumps(vars(progress)), encoding="utf-8")
    if companion:
        (folder / COMPANION_FILE).write_text(json.dumps(companion.state()), encoding="utf-8")


def load_state(run: Run, network: nn.Module, optimizers: Optimizers, companion: Companion | None = None) -> Progress:
    """Read the run's saved state into network, optimisers and companion; a new run starts at step 0."""
    if not run.state.exists():
        run.rewind(0)
        return Progress()
    try:
        progress = Progress(**json.loads((run.state / PROGRESS_FILE).read_text(encoding="utf-8")))
        tensors = load_file(run.state / "state.safetensors")
        weights = _under(tensors, "network.")
        if weights.keys() != _trainable(network).keys():
            raise ValueError("it holds other weights than are trained")
        network.load_state_dict(weights, strict=False)
        for name, optimizer in optimizers.parts.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(tensors, f"{name}.").items():
                index, field = key.split(".", 1)
                state.setdefault(int(index), {})[field] = value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        if companion:
            companion.restore(read_json(run.state / COMPANION_FILE))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as err:
        raise CheckpointError(f"{run.state} is damaged ({err}): remove it to start the run over") from err
    run.rewind(progress.step)
    return progress


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
