"""Qwen3, Qwen2 and Llama in plain torch.

One forward serves training and decoding: an `Attend` says who looks at whom (a mask, packed rows, a cache). In training
weights stay float32, and autocast makes the matrix products bfloat16 where that is faster; for sampling alone they may
be bfloat16 themselves, and then so are caches, while norms, rotations and softmaxes are computed in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ponder.model.rope import turns
from ponder.model.sizes import ARCHITECTURES, Shape, Sizes


class Attend(Protocol):
    """Who looks at whom: training, scoring and decoding differ in this alone."""

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries (B, t, H, D), keys and values (B, t, K, D) of one layer's new tokens; returns (B, t, H, D)."""
        ...


class Causal(Protocol):
    """A causal language model, ours or another's: all that the engine needs of one."""

    @property
    def shape(self) -> Sizes: ...
    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor: ...
    def logits(self, hidden: Tensor) -> Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...


@dataclass(frozen=True)
class Masked:
    """Attention by a plain mask, (B, 1, t, t) with True where a token may look: the reference for all others."""

    mask: Tensor

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `Attend`."""
        q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, enable_gqa=True).transpose(1, 2)


class Norm(nn.Module):
    """RMSNorm over the last axis, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same shape, in the weights' dtype."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(self.weight.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding in the half-split layout; x (B, T, H, D), cos and sin (B, T, 1, D), sin's first half
    negative."""
    half = x.shape[-1] // 2
    return torch.addcmul(x * cos, torch.cat((x[..., half:], x[..., :half]), dim=-1), sin)


class Attention(nn.Module):
    """Grouped-query attention. Queries, keys and values are one product: their weights lie below one another."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
        kind = ARCHITECTURES[shape.model_type]
        self.qkv_proj = nn.Linear(shape.hidden_size, (self.heads + 2 * self.kv_heads) * self.dim, bias=kind.qkv_bias)
        self.o_proj = nn.Linear(self.heads * self.dim, shape.hidden_size, bias=False)
        self.q_norm = Norm(self.dim, shape.rms_norm_eps) if kind.qk_norm else None
        self.k_norm = Norm(self.dim, shape.rms_norm_eps) if kind.qk_norm else None

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend, layer: int) -> Tensor:
        """(B, t, hidden) to the same shape."""
        B, t, _ = x.shape
        both, v = (
            self.qkv_proj(x)
            .view(B, t, self.heads + 2 * self.kv_heads, self.dim)
            .split((self.heads + self.kv_heads, self.kv_heads), dim=2)
        )
        qk = both.float()
        if self.q_norm and self.k_norm:
            scales = (self.q_norm.weight.expand(self.heads, -1), self.k_norm.weight.expand(self.kv_heads, -1))
            qk = F.rms_norm(qk, (self.dim,), eps=self.q_norm.eps) * torch.cat(scales)
        q, k = rotate(qk, *turn).to(v.dtype).split((self.heads, self.kv_heads), dim=2)
        return self.o_proj(attend(layer, q, k, v).reshape(B, t, -1))


class MLP(nn.Module):
    """The gated feed-forward layer; gate and up are one product."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(shape.hidden_size, 2 * shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, t, hidden) to the same shape."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    """One transformer layer, pre-norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend, layer: int) -> Tensor:
        """(B, t, hidden) to the same shape; the residual stream keeps its dtype."""
        x = x + self.self_attn(self.input_layernorm(x), turn, attend, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, shape.rms_norm_eps)


class Network(nn.Module):
    """A causal language model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.vocab_size > 0
        self.shape = shape
        self.model = Trunk(shape)
        tied = shape.tie_word_embeddings
        self.lm_head = None if tied else nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self._turns: dict[torch.device, tuple[Tensor, float]] = {}

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The trunk's output (B, t, hidden) for ids and positions (B, t)."""
        x = self.model.embed_tokens(ids)
        turn = self.turn(positions)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, turn, attend, index)
        return self.model.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., vocabulary)."""
        return F.linear(hidden, (self.lm_head or self.model.embed_tokens).weight)

    def turn(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine (B, t, 1, D) at positions (B, t), as `rotate` takes them."""
        if positions.device not in self._turns:
            self._turns[positions.device] = turns(self.shape.rope, self.shape.head_dim, positions.device)
        speed, factor = self._turns[positions.device]
        angle = positions[:, :, None, None].float() * speed
        cos, sin = angle.cos() * factor, angle.sin() * factor
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def new_network(shape: Shape, seed: int) -> Network:
    """A freshly initialised network, the same for the same seed.

    Layers begin as the identity (what they add is zero), and tokens large enough to be told apart from the first step
    on: this learns faster than GPT-2's scales (`LOG.md`, 2026-11-21).
    """
    network = Network(shape)
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "bias")):
                parameter.zero_()
            elif parameter.dim() == 2:
                scale = 0.1 if "embed" in name else parameter.shape[1] ** -0.5
                parameter.normal_(0.0, scale, generator=generator)
    return network
