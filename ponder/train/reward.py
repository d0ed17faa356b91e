"""Process rewards: the head learns, from the policy's own rollouts, which of them end right and which blocks are.

Three stages in one run folder. Rollouts are sampled from the checkpoint as it is and labelled, a chunk of problems at a
time, each chunk a file that is written whole; then the head is trained on them, alone or with the trunk. Alone, on a
small trunk, it ranks badly: a first try reached an AUC of 0.67, so that best-of-N fell with N; with the trunk, 0.75.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import pydantic
import torch

from ponder.errors import ConfigError
from ponder.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ponder.model.device import pick_device, pick_dtype, settle_decoding_threads
from ponder.model.heads import new_head
from ponder.reward.boundary import Judged
from ponder.reward.formats import Neutral
from ponder.runs import Run, open_run, read_json
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.text import format
from ponder.train.batch import Batch, collate, pack, split_by_prompt
from ponder.train.chunks import Chunks, Source
from ponder.train.loop import LoopConfig, MicroBatch, Progress, fit, marks, once
from ponder.train.rated import Labelled, Rated, harm, micro_batches, rating_loss
from ponder.train.reads import (
    Reads,
    head_loss,
    judged,
    load_reads,
    read_all,
    save_reads,
    together,
    trunk_digest,
)
from ponder.train.settle import settle
from ponder.train.sft import Start, demonstration, task_level
from ponder.train.step_labels import StepFiles, Steps, ended
from ponder.types import Effort, Message, Split

LATER: Mapping[str, Sequence[Any]] = {
    "fresh": (False,),
    "rollouts": ("",),
    "value": ("outcome",),
    "step_labels": ((), []),
    "neutral": (Neutral.RIGHT,),
}
"""Settings that came later than folders that must go on, with what these had, in Python and in JSON."""
T = TypeVar("T")
B = TypeVar("B", bound=MicroBatch)
STANDARD_LEVEL = 2
DEMONSTRATIONS = 48
"""Held-out demonstrations on which a jointly trained trunk is compared with what it was."""


class RewardConfig(pydantic.BaseModel):
    """Everything that decides the weights of a run."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str
    """The checkpoint's folder: it samples the rollouts, and its head, if it has one, goes on."""
    fresh: bool = False
    """Whether a new head is begun even so."""
    rollouts: str = ""
    """The folder of another such run: its rollouts, or some of them, are labelled here in place of sampling, and on a
    frozen trunk they are not read again either. Model, tasks, efforts, temperature and seed must be its own."""
    tasks: tuple[str, ...] = ()
    """As `task:level`, equally often; empty for what the checkpoint was taught, or for every task's level 2."""
    problems: int = pydantic.Field(2000, ge=1)
    samples: int = pydantic.Field(8, ge=1)
    """Rollouts of each problem."""
    efforts: tuple[Effort, ...] = (Effort.MEDIUM,)
    """In turn, problem by problem."""
    temperature: float = pydantic.Field(1.0, gt=0, le=10)
    labels: Literal["exact", "mc", "outcome", "human"] = "exact"
    """`exact`: value from the outcome, validity from the task's checker. `mc`: both from continuations, without a
    checker. `outcome`: only the value at the end of the answer. `human`: of others' solutions, in `step_labels`; then
    nothing is sampled."""
    step_labels: tuple[str, ...] = ()
    """Files of labelled steps, for `human`; one problem in ten is held out, at most `held_out`."""
    neutral: Neutral = Neutral.RIGHT
    """What a step counts as that PRM800K's labellers called neutral."""
    value: Literal["outcome", "winnable"] = "outcome"
    """A block's value, for `exact`: how its rollout ended, or whether the goal could still be reached from it, where
    the task's checker knows that."""
    continuations: int = pydantic.Field(8, ge=1)
    """Of each boundary, for `mc`."""
    search: Literal["linear", "binary"] = "linear"
    """Which boundaries `mc` asks: all, or those that a binary search for the first bad block visits."""
    trunk: Literal["frozen", "joint"] = "joint"
    """Whether the network is only read, or trained too, with its own language-model loss on the rollouts."""
    language_weight: float = pydantic.Field(1.0, ge=0)
    """Of the language-model loss beside the head's, both as means."""
    steps: int = pydantic.Field(600, ge=1)
    rows: int = pydantic.Field(32, ge=1)
    """Rollouts in a step."""
    learning_rate: float = pydantic.Field(5e-4, gt=0)
    """Peak rate of the trunk."""
    head_rate: float = pydantic.Field(10.0, gt=0)
    """The head's rate as a multiple of it."""
    decay: float = pydantic.Field(0.9, gt=0, le=1)
    held_out: int = pydantic.Field(100, ge=0)
    """Validation problems whose rollouts tell how good the head is, against exact labels; 0 for none."""
    seed: int = 0
    micro_tokens: int = pydantic.Field(16384, ge=256)
    """Most tokens of one forward pass."""
    device: str = "auto"
    dtype: str = "auto"
    threads: int = pydantic.Field(0, ge=0)
    """CPU threads; 0 for all cores. Part of the settings, because sums depend on it."""

    @pydantic.model_serializer(mode="wrap")
    def _told(self, usual: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not asked for: folders from before it could be go on."""
        return {name: value for name, value in usual(self).items() if value not in LATER.get(name, ())}

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.value != "outcome" and self.labels != "exact":
            raise ValueError(f"value={self.value} is for exact labels, not for {self.labels}: only a checker knows it")
        if (self.labels == "human") is not bool(self.step_labels):
            raise ValueError("labels=human and step_labels belong together: give --labels human --step-labels FILE")
        if self.labels == "human" and self.rollouts:
            raise ValueError(
                f"labels=human are of the files' own solutions, not of {self.rollouts}: leave out rollouts"
            )
        return self


READS, HELD_READS = "reads.safetensors", "held_reads.safetensors"
"""In a run's folder, where its trunk stands still: what it says of the rollouts."""
OPTIMISING = {"steps", "learning_rate", "head_rate", "decay", "dtype", "device"}
"""The settings that the loop reads."""
Measure = Callable[[Sequence[Judged]], dict[str, float]]
"""Judged held-out rollouts to numbers for the metrics."""


@dataclass(frozen=True)
class Listener:
    """What hears how a run goes on."""

    sampled: Callable[[int, int], None] = lambda done, total: None
    """Chunks of rollouts that are done, and how many there will be."""
    read: Callable[[int, int], None] = lambda done, total: None
    """Rollouts that a trunk which stands still has read, and how many there are."""
    say: Callable[[str], None] = lambda text: None
    """What was found in files of step labels, in a sentence."""
    start: Callable[[Start], None] = lambda start: None
    step: Callable[[Progress, dict[str, float]], None] = lambda progress, record: None


def levels(tasks: Sequence[str], checkpoint: Checkpoint) -> list[tuple[str, int]]:
    """The (task, level) pairs that rollouts are sampled from: those named, else what the checkpoint was taught."""
    named = tasks or checkpoint.config.tasks
    return [task_level(key) for key in named] if named else [(name, STANDARD_LEVEL) for name in TASKS]


def sources(config: RewardConfig, checkpoint: Checkpoint) -> tuple[Source, Source]:
    """The rollouts for training, and the held-out ones."""
    found = levels(config.tasks, checkpoint)
    source = Source(
        levels=tuple(found),
        problems=config.problems,
        samples=config.samples,
        efforts=config.efforts,
        temperature=config.temperature,
        labels=config.labels,
        value=config.value,
        continuations=config.continuations,
        search=config.search,
        split=Split.TRAIN,
        seed=config.seed,
    )
    # Whatever the head learns from, it is measured against the truth.
    return source, replace(source, problems=config.held_out, labels="exact", value="outcome", split=Split.VALIDATION)


def chunks(config: RewardConfig, checkpoint: Checkpoint, out: Path) -> tuple[Chunks, Chunks]:
    """The files of both, and those of the run whose rollouts they take over."""
    own, taken = sources(config, checkpoint), list[Chunks | None]((None, None))
    if config.rollouts:
        folder = Path(config.rollouts)
        theirs = RewardConfig.model_validate(read_json(folder / "config.json"))
        _check_taken(config, theirs, checkpoint)
        given = sources(theirs, checkpoint)
        if not all(one.part_of(other) for one, other in zip(own, given, strict=True)):
            raise ConfigError(
                f"{folder} sampled other rollouts than are asked for: give the same tasks, efforts, temperature and "
                f"seed, at most {theirs.problems} problems ({theirs.held_out} held out) and {theirs.samples} samples"
            )
        taken = [Chunks(given[0], folder / "rollouts"), Chunks(given[1], folder / "held_out")]
    return Chunks(own[0], out / "rollouts", taken[0]), Chunks(own[1], out / "held_out", taken[1])


def step_parts(config: RewardConfig, out: Path, listener: Listener) -> tuple[Steps, Steps]:
    """The solutions of the files of step labels, for training, and the held-out ones."""
    given = StepFiles(config.step_labels, config.neutral, config.held_out)
    parts = (
        Steps(given, out / "rollouts", False, config.micro_tokens, listener.say),
        Steps(given, out / "held_out", True, config.micro_tokens, listener.say),
    )
    for part in parts:
        part.check()
    return parts


def _check_taken(config: RewardConfig, theirs: RewardConfig, checkpoint: Checkpoint) -> None:
    """That the trunk is the one that sampled: a trunk that stood still lies in the run itself, whatever has taken the
    place of the model that it began from."""
    end = Path(config.rollouts) / "checkpoint"
    sampled = load_checkpoint(end if theirs.trunk == "frozen" and end.exists() else Path(theirs.model))
    if trunk_digest(sampled.own()[0]) != trunk_digest(checkpoint.own()[0]):
        raise ConfigError(f"{config.rollouts} sampled from {theirs.model}, not from {config.model}: name a run of its")


def collect(parts: Sequence[Chunks | Steps], checkpoint: Checkpoint, listener: Listener) -> tuple[list[Labelled], ...]:
    """The labelled rollouts for training and the held-out ones, sampled now or read from the run's folder."""
    total, done = sum(part.count for part in parts), 0
    rows: list[list[Labelled]] = []
    for part in parts:
        rows.append([])
        for index in range(part.count):
            rows[-1] += part.rows(index, checkpoint)
            done += 1
            listener.sampled(done, total)
    return tuple(rows)


def step_rows(config: RewardConfig, rows: Sequence[T], step: int) -> list[T]:
    """The rollouts of one step: a pure function of the settings and the step, all of them once an epoch,
    but for what whole steps leave over."""
    size = min(config.rows, len(rows))
    a_pass = len(rows) // size
    epoch, at = divmod(step, a_pass)
    order = rng_for("reward", config.seed, epoch).sample(range(len(rows)), len(rows))
    return [rows[index] for index in order[at * size : (at + 1) * size]]


def stream(
    config: RewardConfig, rows: Sequence[T], batches: Callable[[list[T]], Sequence[B]], first: int
) -> Iterator[Sequence[B]]:
    """The micro-batches of every step from `first` on."""
    for step in range(first, config.steps):
        yield batches(step_rows(config, rows, step))


def held_out_demonstrations(config: RewardConfig, checkpoint: Checkpoint, n: int = DEMONSTRATIONS) -> list[Batch]:
    """Micro-batches of validation demonstrations."""
    found, (_, tokenizer) = levels(config.tasks, checkpoint), checkpoint.own()
    rows = []
    for index in range(n):
        name, level = found[index % len(found)]
        problem = make(TASKS[name], level, Split.VALIDATION, index)
        rng = rng_for("reward", "demonstration", config.seed, index)
        effort, shown = demonstration(problem, rng, tokenizer, checkpoint.config.style)
        messages, window = [Message("user", problem.prompt)], checkpoint.config.fold_window
        rows.append(pack(format.sections(messages, effort, shown.blocks, shown.answer, window), tokenizer))
    return [collate(group) for group in split_by_prompt(rows, config.micro_tokens)]


def _learn(
    config: RewardConfig,
    loop: LoopConfig,
    model: Rated,
    rows: Sequence[Labelled],
    reads: Sequence[Reads],
    run: Run,
    listener: Listener,
    on_boundary: Callable[[Progress], None],
    boundaries: frozenset[int],
) -> None:
    """The head alone, from readings that are computed once, or with the trunk."""
    hear: dict[str, Any] = {"on_step": listener.step, "on_boundary": on_boundary, "boundaries": boundaries}
    if not model.frozen:
        packed = partial(micro_batches, most_tokens=config.micro_tokens)
        loss = rating_loss(config.language_weight)
        fit(model, lambda first: stream(config, rows, packed, first), loss, loop, run, **hear)
        return
    fit(model, lambda first: stream(config, reads, lambda some: [together(some)], first), head_loss, loop, run, **hear)


@dataclass(frozen=True)
class _Shelf:
    """Where what a trunk that stands still says of rollouts is kept."""

    run: Run
    trunk: str

    def reads(
        self, name: str, part: Chunks | Steps, rows: Sequence[Labelled], dtype: str, read: Callable[[], list[Reads]]
    ) -> list[Reads]:
        """From this run's file, or from that of the run whose rollouts they are; or read now, and kept."""
        places: list[tuple[Path, Sequence[int]]] = [(self.run.folder, range(len(rows)))]
        if isinstance(part, Chunks) and part.sampled:
            places.append((part.sampled.folder.parent, part.source.numbers_in(part.sampled.source)))
        for folder, numbers in places:
            if found := load_reads(folder / name, rows, numbers, self.trunk, dtype):
                return found
        found = read()
        if found:
            save_reads(found, self.run.folder / name, self.trunk, dtype)
        return found


def _informed(one: Labelled) -> bool:
    return any((label.value, label.validity) != (None, None) for label in one.labels)


def run_reward(
    config: RewardConfig,
    out: Path,
    *,
    listener: Listener | None = None,
    measure: Measure | None = None,
    evaluations: int = 4,
) -> Path:
    """Sample, label and train, or go on with what lies in `out`; returns the folder of the checkpoint with its head."""
    listener = listener or Listener()
    given = load_checkpoint(Path(config.model))
    levels(config.tasks, given)
    network, _ = given.own()
    hidden = network.shape.hidden_size
    pick_device(config.device)
    pick_dtype("cuda", hidden, config.dtype)  # refuses what cannot be, before anything is written
    human = config.labels == "human"
    parts = step_parts(config, out, listener) if human else chunks(config, given, out)
    run = open_run(out, config.model_dump(mode="json"))
    computing = settle(config.device, config.dtype, config.threads, hidden, run)
    config = config.model_copy(update=computing.chosen)
    given.to(config.device)
    settle_decoding_threads(config.device, hidden)
    train, held = collect(parts, given, listener)
    torch.set_num_threads(config.threads)
    usable = [one for one in train if _informed(one)]
    if not usable:
        why = f"in {', '.join(config.step_labels)} no step has a label" if human else "no grader decided"
        raise ConfigError(f"none of {len(train)} rollouts could be labelled: {why}")
    frozen = config.trunk == "frozen"
    before = None if frozen else copy.deepcopy(network)
    begun = None if config.fresh else given.head
    model = Rated(network, (begun or new_head(hidden)).to(config.device), frozen=frozen)
    loop = LoopConfig(**config.model_dump(include=OPTIMISING))
    reason = f"{computing.reason}; {len(usable)} rollouts"
    reason += f", {len(train) - len(usable)} others left out: nothing is known of them" * (len(usable) < len(train))
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    listener.start(Start(loop, reason, count, run.state.exists()))
    demonstrations = [] if frozen else [one.to(config.device) for one in held_out_demonstrations(config, given)]

    shelf = _Shelf(run, trunk_digest(network)) if frozen else None
    read_held = partial(read_all, model, held, config.micro_tokens, config.device)
    known = shelf.reads(HELD_READS, parts[1], held, "float32", read_held) if shelf and measure else None
    read = partial(read_all, model, train, config.micro_tokens, config.device, config.dtype, listener.read)
    reads = shelf.reads(READS, parts[0], train, config.dtype, read) if shelf else ()
    reads = [read for read, one in zip(reads, train, strict=False) if _informed(one)]

    def evaluate(progress: Progress) -> dict[str, float]:
        said = judged(model, held, known or read_held(), config.device) if measure and held else []
        found = measure([ended(one) for one in said] if human else said) if measure and said else {}
        if before is not None:
            found |= {f"language_{name}": x for name, x in asdict(harm(before, network, demonstrations)).items()}
        return found

    boundary = once(run, model, evaluate), marks(config.steps, evaluations) | {0}
    _learn(config, loop, model, usable, reads, run, listener, *boundary)
    settings = given.config.model_copy(update={"name": out.name})
    folder = run.folder / "checkpoint"
    save_checkpoint(Checkpoint(network, given.tokenizer, settings, model.head), folder)
    return folder
