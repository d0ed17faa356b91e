"""How fast each pair of dimensions turns with the position: rotary embedding and the scalings in common use."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rope:
    """The ``rope_parameters`` of a ``config.json``; a scaling stretches a model to longer texts than it began with."""

    theta: float = 10_000.0
    type: str = "default"
    """default, linear, llama3 or yarn."""
    factor: float = 1.0
    original: int = 0
    """Positions that the model was trained on before it was stretched; llama3 and yarn need it."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 0.0
    """By how much yarn scales queries and keys; 0 for the paper's 0.1 ln(factor) + 1."""


TYPES = ("default", "linear", "llama3", "yarn")


def turns(rope: Rope, dim: int, device: torch.device) -> tuple[Tensor, float]:
    """Radians a position of each pair, (dim / 2,), and the factor on cosine and sine."""
    steps = torch.arange(0, dim, 2, device=device).float() / dim
    plain = rope.theta**-steps
    if rope.type == "linear":
        return plain / rope.factor, 1.0
    if rope.type == "llama3":
        return _llama3(plain, rope), 1.0
    if rope.type == "yarn":
        return _yarn(plain, rope, dim), rope.attention_factor or 0.1 * math.log(rope.factor) + 1.0
    return plain, 1.0


def _llama3(plain: Tensor, rope: Rope) -> Tensor:
    """Long waves are stretched, short ones kept, those between blended (Llama 3.1)."""
    waves = rope.original * plain / (2 * math.pi)
    kept = ((waves - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0, 1)
    return plain * kept + plain / rope.factor * (1 - kept)


def _yarn(plain: Tensor, rope: Rope, dim: int) -> Tensor:
    """Dimensions that turn often are kept, those that turn seldom stretched (Peng et al. 2023)."""

    def dimension(rotations: float) -> float:
        return dim * math.log(rope.original / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))

    low = max(math.floor(dimension(rope.beta_fast)), 0)
    high = min(math.ceil(dimension(rope.beta_slow)), dim - 1)
    ramp = (torch.arange(dim // 2, device=plain.device).float() - low) / max(high - low, 0.001)
    stretched = ramp.clamp(0, 1)
    return plain * (1 - stretched) + plain / rope.factor * stretched
