"""Programs: the hand-written interpreter against Python itself, the grader, and demonstrations."""

import re
import subprocess
import sys
import time
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.tasks.program import PROGRAM
from ponder.types import Block, Demonstration, Problem, Style

STYLES = (Style.CLEAN, Style.CORRECTED, Style.WANDERING)
USERS = {
    "nested": [
        "a = 0",
        "for i in range(2, 4):",
        "    for j in range(2):",
        "        a = a + i * j",
        "print(a)",
    ],
    "long body": ["a = 1", "while a < 9:", "    a += 1", "    b = a % 2", "    c = 3", "    a = a + b", "print(a + c)"],
    "else": ["a = 7", "if a % 2 == 1:", "    a = -3", "else:", "    a = 4", "print(a // 2 - 1)"],
    "precedence": ["a = 2 + 3 * 4 - 5", "b = 10 - a - 1", "print(b * 2 + a)"],
    "empty loop": ["a = 5", "for i in range(0):", "    a = 6", "print(a)"],
    "negative": ["a = 3 - 10", "b = a // 2", "c = a % 4", "print(b * c)"],
    "long division": ["a = 987", "b = a // 6", "c = a % 8", "print(b + c)"],
}


def problem(level: int, seed: int) -> Problem:
    rng = Random(seed)
    data = PROGRAM.draw(level, rng)
    return Problem("program", level, rng.choice(PROGRAM.phrasings)(data), PROGRAM.answer(data), data)


def users_problem(lines: list[str]) -> Problem:
    data = PROGRAM.validate({"lines": lines})
    return Problem("program", 1, PROGRAM.phrasings[0](data), PROGRAM.answer(data), data)


