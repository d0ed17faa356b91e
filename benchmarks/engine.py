"""The engine beside what people would use instead: ``python -m benchmarks.engine`` (about forty minutes, nothing else
running).

Same weights, prompts, folding, stop rules and threads; repetitions interleaved in one run, so that the ratios hold on a
noisy machine while the absolute rates are of this machine alone. Each peer runs in its own environment
(`benchmarks.peers`) and is timed by its own clock, without the time to send orders. Peers cannot enforce the format and
give a block up after LONGEST_BLOCK tokens; a chain without a closed block must answer then. For base there is a network
that was shown the format for a quarter of an hour: its blocks and chains have real lengths, whatever its answers are.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.ceiling import ceiling, layouts
from benchmarks.page import begin, commit
from benchmarks.peers.client import PEERS, Peer, installed
from benchmarks.profile import profile, told
from ponder.engine.local import LocalSampler
from ponder.engine.parallel import ParallelSampler
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.heads import new_head
from ponder.tasks import TASKS, make
from ponder.text.effort import BUDGETS
from ponder.text.format import BLOCKS, Mark, parse
from ponder.think import Request, think
from ponder.types import Effort, Ended, Message, Split

ROOT = Path(__file__).parents[1]
MODELS = {
    "mini": ROOT / "models" / "ponder-mini",
    "base": ROOT / "runs" / "ponder-base-brief" / "checkpoint",  # by recipes/ponder-base-brief.yaml
}
RESULTS = Path(__file__).parent / "results" / "engine.json"
GOALS = {
    "rollouts": {"generate": 6.0, "continuous": 12.0, "llama": 3.0},
    "one_stream": {"generate": 4.0, "llama": 0.5},
    "tree": {"generate": 8.0},
}
PROMPTS, SAMPLES = 64, 8
LONGEST_BLOCK = 128
CANDIDATES, DEPTH, TREE_PROMPT = 16, 4, 200
Way = Callable[[], tuple[int, float]]
"""Does a workload; returns the tokens sampled and the seconds they took."""


# --- one workload, ours and theirs ---------------------------------------------------------------------------------


def timed(work: Callable[[], int]) -> tuple[int, float]:
    """Tokens and seconds of a workload in this process."""
    start = time.perf_counter()
    tokens = work()
    return tokens, time.perf_counter() - start


def our_chains(
    sampler: LocalSampler | ParallelSampler, prompts: Sequence[str], effort: Effort, temperature: float
) -> int:
    """Think about every prompt, with nothing known of them; returns the tokens sampled."""
    sampler.refresh()
    samples = SAMPLES if temperature else 1
    requests = [
        Request((Message("user", prompt),), effort, temperature, seed=sample)
        for prompt in prompts
        for sample in range(samples)
    ]
    found = think(requests, sampler)
    return sum(completion.tokens.thinking + completion.tokens.answer for completion in found)


def their_chains(
    peer: Peer, sampler: LocalSampler, prompts: Sequence[str], effort: Effort, temperature: float
) -> tuple[int, float]:
    """The same chains by a peer: a wave extends every open chain by a block or its answer, then folds."""
    tokenizer, budget = sampler.checkpoint.tokenizer, BUDGETS[effort]
    samples = SAMPLES if temperature else 1
    chains = [Prefix((Message("user", prompt),), effort) for prompt in prompts for _ in range(samples)]
    spent, total, seconds = [0] * len(chains), 0, 0.0
    going, wave = list(range(len(chains))), 0
    peer.forget()
    while going:
        contexts = [list(sampler.context(chains[index])) for index in going]
        found = peer.generate(contexts, stops(sampler.checkpoint), LONGEST_BLOCK, temperature, seed=wave)
        seconds, wave, still = seconds + found.seconds, wave + 1, list[int]()
        for index, ids in zip(going, found.ids, strict=True):
            total, spent[index] = total + len(ids), spent[index] + len(ids)
            parsed, chain = parse(tokenizer.decode(ids)), chains[index]
            if chain.answering or parsed.ended is Ended.ANSWERED:
                continue
            answering = not parsed.blocks or spent[index] >= budget.thinking
            chains[index] = replace(chain, blocks=(*chain.blocks, *parsed.blocks[:1]), answering=answering)
            still.append(index)
        going = still
    return total, seconds


def stops(checkpoint: Checkpoint) -> list[int]:
    """The ids at which a peer's extension ends."""
    return [checkpoint.tokenizer.special[BLOCKS.marker[mark].text] for mark in (Mark.END_BLOCK, Mark.END)]


