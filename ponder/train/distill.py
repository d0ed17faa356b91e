"""Distillation: a smaller model learns from a larger one's thoughts, those alone that came to a right answer.

The teacher samples, a chunk of problems at a time, each a file that is written whole; of each problem the shortest
right thoughts are kept that do not go through the same states (as `star` keeps them). The student then learns from
their texts as from demonstrations, in its own tokens, by the loop of supervised fine-tuning.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pydantic

from ponder.engine.local import LocalSampler
from ponder.errors import CheckpointError, ConfigError, SamplerError
from ponder.interfaces import Sampler
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.device import pick_device, settle_decoding_threads
from ponder.runs import open_run, write_whole
from ponder.seeds import rng_for
from ponder.tasks import TASKS
from ponder.text import format
from ponder.text.tokenizer import PonderTokenizer
from ponder.train.advantages import Scored
from ponder.train.batch import Row, pack
from ponder.train.chunks import CHUNK, Source
from ponder.train.loop import Progress
from ponder.train.reward import STANDARD_LEVEL
from ponder.train.rewards import Reward
from ponder.train.rollout import Draw, Drawn, roll_out
from ponder.train.sft import SFTConfig, Start, mix, run_sft, step_rows, task_level
from ponder.train.star import Star
from ponder.types import Block, Effort, Message, Split

THOUGHTS, STUDENT = "thoughts", "student"
"""The folders of the kept thoughts and of the student's own run."""


class DistillConfig(pydantic.BaseModel):
    """Everything that decides the student's weights."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    teacher: str
    """The checkpoint's folder that thinks, or the address and name of the server that does."""
    tasks: tuple[str, ...] = ()
    """As `task:level`, equally often; empty for what the teacher was taught, or for every task's level 2."""
    problems: int = pydantic.Field(2000, ge=1)
    samples: int = pydantic.Field(4, ge=1)
    """Thoughts of each problem."""
    keep: int = pydantic.Field(2, ge=1)
    """Most right thoughts of one problem that are learned from."""
    efforts: tuple[Effort, ...] = pydantic.Field((Effort.MEDIUM,), min_length=1)
    """In turn, problem by problem."""
    temperature: float = pydantic.Field(0.8, gt=0, le=10)
    demonstrations: float = pydantic.Field(0.25, ge=0, lt=1)
    """Share of a step's rows that are the solvers' demonstrations, of the student's own mix: what no teacher shows
    (answering at once, prompts outside all tasks) is not forgotten."""
    seed: int = 0
    """Of the problems and the thoughts; the student has its own."""
    student: SFTConfig


@dataclass(frozen=True)
class Yield:
    """What came of the teacher's thoughts."""

    sampled: int = 0
    right: int = 0
    undecided: int = 0
    """The grader could not tell."""
    lost: int = 0
    """The teacher's server gave none."""
    unfit: int = 0
    """Right, but not in blocks with summaries, which is what folds."""
    kept: int = 0

    def __add__(self, other: "Yield") -> "Yield":
        return Yield(**{name: count + getattr(other, name) for name, count in vars(self).items()})


@dataclass(frozen=True)
class Listener:
    """What hears how a distillation goes on."""

    sampled: Callable[[int, int, Yield], None] = lambda done, total, so_far: None
    """Chunks of problems that are done, how many there will be, and what came of them."""
    start: Callable[[Start], None] = lambda start: None
    step: Callable[[Progress, dict[str, float]], None] = lambda progress, record: None


def run_distill(
    config: DistillConfig,
    out: Path,
    *,
    sampler: Sampler | None = None,
    listener: Listener | None = None,
    evaluate: Callable[[Checkpoint, Progress], dict[str, float]] | None = None,
    evaluations: int = 4,
) -> Path:
    """Sample, choose and teach, or go on with what lies in `out`; returns the student's checkpoint.

    `sampler` thinks in place of the teacher's folder.
    """
    listener = listener or Listener()
    teacher = None if sampler else load_checkpoint(Path(config.teacher))
    levels = taught(config, teacher)
    student = config.student
    if not student.tasks:
        student = student.model_copy(update={"tasks": {f"{name}:{level}": 1.0 for name, level in levels}})
    mix(student)
    thoughts_in_a_step(student.rows, config.demonstrations)
    if student.model:
        load_checkpoint(Path(student.model)).own()
    run = open_run(out, config.model_dump(mode="json"))
    if teacher:
        device = pick_device(student.device).value
        settle_decoding_threads(device, teacher.to(device).network.shape.hidden_size)
    total = collect(config, levels, out / THOUGHTS, teacher, sampler, listener)
    if not total.kept:
        raise ConfigError(_nothing(total))
    run.rewind(-1)
    run.log({"step": 0, **asdict(total)})
    rows = Thoughts(out / THOUGHTS, config.demonstrations, total.kept)
    return run_sft(
        student,
        out / STUDENT,
        on_start=listener.start,
        on_step=listener.step,
        evaluate=evaluate,
        evaluations=evaluations,
        rows=rows,
        name=out.name,
    )


def taught(config: DistillConfig, teacher: Checkpoint | None) -> list[tuple[str, int]]:
    """The (task, level) pairs that are thought about."""
    named = config.tasks or (teacher.config.tasks if teacher else ())
    return [task_level(key) for key in named] if named else [(name, STANDARD_LEVEL) for name in TASKS]


def _nothing(total: Yield) -> str:
    if total.unfit:
        return f"{total.unfit} thoughts were right, but in no blocks with summaries: the teacher must write blocks"
    told = f"{total.undecided} could not be graded, {total.lost} were lost"
    return f"none of {total.sampled} thoughts was right ({told}): choose lower levels, or a better teacher"