def tokens(block: Block) -> int:
    text = f"{block.headline}{block.thoughts}{block.summary}"
    return len(re.findall(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ", text))


def printed_by_python(*programs: list[str]) -> list[str]:
    """What Python itself prints, one line a program."""
    source = "\n".join(line for program in programs for line in program)
    ran = subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, text=True, check=True)
    return ran.stdout.split()


@pytest.mark.parametrize("level", PROGRAM.levels)
def test_answers_are_what_python_prints(level: int) -> None:
    drawn = [PROGRAM.draw(level, Random(seed)) for seed in range(40)]
    assert [PROGRAM.answer(data) for data in drawn] == printed_by_python(*(data["lines"] for data in drawn))
    for seed, data in enumerate(drawn):
        assert PROGRAM.validate(data) == data
        assert PROGRAM.draw(level, Random(seed)) == data


@pytest.mark.parametrize("lines", USERS.values(), ids=list(USERS))
def test_users_programs_run_and_are_shown(lines: list[str]) -> None:
    p = users_problem(lines)
    assert [p.answer] == printed_by_python(lines)
    for style in STYLES:
        shown = PROGRAM.demonstrate(p, Random(1), style)
        valid = [check.valid for check in PROGRAM.check_blocks(p, shown.blocks)]
        assert valid.count(False) == (style is Style.CORRECTED)


def test_canonical_forgets_names() -> None:
    first = PROGRAM.canonical({"lines": ["a = 3", "b = a + 4", "print(b)"]})
    assert first == PROGRAM.canonical({"lines": ["x = 3", "a = x + 4", "print(a)"]})
    assert first != PROGRAM.canonical({"lines": ["a = 3", "b = a + 4", "print(a)"]})


@pytest.mark.parametrize("text", ["7", " 7.", "The answer is 7", "**7**", "Result: 7", "`7`", "7.0"])
def test_grader_accepts_harmless_formatting(text: str) -> None:
    assert PROGRAM.grade(users_problem(["a = 3", "print(a + 4)"]), text).right


NASTY = [
    *["", "17", "7 or 8", "6, 7", "70", "a = 3\nprint(a + 4)", "7abc", "2**5", "3+4", "٧", "⁷", "import os"],
    *["9" * 100_000, "(" * 10_000 + "7" + ")" * 10_000, "-" * 1_000_000, "7 " * 900],
]


@pytest.mark.parametrize("text", NASTY)
def test_grader_refuses_quickly(text: str) -> None:
    asked, start = users_problem(["a = 3", "print(a + 4)"]), time.process_time()
    grade = PROGRAM.grade(asked, text)
    assert grade.score == 0.0
    assert grade.note
    assert time.process_time() - start < 0.01


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("level", PROGRAM.levels)
def test_demonstrations_are_right_and_their_blocks_are_as_their_style_says(level: int, style: Style) -> None:
    sizes: list[int] = []
    for seed in range(40):
        p = problem(level, seed)
        shown = PROGRAM.demonstrate(p, Random(seed), style)
        assert PROGRAM.grade(p, shown.answer).right
        valid = [check.valid for check in PROGRAM.check_blocks(p, shown.blocks)]
        assert valid.count(False) == (1 if style is Style.CORRECTED else 0)
        assert valid[-1]
        sizes += map(tokens, shown.blocks)
    assert sorted(sizes)[len(sizes) * 95 // 100] <= (48 if level < 3 else 70)
    assert max(sizes) <= (60 if level < 3 else 80)


def test_level_two_thoughts_are_short_and_their_values_spread() -> None:
    problems = [problem(2, seed) for seed in range(300)]
    shown = [PROGRAM.demonstrate(p, Random(0), Style.CLEAN) for p in problems]
    assert sum(tokens(block) for s in shown for block in s.blocks) / len(shown) <= 260
    assert max(Counter(p.answer for p in problems).values()) <= 0.07 * len(problems)


def test_demonstrations_are_pure_and_direct_has_no_blocks() -> None:
    p = problem(2, 5)
    assert PROGRAM.demonstrate(p, Random(1), Style.CORRECTED) == PROGRAM.demonstrate(p, Random(1), Style.CORRECTED)
    assert PROGRAM.demonstrate(p, Random(1), Style.DIRECT) == Demonstration((), p.answer)


def test_a_known_thought() -> None:
    p = users_problem(["a = 3", "b = 14", "if a < b: a = a * b", "print(a - 1)"])
    assert PROGRAM.demonstrate(p, Random(0), Style.CLEAN).blocks == (
        Block("a = 3; b = 14", " a=3 b=14", " a=3 b=14"),
        Block("if a < b: a = a * b", "3<14 yes 3*14 4*3=12 1*3+1=4 a=42", " a=42 b=14"),
        Block("print(a - 1)", "42-1 2-1=1 4-0=4 prints 41", " a=42 b=14 prints 41"),
    )


@pytest.mark.parametrize(
    ("line", "work"),
    [
        ("a = b", " a=47"),
        ("a = a + b", "3+47 3+7=10 0+4+1=5 a=50"),
        ("a = a - b", "3-47 -(47-3) 7-3=4 4-0=4 a=-44"),
        ("a = c - b", "-30-47 -(30+47) 0+7=7 3+4=7 a=-77"),
        ("a = b + c", "47+-30 47-30 7-0=7 4-3=1 a=17"),
        ("a = a - 8", "3-8=-5 a=-5"),
        ("a += 9", "3+9=12 a=12"),
        ("a = b % 3", "47%3 4%3=1 17%3=2 a=2"),
        ("a = b // 3", "47//3 4//3=1 4%3=1 17//3=5 a=15"),
        ("a = 2 + b * 3", "2+47*3 47*3 7*3=21 4*3+2=14 2+141 2+1=3 0+4=4 0+1=1 a=143"),
        ("a = b * 36", "47*36 47*3 7*3=21 4*3+2=14 47*6 7*6=42 4*6+4=28 1410+282 0+2=2 1+8=9 4+2=6 1+0=1 a=1692"),
    ],
)
def test_no_step_of_a_line_is_hidden(line: str, work: str) -> None:
    p = users_problem(["a = 3", "b = 47", "c = b - 77", line, "print(a)"])
    assert printed_by_python(p.data["lines"]) == [p.answer]
    assert PROGRAM.demonstrate(p, Random(0), Style.CLEAN).blocks[2].thoughts == work


def test_the_branch_that_runs_is_written_out() -> None:
    p = users_problem(["a = 3", "if a > 5:", "    a = 2", "else:", "    a = a * 4", "print(a)"])
    assert PROGRAM.demonstrate(p, Random(0), Style.CLEAN).blocks[1] == Block(
        "if a > 5:", "3>5 no a = a * 4 3*4=12 a=12", " a=12"
    )


@pytest.mark.parametrize(
    "block",
    [
        Block("b = a + 4", "3+4=8 b=8", " a=3 b=7"),
        Block("b = a + 4", "3+4=8 b=8", " a=3 b=8"),
        Block("b = a + 4", "3+4=7 a=7", " a=3 b=7"),
        Block("b = a + 4", "3+4=7 b=7", " a=7 b=7"),
        Block("b = a + 4", "clearly", " a=3 b=7"),
        Block("print(b)", " prints 7", " a=3 b=7 prints 7"),
        Block("b = a + 4 again", "3+4=7 b=7", " a=3 b=7"),
    ],
)
def test_false_blocks_are_invalid(block: Block) -> None:
    p = users_problem(["a = 3", "b = a + 4", "print(b)"])
    checks = PROGRAM.check_blocks(p, [Block("a = 3", " a=3", " a=3"), block])
    assert [check.valid for check in checks] == [True, False]


PIECES = st.text(alphabet="0123456789ab+-*/%()=:<> \n²١", max_size=30) | st.sampled_from(
    ["a = 3", "print(a)", "a = 3 again", " again", " a=3", "3//0=0", "5%0", "yes", "no", " a=3 prints 3"]
)


@given(st.lists(st.builds(Block, PIECES, PIECES, PIECES), max_size=4))
@settings(max_examples=150, deadline=None)
def test_check_blocks_never_raises(blocks: list[Block]) -> None:
    assert len(PROGRAM.check_blocks(users_problem(["a = 3", "print(a)"]), blocks)) == len(blocks)


@pytest.mark.parametrize(
    "lines",
    [
        None,
        [],
        ["a = 3"],
        ["print(a)"],
        ["a = 3", "print(a)", "a = 4"],
        ["a = 1", "while a > 0:", "    a = a + 1", "print(a)"],
        ["a = 2", "while a > 0:", "    a = a * a", "print(a)"],
        ["a = 1 // 0", "print(a)"],
        ["import os", "print(1)"],
        ["a = __import__('os')", "print(a)"],
        ["a = 9 ** 9", "print(a)"],
        ["a = (1)", "print(a)"],
        ["a = 1", "if a:", "    a = 2", "print(a)"],
        ["a = 1", "  b = 2", "print(a)"],
        ["for i in range(3):", "print(1)"],
        ["while 1 < 2: a = 1", "print(1)"],
        ["a = 1"] * 100 + ["print(a)"],
        ["a = " + "1 + " * 5_000 + "1", "print(a)"],
        [" " * (4 * n) + "if 1 < 2:" for n in range(15)] + ["print(1)"],
    ],
)
def test_unusable_programs_are_refused(lines: Any) -> None:
    with pytest.raises(ProblemError, match="."):
        PROGRAM.validate({"lines": lines})
