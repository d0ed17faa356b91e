"""A disk that is full: a sentence that names the file and the remedy, and what was saved before stays whole."""

import resource
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ponder.errors import StorageError
from ponder.model.checkpoint import digest, load_checkpoint, save_checkpoint, write_config
from ponder.runs import Run, open_run, write_whole
from ponder.train.loop import LoopConfig, Progress, fit


@contextmanager
def full(most: int) -> Generator[None]:
    """No file grows beyond so many bytes: writes then fail as on a full disk, with another number of the error."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


class Ones:
    """Two rows of ones to fit."""

    trained = tokens = 2

    def to(self, device: str) -> "Ones":
        return self


def squares(network: nn.Module, batch: Ones) -> Tensor:
    return network(torch.ones(2, 64)).square().sum()


def ones(first: int) -> Iterator[list[Ones]]:
    return iter([[Ones()]] * 100)


def trained(run: Run, steps: int) -> Progress:
    torch.manual_seed(0)
    return fit(nn.Linear(64, 64), ones, squares, LoopConfig(steps=steps, learning_rate=1e-3, save_seconds=0), run)


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("most", [10, 5_000, 20_000])
def test_a_state_that_does_not_fit_leaves_the_one_before(tmp_path: Path, most: int) -> None:
    run = open_run(tmp_path / "run", {"steps": 4})
    trained(run, 2)
    before = held(run.state)
    with (
        full(most),
        pytest.raises(StorageError, match=r"cannot be written \(.*File too large.*free some space.*intact"),
    ):
        trained(run, 4)
    assert held(run.state) == before and not (run.folder / "state.part").exists()
    assert trained(run, 4).step == 4
    other = open_run(tmp_path / "other", {"steps": 4})
    trained(other, 2)
    trained(other, 4)
    assert (run.state / "state.safetensors").read_bytes() == (other.state / "state.safetensors").read_bytes()


@pytest.mark.parametrize("most", [100, 3_000, 30_000])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(
    micro_checkpoint: Path, tmp_path: Path, most: int
) -> None:
    folder = tmp_path / "model"
    found = load_checkpoint(micro_checkpoint)
    save_checkpoint(found, folder)
    before = held(folder)
    with full(most), pytest.raises(StorageError, match=f"{folder} cannot be written"):
        save_checkpoint(found, folder)
    assert held(folder) == before and list(tmp_path.iterdir()) == [folder]
    with full(8), pytest.raises(StorageError, match="ponder.json cannot be written"):
        write_config(folder, found.config)
    assert held(folder) == before and digest(folder)


def test_a_text_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "old")
    with full(4), pytest.raises(StorageError, match=r"a\.txt cannot be written"):
        write_whole(tmp_path / "a.txt", "much newer")
    assert held(tmp_path) == {"a.txt": b"old"}
