"""The train-time curve: compute is counted, fits and gains are those of the records, and the page has them all."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from math import inf
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from ponder.errors import CheckpointError, ConfigError, ProblemError
from ponder.evaluate.equal_tokens import longest
from ponder.evaluate.examples import Thinking, examples, read_examples, write_examples
from ponder.evaluate.habits import Habits, probe
from ponder.evaluate.practice import CURVE, EXAMPLES, HABITS, kept_checkpoints, parameters, read_practice
from ponder.evaluate.problems import held_out
from ponder.evaluate.records import read_records
from ponder.evaluate.report import make_report
from ponder.evaluate.scaling import MEAN
from ponder.interfaces import Extension
from ponder.runs import open_run
from ponder.types import Ended, Segment, Tokens

ROUNDS = (0, 1, 2, 4, 8)
SIZE = 1000


def weights(folder: Path, size: int) -> None:
    head = json.dumps({"__metadata__": {}, "a": {"shape": [size // 10, 10]}, "b": {"shape": []}}).encode()
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)


@pytest.fixture
def run(tmp_path: Path, make) -> Path:
    """A run of eight rounds whose success grows by 10 points with each doubling, on two tasks of 40 problems."""
    started = open_run(tmp_path / "practised", {"algorithm": "grpo", "steps": 8, "updates": 2, "efforts": ["low"]})
    for step in range(2, 17, 2):
        record = {"step": step, "loss": 0.0, "entropy": 1 / step, "sampled": 100 * step, "tokens": 50 * step}
        started.log(record)
    lines: list[str] = []
    for number, round_ in enumerate(ROUNDS):
        weights(started.folder / "steps" / f"{round_:05}", SIZE)
        for task in ("toy", "other"):
            for problem in range(40):
                right = float(problem % 10 < 2 + number)
                told = {"task": task, "id": f"{task}:2:test:{problem}", "model": f"{round_:05}", "weights": str(round_)}
                lines.append(make(problem, right, 0.0, temperature=1.0, **told).line())
    (started.folder / CURVE).write_text("".join(lines), encoding="utf-8")
    return started.folder


def test_compute_is_counted(run: Path) -> None:
    assert parameters(run / "steps" / "00000") == SIZE + 1
    kept = kept_checkpoints(run)
    assert [one.round for one in kept] == list(ROUNDS)
    assert [one.sampled for one in kept] == [0, 200, 400, 800, 1600]
    assert kept[1].flop == (SIZE + 1) * (2 * 200 + 6 * 100) and kept[0].flop == 0


def test_the_curve_and_its_fit(run: Path) -> None:
    practice = read_practice(run)
    assert [curve.task for curve in practice.curves] == [MEAN, "toy:2", "other:2"]
    for curve in practice.curves:
        assert [one.point.accuracy for one in curve.points] == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3])
        assert curve.fit and curve.fit.slope == pytest.approx(0.05) and curve.fit.r2 == pytest.approx(1.0)
        assert curve.slope and curve.slope[0] < 0.05 < curve.slope[1]
    first, *_ = practice.gains
    assert (first.task, first.name, first.before.n) == (MEAN, "pass@1", 80)
    assert first.change == pytest.approx(0.2) and first.low > 0 and first.p < 0.01
    assert {one.name for one in practice.gains} == {"pass@1", "pass@2"}
    assert practice.entropy[0] == (0.0, 0.5) and practice.entropy[1][0] == kept_checkpoints(run)[1].flop


@pytest.mark.parametrize(("scale", "cut"), [(0.5, 0.0), (1.0, 0.0), (2.0, 0.5)])
def test_a_gain_is_told_at_equal_tokens(run: Path, scale: float, cut: float) -> None:
    """Chains of 100 tokens before; after practice half of them are long, and the long ones are cut, and wrong then."""
    records = read_records(run / CURVE)
    for number, one in enumerate(records):
        counts = (round(50 * scale), round(150 * scale))
        if one.model == "00008":
            records[number] = replace(one, scores=one.scores[::-1], tokens=tuple(Tokens(50, count) for count in counts))
    (run / CURVE).write_text("".join(one.line() for one in records), encoding="utf-8")
    told = {one.gain.task: one for one in read_practice(run).equal}
    assert list(told) == [MEAN, "toy:2", "other:2"]
    one = told[MEAN]
    assert one.gain.before.tokens == 100 and one.gain.after.tokens <= 100 and one.cut == cut
    assert one.gain.after.accuracy == pytest.approx(0.0 if cut else 0.3)
    assert one.gain.low <= one.gain.change <= one.gain.high
    assert ("read as wrong" in one.sentence) is bool(cut) and "at least" in one.sentence


def test_where_to_cut() -> None:
    assert longest([10, 20, 30], 20) == longest([], 0) == inf
    assert longest([10, 20, 30], 15) == pytest.approx(17.5)
    assert longest([10, 20, 60], 20) == pytest.approx(30)
    assert longest([10, 10], 4) == pytest.approx(4)


class Page(HTMLParser):
    """Whether the page's tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class Wrong:
    """Whatever is asked, it answers the same."""

    async def extend(self, prefix, limit, samplings, hear=None):
        return [Extension(None, "<b>7", Ended.ANSWERED, Segment((), (), ())) for _ in samplings]


def test_the_page_tells_all_of_it(run: Path) -> None:
    sets = [held_out("program", 1, 2)]
    found, _ = probe(sets, Habits(model="00000", weights="0"), Wrong())
    (run / HABITS).write_text("".join(one.line() for one in found), encoding="utf-8")
    blocks = (("head <i>", "thoughts & more", "sum"),)
    sides = [[Thinking(name, blocks, "7", right, "answered", 9)] * 2 for name, right in (("0", False), ("8", True))]
    write_examples(run / EXAMPLES, examples(sets, 2, sides))
    assert read_examples(run / EXAMPLES) == examples(sets, 2, sides)
    practice = read_practice(run)
    made = make_report([], practices=[practice], command="ponder report --run r --out o")
    page = Page(made.page)
    assert not page.open and "<i>" not in made.page and "<b>7" not in made.page
    assert set(made.pictures) == {"practice.png"} and made.pictures["practice.png"].startswith(b"\x89PNG")
    text = re.sub(r"<[^>]*>", " ", made.page)
    for words in (
        "points a doubling of compute",
        "+5.00",
        "wrong block forced in",
        "Thoughts before and after",
        "thoughts &amp; more",
        "checkpoint 8",
        "ponder runs curve",
        "--n 40 --effort medium --samples 2 --temperature 1 --seed 0",
        "ponder report --run r --out o",
        "so practice has brought at least +20.0 points",
    ):
        assert words in text, words
    told = json.loads(json.dumps(made.to_json()))["practice"][0]
    assert told["curves"][0]["points"][-1]["round"] == 8 and told["habits"][0]["right"]["wrong"]["share"] == 0
    (run / EXAMPLES).write_text("{}\n", encoding="utf-8")
    with pytest.raises(ProblemError, match="holds no examples"):
        read_practice(run)


def test_a_run_that_was_not_measured_is_refused(run: Path, tmp_path: Path) -> None:
    (run / CURVE).unlink()
    with pytest.raises(ConfigError, match="nothing was measured of .*`ponder runs curve"):
        read_practice(run)
    (run / "steps" / "00000" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="missing or damaged"):
        kept_checkpoints(run)
    plain = open_run(tmp_path / "plain", {"style": "thinking"})
    plain.log({"step": 1, "loss": 1.0})
    with pytest.raises(ConfigError, match="has no checkpoints"):
        kept_checkpoints(plain.folder)
