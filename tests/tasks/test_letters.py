"""Letters: wording, grader, thoughts and their checks, users' data, agreement with reasoning-gym."""

import re
import time
from dataclasses import replace
from random import Random

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.tasks import make
from ponder.tasks.letters import LETTERS
from ponder.types import Block, Problem, Split, Style

TOKEN = re.compile(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ")
GYM = reasoning_gym.create_dataset("letter_counting", size=200, seed=7)
WORDS = {1: (2, 5), 2: (5, 15), 3: (16, 40), 4: (41, 80)}


def tokens(block):
    return sum(len(TOKEN.findall(part)) for part in (block.headline, block.thoughts, block.summary))


def problem_of(letter, text):
    data = LETTERS.validate({"letter": letter, "text": text})
    return Problem("letters", 2, LETTERS.phrasings[0](data), LETTERS.answer(data), data)


def from_gym(index):
    made = GYM[index]["metadata"]
    return problem_of(made["target_letter"], " ".join(made["span"]))


def problems(level, count=60):
    return [make(LETTERS, level, Split.TRAIN, index) for index in range(count)]


def test_wording_answer_and_scorer_are_reasoning_gyms():
    for index in range(200):
        problem, entry = from_gym(index), GYM[index]
        assert problem.prompt == entry["question"] and problem.answer == entry["answer"]
        for text in (problem.answer, problem.answer + "1", "0", ""):
            assert LETTERS.grade(problem, text).right == (GYM.score_answer(text, entry) == 1.0)


def test_thoughts_work_on_reasoning_gyms_texts():
    for index in range(200):
        problem = from_gym(index)
        shown = LETTERS.demonstrate(problem, Random(index), Style.CLEAN)
        assert shown.blocks[-1].summary.endswith(f"={problem.answer}")
        assert all(check.valid and check.winnable for check in LETTERS.check_blocks(problem, shown.blocks))


@pytest.mark.parametrize("level", LETTERS.levels)
def test_draws_have_the_levels_lengths(level):
    made = [problem.data for problem in problems(level, 200)]
    assert all(WORDS[level][0] <= len(data["text"].split()) <= WORDS[level][1] for data in made)
    assert all(LETTERS.validate(data) == data for data in made)
    assert 0 < sum(LETTERS.answer(data) == "0" for data in made) < 30
    assert any(any(c.isupper() for c in data["text"]) for data in made)


@pytest.mark.parametrize("level", LETTERS.levels)
@pytest.mark.parametrize("style", Style)
def test_thoughts_are_right_checked_and_short(level, style):
    sizes, totals = [], []
    for index, problem in enumerate(problems(level)):
        shown = LETTERS.demonstrate(problem, Random(index), style)
        assert shown == LETTERS.demonstrate(problem, Random(index), style)
        assert LETTERS.grade(problem, shown.answer).right
        checks = LETTERS.check_blocks(problem, shown.blocks)
        wrong = [number for number, check in enumerate(checks) if not check.valid]
        if style is Style.CORRECTED:
            assert len(wrong) == 1 and checks[wrong[0] + 1].valid and checks[wrong[0] + 1].winnable
        else:
            assert not wrong
        sizes += map(tokens, shown.blocks)
        totals.append(sum(map(tokens, shown.blocks)))
    if style is not Style.DIRECT:
        assert sorted(sizes)[int(0.95 * len(sizes))] <= 52
        assert max(sizes) <= 72
        assert level != 2 or sum(totals) / len(totals) <= 260


PROBLEM = problem_of("t", "the cat sat there the cat sat there at Ten")


def test_repeated_words_are_told_apart():
    blocks = LETTERS.demonstrate(PROBLEM, Random(0), Style.CLEAN).blocks
    assert [block.summary for block in blocks] == ["T=3", "T=6", "T=9", "T=10"]
    assert all(check.valid for check in LETTERS.check_blocks(PROBLEM, blocks))


def test_words_stand_as_in_the_text_and_counts_go_on_behind_hits():
    problem = problem_of("9", "nine 1990 Ten at 99 ends here")
    assert LETTERS.demonstrate(problem, Random(0), Style.CLEAN).blocks == (
        Block("nine 1990 Ten", "9=0:nine NINE 1990 1 9=1 9=2 0 Ten TEN", "9=2"),
        Block(" at 99 ends", "9=2: at AT 99 9=3 9=4 ends ENDS", "9=4"),
        Block(" here", "9=4: here HERE", "9=4"),
    )
    assert LETTERS.demonstrate(problem_of("s", "a Shastut"), Random(0), Style.CLEAN).blocks == (
        Block("a Shastut", "S=0:a A Shastut S1HAS2TUT", "S=2"),
    )


def test_each_kind_of_mistake_is_invalid():
    first, second, *_ = LETTERS.demonstrate(PROBLEM, Random(0), Style.CLEAN).blocks
    for bad in (
        replace(second, headline=" cat sat there"),
        replace(second, headline=second.headline.strip()),
        replace(second, thoughts=second.thoughts.replace("HE", "E")),
        replace(second, thoughts=second.thoughts.replace("T4", "T5")),
        replace(second, thoughts=second.thoughts.replace("T=3", "T=2")),
        replace(second, summary="T=5"),
        replace(second, summary="3"),
        replace(second, summary="S=6"),
        replace(second, headline="again:" + second.headline),
    ):
        assert not LETTERS.check_blocks(PROBLEM, [first, bad])[1].valid
    assert not LETTERS.check_blocks(PROBLEM, [second])[0].valid


def test_a_wrong_count_can_be_mended_at_once_but_not_later():
    first, second, *_ = LETTERS.demonstrate(PROBLEM, Random(0), Style.CLEAN).blocks
    slip = replace(first, summary="T=4")
    mended = replace(first, headline="again:" + first.headline)
    checks = LETTERS.check_blocks(PROBLEM, [slip, mended, second])
    assert [check.valid for check in checks] == [False, True, True]
    assert [check.winnable for check in checks] == [None, True, True]
    late = LETTERS.check_blocks(PROBLEM, [slip, replace(second, summary="T=7")])
    assert [check.winnable for check in late] == [None, False]


@pytest.mark.parametrize("text", ["10", " 10. ", "The answer is 10", "count = 10", "t = 10", "+10", "10.0", "**10**"])
def test_right_answers(text):
    assert LETTERS.grade(PROBLEM, text).right


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9",
        "1 0",
        "10 or 9",
        "100",
        "0x0a",
        "5*2",
        "1e1",
        "١٠",
        "10²",
        "ten",
        "10\n9",
        "9" * 100_000,
        "(" * 10_000,
        "10 " * 300_000,
    ],
)
def test_wrong_answers_with_a_reason_and_at_once(text):
    started = time.process_time()
    grade = LETTERS.grade(PROBLEM, text)
    assert time.process_time() - started < 0.01
    assert grade.score == 0.0 and grade.note


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "letter must be"),
        ({"letter": "ab", "text": "x"}, "letter must be"),
        ({"letter": "", "text": "x"}, "letter must be"),
        ({"letter": 1, "text": "x"}, "letter must be"),
        ({"letter": "a", "text": " "}, "text must be"),
        ({"letter": "a", "text": ["x"]}, "text must be"),
        ({"letter": "a", "text": "x" * 5000}, "text must be"),
        ({"letter": "a", "text": "it's"}, 'not "\'"'),
        ({"letter": "a", "text": "a\nb"}, r"not '\\n'"),
    ],
)
def test_bad_data_is_named(data, reason):
    with pytest.raises(ProblemError, match=reason):
        LETTERS.validate(data)


PIECES = [
    "the cat sat",
    "again:the cat sat",
    "again:",
    "T=3",
    "T=6",
    "T=0:the T1HE",
    "",
    " there the cat",
    "T=9999",
    "T=٣",
]
TEXT = st.one_of(st.text(max_size=30), st.sampled_from(PIECES))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.builds(Block, TEXT, TEXT, TEXT), max_size=4))
def test_checking_never_raises(blocks):
    assert len(LETTERS.check_blocks(PROBLEM, blocks)) == len(blocks)


def test_drawing_and_demonstrating_is_fast():
    started = time.process_time()
    for index, problem in enumerate(problems(2, 200)):
        LETTERS.demonstrate(problem, Random(index), Style.WANDERING)
    assert time.process_time() - started < 200 * 0.004
