"""Stages: what is done stays done, what changed is done again with what follows from it, and nothing is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.train.stages import PRIOR, REPLACED, Schedule, Stage, StageListener, Tell, run_stages

Did = list[str]


class Stop(Exception):
    """What ends a pipeline at a place that a test chooses."""


def appending(did: Did, name: str, inputs: dict[str, Path], words: str, parts: int) -> Callable[[Path, Tell], None]:
    """A stage that can go on: it writes one part after the other, then puts them together."""

    def work(folder: Path, tell: Tell) -> None:
        folder.mkdir(exist_ok=True)
        for part in range(parts):
            path = folder / f"{part}.txt"
            if not path.exists():
                did.append(f"{name}{part}")
                path.write_text(words, encoding="utf-8")
            tell((part + 1) / parts, "")
        read = [path.read_text(encoding="utf-8") for path in inputs.values()]
        (folder / "out").write_text("".join([*read, words * parts]), encoding="utf-8")

    return work


def three(out: Path, did: Did, words: str = "b") -> list[Stage]:
    """a, then b of a, then c of a and b."""
    a, b = out / "a" / "out", out / "b" / "out"
    return [
        Stage("a", {"words": "a", "many": list(range(60))}, {}, "out", appending(did, "a", {}, "a", 2), 2.0),
        Stage("b", {"words": words}, {"a": a}, "out", appending(did, "b", {"a": a}, words, 2), 1.0),
        Stage("c", {"words": "c"}, {"a": a, "b": b}, "out", appending(did, "c", {"a": a, "b": b}, "c", 1), 1.0),
    ]


ALL = ["a0", "a1", "b0", "b1", "c0"]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    did: Did = []
    first = run_stages(three(tmp_path, did), tmp_path)
    assert did == ALL and [one.fresh for one in first] == [True] * 3
    skipped: Did = []
    again = run_stages(three(tmp_path, did), tmp_path, StageListener(skip=lambda stage: skipped.append(stage.name)))
    assert did == ALL and skipped == ["a", "b", "c"] and [one.fresh for one in again] == [False] * 3
    assert (tmp_path / "c" / "out").read_text() == "aaaabbc"


@pytest.mark.parametrize("last", range(5))
def test_stopped_anywhere_it_goes_on(tmp_path: Path, last: int) -> None:
    did: Did = []
    told: Did = []

    def tell(stage: Stage, share: float, words: str, left: float) -> None:
        told.append(stage.name)
        if len(told) == last + 1:
            raise Stop

    with pytest.raises(Stop):
        run_stages(three(tmp_path, did), tmp_path, StageListener(tell=tell))
    assert did == ALL[: last + 1]
    whys: Did = []
    run_stages(three(tmp_path, did), tmp_path, StageListener(begin=lambda stage, why: whys.append(why)))
    assert did == ALL and whys[0] == "going on" and (tmp_path / "c" / "out").read_text() == "aaaabbc"
    assert not (tmp_path / REPLACED).exists()


def test_what_changed_is_done_again_and_what_follows_from_it(tmp_path: Path) -> None:
    did: Did = []
    run_stages(three(tmp_path, did), tmp_path)
    whys: dict[str, str] = {}
    heard = StageListener(begin=lambda stage, why: whys.update({stage.name: why}))
    run_stages(three(tmp_path, did, words="B"), tmp_path, heard)
    assert did == [*ALL, "b0", "b1", "c0"]
    assert whys == {
        "b": 'done again, because words was "b" and is "B"',
        "c": "done again, because b has changed",
    }
    assert (tmp_path / "c" / "out").read_text() == "aaaaBBc"
    assert (tmp_path / REPLACED / "b-1" / "out").read_text() == "aabb", "the old output is set aside"
    run_stages(three(tmp_path, did), tmp_path)
    assert (tmp_path / REPLACED / "b-2" / "out").read_text() == "aaBB"


def test_a_change_that_leads_to_the_same_output_ends_there(tmp_path: Path) -> None:
    did: Did = []
    run_stages(three(tmp_path, did), tmp_path)
    a, b, c = three(tmp_path, did)
    run_stages([replace(a, settings={"words": "A", "many": []}), b, c], tmp_path)
    assert did == [*ALL, "a0", "a1"]


def test_lost_output_is_made_again(tmp_path: Path) -> None:
    did: Did = []
    run_stages(three(tmp_path, did), tmp_path)
    (tmp_path / "b" / "out").unlink()
    whys: Did = []
    run_stages(three(tmp_path, did), tmp_path, StageListener(begin=lambda stage, why: whys.append(why)))
    assert whys == ["done again, because its output is gone"] and did == ALL


def test_a_setting_that_only_other_code_has_changes_nothing(tmp_path: Path) -> None:
    did: Did = []
    run_stages(three(tmp_path, did), tmp_path)
    a, b, c = three(tmp_path, did)
    run_stages([replace(a, settings={**a.settings, "new": 1}), b, c], tmp_path)
    assert did == ALL


@given(pace=st.floats(0.2, 5), share=st.floats(0.05, 1), given_share=st.floats(0.01, 0.5))
def test_the_time_left_follows_the_pace(pace: float, share: float, given_share: float) -> None:
    now = 0.0
    schedule = Schedule({"a": 60.0, "b": 30.0}, clock=lambda: now)
    assert schedule.left("a", 0.0) == pytest.approx(90 * 60)
    assert schedule.left("a", given_share) == pytest.approx((60 * (1 - given_share) + 30) * 60)
    now = pace * 3600 * (1 - given_share)
    left = schedule.left("a", 1.0)
    assert left == pytest.approx(30 * 60 * (now + PRIOR) / (3600 * (1 - given_share) + PRIOR))
    schedule.left("b", 1e-6)
    now += pace * 1800 * share
    assert schedule.left("b", share) == pytest.approx(pace * 1800 * (1 - share), rel=0.2, abs=PRIOR)
    assert schedule.left("b", 1.0) == 0
