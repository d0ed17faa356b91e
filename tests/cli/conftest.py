"""A command line whose model plays a script."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ponder.cli import main, models
from ponder.engine.scripted import ScriptedSampler
from ponder.text import format
from ponder.types import Block

BLOCKS = (Block("add the ones", "2+2=4 nothing to carry", "4"), Block("check", "4-2=2", "4 ok"))


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command in this process."""

    def run(*arguments: str) -> Outcome:
        code = main(arguments)
        return Outcome(code, *capsys.readouterr())

    return run


class AnyPrompt(dict[str, str]):
    """The same script for every prompt that has none of its own."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return format.render(BLOCKS, "4")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Makes every command use a model that plays this mapping of prompts to completions."""
    scripts = AnyPrompt({"cut": format.render((), "9" * 500), "torn": format.render((Block("h" * 900, "", ""),), "4")})
    model = models.Model(ScriptedSampler(scripts), "scripted")
    monkeypatch.setattr(models, "load", lambda *_, **__: model)
    return scripts
