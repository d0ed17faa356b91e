"""Arithmetic: one operation at a time, in brackets first, then * and /, then + and - from left to right.

Each headline restates two operands, each summary the whole expression that remains, such as ``579-34*5``. Where the
columns are of another subtraction or order, that comes first: ``-12+30`` is worked as ``30-12``, ``6*37`` as ``37*6``.

The result is checked by casting out nines: the numbers of the prompt are replaced by their residues, a few at a time
(``491 if 3-(1+0)-4-22``), until the expression of residues can be compared with the residue of the result.
"""

import re
from collections.abc import Sequence
from itertools import count
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import read_integer
from ponder.tasks.expressions import (
    MAX_DIGITS,
    Operation,
    Sum,
    following,
    ordered,
    read,
    reduced,
    residue_steps,
    value,
    with_residues,
    write,
)
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
AT_ONCE = 4
"""How many residues one block finds."""
IF = " if "
_LONGEST_AGAIN = 48
"""A longer first step is not done again, which needs a few tokens more."""
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
    """About how many tokens the longest step of the thought has when nothing is restated: a word is one, as any sign.

    Which problems are drawn depends on this, so that it must not follow the notation of the thoughts.
    """
    expression, longest = read(data["expression"]), 0
    while operation := following(expression):
        result = _result(operation)
        assert result is not None
        headline = operation.text if operation.inner or operation.op in "*/" else ""
        expression = reduced(expression, result)
        longest = max(longest, len(f"{headline} {_worked(operation)[1]}{write(expression)}"))
    if not _RESULT.fullmatch(write(expression)):
        return longest
    got = value(expression)
    assert got is not None
    work, _ = _residue_work(got, read(data["expression"]), CASTING_OUT)
    return max(longest, len(f"  {got}{residues(got)}{work}") + _FAILED_CHECK)


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
    """The expression without spaces, its terms and factors in one order: commuted ones are the same problem."""
    return write(ordered(read(data["expression"])))


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
    if operation.op in "+-":
        return left + right if operation.op == "+" else left - right
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
    """The operation with its operands in the order of the columns, the columns, and the sign that the result has."""
    left, right = operation.left, operation.right
    if operation.op == "*":
        swap = left <= 9 < right
        return f"{right}*{left}" if swap else operation.text, _product_work(left, right), 1
    if operation.op == "/":
        work = quotient_columns(left, right) if right <= 9 else f"{right}: {_product_work(left // right, right)};"
        return operation.text, work, 1
    size, sign = abs(left), -1 if left < 0 else 1
    if (left < 0) == (operation.op == "-"):
        return operation.text, add_columns(size, right), sign
    if size >= right:
        return f"{size}-{right}", sub_columns(size, right), sign
    return f"{right}-{size}", sub_columns(right, size), -sign


def _state(summary: str) -> Sum | None:
    """The expression that a summary states, if it is written as summaries are."""
    try:
        expression = read(summary)
    except ProblemError:
        return None
    return expression if write(expression) == summary else None


def _step(data: Data, last: Block | None, rng: Random | None) -> Block | None:
    """The next operation, or residues of a result's expression; with a random generator columns slip, if they can."""
    claim = _claim(data, last.summary) if last else None
    if claim:
        return _reduce(data, *claim)
    expression = _state(last.summary) if last else read(data["expression"])
    operation = following(expression) if expression else None
    result = _result(operation) if operation else None
    if expression is None or operation is None or result is None:
        return None
    worked, columns, sign = _worked(operation)
    slipped = slip(columns, rng) if rng else None
    if slipped is not None:
        wrong = columns_value(slipped)
        assert wrong is not None
        columns, result = slipped, sign * wrong
    parts = [columns] if worked == operation.text else [worked, columns]
    # In brackets a sign can merge with the one before them, so that the result is written by itself first.
    parts += [str(result)] if operation.inner else []
    return Block(operation.text, " ".join(parts), write(reduced(expression, result)))


def _claim(data: Data, summary: str) -> tuple[int, Sum] | None:
    """A result and the expression whose residue it must have: the prompt's, or one with residues in it."""
    got, mark, text = summary.partition(IF)
    if not _RESULT.fullmatch(got):
        return None
    expression = _state(text) if mark else read(data["expression"])
    return (int(got), expression) if expression else None


def _reduce(data: Data, got: int, expression: Sum) -> Block | None:
    """The residues of the next few numbers that are not residues; None where all are."""
    modulus = _modulus(read(data["expression"]))
    listed: list[str] = []
    # Reading it again gives a lone zero its one spelling.
    summary = f"{got}{IF}{write(read(write(with_residues(expression, modulus, AT_ONCE, listed))))}"
    return (
        Block("nines" if modulus == CASTING_OUT else f"residues by {modulus}", " ".join(listed), summary)
        if listed
        else None
    )


def _modulus(expression: Sum) -> int:
    """The first odd modulus from nine on in which every division of the expression can be done."""
    for modulus in count(CASTING_OUT, 2):
        try:
            residue_steps(expression, modulus, [])
        except ValueError:  # a divisor without an inverse
            continue
        return modulus
    raise AssertionError("some prime divides none of the divisors")


def _residue_work(got: int, expression: Sum, modulus: int) -> tuple[str, int]:
    """The working of an expression on residues, behind that of a negative result's residue, and the residue.

    A step that goes on from the result just before it leaves that out: ``3+5=8*7=2`` is 3+5=8, then 8*7=2.
    """
    steps: list[tuple[int, str, int, int]] = []
    wanted = residue_steps(expression, modulus, steps)
    work = f" 0-{-got % modulus}={got % modulus}" if got < 0 else ""
    before: int | None = None
    for left, op, right, result in steps:
        work += f"{op}{right}={result}" if left == before else f" {left}{op}{right}={result}"
        before = result
    return work, wanted


def _check(data: Data, last: Block) -> Block | None:
    """Works the expression of residues and compares with the residue of the result."""
    claim = _claim(data, last.summary)
    if claim is None or _reduce(data, *claim):
        return None
    got, modulus = claim[0], _modulus(read(data["expression"]))
    try:
        work, wanted = _residue_work(*claim, modulus)
    except ValueError:  # a divisor that is none of the prompt's
        return None
    by = "" if modulus == CASTING_OUT else f" by {modulus}"
    thoughts = f"{abs(got)}:{residues(got, modulus)}{work}"
    return Block(f"check {got}{by}", thoughts, verdict(wanted, got % modulus))


def _true(data: Data, summary: str) -> bool:
    """Whether a state has the value of the prompt's expression, or its result has."""
    expression = read(data["expression"])
    got, mark, text = summary.partition(IF)
    state, residual = _state(got), _state(text) if mark else expression
    if state is None or residual is None or value(state) != value(expression):
        return False
    modulus = _modulus(expression)
    try:
        return residue_steps(residual, modulus, []) == residue_steps(expression, modulus, [])
    except ValueError:  # a divisor that is none of the prompt's
        return False


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Judges each block by redoing it from the state before it."""
    data = problem.data
    return check_work(
        lambda last, rng: _step(data, last, rng),
        lambda last: _check(data, last),
        lambda summary: _true(data, summary),
        blocks,
        restate=True,
    )


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """One operation a block, in a style; only the first can be redone at once, because the prompt still has it."""
    data = problem.data
    blocks = work_through(
        lambda last, rng: _step(data, last, rng),
        lambda last: _check(data, last),
        lambda index, block: index == 0 and len(block.thoughts + block.summary) < _LONGEST_AGAIN,
        rng,
        style,
        restate=True,
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
