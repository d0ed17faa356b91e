"""Decoding on CUDA beside what the device could do at most: ``python -m benchmarks.gpu`` (some five minutes).

Random weights of ponder-base's size and of Qwen3-0.6B's, in bfloat16; whole steps (the grammar's masks, drawing at
temperature 1, the network) of 1 to 4,096 rows, by graphs and operation by operation, interleaved over the same caches.
The roofline of a step is the longer of its products at the best rate measured here and of its bytes at the best
bandwidth: weights and caches once, and logits written and read.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ceiling import Machine, filled, medians, times
from benchmarks.page import commit, table
from ponder.engine.decoder import Decoder, TorchDecoder
from ponder.engine.grammar import Grammar
from ponder.engine.graphs import GraphDecoder, uncaptured
from ponder.engine.kv_cache import Slots
from ponder.engine.rows import Begun, Rows
from ponder.engine.spans import token_bytes
from ponder.errors import SamplerError
from ponder.interfaces import Limit, Sampling
from ponder.model.device import DTYPES
from ponder.model.network import Network, new_network
from ponder.model.sizes import Shape, shape_named
from ponder.text.format import Place

RESULTS = Path(__file__).parent / "results" / "gpu.json"
QWEN = Shape(
    hidden_size=1024,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=3072,
    vocab_size=151_936,
)
SIZES = {"base": replace(shape_named("base"), vocab_size=1024), "qwen3-0.6b": QWEN}
BATCHES = (1, 64, 1024, 4096)
LENGTHS, MANY, SHORT = (40, 200), 2048, (8, 40)
"""Tokens of the rows before the first step, and where there are many, for their caches must fit."""
STEPS, WARM = 16, 2
"""Steps of one repetition, and repetitions before those that count: graphs are captured in the first."""
NO_CUDA = (
    "torch finds no CUDA device, which this measures: run it where there is one, or try the script itself with "
    "--device cpu --quick"
)


@dataclass(frozen=True)
class Cost:
    """What one step of a batch takes at least."""

    flops: float
    bytes: float

    @classmethod
    def of(cls, network: Network, lengths: Tensor) -> "Cost":
        """Of rows of these lengths."""
        shape, first, rows = network.shape, next(network.parameters()), len(lengths)
        weights, held = sum(parameter.numel() for parameter in network.parameters()), float(lengths.sum())
        attention = 4.0 * held * shape.num_hidden_layers * shape.num_attention_heads * shape.head_dim
        each, logits = first.element_size(), rows * shape.vocab_size
        read = each * weights + held * token_bytes(shape, first.dtype) + 2.0 * each * logits
        return cls(2.0 * weights * rows + attention, read)


@dataclass(eq=False)
class Batch:
    """Rows that decode, by whichever decoder: all of them step over the same caches."""

    network: Network
    slots: Slots
    rows: Rows
    grammar: Grammar

    @classmethod
    def of(cls, network: Network, count: int, lengths: tuple[int, int]) -> "Batch":
        """So many rows, of lengths in this range; none ends, whatever it writes."""
        device, size = next(network.parameters()).device, network.shape.vocab_size
        rows = Rows.none(device)
        rows.extend(count)
        limit = Limit(10**9, 10**9)
        rows.seat(range(count), [Begun(Place.ANSWER, limit, Sampling(1.0, seed=seed)) for seed in range(count)])
        slots = filled(network, count, (lengths[0], lengths[1]))
        slots.reserve(count, lengths[1] + STEPS + 1)
        batch = cls(network, slots, rows, Grammar.free((), (), size, size, device))
        batch.begin = slots.lengths.clone()
        batch.logits = torch.zeros(count, size, device=device)
        return batch

    def __post_init__(self) -> None:
        self.begin, self.logits = torch.zeros(0), torch.zeros(0)

    def steps(self, decoder: Decoder) -> None:
        """STEPS of all rows from where they began, as a scheduler makes them."""
        self.slots.lengths.copy_(self.begin)
        self.slots.changes += 1
        self.rows.drawn.zero_()
        logits = self.logits
        for _ in range(STEPS):
            tokens, _ = decoder.draw(self.rows, logits, self.grammar)
            _, logits = decoder.decode(tokens, self.slots, self.rows.active)
            self.slots.lengths += self.rows.active


def measure(network: Network, count: int, repeats: int, machine: Machine) -> dict[str, Any]:
    """One batch size of one network."""
    device = next(network.parameters()).device
    lengths = LENGTHS if count <= MANY else SHORT
    batch = Batch.of(network, count, lengths)
    decoders: dict[str, Decoder] = {
        "graphs": GraphDecoder(network, None if device.type == "cuda" else uncaptured),
        "torch": TorchDecoder(network, "operation by operation"),
    }
    ways: dict[str, Callable[[], object]] = {name: lambda d=one: batch.steps(d) for name, one in decoders.items()}
    start = time.perf_counter()
    times(ways, WARM)
    warm = time.perf_counter() - start
    spent = times(ways, repeats)
    flops, bandwidth = machine.rates(medians(machine.works, max(5, repeats)))
    cost = Cost.of(network, batch.begin + STEPS / 2)
    least = max(cost.flops / flops, cost.bytes / bandwidth)
    rates = {name: [count * STEPS / one for one in found] for name, found in spent.items()}
    ratios = [ours / theirs for ours, theirs in zip(rates["graphs"], rates["torch"], strict=True)]
    return {
        "tokens_a_second": {
            name: {"median": statistics.median(one), "min": min(one), "max": max(one)} for name, one in rates.items()
        },
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "roofline": count / least,
        "bound_by": "products" if cost.flops / flops > cost.bytes / bandwidth else "bytes",
        "share": statistics.median(rates["graphs"]) * least / count,
        "tflops_a_second": flops / 1e12,
        "gbytes_a_second": bandwidth / 1e9,
        **{f"step_{name}": value for name, value in asdict(cost).items()},
        "lengths": lengths,
        "repetitions": repeats,
        "warm_seconds": round(warm, 2),
        "peak_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
    }


def run(given: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    """All sizes and batches, as far as the time allows."""
    device, dtype, start = torch.device(given.device), DTYPES[given.dtype], time.monotonic()
    sizes = {"micro": replace(shape_named("micro"), vocab_size=300)} if given.quick else SIZES
    batches = (1, 8) if given.quick else given.rows or BATCHES
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "dtype": given.dtype, "commit": commit()}
    machine = Machine(device, dtype)
    for size, shape in sizes.items():
        if given.size and size not in given.size:
            continue
        network, found[size] = new_network(shape, 0).eval().to(device, dtype), dict[str, Any]()
        for count in batches:
            if time.monotonic() - start > given.limit:
                found[size][str(count)] = {"left_out": f"{given.limit:g} s were over"}
                continue
            try:
                found[size][str(count)] = measure(network, count, given.repeats, machine)
                note(_line(size, count, found[size][str(count)]))
            except (torch.OutOfMemoryError, SamplerError) as err:
                found[size][str(count)] = {"left_out": str(err).split("\n", 1)[0]}
                note(f"{size}, {count} rows: {err}")
            given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")  # whatever comes after it
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
        del network
    given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def _line(size: str, count: int, one: Mapping[str, Any]) -> str:
    graphs, plain = (one["tokens_a_second"][name]["median"] for name in ("graphs", "torch"))
    return (
        f"{size}, {count} rows: {graphs:,.0f} tokens/s by graphs, {plain:,.0f} without, roofline {one['roofline']:,.0f}"
    )


def told(found: Mapping[str, Any]) -> str:
    """The results as a table."""
    rows = list[list[str]]()
    for size, batches in found.items():
        for count, one in batches.items() if isinstance(batches, dict) else ():
            if "left_out" in one:
                rows.append([size, count, one["left_out"], "", "", "", ""])
                continue
            rates, ratio = one["tokens_a_second"], one["ratio"]
            rows.append(
                [
                    size,
                    count,
                    f"{rates['graphs']['median']:,.0f}",
                    f"{rates['torch']['median']:,.0f}",
                    f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})",
                    f"{one['roofline']:,.0f} ({one['bound_by']})",
                    f"{one['share']:.2f}",
                ]
            )
    return table(["size", "rows", "graphs, tokens/s", "torch, tokens/s", "ratio", "roofline", "share"], rows)


def main() -> None:
    """Measure, write the results, print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
    parser.add_argument("--size", action="append", choices=list(SIZES), help="only this; may be given again")
    parser.add_argument("--rows", action="append", type=int, help="only so many; may be given again")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=480.0, help="seconds after which no further batch begins")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="PATH")
    parser.add_argument("--quick", action="store_true", help="a tiny network and few rows: does the script run?")
    given = parser.parse_args()
    if not (given.quick if given.device == "cpu" else torch.cuda.is_available()):
        sys.exit(NO_CUDA)
    print(told(run(given, lambda text: print(text, file=sys.stderr, flush=True))))


if __name__ == "__main__":
    main()
