"""The reward head as a Rater: for prefixes that another sampler wrote, or that were not sampled at all.

The local sampler rates what it samples for nothing; this reads the same positions, by themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ponder.engine.form import check_length
from ponder.errors import CheckpointError, ContextError
from ponder.interfaces import Prefix
from ponder.model.checkpoint import Checkpoint
from ponder.model.heads import doubts
from ponder.model.network import Masked
from ponder.text import format
from ponder.types import Rating, Surprise

READ_AT_ONCE = 8192
"""Most tokens of one pass, padding included."""


class _Part(NamedTuple):
    """What is read of a prefix at once."""

    ids: list[int]
    start: int
    """Where its last block begins."""


@dataclass(frozen=True)
class HeadRater:
    """A Rater that reads a checkpoint's head at each prefix's boundary: after its last block, in that block's context;
    with no blocks, at the effort's token."""

    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        if self.checkpoint.head is None:
            raise CheckpointError(
                f"{self.checkpoint.config.name} has no reward head: make one with ponder train reward"
            )

    @torch.inference_mode()
    async def rate(self, prefixes: Sequence[Prefix]) -> list[Rating]:
        """One rating for each prefix, in order.

        What surprised the sampler of a block is taken from the block; of others, this checkpoint's own surprise is
        computed, by reading them too.
        """
        ends = [self._part(prefix, len(prefix.blocks)) for prefix in prefixes]
        unknown = [
            (index, number)
            for index, prefix in enumerate(prefixes)
            for number, block in enumerate(prefix.blocks)
            if block.surprise is None
        ]
        read = self._read([*ends, *(self._part(prefixes[index], number + 1) for index, number in unknown)])
        surprises = [[block.surprise for block in prefix.blocks] for prefix in prefixes]
        for (index, number), (_, found) in zip(unknown, read[len(ends) :], strict=True):
            surprises[index][number] = found
        head = self.checkpoint.head
        assert head
        hidden = torch.stack([last for last, _ in read[: len(ends)]])
        told = torch.tensor([doubts(one) for one in surprises], device=hidden.device)
        return [Rating(value, validity) for value, validity in head(hidden, told).sigmoid().tolist()]

    def context(self, prefix: Prefix) -> list[int]:
        """The ids at the end of which a prefix is rated; raises ContextError where the network reads less."""
        return self._part(prefix, len(prefix.blocks)).ids

    def _part(self, prefix: Prefix, blocks: int) -> _Part:
        """What is read to rate the first so many blocks of a prefix."""
        window, encode = self.checkpoint.config.fold_window, self.checkpoint.tokenizer.encode
        longest = self.checkpoint.network.shape.max_position_embeddings
        check_length(prefix, longest)
        if blocks:
            before, last = prefix.blocks[: blocks - 1], prefix.blocks[blocks - 1]
            context = encode(format.render_context(prefix.messages, prefix.effort, before, window))
            ids = [*context, *encode(format.render_block(last))]
        else:
            context = ids = encode(format.render_prompt(prefix.messages, prefix.effort))
        if len(ids) > longest:
            raise ContextError(f"the prompt has {len(ids)} tokens, the model reads {longest}: shorten the prompt")
        return _Part(ids, len(context))

    def _read(self, parts: Sequence[_Part]) -> list[tuple[Tensor, Surprise]]:
        """Of each part the trunk's output at its end, and how surprising its block is."""
        order = sorted(range(len(parts)), key=lambda index: len(parts[index].ids))
        found: dict[int, tuple[Tensor, Surprise]] = {}
        while order:
            group = order[-max(1, READ_AT_ONCE // len(parts[order[-1]].ids)) :]
            del order[-len(group) :]
            found |= zip(group, self._read_together([parts[index] for index in group]), strict=True)
        return [found[index] for index in range(len(parts))]

    def _read_together(self, parts: Sequence[_Part]) -> list[tuple[Tensor, Surprise]]:
        network = self.checkpoint.network
        device = next(network.parameters()).device
        width = max(len(part.ids) for part in parts)
        # Shorter ones are padded behind their end, where no real token looks.
        ids = torch.tensor([[*part.ids, *[0] * (width - len(part.ids))] for part in parts], device=device)
        causal = Masked(torch.ones(width, width, dtype=torch.bool, device=device).tril()[None, None])
        hidden = network.hidden(ids, torch.arange(width, device=device).expand_as(ids), causal)
        chances = network.logits(hidden[:, :-1]).float().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0].tolist()
        return [
            (hidden[row, len(part.ids) - 1], Surprise.of(chances[row][part.start - 1 : len(part.ids) - 1]))
            for row, part in enumerate(parts)
        ]
