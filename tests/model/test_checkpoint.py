"""A checkpoint comes back as it was saved, and damage is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ponder.errors import CheckpointError
from ponder.model.checkpoint import PONDER_FILE, digest, load_checkpoint, save_checkpoint, write_config
from ponder.model.heads import new_head
from ponder.text.effort import Plan
from ponder.types import Effort


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
        ("ponder.json", '{"name": "x", "colour": 1}', "does not fit: colour"),
        ("ponder.json", '{"name": "x", "efforts": {"low": {"sample": 2}}}', "efforts.low.sample: Extra"),
        ("ponder.json", '{"name": "x", "efforts": {"lowest": {}}}', "does not fit: efforts.lowest"),
        ("ponder.json", '{"name": "x", "auto": {"low": "often"}}', "does not fit: auto.low"),
        ("config.json", "[]", "not a JSON object"),
        ("config.json", '{"model_type": "qwen9"}', "'qwen9' is not supported"),
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


def test_a_head_comes_back_and_damage_to_it_is_named(folder: Path) -> None:
    first = load_checkpoint(folder)
    head = new_head(first.network.shape.hidden_size)
    torch.nn.init.normal_(head.outer.bias)
    save_checkpoint(replace(first, head=head), folder)
    again = load_checkpoint(folder).head
    assert again and torch.equal(again.outer.bias, head.outer.bias)
    (folder / "heads.safetensors").write_bytes(b"zzz")
    with pytest.raises(CheckpointError, match="heads.safetensors is damaged"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": ["qwen3"]}, "not supported"),
        ({"rope_parameters": "yarn"}, "no object"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "'dynamic' is not supported"),
        ({"rope_parameters": {"rope_type": "yarn", "mscale": 2.0}}, "mscale=2.0"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"num_hidden_layers": 10**5}, "no weights of layer 99999"),
    ],
)
def test_what_we_cannot_compute_is_refused(folder: Path, change: dict[str, object], words: str) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(folder)


def test_shards_are_read_and_only_from_the_folder(folder: Path) -> None:
    whole = load_checkpoint(folder).network.state_dict()
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    for number, part in enumerate((names[:5], names[5:])):
        save_file({name: weights[name] for name in part}, folder / f"part-{number}.safetensors")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    files = {name: f"part-{int(name in names[5:])}.safetensors" for name in names}
    index.write_text(json.dumps({"weight_map": files}), encoding="utf-8")
    for name, value in load_checkpoint(folder).network.state_dict().items():
        assert torch.equal(value, whole[name])
    for wrong in ({}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": "../x.safetensors"}}):
        index.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(CheckpointError, match="does not name the files"):
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


def test_efforts_are_written_beside_the_weights_and_come_back(folder: Path) -> None:
    before, config = digest(folder), load_checkpoint(folder).config
    assert {"efforts", "auto"}.isdisjoint(json.loads((folder / PONDER_FILE).read_text()))
    plans = {Effort.LOW: Plan(), Effort.HIGH: Plan(search="beam", samples=16, thinking=500)}
    changed = config.model_copy(update={"efforts": plans, "auto": {Effort.LOW: 0.6, Effort.HIGH: 0.0}})
    write_config(folder, changed)
    assert load_checkpoint(folder).config == changed and digest(folder) == before
    told = json.loads((folder / PONDER_FILE).read_text())["efforts"]["high"]
    assert told == {"search": "beam", "samples": 16, "thinking": 500}


def test_a_digest_tells_weights_and_heads_apart(folder: Path) -> None:
    first = load_checkpoint(folder)
    found = {digest(folder)}
    save_checkpoint(replace(first, head=new_head(first.network.shape.hidden_size)), folder)
    found.add(digest(folder))
    next(first.network.parameters()).data[0, 0] += 1
    save_checkpoint(first, folder)
    found.add(digest(folder))
    assert len(found) == 3
