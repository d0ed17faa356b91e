"""Others' step labels are trained on: real files, each step a block that is read as the rater would read it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from ponder.errors import ConfigError, ProblemError
from ponder.evaluate.calibration import measure
from ponder.interfaces import Prefix
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.heads import new_head
from ponder.reward.boundary import Judged, Label
from ponder.reward.formats import LabelledSteps, Neutral
from ponder.reward.head import HeadRater
from ponder.runs import Run
from ponder.train.batch import IGNORED
from ponder.train.chunks import read_rollouts
from ponder.train.rated import Labelled, Rated, collate_rated, micro_batches, pack_rollout, rating_loss
from ponder.train.reads import judged, read_all
from ponder.train.reward import Listener, run_reward
from ponder.train.step_labels import StepFiles, Steps, blocks_of, ended, labels_of, segments_of, surprises_of
from ponder.types import Effort, Message

if TYPE_CHECKING:
    from tests.train.conftest import Tiny

DATA = Path(__file__).parents[1] / "reward" / "data"
REAL = tuple(str(DATA / name) for name in ("prm800k.jsonl", "math_shepherd.jsonl"))
SOLUTION = LabelledSteps(
    prompt="What is 2 + 3 + 4?", steps=("2 + 3 = 5", "5 + 4 = 8", "so it is 8"), labels=(True, False, None), right=False
)


@pytest.fixture
def tiny(tiny: Tiny) -> Tiny:
    """The same, on real files of step labels."""
    return partial(tiny, labels="human", step_labels=REAL, steps=2, trunk="frozen")


@pytest.fixture(scope="module")
def checkpoint(micro_checkpoint: Path) -> Checkpoint:
    found = load_checkpoint(micro_checkpoint)
    head = new_head(found.network.shape.hidden_size)
    torch.nn.init.normal_(head.outer.weight, generator=torch.Generator().manual_seed(3))
    return replace(found, head=head)


def rows_of(
    files: Sequence[str], folder: Path, checkpoint: Checkpoint, held: bool = False, **more: Any
) -> list[Labelled]:
    given = StepFiles(tuple(files), more.get("neutral", Neutral.RIGHT), more.get("held_out", 0))
    return Steps(given, folder, held, 4096, more.get("say", print)).rows(0, checkpoint)


def file_of(tmp_path: Path, *lines: dict[str, Any]) -> str:
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def plain(prompt: str, *labels: bool | None, **more: Any) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "completions": [f"{prompt} step {n}" for n in range(len(labels))],
        "labels": labels,
    } | more


def numbers(found: Sequence[Judged]) -> dict[str, float]:
    return measure(found).flat()


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 1, 2])
def test_a_step_is_read_as_the_rater_reads_it(checkpoint: Checkpoint, window: int | None) -> None:
    """Readings and surprises of the packed solution are those of `HeadRater`, which is asked prefix by prefix."""
    seen = replace(checkpoint, config=checkpoint.config.model_copy(update={"fold_window": window}))
    network, tokenizer = seen.own()
    segments = segments_of(SOLUTION, tokenizer, window, 400)
    row = pack_rollout(segments, labels_of(SOLUTION), [])
    (told,) = surprises_of(network, [row.row], 4096)
    assert len(told) == 3 and all(one.total > one.most > 0 for one in told)
    packed, model = [row._replace(surprises=told)], Rated(network, seen.head or new_head(1), frozen=True)
    (said,) = judged(model, packed, read_all(model, packed, 4096, "cpu"), "cpu")
    messages = (Message("user", SOLUTION.prompt),)
    prefixes = [Prefix(messages, Effort.MINIMAL, blocks_of(SOLUTION)[:n]) for n in range(4)]
    for trained, served in zip(said.ratings, asyncio.run(HeadRater(seen).rate(prefixes)), strict=True):
        assert trained.value == pytest.approx(served.value, abs=1e-4)
        assert trained.validity == pytest.approx(served.validity, abs=1e-4)


def test_labels_say_what_is_known_and_nothing_else() -> None:
    assert labels_of(SOLUTION) == (Label(0.0), Label(0.0, 1.0), Label(0.0, 0.0), Label(0.0))
    assert labels_of(replace(SOLUTION, right=None))[:2] == (Label(None), Label(None, 1.0))
    shares = replace(SOLUTION, right=None, values=(0.5, 0.0, 0.0), start=0.75)
    assert labels_of(shares) == (Label(0.75), Label(0.5, 1.0), Label(0.0, 0.0), Label(0.0))


def test_shares_and_neutral_steps_of_real_files_become_labels() -> None:
    for neutral, known in ((Neutral.RIGHT, 1.0), (Neutral.WRONG, 0.0), (Neutral.LEFT_OUT, None)):
        found = [one for _, one in StepFiles(REAL[:1], neutral, 0).solutions if one.line == 2]
        assert [label.validity for label in labels_of(found[0])[1:4]] == [1.0, known, 1.0]
    trees = [labels_of(one) for _, one in StepFiles((str(DATA / "math_aps.jsonl"),), Neutral.RIGHT, 0).solutions]
    assert {labels[0].value for labels in trees} == {0.75, 0.1875, 0.375}, "the questions' own shares"
    assert (0.75, 0.9375, 0.625, 0.046875, 0.0) in {tuple(label.value for label in labels) for labels in trees}


def test_steps_too_long_to_be_read_are_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    long, most = "9 " * 600, min(1024, checkpoint.network.shape.max_position_embeddings)
    lines = [plain("fine", True, False), {"prompt": "cut", "completions": ["1 + 1 = 2", long], "labels": [True, False]}]
    lines.append({"prompt": "gone", "completions": [long], "labels": [False]})
    said: list[str] = []
    rows = rows_of([file_of(tmp_path, *lines)], tmp_path / "kept", checkpoint, say=said.append)
    assert [len(one.labels) for one in rows] == [3, 2] and [one.learned for one in rows] == [1, 1]
    assert said == [
        f"3 labelled solutions to learn from, 2 of them cut before a step that is, with its context, longer than {most}"
        " tokens (1 before their first one: nothing is left of them)"
    ]


def test_wrong_steps_are_not_imitated(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The head reads all of them; the language model beside it learns the steps before the first wrong one."""
    lines = (plain("a", True, False, True), plain("b", False), plain("c", True, None))
    rows = rows_of([file_of(tmp_path, *lines)], tmp_path / "kept", checkpoint)
    assert [one.learned for one in rows] == [1, 0, 2]
    micro, whole = collate_rated(rows), collate_rated([one._replace(learned=None) for one in rows])
    sizes = [[e - s for (s, e), on in zip(one.row.sections, one.row.trained, strict=True) if on] for one in rows]
    learned = micro.batch.targets[: whole.batch.trained] != IGNORED
    assert [bool(part.all()) for part in learned.split(sum(sizes, []))] == [True, False, False, False, True, True]
    assert micro.batch.trained == int(learned.sum()) == sizes[0][0] + sum(sizes[2])
    assert micro.trained == whole.trained and torch.equal(micro.known, whole.known)
    (spared,) = micro_batches(rows[1:2], 4096)
    model = Rated(checkpoint.network, checkpoint.head or new_head(1), frozen=False)
    with torch.no_grad():
        assert torch.equal(rating_loss(1.0)(model, spared), rating_loss(0.0)(model, spared)), (
            "there is nothing to learn"
        )


