"""Arithmetic: expressions, wording, grading, steps and their checks."""

import ast
import re
import time
from itertools import pairwise
from random import Random

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.tasks import expressions
from ponder.tasks.arithmetic import ARITHMETIC, IF
from ponder.types import Block, Problem, Style

TASK = ARITHMETIC
TOKEN = re.compile(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ")
LONGEST = {1: 40, 2: 60, 3: 70, 4: 74}


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
        assert sorted(sizes)[int(0.95 * len(sizes))] <= 48
        assert style is not Style.CLEAN or sum(totals) / len(totals) <= 220


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


def of(text: str) -> Problem:
    data = TASK.validate({"expression": text})
    return Problem("arithmetic", 2, "", TASK.answer(data), data)


@pytest.mark.parametrize("negation", [False, True])
def test_wording_and_grade_are_reasoning_gyms(negation: bool):
    dataset = reasoning_gym.create_dataset("chain_sum", size=50, seed=3, allow_negation=negation)
    for entry in dataset:
        data = {"expression": entry["metadata"]["expression"]}
        assert TASK.phrasings[0](data) == entry["question"]
        assert negation or TASK.validate(data) == data
        assert TASK.answer(data) == entry["answer"]
        assert dataset.score_answer(TASK.answer(data), entry) == 1.0


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("2 - (3 - 15) * 2", ["2+12*2", "2+24", "26"]),
        ("7 + 5 * (3 - 15)", ["7-5*12", "7-60", "-53"]),
        ("((2 + 3)) * 4 - 84 / 7", ["5*4-84/7", "20-84/7", "20-12", "8"]),
        ("12 / 4 * 3", ["3*3", "9"]),
        ("-12 + 30 - 18", ["18-18", "0"]),
        ("5 - 3 × -2", ["5+6", "11"]),
        ("(1 - 1) - 3", ["0-3", "-3"]),
        ("34 * 56 - 1904 / 17", ["1904-1904/17", "1904-112", "1792"]),
        ("7 - (6 / 3 - (8 ÷ 2 − 9))", ["7-(6/3-(4-9))", "7-(6/3+5)", "7-(2+5)", "7-7", "0"]),
    ],
)
def test_states(text: str, states: list[str]):
    one = of(text)
    shown = TASK.demonstrate(one, Random(0), Style.CLEAN)
    assert all(check.valid for check in TASK.check_blocks(one, shown.blocks))
    assert [block.summary for block in shown.blocks[:-1] if IF not in block.summary] == states


def test_a_known_thought():
    shown = TASK.demonstrate(of("-12 + 30 - (3 - 15) - 20 * 1 - 5 + 6 * 37"), Random(0), Style.CLEAN)
    assert [f"{block.headline} | {block.thoughts} | {block.summary}" for block in shown.blocks] == [
        "3-15 | 15-3 5-3=2 1-0=1 -12 | -12+30+12-20*1-5+6*37",
        "20*1 | 0*1=0 2*1=2 | -12+30+12-20-5+6*37",
        "6*37 | 37*6 7*6=42 3*6+4=22 | -12+30+12-20-5+222",
        "-12+30 | 30-12 10-2=8 3-1-1=1 | 18+12-20-5+222",
        "18+12 | 8+2=10 1+1+1=3 | 30-20-5+222",
        "30-20 | 0-0=0 3-2=1 | 10-5+222",
        "10-5 | 10-5=5 1-0-1=0 | 5+222",
        "5+222 | 5+2=7 0+2=2 0+2=2 | 227",
        "nines | 12:13 30:33 15:16 20:22 | 227 if -3+3-(3-6)-2*1-5+6*37",
        "nines | 37:31 | 227 if -3+3-(3-6)-2*1-5+6*1",
        "check 227 | 227:242 0-3=6+3=0 3-6=6 0-6=3 2*1=2 3-2=1-5=5 6*1=6 5+6=2 | ok",
    ]


