"""Directories without ``ponder.json``: what they are taken for, and what they cannot do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ponder.errors import CheckpointError, ConfigError
from ponder.model.checkpoint import load_checkpoint, save_checkpoint
from ponder.model.foreign import Foreign
from ponder.model.network import Network
from ponder.train.sft import SFTConfig, run_sft

Make = Callable[..., Path]


def test_our_own_kinds_run_natively_and_others_by_their_own_forward(plain: Make) -> None:
    ours, theirs = (load_checkpoint(plain(kind=kind, name=kind)) for kind in ("llama", "mistral"))
    assert isinstance(ours.network, Network) and not ours.notes
    assert isinstance(theirs.network, Foreign) and "mistral runs by its own forward" in theirs.notes[0]
    assert (ours.config.name, ours.config.dialect, ours.config.tasks) == ("llama", "think_tags", ())
    assert theirs.network.shape.num_key_value_heads == ours.network.shape.num_key_value_heads == 1
    assert theirs.network.shape.head_dim == ours.network.shape.head_dim == 16


def test_a_window_that_takes_too_much_memory_is_shortened_and_said(plain: Make) -> None:
    long = load_checkpoint(plain(max_position_embeddings=40_960))
    assert long.network.shape.max_position_embeddings == 16_384
    assert "16,384 of 40,960" in long.notes[0]


def test_a_setting_that_our_network_does_not_compute_runs_by_its_own_forward(plain: Make) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert isinstance(load_checkpoint(plain(rope_parameters=rope)).network, Foreign)
    with pytest.raises(CheckpointError, match=r"attention_bias=True is not .*; and it does not run .*: .* are missing"):
        load_checkpoint(plain(attention_bias=True, name="biased"))


def test_some_markers_of_ours_in_a_tokenizer_do_not_make_it_ours(plain: Make) -> None:
    folder = plain(added=("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"))
    assert load_checkpoint(folder).config.dialect == "think_tags"


def test_every_end_of_the_settings_counts(plain: Make) -> None:
    folder = plain(eos_token_id=[3, 4])
    (folder / "generation_config.json").write_text('{"eos_token_id": 5}', encoding="utf-8")
    tokenizer = load_checkpoint(folder).tokenizer
    assert tokenizer.ends == {3, 4, 5, tokenizer.special["<|im_end|>"]}  # type: ignore[union-attr]


def test_ponders_own_tokenizer_without_its_settings_is_damage(micro_checkpoint: Path, plain: Make) -> None:
    folder = plain()
    (folder / "tokenizer.json").write_bytes((micro_checkpoint / "tokenizer.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"ponder\.json is missing"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("config.json", None, "is missing"),
        ("tokenizer.json", None, r"has no tokenizer\.json"),
        ("model.safetensors", "zzz", "missing or damaged"),
        ("tokenizer_config.json", "{", "damaged"),
        ("generation_config.json", "[]", "damaged"),
        ("ponder.json", '{"name": "x", "dialect": "klingon"}', "dialect 'klingon' is unknown"),
        ("ponder.json", '{"name": "x"}', "lacks the markers"),
    ],
)
def test_damage_is_named(plain: Make, file: str, text: str | None, words: str) -> None:
    path = plain() / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path.parent)


def test_a_tokenizer_of_more_entries_than_the_network_is_refused(plain: Make) -> None:
    folder = plain()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 200}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="knows 200 tokens, the tokenizer 262"):
        load_checkpoint(folder)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_what_was_not_made_for_blocks_is_neither_trained_nor_saved(plain: Make, kind: str, tmp_path: Path) -> None:
    folder = plain(kind=kind)
    with pytest.raises(ConfigError, match="can think but not be trained"):
        run_sft(SFTConfig(model=str(folder), steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match="not made for thinking in blocks"):
        save_checkpoint(load_checkpoint(folder), tmp_path / "again")
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob("again*"))
