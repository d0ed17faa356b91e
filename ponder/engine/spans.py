"""Keys and values of consecutive tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.model.sizes import Sizes


@dataclass(frozen=True)
class Span:
    """Keys and values of some consecutive tokens, (L, K, t, D) each."""

    keys: Tensor
    values: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens it holds."""
        return self.keys.shape[2]

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def part(self, start: int, stop: int | None = None) -> "Span":
        """The part of it that holds these of its tokens."""
        return Span(self.keys[:, :, start:stop], self.values[:, :, start:stop])

    def first(self, tokens: int) -> "Span":
        """The part of it that holds its first tokens, at most all of them."""
        return self.part(0, tokens)

    def joined(self, other: "Span") -> "Span":
        """Both, one after the other."""
        if not self.tokens:
            return other
        return Span(torch.cat((self.keys, other.keys), dim=2), torch.cat((self.values, other.values), dim=2))

    def copied(self) -> "Span":
        """The same, holding on to nothing else."""
        return Span(self.keys.clone(), self.values.clone())


def empty_span(shape: Sizes, device: torch.device, dtype: torch.dtype = torch.float32) -> Span:
    """A span of no tokens."""
    size = (shape.num_hidden_layers, shape.num_key_value_heads, 0, shape.head_dim)
    return Span(*torch.zeros(2, *size, dtype=dtype, device=device))


def token_bytes(shape: Sizes, dtype: torch.dtype = torch.float32) -> int:
    """What one token of one row takes: a key and a value of each layer."""
    return 2 * dtype.itemsize * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim


def cut(spans: Sequence[Span], start: int, stop: int | None = None) -> Iterator[Span]:
    """The tokens from `start` to `stop` of spans that follow one another."""
    for span in spans:
        end = span.tokens if stop is None else min(stop, span.tokens)
        if start < end:
            yield span.part(start, end)
        start, stop = max(0, start - span.tokens), None if stop is None else max(0, stop - span.tokens)