def our_tree(checkpoint: Checkpoint, prompt: str) -> int:
    """CANDIDATES blocks at a time, the best rated one kept (or the first, without a head), DEPTH times."""
    sampler = LocalSampler(checkpoint)

    async def search() -> int:
        prefix, total = Prefix((Message("user", prompt),), Effort.MEDIUM), 0
        for depth in range(DEPTH):
            samplings = [Sampling(1.0, seed=CANDIDATES * depth + i) for i in range(CANDIDATES)]
            found = await sampler.extend(prefix, Limit(LONGEST_BLOCK, 8), samplings)
            total += sum(len(one.segment.generated) for one in found)
            prefix = replace(prefix, blocks=(*prefix.blocks, *_best(found)))
        return total

    return asyncio.run(search())


def _best(found: Sequence[Extension]) -> list[Any]:
    rated = [one for one in found if one.block]
    return [max(rated, key=lambda one: one.rating.value if one.rating else 0.0).block] if rated else []


def their_tree(peer: Peer, sampler: LocalSampler, prompt: str) -> tuple[int, float]:
    """The same with a peer, and a separate reward model of the same size that reads every candidate from its prompt."""
    prefix, total, seconds = Prefix((Message("user", prompt),), Effort.MEDIUM), 0, 0.0
    peer.forget()
    for depth in range(DEPTH):
        context = list(sampler.context(prefix))
        found = peer.generate([context] * CANDIDATES, stops(sampler.checkpoint), LONGEST_BLOCK, 1.0, seed=depth)
        total += sum(map(len, found.ids))
        seconds += found.seconds + peer.score([[*context, *ids] for ids in found.ids])
        for ids in found.ids:
            if blocks := parse(sampler.checkpoint.tokenizer.decode(ids)).blocks:
                prefix = replace(prefix, blocks=(*prefix.blocks, blocks[0]))
                break
    return total, seconds


# --- measuring -----------------------------------------------------------------------------------------------------


def compare(ways: Mapping[str, Way], repeats: int, note: Callable[[str], None]) -> dict[str, Any]:
    """Tokens per second of each way, interleaved, and the ratio of the first to the others."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            tokens, seconds = way()
            note(f"  {repeat}/{repeats} {name}: {tokens:,} tokens in {seconds:.1f} s")
            if repeat:  # the first one warms up
                rates[name].append(tokens / seconds)
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


@contextlib.contextmanager
def peers(model: Path, threads: int, names: Sequence[str]) -> Generator[dict[str, Peer]]:
    """The peers that are installed, with this model loaded."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Peer(name, model, threads)) for name in names if installed(name)}


