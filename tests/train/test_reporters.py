"""Numbers go where they are asked to, and a package that is missing is named before anything is written."""

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ponder.errors import ConfigError
from ponder.runs import Run
from ponder.train.reporters import REPORTERS, check_reporter, reporting, scalars
from ponder.train.rl import RLConfig, run_rl

SETTINGS: dict[str, Any] = {"tasks": ("multiplication:1",), "efforts": ("none",), "thinking": 24, "answer": 6}
SETTINGS |= {"problems": 2, "samples": 2, "steps": 2, "threads": 1, "workers": 1, "probe": 2, "probe_samples": 2}


def installed(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[str, Any, Any]]:
    """A package with the three functions that both libraries have, which writes down what they are given."""
    heard: list[tuple[str, Any, Any]] = []
    package = ModuleType(name)
    package.init = lambda **settings: heard.append(("init", settings, None))  # type: ignore[attr-defined]
    package.log = lambda numbers, step: heard.append(("log", step, numbers))  # type: ignore[attr-defined]
    package.finish = lambda: heard.append(("finish", None, None))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, package)
    return heard


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_run_is_reported(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    heard = installed(monkeypatch, name)
    run_rl(RLConfig.model_validate({"model": str(taught), **SETTINGS}), tmp_path / "run", report_to=name)
    assert [what for what, _, _ in (heard[0], heard[-1])] == ["init", "finish"]
    assert heard[0][1]["name"] == "run" and heard[0][1]["config"]["problems"] == 2
    told = [(step, numbers) for what, step, numbers in heard if what == "log"]
    assert [step for step, _ in told] == [record["step"] for record in Run(tmp_path / "run").metrics()]
    assert any("probe/pass@2" in numbers for _, numbers in told) and any("reward" in numbers for _, numbers in told)


@pytest.mark.parametrize("name", list(REPORTERS))
def test_a_package_that_is_missing_is_named(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=f"the package {name}, which is not installed: pip install {name}"):
        run_rl(RLConfig.model_validate({"model": str(taught), **SETTINGS}), tmp_path / "run", report_to=name)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="unknown reporter 'tensorbord': the reporters are tensorboard"):
        check_reporter("tensorbord")


def test_only_finite_numbers_are_told() -> None:
    record = {"step": 3, "loss": 0.5, "bad": math.nan, "why": "x", "evaluation": {"mean": 0.25, "at countdown:1": 1}}
    assert scalars(record) == {"loss": 0.5, "evaluation/mean": 0.25, "evaluation/at countdown:1": 1.0}


def test_tensorboard_writes_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with reporting("tensorboard", Run(tmp_path), {}) as run:
        run.log({"step": 1, "loss": 0.5})
    assert list((tmp_path / "tensorboard").iterdir())
