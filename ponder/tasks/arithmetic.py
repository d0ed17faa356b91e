"""Arithmetic: one operation at a time, in brackets first, then * and /, then + and - from left to right.

Each summary is the whole expression that remains, such as ``579-34*5``. ``add``, ``subtract`` and ``subtract reversed``
work on its first two terms: ``-12+30`` subtracts reversed (30-12, for 30 is larger, with the sign of 30).
"""

import re
from collections.abc import Sequence
from itertools import count
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import read_integer
from ponder.tasks.expressions import MAX_DIGITS, Operation, Sum, following, read, reduced, value, write
from ponder.tasks.working import (
    CASTING_OUT,
    add_columns,
    check_work,
    columns_value,
    quotient_columns,
    residues,
    slip,
    sub_columns,
    times_columns,
    verdict,
    work_through,
)
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

CHAIN_SHARE = 0.45
"""How often a problem is a plain chain of + and -, drawn as reasoning-gym's chain_sum draws it."""
_TERMS = {1: (2, 3), 2: (4, 6), 3: (8, 8), 4: (12, 12)}
_CHAIN_DIGITS = {1: 2, 2: 3, 3: 3, 4: 2}
_LONGEST_BLOCK = {1: 40, 2: 47, 3: 64, 4: 68}
"""The longest block of a drawn problem's clean thought, in tokens; one chain in two hundred is longer."""
_FAILED_CHECK = 7
_DIVISORS = (2, 4, 5, 7, 8)
"""Drawn divisors have no factor 3, so that casting out nines can check the division."""
_RESULT = re.compile(r"-?[0-9]{1,18}")


def draw(level: int, rng: Random) -> Data:
    """An expression with whole values at every step."""
    least, most = _TERMS[level]
    chain = rng.random() < CHAIN_SHARE
    while True:
        terms = rng.randint(least, most)
        text = _chain(terms, rng.randint(1, _CHAIN_DIGITS[level]), rng) if chain else _mixed(level, terms, rng)
        data = {"expression": text}
        if _workable(read(text)) and _longest(data) <= _LONGEST_BLOCK[level]:
            return data


def _longest(data: Data) -> int:
    """About how many tokens the longest block of the clean thought has: a word is one, any other character too."""
    last, longest = None, 0
    while block := _step(data, last, None) or (_check(data, last) if last else None):
        signs = sum(not sign.isalpha() for sign in block.headline)
        # A check of a slip says more than ok.
        summary = _FAILED_CHECK if block.summary == "ok" else len(block.summary)
        longest = max(longest, signs + 1 + len(block.thoughts) + summary)
        last = block
    return longest


def _chain(terms: int, digits: int, rng: Random) -> str:
    low = 0 if digits == 1 else 10 ** (digits - 1)
    parts = [str(rng.randint(low, 10**digits - 1))]
    for _ in range(terms - 1):
        parts += [rng.choice("+-"), str(rng.randint(low, 10**digits - 1))]
    return " ".join(parts)


def _number(level: int, rng: Random) -> int:
    digits = rng.choice((1, 2, 2) if level == 1 or level == 4 else (1, 2, 2, 2, 3))
    return rng.randint(1 if digits == 1 else 10 ** (digits - 1), 10**digits - 1)


def _mixed(level: int, missing: int, rng: Random) -> str:
    """Numbers, products, brackets and (from level 3) divisions, until no number is missing."""
    parts: list[str] = []
    while missing > 0:
        # Long expressions have fewer products: each lengthens the check.
        kinds = ["number"] * (5 if level == 4 else 1) + ["product"] * (missing >= 2) * 2
        if level >= 2 and missing >= 3:
            kinds += ["bracket", "bracket product"]
        if level >= 3 and missing >= 2:
            kinds += ["quotient"]
        text, used = _item(rng.choice(kinds), level, rng)
        parts += [*([rng.choice("+-")] if parts else []), text]
        missing -= used
    return " ".join(parts)


