"""Supervised fine-tuning, from nothing or from a checkpoint, on fresh demonstrations that worker processes stream.

Step s of a run trains on rows that are a pure function of (seed, s). Workers make them ahead of the trainer, so it
never waits; a run that is killed and started again sees the same rows.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Annotated

import pydantic
from torch.utils.data import DataLoader, Dataset

from ponder.errors import ConfigError
from ponder.model.checkpoint import Checkpoint, PonderConfig, load_checkpoint, save_checkpoint
from ponder.model.device import pick_device, pick_dtype
from ponder.model.network import new_network
from ponder.model.saving import saving
from ponder.model.sizes import shape_named
from ponder.runs import open_run
from ponder.seeds import rng_for, seed_for
from ponder.tasks import TASKS, make, task_named
from ponder.tasks.scope import SENTENCE, outside
from ponder.text import format
from ponder.text.effort import BUDGETS, smallest_effort
from ponder.text.tokenizer import MAX_ENTRIES, PonderTokenizer, load_tokenizer, train_tokenizer
from ponder.train.batch import Batch, Row, collate, pack, split_by_prompt
from ponder.train.loop import LoopConfig, Progress, fit, marks, once
from ponder.train.losses import cross_entropy
from ponder.train.settle import settle
from ponder.types import Demonstration, Effort, Message, Problem, Split, Style


class SFTConfig(pydantic.BaseModel):
    """Everything that decides the weights of a run."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    """A checkpoint's folder to go on from, with its size and tokenizer; empty to begin from nothing."""
    size: str = "mini"
    tasks: dict[str, Annotated[float, pydantic.Field(gt=0, lt=1e6, allow_inf_nan=False)]] = {}
    """`task:level` to weight in the mix; empty for every task's levels 1 to 3 in the shares of LEVEL_SHARES."""
    style: str = "thinking"
    """`thinking`, or `direct`: the baseline that answers without thinking."""
    steps: int = pydantic.Field(3000, ge=1)
    rows: int = pydantic.Field(24, ge=1)
    """Completions in a step."""
    learning_rate: float = pydantic.Field(3e-3, gt=0)
    decay: float = pydantic.Field(0.98, gt=0, le=1)
    """Share of the steps, at the end, over which the rate falls to zero: by default all but the warm-up."""
    seed: int = 0
    vocabulary: int = pydantic.Field(1024, ge=320, le=MAX_ENTRIES)
    fold_window: int | None = pydantic.Field(1, ge=1)
    """How many folded blocks stay in the context; null for all."""
    micro_tokens: int = pydantic.Field(16384, ge=256)
    """Most tokens of one forward pass."""
    device: str = "auto"
    dtype: str = "auto"
    threads: int = pydantic.Field(0, ge=0)
    """CPU threads of the trainer; 0 for all cores. Part of the settings, because sums depend on it."""
    workers: int = pydantic.Field(1, ge=1)


LEVEL_SHARES = {1: 0.15, 2: 0.75, 3: 0.1}
TASK_SHARES = {
    "countdown": 1.6,
    "cipher": 1.4,
    "sudoku": 1.3,
    "program": 1.3,
    "knights_knaves": 1.2,
    "letters": 1.1,
    "multiplication": 0.7,
}
"""Weights of tasks in the default mix, 1 where not named: more for those that are learned slowest."""
SCOPE_SHARE = 0.03
"""How much of the mix are prompts outside all tasks, answered by one plain sentence."""
DIRECT_SHARE = 0.08
"""How much of the thinking mix answers at once, under effort none: the same model can do both."""
EFFORT_SHARES = {
    Effort.MINIMAL: 0.1,
    Effort.LOW: 0.2,
    Effort.MEDIUM: 0.35,
    Effort.HIGH: 0.2,
    Effort.XHIGH: 0.1,
    Effort.MAX: 0.05,
}
STYLE_SHARES = {
    Effort.MINIMAL: (1.0, 0.0, 0.0),
    Effort.LOW: (0.85, 0.15, 0.0),
    Effort.MEDIUM: (0.6, 0.3, 0.1),
    Effort.HIGH: (0.4, 0.35, 0.25),
    Effort.XHIGH: (0.3, 0.3, 0.4),
    Effort.MAX: (0.2, 0.3, 0.5),
}
"""Shares of clean, corrected and wandering demonstrations under each effort."""
MOST_TOKENS = 1_536
"""Longer demonstrations are drawn again, with their problems: they would fill a whole step."""
PATIENCE = 30
"""How often in a row that may happen."""


