"""`tasks`, `eval`, `demo`, `train` and `doctor`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from ponder.cli import models, train
from ponder.tasks import TASKS, jsonl
from ponder.text.effort import Plan
from ponder.train.reward import RewardConfig
from ponder.train.rl import RLConfig
from ponder.train.sft import SFTConfig
from ponder.types import Effort, Rating


def fails(outcome, part: str) -> None:
    assert (outcome.code, outcome.out) == (2, "")
    assert part in outcome.err
    assert outcome.err.count("\n") == 1 and "Traceback" not in outcome.err


def test_tasks_list(run):
    told = json.loads(run("tasks", "list", "--json").out)
    assert [task["task"] for task in told] == list(TASKS)
    assert all(name in run("tasks", "list").out for name in TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_show(run, name):
    outcome = run("tasks", "show", name)
    assert outcome.code == 0
    assert all(f"Level {level}" in outcome.out for level in TASKS[name].levels)
    assert len(json.loads(run("tasks", "show", name, "--json").out)["examples"]) == len(TASKS[name].levels)


def test_tasks_sample_is_a_problem_file(run, tmp_path):
    outcome = run("tasks", "sample", "countdown:1", "--n", "4", "--seed", "2", "--demo", "corrected", "--json")
    told = json.loads(outcome.out)
    assert len(told) == 4 and all(problem["demonstration"]["blocks"] for problem in told)
    keys = ("task", "level", "id", "prompt", "answer", "data")
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({key: problem[key] for key in keys}) + "\n" for problem in told))
    assert [problem.id for problem in jsonl.read_problems(path)] == [problem["id"] for problem in told]
    assert (
        json.loads(run("tasks", "sample", "countdown:1", "--n", "1", "--json", "--seed", "2").out)[0]["id"]
        == (told[0]["id"])
    )
    text = run("tasks", "sample", "countdown:1", "--n", "1", "--seed", "2", "--demo", "corrected").out
    assert told[0]["demonstration"]["blocks"][0]["headline"] in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tasks", "show", "chess"], "unknown task 'chess': the tasks are"),
        (["tasks", "sample", "chess"], "unknown task 'chess'"),
        (["tasks", "sample", "countdown:9"], "countdown has no level 9"),
        (["tasks", "sample", "countdown:two"], "not NAME:LEVEL"),
        (["tasks", "sample", "countdown", "--demo", "loud"], "unknown style 'loud'"),
        (["tasks", "sample", "countdown", "--split", "exam"], "unknown split 'exam'"),
        (["tasks", "sample", "countdown", "--n", "0"], "--n"),
        (["eval"], "nothing to evaluate"),
        (["eval", "--task", "chess:2"], "unknown task 'chess'"),
        (["eval", "--task", "countdown:9"], "countdown has no level 9"),
        (["eval", "--task", "countdown:1", "--effort", "none,huge"], "unknown effort 'huge'"),
        (["eval", "--task", "countdown:1", "--effort", ""], "unknown effort ''"),
        (["eval", "--task", "countdown:1", "--samples", "4"], "give --temperature"),
        (["eval", "--task", "countdown:1", "--samples", "4,x"], "samples '4,x' do not fit"),
        (["eval", "--task", "countdown:1", "--samples", "0"], "samples '0' do not fit"),
        (["eval", "--task", "countdown:1", "--search", "single,bream"], "unknown search 'bream'"),
        (["eval", "--task", "countdown:1", "--search", "majority", "--samples", "1,4"], "give --temperature"),
        (["eval", "--task", "countdown:1", "--split", "train"], "the train split"),
        (["eval", "--task", "countdown:1", "--out", "/dev/null/folder/x"], "/dev/null/folder cannot be made"),
        (["eval", "--problems", "/no/such.jsonl"], "cannot be read"),
        (["eval", "--gym", "chess:2"], "unknown gym task 'chess'"),
        (["train", "sft", "--steps", "0"], "steps=0 does not fit"),
        (["train", "sft", "--task", "chess:2"], "unknown task 'chess'"),
        (["train", "sft", "--task", "countdown:2=many"], "not TASK:LEVEL=WEIGHT"),
        (["train", "sft", "--size", "huge"], "unknown size 'huge'"),
        (["train", "sft", "--style", "loud"], "unknown style 'loud'"),
        (["train", "sft", "--recipe", "/no/such.yaml"], "cannot be read"),
        (["train", "reward"], "model is missing: give --model"),
        (["train", "reward", "--model", "none"], "no model directory 'none'"),
        (["train", "reward", "--model", "none", "--labels", "guess"], "labels='guess' does not fit"),
        (["train", "reward", "--model", "none", "--labels", "human"], "give --labels human --step-labels FILE"),
        (["train", "reward", "--model", "none", "--labels", "mc", "--value", "winnable"], "is for exact labels"),
        (["train", "reward", "--model", "none", "--neutral", "maybe"], "neutral='maybe' does not fit"),
        (["train", "rl"], "model is missing: give --model"),
        (["train", "rl", "--model", "none"], "no model directory 'none'"),
        (["train", "rl", "--model", "none", "--process", "sum"], "process='sum' does not fit"),
    ],
)
def test_bad_arguments(run, scripted, arguments, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(run(*arguments), part)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"steps: 5\nsteeps: 3\n", "unknown setting 'steeps'"),
        (b"steps: [1\n", "is not YAML"),
        (b"- steps\n", "does not hold settings"),
        (b"", "does not hold settings"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"steps: many\n", "steps='many'"),
        (b"steps: !!python/object/apply:os.system ['true']\n", "is not YAML"),
    ],
)
def test_bad_recipes(run, tmp_path, content, part):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    fails(run("train", "sft", "--recipe", str(path), "--out", str(tmp_path / "run")), part)
    assert not (tmp_path / "run").exists()


def test_bad_problem_lines_are_named(run, scripted, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'{"task": "open", "prompt": "a?", "answer": "b"}\n{"task": ')
    fails(run("eval", "--problems", str(path)), f"{path} line 2: not JSON")
    path.write_bytes(b'{"task": "open", "prompt": "\xff", "answer": "b"}\n')
    fails(run("eval", "--problems", str(path)), "line 1: not UTF-8")


def test_eval_as_json_and_as_records(run, scripted, tmp_path):
    out = tmp_path / "runs" / "new" / "records.jsonl"
    outcome = run("eval", "--task", "countdown:1", "--n", "3", "--effort", "none,medium", "--json", "--out", str(out))
    none, medium = json.loads(outcome.out)
    wanted = {"task", "level", "effort", "search", "samples", "n", "accuracy", "low", "high", "tokens"}
    assert wanted <= set(none)
    assert (none["effort"], medium["effort"], none["n"], none["search"]) == ("none", "medium", 3, "single")
    assert none["tokens"] < medium["tokens"]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == 6 and {record["model"] for record in records} == {"scripted"}
    assert list(out.parent.iterdir()) == [out]


def test_eval_of_own_problems_samples_and_a_table(run, scripted, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"task": "open", "prompt": "2+2?", "answer": "4"}\n{"task":"open","prompt":"1?","answer":"1"}\n')
    table = run("eval", "--problems", str(path), "--samples", "4", "--temperature", "1").out
    assert "50.0 %" in table and "50.0 % (k=4)" in table and "9.5 – 90.5" in table


def test_eval_of_searches_is_a_row_for_each_number(run, scripted, tmp_path):
    path, out = tmp_path / "own.jsonl", tmp_path / "records.jsonl"
    path.write_text('{"task": "open", "prompt": "2+2?", "answer": "4"}\n{"task":"open","prompt":"1?","answer":"1"}\n')
    asked = ["eval", "--problems", str(path), "--search", "single,majority,revise", "--samples", "1,4"]
    asked += ["--temperature", "1"]
    told = json.loads(run(*asked, "--json", "--out", str(out)).out)
    assert [(one["search"], one["samples"], one["accuracy"]) for one in told] == [
        ("single", 4, 0.5),
        ("majority", 1, 0.5),
        ("majority", 4, 0.5),
        ("revise", 1, 0.5),
        ("revise", 4, 0.5),
    ]
    by_search = {(one["search"], one["samples"]): one["tokens"] for one in told}
    assert by_search["majority", 4] == 4 * by_search["majority", 1] == 4 * by_search["single", 4]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(one["search"], one["drawn"], len(one["answers"])) for one in records} >= {
        ("single", 1, 4),
        ("majority", 4, 1),
    }
    table = run(*asked).out
    assert "search" in table and "majority" in table and "revise" in table


@pytest.fixture
def own(tmp_path):
    """A user's problems, of which the script gets every second one right."""
    path = tmp_path / "own.jsonl"
    lines = [{"task": "open", "prompt": f"{i}+2?", "answer": "4" if i % 2 else "5"} for i in range(6)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_eval_goes_on_with_what_is_there(run, scripted, own, tmp_path, monkeypatch):
    out = tmp_path / "records.jsonl"
    asked = ["eval", "--problems", str(own), "--search", "single,majority", "--samples", "1,4", "--temperature", "1"]
    first = run(*asked, "--json", "--out", str(out))
    whole = out.read_bytes()
    assert whole.count(b"\n") == 6 * 3 and "were there already" not in first.err
    out.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setitem(scripted, "0+2?", "never again")
    again = run(*asked, "--json", "--out", str(out))
    assert (again.out, out.read_bytes()) == (first.out, whole)
    assert "last line was cut off" in again.err and "of 18 records were there already" in again.err
    third = run(*asked, "--json", "--out", str(out))
    assert "18 of 18 records were there already" in third.err and out.read_bytes() == whole
    run(*asked, "--seed", "1", "--out", str(out))
    assert out.read_bytes()[: len(whole)] == whole and out.read_bytes().count(b"\n") == 36


def test_eval_leaves_other_files_alone(run, scripted, own):
    before = own.read_bytes()
    fails(run("eval", "--problems", str(own), "--out", str(own)), "own.jsonl:1 is no record")
    assert own.read_bytes() == before


def test_eval_by_effort_and_auto(run, scripted, own, monkeypatch):
    class Rater:
        async def rate(self, prefixes):
            return [Rating(float(one.messages[-1].content[0] in "13"), 1.0) for one in prefixes]

    plans = {Effort.HIGH: Plan(search="majority", samples=4, temperature=0.9)}
    model = models.Model(
        models.load().sampler, "routed", plans=plans, auto={Effort.LOW: 0.5, Effort.HIGH: 0.0}, rater=Rater()
    )
    plain = models.load()
    fails(run("eval", "--problems", str(own), "--effort", "auto"), "no reward head")
    monkeypatch.setattr(models, "load", lambda *_: replace(plain, rater=Rater()))
    fails(run("eval", "--problems", str(own), "--effort", "auto"), "python -m benchmarks.effort")
    monkeypatch.setattr(models, "load", lambda *_: model)
    asked = ["eval", "--problems", str(own), "--effort", "low,high,auto", "--search", "effort", "--json"]
    told = {one["effort"]: one for one in json.loads(run(*asked).out)}
    assert told["high"]["tokens"] == 4 * told["low"]["tokens"]
    assert told["auto"]["tokens"] == pytest.approx((2 * told["low"]["tokens"] + 4 * told["high"]["tokens"]) / 6)


def test_report(run, scripted, own, tmp_path):
    pytest.importorskip("matplotlib")
    records, out = tmp_path / "records.jsonl", tmp_path / "report"
    asked = ["eval", "--problems", str(own), "--search", "single,beam", "--samples", "1,4", "--temperature", "1"]
    run(*asked, "--out", str(records))
    told = json.loads(run("report", str(records), "--out", str(out), "--price-in", "1", "--json").out)
    assert {Path(file).name for file in told["files"]} == {"index.html", "curve-medium.png", "summary.json"}
    assert {path.name for path in out.iterdir()} == {"index.html", "curve-medium.png", "summary.json"}
    assert json.loads((out / "summary.json").read_text())["price"] == {"prompt": 1.0, "generated": 60.0}
    assert told["commands"][-1] == f"ponder report {records} --out {out} --price-in 1 --price-out 60"
    shown = run("report", str(records), "--out", str(out)).out
    assert shown.splitlines()[0] == str(out / "index.html") and "majority@4 − pass@1" in shown
    assert "coverage@4" in {claim["name"] for claim in told["claims"]}
    fails(run("report", str(own), "--out", str(out)), "is no record")
    fails(run("report", str(tmp_path / "none"), "--out", str(out)), "cannot be read")
    fails(run("report", str(records), "--out", str(records)), "is a file")
    fails(run("report", str(records), "--out", str(out), "--price-in", "-1"), "prices -1.0 and 60.0 do not fit")


def test_eval_says_when_there_are_too_few_problems(run, scripted, monkeypatch):
    monkeypatch.setattr("ponder.evaluate.problems.PATIENCE", 1)
    monkeypatch.setattr("ponder.evaluate.problems.SEED_SPAN", 3)
    outcome = run("eval", "--task", "countdown:1", "--n", "50", "--effort", "none")
    assert "has only 3 distinct problems, not 50" in outcome.err and outcome.code == 0


def test_demo_watches_one_chain_whatever_the_effort_means(run, scripted, monkeypatch):
    planned = replace(models.load(), plans={Effort.MEDIUM: Plan(search="majority", samples=4, temperature=1.0)})
    monkeypatch.setattr(models, "load", lambda *_: planned)
    outcome = run("demo", "--n", "1", "--json")
    assert outcome.code == 0 and "discarded" not in json.loads(outcome.out)["problems"][0]["tokens"]


def test_demo(run, scripted):
    told = json.loads(run("demo", "--n", "2", "--json").out)
    assert {one["effort"] for one in told["summary"]} == {"none", "medium"}
    assert {one["task"] for one in told["summary"]} == set(TASKS)
    outcome = run("demo", "--n", "1")
    assert "✗ wrong" in outcome.out and "mean" in outcome.out and "▸ check  4 ok" in outcome.err


def test_doctor(run, monkeypatch, micro_checkpoint, tmp_path):
    monkeypatch.setenv(models.VARIABLE, str(micro_checkpoint))
    report = json.loads(run("doctor", "--json").out)
    assert report["missing"] == [] and report["device"].startswith(("cpu", "cuda")) and report["torch"]
    assert "micro" in run("doctor").out
    monkeypatch.setenv(models.VARIABLE, str(tmp_path / "none"))
    outcome = run("doctor")
    assert outcome.code == 1 and "missing: no model directory" in outcome.err


def test_train_resumes_and_its_checkpoint_thinks(run, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("size: micro\nrows: 2\ndtype: float32\nthreads: 1\ntasks: {'multiplication:1': 1}\n")
    arguments = ["train", "sft", "--recipe", str(recipe), "--steps", "2", "--out", str(tmp_path / "run")]
    arguments += ["--style", "direct", "--vocabulary", "400", "--evaluations", "1", "--json"]
    first = run(*arguments)
    assert "starting" in first.err and "dtype float32: asked for" in first.err and "validation mean" in first.err
    told = json.loads(first.out)
    assert told["step"] == 2 and set(told["evaluations"][0]["evaluation"]) == {"multiplication:1", "mean"}
    assert "going on with" in run(*arguments).err
    fails(run(*arguments, "--rows", "3"), "holds a run with other settings")
    assert run("think", "2 * 3", "--model", told["checkpoint"], "--json").code in (0, 1)
    fails(run("think", "2 * 3", "--model", told["checkpoint"], "--effort", "low"), "use --effort none")


def test_the_defaults_that_help_shows_are_the_real_ones():
    group = typer.main.get_command(train.app)
    shown = {option.name: option.show_default for option in group.commands["sft"].params}  # pyright: ignore
    real = {
        name: str(field.default) for name, field in SFTConfig.model_fields.items() if name not in ("tasks", "model")
    }
    assert {name: shown[name] for name in real} == real
    shown = {option.name: option.show_default for option in group.commands["reward"].params}  # pyright: ignore
    told_otherwise = ("fresh", "rollouts", "step_labels")  # a switch, and what is nothing by default
    real = {
        name: field.default
        for name, field in RewardConfig.model_fields.items()
        if name in shown and name not in told_otherwise
    }
    told = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in real.items()}
    assert {name: shown[name] for name in told if name != "model"} == {n: told[n] for n in told if n != "model"}
    shown = {option.name: option.show_default for option in group.commands["rl"].params}  # pyright: ignore
    real = {n: field.default for n, field in RLConfig.model_fields.items() if n in shown and n != "tokens"}
    told = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in real.items()}
    assert {name: shown[name] for name in told if name != "model"} == {n: told[n] for n in told if n != "model"}


