"""Drawing tokens, a batch at a time, with counter-based randomness: what a row draws depends on its own seed and its
own token count alone, never on its neighbours."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_GOLDEN, _MIX1, _MIX2 = (value - 2**64 if value >= 2**63 else value for value in (
    0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
))  # fmt: skip


WIDE, BLOCK = 4096, 128
"""From so many tokens a vocabulary is large, and of how many its blocks are."""


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


class Work(NamedTuple):
    """What a batch needs beyond its likeliest tokens."""

    warm: bool
    """Some row draws."""
    cut: bool
    """Some row draws from its likelier tokens alone."""


def work_of(temperatures: Tensor, top_ps: Tensor, top_ks: Tensor, min_ps: Tensor) -> Tensor:
    """The `Work` of rows that draw so, (2,) of bool."""
    cut = (top_ps < 1) | (top_ks > 0) | (min_ps > 0)
    return torch.stack(((temperatures > 0).any(), cut.any()))


def draw(logits: Tensor, how: Draws) -> Tensor:
    """One token per row from (B, V) logits. Returns (B,)."""
    return draw_with(logits, how, Work(*work_of(*how[:4]).tolist()))


def draw_with(logits: Tensor, how: Draws, work: Work) -> Tensor:
    """The same where it is known what is needed, or more than that: nothing is asked of the device."""
    best = logits.argmax(dim=-1)
    if not work.warm:
        return best
    # Large vocabularies are tempered in float32 and summed in float64, which halves what is read.
    tempered = logits.double() if logits.shape[1] < WIDE else logits
    probabilities = (tempered / how.temperatures.clamp_min(1e-6)[:, None]).softmax(dim=-1)
    if work.cut:
        probabilities = _cut(probabilities, how)
    return torch.where(how.temperatures > 0, _chosen(probabilities, uniforms(how.seeds, how.counters)), best)


def _chosen(probabilities: Tensor, shares: Tensor) -> Tensor:
    """The first token at which so large a share (B,) of a row's sum is reached; (B, V) to (B,).

    Of a large vocabulary, the block of tokens in which that is first, so that running sums are over few numbers.
    """
    if probabilities.shape[1] < WIDE:
        total = probabilities.cumsum(dim=-1)
        target = shares * total[:, -1]
        return torch.searchsorted(total, target[:, None]).squeeze(1).clamp_max(total.shape[1] - 1)
    if short := -probabilities.shape[1] % BLOCK:
        probabilities = F.pad(probabilities, (0, short))
    blocks = probabilities.unflatten(1, (-1, BLOCK))
    total = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    target = (shares * total[:, -1])[:, None]
    block = torch.searchsorted(total, target).clamp_max(total.shape[1] - 1)
    before = torch.where(block > 0, total.gather(1, block - (block > 0).long()), 0.0)
    within = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK)).squeeze(1)
    reached = before + within.double().cumsum(dim=-1)
    # Sums of a block differ in their last digits by their order: beyond the last token that may come there is none.
    last = (torch.arange(BLOCK, device=within.device) * (within > 0)).amax(dim=-1, keepdim=True)
    return (block * BLOCK + torch.minimum(torch.searchsorted(reached, target), last)).squeeze(1)


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
