"""The one optimiser loop: accumulate, clip, schedule, log, checkpoint, resume. A stage brings batches and a loss.

Muon (Jordan et al. 2024) moves the matrices, AdamW the embedding and the norms. Everything that a step does depends on
the state and the step's number alone, so a run that was killed ends with the same bits as one that was not.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ponder.errors import CheckpointError
from ponder.model.device import DTYPES
from ponder.model.network import Network
from ponder.runs import Run
from ponder.train.batch import Batch


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
    weight_decay: float = 0.05
    clip: float = 1.0
    dtype: str = "float32"
    device: str = "cpu"
    log_every: int = 10
    save_seconds: float = 60.0
    """Wall time between two saved states; it has no influence on the weights."""


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


Loss = Callable[[Network, Batch], Tensor]


def rate(step: int, config: LoopConfig) -> float:
    """Learning rate of a step as a share of the peak: warm-up, plateau, linear decay to zero."""
    warmup = max(1, round(config.warmup * config.steps))
    decay = max(1, round(config.decay * config.steps))
    return min(1.0, (step + 1) / warmup, (config.steps - step) / decay)


@dataclass(frozen=True)
class Optimizers:
    """Muon for the matrices of the layers, AdamW for the rest."""

    muon: torch.optim.Muon
    adam: torch.optim.AdamW

    def step(self, share: float, config: LoopConfig) -> None:
        """One update at a share of the peak rate."""
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def new_optimizers(network: Network, config: LoopConfig) -> Optimizers:
    """Optimisers for a network; Muon's updates are scaled to AdamW's size, so that one rate serves both."""
    matrices = [p for name, p in network.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in network.named_parameters() if p.dim() != 2 or "embed" in name]
    muon = torch.optim.Muon(
        matrices, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return Optimizers(muon, adam)


def fit(
    network: Network,
    batches: Callable[[int], Iterable[Sequence[Batch]]],
    loss: Loss,
    config: LoopConfig,
    run: Run,
    *,
    on_step: Callable[[Progress, dict[str, float]], None] | None = None,
    on_boundary: Callable[[Progress], None] | None = None,
    boundaries: frozenset[int] = frozenset(),
) -> Progress:
    """Train to the last step, from the run's saved state if there is one.

    `batches(first)` gives each step's micro-batches from step `first` on. `on_boundary` is called before the steps
    named in `boundaries` and after the last one, for evaluations; it must not touch the weights.
    """
    optimizers = new_optimizers(network, config)
    progress = load_state(run, network, optimizers)
    saved = time.monotonic()
    stream = iter(batches(progress.step))
    network.train()
    while progress.step < config.steps:
        if on_boundary and progress.step in boundaries:
            on_boundary(progress)
        record = _step(network, stream, loss, optimizers, config, progress)
        if progress.step % config.log_every == 0 or progress.step == config.steps:
            run.log(record)
        if on_step:
            on_step(progress, record)
        if time.monotonic() - saved > config.save_seconds or progress.step == config.steps:
            save_state(run, network, optimizers, progress)
            saved = time.monotonic()
    network.eval()
    if on_boundary:
        on_boundary(progress)
    return progress


def _step(
    network: Network,
    stream: Iterator[Sequence[Batch]],
    loss: Loss,
    optimizers: Optimizers,
    config: LoopConfig,
    progress: Progress,
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
    share = rate(progress.step, config)
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


def save_state(run: Run, network: Network, optimizers: Optimizers, progress: Progress) -> None:
    """Write network, optimisers and progress; the previous state stays until this one is complete."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, optimizer in (("muon", optimizers.muon), ("adam", optimizers.adam)):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
    with run.replacing_state() as folder:
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, folder / "state.safetensors")
        (folder / "progress.json").write_text(json.dumps(vars(progress)), encoding="utf-8")


def load_state(run: Run, network: Network, optimizers: Optimizers) -> Progress:
    """Read the run's saved state into network and optimisers; a new run starts at step 0."""
    if not run.state.exists():
        run.rewind(0)
        return Progress()
    try:
        progress = Progress(**json.loads((run.state / "progress.json").read_text(encoding="utf-8")))
        tensors = load_file(run.state / "state.safetensors")
        network.load_state_dict(_under(tensors, "network."))
        for name, optimizer in (("muon", optimizers.muon), ("adam", optimizers.adam)):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(tensors, f"{name}.").items():
                index, field = key.split(".", 1)
                state.setdefault(int(index), {})[field] = value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    except (OSError, SafetensorError, ValueError, TypeError, RuntimeError) as err:
        raise CheckpointError(f"{run.state} is damaged ({err}): remove it to start the run over") from err
    run.rewind(progress.step)
    return progress


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