# --- whole runs -------------------------------------------------------------------------------------------------------


def parts_of(out: Path) -> tuple[list[Labelled], list[Labelled]]:
    train, held = (list(read_rollouts(out / name / "00000.jsonl")) for name in ("rollouts", "held_out"))
    return train, held


def test_a_head_learns_from_real_files(micro_checkpoint: Path, tmp_path: Path, tiny: Tiny) -> None:
    said: list[str] = []
    config, listener = tiny(micro_checkpoint, rows=12), Listener(say=said.append)
    folder = run_reward(config, tmp_path / "run", listener=listener, measure=numbers)
    train, held = parts_of(tmp_path / "run")
    assert len(train) + len(held) == 36 + 7 and len({one.group for one in train}) == 12
    assert len({one.group for one in held}) == 1 and not {one.group for one in held} & {one.group for one in train}
    assert [text.split()[0] for text in said] == [str(len(train)), str(len(held))]
    first, *others = [one for one in train if one.group.startswith("Three pencils")]
    assert [label.validity for label in first.labels[1:]] == [1.0] * 6 and {one.value for one in first.labels} == {1.0}
    shared = [[label.validity for label in one.labels[1:]] for one in others[:5]]
    assert shared == [[None, 0.0]] * 5, "what a line's solutions go on from is labelled once"
    assert {label.value for one in others for label in one.labels} == {None}
    marks = [record["evaluation"] for record in Run(tmp_path / "run").metrics() if "evaluation" in record]
    assert len(marks) > 1 and all("validity_loss" in one for one in marks) and marks[0] != marks[-1]
    found = load_checkpoint(folder)
    assert found.head and found.head.outer.weight.abs().sum() > 0
    before, after = (load_file(path / "model.safetensors")["model.norm.weight"] for path in (micro_checkpoint, folder))
    assert torch.equal(before, after)


