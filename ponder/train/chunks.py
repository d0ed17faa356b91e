"""Labelled rollouts in files: a chunk of problems at a time is sampled, labelled and written whole.

A chunk depends on its source and its number alone: it is sampled by a sampler of its own, so that a run which was
killed goes on with the chunks it has and samples the others as it would have. What one run has sampled another one may
label in its own way: heads that learn from different labels are then told apart by these alone.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ponder.engine.form import pieces
from ponder.engine.local import LocalSampler
from ponder.errors import CheckpointError, ConfigError
from ponder.model.checkpoint import Checkpoint
from ponder.reward.boundary import Label, Labels
from ponder.reward.exact import exact_labels, grade_completion, outcome_labels
from ponder.reward.labels import Cost, MonteCarlo, folded_state
from ponder.runs import write_whole
from ponder.seeds import rng_for, seed_for
from ponder.tasks import TASKS, make
from ponder.text import format
from ponder.text.format import BLOCKS
from ponder.text.tokenizer import PonderTokenizer
from ponder.train.rated import Labelled, pack_rollout
from ponder.train.rollout import Draw, Drawn, roll_out_all
from ponder.types import Completion, Effort, Ended, Grade, Problem, Rollout, Segment, Split, Surprise

CHUNK = 64
"""Problems in a file."""
LABELLING: dict[str, Any] = {"labels": "", "value": "outcome", "continuations": 0, "search": ""}
"""What two sources may differ in that sample the same, beside how many problems and samples of each they have."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which rollouts, and how they are labelled."""

    levels: tuple[tuple[str, int], ...]
    problems: int
    samples: int
    efforts: tuple[Effort, ...]
    temperature: float
    labels: str
    value: Literal["outcome", "winnable"] = "outcome"
    """Of blocks, for exact labels."""
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

    def part_of(self, other: "Source") -> bool:
        """Whether all of these rollouts are among the other one's, however labelled."""
        fewer = self.problems <= other.problems and self.samples <= other.samples
        sizes = {"problems": other.problems, "samples": other.samples}
        return fewer and replace(self, **sizes, **LABELLING) == replace(other, **LABELLING)

    def numbers_in(self, other: "Source") -> list[int]:
        """Where these rollouts stand among the other one's."""
        return [problem * other.samples + sample for problem in range(self.problems) for sample in range(self.samples)]


