"""Labelled rollouts in files: a chunk of problems at a time is sampled, labelled and written whole.

A chunk depends on its source and its number alone: it is sampled by a sampler of its own, so that a run which was
killed goes on with the chunks it has and samples the others as it would have.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ponder.engine.local import LocalSampler
from ponder.errors import CheckpointError
from ponder.model.checkpoint import Checkpoint
from ponder.reward.boundary import Label, Labels
from ponder.reward.exact import exact_labels, grade_completion, outcome_labels
from ponder.reward.labels import Cost, MonteCarlo, folded_state
from ponder.runs import write_whole
from ponder.seeds import rng_for, seed_for
from ponder.tasks import TASKS, make
from ponder.train.rated import Labelled, pack_rollout
from ponder.train.rollout import Draw, Drawn, roll_out_all
from ponder.types import Effort, Problem, Segment, Split, Surprise

CHUNK = 64
"""Problems in a file."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which rollouts, and how they are labelled."""

    levels: tuple[tuple[str, int], ...]
    problems: int
    samples: int
    efforts: tuple[Effort, ...]
    temperature: float
    labels: str
    continuations: int
    search: str
    split: Split
    seed: int

    def problem(self, index: int) -> tuple[Problem, Effort]:
        """Problem number `index`: the levels in turn, and each of them under the efforts in turn."""
        name, level = self.levels[index % len(self.levels)]
        number = rng_for("rollouts", self.seed, self.split, index).getrandbits(48)
        effort = self.efforts[index // len(self.levels) % len(self.efforts)]
        return make(TASKS[name], level, self.split, number), effort

    def draws(self, problems: Sequence[int]) -> list[Draw]:
        """All rollouts of some problems."""
        pairs = [(index, *self.problem(index)) for index in problems]
        return [
            Draw(problem, effort, seed_for("rollout", self.seed, self.split, index, sample), self.temperature)
            for index, problem, effort in pairs
            for sample in range(self.samples)
        ]


@dataclass(frozen=True)
class Chunks:
    """A source and the folder of its files."""

    source: Source
    folder: Path

    @property
    def count(self) -> int:
        """How many files there are in the end."""
        return -(-self.source.problems // CHUNK)

    def rows(self, index: int, checkpoint: Checkpoint) -> list[Labelled]:
        """The packed rollouts of one chunk, read from its file, or sampled and written first."""
        path = self.folder / f"{index:05}.jsonl"
        if not path.exists():
            self.folder.mkdir(exist_ok=True)
            last = min(self.source.problems, (index + 1) * CHUNK)
            drawn, labels, costs = asyncio.run(_draw(self.source, range(index * CHUNK, last), checkpoint))
            records = (_record(*one) for one in zip(drawn, labels, costs, strict=True))
            write_whole(path, "".join(json.dumps(record) + "\n" for record in records))
        return list(read_rollouts(path))


async def _draw(
    source: Source, problems: Sequence[int], checkpoint: Checkpoint
) -> tuple[list[Drawn], list[Labels], list[Cost]]:
    """Sample and label; rollouts in the order of their problems."""
    sampler = LocalSampler(replace(checkpoint, head=None))
    drawn = await roll_out_all(source.draws(problems), sampler)
    if source.labels == "outcome":
        labels = [outcome_labels(one.rollout.completion, one.rollout.grade) for one in drawn]
    elif source.labels == "exact":
        labels = [exact_labels(one.rollout.problem, one.rollout.completion, one.rollout.grade) for one in drawn]
    else:
        carlo = MonteCarlo(
            sampler,
            grade_completion,
            source.continuations,
            source.temperature,
            source.seed,
            folded_state(checkpoint.config.fold_window),
        )
        found = await asyncio.gather(
            *(
                carlo.label(one.draw.problem, one.draw.effort, one.rollout.completion, one.rollout.grade, source.search)
                for one in drawn
            )
        )
        return drawn, [one.labels for one in found], [one.cost for one in found]
    return drawn, labels, [Cost()] * len(drawn)


def _record(drawn: Drawn, labels: Labels, cost: Cost) -> dict[str, Any]:
    """A rollout as plain JSON values; of the log-probabilities, what the head reads of them."""
    rollout = drawn.rollout
    problem, completion = rollout.problem, rollout.completion
    return {
        "problem": problem.id,
        "prompt": problem.prompt,
        "effort": drawn.draw.effort,
        "answer": completion.answer,
        "ended": completion.ended,
        "score": rollout.grade.score,
        "labels": [[label.value, label.validity] for label in labels],
        "cost": vars(cost),
        "segments": [[segment.context, segment.generated] for segment in rollout.segments],
        "surprises": [Surprise.of(segment.logprobs) for segment in rollout.segments],
    }


def read_rollouts(path: Path) -> Iterator[Labelled]:
    """The packed rollouts of a file, with their labels, grouped by problem."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            segments = [Segment(tuple(context), tuple(ids), ()) for context, ids in record["segments"]]
            labels = tuple(Label(value, validity) for value, validity in record["labels"])
            surprises = [Surprise(*found) for found in record["surprises"]]
            yield pack_rollout(segments, labels, surprises, record["problem"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as err:
        raise CheckpointError(f"{path} is damaged ({err}): remove it to sample its rollouts again") from err
