"""Our networks compute what transformers' networks of the same directory compute."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ponder.model.checkpoint import load_checkpoint
from ponder.model.hugging_face import join, shape_of, split
from ponder.model.network import Masked, Network, new_network
from ponder.model.sizes import ARCHITECTURES, Shape


def test_logits_equal_transformers(micro_checkpoint: Path) -> None:
    from transformers import AutoModelForCausalLM

    checkpoint = load_checkpoint(micro_checkpoint)
    theirs = AutoModelForCausalLM.from_pretrained(micro_checkpoint)
    ids = torch.randint(0, checkpoint.tokenizer.size, (3, 40), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(40).repeat(3, 1)
    causal = torch.ones(40, 40, dtype=torch.bool).tril().repeat(3, 1, 1, 1)
    with torch.no_grad():
        ours = checkpoint.network.logits(checkpoint.network.hidden(ids, positions, Masked(causal)))
        assert (ours - theirs(ids).logits).abs().max() < 1e-4


SMALL = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32},
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_equals_transformers(kind: str, rope: str, tied: bool, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    parameters = {"rope_type": rope, "rope_theta": 1_000.0, **ROPES[rope]}
    config = AutoConfig.for_model(kind, **SMALL, tie_word_embeddings=tied, rope_parameters=parameters)
    theirs = AutoModelForCausalLM.from_config(config).eval()
    for name, value in theirs.named_parameters():
        torch.nn.init.normal_(value, mean=float("norm" in name), std=0.2)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    shape = shape_of(json.loads(path.read_text(encoding="utf-8")), path)
    ours, weights = Network(shape), load_file(tmp_path / "model.safetensors")
    ours.load_state_dict(join(weights, shape))
    ids = torch.randint(0, 90, (2, 50))
    positions = torch.arange(50).repeat(2, 1)
    causal = torch.ones(50, 50, dtype=torch.bool).tril().repeat(2, 1, 1, 1)
    with torch.no_grad():
        logits = ours.logits(ours.hidden(ids, positions, Masked(causal)))
        difference = logits.log_softmax(-1) - theirs(ids).logits.log_softmax(-1)
    assert difference.abs().max() < 1e-4
    back = split(ours.state_dict(), shape)
    assert all(torch.equal(back[name], weights[name]) for name in back) and back.keys() >= weights.keys()


def test_the_seed_decides_the_weights() -> None:
    shape = Shape(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=16,
        vocab_size=30,
    )
    first, same, other = (new_network(shape, seed).model.embed_tokens.weight for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
