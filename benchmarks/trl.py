"""One step of reinforcement learning beside TRL's GRPOTrainer, and both losses on one batch: `python -m benchmarks.trl`
(under five minutes, nothing else running).

Same weights, prompts, group size, rewards, number format, threads and machine, steps interleaved in one run. Lengths
are the same too: each of TRL's rows ends after exactly as many tokens as ours took in the same place. No group is
degenerate (half of its rewards are 1), so that both train on every rollout. What differs is what each of them is: ours
samples in blocks that fold, in two processes, and trains on packed rows with Muon; TRL generates padded batches and
trains on padded rows with AdamW.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.page import publish
from benchmarks.peers.client import ROOT, python_of
from ponder.engine.grammar import Replay
from ponder.engine.local import LocalSampler
from ponder.errors import ConfigError, SamplerError
from ponder.interfaces import Prefix
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.runs import Run
from ponder.seeds import rng_for, seed_for
from ponder.tasks import TASKS, make
from ponder.text import format
from ponder.text.format import BLOCKS, Mark
from ponder.train.actors import Actors, Sample, sample_here
from ponder.train.advantages import Scored
from ponder.train.grpo import Grpo
from ponder.train.loop import LoopConfig, Progress, fit
from ponder.train.policy import PolicyBatch, Reference, Tally, policy_batches, policy_loss
from ponder.train.rewards import Reward
from ponder.train.rollout import Draw, Drawn
from ponder.types import Completion, Effort, Ended, Grade, Message, Problem, Rollout, Segment, Split

MODEL = ROOT / "models" / "ponder-mini"
RESULTS = Path(__file__).parent / "results" / "rl.json"
GOAL, TOLERANCE = 8.0, 1e-5
RATE, LENGTH = 2e-4, 256
KINDS = {"grpo": "sequence", "dr_grpo": "fixed", "bnpo": "token"}
"""TRL's loss types and the means of ours that they are."""


# --- the peer ------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Trainer:
    """TRL in a process of its own environment."""

    model: Path
    threads: int
    settings: Mapping[str, Any]
    version: str = ""
    _process: Any = field(init=False)

    def __post_init__(self) -> None:
        python = python_of("trl")
        if not python.exists():
            raise ConfigError("TRL is not installed: run `python -m benchmarks.peers.setup trl` first")
        words = [str(self.model), str(self.threads), json.dumps(dict(self.settings))]
        self.log = python.parents[1] / "step.log"
        with self.log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.peers.worker_trl_step", *words],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.version = str(self.hear()["version"])

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def say(self, **order: Any) -> None:
        """Send an order."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next answer."""
        line = self._process.stdout.readline()
        if not line:
            raise SamplerError(f"TRL has ended: {self.log} says why")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@dataclass(eq=False)
class Memory:
    """The most memory of groups of processes, shared pages counted once, looked at ten times a second."""

    groups: Mapping[str, Callable[[], Sequence[int]]]
    most: dict[str, int] = field(default_factory=dict[str, int])

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While this is open."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.1):
                for name, pids in self.groups.items():
                    self.most[name] = max(self.most.get(name, 0), sum(map(_bytes_of, pids())))

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join()


