"""Equations: reasoning-gym's wording, the grader, and demonstrations whose every claim holds."""

import re
import time
from random import Random
from typing import Any

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.tasks.equations import EQUATIONS, GYM_WORDINGS, gym_text
from ponder.types import Block, Demonstration, Problem, Style

STYLES = (Style.CLEAN, Style.CORRECTED, Style.WANDERING)


def problem(level: int, seed: int) -> Problem:
    rng = Random(seed)
    data = EQUATIONS.draw(level, rng)
    return Problem("equations", level, rng.choice(EQUATIONS.phrasings)(data), EQUATIONS.answer(data), data)


def given_problem(equations: list[str], variables: list[str]) -> Problem:
    data = EQUATIONS.validate({"equations": equations, "variables": variables})
    return Problem("equations", 1, EQUATIONS.phrasings[0](data), EQUATIONS.answer(data), data)


def tokens(block: Block) -> int:
    text = f"{block.headline}{block.thoughts}{block.summary}"
    return len(re.findall(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ", text))


def demonstrations(level: int, style: Style, count: int = 60) -> list[tuple[Problem, Demonstration]]:
    problems = [problem(level, seed) for seed in range(count)]
    return [(p, EQUATIONS.demonstrate(p, Random(seed), style)) for seed, p in enumerate(problems)]


def test_first_phrasing_and_equations_are_those_of_reasoning_gym() -> None:
    gym = reasoning_gym.create_dataset("simple_equations", seed=3, size=200)
    for entry in gym:
        equation, name = entry["metadata"]["equation"], entry["metadata"]["variable"]
        wordings = [
            EQUATIONS.phrasings[0]({"equations": [equation], "variables": [name], "wording": w})
            for w in range(len(GYM_WORDINGS))
        ]
        assert entry["question"] in wordings
        try:
            data = EQUATIONS.validate({"equations": [equation], "variables": [name]})
        except ProblemError:
            assert name not in equation
            continue
        assert EQUATIONS.answer(data) == entry["answer"]
        right = Problem("equations", 2, entry["question"], entry["answer"], data)
        shown = EQUATIONS.demonstrate(right, Random(0), Style.CLEAN)
        assert EQUATIONS.grade(right, shown.answer).right
        assert all(check.valid for check in EQUATIONS.check_blocks(right, shown.blocks))
        assert gym.score_answer(shown.answer, entry) == 1.0


@pytest.mark.parametrize(("a", "b", "text"), [(1, 2, "x + 2 = 7"), (-3, 4, "4 - 3*x = -11"), (-1, -2, "-x - 2 = -7")])
def test_equations_are_printed_as_sympy_prints_them(a: int, b: int, text: str) -> None:
    assert gym_text("x", a, b, 5) == text


@pytest.mark.parametrize("level", EQUATIONS.levels)
def test_draws_are_valid_and_solvable(level: int) -> None:
    for seed in range(60):
        data = EQUATIONS.draw(level, Random(seed))
        assert EQUATIONS.validate(data) == data
        assert EQUATIONS.draw(level, Random(seed)) == data


def test_canonical_forgets_names_order_and_wording() -> None:
    def canonical(equations: list[str], variables: list[str], **more: Any) -> str:
        return EQUATIONS.canonical({"equations": equations, "variables": variables, **more})

    assert canonical(["3x + 4 = 19"], ["x"]) == canonical(["4 + 3*q = 19"], ["q"], wording=2)
    assert canonical(["x + 2y = 5", "x - y = -1"], ["x", "y"]) == canonical(["b - a = -1", "b + 2a = 5"], ["a", "b"])
    assert canonical(["3x = 9"], ["x"]) != canonical(["3x = 12"], ["x"])


@pytest.mark.parametrize("text", ["13", " 13.", "e = 13", "The answer is 13", "**13**", "13.0"])
def test_grader_accepts_harmless_formatting(text: str) -> None:
    assert EQUATIONS.grade(given_problem(["56 - 98*e = -1218"], ["e"]), text).right


NASTY = [
    *["", "113", "13 or 14", "12, 13", "130", "1 3", "13abc", "2**5", "10+3", "١٣", "1³", "import os", "x = 13"],
    *["9" * 100_000, "(" * 10_000 + "13" + ")" * 10_000, "-" * 1_000_000, "13 " * 600],
]


@pytest.mark.parametrize("text", NASTY)
def test_grader_refuses_quickly(text: str) -> None:
    for asked in (given_problem(["56 - 98*e = -1218"], ["e"]), given_problem(["x + y = 3", "x - y = 1"], ["x", "y"])):
        start = time.process_time()
        grade = EQUATIONS.grade(asked, text)
        assert grade.score == 0.0
        assert grade.note
        assert time.process_time() - start < 0.01


def test_systems_are_graded_by_name() -> None:
    asked = given_problem(["3x + 2y = 5", "x - y = 5"], ["x", "y"])
    assert asked.answer == "x = 3, y = -2"
    assert all(EQUATIONS.grade(asked, text).right for text in ("x = 3, y = -2", "y=-2 and x=3", "x = 3; y = −2."))
    assert not any(
        EQUATIONS.grade(asked, text).right for text in ("3, -2", "x = 3", "x = -2, y = 3", "x = 3, x = 3, y = -2")
    )


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("level", EQUATIONS.levels)
def test_demonstrations_are_right_and_their_blocks_are_as_their_style_says(level: int, style: Style) -> None:
    sizes: list[int] = []
    for p, shown in demonstrations(level, style):
        assert EQUATIONS.grade(p, shown.answer).right
        valid = [check.valid for check in EQUATIONS.check_blocks(p, shown.blocks)]
        assert valid.count(False) == (1 if style is Style.CORRECTED else 0)
        assert valid[-1]
        assert shown.blocks[-1].summary.endswith("ok")
        sizes += map(tokens, shown.blocks)
    assert sorted(sizes)[len(sizes) * 95 // 100] <= (52 if level < 3 else 70)
    assert max(sizes) <= (66 if level < 3 else 92)


def test_level_two_thoughts_are_short() -> None:
    lengths = [sum(map(tokens, shown.blocks)) for _, shown in demonstrations(2, Style.CLEAN)]
    assert sum(lengths) / len(lengths) <= 220


def test_demonstrations_are_pure_and_direct_has_no_blocks() -> None:
    p = problem(2, 5)
    assert EQUATIONS.demonstrate(p, Random(1), Style.CORRECTED) == EQUATIONS.demonstrate(p, Random(1), Style.CORRECTED)
    assert EQUATIONS.demonstrate(p, Random(1), Style.DIRECT) == Demonstration((), p.answer)


def test_a_known_thought() -> None:
    shown = EQUATIONS.demonstrate(given_problem(["3(x + 4) - 5 = 2x + 13"], ["x"]), Random(0), Style.CLEAN)
    assert [block.summary for block in shown.blocks] == [
        "3x+12-5=2x+13",
        "3x+7=2x+13",
        "x+7=13",
        "x=6",
        "x=6 left 25",
        "x=6 ok",
    ]


def test_operands_and_the_subtraction_they_lead_to_come_before_columns() -> None:
    shown = EQUATIONS.demonstrate(given_problem(["98*z - 45 = 8187"], ["z"]), Random(0), Style.CLEAN)
    assert [f"{block.headline} | {block.thoughts} | {block.summary}" for block in shown.blocks] == [
        "add 45 | 8187+45 7+5=12 8+4+1=13 1+0+1=2 8+0=8 | 98z=8232",
        "divide | 823/98 98*80 8*8=64 9*8+6=78 | 98z=8232 take 98*80=7840",
        "subtract | 8232-7840 2-0=2 13-4=9 12-8-1=3 8-7-1=0 | 98(z-80)=392",
        "divide | 392/98 98*4 8*4=32 9*4+3=39 | z=84",
        "nines 98*84 | 98:08 84:83 8*3=24 24:26 | z=84 rest 6",
        "nines of both sides | 45:40 6-0=6 8187:8086 | z=84 ok",
    ]
    shown = EQUATIONS.demonstrate(given_problem(["2w - 45 = -29"], ["w"]), Random(0), Style.CLEAN)
    assert [f"{block.headline} | {block.thoughts} | {block.summary}" for block in shown.blocks] == [
        "add 45 | -29+45 45-29 15-9=6 4-2-1=1 | 2w=16",
        "divide | 16/2 2*8=16 | w=8",
        "check product | 2*8=16 | w=8 product 16",
        "check sum | 16-45 45-16 15-6=9 4-1-1=2 -29=-29 | w=8 ok",
    ]


@pytest.mark.parametrize(
    ("headline", "thoughts", "summary"),
    [
        ("take 5", "1+5=7 5+0=5", "-8z=-56"),
        ("take 5", "1+5=6 5+0=5", "-8z=-57"),
        ("take 5", "1+5=6 5+0=5", "0=0"),
        ("take 5", "-51-5 1+5=6 5+0=5", "-8z=-57"),
        ("take 5", "-50-5 0+5=5 5+0=5", "-8z=-56"),
        ("take 5", "-51-6 1+6=7 5+0=5", "-8z=-56"),
        ("take 5", "1+5=6 5+0=5", "-8z=-56"),
        ("take 5", "", "-8z=-55"),
        ("divide", "56/8 8*8=64", "8z=56 take 8*8=64"),
        ("divide", "56/8 8*7=57", "z=7"),
        ("divide", "57/8 8*7=56", "z=7"),
        ("divide", "56/8", "z=7"),
        ("subtract", "56-40=17", "8(z-5)=16"),
        ("check", "5-56 56-5 6-5=1 5-0=5 -52=-51", "z=7 ok"),
        ("check", "5-56 56-5 6-5=1 5-0=5", "z=7 ok"),
        ("check", "5-56=-51", "z=7 no"),
        ("check", "5-56=-51", "z=6 ok"),
        ("check", "all is well", "z=7 ok"),
        ("check", "5-56=-51", "ok"),
    ],
)
def test_false_blocks_are_invalid(headline: str, thoughts: str, summary: str) -> None:
    asked = given_problem(["5 - 8*z = -51"], ["z"])
    assert EQUATIONS.check_blocks(asked, [Block(headline, thoughts, summary)])[0].valid is False


PIECES = st.text(alphabet="0123456789xyz+-*/()=:<> \n²١", max_size=40) | st.sampled_from(
    [
        "x=1 ok",
        "E1:",
        "no",
        "take",
        "take 4",
        "divide",
        "subtract",
        "12-30",
        "2/1 1*2=2",
        "E2 ok",
        "E1:x=1",
        "x=1 rest",
        "product 3 x=1",
        "0x=0",
        "x+y=3",
    ]
)


@given(st.lists(st.builds(Block, PIECES, PIECES, PIECES), max_size=3), st.sampled_from([1, 3]))
@settings(max_examples=150, deadline=None)
def test_check_blocks_never_raises(blocks: list[Block], level: int) -> None:
    assert len(EQUATIONS.check_blocks(problem(level, 1), blocks)) == len(blocks)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"equations": ["x = 1"], "variables": []},
        {"equations": ["x = 1"], "variables": ["xy"]},
        {"equations": ["x = 1"], "variables": ["y"]},
        {"equations": ["2x = 1"], "variables": ["x"]},
        {"equations": ["0 = 0"], "variables": ["x"]},
        {"equations": ["x + y = 1", "2x + 2y = 2"], "variables": ["x", "y"]},
        {"equations": ["x*x = 4"], "variables": ["x"]},
        {"equations": ["((((x)))) = 4"], "variables": ["x"]},
        {"equations": ["(" * 10_000], "variables": ["x"]},
        {"equations": ["x + = 4"], "variables": ["x"]},
        {"equations": ["3(x + 1 = 6"], "variables": ["x"]},
        {"equations": ["x = " + "9" * 30], "variables": ["x"]},
        {"equations": ["__import__('os')"], "variables": ["x"]},
        {"equations": ["x = 4"], "variables": ["x"], "wording": 9},
    ],
)
def test_unusable_problems_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match="."):
        EQUATIONS.validate(data)


