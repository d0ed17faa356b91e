"""The engine beside transformers' `generate`, and its cache layout beside pages: ``python -m benchmarks.engine``.

Same weights, prompts, folding and budgets, same threads, repetitions interleaved in one process: the ratios hold on a
noisy machine, the absolute rates are of this machine alone. `generate` cannot enforce the format and gives up a block
after LONGEST_BLOCK tokens; a chain without a closed block must answer then. About five minutes.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ponder.engine.kv_cache import Slots, Span
from ponder.engine.local import LocalSampler
from ponder.interfaces import Prefix
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.device import settle_decoding_threads
from ponder.model.network import Masked
from ponder.tasks import TASKS, make
from ponder.text.effort import BUDGETS
from ponder.text.format import BLOCKS, Mark, parse
from ponder.think import Request, think
from ponder.types import Effort, Ended, Message, Split

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "ponder-mini"
RESULTS = Path(__file__).parent / "results" / "engine.json"
REPEATS, PROMPTS, SAMPLES = 5, 64, 8
LONGEST_BLOCK = 128
PAGE = 16


def ours(checkpoint: Checkpoint, prompts: Sequence[str], samples: int, temperature: float) -> int:
    """Think about every prompt; returns the tokens sampled."""
    requests = [
        Request((Message("user", prompt),), temperature=temperature, seed=sample)
        for prompt in prompts
        for sample in range(samples)
    ]
    found = think(requests, LocalSampler(checkpoint))
    return sum(completion.tokens.thinking + completion.tokens.answer for completion in found)


class Theirs:
    """The same chains by `generate`: a wave extends every open chain by a block or its answer, then folds."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from transformers import AutoModelForCausalLM

        self.sampler = LocalSampler(checkpoint)  # only for its contexts
        self.tokenizer = checkpoint.tokenizer
        self.model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
        marker = {mark: self.tokenizer.special[piece.text] for mark, piece in BLOCKS.marker.items()}
        self.stops = [marker[Mark.END_BLOCK], marker[Mark.END]]

    def run(self, prompts: Sequence[str], samples: int, temperature: float) -> int:
        """Think about every prompt; returns the tokens sampled."""
        budget = BUDGETS[Effort.MEDIUM]
        chains = [Prefix((Message("user", prompt),), Effort.MEDIUM) for prompt in prompts for _ in range(samples)]
        spent, total = [0] * len(chains), 0
        open_chains = list(range(len(chains)))
        while open_chains:
            written = self._wave([self.sampler.context(chains[index]) for index in open_chains], temperature)
            going: list[int] = []
            for index, ids in zip(open_chains, written, strict=True):
                total, spent[index] = total + len(ids), spent[index] + len(ids)
                parsed = parse(self.tokenizer.decode(ids))
                chain = chains[index]
                if chain.answering or parsed.ended is Ended.ANSWERED:
                    continue
                answering = not parsed.blocks or spent[index] >= budget.thinking
                chains[index] = Prefix(chain.messages, chain.effort, (*chain.blocks, *parsed.blocks[:1]), answering)
                going.append(index)
            open_chains = going
        return total

    def _wave(self, contexts: Sequence[Sequence[int]], temperature: float) -> list[list[int]]:
        width, pad = max(map(len, contexts)), self.tokenizer.special["<|pad|>"]
        ids = torch.tensor([[pad] * (width - len(context)) + list(context) for context in contexts])
        real = torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context in contexts])
        drawing: dict[str, Any] = (
            {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        )
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=real,
                max_new_tokens=LONGEST_BLOCK,
                eos_token_id=self.stops,
                pad_token_id=pad,
                **drawing,
            )
        return [[token for token in row if token != pad] for row in out[:, width:].tolist()]


def compare(ways: dict[str, Callable[[], int]], repeats: int) -> dict[str, Any]:
    """Tokens per second of each way, interleaved, and the ratio of the first to the others."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            tokens = way()
            if repeat:  # the first one warms up
                rates[name].append(tokens / (time.perf_counter() - start))
    first, *others = ways
    ratios = {name: [mine / other for mine, other in zip(rates[first], rates[name], strict=True)] for name in others}
    return {
        "tokens_a_second": {name: round(statistics.median(found), 1) for name, found in rates.items()},
        "ratio": {
            name: {"median": statistics.median(found), "min": min(found), "max": max(found)}
            for name, found in ratios.items()
        },
        "repetitions": repeats,
    }


def layouts(checkpoint: Checkpoint, rows: int = 256, tokens: int = 128, repeats: int = 40) -> dict[str, float]:
    """Microseconds of one step's attention over slots, over gathered pages, and of copying one context into a slot."""
    shape, device = checkpoint.network.shape, torch.device("cpu")
    slots = Slots(shape, device)
    slots.reserve(rows, tokens + 1)
    slots.lengths[:] = tokens
    slots.prepare()
    heads, kv, dim = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
    query, new = torch.randn(rows, 1, heads, dim), torch.randn(rows, 1, kv, dim)
    pages = torch.randn(rows * tokens // PAGE, kv, PAGE, dim)
    table = torch.randperm(len(pages)).view(rows, -1)
    everything = torch.ones(rows, 1, 1, tokens, dtype=torch.bool)

    def gathered() -> Tensor:
        k, v = (pages[table].transpose(1, 2).reshape(rows, kv, tokens, dim) for _ in range(2))
        return Masked(everything)(0, query, k.transpose(1, 2), v.transpose(1, 2))

    span = Span(slots.keys[:, 0, :, :tokens].clone(), slots.values[:, 0, :, :tokens].clone())
    works: dict[str, Callable[[], object]] = {
        "slots": lambda: slots(0, query, new, new),
        "pages": gathered,
        "copy_a_context": lambda: slots.put(3, span),
    }
    spent: dict[str, list[float]] = {name: [] for name in works}
    with torch.inference_mode():
        for _ in range(repeats):
            for name, work in works.items():
                start = time.perf_counter()
                work()
                spent[name].append(1e6 * (time.perf_counter() - start))
    return {name: round(statistics.median(found), 1) for name, found in spent.items()}


def main() -> None:
    """Measure, write the results, print them."""
    checkpoint = load_checkpoint(MODEL)
    settle_decoding_threads("cpu", checkpoint.network.shape.hidden_size)
    names = list(TASKS)
    prompts = [make(TASKS[names[i % len(names)]], 2, Split.VALIDATION, i).prompt for i in range(PROMPTS)]
    theirs = Theirs(checkpoint)
    results = {
        "threads": torch.get_num_threads(),
        "rollouts": compare(
            {
                "ponder": lambda: ours(checkpoint, prompts, SAMPLES, 1.0),
                "transformers": lambda: theirs.run(prompts, SAMPLES, 1.0),
            },
            REPEATS,
        ),
        "one_stream": compare(
            {
                "ponder": lambda: ours(checkpoint, prompts[1:2], 1, 0.0),
                "transformers": lambda: theirs.run(prompts[1:2], 1, 0.0),
            },
            REPEATS,
        ),
        "microseconds": layouts(checkpoint),
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    Console().print_json(json.dumps(results))


if __name__ == "__main__":
    main()
