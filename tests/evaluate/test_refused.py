"""A prompt that the model cannot read is its own record's loss alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from ponder.engine.local import LocalSampler
from ponder.errors import ContextError
from ponder.evaluate.problems import held_out
from ponder.evaluate.run import Settings, evaluate
from ponder.model.checkpoint import load_checkpoint
from ponder.think import Request, think
from ponder.types import Effort, Message

LONG = "again " * 9000


@pytest.mark.parametrize(("searches", "temperature"), [(("single",), 0.0), (("single", "majority"), 1.0)])
def test_a_prompt_too_long_is_undecided_and_the_others_go_on(
    micro_checkpoint: Path, searches: tuple[str, ...], temperature: float
) -> None:
    given = held_out("letters", 1, 3)
    problems = (replace(given.problems[0], prompt=LONG, id="long"), *given.problems[1:])
    settings = Settings(
        efforts=(Effort.MINIMAL,), searches=searches, samples=(1, 2) if temperature else (1,), temperature=temperature
    )
    sampler = LocalSampler(load_checkpoint(micro_checkpoint))
    records = evaluate([replace(given, problems=problems)], settings, sampler)
    refused = [record for record in records if record.id == "long"]
    others = [record for record in records if record.id != "long"]
    assert refused and len(others) == 2 * len(refused)
    assert all(score is None for record in refused for score in record.scores)
    assert all("shorten the prompt" in note for record in refused for note in record.notes)
    assert all(score is not None for record in others for score in record.scores)


@pytest.mark.parametrize("search", ["single", "majority"])
def test_asked_alone_it_is_an_error(micro_checkpoint: Path, search: str) -> None:
    sampler = LocalSampler(load_checkpoint(micro_checkpoint))
    with pytest.raises(ContextError, match="shorten the prompt"):
        think([Request((Message("user", LONG),), temperature=1.0, search=search)], sampler)
