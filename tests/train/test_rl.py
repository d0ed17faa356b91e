"""A reward that can be learned is learned, a run goes on to the same bits, and what goes wrong is caught."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ponder.errors import CheckpointError, ConfigError, PonderError, TrainingError
from ponder.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ponder.model.heads import new_head
from ponder.runs import Run
from ponder.tasks import TASKS, make
from ponder.text.effort import Budget
from ponder.train import loop
from ponder.train.actors import Actors, Sample, sample_here, sample_part
from ponder.train.algorithms import ALGORITHMS, algorithm_named
from ponder.train.loop import LoopConfig, Progress, fit
from ponder.train.monitors import Alarm
from ponder.train.rl import Listener, RLConfig, kept_rounds, run_rl
from ponder.train.rollout import Draw
from ponder.types import Completion, Effort, Ended, Grade, Problem, Split

TINY: dict[str, Any] = {
    "tasks": ("multiplication:1", "multiplication:2"),
    "efforts": ("low", "none"),
    "thinking": 24,
    "answer": 6,
    "problems": 4,
    "samples": 4,
    "steps": 6,
    "learning_rate": 5e-3,
    "threads": 1,
    "workers": 1,
    "shown": 1,
    "length_weight": 0.0,
    "probe": 0,
    "roll_backs": 0,
}
PROGRAM = """
import json, sys
from pathlib import Path
from ponder.train import loop
from ponder.train.rl import Listener, RLConfig, run_rl
from ponder.types import Grade
def odd(problem, completion):
    return Grade(float("3" in completion.answer or "7" in completion.answer))
if __name__ == "__main__":
    loop.LoopConfig.__init__.__kwdefaults__["save_seconds"] = 0.0  # a state after every round
    heard = Listener(step=lambda p, r: print(p.step, flush=True))
    run_rl(RLConfig(**json.loads(sys.argv[1])), Path(sys.argv[2]), listener=heard, grader=odd)
