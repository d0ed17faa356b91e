"""The comparison of algorithms runs what can be, once, and tells it in one table."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TINY = {
    "unlocks": 0,
    "efforts": ["low"],
    "thinking": 24,
    "answer": 6,
    "problems": 2,
    "samples": 2,
    "learning_rate": 1e-3,
    "shown": 0,
    "options": {"blame": "block"},
}


def table(*words: str) -> str:
    """What the command prints, without touching the committed results."""
    command = [sys.executable, "-m", "benchmarks.algorithms", "--dry", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_runs_are_made_once_and_told_in_one_table(micro_checkpoint: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "runs"
    recipe.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    words = ["--model", str(micro_checkpoint), "--recipe", str(recipe), "--out", str(out), "--tokens", "300"]
    words += ["--task", "multiplication:1", "--n", "3", "--samples", "2", "--algorithms", "grpo,star"]
    words += ["--process", "off,exact,head,blame", "--seeds", "0"]
    first = table(*words)
    rows = [line.split(" | ")[:3] for line in first.splitlines() if line.startswith(("| grpo", "| star"))]
    assert [row[:2] for row in rows] == [["| grpo", "off"], ["| grpo", "exact"], ["| grpo", "blame"], ["| star", "off"]]
    assert "Left out: star, exact: star imitates" in first and "Left out: grpo, head: the model has no reward" in first
    configs = {path.parent.name: json.loads(path.read_text()) for path in out.glob("grpo-*/config.json")}
    blames = [configs[f"grpo-{name}-0"]["options"]["blame"] for name in ("off", "exact", "blame")]
    assert blames == ["rollout", "rollout", "block"]
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/metrics.jsonl")}
    assert len(made) == 4 and table(*words) == first
    assert {path: path.stat().st_mtime_ns for path in made} == made, "a finished run was run again"