@pytest.mark.parametrize(
    ("equations", "variables", "answer"),
    [
        (["7 = 2x + 3"], ["x"], "2"),
        (["-(x - 4) = 2(3 - x)"], ["x"], "2"),
        (["0 = 2x - 4"], ["x"], "2"),
        (["3x = 0"], ["x"], "0"),
        (["100x + 12345 = 98745"], ["x"], "864"),
        (["x - 300 = 12 + 300"], ["x"], "612"),
        (["(x + x) - x = 0 - 300x"], ["x"], "0"),
        (["(y + y) = x - y + 3y", "3x = y + (y + x) - 2(x - 19) - x"], ["x", "y"], "x = 0, y = -19"),
        (["y = 5", "x + y = 7"], ["x", "y"], "x = 2, y = 5"),
        (["2(x + y) = 3z", "x = y", "z - 4 = 0"], ["x", "y", "z"], "x = 3, y = 3, z = 4"),
    ],
)
def test_equations_that_users_write_are_solved_visibly(equations: list[str], variables: list[str], answer: str) -> None:
    p = given_problem(equations, variables)
    assert p.answer == answer
    for style in STYLES:
        shown = EQUATIONS.demonstrate(p, Random(2), style)
        valid = [check.valid for check in EQUATIONS.check_blocks(p, shown.blocks)]
        assert valid.count(False) == (style is Style.CORRECTED)