def measured(
    model: Path, threads: int, repeats: int, names: Sequence[str], note: Callable[[str], None]
) -> dict[str, Any]:
    """All workloads, with the lengths at which this model stops; without its head, which peers have not."""
    checkpoint = replace(load_checkpoint(model), head=None)
    sampler, tasks = LocalSampler(checkpoint), list(TASKS)
    prompts = [make(TASKS[tasks[i % len(tasks)]], 2, Split.VALIDATION, i).prompt for i in range(PROMPTS)]
    long = [make(TASKS["program"], 3, Split.VALIDATION, i).prompt for i in range(200)]
    tree = min(
        long, key=lambda p: abs(len(sampler.context(Prefix((Message("user", p),), Effort.MEDIUM))) - TREE_PROMPT)
    )
    found: dict[str, Any] = {}
    with ParallelSampler(checkpoint, threads) as in_processes, peers(model, threads, names) as others:
        found["versions"] = {name: f"{peer.engine} {peer.version}" for name, peer in others.items()}
        for label, some, effort, temperature in (
            ("one_stream", prompts[1:2], Effort.MEDIUM, 0.0),
            ("rollouts", prompts, Effort.MINIMAL, 1.0),
        ):
            note(label)
            ours: dict[str, LocalSampler | ParallelSampler] = {"ponder": sampler}
            if temperature:  # one stream has nothing to share out
                ours = {"ponder": in_processes, "ponder, one process": sampler}
            ways: dict[str, Way] = {
                name: lambda o=one, s=some, e=effort, t=temperature: timed(lambda: our_chains(o, s, e, t))
                for name, one in ours.items()
            }
            for name, peer in others.items():
                ways[name] = lambda p=peer, s=some, e=effort, t=temperature: their_chains(p, sampler, s, e, t)
            found[label] = compare(ways, repeats, note)
        note("tree")
        found["tree"] = trees(checkpoint, tree, others, 3 * repeats, note)
    rated = with_head(checkpoint)
    found["profile"] = {
        "one_stream": profile(lambda: our_chains(sampler, prompts[1:2], Effort.MEDIUM, 0.0)),
        "rollouts": profile(lambda: our_chains(sampler, prompts, Effort.MINIMAL, 1.0), repeats=1),
        "tree": profile(lambda: our_tree(rated, tree)),
    }
    found["decode_256"] = ceiling(checkpoint)
    found["microseconds"] = layouts(checkpoint)
    found["memory_512_rows"] = peak(checkpoint, prompts)
    return found


def with_head(checkpoint: Checkpoint) -> Checkpoint:
    """The same with a head of random weights, which rates at the same cost as any other."""
    return replace(checkpoint, head=new_head(checkpoint.network.shape.hidden_size))


def trees(
    checkpoint: Checkpoint, prompt: str, others: Mapping[str, Peer], repeats: int, note: Callable[[str], None]
) -> dict[str, Any]:
    """The rated tree beside the same tree without ratings, and beside a peer with a reward model of its own."""
    sampler, rated = LocalSampler(checkpoint), with_head(checkpoint)
    ways: dict[str, Way] = {
        "ponder": lambda: timed(lambda: our_tree(rated, prompt)),
        "unrated": lambda: timed(lambda: our_tree(checkpoint, prompt)),
    }
    if "generate" in others:
        ways["generate"] = lambda: their_tree(others["generate"], sampler, prompt)
    return compare(ways, repeats, note)


