"""Which device and number format to compute in, with the reason, so that it can be said once, plainly."""

import time
from typing import NamedTuple

import torch

from ponder.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WIDE = 512
"""From this hidden size on, a decoding step is worth more than one CPU thread."""


class Pick(NamedTuple):
    """A choice and why."""

    value: str
    reason: str


def pick_device(wanted: str = "auto") -> Pick:
    """The device to compute on: what was asked for, else CUDA if there is one."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return Pick("cuda", f"found {torch.cuda.get_device_name()}")
        return Pick("cpu", "no CUDA device was found")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch finds no CUDA device: use --device cpu")
    if wanted not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device {wanted!r}: the devices are auto, cpu, cuda")
    return Pick(wanted, "asked for")


def pick_dtype(device: str, hidden: int, wanted: str = "auto") -> Pick:
    """The number format of the matrix products in training: what was asked for, else the faster one, timed."""
    if wanted != "auto":
        return _asked_for(wanted)
    if device == "cuda":
        return Pick("bfloat16", "CUDA devices of the last years multiply it fastest")
    seconds = {name: _matmul_seconds(dtype, hidden) for name, dtype in DTYPES.items()}
    fastest = min(seconds, key=lambda name: seconds[name])
    other = max(seconds, key=lambda name: seconds[name])
    return Pick(fastest, f"its products took {seconds[fastest] / seconds[other]:.2f} of {other}'s time here")


def pick_sampling_dtype(device: str, wanted: str = "auto") -> Pick:
    """The number format that a network's weights and caches have where it only samples: what was asked for, else the
    one that the device decodes fastest in."""
    if wanted != "auto":
        return _asked_for(wanted)
    if device == "cuda":
        return Pick("bfloat16", "a step reads half as much as in float32, and multiplies faster")
    return Pick("float32", "the compiled kernels compute in it")


def _asked_for(dtype: str) -> Pick:
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype {dtype!r}: the dtypes are auto, {', '.join(DTYPES)}")
    return Pick(dtype, "asked for")


def spare_bytes(device: str) -> int:
    """Memory that caches may take on a device of its own: a third of what is free, for graphs round it up, and growing
    takes as much again for a moment; 0 on a CPU."""
    return torch.cuda.mem_get_info()[0] // 3 if device == "cuda" else 0


def settle_decoding_threads(device: str, hidden: int) -> None:
    """Let a CPU decode a narrow network with one thread.

    Two that wait for each other at every small product are at best a little faster, and ten times slower as soon as
    another program wants a core.
    """
    if narrow(device, hidden):
        torch.set_num_threads(1)


def narrow(device: str, hidden: int) -> bool:
    """Whether a network is too narrow for several threads to decode together."""
    return device == "cpu" and hidden < WIDE


def _matmul_seconds(dtype: torch.dtype, hidden: int) -> float:
    left = torch.ones(4096, hidden, dtype=dtype)
    right = torch.ones(hidden, 4 * hidden, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return best