def test_train_rl_goes_on_and_its_checkpoint_thinks(run, micro_checkpoint, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("problems: 2\nsamples: 2\nthinking: 16\nanswer: 4\nthreads: 1\noptions: {std: true}\n")
    arguments = ["train", "rl", "--recipe", str(recipe), "--model", str(micro_checkpoint), "--steps", "2"]
    arguments += ["--task", "multiplication:1", "--workers", "1", "--out", str(tmp_path / "run"), "--json"]
    first = run(*arguments, "--evaluations", "1")
    assert "starting" in first.err and "validation mean" in first.err
    told = json.loads(first.out)
    assert told["step"] == 2 and "reward_outcome" in told and "mean" in told["evaluations"][-1]["evaluation"]
    assert "going on with" in run(*arguments).err
    assert run("think", "2 * 3", "--model", told["checkpoint"], "--json").code in (0, 1)
    recipe.write_text("stps: 3\n")
    fails(run(*arguments), "unknown setting 'stps'")


def test_train_reward_gives_a_checkpoint_with_a_head(run, micro_checkpoint, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("problems: 2\nsamples: 2\nheld_out: 2\nrows: 2\ndtype: float32\nthreads: 1\n")
    arguments = ["train", "reward", "--recipe", str(recipe), "--model", str(micro_checkpoint), "--steps", "2"]
    arguments += ["--task", "multiplication:1", "--effort", "minimal", "--out", str(tmp_path / "run"), "--json"]
    first = run(*arguments)
    assert "starting" in first.err and "4 rollouts" in first.err and "held out: " in first.err
    told = json.loads(first.out)
    assert told["step"] == 2 and "language_divergence" in told["evaluations"][-1]["evaluation"]
    assert "going on with" in run(*arguments).err
    fails(run(*arguments, "--rows", "3"), "holds a run with other settings")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["think"],
        ["chat"],
        ["tasks", "list"],
        ["tasks", "show"],
        ["tasks", "sample"],
        ["train", "sft"],
        ["train", "reward"],
        ["train", "rl"],
        ["eval"],
        ["demo"],
        ["doctor"],
    ],
)
def test_every_command_explains_itself_and_takes_json(run, command):
    outcome = run(*command, "--help")
    assert outcome.code == 0 and outcome.err == ""
    if command:
        assert "--json" in outcome.out and "Example" in outcome.out
