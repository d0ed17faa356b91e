"""The report and its pictures: everything is there, escaped, and loads nothing."""

import builtins
import json
import re
import sys
from html.parser import HTMLParser

import pytest
from typer.main import get_command

pytest.importorskip("matplotlib")

from ponder.cli.app import app
from ponder.errors import ConfigError
from ponder.evaluate.plots import DARK, LIGHT, Price, curve_figure
from ponder.evaluate.report import Report, make_report
from ponder.evaluate.scaling import COVERAGE, MEAN, curves

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """What a page holds, and whether its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(sweep) -> Report:
    return make_report(sweep, Price(1, 2, "mine"), command="ponder report 'a b.jsonl' --out r")


def test_the_page_has_every_number_and_loads_nothing(made):
    page = Page(made.page)
    assert not page.open and not {tag for tag, _ in page.seen} & {"script", "link", "iframe", "form", "a"}
    sources = [attrs.get("src") or attrs.get("srcset") for tag, attrs in page.seen if tag in ("img", "source")]
    assert len(sources) == 4 and all(source and source.startswith("data:image/png;base64,") for source in sources)
    assert "default-src 'none'" in made.page and "prefers-color-scheme: dark" in made.page
    text = re.sub(r"<[^>]*>", " ", made.page)
    for curve in [*made.curves, *made.efforts]:
        for point in curve.points:
            assert f"{100 * point.accuracy:.1f} %" in text and f"{100 * point.low:.1f} – {100 * point.high:.1f}" in text
    for words in (
        "best_of_n",
        "Over-optimisation",
        "R²",
        "auto: tokens",
        "subsets of 16 chains",
        "a b.jsonl",
        "$",
        "majority@16 − pass@1",
    ):
        assert words in text
    assert set(made.pictures) == {"curve-medium.png", "effort.png"}
    assert all(png.startswith(PNG) for png in made.pictures.values())


def test_drops_are_marked_in_the_table(made):
    table = made.page.split("Over-optimisation")[1].split("<h2>")[0]
    row = next(row for row in table.split("<tr>") if "best_of_n" in row and ">mean<" in row and ">16<" in row)
    assert '<td class="bad">yes</td>' in row


def test_the_numbers_as_json(made):
    told = json.loads(json.dumps(made.to_json()))
    curve = next(one for one in told["curves"] if (one["task"], one["search"]) == (MEAN, "beam"))
    assert [point["at"] for point in curve["points"]] == ["1", "4", "16"] and curve["fit"]["slope_interval"]
    point = curve["points"][-1]
    assert point["usd_for_1000"] == pytest.approx((50 * 1 + 1600 * 2) / 1000) and point["n"] == 80
    assert {one["task"] for one in told["efforts"]} == {"toy:2", "other:2", MEAN}
    assert any(one["search"] == COVERAGE for one in told["curves"])


def test_commands_are_such_as_eval_takes(made, make):
    records = [make(0, 1.0, id="toy:2:validation:0", width=3, search="beam", drawn=6, seed=4, top_p=0.9)]
    records += [make(0, 1.0, task="gym:chess", id="gym:0"), make(0, 1.0, task="open", level=0, id="line 1")]
    commands = [*made.commands[:-1], *make_report(records).commands]
    assert "ponder eval --model toy --task toy:2 --task other:2 --n 40 --effort low,medium,high,auto" in commands[1]
    known = {name for option in get_command(app).commands["eval"].params for name in option.opts}
    for command in commands:
        assert set(re.findall(r"--[a-z-]+", command)) <= known
    assert any("--split validation --effort medium --search beam --samples 6 --width 3" in one for one in commands)
    assert any("--gym chess:2" in one for one in commands) and any("--problems FILE.jsonl" in one for one in commands)


def test_names_that_are_markup_are_texts(make):
    evil = '<img src=x onerror="alert(1)">&"'
    records = [make(n, 1.0, 0.0, model=evil, task=evil, effort="low") for n in range(3)]
    made = make_report(records, command=evil)
    assert "<img src=x" not in made.page and not Page(made.page).open
    assert all(re.fullmatch(r"[\w.=-]+\.png", name) for name in made.pictures)


def test_a_single_point_and_dark_colours_can_be_drawn(make):
    drawn = curves([make(0, 1.0), make(1, 0.0)], times=50)
    assert curve_figure("one", drawn, LIGHT) != curve_figure("one", drawn, DARK)


def test_without_matplotlib_the_remedy_is_named(make, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    plain = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'ponder\[plots\]'"):
        make_report([make(0, 1.0)])