def _item(kind: str, level: int, rng: Random) -> tuple[str, int]:
    """One item of an expression, and how many numbers it uses."""
    small = rng.randint(2, 9)
    if kind == "product":
        factors = [str(_number(1, rng)), str(small)]
        rng.shuffle(factors)
        return " * ".join(factors), 2
    if kind == "quotient":
        divisor = rng.choice(_DIVISORS)
        return f"{divisor * _number(1, rng)} / {divisor}", 2
    if kind == "number":
        return str(_number(level, rng)), 1
    bracket = f"({_number(1, rng)} {rng.choice('+-')} {_number(1, rng)})"
    if kind == "bracket":
        return f"{bracket} {rng.choice('+-')} {_number(level, rng)}", 3
    return (f"{bracket} * {small}" if rng.random() < 0.5 else f"{small} * {bracket}"), 3


def _workable(expression: Sum) -> bool:
    """Whether something is left to do, and every step is exact and of a bearable size."""
    if following(expression) is None:
        return False
    while operation := following(expression):
        result = _result(operation)
        if result is None or abs(result) >= 10**MAX_DIGITS:
            return False
        expression = reduced(expression, result)
    return True


def canonical(data: Data) -> str:
    """The expression without spaces."""
    return write(read(data["expression"]))


def answer(data: Data) -> str:
    """The value of the expression."""
    return str(value(read(data["expression"])))


def validate(data: Data) -> Data:
    """An expression of whole numbers in which every division is exact."""
    if set(data) != {"expression"} or not isinstance(data["expression"], str):
        raise ProblemError("arithmetic needs exactly one text, expression, such as '12 + 3 * (4 - 1)'")
    expression = read(data["expression"])
    text = write(expression, " ")
    if following(expression) is None:
        raise ProblemError(f"{text!r} has nothing to work out")
    if not _workable(expression):
        raise ProblemError(f"{text!r} has a division that is not exact, or a result of more than {MAX_DIGITS} digits")
    return {"expression": text}


def grade(problem: Problem, text: str) -> Grade:
    """Right if the text is the value alone, or the value after the expression and an equals sign."""
    expression = read(problem.data["expression"])
    spaced, compact, right = write(expression, " "), write(expression), value(expression)
    dressed = [form.replace("*", "×").replace("/", "÷") for form in (spaced, compact)]
    try:
        given = read_integer(text, (spaced, compact, *dressed))
    except AnswerUnreadable as err:
        return Grade(0.0, note=str(err))
    return Grade(1.0) if given == right else Grade(0.0, note=f"{given} is not {compact}")


def _result(operation: Operation) -> int | None:
    left, right = operation.left, operation.right
    if operation.op == "+":
        return left + right
    if operation.op == "*":
        return left * right
    return left // right if right and left % right == 0 else None


def _product_work(left: int, right: int) -> str:
    """The columns of a product; two longer factors give one row for each digit, then the sums of the rows."""
    if right <= 9 or left <= 9:
        return times_columns(left, right) if right <= 9 else times_columns(right, left)
    rows, total = [], 0
    for place, digit in enumerate(reversed(str(right))):
        row = left * int(digit) * 10**place
        rows.append(f"{times_columns(left, int(digit))}; {total}+{row}: {add_columns(total, row)};")
        total += row
    return " ".join(rows)


def _worked(operation: Operation) -> tuple[str, str, int]:
    """Headline, columns, and the sign that the result has."""
    left, right = operation.left, operation.right
    headline = f"{left}{operation.op}{right}"
    if operation.op == "*":
        return headline, _product_work(left, right), 1
    if operation.op == "/":
        work = quotient_columns(left, right) if right <= 9 else f"{right}: {_product_work(left // right, right)};"
        return headline, work, 1
    if operation.inner:
        headline = f"{left}{right:+d}"
    a, b = abs(left), abs(right)
    if (left < 0) == (right < 0):
        return headline if operation.inner else "add", add_columns(a, b), -1 if left < 0 else 1
    if a >= b:
        return headline if operation.inner else "subtract", sub_columns(a, b), -1 if left < 0 else 1
    return headline if operation.inner else "subtract reversed", sub_columns(b, a), -1 if right < 0 else 1


def _state(summary: str) -> Sum | None:
    """The expression that a summary states, if it is written as summaries are."""
    try:
        expression = read(summary)
    except ProblemError:
        return None
    return expression if write(expression) == summary else None


