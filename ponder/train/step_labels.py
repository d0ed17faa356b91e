"""Step labels that others made, as rows to train on: each step is a block of the checkpoint's, written by another hand.

Validity is what was said of a step; value is the share of continuations that ended right where the file has it, else
how the solution ended, else unknown. A step that several solutions of one line go on from is labelled once. How
surprising each step is the checkpoint says itself, in one pass over the packed solutions, as its rater does.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ponder.model.checkpoint import Checkpoint
from ponder.model.network import Network
from ponder.reward.boundary import Judged, Label, Labels
from ponder.reward.formats import LabelledSteps, Neutral, read_steps
from ponder.runs import write_whole
from ponder.seeds import seed_for
from ponder.text import format
from ponder.text.effort import smallest_effort
from ponder.text.tokenizer import PonderTokenizer
from ponder.train.batch import Row, collate, pack_segments, split_packed
from ponder.train.chunks import read_rollouts, written
from ponder.train.rated import Labelled
from ponder.types import Block, Message, Segment, Surprise, Thought

LONGEST = 1024
"""Most tokens of a step with its context: attention takes memory with their square, for many steps together."""
SHARE = 10
"""One in so many problems is held out, as far as that many are asked for."""


@dataclass(frozen=True)
class StepFiles:
    """Files of step labels in any of the known formats."""

    files: tuple[str, ...]
    neutral: Neutral
    held_out: int
    """Most problems that are held out, chosen by a hash of their prompts."""

    @cached_property
    def solutions(self) -> list[tuple[str, LabelledSteps]]:
        """All labelled solutions with where each comes from; raises ProblemError for a line that cannot be read."""
        return [(f"{file}:{one.line}", one) for file in self.files for one in read_steps(file, neutral=self.neutral)]

    @cached_property
    def held(self) -> frozenset[str]:
        """The problems that are held out."""
        problems = sorted({problem_of(one) for _, one in self.solutions}, key=lambda text: seed_for("held out", text))
        return frozenset(problems[: min(self.held_out, len(problems) // SHARE)])


@dataclass(frozen=True)
class Steps:
    """The solutions for training, or the held-out ones, and the folder that they are kept in once they are read."""

    given: StepFiles
    folder: Path
    held: bool
    most_tokens: int
    """Of one pass."""
    say: Callable[[str], None] = lambda text: None
    """Hears what was read, and what of it was left out."""
    count: int = 1
    """How many files it is kept in."""

    @property
    def path(self) -> Path:
        """The file they are kept in."""
        return self.folder / "00000.jsonl"

    def check(self) -> None:
        """Read the given files, unless they have been read; raises ProblemError for a line that cannot be."""
        if not self.path.exists():
            _ = self.given.solutions

    def rows(self, index: int, checkpoint: Checkpoint) -> list[Labelled]:
        """The packed solutions, of which the language model learns the steps before the first wrong one."""
        if not self.path.exists():
            self.folder.mkdir(exist_ok=True)
            write_whole(self.path, "".join(json.dumps(record) + "\n" for record in self._records(checkpoint)))
        return list(read_rollouts(self.path))

    def _records(self, checkpoint: Checkpoint) -> Iterator[dict[str, Any]]:
        network, tokenizer = checkpoint.own()
        longest = min(LONGEST, network.shape.max_position_embeddings)
        window = checkpoint.config.fold_window
        own = [pair for pair in self.given.solutions if (problem_of(pair[1]) in self.given.held) is self.held]
        pairs = [(where, one, segments_of(one, tokenizer, window, longest)) for where, one in own]
        cut = sum(len(segments) < len(one.steps) for _, one, segments in pairs)
        pairs = [pair for pair in pairs if pair[2]]
        self.say(self._told(len(own), len(pairs), cut, longest))
        surprises = surprises_of(network, [pack_segments(segments) for *_, segments in pairs], self.most_tokens)
        known: set[tuple[str, tuple[str, ...]]] = set()
        for (where, one, segments), told in zip(pairs, surprises, strict=True):
            labels = labels_of(one)
            if not self.held:
                places = [(where, one.steps[:boundary]) for boundary in range(len(labels))]
                labels = tuple(Label(None) if at in known else label for at, label in zip(places, labels, strict=True))
                known |= set(places[: len(segments) + 1])
            first = one.first_error if one.first_error >= 0 else len(segments)
            about = {"problem": problem_of(one), "from": where, "learned": min(first, len(segments))}
            yield about | written(labels[: len(segments) + 1], segments, told)

    def _told(self, found: int, read: int, cut: int, longest: int) -> str:
        if self.held and not found:
            return f"no solutions are held out: that is one problem in {SHARE}, and at most {self.given.held_out}"
        told = f"{found} labelled solutions {'are held out' if self.held else 'to learn from'}"
        if cut:
            told += f", {cut} of them cut before a step that is, with its context, longer than {longest} tokens"
        return told + (f" ({found - read} before their first one: nothing is left of them)" if read < found else "")


def problem_of(one: LabelledSteps) -> str:
    """The problem that a solution belongs to, however its text is broken into lines."""
    return " ".join(one.prompt.split())


def blocks_of(one: LabelledSteps) -> Thought:
    """The steps as blocks; each one's text is its summary, for that is what later blocks see."""
    return tuple(Block("", "", step) for step in one.steps)