def peak(checkpoint: Checkpoint, prompts: Sequence[str]) -> dict[str, int]:
    """Most bytes of caches while 512 chains think, with the budget as it comes and with half of what that took."""

    def most(budget: int | None) -> dict[str, int]:
        sampler = LocalSampler(checkpoint) if budget is None else LocalSampler(checkpoint, most_bytes=budget)
        seen, step = 0, sampler.scheduler.step

        def watched() -> None:
            nonlocal seen
            step()
            seen = max(seen, sampler.scheduler.bytes)

        sampler.scheduler.step = watched
        think([Request((Message("user", p),), temperature=1.0, seed=s) for p in prompts for s in range(8)], sampler)
        return {"budget": sampler.most_bytes, "peak": seen, "begun_again": sampler.scheduler.evicted}

    free = most(None)
    small = most(max(free["peak"] // 2, 2**25))
    return {**free, **{f"small_{name}": value for name, value in small.items()}}


# --- what was found ------------------------------------------------------------------------------------------------


def table(found: Mapping[str, Any]) -> str:
    """The Markdown page of the results."""
    lines = [
        "# Measurements",
        "",
        "`make bench` writes `results/*.json` and this page. Ratios are Ponder's tokens per second over the peer's, in",
        "one run with interleaved repetitions: median (min–max).",
        "",
        f"{found['threads']} threads, {found['machine']}, torch {torch.__version__}.",
        "",
        "| workload | ponder, tokens/s | peer | tokens/s | ratio | goal |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for size in MODELS:
        for label, one in found[size].items():
            if not isinstance(one, dict) or "ratio" not in one:
                continue
            mine = one["tokens_a_second"]["ponder"]
            for name, ratio in one["ratio"].items():
                goal = f"≥ {GOALS[label][name]:g}" if name in GOALS.get(label, {}) else "–"
                lines.append(
                    f"| {size}, {label} | {mine:,.0f} | {name} | {one['tokens_a_second'][name]:,.0f} | "
                    f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f}) | {goal} |"
                )
    for size in MODELS:
        one = found[size]["decode_256"]
        lines.append(
            f"| {size}, decode 256 rows | {one['tokens_a_second']:,.0f} | ceiling of this machine | "
            f"{one['ceiling']:,.0f} | {one['share']:.2f} | ≥ 0.5 |"
        )
    lines += ["", *told({size: found[size].get("profile", {}) for size in MODELS}), ""]
    lines += [remembered(size, found[size]["memory_512_rows"]) for size in MODELS]
    layout = found["mini"]["microseconds"]
    lines += [
        "",
        "Why rows stand in slots and not in pages: with torch, one layer's attention of 256 rows takes "
        f"{layout['slots']:,.0f} µs over slots",
        f"and {layout['pages']:,.0f} over gathered pages; copying a context into a slot, which pages would save, "
        f"{layout['copy_a_context']:,.0f}, once a block.",
        "",
        f"The code of commit {found['mini'].get('commit', '5b542a1')} for mini, of "
        f"{found['base'].get('commit', '5b542a1')} for base.",
        "",
        f"Peers: {', '.join(f'{name} = {version}' for name, version in found['mini']['versions'].items())}.",
        "`unrated` is the same tree by Ponder without a head: the price of ratings. `ponder` samples rollouts in two",
        "processes of one thread (`engine/parallel.py`), everything else in one process. `generate` is given batches",
        "of like lengths of the size that suits it best here, `continuous` and `llama` theirs.",
        "",
        "Where a goal is missed, `LOG.md` has the profile that says why, what was tried and what is next.",
    ]
    return "\n".join(lines) + "\n"


def remembered(size: str, memory: Mapping[str, int]) -> str:
    """How much memory caches took, with the budget as it comes and with a small one."""
    mib = {name: f"{memory[name] / 2**20:.0f}" for name in ("peak", "budget", "small_budget", "small_peak")}
    return (
        f"512 chains at once, {size}: caches take {mib['peak']} MiB at most (budget {mib['budget']}); with a budget of "
        f"{mib['small_budget']} MiB they take {mib['small_peak']}, and {memory['small_begun_again']} rows begin again."
    )


def main() -> None:
    """Measure, write the results, print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only these; may be given again")
    parser.add_argument("--size", action="append", choices=list(MODELS), help="only these; the others stay as they are")
    given = parser.parse_args()
    sizes: Sequence[str] = given.size or list(MODELS)
    for model in (MODELS[size] for size in sizes if not MODELS[size].exists()):
        name = model.parent.name
        parser.error(f"no {model}: `ponder train sft --recipe recipes/{name}.yaml --out runs/{name}` makes it")
    torch.set_num_threads(given.threads)
    console, names = Console(stderr=True), given.peer or list(PEERS)
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if given.size else {}
    found |= {"threads": given.threads, "machine": platform.processor() or platform.machine()}
    for size in sizes:
        console.print(size)
        found[size] = measured(MODELS[size], given.threads, given.repeats, names, console.print) | {"commit": commit()}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    begin(table(found))
    console.print(table(found))


if __name__ == "__main__":
    main()
