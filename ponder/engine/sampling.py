"""Drawing tokens, a batch at a time, with counter-based randomness: what a row draws depends on its own seed and its
own token count alone, never on its neighbours."""

import torch
from torch import Tensor

_GOLDEN, _MIX1, _MIX2 = (value - 2**64 if value >= 2**63 else value for value in (
    0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
))  # fmt: skip


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


def draw(logits: Tensor, temperatures: Tensor, top_ps: Tensor, seeds: Tensor, counters: Tensor) -> Tensor:
    """One token per row from (B, V) logits; temperature 0 takes the likeliest. Returns (B,)."""
    best = logits.argmax(dim=-1)
    if not bool((temperatures > 0).any()):
        return best
    probabilities = (logits.double() / temperatures.clamp_min(1e-6)[:, None]).softmax(dim=-1)
    if bool((top_ps < 1).any()):
        probabilities = _nucleus(probabilities, top_ps)
    total = probabilities.cumsum(dim=-1)
    target = uniforms(seeds, counters) * total[:, -1]
    chosen = torch.searchsorted(total, target[:, None]).squeeze(1).clamp_max(total.shape[1] - 1)
    return torch.where(temperatures > 0, chosen, best)


def _nucleus(probabilities: Tensor, top_ps: Tensor) -> Tensor:
    """The smallest set of likeliest tokens that holds top_p of the mass (Holtzman et al. 2020), the others at zero."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    most = top_ps.masked_fill(top_ps >= 1, torch.inf)[:, None]  # rounding must not cut a row that keeps everything
    return torch.zeros_like(probabilities).scatter(1, order, ordered.masked_fill((before >= most) & (before > 0), 0.0))
