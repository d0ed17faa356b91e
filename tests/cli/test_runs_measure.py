"""`ponder runs curve`, `ponder runs habits` and `ponder report --run` on a run of a tiny random network."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.runs import open_run


def fails(outcome, part: str) -> None:
    assert (outcome.code, outcome.out) == (2, "")
    assert part in outcome.err


@pytest.fixture(scope="module")
def practised(micro_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of the same weights, named as a run names them."""
    from ponder.model.checkpoint import load_checkpoint, save_checkpoint

    settings = {"algorithm": "grpo", "steps": 1, "updates": 1, "efforts": ["minimal"], "tasks": ["program:1"]}
    run = open_run(tmp_path_factory.mktemp("runs") / "rl", settings)
    run.log({"step": 1, "loss": 0.1, "entropy": 1.0, "sampled": 100, "tokens": 200})
    checkpoint = load_checkpoint(micro_checkpoint)
    for name in ("00000", "00001"):
        named = replace(checkpoint, config=checkpoint.config.model_copy(update={"name": name}))
        save_checkpoint(named, run.folder / "steps" / name)
    return run.folder


def test_a_run_is_measured_and_reported(run, practised, tmp_path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "rl"
    shutil.copytree(practised, folder)
    fails(run("report", "--run", str(folder), "--out", str(tmp_path / "page")), "nothing was measured of")
    command = ["runs", "curve", str(folder), "--n", "2", "--samples", "2"]
    told = json.loads(run(*command, "--json").out)
    assert [point["round"] for point in told["curves"][0]["points"]] == [0, 1] and told["curves"][0]["points"][0][
        "n"
    ] == 2
    assert told["gains"][0]["task"] == "program:1" and len(told["examples"]) == 1
    lines = (folder / "curve.jsonl").read_text()
    assert "round 1" in run(*command).out and (folder / "curve.jsonl").read_text() == lines, "nothing twice"
    again = run("runs", "habits", str(folder), "--n", "2")
    assert again.code == 0 and "program:1" in again.out and len((folder / "habits.jsonl").read_text().splitlines()) == 4
    made = run("report", "--run", str(folder), "--out", str(tmp_path / "page"), "--json")
    assert made.code == 0 and (tmp_path / "page" / "practice.png").exists()
    assert "self-correction" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")


def test_what_cannot_be_measured_is_refused(run, practised, tmp_path):
    fails(run("runs", "curve", str(tmp_path)), "is no run's folder")
    fails(run("runs", "curve", str(practised), "--task", "chess:1"), "unknown task 'chess'")
    fails(run("runs", "curve", str(practised), "--samples", "2", "--temperature", "0"), "2 times the same")
    fails(run("runs", "habits", str(practised), "--effort", "huge"), "unknown effort 'huge'")
    fails(run("report", "--out", str(tmp_path / "page")), "nothing to report")
    assert not (tmp_path / "page").exists()
