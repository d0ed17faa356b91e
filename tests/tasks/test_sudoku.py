"""Sudoku: reasoning-gym's wording and scoring, a strict grader, thoughts that the exact checker agrees with."""

import re
import time
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reasoning_gym.games.mini_sudoku import MiniSudokuConfig, MiniSudokuDataset
from reasoning_gym.games.sudoku import SudokuConfig, SudokuDataset

from ponder.errors import ProblemError
from ponder.tasks.sudoku import BLANKS, SUDOKU
from ponder.types import Block, Problem, Style

TOKEN = re.compile(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ")
LONGEST = {1: 40, 2: 40, 3: 65, 4: 134}
"""Tokens of a block: the larger grids are restated whole in each summary."""


def problem_of(level: int, seed: int) -> Problem:
    data = SUDOKU.draw(level, Random(seed))
    return Problem("sudoku", level, SUDOKU.phrasings[0](data), SUDOKU.answer(data), data)


EASY = problem_of(2, 1)


@pytest.mark.parametrize(
    "theirs", [MiniSudokuDataset(MiniSudokuConfig(seed=3, size=40)), SudokuDataset(SudokuConfig(seed=3, size=4))]
)
def test_is_reasoning_gyms_task(theirs: Any) -> None:
    for entry in theirs:
        data = SUDOKU.validate({"grid": entry["metadata"]["puzzle"]})
        assert SUDOKU.phrasings[0](data) == entry["question"]
        assert SUDOKU.answer(data) == entry["answer"]
        assert theirs.score_answer(SUDOKU.answer(data), entry) == 1.0
        problem = Problem("sudoku", 2, entry["question"], entry["answer"], data)
        assert SUDOKU.grade(problem, entry["answer"]).right
        if len(data["grid"]) == 4:
            assert SUDOKU.demonstrate(problem, Random(0), Style.CLEAN).blocks


@pytest.mark.parametrize("level", SUDOKU.levels)
def test_draws_are_of_the_level(level: int) -> None:
    size, fewest, most = BLANKS[level]
    for seed in range(10):
        data = SUDOKU.draw(level, Random(seed))
        assert data == SUDOKU.draw(level, Random(seed)) == SUDOKU.validate(data)
        assert len(data["grid"]) == size
        assert fewest <= sum(row.count(0) for row in data["grid"]) <= most
        assert all(phrasing(data) for phrasing in SUDOKU.phrasings)


def compact(text: str) -> str:
    return text.replace(" ", "")


@pytest.mark.parametrize(
    "dress",
    [
        "{}",
        "  {}\n",
        "The answer is:\n{}",
        "`{}`",
        "{}.",
    ],
)
@pytest.mark.parametrize("shape", [str, compact, lambda text: compact(text).replace("\n", "/")])
def test_good_answers(dress: str, shape: Any) -> None:
    assert SUDOKU.grade(EASY, dress.format(shape(EASY.answer))).right


ANSWER = EASY.answer
CHEATS = [
    "",
    " ",
    "1",
    ANSWER + "\n" + ANSWER,
    ANSWER + " 1",
    ANSWER + "\nor " + ANSWER,
    ANSWER[:-1],
    ANSWER[:-1] + "_",
    ANSWER.replace("\n", " "),
    ANSWER.replace(ANSWER[0], "0"),
    ANSWER.replace("1", "١"),
    ANSWER.replace("2", "²"),
    ANSWER.replace("1", "11"),
    ANSWER.replace(" ", "", 1),
    ANSWER.replace("1", "2**0"),
    "\n".join(reversed(ANSWER.split("\n"))),
    f"print({ANSWER!r})",
    "I think it is\n" + ANSWER,
    "(" * 10_000,
    "1" * 100_000,
    "1 2 3 4\n" * 4,
    "\n" * 1_000_000,
    "1 " * 500_000,
]


@pytest.mark.parametrize("number", range(len(CHEATS)))
def test_cheats_are_refused_fast(number: int) -> None:
    start = time.process_time()
    grade = SUDOKU.grade(EASY, CHEATS[number])
    assert time.process_time() - start < 0.01
    assert grade.score == 0.0 and grade.note


def tokens(block: Block) -> int:
    return sum(len(TOKEN.findall(part)) for part in (block.headline, block.thoughts, block.summary))


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("level", SUDOKU.levels)
def test_demonstrations(level: int, style: Style) -> None:
    for seed in range(60 if level < 4 else 6):
        problem = problem_of(level, seed)
        shown = SUDOKU.demonstrate(problem, Random(seed), style)
        assert shown == SUDOKU.demonstrate(problem, Random(seed), style)
        assert SUDOKU.grade(problem, shown.answer).right
        checks = SUDOKU.check_blocks(problem, shown.blocks)
        wrong = [at for at, check in enumerate(checks) if not check.valid]
        assert len(wrong) == (style is Style.CORRECTED)
        assert all(checks[at].winnable is False and checks[at + 1].winnable for at in wrong)
        assert all(check.winnable for at, check in enumerate(checks) if at not in wrong)
        assert all(tokens(block) <= LONGEST[level] for block in shown.blocks)
        assert bool(shown.blocks) == (style is not Style.DIRECT)


def test_each_block_follows_from_the_last_summary_alone() -> None:
    """The Markov property: from any block on, the same blocks are valid for the problem that its summary states."""
    blocks = SUDOKU.demonstrate(EASY, Random(0), Style.CLEAN).blocks
    for at, block in enumerate(blocks[:-1]):
        rows = [[int(sign) if sign != "_" else 0 for sign in row] for row in block.summary.split("/")]
        rest = Problem("sudoku", 2, "", EASY.answer, {"grid": rows})
        assert all(check.valid for check in SUDOKU.check_blocks(rest, blocks[at + 1 :]))


def test_false_claims_are_invalid() -> None:
    first, *_ = SUDOKU.demonstrate(EASY, Random(0), Style.CLEAN).blocks
    for headline, thoughts, summary in [
        ("z9 z9", first.thoughts, first.summary),
        (first.headline, "", first.summary),
        (first.headline, first.thoughts + " row1", first.summary),
        (first.headline, first.thoughts.rsplit(" ", 1)[0], first.summary),
        (first.headline, first.thoughts, first.summary.replace("_", "1", 1)),
        (first.headline, first.thoughts, ANSWER.replace(" ", "").replace("\n", "/")),
        ("check", first.thoughts, first.summary + " ok"),
        ("fix " + first.headline[:2], "1 twice in row " + first.thoughts, first.summary),
    ]:
        (check,) = SUDOKU.check_blocks(EASY, [Block(headline, thoughts, summary)])
        assert check.valid is False and check.note


WORDS = st.lists(
    st.one_of(
        st.sampled_from(["check", "fix", "a1", "d4", "row12", "so1", "or12", "twice", "in", "row", "ok", "so", "____"]),
        st.text(max_size=5),
        st.just(SUDOKU.demonstrate(EASY, Random(0), Style.CLEAN).blocks[0].summary),
    ),
    max_size=6,
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(Block, WORDS, WORDS, WORDS), max_size=4), WORDS)
def test_nothing_raises_on_any_text(blocks: list[Block], text: str) -> None:
    assert len(SUDOKU.check_blocks(EASY, blocks)) == len(blocks)
    assert SUDOKU.grade(EASY, text).score == 0.0


