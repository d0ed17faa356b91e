"""An `Attend` for contexts that are read together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.engine.spans import Span


class Reading:
    """Contexts being read together, each behind a span that is known. An `Attend` of the network.

    Known parts are padded to P columns, the n rows of new tokens to w; what follows a row's last token is not used.
    """

    def __init__(self, known: Sequence[Span], new: Sequence[int]) -> None:
        width, past = max(new), max(span.tokens for span in known)
        device = known[0].keys.device
        self.new = tuple(new)
        self._known = [
            torch.stack([F.pad(half(span), (0, 0, 0, past - span.tokens)) for span in known], dim=1)
            for half in (lambda span: span.keys, lambda span: span.values)
        ]
        behind = torch.tensor([span.tokens for span in known], device=device)
        columns = torch.arange(width, device=device)
        seen = torch.arange(past, device=device) < behind[:, None]
        causal = (columns[:, None] >= columns).expand(len(known), -1, -1)
        self._mask = torch.cat((seen[:, None, :].expand(-1, width, -1), causal), dim=2)[:, None]
        ends = torch.tensor(self.new, device=device)[:, None] - 1
        self.positions = behind[:, None] + torch.minimum(columns, ends)
        """(n, w); padding stands at its row's last place, since some networks know no position beyond their window."""
        layers, _, heads, _, dim = self._known[0].shape
        size, dtype = (layers, len(known), heads, width, dim), known[0].keys.dtype
        self._new = [torch.zeros(size, dtype=dtype, device=device) for _ in range(2)]

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Look at what is known and at the new tokens before one's own."""
        new = keys.transpose(1, 2), values.transpose(1, 2)
        for kept, x in zip(self._new, new, strict=True):
            kept[layer] = x  # a copy: the tensor that it is a part of can go
        k, v = (torch.cat((known[layer].to(x.dtype), x), dim=2) for known, x in zip(self._known, new, strict=True))
        q = queries.transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask, enable_gqa=True).transpose(1, 2)

    def spans(self) -> list[Span]:
        """What was read, a span for each row, once the network has gone through."""
        keys, values = self._new
        return [Span(keys[:, row, :, :t], values[:, row, :, :t]) for row, t in enumerate(self.new)]
