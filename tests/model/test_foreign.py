"""Models of transformers behind our interface: the same log-probabilities, or a refusal by name."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from ponder.engine.grammar import Grammar
from ponder.engine.jobs import Job, Written
from ponder.engine.scheduler import Scheduler
from ponder.errors import CheckpointError
from ponder.interfaces import Limit, Sampling
from ponder.model.foreign import load_foreign
from ponder.model.network import Masked
from ponder.text.format import Place

V = 90
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SMALL: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    **ENDS,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
GPT2 = {"vocab_size": V, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **ENDS}
GEMMA = {**SMALL, "head_dim": 8, "sliding_window": 24}
RIGHT: dict[str, tuple[dict[str, Any], int]] = {
    "mistral": ({**SMALL, "sliding_window": None}, 64),
    "mixtral": ({**SMALL, "num_local_experts": 4}, 64),
    "qwen3_moe": ({**SMALL, **EXPERTS, "head_dim": 8}, 64),
    "phi3": (SMALL, 64),
    "olmo2": (SMALL, 64),
    "gpt2": (GPT2, 64),
    "granite": ({**SMALL, "logits_scaling": 8.0, "attention_multiplier": 0.3}, 64),
    "gemma3_text": ({**GEMMA, "num_hidden_layers": 6}, 24),
    "gpt_neox": ({name: value for name, value in SMALL.items() if name != "num_key_value_heads"}, 64),
}
"""Families, with how many tokens they are computed for."""
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "gemma2": (GEMMA, "softcap"),
    "gpt_oss": ({**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}, "s_aux"),
    "mamba": ({"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, **ENDS}, "max_position_embeddings"),
    "lfm2": ({**SMALL, "full_attn_idxs": [0]}, "layers of the kind 'conv'"),
    "falcon": ({**SMALL, "ffn_hidden_size": 48}, "2 layers, but 0 calls"),
    "deepseek_v3": (
        {**SMALL, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
        | {"num_key_value_heads": 4, "first_k_dense_replace": 2},
        "queries, keys and values of sizes 12, 12 and 8",
    ),
    "bart": (
        {"vocab_size": V, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1} | ENDS,
        "token by token differs",
    ),
}


def saved(kind: str, settings: dict[str, Any], folder: Path) -> Any:
    """A random model of that family, written to the folder."""
    from transformers import AutoConfig, AutoModelForCausalLM, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings), attn_implementation="eager")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # large enough that attention and positions matter
                parameter.normal_(0.0, 0.2, generator=generator)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("kind", RIGHT)
def test_branches_in_ragged_batches_have_the_log_probabilities_of_the_plain_forward(kind: str, tmp_path: Path) -> None:
    settings, window = RIGHT[kind]
    theirs = saved(kind, settings, tmp_path)
    network, notes = load_foreign(tmp_path)
    assert kind in notes[0] and len(notes) == 1 + (window < 64)
    assert network.shape.max_position_embeddings == window
    scheduler = Scheduler(network, Grammar.free([2], [], V, V, torch.device("cpu")), most_rows=7)
    rng, written = torch.Generator().manual_seed(4), list[Written]()

    def failed(err: Exception) -> None:
        raise err

    prompt = tuple(torch.randint(3, V, (6,), generator=rng).tolist())
    for number in range(6):
        context = (*prompt, *torch.randint(3, V, (2 * number,), generator=rng).tolist())
        samplings = [Sampling(1.0, 1.0, 10 * number + branch) for branch in range(3)]
        job = Job(context, len(context), Place.BETWEEN, Limit(8, 8), samplings, written.append, failed, after=(prompt,))
        scheduler.submit(job)
        for _ in range(2):
            scheduler.step()
    while scheduler.busy:
        scheduler.step()
    assert len(written) == 18 and len({one.tokens for one in written}) > 12
    for one in written:
        ids = torch.tensor([[*one.job.context, *one.tokens]])
        with torch.no_grad():
            right = theirs(input_ids=ids).logits[0, len(one.job.context) - 1 : -1].log_softmax(dim=-1)
        expected = right.gather(1, torch.tensor(one.tokens)[:, None]).squeeze(1)
        assert one.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_computed_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    settings, words = WRONG[kind]
    saved(kind, settings, tmp_path)
    with pytest.raises(CheckpointError, match=words):
        load_foreign(tmp_path)


def test_nothing_is_computed_beyond_the_window(tmp_path: Path) -> None:
    saved("mistral", {**SMALL, "sliding_window": 16}, tmp_path)
    network, _ = load_foreign(tmp_path)
    assert network.shape.max_position_embeddings == 16
    causal = Masked(torch.ones(17, 17, dtype=torch.bool).tril()[None, None])
    with pytest.raises(CheckpointError, match="up to 16 tokens"):
        network.hidden(torch.zeros(1, 17, dtype=torch.long), torch.arange(17)[None], causal)


def test_it_can_be_given_to_another_process(tmp_path: Path) -> None:
    saved("mistral", SMALL, tmp_path)
    network, _ = load_foreign(tmp_path)
    again = pickle.loads(pickle.dumps(network.share_memory()))
    ids, causal = torch.arange(9)[None], Masked(torch.ones(9, 9, dtype=torch.bool).tril()[None, None])
    with torch.no_grad():
        ours, theirs = (one.logits(one.hidden(ids, ids, causal)) for one in (network, again))
    assert torch.equal(ours, theirs) and again.shape == network.shape


def test_a_stretched_rotation_is_kept_within_its_first_length(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "rope_theta": 10000.0}
    saved("phi3", {**SMALL, "original_max_position_embeddings": 32, "rope_parameters": rope}, tmp_path)
    network, notes = load_foreign(tmp_path)
    assert network.shape.max_position_embeddings == 32 and "32 of 64" in notes[1]


@pytest.mark.parametrize(
    ("name", "words"), [("model.norm.weight", "1 weights of mistral are missing"), (None, "cannot be run")]
)
def test_damage_is_named(name: str | None, words: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved("mistral", SMALL, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if name is None:
        (tmp_path / "model.safetensors").unlink()
        torch.save(weights, tmp_path / "pytorch_model.bin")  # pickled weights are not read
    else:
        del weights[name]
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=words):
        load_foreign(tmp_path)


def test_weights_that_nothing_uses_are_said(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved("mistral", SMALL, tmp_path)
    more = {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}
    save_file(
        load_file(tmp_path / "model.safetensors") | more, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    assert "1 of its weights are not used, model.layers.0.self_attn.q_proj.bias" in load_foreign(tmp_path)[1][1]


def test_code_from_the_directory_is_not_run(tmp_path: Path) -> None:
    saved("mistral", SMALL, tmp_path)
    config = (tmp_path / "config.json").read_text(encoding="utf-8").replace('"mistral"', '"own"')
    (tmp_path / "config.json").write_text(
        config.replace("{", '{"auto_map": {"AutoConfig": "own.Own"},', 1), encoding="utf-8"
    )
    (tmp_path / "own.py").write_text("raise SystemExit('run')\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be run by transformers"):
        load_foreign(tmp_path)


def test_in_bfloat16_it_decodes_with_caches_of_half_the_size(tmp_path: Path) -> None:
    saved("mistral", SMALL, tmp_path)
    found = list[Written]()
    for dtype in (torch.float32, torch.bfloat16):
        network = load_foreign(tmp_path)[0].to("cpu", dtype)
        turns = [buffer.dtype for name, buffer in network.model.named_buffers() if "inv_freq" in name]
        assert turns and set(turns) == {torch.float32}, "positions are turned in float32"
        scheduler = Scheduler(network, Grammar.free([2], [], V, V, torch.device("cpu")))
        job = Job((5, 6, 7), 3, Place.BETWEEN, Limit(8, 8), [Sampling(0.0)], found.append, pytest.fail)
        scheduler.submit(job)
        while scheduler.busy:
            scheduler.step()
        assert scheduler.decoder.why.endswith("computed by transformers")
    whole, half = found
    assert half.logprobs[0] == pytest.approx(whole.logprobs[0], abs=0.2)
