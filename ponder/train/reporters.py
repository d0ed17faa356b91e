"""Where a run's numbers may go beside metrics.jsonl: TensorBoard, Trackio, Weights & Biases, where installed.

A reporter decides nothing: a run with another one, or none, ends with the same bits.
"""

import importlib
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ponder.errors import ConfigError
from ponder.runs import Run


class Reporter(Protocol):
    """Takes numbers, step by step; a run that goes on may repeat steps."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Tell the numbers of a step."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class TensorBoard:
    """Event files in the run's folder, for `tensorboard --logdir RUN`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        _installed("tensorboard", "tensorboard")
        self._writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


class Tracked:
    """Trackio and Weights & Biases, which share their three functions; the run is called as its folder."""

    def __init__(self, package: str, folder: Path, settings: Mapping[str, Any], **more: Any) -> None:
        self._library = _installed(package, package)
        self._library.init(project="ponder", name=folder.resolve().name, config=dict(settings), resume="allow", **more)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """All of them at once."""
        self._library.log(dict(numbers), step=step)

    def close(self) -> None:
        """End the run there."""
        self._library.finish()


def _trackio(folder: Path, settings: Mapping[str, Any]) -> Reporter:
    return Tracked("trackio", folder, settings)


def _wandb(folder: Path, settings: Mapping[str, Any]) -> Reporter:
    return Tracked("wandb", folder, settings, dir=str(folder), id=folder.resolve().name)


REPORTERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Reporter]] = {
    "tensorboard": TensorBoard,
    "trackio": _trackio,
    "wandb": _wandb,
}


def check_reporter(name: str) -> None:
    """Raises ConfigError for one that is unknown or not installed, before anything is written."""
    if name not in REPORTERS:
        raise ConfigError(f"unknown reporter {name!r}: the reporters are {', '.join(REPORTERS)}")
    _installed(name, name)


@contextmanager
def reporting(name: str | None, run: Run, settings: Mapping[str, Any]) -> Generator[Run]:
    """The run, whose records a reporter hears too."""
    if name is None:
        yield run
        return
    reporter = REPORTERS[name](run.folder, settings)
    try:
        yield replace(run, tell=lambda record: reporter.log(record["step"], scalars(record)))
    finally:
        reporter.close()


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record; what stands in a part of it has the part's name before its own."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": number for inner, number in scalars(value).items()}
        elif isinstance(value, int | float) and name != "step" and math.isfinite(value):
            found[name] = float(value)
    return found


def _installed(package: str, name: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigError(
            f"--report-to {name} needs the package {package}, which is not installed: pip install {package}, or leave "
            "it out: metrics.jsonl has the same numbers"
        ) from None
