"""The reward head as a Rater: for prefixes that another sampler wrote, or that were not sampled at all.

The local sampler rates what it samples for nothing; this reads the same positions, by themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ponder.engine.form import check_length
from ponder.errors import CheckpointError, ContextError
from ponder.interfaces import Prefix
from ponder.model.checkpoint import Checkpoint
from ponder.model.network import Masked
from ponder.text import format
from ponder.types import Rating

READ_AT_ONCE = 8192
"""Most tokens of one pass, padding included."""


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

    async def rate(self, prefixes: Sequence[Prefix]) -> list[Rating]:
        """One rating for each prefix, in order."""
        contexts = [self.context(prefix) for prefix in prefixes]
        order = sorted(range(len(contexts)), key=lambda index: len(contexts[index]))
        found: dict[int, Rating] = {}
        while order:
            group = order[-max(1, READ_AT_ONCE // len(contexts[order[-1]])) :]
            del order[-len(group) :]
            found |= zip(group, self._read([contexts[index] for index in group]), strict=True)
        return [found[index] for index in range(len(prefixes))]

    def context(self, prefix: Prefix) -> list[int]:
        """The ids at the end of which a prefix is rated; raises ContextError where the network reads less."""
        window, encode = self.checkpoint.config.fold_window, self.checkpoint.tokenizer.encode
        longest = self.checkpoint.network.shape.max_position_embeddings
        check_length(prefix, longest)
        if prefix.blocks:
            *before, last = prefix.blocks
            context = format.render_context(prefix.messages, prefix.effort, tuple(before), window)
            ids = encode([*context, *format.render_block(last)])
        else:
            ids = encode(format.render_prompt(prefix.messages, prefix.effort))
        if len(ids) > longest:
            raise ContextError(f"the prompt has {len(ids)} tokens, the model reads {longest}: shorten the prompt")
        return ids

    @torch.inference_mode()
    def _read(self, contexts: Sequence[Sequence[int]]) -> list[Rating]:
        network, head = self.checkpoint.network, self.checkpoint.head
        assert head
        device = next(network.parameters()).device
        width = max(map(len, contexts))
        # Shorter ones are padded behind their end, where no real token looks.
        ids = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in contexts], device=device)
        causal = Masked(torch.ones(width, width, dtype=torch.bool, device=device).tril()[None, None])
        hidden = network.hidden(ids, torch.arange(width, device=device).expand_as(ids), causal)
        last = hidden[torch.arange(len(contexts)), torch.tensor([len(ids) - 1 for ids in contexts])]
        return [Rating(value, validity) for value, validity in head(last).sigmoid().tolist()]
