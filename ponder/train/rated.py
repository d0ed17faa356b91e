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

from ponder.model.heads import Head
from ponder.model.network import Network
from ponder.reward.boundary import Judged, Labels
from ponder.train.batch import Batch, Row, collate, pack_segments, split_by_prompt, split_packed
from ponder.train.losses import token_loss
from ponder.types import Rating, Segment


class Labelled(NamedTuple):
    """A packed rollout and the labels of its boundaries."""

    row: Row
    labels: Labels
    group: str = ""


@dataclass(frozen=True)
class RatedBatch:
    """Packed rollouts, and R tokens at which the head is read."""

    batch: Batch
    reads: Tensor
    """(R,)"""
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
        tensors = {name: getattr(self, name).to(device) for name in ("reads", "labels", "known")}
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

    def logits(self, hidden: Tensor, reads: Tensor) -> Tensor:
        """Value and validity at (R,) tokens of (1, N, hidden), as (R, 2) logits in float32, as the engine has them."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(F.embedding(reads, hidden[0]))


def pack_rollout(segments: Sequence[Segment], labels: Labels, group: str = "") -> Labelled:
    """A rollout's segments, one for each block and one for the answer, and the labels of its boundaries."""
    assert len(labels) == len(segments) + 1
    return Labelled(pack_segments(segments), labels, group)


def readings(rows: Sequence[Labelled]) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens of a batch of packed rollouts are read, (R,), and their labels and what is known of them, (R, 2).

    Every segment has two readings: before it, where the label is that of the boundary it begins at (the last fold
    stands there for the block that was folded), and after it.
    """
    reads: list[int] = []
    labels: list[tuple[float | None, float | None]] = []
    offset = 0
    for row, known, _ in rows:
        ends = [bounds for bounds, trained in zip(row.sections, row.trained, strict=True) if trained]
        for number, (start, end) in enumerate(ends):
            reads += (offset + start - 1, offset + end - 1)
            labels += ((label.value, label.validity) for label in known[number : number + 2])
        offset += len(row)
    values = torch.tensor([[number or 0.0 for number in label] for label in labels])
    mask = torch.tensor([[float(number is not None) for number in label] for label in labels])
    return torch.tensor(reads, dtype=torch.long), values.view(-1, 2), mask.view(-1, 2)


def collate_rated(rows: Sequence[Labelled]) -> RatedBatch:
    """Packed rollouts to one micro-batch."""
    reads, labels, known = readings(rows)
    return RatedBatch(collate([one.row for one in rows]), reads, labels, known, int(known.sum()))


def micro_batches(rows: Sequence[Labelled], most_tokens: int) -> list[RatedBatch]:
    """Rollouts of one step in passes of at most `most_tokens`; a longer one has a pass of its own."""
    return [collate_rated(group) for group in split_packed(rows, lambda one: one.row, most_tokens)]


def rating_loss(language_weight: float) -> Callable[[Rated, RatedBatch], Tensor]:
    """Binary cross-entropy summed over known labels; while the trunk is trained too, plus the language model's mean
    loss on the same rollouts, so many times, which keeps the trunk what it is."""

    def loss(model: Rated, micro: RatedBatch) -> Tensor:
        hidden = model.hidden(micro.batch)
        logits = model.logits(hidden, micro.reads)
        total = F.binary_cross_entropy_with_logits(logits, micro.labels, weight=micro.known, reduction="sum")
        if not model.frozen and language_weight:
            share = language_weight * micro.trained / micro.batch.trained
            total = total + share * token_loss(model.network, hidden, micro.batch)
        return total

    return loss


@torch.no_grad()
def judge(model: Rated, rows: Sequence[Labelled], most_tokens: int, device: str) -> list[Judged]:
    """What the head says of packed rollouts, in float32, beside their labels; in their order."""
    found: dict[int, tuple[Rating, ...]] = {}
    by_row = {id(one.row): index for index, one in enumerate(rows)}
    for group in split_by_prompt([one.row for one in rows], most_tokens):
        members = [rows[by_row[id(row)]] for row in group]
        micro = collate_rated(members).to(device)
        said = model.logits(model.hidden(micro.batch), micro.reads).sigmoid().tolist()
        at = 0
        for one in members:
            count = 2 * (len(one.labels) - 1)  # before and after each segment
            readings = [Rating(value, validity) for value, validity in said[at : at + count]]
            found[by_row[id(one.row)]] = (readings[0], *readings[1::2])
            at += count
    return [Judged(found[index], one.labels, one.group) for index, one in enumerate(rows)]


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
