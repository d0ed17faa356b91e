"""Our Qwen3 computes what transformers' Qwen3 computes, from the same directory."""

from pathlib import Path

import torch

from ponder.model.checkpoint import load_checkpoint
from ponder.model.network import Masked, new_network
from ponder.model.sizes import Shape


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