def test_signs_are_worked_visibly():
    for text, first in [
        ("-42 - 93", "-42-93 | 2+3=5 4+9=13 | -135"),
        ("-42 + 13", "-42+13 | 42-13 12-3=9 4-1-1=2 | -29"),
        ("42 - 93", "42-93 | 93-42 3-2=1 9-4=5 | -51"),
        ("93 - 42", "93-42 | 3-2=1 9-4=5 | 51"),
        ("5 - 0", "5-0 | 5-0=5 | 5"),
        ("(0 - 5) * 3", "0-5 | 5-0 5-0=5 -5 | -5*3"),
    ]:
        block = TASK.demonstrate(of(text), Random(0), Style.CLEAN).blocks[0]
        assert f"{block.headline} | {block.thoughts} | {block.summary}" == first


def test_a_check_that_divides_by_three_takes_another_modulus():
    blocks = TASK.demonstrate(of("84 / 3 + 7"), Random(0), Style.CLEAN).blocks
    assert blocks[-1].headline == "check 35 by 11"


@given(st.text(alphabet="0123456789+-*/() ×÷", max_size=30))
@settings(deadline=None, max_examples=400)
def test_values_are_pythons(text: str):
    try:
        expression = expressions.read(text)
    except ProblemError:
        return
    again = expressions.read(expressions.write(expression))
    assert again == expression
    if "/" in text or "÷" in text or any(len(run) > 1 and run[0] == "0" for run in re.findall("[0-9]+", text)):
        return
    assert expressions.value(expression) == oracle(ast.parse(text.replace("×", "*").strip(), mode="eval").body)


def oracle(node: ast.expr) -> int:
    """The value by Python's own grammar."""
    if isinstance(node, ast.BinOp):
        left, right = oracle(node.left), oracle(node.right)
        return {ast.Add: left + right, ast.Sub: left - right, ast.Mult: left * right}[type(node.op)]
    if isinstance(node, ast.UnaryOp):
        return -oracle(node.operand)
    assert isinstance(node, ast.Constant) and isinstance(node.value, int)
    return node.value


def test_grade_takes_harmless_forms():
    one = of("1200 - 34 * 5")
    for text in ("1030", "1,030.", "The answer is 1030", "1200 - 34 * 5 = 1030", "1200-34×5 = 1030", "$1030$"):
        assert TASK.grade(one, text).right, text
    assert TASK.grade(of("5 - 12"), "−7").right
    for text in ("-1030", "10,30", "1200-34*5", "1200 - 34 * 6 = 1030", "1030 = 1031"):
        assert not TASK.grade(one, text).right, text


@pytest.mark.parametrize(
    "text",
    ["", "5", "(5)", "5 +", "+ 5", "5 5", "7 / 2", "1 / 0", "1 / (2 - 2)", "2 ** 3", "1.5 + 2", "(1 + 2", "1 + 2)",
     "()", "x + 1", "١ + ٢", "2² + 1", "--1 + 2", "1 + " * 5000 + "1", "(" * 10**4 + "1 + 1" + ")" * 10**4,
     "9" * 30 + " + 1", " * ".join(["999999999"] * 5)],
)  # fmt: skip
def test_validate_refuses(text: str):
    with pytest.raises(ProblemError):
        TASK.validate({"expression": text})


def test_validate_takes_what_draw_makes():
    for level in TASK.levels:
        for seed in range(10):
            data = TASK.draw(level, Random(seed))
            assert TASK.validate(data) == data
    for data in ({}, {"expression": 5}, {"expression": "1 + 1", "more": 1}):
        with pytest.raises(ProblemError):
            TASK.validate(data)


def test_a_good_share_is_plain_chains():
    plain = 0
    for seed in range(400):
        text = TASK.draw(2, Random(seed))["expression"]
        plain += not set(text) & set("*/()")
    assert 0.38 <= plain / 400 <= 0.6


def test_commuted_terms_and_factors_are_the_same_problem():
    def key(text: str) -> str:
        return ARITHMETIC.canonical({"expression": text})

    assert key("12 + 3 * (4 - 1)") == key("(-1 + 4) * 3 + 12")
    assert key("8 / 2 * 4 + 1") == key("1 + 8 * 4 / 2")
    assert len({key("8 / 4 * 2 + 1"), key("8 / 2 * 4 + 1"), key("8 / 4 * 2 - 1")}) == 3
    assert key("7 - 2") != key("2 - 7")
