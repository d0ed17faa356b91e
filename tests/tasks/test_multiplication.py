"""Long multiplication: wording, grading, steps and their checks."""

import re
import time
from itertools import pairwise
from random import Random

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.tasks.multiplication import MULTIPLICATION
from ponder.types import Block, Problem, Style

TASK = MULTIPLICATION
TOKEN = re.compile(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ")
LONGEST = {1: 40, 2: 48, 3: 66, 4: 80}


def tokens(block: Block) -> int:
    return sum(len(TOKEN.findall(part)) for part in (block.headline, block.thoughts, block.summary))


def problem(level: int, seed: int) -> Problem:
    rng = Random(seed)
    data = TASK.draw(level, rng)
    return Problem(TASK.name, level, rng.choice(TASK.phrasings)(data), TASK.answer(data), data)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("style", list(Style))
def test_demonstrations(level: int, style: Style):
    sizes: list[int] = []
    totals: list[int] = []
    for seed in range({1: 40, 2: 100, 3: 30, 4: 5}[level]):
        one = problem(level, seed)
        shown = TASK.demonstrate(one, Random(seed), style)
        assert shown == TASK.demonstrate(one, Random(seed), style)
        assert TASK.grade(one, shown.answer).right
        checks = TASK.check_blocks(one, shown.blocks)
        assert len(checks) == len(shown.blocks)
        if style is Style.CORRECTED:
            assert not all(check.valid for check in checks)
        else:
            assert all(check.valid and check.winnable for check in checks), shown
        if style is Style.DIRECT:
            assert not shown.blocks
            continue
        assert checks[-1].valid and shown.blocks[-1].summary == "ok"
        assert shown.answer == shown.blocks[-1].headline.split(" ")[1]
        sizes += map(tokens, shown.blocks)
        totals.append(sum(map(tokens, shown.blocks)))
    if style is Style.DIRECT:
        return
    assert max(sizes) <= LONGEST[level]
    if level == 2:
        assert sorted(sizes)[int(0.95 * len(sizes))] <= 40
        assert style is not Style.CLEAN or sum(totals) / len(totals) <= 200


def test_every_step_follows_from_the_last_fold():
    """With only headline and summary of the block before, a clean thought goes on the same way."""
    for seed in range(20):
        one = problem(2, seed)
        blocks = TASK.demonstrate(one, Random(seed), Style.CLEAN).blocks
        for last, block in pairwise(blocks):
            folded = Block(last.headline, "", last.summary)
            assert TASK.check_blocks(one, [folded, block])[1].valid


def test_tampered_blocks_are_not_valid():
    for seed in range(20):
        one = problem(2, seed)
        rng = Random(seed)
        blocks = list(TASK.demonstrate(one, rng, Style.CLEAN).blocks)
        index = rng.randrange(len(blocks))
        whole = blocks[index]
        spot = rng.randrange(len(whole.thoughts))
        wrong = whole.thoughts[:spot] + rng.choice("#7 =") + whole.thoughts[spot + 1 :]
        if wrong == whole.thoughts:
            continue
        blocks[index] = Block(whole.headline, wrong, whole.summary)
        assert not TASK.check_blocks(one, blocks)[index].valid


piece = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789+-*/()'=: ", max_size=60),
    st.sampled_from(["again", "add", "start over", "check 12", "ok", "12'3 left 4", "9" * 30, "(" * 5000, "1+" * 5000]),
)


@given(st.lists(st.builds(Block, piece, piece, piece), max_size=6), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_check_blocks_takes_any_text(blocks: list[Block], seed: int):
    one = problem(1 + seed % 3, seed)
    assert len(TASK.check_blocks(one, blocks)) == len(blocks)


def cheats(right: str) -> list[str]:
    return [
        "", " ", f"1{right}", f"{right}1", f"{right} {right}", f"{right} or 7",
        f"I think {right}", f"{right} because 3",
        f"{int(right) + 1}", "2**5", "9" * 10**5, "(" * 10**4 + right + ")" * 10**4, "١٢", "²", f"print({right})",
        f"{right}.5", "1e3", "nan", "inf", f"0x{int(right):x}", f"{right}\n{int(right) + 1}", "x" * 10**6,
        right * 10**5,
    ]  # fmt: skip


def test_grade_refuses_cheats_quickly():
    for seed in range(5):
        one = problem(2, seed)
        for text in cheats(one.answer):
            start = time.process_time()
            outcome = TASK.grade(one, text)
            assert time.process_time() - start < 0.01
            assert outcome.score == 0.0 and outcome.note, text[:50]


@given(st.text(max_size=60))
@settings(deadline=None)
def test_grade_takes_any_text(text: str):
    assert TASK.grade(problem(1, 1), text).score in (0.0, 1.0)


def test_wording_and_grade_are_reasoning_gyms():
    dataset = reasoning_gym.create_dataset("products", size=50, seed=3)
    for entry in dataset:
        a, b = map(int, entry["metadata"]["expression"].split(" * "))
        data = TASK.validate({"a": a, "b": b})
        assert TASK.phrasings[0](data) == entry["question"]
        assert TASK.answer(data) == entry["answer"]
        assert dataset.score_answer(TASK.answer(data), entry) == 1.0
        one = Problem(TASK.name, 2, entry["question"], entry["answer"], data)
        for style in Style:
            shown = TASK.demonstrate(one, Random(a), style)
            assert shown.answer == entry["answer"]


def test_grade_takes_harmless_forms():
    one = Problem("multiplication", 2, "", "9716", {"a": 347, "b": 28})
    for text in (
        "9716",
        " 9716. ",
        "9,716",
        "The answer is 9716.",
        "347*28 = 9716",
        "347 × 28 = 9,716",
        "+9716",
        "9716.0",
    ):
        assert TASK.grade(one, text).right, text
    for text in ("-9716", "97,16", "28", "347*28", "9716 = 347*28 = 9717", "347*29 = 9716"):
        assert not TASK.grade(one, text).right, text


def test_the_order_of_factors_does_not_matter():
    assert TASK.canonical({"a": 28, "b": 347}) == TASK.canonical({"a": 347, "b": 28})


@pytest.mark.parametrize(
    "data", [{"a": 0, "b": 0}, {"a": 0, "b": 12}, {"a": 7, "b": 100}, {"a": 12345678, "b": 87654321}]
)
def test_unusual_factors(data: dict[str, int]):
    one = Problem("multiplication", 1, "", TASK.answer(data), TASK.validate(data))
    for style in Style:
        shown = TASK.demonstrate(one, Random(1), style)
        assert TASK.grade(one, shown.answer).right
        assert not shown.blocks or TASK.check_blocks(one, shown.blocks)[-1].valid


@pytest.mark.parametrize(
    "data", [{}, {"a": 1}, {"a": 1, "b": "2"}, {"a": True, "b": 2}, {"a": -1, "b": 2}, {"a": 1, "b": 10**8}]
)
def test_validate_refuses(data: dict[str, object]):
    with pytest.raises(ProblemError):
        TASK.validate(data)


def test_validate_takes_what_draw_makes():
    for level in TASK.levels:
        data = TASK.draw(level, Random(level))
        assert TASK.validate(data) == data
