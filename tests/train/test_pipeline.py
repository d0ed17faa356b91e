"""The whole pipeline on a tiny model: every stage, killed and gone on with, and recipes that do not fit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from ponder.cli import main, train
from ponder.errors import ConfigError
from ponder.evaluate.records import read_records
from ponder.model.checkpoint import load_checkpoint
from ponder.train.pipeline import PipelineConfig, check

pytestmark = pytest.mark.usefixtures("few_marks")
RECIPES = Path(__file__).parents[2] / "recipes"
COMMAND = "import sys\nfrom ponder.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture
def few_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "MARK_PROBLEMS", 1)


def recipe(taught: Path, **more: Any) -> dict[str, Any]:
    """Every stage, as small as it can be; the demonstrations go on from a model that closes its blocks."""
    tasks = ["multiplication:1"]
    sft = {"model": str(taught), "tasks": {tasks[0]: 1}, "steps": 2, "rows": 2, "dtype": "float32"}
    reward = {"tasks": tasks, "efforts": ["low"], "problems": 2, "samples": 2, "held_out": 1, "steps": 2, "rows": 2}
    short = {"efforts": ["low"], "thinking": 24, "answer": 6, "workers": 1}
    evaluation = [
        {"models": ["direct"], "tasks": tasks, "efforts": ["none"], "problems": 2},
        {"models": ["sft", "rl"], "tasks": tasks, "efforts": ["none", "minimal"], "problems": 2},
        {
            **{"models": ["reward_again"], "tasks": tasks, "efforts": ["minimal"], "problems": 2},
            **{"searches": ["single", "weighted_vote"], "samples": [1, 2], "temperature": 1.0},
        },
    ]
    return {
        "threads": 1,
        "marks": 1,
        "direct": sft,
        "sft": sft,
        "reward": reward | {"dtype": "float32"},
        "rl": {"tasks": tasks, "steps": 3, "problems": 2, "samples": 2, **short},
        "reward_again": reward | {"dtype": "float32", "steps": 1},
        "evaluation": {"workers": 1, "passes": evaluation, "curve": {"problems": 1, "habits": 1, "effort": "minimal"}},
    } | more


def written(folder: Path, settings: dict[str, Any]) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in settings.items() if value is not None}))
    return path


def test_everything_from_nothing_to_a_report(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path, out = written(tmp_path, recipe(taught)), tmp_path / "run"
    command = ["train", "pipeline", "--recipe", str(path), "--out", str(out), "--json"]
    assert main(command) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    names = ["direct", "sft", "reward", "rl", "reward_again", "evaluation", "report"]
    assert [stage["name"] for stage in document["stages"]] == names and all(one["fresh"] for one in document["stages"])
    assert "stage 1 of 7, direct" in told.err and "held out:" in told.err and "validation mean" in told.err
    final = load_checkpoint(Path(document["checkpoint"]))
    assert final.head and final.config.name == "reward_again"
    assert load_checkpoint(out / "direct" / "checkpoint").config.style == "direct"
    records = read_records(out / "evaluation" / "records.jsonl")
    assert {record.model for record in records} == {"direct", "sft", "rl", "reward_again"}
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "weighted_vote" in page and "accuracy against training compute" in page and "self-correction" in page
    # Nothing is done twice; one changed setting does again what it concerns.
    assert main(command) == 0
    told = capsys.readouterr()
    assert (
        not any(one["fresh"] for one in json.loads(told.out)["stages"]) and "7 of 7, report: there already" in told.err
    )
    changed = recipe(taught)
    changed["evaluation"]["passes"][0]["problems"] = 1
    written(tmp_path, changed)
    assert main(command) == 0
    told = capsys.readouterr()
    fresh = [one["name"] for one in json.loads(told.out)["stages"] if one["fresh"]]
    assert fresh == ["evaluation", "report"] and "evaluation: done again, because passes was" in told.err


def test_killed_it_ends_with_the_same_bits(taught: Path, tmp_path: Path) -> None:
    settings = recipe(taught, direct=None, reward=None, evaluation=None)
    settings["rl"]["steps"] = 6
    path, program = written(tmp_path, settings), tmp_path / "program.py"
    program.write_text(COMMAND, encoding="utf-8")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(["train", "pipeline", "--recipe", str(path), "--out", str(whole)]) == 0
    for part in ("sft", "stages/sft.json"):  # its own tests kill that stage
        (broken / "stages").mkdir(parents=True, exist_ok=True)
        (shutil.copytree if part == "sft" else shutil.copy)(whole / part, broken / part)
    arguments = ["train", "pipeline", "--recipe", str(path), "--out", str(broken)]
    process = subprocess.Popen(
        [sys.executable, str(program), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr
    for line in process.stderr:
        if "stage 2 of 3" in line:  # somewhere in the first rounds
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert (broken / "sft" / "checkpoint").is_dir() and not (broken / "reward_again").exists()
    assert main(arguments) == 0
    for stage in ("sft", "rl", "reward_again"):
        one, other = (load_file(out / stage / "checkpoint" / "model.safetensors") for out in (whole, broken))
        assert all((value == other[name]).all() for name, value in one.items()), stage


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sfft": {}}, r"unknown setting 'sfft' in .*tiny.yaml, did you mean 'sft'\?"),
        (
            {"rl": {"stpes": 3}},
            r"unknown setting 'rl.stpes' in .*, did you mean 'steps'\?: the settings are model, tasks",
        ),
        (
            {"evaluation": {"passes": [{"modles": ["sft"]}]}},
            r"unknown setting 'evaluation.passes.0.modles'.*'models'\?",
        ),
        ({"sft": None}, "sft is missing in"),
        ({"rl": {"model": "x"}}, "model in rl is filled in by the pipeline"),
        ({"rl": {"algorithm": "dpo"}}, "unknown algorithm 'dpo'"),
        ({"rl": {"steps": 0}}, "rl.steps=0"),
        ({"rl": {"tasks": ["chess:2"]}}, "unknown task 'chess'"),
        ({"rl": None}, "reward_again is the head of what rl makes"),
        ({"rl": {"process": "head"}, "reward": None}, "give reward too"),
        ({"sft": {"size": "huge"}}, "unknown size 'huge'"),
        ({"minutes": {"rll": 3}}, "minutes names 'rll'"),
        ({"evaluation": {"passes": [{"models": ["best"]}]}}, "names the model 'best'"),
        ({"evaluation": {"passes": [{"models": ["sft"], "tasks": ["chess:1"]}]}}, "unknown task 'chess'"),
        ({"evaluation": {"passes": [{"models": ["sft"], "samples": [4]}]}}, "4 samples at temperature 0"),
    ],
)
def test_recipes_that_do_not_fit(
    taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], words: str
) -> None:
    path, out = written(tmp_path, recipe(taught, **change)), tmp_path / "run"
    assert main(["train", "pipeline", "--recipe", str(path), "--out", str(out)]) == 2
    assert re.search(words, capsys.readouterr().err) and not out.exists()


def test_a_recipe_is_found_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "pipeline", "--recipe", "labtop"]) == 2
    assert "there is no recipe 'labtop', did you mean 'laptop'?" in capsys.readouterr().err
    assert main(["train", "pipeline", "--recipe", "none.yaml"]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "minutes"), [("laptop", 75), ("gpu", 25.01)])
def test_the_recipes_fit_and_keep_to_their_time(name: str, minutes: float) -> None:
    config = PipelineConfig.model_validate(yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")))
    check(config)
    assert sum(config.minutes.values()) <= minutes and set(config.minutes) == set(config.stages)
    with pytest.raises(ConfigError):
        check(config.model_copy(update={"rl": None}))
