"""What tests of training share: a tiny network that writes short blocks and an answer, made once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ponder.train.reward import RewardConfig

Tiny = Callable[..., "RewardConfig"]
"""Settings for a model, with others as arguments."""


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """A reward run that is over in a moment."""
    from ponder.train.reward import RewardConfig

    usual: dict[str, Any] = {
        "tasks": ("multiplication:1", "multiplication:2"),
        "problems": 10,
        "samples": 2,
        "efforts": ("minimal",),
        "held_out": 4,
        "steps": 8,
        "rows": 6,
        "threads": 1,
        "dtype": "float32",
    }
    return lambda model, **more: RewardConfig.model_validate({"model": str(model), **usual, **more})


@pytest.fixture(scope="session")
def taught(micro_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that writes a few short blocks and answers of one to nine digits; only to be read."""
    from ponder.model.checkpoint import load_checkpoint, save_checkpoint
    from ponder.runs import Run
    from ponder.seeds import rng_for
    from ponder.tasks import TASKS, make
    from ponder.text import format
    from ponder.train.batch import collate, pack
    from ponder.train.loop import LoopConfig, fit
    from ponder.train.losses import cross_entropy
    from ponder.types import Block, Effort, Message, Split

    found, rng, rows = load_checkpoint(micro_checkpoint), rng_for("taught"), []
    problems = [make(TASKS["multiplication"], 1, Split.TRAIN, index) for index in range(6)]
    for number in range(24):
        messages = [Message("user", rng.choice(problems).prompt)]
        blocks = tuple(Block(f"step {rng.randint(1, 9)}", "work it out", "yes") for _ in range(rng.randint(0, 4)))
        answer = "".join(rng.choice("123456789") for _ in range(rng.choice((1, 1, 2, 3, 5, 9))))
        effort = Effort.LOW if number % 2 else Effort.NONE
        thought = blocks if number % 2 else ()
        rows.append(pack(format.sections(messages, effort, thought, answer, 1), found.own()[1]))
    folder, batch = tmp_path_factory.mktemp("taught"), collate(rows)
    config = LoopConfig(steps=40, learning_rate=1e-2, save_seconds=1e9)
    fit(found.own()[0], lambda first: ([batch] for _ in range(40)), cross_entropy, config, Run(folder))
    save_checkpoint(found, folder / "checkpoint")
    return folder / "checkpoint"