def segments_of(one: LabelledSteps, tokenizer: PonderTokenizer, window: int | None, longest: int) -> list[Segment]:
    """A segment for each step, under the smallest effort that holds them all, up to one that is too long to be read."""
    messages, blocks = (Message("user", one.prompt),), blocks_of(one)
    encoded = [tuple(tokenizer.encode(format.render_block(block))) for block in blocks]
    effort = smallest_effort(sum(map(len, encoded)))
    segments: list[Segment] = []
    for number, ids in enumerate(encoded):
        context = tokenizer.encode(format.render_context(messages, effort, blocks[:number], window))
        if len(context) + len(ids) > longest:
            break
        segments.append(Segment(tuple(context), ids, ()))
    return segments


def labels_of(one: LabelledSteps) -> Labels:
    """The labels at the start and after each step."""
    end = None if one.right is None else float(one.right)
    values = one.values or (end,) * len(one.steps)
    validities = (None if label is None else float(label) for label in one.labels)
    blocks = (Label(value, validity) for value, validity in zip(values, validities, strict=True))
    return (Label(end if one.start is None else one.start), *blocks)


@torch.no_grad()
def surprises_of(network: Network, rows: Sequence[Row], most_tokens: int) -> list[tuple[Surprise, ...]]:
    """How surprising each segment of packed rows is to the network, read in passes of at most so many tokens."""
    device = str(next(network.parameters()).device)
    found: dict[int, tuple[Surprise, ...]] = {}
    for group in split_packed(range(len(rows)), lambda index: rows[index], most_tokens):
        batch = collate([rows[index] for index in group]).to(device)
        hidden = F.embedding(batch.predicting, network.hidden(batch.ids, batch.positions, batch)[0])[: batch.trained]
        chances = network.logits(hidden).float().log_softmax(-1)
        parts = iter(chances.gather(1, batch.targets[: batch.trained, None])[:, 0].split(_lengths(rows, group)))
        for index in group:
            found[index] = tuple(Surprise.of(next(parts).tolist()) for trained in rows[index].trained if trained)
    return [found[index] for index in range(len(rows))]


def _lengths(rows: Sequence[Row], group: Sequence[int]) -> list[int]:
    """Of the trained sections, in the order of their rows."""
    parts = ((rows[index].sections, rows[index].trained) for index in group)
    return [
        end - start for sections, trained in parts for (start, end), one in zip(sections, trained, strict=True) if one
    ]


def ended(one: Judged) -> Judged:
    """A solution ends where its last step does: what is said and known there, of value, holds for its answer too."""
    return replace(one, ratings=(*one.ratings, one.ratings[-1]), labels=(*one.labels, Label(one.labels[-1].value)))
