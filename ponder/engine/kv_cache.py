"""Keys and values of a batch of rows that decode together."""

import torch
from torch import Tensor

from ponder.model.sizes import Shape


class BatchCache:
    """One buffer a layer, (B, H, T, D); rows are compacted away as they finish.

    Prompts are padded on the left, so that every row writes its next token to the same column.
    """

    def __init__(self, shape: Shape, rows: int, tokens: int, device: torch.device) -> None:
        size = (shape.num_hidden_layers, rows, shape.num_key_value_heads, tokens, shape.head_dim)
        self.keys = torch.zeros(size, device=device)
        self.values = torch.zeros(size, device=device)
        self.length = 0
        """Columns in use."""

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write new (B, H, t, D) keys and values after the columns in use; returns all columns up to them."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        self.keys = self.keys[:, rows]
        self.values = self.values[:, rows]