def test_a_grid_beyond_single_candidates_is_answered_without_a_thought() -> None:
    easy = "53__7____/6__195___/_98____6_/8___6___3/4__8_3__1/7___2___6/_6____28_/___419__5/____8__79"
    hard = "_____2_47/8____7_1_/__7_6_8__/19_643__8/___289___/3_____9_6/46__3____/_38_____4/721____63"
    for grid, thought in [(easy, True), (hard, False)]:
        data = SUDOKU.validate({"grid": [[int(sign.replace("_", "0")) for sign in row] for row in grid.split("/")]})
        problem = Problem("sudoku", 4, "", SUDOKU.answer(data), data)
        shown = SUDOKU.demonstrate(problem, Random(0), Style.CLEAN)
        assert bool(shown.blocks) is thought
        assert SUDOKU.grade(problem, shown.answer).right


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"grid": 5},
        {"grid": [[1]]},
        {"grid": [[0] * 4] * 4},
        {"grid": [[0] * 9] * 9},
        {"grid": [[1, 1, 0, 0], *[[0] * 4] * 3]},
        {"grid": [[1, 2, 3, 0], [0, 0, 0, 4], [0] * 4, [0] * 4]},
        {"grid": [["1", 2, 3, 4], *[[0] * 4] * 3]},
        {"grid": [[True, 2, 3, 4], *[[0] * 4] * 3]},
        {"grid": [[5, 2, 3, 4], *[[0] * 4] * 3]},
    ],
)
def test_unusable_grids_are_named(data: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match="sudoku"):
        SUDOKU.validate(data)
