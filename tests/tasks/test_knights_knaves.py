"""Knights and knaves: reasoning-gym's wording and scoring, a strict grader, thoughts the exact checker agrees with."""

import re
import time
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reasoning_gym.logic import knights_knaves as gym

from ponder.errors import ProblemError
from ponder.tasks.knights_knaves import KNIGHTS_KNAVES, NAMES, ROLES, TEMPLATES
from ponder.types import Block, Problem, Style

TOKEN = re.compile(r" ?[a-z]+|[0-9]|[A-Z]|\n|[^\sa-zA-Z0-9]| ")
LONGEST = {1: 60, 2: 60, 3: 64, 4: 72}


def problem_of(level: int, seed: int) -> Problem:
    data = KNIGHTS_KNAVES.draw(level, Random(seed))
    return Problem("knights_knaves", level, KNIGHTS_KNAVES.phrasings[0](data), KNIGHTS_KNAVES.answer(data), data)


def of(answer_roles: dict[str, bool]) -> Problem:
    """A puzzle about Zoey (who says that both are knaves) and Riley (who says that Zoey is one)."""
    statements = [["and", ["lying", 0], ["lying", 1]], ["lying", 0]]
    data = KNIGHTS_KNAVES.validate({"names": list(answer_roles), "statements": statements})
    return Problem("knights_knaves", 1, KNIGHTS_KNAVES.phrasings[0](data), KNIGHTS_KNAVES.answer(data), data)


TWO = of({"Zoey": False, "Riley": True})


def as_data(entry: dict[str, Any]) -> dict[str, Any]:
    """A reasoning-gym entry as our data; which template each person got is read off its text."""

    def lists(value: Any) -> Any:
        return [lists(part) for part in value] if isinstance(value, tuple) else value

    metadata = entry["metadata"]
    names, terms = [str(name) for name in metadata["names"]], metadata["knight_knave_terms"]
    writer, templates, at = gym.KKProblemFormatter(0, {}), [], entry["question"].index(": ") + 2
    at = entry["question"].index(". ", at) + 1
    for name, statement in zip(names, metadata["statements"], strict=True):
        content = writer._format_statement(names, terms, statement)  # pyright: ignore[reportPrivateUsage]
        said = [" " + template.format(name=name, content=content) for template in gym.TEMPLATES]
        (found,) = [number for number, text in enumerate(said) if entry["question"].startswith(text, at)]
        templates.append(found)
        at += len(said[found])
    return {
        "names": names,
        "roles": [str(terms["a_knight"]), str(terms["a_knave"])],
        "statements": lists(metadata["statements"]),
        "templates": templates,
    }


@pytest.mark.parametrize("people", [2, 3, 4, 6])
def test_is_reasoning_gyms_task(people: int) -> None:
    assert (list(NAMES), [list(pair) for pair in ROLES]) == (gym.COMMON_NAMES, gym.KNIGHT_KNAVE_PAIRS)
    assert list(TEMPLATES) == gym.TEMPLATES
    theirs = gym.KnightsKnavesDataset(gym.KnightsKnavesConfig(n_people=people, seed=11, size=25))
    for entry in theirs:
        data = KNIGHTS_KNAVES.validate(as_data(entry))
        assert KNIGHTS_KNAVES.phrasings[0](data) == entry["question"]
        assert KNIGHTS_KNAVES.answer(data) == entry["answer"]
        problem = Problem("knights_knaves", 1, entry["question"], entry["answer"], data)
        assert KNIGHTS_KNAVES.grade(problem, entry["answer"]).right
        shown = KNIGHTS_KNAVES.demonstrate(problem, Random(0), Style.WANDERING)
        assert theirs.score_answer(shown.answer, entry) == 1.0
        assert all(check.valid for check in KNIGHTS_KNAVES.check_blocks(problem, shown.blocks))


def test_statements_are_as_mixed_as_reasoning_gyms() -> None:
    theirs = gym.KnightsKnavesDataset(gym.KnightsKnavesConfig(n_people=3, seed=5, size=300))
    counts = [
        Counter(statement[0] for entry in theirs for statement in entry["metadata"]["statements"]),
        Counter(line[0] for seed in range(300) for line in KNIGHTS_KNAVES.draw(2, Random(seed))["statements"]),
    ]
    for kind in counts[0] | counts[1]:
        assert abs(counts[0][kind] - counts[1][kind]) < 5 * (counts[0][kind] + counts[1][kind]) ** 0.5


