"""What the head reads of rollouts where the trunk stands still: computed once, however often it is learned from."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ponder.errors import CheckpointError
from ponder.model.network import Network
from ponder.model.saving import saving
from ponder.reward.boundary import Judged
from ponder.train.batch import split_packed
from ponder.train.loop import DTYPES
from ponder.train.rated import Labelled, Rated, collate_rated, readings
from ponder.types import Rating


@dataclass(frozen=True)
class Reads:
    """R readings of one rollout, or of several."""

    hidden: Tensor
    """(R, hidden), the trunk's output."""
    doubts: Tensor
    """(R, DOUBTS)"""
    labels: Tensor
    """(R, 2), and `known` likewise: see `RatedBatch`."""
    known: Tensor
    trained: int

    @property
    def tokens(self) -> int:
        """Tokens that the head reads."""
        return len(self.hidden)

    def to(self, device: str) -> "Reads":
        """The readings on another device."""
        hidden, doubts, labels, known = (x.to(device) for x in (self.hidden, self.doubts, self.labels, self.known))
        return Reads(hidden, doubts, labels, known, self.trained)


def together(parts: Sequence[Reads]) -> Reads:
    """The readings of several rollouts as one micro-batch."""
    columns = zip(*((one.hidden, one.doubts, one.labels, one.known) for one in parts), strict=True)
    hidden, doubts, labels, known = map(torch.cat, columns)
    return Reads(hidden, doubts, labels, known, sum(one.trained for one in parts))


@torch.no_grad()
def read_all(
    model: Rated,
    rows: Sequence[Labelled],
    most_tokens: int,
    device: str,
    dtype: str = "float32",
    heard: Callable[[int, int], None] = lambda done, total: None,
) -> list[Reads]:
    """Each rollout's readings, in passes of at most so many tokens; `heard` is told how many rollouts are read."""
    found: dict[int, Reads] = {}
    for group in split_packed(range(len(rows)), lambda index: rows[index].row, most_tokens):
        micro = collate_rated([rows[index] for index in group]).to(device)
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "float32"):
            hidden = model.hidden(micro.batch)
        counts = [2 * (len(rows[index].labels) - 1) for index in group]  # before and after each segment
        columns = (F.embedding(micro.reads, hidden[0]).float(), micro.doubts, micro.labels, micro.known)
        parts = zip(group, *(column.cpu().split(counts) for column in columns), strict=True)
        found |= {index: Reads(h, d, labels, known, int(known.sum())) for index, h, d, labels, known in parts}
        heard(len(found), len(rows))
    return [found[index] for index in range(len(rows))]


def trunk_digest(network: Network) -> str:
    """What tells a trunk's weights from all others, as a few hexadecimal digits."""
    found = hashlib.blake2b(digest_size=8)
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def save_reads(reads: Sequence[Reads], path: Path, trunk: str, dtype: str) -> None:
    """Keep what a trunk says of rollouts; labels are not part of it."""
    part = path.with_name(path.name + ".part")
    hidden = [one.hidden for one in reads]
    tensors = {"hidden": torch.cat(hidden), "counts": torch.tensor([len(one) for one in hidden])}
    with saving(path, part):
        save_file(tensors, part, metadata={"trunk": trunk, "dtype": dtype})
        os.replace(part, path)


def load_reads(
    path: Path, rows: Sequence[Labelled], numbers: Sequence[int], trunk: str, dtype: str
) -> list[Reads] | None:
    """What such a file holds of the rollouts with these numbers, with the labels of `rows`; None where it is of another
    trunk or number format, or is not there. Raises CheckpointError for one that is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            if file.metadata() != {"trunk": trunk, "dtype": dtype}:
                return None
            parts = file.get_tensor("hidden").split(file.get_tensor("counts").tolist())
        return [_with_labels(parts[number], one) for number, one in zip(numbers, rows, strict=True)]
    except (OSError, SafetensorError, IndexError, ValueError) as err:
        raise CheckpointError(f"{path} is damaged ({err}): remove it, and the rollouts are read again") from err


def _with_labels(hidden: Tensor, one: Labelled) -> Reads:
    told = readings([one])
    if len(told.reads) != len(hidden):
        raise ValueError(f"{len(hidden)} readings where there should be {len(told.reads)}")
    return Reads(hidden, told.doubts, told.labels, told.known, int(told.known.sum()))


@torch.no_grad()
def judged(model: Rated, rows: Sequence[Labelled], reads: Sequence[Reads], device: str) -> list[Judged]:
    """What the head says of rollouts that have been read, beside their labels; in their order."""
    found: list[Judged] = []
    for one, read in zip(rows, reads, strict=True):
        said = model.head(read.hidden.to(device), read.doubts.to(device)).sigmoid().tolist()
        readings = [Rating(value, validity) for value, validity in said]
        found.append(Judged((readings[0], *readings[1::2]), one.labels, one.group))
    return found


def head_loss(model: Rated, micro: Reads) -> Tensor:
    """Binary cross-entropy summed over known labels."""
    with torch.autocast(micro.hidden.device.type, enabled=False):
        logits = model.head(micro.hidden, micro.doubts)
    return F.binary_cross_entropy_with_logits(logits, micro.labels, weight=micro.known, reduction="sum")
