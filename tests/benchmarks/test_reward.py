"""The comparison of heads runs on tiny models, side by side, and every number has an interval over problems."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from benchmarks import reward
from ponder.model.checkpoint import load_checkpoint, save_checkpoint
from ponder.model.heads import new_head
from ponder.reward.boundary import Judged, Label
from ponder.types import Rating


@pytest.fixture
def heads(micro_checkpoint: Path, tmp_path: Path) -> dict[str, Path]:
    """Four heads: two of one trunk, one that was never told which blocks are valid, one with a trunk of its own."""
    folders: dict[str, Path] = {}
    for number, name in enumerate(("exact", "mc", "orm", "joint")):
        found = load_checkpoint(micro_checkpoint)
        head = new_head(found.network.shape.hidden_size)
        torch.nn.init.normal_(head.outer.weight, generator=torch.Generator().manual_seed(number))
        with torch.no_grad():
            if name == "orm":
                head.outer.weight[1].zero_()
            if name == "joint":
                next(found.network.parameters()).mul_(1.01)
        folders[name] = tmp_path / name
        save_checkpoint(replace(found, head=head), folders[name])
    return folders


def test_heads_stand_side_by_side(
    micro_checkpoint: Path, heads: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out, page = tmp_path / "results" / "reward.json", reward.ROOT / "benchmarks" / "README.md"
    before = page.read_bytes()
    words = ["--model", str(micro_checkpoint), "--task", "letters:1", "--problems", "2"]
    words += ["--samples", "2", "--effort", "minimal", "--device", "cpu", "--out", str(out), "--dry"]
    for name, folder in heads.items():
        words += ["--head", f"{name}={folder}"]
    monkeypatch.setattr(sys, "argv", ["reward", *words])
    reward.main()
    told = json.loads(out.read_text(encoding="utf-8"))
    assert list(told["heads"]) == [*heads, reward.SURPRISE] and told["rollouts"] == 4 and told["problems"] == 2
    assert {name: (one["taught"], one["own_trunk"]) for name, one in told["heads"].items()} == {
        "exact": (True, False),
        "mc": (True, False),
        "orm": (False, False),
        "joint": (True, True),
        reward.SURPRISE: (True, False),
    }
    for one in told["heads"].values():
        assert list(one["tasks"]) == ["letters:1"] and set(one["selection"]) == {"1", "2"}
        assert one["all"]["outcome"]["n"] == 4 and one["all"]["intervals"]["outcome_ece"]
    errors = [one["all"]["flat"]["outcome_ece"] for one in told["heads"].values()]
    assert len(set(errors)) == 5, "the heads read alike"
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows if row[2:].split(" ")[0] in heads] == [
        f"| {name}" for name in heads
    ] * 2
    assert sum(row.startswith(f"| {reward.SURPRISE} ") for row in rows) == 2
    assert "`orm` was never told" in shown and "`joint` reads with a trunk of its own." in shown
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert page.read_bytes() == before, "a dry run wrote the page"


def made(problems: int) -> list[Judged]:
    """Rollouts of a head that is mostly right: four a problem, half of them with a wrong second block."""
    rng, found = Random("made"), list[Judged]()
    for number in range(problems):
        for sample in range(4):
            right = sample % 2 == 0
            sure = [0.5 + (0.45 if right else -0.45) * (1 if rng.random() < 0.8 else -1) * rng.random() for _ in "123"]
            ratings = (Rating(sure[0], 1.0), Rating(sure[0], 0.9), Rating(sure[1], sure[1]), Rating(sure[2], sure[2]))
            end = float(right)
            labels = (Label(end), Label(end, 1.0), Label(end, end), Label(end, end))
            found.append(Judged(ratings, labels, f"problem {number}"))
    return found


def test_every_number_has_an_interval_that_narrows_with_more_problems() -> None:
    few, many = reward.worth(made(12)), reward.worth(made(120))
    for name in ("f1", "chosen_f1", "validity_auc", "outcome_auc", "within_auc", "validity_ece", "outcome_ece"):
        for one in (few, many):
            low, high = one["intervals"][name]
            assert 0.0 <= low <= one["flat"][name] <= high <= 1.0
            assert reward.cell(one, name) == f"{one['flat'][name]:.3f} ({low:.3f}–{high:.3f})"
        assert width(many, name) < width(few, name)
    assert reward.cell({"flat": {}, "intervals": {}}, "f1") == "–"


def width(told: dict, name: str) -> float:
    low, high = told["intervals"][name]
    return high - low
