"""A network with its reward head in training: which tokens the head reads, what it should say there, and the loss.

The head is read where the engine reads it: at the last token that a segment was sampled from, and at the segment's own
last token (a test holds both readings against each other).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ponder.model.heads import Head, doubts
from ponder.model.network import Network
from ponder.reward.boundary import Labels
from ponder.train.batch import IGNORED, Batch, Row, collate, pack_segments, split_packed
from ponder.train.losses import token_loss
from ponder.types import Segment, Surprise


class Labelled(NamedTuple):
    """A packed rollout and the labels of its boundaries."""

    row: Row
    labels: Labels
    surprises: tuple[Surprise, ...]
    """Of each segment."""
    group: str = ""
    learned: int | None = None
    """The first so many segments are those that the language model learns from; None for all."""


@dataclass(frozen=True)
class RatedBatch:
    """Packed rollouts, and R tokens at which the head is read."""

    batch: Batch
    reads: Tensor
    """(R,)"""
    doubts: Tensor
    """(R, DOUBTS), of the blocks up to there."""
    labels: Tensor
    """(R, 2): value and validity, 0 where they are not known."""
    known: Tensor
    """(R, 2): 1 where they are."""
    trained: int
    """How many are known."""

    @property
    def tokens(self) -> int:
        """Tokens that the network reads."""
        return self.batch.tokens

    def to(self, device: str) -> "RatedBatch":
        """The batch on another device."""
        tensors = {name: getattr(self, name).to(device) for name in ("reads", "doubts", "labels", "known")}
        return replace(self, batch=self.batch.to(device), **tensors)


class Rated(nn.Module):
    """A network and its head; a frozen network is only read."""

    def __init__(self, network: Network, head: Head, *, frozen: bool) -> None:
        super().__init__()
        self.network, self.head, self.frozen = network, head, frozen
        network.requires_grad_(not frozen)

    def hidden(self, batch: Batch) -> Tensor:
        """The trunk's output (1, N, hidden)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.network.hidden(batch.ids, batch.positions, batch)

    def logits(self, hidden: Tensor, micro: "RatedBatch | Readings") -> Tensor:
        """Value and validity where a batch reads (1, N, hidden), as (R, 2) logits in float32, as the engine."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(F.embedding(micro.reads, hidden[0]), micro.doubts)


def pack_rollout(
    segments: Sequence[Segment], labels: Labels, surprises: Sequence[Surprise] | None = None, group: str = ""
) -> Labelled:
    """A rollout's segments, one for each block and one for the answer, and the labels of its boundaries.

    Surprises where the segments do not hold the log-probabilities themselves.
    """
    found = tuple(surprises or (Surprise.of(segment.logprobs) for segment in segments))
    assert len(labels) == len(segments) + 1 == len(found) + 1
    return Labelled(pack_segments(segments), labels, found, group)


class Readings(NamedTuple):
    """Where a head is read in a batch, and what it should say there; see `RatedBatch`."""

    reads: Tensor
    doubts: Tensor
    labels: Tensor
    known: Tensor


def readings(rows: Sequence[Labelled]) -> Readings:
    """The readings of packed rollouts, one after the other in a batch.

    Every segment has two readings: before it, where the label is that of the boundary it begins at (the last fold
    stands there for the block that was folded), and after it.
    """
    reads: list[int] = []
    told: list[list[float]] = []
    labels: list[tuple[float | None, float | None]] = []
    offset = 0
    for row, known, surprises, *_ in rows:
        ends = _ends(row)
        for number, (start, end) in enumerate(ends):
            reads += (offset + start - 1, offset + end - 1)
            told += (doubts(surprises[:number]), doubts(surprises[: number + 1]))
            labels += ((label.value, label.validity) for label in known[number : number + 2])
        offset += len(row)
    values = torch.tensor([[number or 0.0 for number in label] for label in labels])
    mask = torch.tensor([[float(number is not None) for number in label] for label in labels])
    read = torch.tensor(reads, dtype=torch.long)
    return Readings(read, torch.tensor(told).view(len(reads), -1), values.view(-1, 2), mask.view(-1, 2))


def _ends(row: Row) -> list[tuple[int, int]]:
    """Start and end of each segment."""
    return [bounds for bounds, trained in zip(row.sections, row.trained, strict=True) if trained]


def collate_rated(rows: Sequence[Labelled]) -> RatedBatch:
    """Packed rollouts to one micro-batch."""
    found, batch = readings(rows), collate([one.row for one in rows])
    if any(one.learned is not None for one in rows):
        batch = _sparing(batch, rows)
    return RatedBatch(batch, *found, int(found.known.sum()))


def _sparing(batch: Batch, rows: Sequence[Labelled]) -> Batch:
    """The batch, of which the language model does not learn some rows' last segments."""
    learned = torch.tensor(
        [
            one.learned is None or number < one.learned
            for one in rows
            for number, (start, end) in enumerate(_ends(one.row))
            for _ in range(start, end)
        ]
    )
    targets = batch.targets.clone()
    targets[: batch.trained][~learned] = IGNORED
    return replace(batch, targets=targets, trained=int(learned.sum()))


def micro_batches(rows: Sequence[Labelled], most_tokens: int) -> list[RatedBatch]:
    """Rollouts of one step in passes of at most `most_tokens`; a longer one has a pass of its own."""
    return [collate_rated(group) for group in split_packed(rows, lambda one: one.row, most_tokens)]


def rating_loss(language_weight: float) -> Callable[[Rated, RatedBatch], Tensor]:
    """Binary cross-entropy summed over known labels, where the trunk is trained too, plus the language model's mean
    loss on the same rollouts, so many times, which keeps the trunk what it is."""

    def loss(model: Rated, micro: RatedBatch) -> Tensor:
        hidden = model.hidden(micro.batch)
        logits = model.logits(hidden, micro)
        total = F.binary_cross_entropy_with_logits(logits, micro.labels, weight=micro.known, reduction="sum")
        if language_weight and micro.batch.trained:
            share = language_weight * micro.trained / micro.batch.trained
            total = total + share * token_loss(model.network, hidden, micro.batch)
        return total

    return loss


@dataclass(frozen=True)
class Harm:
    """What training did to the language model, on texts that it did not train on."""

    loss: float
    """Mean negative log-probability of a token, in nats."""
    divergence: float
    """Mean Kullback-Leibler divergence from the network before training to the one after it, a token, in nats."""


@torch.no_grad()
def harm(before: Network, after: Network, batches: Iterable[Batch]) -> Harm:
    """Loss of the network after training, and how far its predictions are from those before it."""
    loss, divergence, tokens = 0.0, 0.0, 0
    for batch in batches:
        old, new = (
            network.logits(F.embedding(batch.predicting, network.hidden(batch.ids, batch.positions, batch)[0]))[
                : batch.trained
            ].log_softmax(-1)
            for network in (before, after)
        )
        loss -= float(new.gather(1, batch.targets[: batch.trained, None]).sum())
        divergence += float(F.kl_div(new, old, reduction="sum", log_target=True))
        tokens += batch.trained
    return Harm(loss / tokens, divergence / tokens)
