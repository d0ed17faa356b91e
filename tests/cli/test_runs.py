"""`ponder runs`: runs are found and summed up; their thoughts are paged through with rewards, ratings and checks."""

import json
from pathlib import Path

import pytest

from ponder.runs import open_run
from ponder.tasks import TASKS, make
from ponder.types import Split, Style


def fails(outcome, part: str) -> None:
    assert (outcome.code, outcome.out) == (2, "")
    assert part in outcome.err and outcome.err.count("\n") == 1


def sample(step: int, index: int, right: bool) -> dict:
    from ponder.seeds import rng_for

    task = TASKS["program"]
    problem = make(task, 1, Split.TRAIN, index)
    shown = task.demonstrate(problem, rng_for("shown", index), Style.CLEAN)
    blocks = [[block.headline, block.thoughts, block.summary] for block in shown.blocks]
    if not right:
        blocks[0][2] = "nonsense \x1b[2J"
    return {
        "step": step,
        "problem": problem.id,
        "prompt": problem.prompt,
        "gold": problem.answer,
        "effort": "medium",
        "blocks": blocks,
        "answer": problem.answer if right else "?",
        "ended": "answered",
        "score": float(right),
        "note": "" if right else "no number",
        "reward": {"outcome": float(right), "length": -0.01},
        "ratings": [[0.5, 0.25]] * (len(blocks) + 2),
    }


@pytest.fixture
def practised(tmp_path: Path) -> Path:
    """A run of reinforcement learning that a monitor stopped after twelve of twenty rounds."""
    run = open_run(tmp_path / "runs" / "whole" / "rl", {"algorithm": "grpo", "steps": 20, "updates": 1})
    run.log({"step": 0, "evaluation": {"program:1": 0.25, "mean": 0.25}})
    for step in range(1, 13):
        record = {"step": step, "loss": 0.1, "grad_norm": 1.0, "success": step / 16, "entropy": 0.5 / step}
        run.log(record | {"at program:1": step / 16, "seconds": 2.0 * step, "tokens": 100 * step, "sampled": 50 * step})
        run.log_sample(sample(step, step, right=step % 3 != 0))
    run.log({"step": 12, "alarm": "entropy", "action": "stop", "why": "samples are alike"})
    plain = open_run(tmp_path / "runs" / "sft", {"style": "thinking", "steps": 4})
    for step in range(1, 5):
        plain.log({"step": step, "loss": 4.0 / step, "grad_norm": 1.0, "seconds": 1.0 * step, "tokens": 10 * step})
    (plain.folder / "checkpoint").mkdir()
    return run.folder


def test_runs_are_listed_wherever_they_lie(run, practised):
    folder = str(practised.parents[1])
    told = json.loads(run("runs", "--in", folder, "--json").out)
    assert [(Path(one["run"]).name, one["kind"], one["state"]) for one in told] == [
        ("sft", "sft", "finished"),
        ("rl", "rl", "stopped by entropy"),
    ]
    assert told[0]["loss"] == 1.0 and told[1]["success"] == pytest.approx(10 / 16) and told[1]["validation"] == 0.25
    text = run("runs", "--in", folder).out
    assert "stopped by entropy" in text and "12/20" in text and "62.5 %" in text
    fails(run("runs", "--in", folder + "/none"), "no directory")


def test_a_run_is_summed_up(run, practised):
    told = json.loads(run("runs", "show", str(practised), "--json", "--n", "1").out)
    assert told["numbers"]["success"] == {"start": pytest.approx(2 / 16), "now": pytest.approx(10 / 16)}
    assert told["levels"]["program:1"] == {"start": 1 / 16, "now": 12 / 16} and told["sampled"] == 600
    assert told["samples_found"] == 12 and len(told["samples"]) == 1 and told["alarms"][0]["alarm"] == "entropy"
    outcome = run("runs", "show", str(practised), "--n", "0")
    assert "samples are alike" in outcome.out and "program:1" in outcome.out and "reward +" not in outcome.out
    plain = run("runs", "show", str(practised.parents[1] / "sft")).out
    assert "finished" in plain and "loss" in plain


def test_thoughts_are_paged_through(run, practised):
    first = run("runs", "show", str(practised), "--wrong", "--n", "1")
    assert "step 3 " in first.out and "step 6 " not in first.out and "thoughts 1 to 1 of 4; --page 2" in first.err
    assert "✗" in first.out and "value 0.50, valid 0.25" in first.out and "no number" in first.out
    assert "\x1b[2J" not in first.out, "a thought must not steer the terminal"
    second = run("runs", "show", str(practised), "--wrong", "--n", "1", "--page", "2")
    assert "step 6 " in second.out and "step 3 " not in second.out
    right = run("runs", "show", str(practised), "--right", "--from-step", "11", "--task", "program:1", "--n", "9")
    assert "✓" in right.out and "✗" not in right.out and "reward +0.99  =  outcome +1  length -0.01" in right.out
    assert "thoughts 1 to 1 of 1" in right.err and "--page" not in right.err


def test_a_problem_that_changed_since_is_not_checked(run, practised):
    path = practised / "samples.jsonl"
    first, *rest = path.read_text().splitlines()
    told = json.loads(first) | {"prompt": "another wording"}
    path.write_text("\n".join([json.dumps(told), *rest]) + "\n")
    (shown,) = json.loads(run("runs", "show", str(practised), "--json", "--n", "1").out)["samples"]
    assert shown["checks"] == [] and shown["prompt"] == "another wording"
    assert "·" in run("runs", "show", str(practised), "--n", "1").out


def test_what_is_no_run_is_refused(run, practised, tmp_path):
    fails(run("runs", "show", str(tmp_path)), "is no run's folder")
    fails(run("runs", "show", str(practised), "--task", "sudoku"), "no such thoughts")
    fails(run("runs", "show", str(practised), "--page", "99"), "there is no page 99")
    (practised / "samples.jsonl").unlink()
    fails(run("runs", "show", str(practised)), "no sampled thoughts")
