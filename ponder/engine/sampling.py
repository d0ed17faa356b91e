"""Drawing tokens, a batch at a time, with counter-based randomness: what a row draws depends on its own seed and its
own token count alone, never on its neighbours."""

from typing import NamedTuple

import torch
from torch import Tensor

_GOLDEN, _MIX1, _MIX2 = (value - 2**64 if value >= 2**63 else value for value in (
    0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
))  # fmt: skip


class Draws(NamedTuple):
    """How each row draws, (B,) each."""

    temperatures: Tensor
    """0 takes the likeliest."""
    top_ps: Tensor
    """1 for all tokens."""
    top_ks: Tensor
    """0 for all tokens."""
    min_ps: Tensor
    """A share of the likeliest token's probability; 0 for all tokens."""
    seeds: Tensor
    counters: Tensor


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def uniforms(seeds: Tensor, counters: Tensor) -> Tensor:
    """One number in (0, 1) per row from (seed, counter), both int64 (B,); SplitMix64 (Steele et al. 2014)."""
    x = seeds + (counters + 1) * _GOLDEN
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    x = x ^ _shift(x, 31)
    return (_shift(x, 11).double() + 0.5) * 2.0**-53


def draw(logits: Tensor, how: Draws) -> Tensor:
    """One token per row from (B, V) logits. Returns (B,)."""
    best = logits.argmax(dim=-1)
    warm = how.temperatures > 0
    if not bool(warm.any()):
        return best
    probabilities = (logits.double() / how.temperatures.clamp_min(1e-6)[:, None]).softmax(dim=-1)
    if bool(((how.top_ps < 1) | (how.top_ks > 0) | (how.min_ps > 0)).any()):
        probabilities = _cut(probabilities, how)
    total = probabilities.cumsum(dim=-1)
    target = uniforms(how.seeds, how.counters) * total[:, -1]
    chosen = torch.searchsorted(total, target[:, None]).squeeze(1).clamp_max(total.shape[1] - 1)
    return torch.where(warm, chosen, best)


def _cut(probabilities: Tensor, how: Draws) -> Tensor:
    """The unlikely tokens at zero; the likeliest one always stays.

    Top-p keeps the smallest set that holds that mass (Holtzman et al. 2020), top-k so many tokens, min-p those with
    that share of the likeliest one's probability (Nguyen et al. 2024). All three see the tempered probabilities.
    """
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    # Rounding must not cut a row that keeps everything.
    most = how.top_ps.masked_fill(how.top_ps >= 1, torch.inf)[:, None]
    ranks = torch.arange(ordered.shape[1], device=ordered.device)
    tops = how.top_ks.masked_fill(how.top_ks <= 0, ordered.shape[1])[:, None]
    gone = (before >= most) | (ranks >= tops) | (ordered < how.min_ps[:, None] * ordered[:, :1])
    gone[:, 0] = False
    return torch.zeros_like(probabilities).scatter(1, order, ordered.masked_fill(gone, 0.0))
