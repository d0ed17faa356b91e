"""Losses: functions of a network and a batch that give a sum over trained tokens."""

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
