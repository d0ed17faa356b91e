"""What one run sampled another one labels in its own way, without sampling or reading it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from ponder.errors import ConfigError
from ponder.evaluate.calibration import measure
from ponder.model.checkpoint import load_checkpoint
from ponder.reward.boundary import Judged, Label
from ponder.train.chunks import Chunks, Source, read_rollouts
from ponder.train.reward import run_reward
from ponder.types import Effort, Split

if TYPE_CHECKING:
    from tests.train.conftest import Tiny


@pytest.fixture
def tiny(tiny: Tiny) -> Tiny:
    """The same, of a trunk that stands still."""
    return partial(tiny, trunk="frozen")


def numbers(found: Sequence[Judged]) -> dict[str, float]:
    return measure(found).flat()


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "heads.safetensors")


def test_rollouts_of_one_run_are_labelled_anew_in_another(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    monkeypatch.setattr("ponder.train.chunks.CHUNK", 4)
    first, again = tmp_path / "exact", {"rollouts": str(tmp_path / "exact"), "continuations": 2}
    run_reward(tiny(taught), first, measure=numbers)
    moved = run_reward(tiny(taught, steps=1, problems=2, held_out=0, trunk="joint"), tmp_path / "moved")
    monkeypatch.setattr("ponder.train.chunks.roll_out_all", lambda *given: pytest.fail("sampled again"))
    with monkeypatch.context() as unread:
        unread.setattr("ponder.train.reward.read_all", lambda *given: pytest.fail("read again"))
        run_reward(tiny(taught, **again), tmp_path / "same", measure=numbers)
        run_reward(tiny(taught, **again, labels="outcome"), tmp_path / "outcome", measure=numbers)
        part = {"problems": 5, "samples": 1, "held_out": 2, "rows": 4}
        run_reward(tiny(taught, **again, **part, labels="mc"), tmp_path / "mc", measure=numbers)
    for folder in ("rollouts", "held_out"):
        for path in (first / folder).iterdir():
            assert path.read_text() == (tmp_path / "same" / folder / path.name).read_text(), "labelled otherwise"
    whole, same = weights(first), weights(tmp_path / "same")
    assert all(torch.equal(value, same[name]) for name, value in whole.items())
    rows = {
        name: [one for path in sorted((tmp_path / name / "rollouts").iterdir()) for one in read_rollouts(path)]
        for name in ("exact", "outcome", "mc")
    }
    assert [one.row for one in rows["outcome"]] == [one.row for one in rows["exact"]]
    assert [one.surprises for one in rows["mc"]] == [one.surprises for one in rows["exact"][::2][:5]]
    ends = [one.labels[-1].value for one in rows["exact"]]
    assert [one.labels[-1].value for one in rows["outcome"]] == ends
    assert all(label == Label(None) for one in rows["outcome"] for label in one.labels[:-1])
    assert all(one.labels[0].value is not None for one in rows["mc"])
    for more, words in (({"seed": 1}, "other rollouts"), ({"problems": 11}, "at most 10 problems")):
        with pytest.raises(ConfigError, match=words):
            run_reward(tiny(taught, **again, **more), tmp_path / "refused")
    with pytest.raises(ConfigError, match="sampled from"):
        run_reward(tiny(moved, **again), tmp_path / "refused")
    (first / "rollouts" / "00001.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"00001\.jsonl is not there yet"):
        run_reward(tiny(taught, **again, seed=0), tmp_path / "late")


def test_a_new_head_is_begun_where_it_is_asked_for(taught: Path, tmp_path: Path, tiny: Tiny) -> None:
    first = run_reward(tiny(taught, labels="exact", held_out=0), tmp_path / "first")
    again = tiny(first, labels="outcome", steps=1, learning_rate=1e-12, fresh=True, held_out=0)
    head = load_checkpoint(run_reward(again, tmp_path / "second")).head
    assert head and head.outer.weight.abs().max() < 1e-6
    assert not {"fresh", "rollouts"} & tiny(taught).model_dump(mode="json").keys()


def test_chunks_end_with_the_last_problem(taught: Path, tmp_path: Path) -> None:
    source = Source(
        levels=(("letters", 1),), problems=65, samples=2, efforts=(Effort.MINIMAL,), temperature=1.0, labels="exact",
        continuations=1, search="linear", split=Split.TRAIN, seed=0,
    )  # fmt: skip
    assert Chunks(source, tmp_path).count == 2
    assert Chunks(replace(source, problems=0), tmp_path).count == 0
    assert len(Chunks(source, tmp_path).rows(1, load_checkpoint(taught))) == 2