@dataclass(frozen=True)
class Chunks:
    """A source and the folder of its files."""

    source: Source
    folder: Path
    sampled: "Chunks | None" = None
    """Whose rollouts are labelled in place of sampling."""

    @property
    def count(self) -> int:
        """How many files there are in the end."""
        return -(-self.source.problems // CHUNK)

    def rows(self, index: int, checkpoint: Checkpoint) -> list[Labelled]:
        """The packed rollouts of one chunk, read from its file, or sampled and written first."""
        path = self.folder / f"{index:05}.jsonl"
        if not path.exists():
            self.folder.mkdir(exist_ok=True)
            problems = range(index * CHUNK, min(self.source.problems, (index + 1) * CHUNK))
            records = asyncio.run(self._records(index, self.source.draws(problems), checkpoint))
            write_whole(path, "".join(json.dumps(record) + "\n" for record in records))
        return list(read_rollouts(path))

    async def _records(self, index: int, draws: Sequence[Draw], checkpoint: Checkpoint) -> list[dict[str, Any]]:
        """Sampled, or read again, and labelled; in the order of their problems."""
        sampler = LocalSampler(replace(checkpoint, head=None))
        if self.sampled is None:
            drawn = await roll_out_all(draws, sampler)
            surprises = [[Surprise.of(segment.logprobs) for segment in one.rollout.segments] for one in drawn]
        else:
            records = self.sampled.records(index, self.source.samples)[: len(draws)]
            tokenizer = checkpoint.own()[1]
            drawn = [_again(draw, record, tokenizer) for draw, record in zip(draws, records, strict=True)]
            surprises = [[Surprise(*found) for found in record["surprises"]] for record in records]
        labels, costs = await _label(self.source, drawn, sampler, checkpoint.config.fold_window)
        return [_record(*one) for one in zip(drawn, surprises, labels, costs, strict=True)]

    def records(self, index: int, samples: int) -> list[dict[str, Any]]:
        """The records of a chunk's file, the first so many of each problem."""
        path, own = self.folder / f"{index:05}.jsonl", self.source.samples
        if not path.exists():
            raise ConfigError(f"{path} is not there yet: let the run that samples it come so far, or name another one")
        try:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as err:
            raise CheckpointError(f"{path} is damaged ({err}): remove it to sample its rollouts again") from err
        return [record for at, record in enumerate(found) if at % own < samples]


def _again(draw: Draw, record: dict[str, Any], tokenizer: PonderTokenizer) -> Drawn:
    """A rollout as it was sampled, but for its log-probabilities and token counts."""
    if record["problem"] != draw.problem.id:
        raise CheckpointError(f"a rollout of {record['problem']} stands where one of {draw.problem.id} should be")
    segments = tuple(Segment(tuple(context), tuple(ids), ()) for context, ids in record["segments"])
    markers = {id_: text for text, id_ in tokenizer.special.items()}
    blocks = [
        replace(format.parse_on(pieces(one.generated, markers, tokenizer), BLOCKS).result().blocks[0], surprise=told)
        for one, told in zip(segments[:-1], (Surprise(*found) for found in record["surprises"]), strict=False)
    ]
    completion = Completion(tuple(blocks), record["answer"], Ended(record["ended"]))
    return Drawn(draw, Rollout(draw.problem, completion, segments, Grade(record["score"])), None)


async def _label(
    source: Source, drawn: Sequence[Drawn], sampler: LocalSampler, window: int | None
) -> tuple[list[Labels], list[Cost]]:
    """The labels that the source asks for, and what they cost."""
    if source.labels == "outcome":
        labels = [outcome_labels(one.rollout.completion, one.rollout.grade) for one in drawn]
    elif source.labels == "exact":
        rollouts, value = [one.rollout for one in drawn], source.value
        labels = [exact_labels(one.problem, one.completion, one.grade, value=value) for one in rollouts]
    else:
        carlo = MonteCarlo(
            sampler,
            grade_completion,
            source.continuations,
            source.temperature,
            source.seed,
            folded_state(window),
        )
        found = await asyncio.gather(
            *(
                carlo.label(one.draw.problem, one.draw.effort, one.rollout.completion, one.rollout.grade, source.search)
                for one in drawn
            )
        )
        return [one.labels for one in found], [one.cost for one in found]
    return labels, [Cost()] * len(drawn)


def _record(drawn: Drawn, surprises: Sequence[Surprise], labels: Labels, cost: Cost) -> dict[str, Any]:
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
        "cost": vars(cost),
        **written(labels, rollout.segments, surprises),
    }


def written(labels: Labels, segments: Sequence[Segment], surprises: Sequence[Surprise]) -> dict[str, Any]:
    """What `read_rollouts` packs, as plain JSON values."""
    return {
        "labels": [[label.value, label.validity] for label in labels],
        "segments": [[segment.context, segment.generated] for segment in segments],
        "surprises": surprises,
    }


def read_rollouts(path: Path) -> Iterator[Labelled]:
    """The packed rollouts of a file, with their labels, grouped by problem."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            segments = [Segment(tuple(context), tuple(ids), ()) for context, ids in record["segments"]]
            labels = tuple(Label(value, validity) for value, validity in record["labels"])
            surprises = [Surprise(*found) for found in record["surprises"]]
            yield pack_rollout(segments, labels, surprises, record["problem"])._replace(learned=record.get("learned"))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as err:
        raise CheckpointError(f"{path} is damaged ({err}): remove it to sample its rollouts again") from err