def test_a_trunk_learns_from_real_files(micro_checkpoint: Path, tmp_path: Path, tiny: Tiny) -> None:
    files = [str(DATA / f"{name}.jsonl") for name in ("math_shepherd", "processbench", "plain")]
    config = tiny(micro_checkpoint, trunk="joint", step_labels=files, rows=4)
    folder = run_reward(config, tmp_path / "run", measure=numbers)
    marks = [record["evaluation"] for record in Run(tmp_path / "run").metrics() if "evaluation" in record]
    assert len(marks) > 1 and all("language_loss" in one for one in marks)
    before, after = (load_file(path / "model.safetensors")["model.norm.weight"] for path in (micro_checkpoint, folder))
    assert not torch.equal(before, after)


def test_what_was_read_is_kept(micro_checkpoint: Path, tmp_path: Path, tiny: Tiny) -> None:
    """A run goes on to the same bits with what it has read, whatever has become of the files since."""
    path = file_of(tmp_path, *(plain(f"p{n}", True, n % 2 == 0) for n in range(20)))
    config = tiny(micro_checkpoint, step_labels=(path,), steps=4)
    whole = run_reward(config, tmp_path / "whole", measure=numbers)

    class Stop(Exception): ...

    def step(*given: Any) -> None:
        raise Stop

    with pytest.raises(Stop):
        run_reward(config, tmp_path / "broken", listener=Listener(step=step), measure=numbers)
    Path(path).unlink()
    again = run_reward(config, tmp_path / "broken", measure=numbers)
    heads = [load_file(folder / "heads.safetensors") for folder in (whole, again)]
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())
    assert len(list(read_rollouts(tmp_path / "whole" / "held_out" / "00000.jsonl"))) == 2, "one problem in ten"


def test_a_solution_ends_where_its_last_step_does(checkpoint: Checkpoint, tmp_path: Path) -> None:
    lines = [plain(f"p{n}", True, n % 2 == 0, right=n % 2 == 0) for n in range(40)]
    rows = rows_of([file_of(tmp_path, *lines)], tmp_path / "kept", checkpoint, held=True, held_out=4)
    assert len(rows) == 4 and rows_of([file_of(tmp_path, *lines)], tmp_path / "none", checkpoint, held=True) == []
    network, _ = checkpoint.own()
    model = Rated(network, checkpoint.head or new_head(1), frozen=True)
    said = [ended(one) for one in judged(model, rows, read_all(model, rows, 4096, "cpu"), "cpu")]
    found = measure(said)
    assert found.outcome.n == found.start.n == 4 and found.validity.n == found.value.n == 8
    assert found.first_error.n_wrong + found.first_error.n_right == 4
    assert all(one.ratings[-1] == one.ratings[-2] for one in said)


def test_what_does_not_fit_is_refused_before_anything_is_written(
    micro_checkpoint: Path, plain_model: Path, tmp_path: Path, tiny: Tiny
) -> None:
    out, given = tmp_path / "out", partial(tiny, micro_checkpoint)
    path = file_of(tmp_path, plain("a", True), {"prompt": "b", "completions": ["x"], "labels": []})
    with pytest.raises(ProblemError, match=r"line 2: not plain: 0 labels for 1 completions.*; mend that line"):
        run_reward(given(step_labels=(path,)), out)
    with pytest.raises(ProblemError, match=r"none\.jsonl cannot be read"):
        run_reward(given(step_labels=(str(tmp_path / "none.jsonl"),)), out)
    with pytest.raises(ConfigError, match="can think but not be trained"):
        run_reward(tiny(plain_model), out)
    assert not out.exists()
    for more in ({"step_labels": ()}, {"labels": "exact"}):
        with pytest.raises(ValueError, match="give --labels human --step-labels FILE"):
            given(**more)
    with pytest.raises(ValueError, match="leave out rollouts"):
        given(rollouts="runs/other")
    unknown = file_of(tmp_path, plain("a", None))
    with pytest.raises(ConfigError, match=r"steps\.jsonl no step has a label"):
        run_reward(given(step_labels=(unknown,), held_out=0), tmp_path / "unknown")
    told = given().model_dump(mode="json")
    assert told["step_labels"] == list(REAL) and "neutral" not in told


@pytest.fixture
def plain_model(plain: Any) -> Path:
    return plain()