"""


def odd(problem: Problem, completion: Completion) -> Grade:
    """Right are answers with a 3 or a 7 in them."""
    return Grade(float("3" in completion.answer or "7" in completion.answer))


def tiny(model: Path, **more: Any) -> RLConfig:
    return RLConfig.model_validate({"model": str(model), **TINY, **more})


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(value, second[name]) for name, value in first.items())


def rounds(out: Path) -> list[dict[str, Any]]:
    return [record for record in Run(out).metrics() if "degenerate" in record]


def untimed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    clocks = {"seconds", "waited", "sampling", "training"}
    return [{name: value for name, value in record.items() if name not in clocks} for record in records]


class Stop(Exception):
    """What ends a run at a place that a test chooses."""


def stopping(step: int) -> Listener:
    def heard(progress: Progress, record: dict[str, float]) -> None:
        if progress.step == step:
            raise Stop

    return Listener(step=heard)


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["grpo", "star"])
def test_a_reward_that_can_be_learned_is_learned(taught: Path, tmp_path: Path, algorithm: str) -> None:
    config = tiny(taught, algorithm=algorithm, efforts=("none",), problems=8, samples=8, steps=16, learning_rate=3e-3)
    folder = run_rl(config, tmp_path, grader=odd)
    found = rounds(tmp_path)
    assert [record["step"] for record in found] == list(range(1, 17))
    late = sum(record["success"] for record in found[-3:]) / 3
    assert found[0]["success"] < 0.6 and late > found[0]["success"] + 0.25
    assert load_checkpoint(folder).config.name == tmp_path.name
    first = found[0]
    assert first["gap"] < 1e-4 and first["reward"] == pytest.approx(first["reward_outcome"] + first["reward_format"])
    assert {"entropy", "length", "length_right", "length_wrong", "cut_off", "malformed", "sampling"} <= first.keys()
    assert any(name.startswith("at multiplication:1") for name in first)
    kept = sorted(int(path.name) for path in (tmp_path / "steps").iterdir())
    assert kept == kept_rounds(16) == [0, 1, 2, 4, 8, 16]
    assert load_checkpoint(tmp_path / "steps" / "00004")
    (sample, *_) = Run(tmp_path).samples()
    assert sample["step"] == 1 and set(sample["reward"]) == {"outcome", "format", "length"}


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"updates": 2, "kl": 0.1, "reset_reference": 2, "options": {"mean": "token", "std": True}},
        {"process": "exact", "algorithm": "star"},
    ],
)
def test_stopped_anywhere_it_ends_with_the_same_bits(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    config = tiny(taught, **more)
    run_rl(config, tmp_path / "whole", grader=odd)
    monkeypatch.setitem(loop.LoopConfig.__init__.__kwdefaults__, "save_seconds", 0.0)  # a state after every round
    broken = tmp_path / "broken"
    for step in (1, 2, 5, 7 if config.updates == 2 else 6):
        with pytest.raises(Stop):
            run_rl(config, broken, grader=odd, listener=stopping(step))
    run_rl(config, broken, grader=odd)
    assert same(tmp_path / "whole", broken)
    assert untimed(rounds(broken)) == untimed(rounds(tmp_path / "whole"))
    assert Run(broken).samples() == Run(tmp_path / "whole").samples()
    moved = load_file(taught / "model.safetensors")
    assert not all(torch.equal(value, moved[name]) for name, value in weights(broken).items()), "nothing was learned"


def test_a_run_ends_with_the_round_that_reaches_its_tokens(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(taught, steps=500, tokens=1200, updates=2, decay=0.5)
    run_rl(config, tmp_path / "whole", grader=odd)
    found = rounds(tmp_path / "whole")
    sampled = [record["sampled"] for record in found]
    assert 3 <= len(found) < 20 and sampled[-2] < 1200 <= sampled[-1]
    shares = [record["rate"] / config.learning_rate for record in found]  # it falls with the tokens, not the rounds
    assert shares == pytest.approx([min(1.0, 2 * (1 - before / 1200)) for before in (0, *sampled[:-1])], abs=1e-4)
    kept = sorted(int(path.name) for path in (tmp_path / "whole" / "steps").iterdir())
    assert kept[-1] == len(found) and found[-1]["step"] == 2 * len(found)
    monkeypatch.setitem(loop.LoopConfig.__init__.__kwdefaults__, "save_seconds", 0.0)  # a state after every round
    broken = tmp_path / "broken"
    for step in (3, 2 * len(found) - 1, 2 * len(found)):
        with pytest.raises(Stop):
            run_rl(config, broken, grader=odd, listener=stopping(step))
    run_rl(config, broken, grader=odd)
    assert same(tmp_path / "whole", broken)
    assert untimed(rounds(broken)) == untimed(rounds(tmp_path / "whole"))
    run_rl(config, broken, grader=odd)
    assert len(rounds(broken)) == len(found), "it went on behind its end"


def test_folders_from_before_there_were_tokens_to_end_at_go_on(taught: Path, tmp_path: Path) -> None:
    assert "tokens" not in tiny(taught).model_dump(mode="json") and "tokens" in tiny(taught, tokens=5).model_dump()
    assert tiny(taught).share(3, 50) == 0.5 and tiny(taught, tokens=60).share(3, 50) == pytest.approx(5 / 6)


def test_killed_it_ends_with_the_same_bits(taught: Path, tmp_path: Path) -> None:
    settings = json.loads(tiny(taught, steps=8).model_dump_json())
    program = tmp_path / "train.py"
    program.write_text(PROGRAM, encoding="utf-8")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_rl(RLConfig.model_validate(settings), whole, grader=odd)
    process = subprocess.Popen(
        [sys.executable, str(program), json.dumps(settings), str(broken)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout
    for line in process.stdout:
        if int(line) >= 3:
            break
    time.sleep(0.01)  # somewhere inside the next round or its save
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (broken / "checkpoint").exists(), "the kill came after the end: it tested nothing"
    heard: list[int] = []
    run_rl(
        RLConfig.model_validate(settings),
        broken,
        grader=odd,
        listener=Listener(step=lambda progress, record: heard.append(progress.step)),
    )
    assert heard[0] >= 3 and heard[-1] == 8, "it did not go on from a saved state"
    assert same(whole, broken)
    assert untimed(rounds(broken)) == untimed(rounds(whole))


def test_processes_sample_what_is_sampled_here(taught: Path) -> None:
    checkpoint = load_checkpoint(taught)
    problems = [make(TASKS["multiplication"], 1, Split.TRAIN, index) for index in range(3)]
    draws = [Draw(problem, Effort.LOW, seed, budget=Budget(24, 6)) for problem in problems for seed in range(4)]
    actors = Actors(checkpoint, 1)
    try:
        before = actors([draws])
        assert before == sample_part(checkpoint, draws) == sample_here(checkpoint)([draws])
        with torch.no_grad():
            checkpoint.own()[0].model.norm.weight.mul_(1.1)
        after = actors([draws])
        assert after == sample_part(checkpoint, draws) != before
        with torch.no_grad():
            checkpoint.own()[0].model.norm.weight.fill_(torch.nan)
        with pytest.raises(PonderError, match="not finite"):
            actors([draws])
    finally:
        actors.close()


# --- what goes wrong --------------------------------------------------------------------------------------------------


def listening(heard: list[Alarm]) -> Listener:
    return Listener(alarm=heard.append)


def test_a_grader_that_pays_for_length_is_caught(taught: Path, tmp_path: Path) -> None:
    def long(problem: Problem, completion: Completion) -> Grade:
        return Grade(float(len(completion.answer) >= 8))

    config = tiny(taught, efforts=("none",), answer=40, problems=6, samples=8, steps=40, learning_rate=1e-3)
    with pytest.raises(TrainingError, match=r"pay for length.*begin another run there") as stopped:
        run_rl(config, tmp_path, grader=long)
    assert [record["alarm"] for record in Run(tmp_path).metrics() if record.get("action") == "stop"] == ["length"]
    assert not (tmp_path / "checkpoint").exists()
    (named,) = [path for path in (tmp_path / "steps").iterdir() if str(path) in str(stopped.value)]
    assert load_checkpoint(named) and 1 <= int(named.name) < 40


def test_weights_that_differ_behind_the_engine_s_back_are_caught(taught: Path, tmp_path: Path) -> None:
    def stale(policy: Checkpoint) -> Sample:
        network = copy.deepcopy(policy.own()[0])
        with torch.no_grad():
            network.model.norm.weight.mul_(1.02)
        return sample_here(replace(policy, network=network))

    with pytest.raises(TrainingError, match="do not compute the same policy"):
        run_rl(tiny(taught), tmp_path, grader=odd, sample=stale)


def test_a_collapsed_policy_is_caught(taught: Path, tmp_path: Path) -> None:
    found = load_checkpoint(taught)
    with torch.no_grad():
        found.own()[0].model.norm.weight.mul_(200.0)
    save_checkpoint(found, tmp_path / "collapsed")
    heard: list[Alarm] = []
    with pytest.raises(TrainingError, match="nothing is learned"):
        run_rl(
            tiny(tmp_path / "collapsed", steps=20, efforts=("none",)),
            tmp_path / "run",
            grader=odd,
            listener=listening(heard),
        )
    actions = [alarm.action for alarm in heard if alarm.name == "degenerate"]
    assert actions[0] == "warn" and actions[-1] == "stop" and len(actions) <= 3, "a warning is given now and then"
    assert rounds(tmp_path / "run")[-1]["entropy"] < 0.05


def test_a_collapse_on_the_way_is_caught(taught: Path, tmp_path: Path) -> None:
    config = tiny(
        taught, algorithm="star", efforts=("none",), problems=8, samples=8, steps=60, learning_rate=1e-2, decay=0.01
    )
    heard: list[Alarm] = []
    with pytest.raises(TrainingError, match="nothing new is tried|nothing is learned"):
        run_rl(config, tmp_path, grader=odd, listener=listening(heard))
    assert "entropy" in {alarm.name for alarm in heard}


@pytest.mark.parametrize(("broken", "stops"), [(0.3, False), (1.0, True)])
def test_a_grader_that_fails_costs_its_samples_alone(taught: Path, tmp_path: Path, broken: float, stops: bool) -> None:
    calls = iter(range(10**6))

    def torn(problem: Problem, completion: Completion) -> Grade:
        if (next(calls) * 0.37) % 1 < broken:
            raise ValueError("torn")
        return odd(problem, completion)

    if stops:
        with pytest.raises(TrainingError, match="could not be graded"):
            run_rl(tiny(taught), tmp_path, grader=torn)
        assert Run(tmp_path).samples()[0]["note"] == "the grader failed: torn"
    else:
        run_rl(tiny(taught, steps=3), tmp_path, grader=torn)
        assert all(0.1 < record["undecided"] < 0.5 and "success" in record for record in rounds(tmp_path))


def test_a_loss_that_is_not_finite_never_reaches_the_weights(taught: Path, tmp_path: Path) -> None:
    class Micro:
        trained, tokens = 1, 1

        def to(self, device: str) -> "Micro":
            return self

    network = load_checkpoint(taught).own()[0]
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def lost(network: torch.nn.Module, micro: Micro) -> torch.Tensor:
        return next(network.parameters()).sum() * torch.nan

    with pytest.raises(TrainingError, match="smaller --learning-rate"):
        fit(network, lambda first: iter([[Micro()]]), lost, LoopConfig(steps=1, learning_rate=1.0), Run(tmp_path))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_damaged_weights_stop_the_run(taught: Path, tmp_path: Path) -> None:
    broken: list[Checkpoint] = []

    def keep(policy: Checkpoint) -> Sample:
        broken.append(policy)
        return sample_here(policy)

    def heard(progress: Progress, record: dict[str, float]) -> None:
        with torch.no_grad():
            broken[0].own()[0].model.norm.weight.fill_(torch.nan)

    with pytest.raises(PonderError, match="not finite"):
        run_rl(tiny(taught), tmp_path, grader=odd, sample=keep, listener=Listener(step=heard))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused(taught: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for more, words in (
        ({"tasks": ("letters:9",)}, "task:level"),
        ({"algorithm": "dpo"}, "the algorithms are"),
        ({"options": {"eps": 1}}, "unknown option"),
        ({"process_weight": 0.99}, "below the outcome's 1"),
        ({"process": "head"}, "no reward head"),
    ):
        with pytest.raises(ConfigError, match=words):
            run_rl(tiny(taught, **more), out)
    with pytest.raises(CheckpointError, match="no model directory"):
        run_rl(tiny(tmp_path / "none"), out)
    assert not out.exists()


def test_the_readme_s_recipe_is_one() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (recipe,) = [part for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "algorithm:" in part]
    config = RLConfig.model_validate(yaml.safe_load(recipe))
    algorithm_named(config.algorithm, config.options)
    config.rewards()
    for name, kind in ALGORITHMS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` | ")]
        assert set(re.findall(r"`(\w+)`", row.split("|")[-2])) == set(kind.model_fields), "its options are told"


def test_the_head_s_ratings_count_where_they_are_asked_for(taught: Path, tmp_path: Path) -> None:
    found = load_checkpoint(taught)
    save_checkpoint(replace(found, head=new_head(32)), tmp_path / "rated")
    config = tiny(tmp_path / "rated", process="head", process_form="progress", steps=2)
    folder = run_rl(config, tmp_path / "run", grader=odd)
    assert all({"reward_process", "optimism"} <= record.keys() for record in rounds(tmp_path / "run"))
    assert load_checkpoint(folder).head is None, "it knows the policy of before"


def test_the_usual_grader_is_exact(taught: Path, tmp_path: Path) -> None:
    run_rl(tiny(taught, steps=1), tmp_path)
    (record,) = rounds(tmp_path)
    assert record["undecided"] == 0 and record["success"] < 0.5
    assert Run(tmp_path).samples()[0]["ended"] in set(Ended)
