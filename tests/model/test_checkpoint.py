"""A checkpoint comes back as it was saved, and damage is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ponder.errors import CheckpointError
from ponder.model.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def folder(micro_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(micro_checkpoint, tmp_path / "micro"))


def test_saved_and_loaded_is_the_same(folder: Path, tmp_path: Path) -> None:
    first = load_checkpoint(folder)
    save_checkpoint(first, tmp_path / "again")
    second = load_checkpoint(tmp_path / "again")
    assert second.config == first.config
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name])


def test_a_new_one_replaces_the_old_one_whole(folder: Path) -> None:
    (folder / "left-over").touch()
    save_checkpoint(load_checkpoint(folder), folder)
    assert not (folder / "left-over").exists()


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("ponder.json", None, "missing"),
        ("ponder.json", "{", "damaged"),
        ("ponder.json", '{"name": "x", "colour": 1}', "does not fit"),
        ("config.json", "[]", "not a JSON object"),
        ("config.json", '{"model_type": "gpt2"}', "'gpt2' is not supported"),
        ("config.json", '{"model_type": "qwen3"}', "lacks hidden_size"),
        ("model.safetensors", "zzz", "missing or damaged"),
        ("model.safetensors", None, "missing or damaged"),
    ],
)
def test_damage_is_named(folder: Path, file: str, text: str | None, words: str) -> None:
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(folder)


def test_truncated_weights_are_damage(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    with torch.no_grad():
        checkpoint.network.model.norm.weight[0] = torch.nan
    save_checkpoint(checkpoint, folder)
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(folder)


def test_a_tokenizer_of_another_size_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 7}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="knows 7 tokens"):
        load_checkpoint(folder)
