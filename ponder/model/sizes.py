"""The one dial for model size: each name is a Qwen3 shape."""

from dataclasses import dataclass
from typing import Protocol

from ponder.errors import ConfigError
from ponder.model.rope import Rope


@dataclass(frozen=True)
class Architecture:
    """In what the supported families differ."""

    qk_norm: bool
    """Whether queries and keys are normed, head by head."""
    qkv_bias: bool


ARCHITECTURES = {
    "qwen3": Architecture(qk_norm=True, qkv_bias=False),
    "qwen2": Architecture(qk_norm=False, qkv_bias=True),
    "llama": Architecture(qk_norm=False, qkv_bias=False),
}
"""By the ``model_type`` of their ``config.json``."""


class Sizes(Protocol):
    """What caches, heads and schedulers need to know of a network, ours or another's."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_key_value_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def max_position_embeddings(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What fixes a network, under the names of its ``config.json``."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int = 0
    """Set from the tokenizer when a network is made."""
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    rope: Rope = Rope()
    model_type: str = "qwen3"
    tie_word_embeddings: bool = True


SIZES: dict[str, Shape] = {
    "micro": Shape(  # for tests: trains in seconds
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
    ),
    "mini": Shape(  # about 1M parameters: trains on a laptop's two cores within an hour or two
        hidden_size=128,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=384,
    ),
    "base": Shape(  # about 5M parameters: for one GPU, or a patient CPU
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        intermediate_size=768,
    ),
    "large": Shape(  # about 15M parameters: for one GPU
        hidden_size=384,
        num_hidden_layers=8,
        num_attention_heads=12,
        num_key_value_heads=6,
        head_dim=32,
        intermediate_size=1152,
    ),
}


def shape_named(name: str) -> Shape:
    """The shape of that name; unknown names list the known ones."""
    if name not in SIZES:
        raise ConfigError(f"unknown size {name!r}: the sizes are {', '.join(SIZES)}")
    return SIZES[name]
