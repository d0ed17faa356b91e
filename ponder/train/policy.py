"""The policy in training: sampled tokens' log-probabilities under the same masks as they were sampled under.

The sampler draws among the tokens that the format allows, and closes a block whose tokens run out. A trainer that did
not mask alike would follow another policy than the one that was sampled, and would learn to close blocks by force.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.engine.grammar import Replay
from ponder.model.network import Network
from ponder.reward.boundary import Label
from ponder.train.advantages import Algorithm, Lesson
from ponder.train.batch import Batch, collate, split_packed
from ponder.train.rated import Labelled, Rated, Readings, readings
from ponder.types import Surprise

TENSORS = ("rows", "sampled", "advantages", "weights")


@dataclass(frozen=True)
class PolicyBatch:
    """Packed rollouts; n trained tokens."""

    batch: Batch
    rows: Tensor
    """(n,), the row of the grammar's `allowed` for each token."""
    sampled: Tensor
    """(n,), log-probabilities as sampled."""
    advantages: Tensor
    """(n,)"""
    weights: Tensor
    """(n,), of the tokens in the loss's sum."""
    trained: int
    """What the sum is divided by: tokens, or rollouts."""
    head: Readings
    """Of a head that is trained too; what is known are weights in the loss's sum."""

    @property
    def tokens(self) -> int:
        """Tokens that the network reads."""
        return self.batch.tokens

    def to(self, device: str) -> "PolicyBatch":
        """The batch on another device."""
        moved = {name: getattr(self, name).to(device) for name in TENSORS}
        return replace(
            self, batch=self.batch.to(device), head=Readings(*(part.to(device) for part in self.head)), **moved
        )


def collate_policy(lessons: Sequence[Lesson], replay: Replay) -> PolicyBatch:
    """Lessons to one micro-batch."""
    pairs = [pair for one in lessons for pair in zip(one.segments, one.advantages, strict=True)]
    weights = [one.weight for one in lessons for segment in one.segments for _ in segment.generated]
    found = readings([labelled(one) for one in lessons])
    shares = [label_share(one) for one in lessons for _ in range(2 * len(one.segments))]
    return PolicyBatch(
        batch=collate([one.row for one in lessons]),
        rows=torch.tensor(list(chain.from_iterable(replay.rows(segment) for segment, _ in pairs))),
        sampled=torch.tensor(list(chain.from_iterable(segment.logprobs for segment, _ in pairs))),
        advantages=torch.tensor([advantage for segment, advantage in pairs for _ in segment.generated]),
        weights=torch.tensor(weights),
        trained=sum(one.terms for one in lessons),
        head=found._replace(known=found.known * torch.tensor(shares)[:, None]),
    )


def labelled(one: Lesson) -> Labelled:
    """A lesson for the head; where it has no labels, nothing is known at any boundary."""
    labels = one.labels or (Label(None),) * (len(one.segments) + 1)
    return Labelled(one.row, labels, tuple(Surprise.of(segment.logprobs) for segment in one.segments))


def label_share(one: Lesson) -> float:
    """The weight of one reading, so that the labels' sum is divided into a mean over rollouts, or over their tokens."""
    return one.label_weight * one.terms / (2 * len(one.segments))


def policy_batches(lessons: Sequence[Lesson], replay: Replay, most_tokens: int) -> list[PolicyBatch]:
    """The lessons of one step in passes of at most `most_tokens`."""
    return [collate_policy(group, replay) for group in split_packed(lessons, lambda one: one.row, most_tokens)]


def sampled_logprobs(network: Network, micro: PolicyBatch, allowed: Tensor) -> Tensor:
    """(n,), what the network now gives the sampled tokens, at temperature 1."""
    return _logprobs(network, network.hidden(micro.batch.ids, micro.batch.positions, micro.batch), micro, allowed)


def _logprobs(network: Network, hidden: Tensor, micro: PolicyBatch, allowed: Tensor) -> Tensor:
    """The same, from the trunk's output (1, N, hidden)."""
    batch, n = micro.batch, len(micro.rows)
    logits = network.logits(F.embedding(batch.predicting, hidden[0])).float()[:n] + allowed[micro.rows]
    return logits.log_softmax(dim=-1).gather(1, batch.targets[:n, None]).squeeze(1)


@dataclass
class Tally:
    """Sums over the tokens of a round's backward passes."""

    fresh: bool = True
    """Whether the weights are still those that were sampled from."""
    tokens: int = 0
    gap: float = 0.0
    most_gap: float = 0.0
    trained: int = 0
    moved: int = 0
    """Tokens whose ratio to the sampled probability has left [0.8, 1.25]."""
    divergence: float = 0.0
    label_loss: float = 0.0
    labels: float = 0.0

    def clear(self) -> None:
        """A new round begins."""
        vars(self).update(vars(Tally()))

    def add(self, logprobs: Tensor, sampled: Tensor) -> None:
        """Count a pass."""
        apart = (logprobs.detach() - sampled).abs()
        if self.fresh:
            self.tokens += len(apart)
            self.gap += float(apart.sum())
            self.most_gap = max(self.most_gap, float(apart.max()))
        self.trained += len(apart)
        self.moved += int((apart > 0.2231).sum())

    def numbers(self) -> dict[str, float]:
        """What goes into the metrics; nothing where nothing was trained."""
        if not self.trained:
            return {}
        found = {"moved": round(self.moved / self.trained, 5), "divergence": round(self.divergence / self.trained, 6)}
        found |= {"label_loss": round(self.label_loss / self.labels, 5)} if self.labels else {}
        return found | ({"gap": self.gap / self.tokens, "most_gap": self.most_gap} if self.tokens else {})


@dataclass
class Reference:
    """A policy to stay near to, by a penalty on the divergence from it; none while its weight is 0."""

    weight: float = 0.0
    network: Network | None = None


def policy_loss(
    algorithm: Algorithm, replay: Replay, tally: Tally, reference: Reference
) -> Callable[[Network | Rated, PolicyBatch], Tensor]:
    """The algorithm's loss, plus the divergence from the reference by its unbiased, never negative estimate
    (Schulman 2020, "k3"), plus the cross-entropy of the labels of a head that is trained too."""

    def loss(model: Network | Rated, micro: PolicyBatch) -> Tensor:
        network = model.network if isinstance(model, Rated) else model
        hidden = network.hidden(micro.batch.ids, micro.batch.positions, micro.batch)
        logprobs = _logprobs(network, hidden, micro, replay.allowed)
        tally.add(logprobs, micro.sampled)
        losses = algorithm.token_losses(logprobs, micro.sampled, micro.advantages)
        if reference.weight and reference.network:
            with torch.no_grad():
                there = sampled_logprobs(reference.network, micro, replay.allowed)
            divergence = (there - logprobs).exp() - (there - logprobs) - 1
            tally.divergence += float(divergence.detach().sum())
            losses = losses + reference.weight * divergence
        total = (micro.weights * losses).sum()
        if isinstance(model, Rated):
            said, right, known = model.logits(hidden, micro.head), micro.head.labels, micro.head.known
            apart = F.binary_cross_entropy_with_logits(said, right, weight=known, reduction="sum")
            tally.label_loss, tally.labels = tally.label_loss + apart.item(), tally.labels + float(known.sum())
            total = total + apart
        return total

    return loss
