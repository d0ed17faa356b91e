"""How fast demonstrations are made and trained on: ``make bench`` (about three minutes, on an otherwise idle machine).

Variants of one training step run interleaved in one process on the same rows, so that their ratios hold on a noisy
machine; absolute rates are of this machine alone. Then a short real run tells how long the trainer waits for data.
"""

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from ponder.interfaces import Data, Task
from ponder.model.network import Masked, Network, new_network
from ponder.model.sizes import shape_named
from ponder.runs import Run
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.text.tokenizer import PonderTokenizer, train_tokenizer
from ponder.train.batch import Batch, Row, collate, split_by_prompt
from ponder.train.losses import cross_entropy
from ponder.train.sft import SFTConfig, corpus, run_sft, step_rows
from ponder.types import Split, Style

RESULTS = Path(__file__).parent / "results" / "sft.json"
REPEATS = 5


def milliseconds_a_demonstration(task: Task, level: int = 2, n: int = 200) -> float:
    """Mean time to make one problem and one clean demonstration of it."""
    start = time.perf_counter()
    for index in range(n):
        problem = make(task, level, Split.TRAIN, index)
        task.demonstrate(problem, rng_for("bench", index), Style.CLEAN)
    return 1e3 * (time.perf_counter() - start) / n


def masked_loss(network: Network, rows: Sequence[Row]) -> Tensor:
    """The same loss on padded rows with one mask over the whole row: what packing without groups would cost."""
    longest = max(map(len, rows))
    ids, positions = torch.zeros(2, len(rows), longest, dtype=torch.long)
    mask = torch.eye(longest, dtype=torch.bool).repeat(len(rows), 1, 1)
    trained = torch.zeros(len(rows), longest, dtype=torch.bool)
    for b, row in enumerate(rows):
        ids[b, : len(row)], positions[b, : len(row)] = torch.tensor(row.ids), torch.tensor(row.positions)
        for (start, end), sees, learned in zip(row.sections, row.sees, row.trained, strict=True):
            trained[b, start:end] = learned
            mask[b, start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
            for seen in sees:
                mask[b, start:end, slice(*row.sections[seen])] = True
    hidden = network.hidden(ids, positions, Masked(mask[:, None]))
    at = trained.nonzero(as_tuple=True)
    logits = network.logits(hidden[at[0], at[1] - 1])
    return F.cross_entropy(logits.float(), ids[at], reduction="sum")


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def training_step(network: Network, loss: Callable[[], Tensor], bfloat16: bool) -> Callable[[], None]:
    """Forward and backward of one micro-batch."""

    def work() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            value = loss()
        value.backward()
        network.zero_grad(set_to_none=True)

    return work


def compare(size: str, tokenizer: PonderTokenizer) -> Data:
    """Tokens a second of each variant, and its speed as a ratio to the first, median of interleaved repeats."""
    rows = split_by_prompt(step_rows(SFTConfig(), tokenizer, 0), 8192)[0]
    network = new_network(replace(shape_named(size), vocab_size=tokenizer.size), 0)
    batch: Batch = collate(rows)
    variants = {
        "grouped bfloat16": training_step(network, lambda: cross_entropy(network, batch), True),
        "grouped float32": training_step(network, lambda: cross_entropy(network, batch), False),
        "masked rows bfloat16": training_step(network, lambda: masked_loss(network, rows), True),
        "masked rows float32": training_step(network, lambda: masked_loss(network, rows), False),
    }
    for work in variants.values():
        work()  # the first call compiles
    times = {name: [] for name in variants}
    for _ in range(REPEATS):
        for name, work in variants.items():
            times[name].append(seconds(work))
    first = times["grouped bfloat16"]
    tokens = sum(map(len, rows))
    return {
        name: {
            "tokens_per_second": round(tokens / statistics.median(found)),
            "slower_than_grouped_bfloat16": [round(a / b, 2) for a, b in zip(found, first, strict=True)],
        }
        for name, found in times.items()
    }


def a_real_run(size: str, steps: int) -> Data:
    """Throughput of the whole loop, workers included, and the share of time spent waiting for them."""
    with tempfile.TemporaryDirectory() as folder:
        run_sft(SFTConfig(size=size, steps=steps, rows=48, dtype="bfloat16"), Path(folder) / "run")
        records = Run(Path(folder) / "run").metrics()
    first, last = records[len(records) // 2], records[-1]
    spent = last["seconds"] - first["seconds"]
    return {
        "tokens_per_second": round((last["tokens"] - first["tokens"]) / spent),
        "trained_tokens_per_second": round((last["trained"] - first["trained"]) / spent),
        "waiting_share": round((last["waited"] - first["waited"]) / spent, 4),
    }


def main() -> None:
    """Measure everything and write the results."""
    console = Console()
    tokenizer = train_tokenizer(corpus(SFTConfig(), rows=2000), 1024)
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "milliseconds_a_demonstration": {
            name: round(milliseconds_a_demonstration(task), 2) for name, task in TASKS.items()
        },
        "training_step": {size: compare(size, tokenizer) for size in ("mini", "base")},
        "real_run": {"mini": a_real_run("mini", 60)},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print_json(data=result)
    console.print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
