"""Runs of several seeds as one: means over them, intervals that are wider than one run's, and reasons where not."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from ponder.evaluate.metrics import fit_log2
from ponder.evaluate.pooled import apart, pooled
from ponder.evaluate.practice import CURVE, Practice, read_practice
from ponder.evaluate.records import read_records
from ponder.evaluate.report import make_report
from ponder.evaluate.scaling import MEAN
from ponder.runs import open_run

ROUNDS = (0, 1, 2, 4, 8)


@pytest.fixture(scope="module")
def practices(tmp_path_factory: pytest.TempPathFactory, make) -> list[Practice]:
    """Three seeds, of which the last learned nothing: by 5 points a doubling, by 10, and not at all."""
    found: list[Practice] = []
    for seed, gain in enumerate((1, 2, 0)):
        settings = {"algorithm": "grpo", "steps": 8, "updates": 1, "efforts": ["low"], "seed": seed}
        run = open_run(tmp_path_factory.mktemp("runs") / f"seed-{seed}", settings)
        for step in range(1, 9):
            run.log({"step": step, "loss": 0.0, "entropy": (seed + 1) / step, "sampled": 100 * step, "tokens": 50})
        lines: list[str] = []
        for number, round_ in enumerate(ROUNDS):
            head = json.dumps({"a": {"shape": [10, 10]}}).encode()
            folder = run.folder / "steps" / f"{round_:05}"
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
            for task in ("toy", "other"):
                for problem in range(20):
                    told = {"task": task, "id": f"{task}:2:test:{problem}", "model": f"{round_:05}", "weights": "w"}
                    right = float(problem < 4 + gain * number)
                    lines.append(make(problem, right, temperature=1.0, **told).line())
        (run.folder / CURVE).write_text("".join(lines), encoding="utf-8")
        found.append(read_practice(run.folder))
    return found


def test_means_over_runs_with_intervals_over_both(practices) -> None:
    assert not apart(practices)
    found = pooled(practices)
    assert [curve.task for curve in found.curves] == [MEAN, "toy:2", "other:2"]
    mean = found.curves[0]
    line = fit_log2(mean.flops[1:], [0.25, 0.3, 0.35, 0.4])
    assert [one.kept.round for one in mean.points] == list(ROUNDS)
    assert [one.point.accuracy for one in mean.points] == pytest.approx([0.2, 0.25, 0.3, 0.35, 0.4])
    assert mean.fit == pytest.approx(line) and line and mean.slope and mean.slope[0] < line.slope < mean.slope[1]
    single = practices[0].curves[0].points[-1].point
    last = mean.points[-1].point
    assert last.high - last.low > 1.2 * (single.high - single.low)  # another seed may have learned nothing
    told = {one.task: one for one in found.brought}
    assert told[MEAN].change == pytest.approx(0.2) and told[MEAN].low < 0.1 and told[MEAN].high > 0.3
    assert found.entropy[0] == (0.0, pytest.approx(2.0)) and json.loads(json.dumps(found.to_json()))["runs"][0]


def test_the_report_draws_them_together_first(practices) -> None:
    made = make_report([], practices=practices[:2])
    assert list(made.pictures) == ["practice-pooled.png", "1-practice.png", "2-practice.png"]
    text = re.sub(r"<[^>]*>", " ", made.page)
    assert "2 runs, mean" in text and "The mean of seed-0, seed-1." in text
    assert json.loads(json.dumps(made.to_json()))["pooled"]["gains"][0]["change"] == pytest.approx(0.3)


def test_runs_that_differ_in_more_than_seeds_are_not_pooled(practices, tmp_path: Path) -> None:
    first = practices[0]
    other = replace(first, history=replace(first.history, config={**first.history.config, "kl": 0.1, "seed": 9}))
    assert apart([first, other]) == "they differ in kl"
    folder = Path(shutil.copytree(first.history.folder, tmp_path / "fewer"))
    some = [one for one in read_records(folder / CURVE) if not one.id.endswith(":3")]
    (folder / CURVE).write_text("".join(one.line() for one in some), encoding="utf-8")
    assert "other problems or rounds" in apart([first, read_practice(folder)])
    made = make_report([], practices=[replace(first, curves=[])] * 2)
    assert made.pooled is None and "The runs are not pooled: of one of them no curve was measured." in made.page
