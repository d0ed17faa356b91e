"""What many tests share: a tiny random checkpoint, made once."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

# Tiny networks gain nothing from more threads, and lose much where other programs run. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

settings.register_profile("ponder", deadline=None)  # a busy machine is not a failure
settings.load_profile("ponder")

TEXTS = ("What is 12 * 34? the sum of both is over the total", "start from the answer and check it again", "so it is 7")


@pytest.fixture(scope="session")
def micro_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights that loads in an instant; only to be read."""
    from dataclasses import replace

    import torch

    from ponder.model.checkpoint import Checkpoint, PonderConfig, save_checkpoint
    from ponder.model.network import new_network
    from ponder.model.sizes import shape_named
    from ponder.text.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(TEXTS, 320)
    network = new_network(replace(shape_named("micro"), vocab_size=tokenizer.size), seed=0)
    # A fresh network's layers add nothing: without this, attention would never be tested.
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    folder = tmp_path_factory.mktemp("models") / "micro"
    save_checkpoint(Checkpoint(network, tokenizer, PonderConfig(name="micro", fold_window=1)), folder)
    return folder


THINK, END_THINK, TURN, END_TURN, END_TEXT = "<think>", "</think>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def plain_tokenizer(added: tuple[str, ...], words: bool) -> "Tokenizer":
    """Bytes, the blank line as one token, and these special ones; "<think>" is not "special", as in Qwen3.

    With `words`, blanks are cut off before a word as GPT-2 does it: a blank line before one is two tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "ĊĊ"])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ċ", "Ċ")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
    raw.decoder = decoders.ByteLevel()
    raw.add_tokens([AddedToken(text, special=text != THINK, normalized=False) for text in added])
    return raw


@pytest.fixture
def plain(tmp_path: Path) -> Callable[..., Path]:
    """Makes a plain Hugging Face directory: a Llama (or a Mistral: the same weights) without ``ponder.json``.

    `follows` maps a token's text to the one that it always writes next; without it the weights are random.
    """

    def make(
        follows: Mapping[str, str] | None = None,
        *,
        added: tuple[str, ...] = (END_TEXT, TURN, END_TURN, THINK, END_THINK),
        template: str | None = None,
        kind: str = "llama",
        words: bool = False,
        name: str = "tiny",
        **settings: object,
    ) -> Path:
        import torch
        from safetensors.torch import save_file

        raw, folder = plain_tokenizer(added, words), tmp_path / name
        folder.mkdir()
        raw.save(str(folder / "tokenizer.json"))
        ids = {text: raw.token_to_id(text) for text in added}
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END_TEXT}), encoding="utf-8")
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        V = raw.get_vocab_size() + 3  # rounded up, as other people's are
        H, heads, dim = (V if follows else 32), 2, 16
        config = {"model_type": kind, "hidden_size": H, "vocab_size": V, "intermediate_size": 48}
        config |= {"num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": 1, "head_dim": dim}
        config |= {"max_position_embeddings": 400, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "hidden_act": "silu"}
        config |= {"architectures": [f"{kind.capitalize()}ForCausalLM"], "eos_token_id": ids[END_TEXT]}
        config |= {"bos_token_id": None, "sliding_window": None, "tie_word_embeddings": False}
        (folder / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
        generator = torch.Generator().manual_seed(5)

        def drawn(*size: int) -> torch.Tensor:
            return torch.randn(*size, generator=generator) * (0.0 if follows else 0.3)

        weights = {"model.embed_tokens.weight": drawn(V, H), "lm_head.weight": drawn(V, H)}
        weights |= {"model.norm.weight": torch.ones(H)}
        for layer in range(2):
            sizes = {"q_proj": (heads * dim, H), "k_proj": (dim, H), "v_proj": (dim, H), "o_proj": (H, heads * dim)}
            both = {"self_attn": sizes, "mlp": {"gate_proj": (48, H), "up_proj": (48, H), "down_proj": (H, 48)}}
            for part, matrices in both.items():
                weights |= {f"model.layers.{layer}.{part}.{name}.weight": drawn(*at) for name, at in matrices.items()}
            norms = ("input_layernorm", "post_attention_layernorm")
            weights |= {f"model.layers.{layer}.{norm}.weight": torch.ones(H) for norm in norms}
        if follows:
            weights["model.embed_tokens.weight"] = torch.eye(V)
            for before, after in follows.items():
                last, first = raw.encode(before).ids[-1], raw.encode(after).ids[0]
                weights["lm_head.weight"][first, last] = 1.0
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make
