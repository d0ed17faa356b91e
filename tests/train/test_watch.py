"""Each failure is caught with the right action; a run that has gone back is resumable to the same bits."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ponder.errors import TrainingError
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.network import Network
from ponder.runs import Run
from ponder.train import loop
from ponder.train.actors import Parts, Sample, sample_here
from ponder.train.loop import Progress
from ponder.train.monitors import Alarm
from ponder.train.rl import Listener, RLConfig, run_rl
from ponder.train.rollout import Drawn
from ponder.types import Completion, Grade, Problem

TINY: dict[str, Any] = {
    "tasks": ("multiplication:1",),
    "efforts": ("none",),
    "thinking": 24,
    "answer": 6,
    "problems": 4,
    "samples": 4,
    "steps": 12,
    "learning_rate": 1e-3,
    "threads": 1,
    "workers": 1,
    "shown": 1,
    "probe": 3,
    "probe_samples": 4,
}


def odd(problem: Problem, completion: Completion) -> Grade:
    """Right are answers with a 3 or a 7 in them."""
    return Grade(float("3" in completion.answer or "7" in completion.answer))


def tiny(model: Path, **more: Any) -> RLConfig:
    return RLConfig.model_validate({"model": str(model), **TINY, **more})


def rounds(out: Path) -> list[dict[str, Any]]:
    return [record for record in Run(out).metrics() if "degenerate" in record]


def backs(out: Path) -> list[dict[str, Any]]:
    return [record for record in Run(out).metrics() if record.get("action") == "roll back"]


Harm = Callable[[Network], None]


def poisoned(network: Network) -> None:
    with torch.no_grad():
        network.model.norm.weight.fill_(torch.nan)


def collapsed(network: Network) -> None:
    with torch.no_grad():
        network.model.norm.weight.mul_(200.0)


def harmed(after: int, harm: Harm, times: int = 1, stop: int = 0) -> tuple[Callable[[Checkpoint], Sample], Listener]:
    """A run whose weights are harmed after a step, so many times, and that is killed after another one."""
    kept: list[Checkpoint] = []
    left = [times]

    def keep(policy: Checkpoint) -> Sample:
        kept.append(policy)
        return sample_here(policy)

    def heard(progress: Progress, record: dict[str, float]) -> None:
        if progress.step == after and left[0]:
            left[0] -= 1
            harm(kept[0].own()[0])
        elif progress.step == stop and not left[0]:
            raise KeyboardInterrupt

    return keep, Listener(step=heard)


# --- going back -------------------------------------------------------------------------------------------------------


def test_weights_that_broke_are_put_back(taught: Path, tmp_path: Path) -> None:
    sample, listener = harmed(7, poisoned)
    heard: list[Alarm] = []
    folder = run_rl(tiny(taught), tmp_path, grader=odd, sample=sample, listener=replace(listener, alarm=heard.append))
    assert load_checkpoint(folder), "it came to its end with finite weights"
    (record,) = backs(tmp_path)
    assert (record["step"], record["from"], record["to"], record["smaller"]) == (5, 7, 5, 0.5)
    assert [alarm.name for alarm in heard if alarm.action == "roll back"] == [record["alarm"]] == ["finite"]
    assert "not finite" in record["why"]
    assert [one["step"] for one in rounds(tmp_path)] == list(range(1, 13)), "what was undone is not told twice"
    rates = {one["step"]: one["rate"] for one in rounds(tmp_path)}
    assert rates[5] == pytest.approx(1e-3) and rates[6] == pytest.approx(5e-4)
    assert not (tmp_path / "healthy").exists(), "nobody needs it any more"


def test_a_policy_that_collapsed_goes_back_to_before_it_did(taught: Path, tmp_path: Path) -> None:
    sample, listener = harmed(8, collapsed)
    run_rl(tiny(taught, steps=20), tmp_path, grader=odd, sample=sample, listener=listener)
    (record,) = backs(tmp_path)
    assert record["alarm"] == "entropy" and record["to"] == 5 and 9 <= record["from"] <= 13
    assert min(one["entropy"] for one in rounds(tmp_path)[5:]) > 0.3


@pytest.mark.parametrize(
    ("most", "words"), [(0, "not finite"), (2, "it went back 2 times to go on with smaller steps")]
)
def test_it_goes_back_so_often_and_no_more(taught: Path, tmp_path: Path, most: int, words: str) -> None:
    sample, listener = harmed(6, poisoned, times=9)
    with pytest.raises(TrainingError, match=rf"{words}.*begin another run there"):
        run_rl(tiny(taught, roll_backs=most), tmp_path, grader=odd, sample=sample, listener=listener)
    assert [record["smaller"] for record in backs(tmp_path)] == [0.5, 0.25][:most]
    for folder in [tmp_path / "state", *(tmp_path / "healthy").iterdir()]:
        if folder.exists():
            saved = load_file(folder / "state.safetensors")
            assert all(bool(value.isfinite().all()) for value in saved.values())


@pytest.mark.parametrize("stop", [11, 14])
def test_killed_after_it_went_back_it_ends_with_the_same_bits(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    config = tiny(taught, updates=2, kl=0.05, reset_reference=2, steps=8)
    if stop == 14:
        monkeypatch.setitem(loop.LoopConfig.__init__.__kwdefaults__, "save_seconds", 0.0)
    sample, listener = harmed(12, poisoned)
    whole = run_rl(config, tmp_path / "whole", grader=odd, sample=sample, listener=listener)
    assert backs(tmp_path / "whole")[0]["to"] == 10
    sample, listener = harmed(12, poisoned, stop=stop)
    with pytest.raises(KeyboardInterrupt):
        run_rl(config, tmp_path / "broken", grader=odd, sample=sample, listener=listener)
    assert json.loads((tmp_path / "broken" / "state" / "companion.json").read_text())["rolled"]
    broken = run_rl(config, tmp_path / "broken", grader=odd)
    one, other = load_file(whole / "model.safetensors"), load_file(broken / "model.safetensors")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    clocks = {"seconds", "waited", "sampling", "training"}
    told = [
        [{name: value for name, value in record.items() if name not in clocks} for record in Run(out).metrics()]
        for out in (tmp_path / "whole", tmp_path / "broken")
    ]
    assert sorted(told[0], key=json.dumps) == sorted(told[1], key=json.dumps)


# --- what is not mended by a smaller step -----------------------------------------------------------------------------


def test_weights_behind_the_engine_s_back_stop_it(taught: Path, tmp_path: Path) -> None:
    """A sampler that goes on with the weights of the start, as an engine does that nobody told of an update."""

    def stale(policy: Checkpoint) -> Sample:
        old = Network(policy.own()[0].shape)
        old.load_state_dict(policy.own()[0].state_dict())
        return sample_here(replace(policy, network=old))

    with pytest.raises(TrainingError, match="do not compute the same policy"):
        run_rl(tiny(taught, learning_rate=1e-2), tmp_path, grader=odd, sample=stale)
    assert backs(tmp_path) == [] and Run(tmp_path).metrics()[-1]["action"] == "stop"


# --- the probe --------------------------------------------------------------------------------------------------------


def test_every_kept_checkpoint_is_tried_on_the_same_problems(taught: Path, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def keep(policy: Checkpoint) -> Sample:
        sample = sample_here(policy)

        def watched(parts: Parts) -> list[Drawn]:
            seen.append([draw.problem.id for part in parts for draw in part])
            return sample(parts)

        return watched

    run_rl(tiny(taught, steps=4), tmp_path, grader=odd, sample=keep)
    probes = {record["step"]: record["probe"] for record in Run(tmp_path).metrics() if "probe" in record}
    assert list(probes) == [0, 1, 2, 4] and all(set(probe) == {"pass@1", "pass@4"} for probe in probes.values())
    assert all(0 <= probe["pass@1"] <= probe["pass@4"] <= 1 for probe in probes.values())
    tried = [ids for ids in seen if len(ids) == 12]
    assert len(tried) == 4 and all(ids == tried[0] for ids in tried) and ":validation:" in tried[0][0]
    told = {record["step"]: record.get("probe_pass@4") for record in rounds(tmp_path)}
    assert told == {1: probes[0]["pass@4"], 2: probes[1]["pass@4"], 3: probes[2]["pass@4"], 4: None}
    assert rounds(tmp_path)[-1]["sampled"] < 4 * 16 * 20, "its tokens are nobody's lesson"
