"""Keys and values of a batch of rows that decode together."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.model.sizes import Shape

GROWTH = 64
"""Columns by which the buffers grow: memory follows what is generated, not what might be."""


class BatchCache:
    """One buffer a layer, (B, K, T, D); rows are compacted away as they finish. An `Attend` of the network.

    Prompts are padded on the left, so that every row writes its next token to the same column.
    """

    def __init__(self, shape: Shape, rows: int, device: torch.device) -> None:
        size = (shape.num_hidden_layers, rows, shape.num_key_value_heads, 0, shape.head_dim)
        self.keys = torch.zeros(size, device=device)
        self.values = torch.zeros(size, device=device)
        self.length = 0
        """Columns in use."""
        self.mask: Tensor | None = None
        """(B, 1, t, columns) for the tokens that come next, True where they may look; set before each forward."""

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Keep the new tokens' keys and values, and look at all columns that the mask allows."""
        end = self.length + keys.shape[1]
        if end > self.keys.shape[3]:
            self._grow(end + GROWTH)
        self.keys[layer, :, :, self.length : end] = keys.transpose(1, 2)
        self.values[layer, :, :, self.length : end] = values.transpose(1, 2)
        k, v = self.keys[layer, :, :, :end], self.values[layer, :, :, :end]
        q = queries.transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, enable_gqa=True).transpose(1, 2)

    def _grow(self, tokens: int) -> None:
        """Make room for that many columns; blocks are short, so this is rare."""
        more = tokens - self.keys.shape[3]
        self.keys = F.pad(self.keys, (0, 0, 0, more))
        self.values = F.pad(self.values, (0, 0, 0, more))

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        self.keys = self.keys[:, rows]
        self.values = self.values[:, rows]
