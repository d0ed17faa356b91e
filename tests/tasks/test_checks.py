"""Whatever a model writes into its blocks, a checker says something of each of them and never fails."""

from dataclasses import replace
from random import Random

import pytest

from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.types import Block, Split, Style

THOUGHTS = 200
PARTS = ("headline", "thoughts", "summary")


def spoiled(text: str, other: str, rng: Random) -> str:
    """A text as a half-trained model might write it."""
    words = text.split()
    at = rng.randrange(len(words) + 1)
    return rng.choice(
        (
            "",
            other,
            f"{text} {text}",
            f"{text} {other}",
            text[: rng.randrange(len(text) + 1)],
            text + rng.choice("0123456789 '+-*/=();:,x%A\n"),
            " ".join(words[:at] + words[at + 1 :]),
            " ".join(words[:at] + ["7"] * rng.randint(1, 30) + words[at:]),
            " ".join(rng.sample(words, len(words))),
            text.replace(rng.choice("0123456789"), "99"),
        )
    )


@pytest.mark.parametrize(
    ("name", "level"), [(name, level) for name, task in TASKS.items() for level in task.levels if level < 4]
)
def test_spoiled_thoughts_are_checked_block_by_block(name: str, level: int) -> None:
    task, rng = TASKS[name], rng_for("spoiled", name, level)
    problems = [make(task, level, Split.VALIDATION, index) for index in range(4)]
    shown = [
        task.demonstrate(problem, rng, style).blocks for problem in problems for style in (Style.CLEAN, Style.WANDERING)
    ]
    pool = [block for blocks in shown for block in blocks]
    for _ in range(THOUGHTS):
        thought: list[Block] = list(rng.choice(shown))
        for _ in range(rng.randint(1, 3)):
            at, part, other = rng.randrange(len(thought)), rng.choice(PARTS), rng.choice(pool)
            broken = spoiled(getattr(thought[at], part), getattr(other, rng.choice(PARTS)), rng)
            thought[at] = replace(thought[at], **{part: broken})
            thought.insert(rng.randrange(len(thought) + 1), rng.choice((other, thought[at])))
        assert len(task.check_blocks(rng.choice(problems), thought)) == len(thought)
