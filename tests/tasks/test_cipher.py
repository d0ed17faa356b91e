"""Cipher: wording, grader, thoughts and their checks, users' data, and the shift search on reasoning-gym's texts."""

import re
import time
from random import Random

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.tasks import make
from ponder.tasks.cipher import CIPHER
from ponder.tasks.cipher_steps import METHODS, pivot_of, shift_down
from ponder.tasks.words import WORD_SET
from ponder.types import Block, Problem, Split, Style

TOKEN = re.compile(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ")
GYM = reasoning_gym.create_dataset("caesar_cipher", min_words=3, max_words=6, size=500, seed=7)


def tokens(block):
    return sum(len(TOKEN.findall(part)) for part in (block.headline, block.thoughts, block.summary))


def problem_of(data):
    data = CIPHER.validate(data)
    return Problem("cipher", 2, CIPHER.phrasings[0](data), data["plain"], data)


def problems(level, count=60):
    return [make(CIPHER, level, Split.TRAIN, index) for index in range(count)]


def from_gym(index):
    made = GYM[index]["metadata"]
    return {"cipher": made["cipher_text"], "plain": made["clear_text"]}


def test_wording_is_reasoning_gyms():
    for index in range(50):
        assert CIPHER.phrasings[0](CIPHER.validate(from_gym(index))) == GYM[index]["question"]


def test_every_wording_shows_the_text_and_the_example():
    for problem in problems(2):
        for phrasing in CIPHER.phrasings:
            text = phrasing(problem.data)
            assert all(part in text for part in [problem.data["cipher"], *(problem.data["example"] or ())])
            assert problem.data["plain"] not in text


@pytest.mark.parametrize("level", CIPHER.levels)
def test_draws_have_the_levels_methods_and_lengths(level):
    made = [problem.data for problem in problems(level, 200)]
    assert {data["method"] for data in made} == set(METHODS[: {1: 1, 2: 3, 3: 4, 4: 5}[level]])
    without = sum(data["example"] is None for data in made) / len(made)
    assert without == 0 if level == 4 else 0.12 < without < 0.4
    assert all(CIPHER.validate(data) == data for data in made)


@pytest.mark.parametrize("level", CIPHER.levels)
@pytest.mark.parametrize("style", Style)
def test_thoughts_are_right_checked_and_short(level, style):
    sizes, totals, slips = [], [], 0
    for index, problem in enumerate(problems(level)):
        shown = CIPHER.demonstrate(problem, Random(index), style)
        assert shown == CIPHER.demonstrate(problem, Random(index), style)
        assert CIPHER.grade(problem, shown.answer).right
        checks = CIPHER.check_blocks(problem, shown.blocks)
        wrong = [number for number, check in enumerate(checks) if not check.valid]
        slips += bool(wrong)
        if style is Style.CORRECTED:
            assert checks[wrong[-1] + 1].valid and checks[wrong[-1] + 1].winnable
        else:
            assert not wrong
        assert not checks or (shown.blocks[-1].summary == f"{shown.answer} ok" and checks[-1].valid)
        sizes += map(tokens, shown.blocks)
        totals.append(sum(map(tokens, shown.blocks)))
    if style is Style.CORRECTED:
        assert slips == len(totals)
    if style is not Style.DIRECT:
        assert sorted(sizes)[int(0.95 * len(sizes))] <= (52 if level <= 2 else 66)
        assert level > 2 or max(sizes) <= 68
        assert level != 2 or sum(totals) / len(totals) <= 240


def test_blocks_depend_on_the_last_one_only():
    for problem in problems(3, 40):
        blocks = CIPHER.demonstrate(problem, Random(1), Style.CLEAN).blocks
        for before, block in zip(blocks, blocks[1:], strict=False):
            assert CIPHER.check_blocks(problem, (before, block))[1].valid


def test_a_changed_letter_digit_or_word_makes_a_block_invalid():
    for index, problem in enumerate(problems(4, 40)):
        rng = Random(index)
        blocks = CIPHER.demonstrate(problem, rng, Style.CLEAN).blocks
        at = rng.randrange(len(blocks))
        part = rng.choice(("thoughts", "summary"))
        text = getattr(blocks[at], part)
        where = rng.choice([i for i, c in enumerate(text) if c.isupper() or c.isdigit()] or [0])
        changed = text[:where] + ("Q" if text[where] != "Q" else "X") + text[where + 1 :]
        parts = {"headline": blocks[at].headline, "thoughts": blocks[at].thoughts, "summary": blocks[at].summary}
        bad = Block(**{**parts, part: changed})
        assert not CIPHER.check_blocks(problem, [*blocks[:at], bad])[at].valid


PROBLEM = problem_of({"cipher": "WKH FDW VDW", "plain": "the cat sat", "example": ["KHOOR", "HELLO"]})
BARE = problem_of({"cipher": "WKH FDW VDW", "plain": "THE CAT SAT"})


@pytest.mark.parametrize(
    "text",
    ["THE CAT SAT", "the cat sat", " The cat  sat. ", '"THE CAT SAT"', "The answer is: THE CAT SAT", "**THE CAT SAT**"],
)
def test_right_answers(text):
    assert CIPHER.grade(PROBLEM, text).right


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "THE CAT",
        "THE CAT SAT SAT",
        "THE CAT SAT or THE DOG SAT",
        "THECATSAT",
        "SHIFT 3: THE CAT SAT",
        "THE CAT SAT\nTHE DOG SAT",
        "ＴＨＥ ＣＡＴ ＳＡＴ",
        "THE CAT ſAT",
        "WKH FDW VDW",
        "print('THE CAT SAT')",
        "THE-CAT-SAT",
        "(" * 10_000,
        "9" * 100_000,
        "THE CAT SAT " * 90_000,
    ],
)
def test_wrong_answers_with_a_reason_and_at_once(text):
    started = time.process_time()
    grade = CIPHER.grade(PROBLEM, text)
    assert time.process_time() - started < 0.01
    assert grade.score == 0.0 and grade.note