@pytest.mark.parametrize("level", KNIGHTS_KNAVES.levels)
def test_draws_are_of_the_level(level: int) -> None:
    for seed in range(20):
        data = KNIGHTS_KNAVES.draw(level, Random(seed))
        assert data == KNIGHTS_KNAVES.draw(level, Random(seed)) == KNIGHTS_KNAVES.validate(data)
        assert len(data["names"]) in {1: [2], 2: [3], 3: [4], 4: [5, 6, 7, 8]}[level]
        assert all(phrasing(data) for phrasing in KNIGHTS_KNAVES.phrasings)


def test_the_same_puzzle_has_the_same_canonical_text() -> None:
    data = {"names": ["A", "B"], "statements": [["and", ["lying", 0], ["lying", 1]], ["lying", 0]]}
    turned = {"names": ["C", "D"], "statements": [["not", ["telling-truth", 1]], ["and", ["lying", 0], ["lying", 1]]]}
    other = {"names": ["A", "B"], "statements": [["or", ["lying", 0], ["lying", 1]], ["lying", 0]]}
    assert KNIGHTS_KNAVES.canonical(data) == KNIGHTS_KNAVES.canonical(turned) != KNIGHTS_KNAVES.canonical(other)


@pytest.mark.parametrize(
    "text",
    [
        "Zoey is a knave, and Riley is a knight.",
        "Riley is a knight, and Zoey is a knave",
        "Zoey is a knave and Riley is a knight",
        "zoey: knave\nriley: knight",
        "Zoey = knave; Riley = knight",
        "The answer is: Zoey is a knave, Riley is a knight.",
        "  `Zoey is knave, Riley is knight.` ",
    ],
)
def test_good_answers(text: str) -> None:
    assert KNIGHTS_KNAVES.grade(TWO, text).right


RIGHT = "Zoey is a knave, and Riley is a knight."
CHEATS = [
    "",
    ".",
    "Zoey is a knave",
    "Zoey is a knight, and Riley is a knight.",
    "Zoey is a knave, and Riley is a knight/knave.",
    "Zoey is a knave, and Riley is not a knight.",
    "Zoey is a knave, and Riley is a knight, and Riley is a knave.",
    "Zoey is a knave, Zoey is a knave, Riley is a knight.",
    "Zoey is a knave, and Riley is a knight, and Liam is a knight.",
    "Zoey is a knave, and Riley is a knight. Or Zoey is a knight.",
    "Zoey is a knave or a knight, and Riley is a knight.",
    "Zoey is a liar, and Riley is a knight.",
    "Zoey is a sinner, and Riley is a saint.",
    "Zoeys is a knave, and Riley is a knight.",
    "If so then Zoey is a knave, and Riley is a knight.",
    "print('Zoey is a knave, and Riley is a knight')",
    "Zoey knave Riley knight",
    RIGHT + " " + RIGHT,
    "(" * 10_000,
    "1" * 100_000,
    " and " * 200_000,
    RIGHT * 25_000,
    ",;:=\n" * 390,
    "is " * 660,
]


@pytest.mark.parametrize("number", range(len(CHEATS)))
def test_cheats_are_refused_fast(number: int) -> None:
    start = time.process_time()
    grade = KNIGHTS_KNAVES.grade(TWO, CHEATS[number])
    assert time.process_time() - start < 0.01
    assert grade.score == 0.0 and grade.note