def _bytes_of(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


# --- one step ------------------------------------------------------------------------------------------------------


def problems(count: int) -> list[Problem]:
    """Level-2 problems of all tasks in turn."""
    names = list(TASKS)
    return [make(TASKS[names[index % len(names)]], 2, Split.TRAIN, index) for index in range(count)]


def rewards_of(step: int, prompts: int, samples: int) -> list[float]:
    """Half of each group right, by chance: every rollout is trained on."""
    rng = rng_for("benchmark", step)
    half = [1.0] * (samples // 2) + [0.0] * (samples - samples // 2)
    return [reward for _ in range(prompts) for reward in rng.sample(half, samples)]


def scored(drawn: Drawn, reward: float) -> Scored:
    """A rollout with a given reward."""
    return Scored(drawn.graded(Grade(reward)), Reward({"outcome": reward}))


def steps(
    checkpoint: Checkpoint, given: argparse.Namespace, peer: Trainer, sample: Sample, note: Callable[[str], None]
) -> list[dict[str, float]]:
    """Ours and TRL's steps in turn; the first of each warms up and is left out."""
    network, tokenizer = checkpoint.own()
    asked, G, algorithm = problems(given.prompts), given.samples, Grpo(length=LENGTH)
    replay, tally = Replay.of(tokenizer.special, tokenizer.size, torch.device("cpu")), Tally()
    found: list[dict[str, float]] = []
    now: dict[str, Any] = {}

    def stream(first: int) -> Iterator[Sequence[PolicyBatch]]:
        for step in range(first, given.repeats + 1):
            now["began"] = time.perf_counter()
            draws = [
                Draw(problem, Effort(given.effort), seed_for("benchmark", step, at, sample))
                for at, problem in enumerate(asked)
                for sample in range(G)
            ]
            half = len(asked) // 2 * G
            drawn = sample([draws[:half], draws[half:]])
            now["sampling"] = time.perf_counter() - now["began"]
            now["rewards"] = rewards_of(step, len(asked), G)
            now["lengths"] = [sum(len(s.generated) for s in one.rollout.segments) for one in drawn]
            pairs = [scored(one, reward) for one, reward in zip(drawn, now["rewards"], strict=True)]
            lessons = algorithm.lessons([pairs[at : at + G] for at in range(0, len(pairs), G)])
            tally.clear()
            yield policy_batches(lessons, replay, 16384)

    def on_step(progress: Progress, record: dict[str, float]) -> None:
        seconds = time.perf_counter() - now["began"]
        peer.say(lengths=now["lengths"], rewards=now["rewards"])
        theirs, tokens = peer.hear(), sum(now["lengths"])
        note(
            f"step {progress.step - 1}: {tokens:,} tokens; ours {seconds:.1f} s ({now['sampling']:.1f} sampling), "
            f"TRL {theirs['seconds']:.1f} s ({theirs['sampling']:.1f} sampling, {theirs['tokens']:,} tokens)"
        )
        assert theirs["tokens"] == tokens, "TRL's rows have other lengths"
        one = {"tokens": tokens, "longest": max(now["lengths"]), "ours": seconds, "ours_sampling": now["sampling"]}
        found.append(one | {"trl": theirs["seconds"], "trl_sampling": theirs["sampling"]})

    loop = LoopConfig(steps=given.repeats + 1, learning_rate=RATE, weight_decay=0.0, save_seconds=1e9)
    with tempfile.TemporaryDirectory() as folder:
        loss = policy_loss(algorithm, replay, tally, Reference())
        fit(network, stream, loss, loop, Run(Path(folder)), on_step=on_step)
    return found[1:]


# --- the loss ------------------------------------------------------------------------------------------------------


class Free:
    """In place of the format's masks: TRL knows none, so both allow every token here."""

    def __init__(self, size: int) -> None:
        self.allowed = torch.zeros(1, size)

    def rows(self, segment: Segment) -> list[int]:
        """The one row, for each token."""
        return [0] * len(segment.generated)


def losses(checkpoint: Checkpoint, peer: Trainer, prompts: int = 4, samples: int = 4) -> dict[str, dict[str, float]]:
    """Ours and TRL's loss, and its gradient's norm, on one batch: random rewards, probabilities that have moved."""
    network, tokenizer = checkpoint.own()
    rng, free = rng_for("benchmark", "loss"), Free(tokenizer.size)
    groups: list[list[Scored]] = []
    for problem, rewards in zip(problems(prompts), (rewards_of(at, 1, samples) for at in range(prompts)), strict=True):
        context = tuple(tokenizer.encode(format.render_prompt([Message("user", problem.prompt)], Effort.MEDIUM)))
        group: list[Scored] = []
        for reward in rewards:
            ids = tuple(rng.randrange(tokenizer.size) for _ in range(rng.randint(8, 40)))
            segment = Segment(context, ids, tuple(rng.uniform(-12, -4) for _ in ids))
            completion = Completion((), "", Ended.ANSWERED)
            rollout = Rollout(problem, completion, (segment,), Grade(reward))
            group.append(scored(Drawn(Draw(problem, Effort.MEDIUM, 0), rollout, None), reward))
        groups.append(group)
    found: dict[str, dict[str, float]] = {}
    for kind, mean in KINDS.items():
        algorithm = Grpo(mean=mean, length=LENGTH)
        lessons = algorithm.lessons(groups)
        (micro,) = policy_batches(lessons, free, 10**6)  # type: ignore[arg-type]
        network.zero_grad()
        loss = policy_loss(algorithm, free, Tally(), Reference())  # type: ignore[arg-type]
        ours = loss(network, micro) / micro.trained
        ours.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None]).item()
        network.zero_grad()
        segments = [(one.segments[0], one.advantages[0]) for one in lessons]
        peer.say(
            do="loss",
            prompts=[segment.context for segment, _ in segments],
            completions=[segment.generated for segment, _ in segments],
            old=[segment.logprobs for segment, _ in segments],
            advantages=[advantage for _, advantage in segments],
            kind=kind,
            length=LENGTH,
        )
        theirs = peer.hear()
        found[kind] = {
            "ours": ours.item(),
            "trl": theirs["loss"],
            "ours_gradient": norm,
            "trl_gradient": theirs["norm"],
        }
    return found


