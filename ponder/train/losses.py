"""Losses: functions of a network and a batch that give a sum over trained tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.model.network import Network
from ponder.train.batch import IGNORED, Batch


def cross_entropy(network: Network, batch: Batch) -> Tensor:
    """Summed negative log-probability of the trained tokens, in nats."""
    return token_loss(network, network.hidden(batch.ids, batch.positions, batch), batch)


def token_loss(network: Network, hidden: Tensor, batch: Batch) -> Tensor:
    """The same, from the trunk's output (1, N, hidden)."""
    chosen = F.embedding(batch.predicting, hidden[0])
    return F.cross_entropy(network.logits(chosen).float(), batch.targets, ignore_index=IGNORED, reduction="sum")


def clipped_surrogate(logprobs: Tensor, sampled: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """The clipped surrogate (Schulman et al. 2017) of (n,) tokens, to be minimised; `high` is how far it follows
    upwards, more of which keeps unlikely tokens alive (Yu et al. 2025, "DAPO")."""
    ratio = (logprobs - sampled).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