# --- the teacher's thoughts -------------------------------------------------------------------------------------------


def collect(
    config: DistillConfig,
    levels: Sequence[tuple[str, int]],
    folder: Path,
    teacher: Checkpoint | None,
    sampler: Sampler | None,
    listener: Listener,
) -> Yield:
    """Sample and choose what has no file yet; returns what all files hold."""
    source = Source(
        levels=tuple(levels),
        problems=config.problems,
        samples=config.samples,
        efforts=config.efforts,
        temperature=config.temperature,
        labels="outcome",
        continuations=1,
        search="linear",
        split=Split.TRAIN,
        seed=config.seed,
    )
    folder.mkdir(exist_ok=True)
    count, total = -(-config.problems // CHUNK), Yield()
    for index in range(count):
        path = folder / f"{index:05}.jsonl"
        if not path.exists():
            thinks = sampler
            if thinks is None:  # a fresh one for each file, which so follows from its number alone
                assert teacher
                thinks = LocalSampler(replace(teacher, head=None))
            problems = range(index * CHUNK, min(config.problems, (index + 1) * CHUNK))
            write_whole(path, asyncio.run(_chunk(source.draws(problems), config, thinks)))
        total += Yield(**read_thoughts(path)[0])
        listener.sampled(index + 1, count, total)
    return total


async def _chunk(draws: Sequence[Draw], config: DistillConfig, sampler: Sampler) -> str:
    """The text of a file: what came of the thoughts, then those that are kept."""
    errors: list[SamplerError] = []

    async def one(draw: Draw) -> Drawn | None:
        try:
            return await roll_out(draw, sampler)
        except SamplerError as err:  # one thought less; where none comes at all, its reason is told
            errors.append(err)
            return None

    drawn = await asyncio.gather(*(one(draw) for draw in draws))
    if len(errors) == len(draws):
        raise errors[-1]
    kept: list[Drawn] = []
    unfit = 0
    for at in range(0, len(drawn), config.samples):
        found = [one for one in drawn[at : at + config.samples] if one]
        fit = [one for one in found if folds(one)]
        unfit += sum(one.rollout.grade.right for one in found) - sum(one.rollout.grade.right for one in fit)
        kept += choose(fit, config.keep)
    there = [one for one in drawn if one]
    came = Yield(
        sampled=len(draws),
        right=sum(one.rollout.grade.right for one in there),
        undecided=sum(one.rollout.grade.score is None for one in there),
        lost=len(errors),
        unfit=unfit,
        kept=len(kept),
    )
    return "".join(json.dumps(record) + "\n" for record in (asdict(came), *map(_record, kept)))


def choose(drawn: Sequence[Drawn], most: int) -> list[Drawn]:
    """The shortest right thoughts of one problem that go through different states."""
    # Servers send no ids, so that all their segments are equally long: the order in which they come then decides.
    ordered = sorted(drawn, key=lambda one: one.rollout.completion.tokens.kept)
    scored = [Scored(one, Reward({"outcome": float(one.rollout.grade.right)})) for one in ordered]
    return [one.drawn for one in Star(keep=most).kept(scored)]


def folds(drawn: Drawn) -> bool:
    """Whether later blocks may know what each block found: a block without a summary would fold to nothing."""
    return all(block.summary.strip() for block in drawn.rollout.completion.blocks)


def _record(drawn: Drawn) -> dict[str, Any]:
    rollout = drawn.rollout
    return {
        "problem": rollout.problem.id,
        "prompt": rollout.problem.prompt,
        "effort": drawn.draw.effort,
        "blocks": [[block.headline, block.thoughts, block.summary] for block in rollout.completion.blocks],
        "answer": rollout.completion.answer,
        "tokens": rollout.completion.tokens.kept,
    }


def read_thoughts(path: Path) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """What came of a chunk, and the thoughts that were kept; raises CheckpointError for a damaged file."""
    try:
        first, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if len(rest) != first["kept"]:
            raise ValueError(f"{len(rest)} thoughts, not {first['kept']}")
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(f"{path} is damaged ({err}): remove it to sample its thoughts again") from err
    return first, rest


# --- the student's rows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thoughts:
    """What the student's steps train on: kept thoughts, each once an epoch, and some demonstrations beside them."""

    folder: Path
    demonstrations: float
    kept: int

    def __call__(self, config: SFTConfig, tokenizer: PonderTokenizer, step: int) -> list[Row]:
        """The rows of a step."""
        thoughts, size = _all(self.folder), thoughts_in_a_step(config.rows, self.demonstrations)
        rows: list[Row] = []
        for place in range(step * size, (step + 1) * size):
            epoch, at = divmod(place, len(thoughts))
            record = thoughts[_order(config.seed, epoch, len(thoughts))[at]]
            blocks = tuple(Block(*block) for block in record["blocks"])
            messages, effort = [Message("user", record["prompt"])], Effort(record["effort"])
            rows.append(
                pack(format.sections(messages, effort, blocks, record["answer"], config.fold_window), tokenizer)
            )
        shown = config.model_copy(update={"rows": config.rows - size})
        return rows + step_rows(shown, tokenizer, step)


def thoughts_in_a_step(rows: int, demonstrations: float) -> int:
    """How many of a step's rows are thoughts; raises ConfigError where that leaves none."""
    size = rows - round(rows * demonstrations)
    if size < 1:
        raise ConfigError(f"demonstrations={demonstrations} of {rows} rows leave no room for thoughts: give less")
    return size


@lru_cache(maxsize=1)
def _all(folder: Path) -> list[dict[str, Any]]:
    return [record for path in sorted(folder.glob("*.jsonl")) for record in read_thoughts(path)[1]]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> list[int]:
    return rng_for("distill", seed, epoch).sample(range(count), count)