def mix(config: SFTConfig) -> dict[tuple[str, int], float]:
    """(task, level) to weight, checked."""
    if not config.tasks:
        return {
            (name, level): TASK_SHARES.get(name, 1.0) * share for name in TASKS for level, share in LEVEL_SHARES.items()
        }
    return {task_level(key): weight for key, weight in config.tasks.items()}


def task_level(key: str) -> tuple[str, int]:
    """``task:level`` taken apart, checked."""
    name, _, level = key.partition(":")
    if not level.isdecimal() or int(level) not in task_named(name).levels:
        raise ConfigError(f"{key!r} in the task mix is not task:level, such as countdown:2")
    return name, int(level)


def demonstration(
    problem: Problem, rng: Random, tokenizer: PonderTokenizer, style: str
) -> tuple[Effort, Demonstration]:
    """An effort and a demonstration that keeps within it: the tag is raised to what the real length needs."""
    task = task_named(problem.task)
    if style == "direct" or rng.random() < DIRECT_SHARE:
        return Effort.NONE, task.demonstrate(problem, rng, Style.DIRECT)
    effort = rng.choices(list(EFFORT_SHARES), list(EFFORT_SHARES.values()))[0]
    kind = rng.choices((Style.CLEAN, Style.CORRECTED, Style.WANDERING), STYLE_SHARES[effort])[0]
    shown = task.demonstrate(problem, rng, kind)
    length = sum(len(tokenizer.encode(format.render_block(block))) for block in shown.blocks)
    needed = smallest_effort(length)
    return max(effort, needed, key=lambda e: BUDGETS[e].thinking), shown


def step_rows(config: SFTConfig, tokenizer: PonderTokenizer, step: int) -> list[Row]:
    """The packed rows of one step: a pure function of the settings and the step."""
    weights = mix(config)
    return [_row(config, tokenizer, weights, rng_for("sft", config.seed, step, slot)) for slot in range(config.rows)]


def _row(config: SFTConfig, tokenizer: PonderTokenizer, weights: Mapping[tuple[str, int], float], rng: Random) -> Row:
    def packed(prompt: str, effort: Effort, shown: Demonstration) -> Row:
        messages = [Message("user", prompt)]
        return pack(format.sections(messages, effort, shown.blocks, shown.answer, config.fold_window), tokenizer)

    if rng.random() < SCOPE_SHARE:
        return packed(outside(rng), rng.choice(list(Effort)), Demonstration((), SENTENCE))
    for _ in range(PATIENCE):
        name, level = rng.choices(list(weights), list(weights.values()))[0]
        problem = make(TASKS[name], level, Split.TRAIN, rng.getrandbits(48))
        row = packed(problem.prompt, *demonstration(problem, rng, tokenizer, config.style))
        if len(row) <= MOST_TOKENS:
            return row
    raise ConfigError(f"{PATIENCE} demonstrations in a row had more than {MOST_TOKENS} tokens: choose lower levels")


Rows = Callable[[SFTConfig, PonderTokenizer, int], list[Row]]
"""What a step trains on, from the settings and its number alone; travels to other processes."""


@dataclass(frozen=True)
class Steps(Dataset[list[Batch]]):
    """The steps of a run as a dataset: item s is the micro-batches of step s."""

    config: SFTConfig
    folder: Path
    """Where the tokenizer lies: each worker reads it once."""
    rows: Rows = step_rows

    def __getitem__(self, step: int) -> list[Batch]:
        tokenizer = _tokenizer(self.folder)
        rows = self.rows(self.config, tokenizer, step)
        return [collate(group) for group in split_by_prompt(rows, self.config.micro_tokens)]

    def __len__(self) -> int:
        return self.config.steps


_TOKENIZERS: dict[Path, PonderTokenizer] = {}


def _tokenizer(folder: Path) -> PonderTokenizer:
    if folder not in _TOKENIZERS:
        _TOKENIZERS[folder] = load_tokenizer(folder)
    return _TOKENIZERS[folder]


