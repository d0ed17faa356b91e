"""The Qwen3 architecture in plain torch, with the parameter names of its Hugging Face checkpoints.

One forward serves training (packed rows with a visibility mask) and decoding (new tokens against cached keys and
values). Weights stay float32; `autocast` makes the matrix products bfloat16 where that is faster.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ponder.model.sizes import Shape


class Cache(Protocol):
    """Where decoding keeps keys and values."""

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the new tokens' (B, H, t, D) keys and values; returns all of the row's, (B, H, T, D)."""
        ...


class Norm(nn.Module):
    """RMSNorm over the last axis, in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same shape."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding in Qwen's half-split layout; x (B, H, T, D), cos and sin (B, 1, T, D)."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


class Attention(nn.Module):
    """Grouped-query attention with normed queries and keys."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
        hidden = shape.hidden_size
        self.q_proj = nn.Linear(hidden, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, hidden, bias=False)
        self.q_norm = Norm(self.dim, shape.rms_norm_eps)
        self.k_norm = Norm(self.dim, shape.rms_norm_eps)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, layer: int, cache: Cache | None) -> Tensor:
        """x (B, t, hidden), mask (B, 1, t, T) with True where a token may look; returns (B, t, hidden)."""
        B, t, _ = x.shape
        v = self.v_proj(x).view(B, t, self.kv_heads, self.dim).transpose(1, 2)
        q = rotate(self.q_norm(self.q_proj(x).view(B, t, self.heads, self.dim)).transpose(1, 2), *turn).to(v.dtype)
        k = rotate(self.k_norm(self.k_proj(x).view(B, t, self.kv_heads, self.dim)).transpose(1, 2), *turn).to(v.dtype)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=self.heads != self.kv_heads)
        return self.o_proj(out.transpose(1, 2).reshape(B, t, -1))


class MLP(nn.Module):
    """The gated feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, t, hidden) to the same shape."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One transformer layer, pre-norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, layer: int, cache: Cache | None) -> Tensor:
        """(B, t, hidden) to the same shape; the residual stream keeps its dtype."""
        x = x + self.self_attn(self.input_layernorm(x), turn, mask, layer, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, shape.rms_norm_eps)


class Network(nn.Module):
    """A Qwen3 causal language model with tied embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        assert shape.vocab_size > 0
        self.shape = shape
        self.model = Trunk(shape)

    def hidden(self, ids: Tensor, positions: Tensor, mask: Tensor, cache: Cache | None = None) -> Tensor:
        """The trunk's output (B, t, hidden) for ids and positions (B, t) and mask (B, 1, t, T)."""
        x = self.model.embed_tokens(ids)
        turn = self._turn(positions)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, turn, mask, index, cache)
        return self.model.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., vocabulary)."""
        return F.linear(hidden, self.model.embed_tokens.weight)

    def _turn(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        dim = self.shape.head_dim
        inverse = self.shape.rope_theta ** (-torch.arange(0, dim, 2, device=positions.device).float() / dim)
        angle = positions[:, None, :, None].float() * torch.cat((inverse, inverse))
        return angle.cos(), angle.sin()


def new_network(shape: Shape, seed: int) -> Network:
    """A freshly initialised network, the same for the same seed."""
    network = Network(shape)
    generator = torch.Generator().manual_seed(seed % 2**63)
    depth = 1 / math.sqrt(2 * shape.num_hidden_layers)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() < 2:
                continue
            scale = 0.02 if "embed" in name else parameter.shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                scale *= depth
            parameter.normal_(0.0, scale, generator=generator)
    return network
