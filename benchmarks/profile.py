"""Where a workload's time goes: kernels, reading contexts, ratings, and the Python around them."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

from ponder.engine.native import drawing
from ponder.engine.native.decoder import NativeDecoder
from ponder.engine.reader import Reader

WATCHED: tuple[tuple[str, Any, str], ...] = (
    ("prefill", NativeDecoder, "read"),
    ("kernels", NativeDecoder, "run"),
    ("kernels", drawing, "step"),
    ("ratings", Reader, "rate"),
)
"""What is watched, and as what it counts; within another one it counts as that."""


def profile(work: Callable[[], object], repeats: int = 5) -> dict[str, float]:
    """Shares of the time of a workload, which runs in this process alone, and its seconds: medians; the first run
    warms up."""
    runs = [_once(work) for _ in range(repeats + 1)][1:]
    return {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}


def _once(work: Callable[[], object]) -> dict[str, float]:
    spent, inside = defaultdict[str, float](float), list[str]()

    def watch(label: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            if inside:
                return call(*given, **named)
            inside.append(label)
            start = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                spent[label] += time.perf_counter() - start
                inside.pop()

        return timed

    patches = [patch.object(owner, name, watch(label, getattr(owner, name))) for label, owner, name in WATCHED]
    for one in patches:
        one.start()
    try:
        start = time.perf_counter()
        work()
        total = time.perf_counter() - start
    finally:
        for one in patches:
            one.stop()
    shares = {label: spent[label] / total for label in ("kernels", "prefill", "ratings")}
    return {"seconds": total, **shares, "python": 1 - sum(shares.values())}


def told(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """A table of profiles: of each size, of each workload."""
    shares = ("kernels", "prefill", "ratings", "python")
    return [
        "| where the time goes (one process) | seconds | kernels | prefill | ratings | Python |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {size}, {label} | {one['seconds']:.2f} | "
            + " | ".join(f"{100 * one[share]:.0f} %" for share in shares)
            + " |"
            for size, profiles in found.items()
            for label, one in profiles.items()
        ),
    ]
