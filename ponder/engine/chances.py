"""How likely each token of an answer was, and what else was: one more pass over what was sampled."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ponder.engine.grammar import AT, PLACES, Replay
from ponder.model.checkpoint import Checkpoint
from ponder.model.network import Masked
from ponder.text.format import Place
from ponder.types import Segment


class Likely(NamedTuple):
    """A token's bytes, and the logarithm of its probability."""

    bytes: bytes
    logprob: float


class Chance(NamedTuple):
    """A token of an answer, and the likeliest ones at its place."""

    token: Likely
    others: tuple[Likely, ...]


@dataclass(frozen=True)
class Chances:
    """Reads them from a checkpoint that was made for blocks; raises ConfigError for any other."""

    checkpoint: Checkpoint
    _replay: Replay = field(init=False)

    def __post_init__(self) -> None:
        network, tokenizer = self.checkpoint.own()
        device = next(network.parameters()).device
        object.__setattr__(self, "_replay", Replay.of(tokenizer.special, tokenizer.size, device))

    async def of(self, segment: Segment, most: int) -> list[Chance]:
        """Of each token of the answer in a segment, under the mask that it was drawn under, at temperature 1.

        Tokens that the format did not allow are not among the others; the thought's tokens are never told.
        """
        rows, markers = self._replay.rows(segment), set(self.checkpoint.own()[1].special.values())
        said = [
            at
            for at, (row, token) in enumerate(zip(rows, segment.generated, strict=True))
            if row % len(PLACES) == AT[Place.ANSWER] and token not in markers
        ]
        return self._read(segment, rows, said, most) if said else []

    @torch.inference_mode()
    def _read(self, segment: Segment, rows: list[int], said: list[int], most: int) -> list[Chance]:
        network, tokenizer = self.checkpoint.own()
        device = next(network.parameters()).device
        ids = torch.tensor([[*segment.context, *segment.generated]], device=device)
        t, before = ids.shape[1], len(segment.context) - 1
        causal = Masked(torch.ones(t, t, dtype=torch.bool, device=device).tril()[None, None])
        hidden = network.hidden(ids, torch.arange(t, device=device)[None], causal)[0]
        at = torch.tensor(said, device=device)
        masks = self._replay.allowed[torch.tensor(rows, device=device)[at]]
        logits = network.logits(hidden[before + at]).float() + masks
        logprobs = logits.log_softmax(dim=-1)
        values, tokens = logprobs.topk(min(most, logprobs.shape[1]), dim=-1)
        found: list[Chance] = []
        for row, place in enumerate(said):
            token = segment.generated[place]
            pairs = zip(tokens[row].tolist(), values[row].tolist(), strict=True)
            others = tuple(Likely(tokenizer.bytes_of(one), value) for one, value in pairs if value > -torch.inf)
            found.append(Chance(Likely(tokenizer.bytes_of(token), float(logprobs[row, token])), others))
        return found
