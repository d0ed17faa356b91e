"""What computes: reads contexts, decodes the rows and draws their tokens.

Torch does it for every network on every device. But a step of a small network is hundreds of tiny operations there. For
our own networks kernels that are compiled for this processor do the same as one call on a CPU (`native/`), and graphs
of all operations are started as one on CUDA (`graphs.py`).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ponder.engine.grammar import Grammar
from ponder.engine.kv_cache import Slots
from ponder.engine.reading import Reading
from ponder.engine.rows import Rows
from ponder.engine.spans import Span
from ponder.model.network import Causal, Network


class Drawn(NamedTuple):
    """One token of every row."""

    tokens: Tensor
    """(S,)"""
    over: list[int]
    """The slots that closed a block, answered, or have no tokens left."""


class Decoder(Protocol):
    """What computes for a scheduler."""

    @property
    def why(self) -> str:
        """Which one it is, and why."""
        ...

    @property
    def dense(self) -> bool:
        """Whether it computes all rows together, free ones too: then they are few, and sorted by length."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """What a step runs in: torch has the threads that are of use to this decoder."""
        ...

    def read(self, known: Sequence[Span], new: Sequence[Sequence[int]]) -> tuple[list[Span], Tensor, Tensor]:
        """Reads new tokens behind known ones: their spans, and after the last one of each (n, hidden) and the logits
        (n, V)."""
        ...

    def decode(self, tokens: Tensor, slots: Slots, active: Tensor) -> tuple[Tensor, Tensor]:
        """One more token of every active row, (S,), through the network: (S, hidden) and logits (S, V).

        They hold until the next call; what free rows have in them means nothing.
        """
        ...

    def draw(self, rows: Rows, logits: Tensor, grammar: Grammar) -> Drawn:
        """Draws from (S, V), writes it down, and moves the rows on."""
        ...


@dataclass(frozen=True)
class TorchDecoder:
    """Any network, anywhere."""

    network: Causal
    why: str
    dense: bool = True

    def alone(self) -> AbstractContextManager[None]:
        """See `Decoder`: all of them."""
        return nullcontext()

    def read(self, known: Sequence[Span], new: Sequence[Sequence[int]]) -> tuple[list[Span], Tensor, Tensor]:
        """See `Decoder`: one padded pass."""
        width, device = max(map(len, new)), known[0].keys.device
        reading = Reading(known, [len(ids) for ids in new])
        ids = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in new], device=device)
        hidden = self.network.hidden(ids, reading.positions, reading)
        last = hidden[torch.arange(len(new)), torch.tensor(reading.new) - 1]
        return reading.spans(), last, self.network.logits(last).float()

    def decode(self, tokens: Tensor, slots: Slots, active: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder`; free rows are computed in vain."""
        slots.prepare()
        hidden = self.network.hidden(tokens[:, None], slots.positions, slots)[:, -1]
        return hidden, self.network.logits(hidden).float()

    def draw(self, rows: Rows, logits: Tensor, grammar: Grammar) -> Drawn:
        """See `Decoder`."""
        rows.make_room()
        tokens = rows.draw(logits, grammar)
        return Drawn(tokens, rows.advance(tokens, grammar).nonzero().squeeze(1).tolist())


def decoder_for(network: Causal, native: bool = True) -> Decoder:
    """Compiled kernels, or graphs on CUDA, where they can be used and are wanted, torch anywhere else; `why` says which
    and for what reason."""
    if native and isinstance(network, Network) and next(network.parameters()).device.type == "cuda":
        from ponder.engine.graphs import GraphDecoder  # it is made of this one

        return GraphDecoder(network)
    if reason := "they are not wanted" if not native else missing(network):
        return TorchDecoder(network, f"torch, neither compiled kernels nor graphs: {reason}")
    from ponder.engine.native.decoder import NativeDecoder  # the compiler takes half a second to import

    assert isinstance(network, Network)
    return NativeDecoder(network)


def compiled_first(network: Causal) -> bool:
    """Whether whoever waits for its first step waits for the compiler, too: once on a machine, about ten seconds."""
    if missing(network):
        return False
    from ponder.engine.native import passes
    from ponder.engine.native.compiling import kept

    return not kept(passes.run)


def missing(network: Causal) -> str | None:
    """Why the kernels cannot compute this network."""
    if not isinstance(network, Network):
        return "the network is computed by transformers"
    parameter, dim = next(network.parameters()), network.shape.head_dim
    if parameter.device.type != "cpu":
        return f"the weights are on {parameter.device.type}"
    if any(one.dtype != torch.float32 for one in network.parameters()):
        return f"the weights are {parameter.dtype}"
    if not all(one.is_contiguous() for one in network.parameters()):
        return "the weights are views of others"
    if dim % 8:
        return f"the heads' size of {dim} is no multiple of 8"
    return None
