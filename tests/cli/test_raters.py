"""`--rater`: the truth is told as an upper bound wherever it is shown, and a judge is a model that can judge."""

import json

import pytest

from ponder.cli import models
from ponder.engine.scripted import ScriptedSampler
from ponder.text import format
from ponder.text.format import THINK_TAGS
from ponder.types import Block

SEARCHED = ("--search", "best_of_n", "--samples", "2", "--temperature", "0.8")
EVAL = ("eval", "--task", "countdown:1", "--n", "2")
BOUND = "upper bound, no result"


def test_the_truth_is_an_upper_bound_wherever_it_is_shown(run, scripted, tmp_path):
    out = tmp_path / "records.jsonl"
    command = (*EVAL, "--search", "single,best_of_n", *SEARCHED[2:], "--rater", "exact", "--out", str(out))
    outcome = run(*command)
    assert outcome.code == 0 and "never a result" in outcome.err
    rows = [line for line in outcome.out.splitlines() if line.startswith("countdown")]
    assert len(rows) == 2 and BOUND in " ".join(outcome.out.split())
    assert {json.loads(line)["rater"] for line in out.read_text(encoding="utf-8").splitlines()} == {"exact"}
    told = json.loads(run(*command, "--json").out)
    assert [one["search"].partition(",")[0] for one in told] == ["single", "best_of_n"]
    assert all(one["search"].endswith(BOUND) for one in told)
    page = tmp_path / "report"
    assert run("report", str(out), "--out", str(page)).code == 0
    shown = "".join(path.read_text(encoding="utf-8") for path in page.rglob("*.html"))
    assert f"best_of_n, rated by the truth: an {BOUND}" in shown and "--rater exact" in shown


def test_the_head_rates_unless_somebody_else_is_asked(run, scripted, tmp_path):
    out = tmp_path / "records.jsonl"
    outcome = run(*EVAL, *SEARCHED, "--out", str(out))
    assert outcome.code == 2 and "needs ratings, and this model has no reward head" in outcome.err
    assert run(*EVAL, "--out", str(out)).code == 0
    assert all("rater" not in json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())


def judging(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """A model without a head that answers questions about steps with a word, and others with a block and a four."""

    class Scripts(dict[str, str]):
        def __contains__(self, key: object) -> bool:
            return True

        def __missing__(self, key: str) -> str:
            judged = "Answer with one word" in key
            return format.render((), word) if judged else format.render((Block("", "2 + 2 is 4", ""),), "4")

    model = models.Model(ScriptedSampler(Scripts()), "chatty", dialect=THINK_TAGS.name)
    monkeypatch.setattr(models, "load", lambda *_, **__: model)


def test_a_model_that_can_judge_rates_in_place_of_a_head(run, monkeypatch, tmp_path):
    judging(monkeypatch, "yes")
    tree = tmp_path / "tree.json"
    outcome = run("think", "2+2?", *SEARCHED, "--rater", "judge", "--tree", str(tree), "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["answer"] == "4"
    nodes = json.loads(tree.read_text(encoding="utf-8"))["nodes"]
    assert {node["rating"]["value"] for node in nodes if node["answer"]} == {1.0}
    out = tmp_path / "records.jsonl"
    outcome = run(*EVAL, *SEARCHED, "--rater", "judge", "--out", str(out))
    assert outcome.code == 0 and "rated by a judge" in " ".join(outcome.out.split()) and BOUND not in outcome.out
    assert {json.loads(line)["rater"] for line in out.read_text(encoding="utf-8").splitlines()} == {"judge"}
    assert "ratings at one half" not in outcome.err


def test_a_judge_that_gives_no_word_is_told_of(run, monkeypatch):
    judging(monkeypatch, "perhaps")
    outcome = run("think", "2+2?", *SEARCHED, "--rater", "judge")
    assert outcome.code == 0
    assert "the judge left 1 of 1 ratings at one half" in " ".join(outcome.err.split()) and "perhaps" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((*EVAL, "--rater", "coin"), "unknown rater 'coin': the raters are head, exact, judge"),
        (
            (*EVAL, *SEARCHED, "--rater", "judge"),
            "scripted knows its tasks alone and cannot judge: --rater judge needs",
        ),
        (("eval", "--problems", "own.jsonl", "--rater", "exact"), "a task that checks blocks, and open does not"),
        (("think", "2+2?", *SEARCHED, "--rater", "exact"), "use ponder eval --rater exact"),
        (("think", "2+2?", *SEARCHED, "--rater", "judge"), "scripted knows its tasks alone and cannot judge"),
        (("think", "2+2?", "--rater", "coin"), "unknown rater 'coin'"),
    ],
)
def test_raters_that_do_not_fit(run, scripted, arguments, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.jsonl").write_text('{"task": "open", "prompt": "a?", "answer": "b"}\n', encoding="utf-8")
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert part in outcome.err and "Traceback" not in outcome.err
