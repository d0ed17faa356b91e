"""Keys and values of consecutive tokens, and a store of those of prompts that were read before."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.model.sizes import Shape


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


def empty_span(shape: Shape, device: torch.device) -> Span:
    """A span of no tokens."""
    size = (shape.num_hidden_layers, shape.num_key_value_heads, 0, shape.head_dim)
    return Span(torch.zeros(size, device=device), torch.zeros(size, device=device))


def token_bytes(shape: Shape) -> int:
    """What one token of one row takes in float32."""
    return 8 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim


def cut(spans: Sequence[Span], start: int, stop: int | None = None) -> Iterator[Span]:
    """The tokens from `start` to `stop` of spans that follow one another."""
    for span in spans:
        end = span.tokens if stop is None else min(stop, span.tokens)
        if start < end:
            yield span.part(start, end)
        start, stop = max(0, start - span.tokens), None if stop is None else max(0, stop - span.tokens)


class Store:
    """Spans by the tokens that they begin a context with; the one not used for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._spans: OrderedDict[tuple[int, ...], Span] = OrderedDict()

    def clear(self) -> None:
        """Forget everything."""
        self._spans.clear()
        self.bytes = 0

    def find(self, ids: tuple[int, ...]) -> Span | None:
        """The span of exactly these tokens."""
        if ids in self._spans:
            self._spans.move_to_end(ids)
        return self._spans.get(ids)

    def keep(self, ids: tuple[int, ...], span: Span) -> None:
        """Remember a span (a copy of its own, so that it holds on to nothing else)."""
        if ids in self._spans or span.bytes > self.most_bytes:
            return
        self._spans[ids] = Span(span.keys.clone(), span.values.clone())
        self.bytes += span.bytes
        while self.bytes > self.most_bytes:
            self.bytes -= self._spans.popitem(last=False)[1].bytes