def test_a_text_that_begins_like_a_lead_in():
    problem = problem_of({"cipher": "UIF BOTXFS JT OP", "plain": "THE ANSWER IS NO"})
    assert CIPHER.grade(problem, "THE ANSWER IS NO").right
    assert not CIPHER.grade(problem, "NO").right


def test_grades_agree_with_reasoning_gym():
    for index in range(50):
        problem = problem_of(from_gym(index))
        for text in (problem.answer, problem.answer[:-1], problem.data["cipher"], problem.answer + " X"):
            assert CIPHER.grade(problem, text).right == (GYM.score_answer(text, GYM[index]) == 1.0)


def test_the_search_finds_the_shift_of_reasoning_gyms_texts():
    found = 0
    for index in range(500):
        made = GYM[index]["metadata"]
        pivot = pivot_of(made["cipher_text"].split())
        found += next((s for s in range(1, 26) if shift_down(pivot, s).lower() in WORD_SET), 0) == made["rotation"]
    assert found >= 430


def test_the_method_is_found_from_users_data():
    assert PROBLEM.data["method"] == "caesar" and PROBLEM.data["key"] == [3]
    o1 = {"cipher": "oyekaijzdf aaptcg", "plain": "there are", "example": ["oyfjdnisdr rtqwainr", "think step"]}
    assert CIPHER.validate(o1)["method"] == "pairs"
    with pytest.raises(ProblemError, match="no caesar or atbash"):
        CIPHER.validate({**o1, "plain": "there is"})
    example = ["GSV XZG", "THE CAT"]
    assert CIPHER.validate({"cipher": "WLT", "plain": "DOG", "example": example})["method"] == "atbash"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "cipher must be a text"),
        ({"cipher": "ABC"}, "plain must be a text"),
        ({"cipher": "AB1", "plain": "ABC"}, "letters A-Z"),
        ({"cipher": "ÄBC", "plain": "ABC"}, "letters A-Z"),
        ({"cipher": "A" * 500, "plain": "B" * 500}, "1 to 400"),
        ({"cipher": "AB C", "plain": "ABC"}, "number of words"),
        ({"cipher": "ABC", "plain": "ABC"}, "no caesar cipher"),
        ({"cipher": "ABC", "plain": "BCD", "method": "rot"}, "unknown method"),
        ({"cipher": "ABC", "plain": "ZYX", "method": "atbash"}, "needs an example"),
        ({"cipher": "ABC", "plain": "BCD", "example": "XYZ"}, "example must be"),
        ({"cipher": "BCD", "plain": "ABC", "key": [2]}, "that key"),
        ({"cipher": "BCD", "plain": "ABC", "key": 1}, "that key"),
        ({"cipher": "NBN", "plain": "ABC", "example": ["N", "A"]}, "no caesar or"),
        ({"cipher": "N", "plain": "A", "example": ["N", "A"]}, "more than one cipher"),
    ],
)
def test_bad_data_is_named(data, reason):
    with pytest.raises(ProblemError, match=reason):
        CIPHER.validate(data)


PIECES = [
    "shift 3",
    "shift",
    "not to",
    "not to 7",
    "THE",
    "CAT",
    "check",
    "test caesar",
    "test affine",
    "again",
    "ok",
    "٣",
    "wrong",
    "try WKH",
    "A",
    "not",
    "-",
    "K-H=3",
]
TEXT = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES), max_size=4).map(" ".join))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.builds(Block, TEXT, TEXT, TEXT), max_size=4), st.sampled_from([PROBLEM, BARE]))
def test_checking_never_raises(blocks, problem):
    assert len(CIPHER.check_blocks(problem, blocks)) == len(blocks)


def test_same_text_is_the_same_problem_with_and_without_an_example():
    assert CIPHER.canonical(PROBLEM.data) == CIPHER.canonical(BARE.data)


def test_drawing_and_demonstrating_is_fast():
    started = time.process_time()
    for index, problem in enumerate(problems(2, 200)):
        CIPHER.demonstrate(problem, Random(index), Style.WANDERING)
    assert time.process_time() - started < 200 * 0.004