def _step(data: Data, last: Block | None, rng: Random | None) -> Block | None:
    """The next operation; with a random generator its columns slip, where they can."""
    expression = _state(last.summary) if last else read(data["expression"])
    operation = following(expression) if expression else None
    result = _result(operation) if operation else None
    if expression is None or operation is None or result is None:
        return None
    headline, columns, sign = _worked(operation)
    slipped = slip(columns, rng) if rng else None
    if slipped is not None:
        wrong = columns_value(slipped)
        assert wrong is not None
        columns, result = slipped, sign * wrong
    return Block(headline, columns, write(reduced(expression, result)))


def _residue_steps(expression: Sum, modulus: int, steps: list[tuple[int, str, int, int]]) -> int:
    """The residue of an expression; each operation on residues is appended as (left, op, right, result)."""
    total: int | None = None
    for term in expression.terms:
        product = 1
        for index, (op, factor) in enumerate(term.factors):
            right = factor % modulus if isinstance(factor, int) else _residue_steps(factor, modulus, steps)
            left, product = product, product * (right if op == "*" else pow(right, -1, modulus)) % modulus
            if index:
                steps.append((left, op, right, product))
        if total is None and term.sign > 0:
            total = product
            continue
        left = total or 0
        total = (left + term.sign * product) % modulus
        steps.append((left, "+" if term.sign > 0 else "-", product, total))
    return total or 0


def _modulus(expression: Sum) -> int:
    """The first odd modulus from nine on in which every division of the expression can be done."""
    for modulus in count(CASTING_OUT, 2):
        try:
            _residue_steps(expression, modulus, [])
        except ValueError:  # a divisor without an inverse
            continue
        return modulus
    raise AssertionError("some prime divides none of the divisors")


def _check(data: Data, last: Block) -> Block | None:
    """Works the whole expression again on residues modulo nine and compares with the residue of the result.

    A step that goes on from the result just before it leaves that out: ``3+5=8*7=2`` is 3+5=8, then 8*7=2.
    """
    if not _RESULT.fullmatch(last.summary):
        return None
    got = int(last.summary)
    expression = read(data["expression"])
    modulus = _modulus(expression)
    steps: list[tuple[int, str, int, int]] = []
    wanted = _residue_steps(expression, modulus, steps)
    work = residues(got, modulus)
    if got < 0:
        work += f" 0-{-got % modulus}={got % modulus}"
    before: int | None = None
    for left, op, right, result in steps:
        work += f"{op}{right}={result}" if left == before else f" {left}{op}{right}={result}"
        before = result
    by = "" if modulus == CASTING_OUT else f" by {modulus}"
    return Block(f"check {got}{by}", work, verdict(wanted, got % modulus))


def _true(data: Data, summary: str) -> bool:
    state = _state(summary)
    return state is not None and value(state) == value(read(data["expression"]))


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
    """One operation a block, in a style; only the first can be redone at once, because the prompt still has it."""
    data = problem.data
    blocks = work_through(
        lambda last, rng: _step(data, last, rng),
        lambda last: _check(data, last),
        lambda index, _: index == 0,
        rng,
        style,
    )
    return Demonstration(blocks, answer(data))


def _dressed(data: Data) -> str:
    return data["expression"].replace("*", "×").replace("/", "÷")


ARITHMETIC = Task(
    name="arithmetic",
    title="Work out an expression of whole numbers",
    levels={
        1: "two or three numbers of at most two digits",
        2: "four to six numbers, brackets and products",
        3: "eight numbers, exact divisions too",
        4: "twelve numbers",
    },
    draw=draw,
    canonical=canonical,
    phrasings=(
        lambda data: f"State the final answer to the following arithmetic problem: {data['expression']} =",
        lambda data: f"Calculate {data['expression']}.",
        lambda data: f"What is {_dressed(data)}?",
        lambda data: f"Work out {data['expression'].replace(' ', '')}.",
        lambda data: f"{data['expression']} = ?",
    ),
    answer=answer,
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
    gym="chain_sum",
)
