"""From demonstrations to tensors: packed rows, and the mask that lets each block see what it saw when sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.text.format import Section
from ponder.text.tokenizer import PonderTokenizer


@dataclass(frozen=True)
class Row:
    """One completion, packed: ``prompt · block 1 · fold 1 · block 2 · …``."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    section: tuple[int, ...]
    """Which section each token belongs to."""
    sees: tuple[tuple[int, ...], ...]
    """Which sections each section sees, itself included."""
    trained: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """Rows of similar length, padded together: B rows of T tokens, of which N are trained."""

    ids: Tensor
    """(B, T)"""
    positions: Tensor
    """(B, T)"""
    mask: Tensor
    """(B, 1, T, T), True where a token may look."""
    predicting: Tensor
    """(N,), flat indices into B*T of the tokens whose next token is trained."""
    targets: Tensor
    """(N,)"""

    @property
    def tokens(self) -> int:
        """Tokens of the batch, padding included."""
        return self.ids.numel()


def pack(sections: Sequence[Section], tokenizer: PonderTokenizer) -> Row:
    """Encode sections into one row; a section's positions go on from the sections it sees."""
    ids: list[int] = []
    positions: list[int] = []
    section: list[int] = []
    trained: list[bool] = []
    lengths: list[int] = []
    for index, part in enumerate(sections):
        encoded = tokenizer.encode(part.pieces)
        start = sum(lengths[seen] for seen in part.sees)
        ids += encoded
        positions += range(start, start + len(encoded))
        section += [index] * len(encoded)
        trained += [part.trained] * len(encoded)
        lengths.append(len(encoded))
    sees = tuple((*part.sees, index) for index, part in enumerate(sections))
    return Row(tuple(ids), tuple(positions), tuple(section), sees, tuple(trained))


def collate(rows: Sequence[Row], pad: int) -> Batch:
    """Pad rows to the longest one. Padding sees only itself, and nothing sees it."""
    B, T = len(rows), max(map(len, rows))
    ids = torch.full((B, T), pad)
    positions = torch.zeros(B, T, dtype=torch.long)
    mask = torch.eye(T, dtype=torch.bool).repeat(B, 1, 1)
    trained = torch.zeros(B, T, dtype=torch.bool)
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    for b, row in enumerate(rows):
        n = len(row)
        ids[b, :n] = torch.tensor(row.ids)
        positions[b, :n] = torch.tensor(row.positions)
        trained[b, :n] = torch.tensor(row.trained)
        visible = torch.zeros(len(row.sees), len(row.sees), dtype=torch.bool)
        for index, seen in enumerate(row.sees):
            visible[index, list(seen)] = True
        section = torch.tensor(row.section)
        mask[b, :n, :n] = visible[section][:, section] & causal[:n, :n]
    targets_at = trained.view(-1).nonzero().squeeze(1)
    assert not trained[:, 0].any(), "a row begins with a prompt"
    return Batch(ids, positions, mask[:, None], targets_at - 1, ids.view(-1)[targets_at])


def split_by_length(rows: Sequence[Row], most_tokens: int) -> list[list[Row]]:
    """Rows sorted by length and cut into groups of at most `most_tokens` with padding, to waste little on it."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=len):
        if not groups or (len(groups[-1]) + 1) * len(row) > most_tokens:
            groups.append([])
        groups[-1].append(row)
    return groups