def tokens(block: Block) -> int:
    return sum(len(TOKEN.findall(part)) for part in (block.headline, block.thoughts, block.summary))


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("level", KNIGHTS_KNAVES.levels)
def test_demonstrations(level: int, style: Style) -> None:
    lengths: list[int] = []
    for seed in range(80 if level < 4 else 10):
        problem = problem_of(level, seed)
        shown = KNIGHTS_KNAVES.demonstrate(problem, Random(seed), style)
        assert shown == KNIGHTS_KNAVES.demonstrate(problem, Random(seed), style)
        assert KNIGHTS_KNAVES.grade(problem, shown.answer).right
        checks = KNIGHTS_KNAVES.check_blocks(problem, shown.blocks)
        wrong = [at for at, check in enumerate(checks) if not check.valid]
        assert len(wrong) == (style is Style.CORRECTED)
        assert all(check.winnable is not False for at, check in enumerate(checks) if at not in wrong)
        lengths += map(tokens, shown.blocks)
        assert bool(shown.blocks) == (style is not Style.DIRECT)
    lengths.sort()
    assert not lengths or lengths[-1] <= LONGEST[level]
    assert not lengths or level > 2 or lengths[len(lengths) * 95 // 100] <= 48


def test_clashing_initials_become_full_names() -> None:
    problem = of({"Ava": False, "Aria": True})
    first = KNIGHTS_KNAVES.demonstrate(problem, Random(0), Style.WANDERING).blocks[0]
    assert first == Block("Ava yes Aria yes", "Ava yes: Ava no f and Aria no f so f wrong", "Ava fails")


def test_a_whole_thought() -> None:
    blocks = KNIGHTS_KNAVES.demonstrate(TWO, Random(0), Style.WANDERING).blocks
    assert blocks == (
        Block("Z yes R yes", "Z yes: Z no f and R no f so f wrong", "Z fails"),
        Block("Z yes R no", "Z yes: Z no f and R no t so f wrong", "Z fails"),
        Block("Z no R yes", "Z no: Z no t and R no f so f ok R yes: Z no t ok", "all hold"),
        Block("check", "Z no: Z no t and R no f so f ok R yes: Z no t ok", "Z no R yes ok"),
    )


def test_false_claims_are_invalid() -> None:
    for block in [
        Block("Z yes R yes", "Z yes: Z no f and R no f so t ok R yes: Z no f wrong", "R fails"),
        Block("Z yes R yes", "Z yes: Z no f and R no f so f wrong", "Z ok"),
        Block("Z no R yes", "R yes: Z no t ok", "all hold"),
        Block("again Z no R yes", "Z no: Z no t and R no f so f ok R yes: Z no t ok", "all hold"),
        Block("check", "Z no: Z no t and R no f so f ok R yes: Z no t ok", "Z no R yes ok"),
    ]:
        (check,) = KNIGHTS_KNAVES.check_blocks(TWO, [block])
        assert check.valid is False and check.note


WORDS = st.lists(
    st.one_of(
        st.sampled_from(["check", "again", "Z", "R", "yes", "no", "t", "so", "ok", "fails", "all", "hold", "wrong"]),
        st.sampled_from(["Z yes R yes", "Z no R yes", "Z no R no ok", "Z yes R yes R ok"]),
        st.text(max_size=5),
    ),
    max_size=6,
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(Block, WORDS, WORDS, WORDS), max_size=4), WORDS)
def test_nothing_raises_on_any_text(blocks: list[Block], text: str) -> None:
    assert len(KNIGHTS_KNAVES.check_blocks(TWO, blocks)) == len(blocks)
    assert KNIGHTS_KNAVES.grade(TWO, text).score == 0.0


GOOD = dict(TWO.data)


@pytest.mark.parametrize(
    "change",
    [
        {"names": None},
        {"names": ["Zoey"]},
        {"names": ["Zoey", "Zoey"]},
        {"names": ["zoey", "Riley"]},
        {"names": ["Is", "Riley"]},
        {"names": ["Zoey", 3]},
        {"statements": []},
        {"statements": [["lying", 0], ["lying", 2]]},
        {"statements": [["lying", 0], ["lying", True]]},
        {"statements": [["lying", 0], "x"]},
        {"statements": [["lying", 0], [[], 1]]},
        {"statements": [["not", ["not", ["lying", 0]]], ["lying", 0]]},
        {"statements": [["telling-truth", 0], ["telling-truth", 1]]},
        {"roles": ["a cat", "a dog"]},
        {"roles": [["a"], 1]},
        {"templates": [0]},
        {"templates": [0, 99]},
    ],
)
def test_unusable_puzzles_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match="knights_knaves"):
        KNIGHTS_KNAVES.validate({**GOOD, **change})