def stream(config: SFTConfig, folder: Path, first: int, rows: Rows = step_rows) -> Iterator[Sequence[Batch]]:
    """The micro-batches of every step from `first` on, made by worker processes ahead of their use."""
    loader = DataLoader(
        Steps(config, folder, rows),
        batch_size=None,
        sampler=range(first, config.steps),
        num_workers=config.workers,
        prefetch_factor=8,
        multiprocessing_context="spawn",
        worker_init_fn=_yield_to_trainer,
    )
    return iter(loader)


def _yield_to_trainer(worker: int) -> None:
    os.nice(10)  # the trainer's threads must not wait for a core
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # whatever core the trainer's threads are bound to


def corpus(config: SFTConfig, rows: int = 12_000) -> Iterator[str]:
    """Training texts for the tokenizer: prompts, thoughts and answers of the same mix."""
    weights = mix(config)
    for slot in range(rows):
        rng = rng_for("tokenizer", config.seed, slot)
        name, level = rng.choices(list(weights), list(weights.values()))[0]
        problem = make(TASKS[name], level, Split.TRAIN, rng.getrandbits(48))
        shown = TASKS[name].demonstrate(problem, rng, rng.choice((Style.CLEAN, Style.CORRECTED, Style.WANDERING)))
        yield from (problem.prompt, outside(rng) if rng.random() < SCOPE_SHARE else SENTENCE)
        for block in shown.blocks:
            yield from (block.headline, block.thoughts, block.summary)
        yield shown.answer


@dataclass(frozen=True)
class Start:
    """What is settled before the first step, for the display."""

    config: LoopConfig
    reason: str
    parameters: int
    resumed: bool


def run_sft(
    config: SFTConfig,
    out: Path,
    *,
    on_start: Callable[[Start], None] | None = None,
    on_step: Callable[[Progress, dict[str, float]], None] | None = None,
    evaluate: Callable[[Checkpoint, Progress], dict[str, float]] | None = None,
    evaluations: int = 8,
    rows: Rows = step_rows,
    name: str = "",
) -> Path:
    """Train from nothing or from a checkpoint, or go on with what lies in `out`; returns the checkpoint's folder.

    `rows` may bring other texts than demonstrations; the checkpoint has the folder's name, where none is given.
    """
    mix(config)
    given = load_checkpoint(Path(config.model)).own() if config.model else None
    shape = given[0].shape if given else shape_named(config.size)
    pick_device(config.device)
    pick_dtype("cuda", shape.hidden_size, config.dtype)  # refuses what cannot be, before anything is written
    run = open_run(out, config.model_dump())
    computing = settle(config.device, config.dtype, config.threads, shape.hidden_size, run)
    config = config.model_copy(update=computing.chosen)
    tokens = run.folder / "tokenizer"
    if not (tokens / "tokenizer_config.json").exists():
        tokens.mkdir(exist_ok=True)
        with saving(tokens):
            (given[1] if given else train_tokenizer(corpus(config), config.vocabulary)).save(tokens)
    tokenizer = load_tokenizer(tokens)
    rows(config, tokenizer, 0)  # a mix that cannot be trained on is refused here, not in a worker
    fresh = replace(shape, vocab_size=tokenizer.size)
    network = given[0].train() if given else new_network(fresh, seed_for("network", config.seed))
    network.to(config.device)
    loop = LoopConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        decay=config.decay,
        dtype=config.dtype,
        device=config.device,
    )
    taught = tuple(f"{name}:{level}" for name, level in mix(config))
    settings = PonderConfig(name=name or out.name, fold_window=config.fold_window, tasks=taught, style=config.style)
    checkpoint = Checkpoint(network, tokenizer, settings)
    if on_start:
        reason = f"{computing.reason}; demonstrations of more than {MOST_TOKENS} tokens are drawn again"
        on_start(Start(loop, reason, sum(p.numel() for p in network.parameters()), run.state.exists()))

    fit(
        network,
        lambda first: stream(config, tokens, first, rows),
        cross_entropy,
        loop,
        run,
        on_step=on_step,
        on_boundary=once(run, network, (lambda progress: evaluate(checkpoint, progress)) if evaluate else None),
        boundaries=marks(config.steps, evaluations),
    )
    folder = run.folder / "checkpoint"
    save_checkpoint(checkpoint, folder)
    return folder