# --- what was found ------------------------------------------------------------------------------------------------


def section(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    rows = found["steps"]

    def median(name: str) -> float:
        return statistics.median(row[name] for row in rows)

    ratios = [row["trl"] / row["ours"] for row in rows]
    memory = {name: found["memory"][name] / 2**20 for name in ("ours", "trl")}
    lines = [
        "## One step of reinforcement learning",
        "",
        f"`python -m benchmarks.trl`: {found['prompts']} prompts × {found['samples']} rollouts of ponder-mini, effort "
        f"{found['effort']}, {median('tokens'):,.0f} tokens,",
        f"the longest {median('longest'):,.0f}; float32, {found['threads']} threads; TRL {found['trl']}, in "
        f"micro-batches of {found['micro']}. Medians of {len(rows)} interleaved steps.",
        "",
        "| | ponder | TRL's GRPOTrainer | ratio | goal |",
        "| --- | --- | --- | --- | --- |",
        f"| a step, seconds | {median('ours'):.1f} | {median('trl'):.1f} | {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f}–{max(ratios):.1f}) | ≥ {GOAL:g} |",
        f"| of it sampling | {median('ours_sampling'):.1f} | {median('trl_sampling'):.1f} | "
        f"{median('trl_sampling') / median('ours_sampling'):.1f} | – |",
        f"| most memory, MiB | {memory['ours']:,.0f} | {memory['trl']:,.0f} | {memory['trl'] / memory['ours']:.2f} "
        "| ≥ 1 |",
    ]
    for kind, one in found["losses"].items():
        apart = abs(one["ours"] - one["trl"])
        lines.append(
            f"| loss on one batch, {kind} | {one['ours']:.7f} | {one['trl']:.7f} | apart {apart:.1e} "
            f"| ≤ {TOLERANCE:g} |"
        )
    apart = max(abs(one["ours_gradient"] / one["trl_gradient"] - 1) for one in found["losses"].values())
    lines += [
        "",
        f"The norms of the three losses' gradients agree to {apart:.1e}. Lengths and rewards are the same row by row;",
        "TRL's rows do not fold. Memory counts the sampling processes, and shared pages once.",
    ]
    return "\n".join(lines)


def measure(given: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    """Everything."""
    checkpoint = load_checkpoint(MODEL)
    _, tokenizer = checkpoint.own()
    sampler, prompts = LocalSampler(checkpoint), list[str]()
    for problem in problems(given.prompts):
        messages, effort = (Message("user", problem.prompt),), Effort(given.effort)
        pieces = format.render_prompt(messages, effort)
        assert tuple(tokenizer.encode(pieces)) == sampler.context(Prefix(messages, effort))
        prompts.append(format.text_of(pieces))
    settings = {
        "prompts": prompts,
        "samples": given.samples,
        "micro": given.micro,
        "most": 4096,
        "steps": given.repeats + 1,
        "learning_rate": RATE,
        "end": tokenizer.special[BLOCKS.marker[Mark.END].text],
    }
    with closing(Trainer(MODEL, given.threads, settings)) as peer:
        apart = losses(checkpoint, peer)
        note(json.dumps(apart))
        peer.say(do="train")
        actors = Actors(checkpoint, 2) if given.threads > 1 else None
        children = [process.pid for process in torch.multiprocessing.active_children()]
        memory = Memory({"ours": lambda: [os.getpid(), *children], "trl": lambda: [peer.pid]})
        try:
            with memory.watched():
                found = steps(checkpoint, given, peer, actors or sample_here(checkpoint), note)
        finally:
            if actors:
                actors.close()
        told = vars(given) | {"trl": peer.version, "machine": platform.processor() or platform.machine()}
    return told | {"torch": torch.__version__, "steps": found, "losses": apart, "memory": memory.most}


def main() -> None:
    """Measure, write the results, print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--effort", default="medium")
    parser.add_argument("--micro", type=int, default=16, help="rows of TRL's forward passes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    console = Console(stderr=True)
    found = measure(given, console.print)
    del found["dry"]
    if not given.dry:
        publish(found, RESULTS, "rl", section(found))
    console.print(section(found), markup=False)


if __name__ == "__main__":
    main()
