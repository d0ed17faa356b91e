"""Long multiplication: the first factor times each digit of the second, lowest digit first.

A summary such as ``277'6+694 left 1`` states all that is known: the digits behind the mark are final digits of the
product, 277 and 694 are still to be added above them, and the digits ``1`` of the second factor are still to do. The
mark stands for the zeros of tens, hundreds and so on, which keeps every step as short as the first factor.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import read_integer
from ponder.tasks.working import (
    add_columns,
    check_work,
    columns_value,
    residues,
    slip,
    times_columns,
    verdict,
    work_through,
)
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

MAX_DIGITS = 8
WIDEST_ROW = 5
"""A factor with more digits than this is the one taken digit by digit, so that no step gets longer; one of just so
many is left out of headlines (``*8``) for the same reason."""
_STATE = re.compile(r"([0-9]{1,40})'([0-9]{1,40})(?:\+([0-9]{1,40}))?(?: left ([0-9]{1,40}))?")
_SIZES = {
    1: ((2, 2),),
    2: ((3, 2), (2, 3), (3, 3)),
    3: ((4, 4), (5, 5)),
    4: tuple((a, b) for a in (6, 7, 8) for b in (6, 7, 8)),
}


@dataclass(frozen=True)
class _State:
    top: int
    done: str
    """Final digits of the product, lowest last."""
    row: int | None
    """A partial product that is still to be added to `top`."""
    left: str
    """Digits of the second factor that are still to do."""


def draw(level: int, rng: Random) -> Data:
    """Two factors of the level's sizes."""
    a, b = (rng.randint(10 ** (size - 1), 10**size - 1) for size in rng.choice(_SIZES[level]))
    return {"a": a, "b": b}


def canonical(data: Data) -> str:
    """The two factors, smaller first."""
    return "{}*{}".format(*sorted((data["a"], data["b"])))


def answer(data: Data) -> str:
    """The product."""
    return str(data["a"] * data["b"])


def validate(data: Data) -> Data:
    """Two whole numbers of at most eight digits."""
    if set(data) != {"a", "b"}:
        raise ProblemError(f"multiplication needs exactly a and b, not {', '.join(map(str, data)) or 'nothing'}")
    for name, value in data.items():
        if type(value) is not int or not 0 <= value < 10**MAX_DIGITS:
            raise ProblemError(f"{name}={str(value)[:40]!r} is not a whole number from 0 to {10**MAX_DIGITS - 1}")
    return dict(data)


def grade(problem: Problem, text: str) -> Grade:
    """Right if the text is the product alone, or the product after the two factors and an equals sign."""
    a, b = problem.data["a"], problem.data["b"]
    names = tuple(f"{a}{gap}{sign}{gap}{b}" for sign in "*×" for gap in ("", " "))
    try:
        value = read_integer(text, names)
    except AnswerUnreadable as err:
        return Grade(0.0, note=str(err))
    return Grade(1.0) if value == a * b else Grade(0.0, note=f"{value} is not {a}*{b}")


def _rows(data: Data) -> tuple[int, str]:
    """The factor that is multiplied, and the digits that it is multiplied by."""
    a, b = data["a"], data["b"]
    if len(str(a)) > WIDEST_ROW and len(str(b)) < len(str(a)):
        a, b = b, a
    return a, str(b)


def _shown(state: _State) -> str:
    if state.row is None and not state.left:
        return str(int(f"{state.top}{state.done}"))
    row = "" if state.row is None else f"+{state.row}"
    left = f" left {state.left}" if state.left else ""
    return f"{state.top}'{state.done}{row}{left}"


def _read(summary: str) -> _State | None:
    found = _STATE.fullmatch(summary)
    if not found:
        return None
    top, done, row, left = found.groups()
    state = _State(int(top), done, None if row is None else int(row), left or "")
    return state if _shown(state) == summary else None


def _result(summary: str) -> int | None:
    return int(summary) if re.fullmatch(r"[0-9]{1,40}", summary) else None


def _shifted(total: int, done: str, left: str) -> _State:
    """The lowest digit of the total becomes final; at the end all of them are."""
    return _State(total // 10, f"{total % 10}{done}", None, left) if left else _State(total, done, None, "")


def _step(data: Data, last: Block | None, rng: Random | None) -> Block | None:
    """The next row or addition; with a random generator it slips."""
    a, digits = _rows(data)
    state = _read(last.summary) if last else None
    if last and not state:
        return None
    left = state.left if state else digits
    if state and state.row is not None:
        columns = add_columns(state.top, state.row)
    elif left:
        columns = times_columns(a, int(left[-1]))
    else:
        return None
    columns = (slip(columns, rng) or columns) if rng else columns
    value = columns_value(columns)
    assert value is not None
    if state and state.row is not None:
        return Block("add", columns, _shown(_shifted(value, state.done, left)))
    after = _State(state.top, state.done, value, left[:-1]) if state else _shifted(value, "", left[:-1])
    return Block(f"{a if a < 10 ** (WIDEST_ROW - 1) else ''}*{left[-1]}", columns, _shown(after))


def _check(data: Data, last: Block) -> Block | None:
    """Casts out nines: the residue of the product must be that of the product of the residues."""
    product = _result(last.summary)
    if product is None:
        return None
    a, b = data["a"], data["b"]
    x, y = a % 9, b % 9
    work = f"{residues(product)} {a}:{residues(a)} {b}:{residues(b)} {x}*{y}={x * y % 9}"
    return Block(f"check {product}", work, verdict(x * y % 9, product % 9))


def _true(data: Data, summary: str) -> bool:
    """Whether a state, completed, gives the product."""
    a, _ = _rows(data)
    state = _read(summary)
    if state is None:
        return _result(summary) == data["a"] * data["b"]
    place = 10 ** len(state.done)
    rest = a * int(state.left or "0") * (1 if state.row is None else 10)
    return (state.top + (state.row or 0) + rest) * place + int(state.done) == data["a"] * data["b"]


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Judges each block by redoing it from the state before it."""
    data = problem.data
    return check_work(
        lambda last, rng: _step(data, last, rng),
        lambda last: _check(data, last),
        lambda summary: _true(data, summary),
        blocks,
    )


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """Long multiplication in a style; a row can be redone at once, because the state keeps it apart from the sum."""
    data = problem.data
    blocks = work_through(
        lambda last, rng: _step(data, last, rng),
        lambda last: _check(data, last),
        lambda _, block: "*" in block.headline,
        rng,
        style,
    )
    return Demonstration(blocks, answer(data))


MULTIPLICATION = Task(
    name="multiplication",
    title="Multiply two whole numbers",
    levels={
        1: "two digits times two",
        2: "three digits times two or three",
        3: "four digits times four, five times five",
        4: "six to eight digits times six to eight",
    },
    draw=draw,
    canonical=canonical,
    phrasings=(
        lambda data: (
            f"Solve the following multiplication: {data['a']} * {data['b']}. Give only the result as your final answer."
        ),
        lambda data: f"What is {data['a']}*{data['b']}?",
        lambda data: f"Multiply {data['a']} by {data['b']}.",
        lambda data: f"Calculate {data['a']} × {data['b']}.",
        lambda data: f"{data['a']} * {data['b']} = ?",
    ),
    answer=answer,
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
    gym="products",
)
