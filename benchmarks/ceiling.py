"""What this machine could do at most with a decoding step, and how near the engine comes to it."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ponder.engine.decoder import decoder_for
from ponder.engine.kv_cache import Slots
from ponder.engine.spans import Span, token_bytes
from ponder.model.checkpoint import Checkpoint
from ponder.model.network import Network

ROWS, LENGTHS = 256, (40, 200)
"""Rows, and the range of their lengths: those of real contexts."""
REPEATS = 40
REST = 0.02
"""Seconds before each measurement: a thread of OpenMP's that has done its part of one spins for some 5 ms, on the core
that the next one needs (a step of two threads took as long as one of one thread)."""
PAGE = 16
CPU = torch.device("cpu")


def times(works: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Seconds of each work, interleaved; on CUDA until the device has done it."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    with torch.inference_mode():
        for _ in range(repeats):
            for name, work in works.items():
                time.sleep(REST)
                wait()
                start = time.perf_counter()
                work()
                wait()
                spent[name].append(time.perf_counter() - start)
    return spent


def medians(works: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each work, interleaved."""
    return {name: statistics.median(found) for name, found in times(works, repeats).items()}


class Machine:
    """What is timed to know a device's best rates."""

    def __init__(self, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> None:
        self.size, count = (1024, 2**26) if device.type == "cpu" else (8192, 2**28)
        left, right = torch.randn(2, self.size, self.size, dtype=dtype, device=device)
        big = torch.randn(count, device=device)
        self.bytes = big.nbytes
        self.works: dict[str, Callable[[], object]] = {"product": lambda: left @ right, "reading": lambda: big.sum()}

    def rates(self, seconds: Mapping[str, float]) -> tuple[float, float]:
        """Operations and bytes a second."""
        return 2 * self.size**3 / seconds["product"], self.bytes / seconds["reading"]


def ceiling(checkpoint: Checkpoint) -> dict[str, float]:
    """One step of 256 rows beside the time of its products at the best rate and of its cache at full bandwidth."""
    network = checkpoint.network
    slots, decoder = filled(network, ROWS, LENGTHS), decoder_for(network)
    tokens, active = torch.zeros(ROWS, dtype=torch.long), torch.ones(ROWS, dtype=torch.bool)
    machine = Machine()
    found = medians({"step": lambda: decoder.decode(tokens, slots, active), **machine.works})
    weights = sum(parameter.numel() for parameter in network.parameters())
    flops, read = 2.0 * weights * ROWS, float(slots.lengths.sum()) * token_bytes(network.shape)
    rate, bandwidth = machine.rates(found)
    least = flops / rate + read / bandwidth  # products and reading take turns on the same cores
    return {
        "tokens_a_second": ROWS / found["step"],
        "ceiling": ROWS / least,
        "share": least / found["step"],
        "gflops_a_second": rate / 1e9,
        "gbytes_a_second": bandwidth / 1e9,
        "gflops": flops / 1e9,
        "gbytes": read / 1e9,
    }


def filled(network: Network, rows: int, lengths: tuple[int, int]) -> Slots:
    """Slots with rows of random lengths, sorted."""
    first = next(network.parameters())
    slots = Slots(network.shape, first.device, first.dtype)
    slots.reserve(rows, lengths[1] + 1)
    drawn = torch.randint(*lengths, (rows,), generator=torch.Generator().manual_seed(0)).sort().values
    slots.lengths = drawn.to(first.device)
    return slots


def layouts(checkpoint: Checkpoint, rows: int = 256, tokens: int = 128) -> dict[str, float]:
    """Microseconds of one layer's attention over slots, over gathered pages, and of copying one context into a slot."""
    shape = checkpoint.network.shape
    slots = Slots(shape, CPU)
    slots.reserve(rows, tokens + 1)
    slots.lengths[:] = tokens - 1
    slots.prepare()
    heads, kv, dim = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
    query, new = torch.randn(rows, 1, heads, dim), torch.randn(rows, 1, kv, dim)
    pages = torch.randn(rows * tokens // PAGE, kv, PAGE, dim)
    table = torch.randperm(len(pages)).view(rows, -1)

    def gathered() -> Tensor:
        k, v = (pages[table].transpose(1, 2).reshape(rows, kv, tokens, dim) for _ in range(2))
        return F.scaled_dot_product_attention(query.view(rows, kv, -1, dim), k, v)

    span = Span(slots.keys[:, 0, :, :tokens].clone(), slots.values[:, 0, :, :tokens].clone())
    works: dict[str, Callable[[], object]] = {
        "slots": lambda: slots(0, query, new, new),
        "pages": gathered,
        "copy_a_context": lambda: slots.put(3, span),
    }
    return {name: round(1e6 * seconds, 1) for name, seconds in medians(works).items()}
