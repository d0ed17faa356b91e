"""Device, number format and threads, chosen once for a run: one that goes on must compute alike."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ponder.model.device import pick_device, pick_dtype
from ponder.runs import Run, read_json, write_whole


@dataclass(frozen=True)
class Computing:
    """How a run computes, and why."""

    chosen: Mapping[str, str | int]
    """``device``, ``dtype`` and ``threads``."""
    reason: str


def settle(device: str, dtype: str, threads: int, hidden: int, run: Run) -> Computing:
    """What the run computes with, from its folder or chosen now; sets the number of threads."""
    path = run.folder / "settled.json"
    if not path.exists():
        on = pick_device(device)
        format = pick_dtype(on.value, hidden, dtype)
        count = threads or os.cpu_count() or 1
        reason = f"device {on.value}: {on.reason}; dtype {format.value}: {format.reason}; threads {count}"
        chosen = {"device": on.value, "dtype": format.value, "threads": count, "reason": reason}
        write_whole(path, json.dumps(chosen, indent=2) + "\n")
    chosen = read_json(path)
    reason = chosen.pop("reason")
    torch.set_num_threads(chosen["threads"])
    return Computing(chosen, reason)
