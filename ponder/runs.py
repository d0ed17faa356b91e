"""A run folder: its settings, its metrics and its checkpoints, and their only reader and writer.

``config.json`` is written first and never changed; ``metrics.jsonl`` grows by one line a record; ``state/`` is replaced
as a whole. Whatever instant a run is killed at, the folder holds a complete earlier state.
"""

import json
import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.errors import CheckpointError, ConfigError
from ponder.model.saving import saving

MOST_KEPT = 3
"""States that stay beside the newest one."""


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    folder: Path
    tell: Callable[[Mapping[str, Any]], None] = lambda record: None
    """Hears every record of the metrics, too."""

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line, in the order of steps."""
        return self.folder / "metrics.jsonl"

    @property
    def samples_file(self) -> Path:
        """Thoughts that were sampled on the way, one JSON object a line, in the order of steps."""
        return self.folder / "samples.jsonl"

    @property
    def state(self) -> Path:
        """The newest complete training state."""
        return self.folder / "state"

    @property
    def healthy(self) -> Path:
        """Earlier states, by their steps: where a run goes back to when it goes wrong."""
        return self.folder / "healthy"

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to the metrics."""
        _append(self.metrics_file, record)
        self.tell(record)

    def log_sample(self, record: Mapping[str, Any]) -> None:
        """Append one sampled thought."""
        _append(self.samples_file, record)

    def metrics(self) -> list[dict[str, Any]]:
        """All complete records; a line cut by a kill is left out."""
        return _complete(self.metrics_file)

    def samples(self) -> list[dict[str, Any]]:
        """All sampled thoughts that were written down whole."""
        return _complete(self.samples_file)

    def rewind(self, step: int) -> None:
        """Drop the records after a step, because training goes on from there."""
        for path in (self.metrics_file, self.samples_file):
            if path.exists() or path == self.metrics_file:
                kept = [record for record in _complete(path) if record["step"] <= step]
                write_whole(path, "".join(json.dumps(record) + "\n" for record in kept))

    @contextmanager
    def replacing_state(self) -> Generator[Path]:
        """A folder to write a new state into; it takes the old one's place only once it is complete."""
        part, old = self.folder / "state.part", self.folder / "state.old"
        with saving(self.state, part):
            yield _emptied(part)
            _settled(part)
        shutil.rmtree(old, ignore_errors=True)
        if self.state.exists():
            os.replace(self.state, old)
        os.replace(part, self.state)
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def keeping_state(self, step: int) -> Generator[Path]:
        """A folder to write a state into that stays beside the newest one, as do the MOST_KEPT last of them."""
        part, folder = self.healthy / f"{step:08}.part", self.healthy / f"{step:08}"
        with saving(folder, part):
            yield _emptied(part)
            _settled(part)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
        for old in self.kept_states()[:-MOST_KEPT]:
            shutil.rmtree(self.healthy / f"{old:08}")

    def kept_states(self) -> list[int]:
        """The steps of the states that are kept."""
        return numbered(self.healthy)

    def recover(self) -> None:
        """Put the old state back if a kill fell between the two renames."""
        old = self.folder / "state.old"
        if old.exists() and not self.state.exists():
            os.replace(old, self.state)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _settled(folder: Path) -> None:
    """Returns once the folder's files are on the disk."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def numbered(folder: Path) -> list[int]:
    """The complete ones of the folders in a folder that are called by numbers."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.exists() else []


def _append(path: Path, record: Mapping[str, Any]) -> None:
    with saving(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _complete(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return records


def read_json(path: Path) -> dict[str, Any]:
    """An object from one of a run's own files."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise CheckpointError(f"{path} is damaged ({err}): remove {path.parent} to start the run over") from err
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged (not an object): remove {path.parent} to start the run over")
    return value


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a kill leaves either the old one or the new one."""
    part = path.with_name(path.name + ".part")
    with saving(path, part):
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)


def open_run(folder: Path, config: Mapping[str, Any]) -> Run:
    """Start a run folder, or go on with one that was started with the same settings."""
    path = folder / "config.json"
    text = json.dumps(config, indent=2) + "\n"
    if path.exists():
        if read_json(path) != json.loads(text):
            raise ConfigError(
                f"{folder} holds a run with other settings: give another --out, or remove it to start over"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    run = Run(folder)
    run.recover()
    return run
