"""Arithmetic worked visibly, one digit column at a time, right to left: the notation that every task shares.

Each column is one small sum whose result can be checked by itself; carries and borrows are written out:
``47+85`` is worked as ``7+5=12 4+8+1=13``, ``42-17`` as ``12-7=5 4-1-1=2``, ``347*8`` as ``7*8=56 4*8+5=37 3*8+3=27``.

Work in several steps is a chain of blocks, each computable from the one before it; ``work_through`` writes such a chain
in every style and ``check_work`` judges one.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

from ponder.types import Block, BlockCheck, Style

Step = Callable[[Block | None, Random | None], Block | None]
"""The next block of work after the last one (None: from the prompt), or None where no work is left.

With a random generator its columns hold one slip."""
Check = Callable[[Block], Block | None]
"""The block that checks a result, or None where the last block gives no result."""

AGAIN, START_OVER = "again", "start over"
CASTING_OUT = 9
"""The modulus of checks: the residue of a number is that of its digit sum."""
_ATTEMPTS = 8
_OPERATION = re.compile(r"(-?[0-9]{1,15})([-+*])(-?[0-9]{1,15})")


def _digits(number: int) -> list[int]:
    """Decimal digits, lowest first."""
    assert number >= 0
    return [int(digit) for digit in reversed(str(number))]


def add_columns(a: int, b: int) -> str:
    """The columns of a + b for a, b >= 0; a column that has only one digit left adds 0."""
    digits_a, digits_b = _digits(a), _digits(b)
    width = max(len(digits_a), len(digits_b))
    columns, carry = [], 0
    for x, y in zip(digits_a + [0] * (width - len(digits_a)), digits_b + [0] * (width - len(digits_b)), strict=True):
        total = x + y + carry
        columns.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return " ".join(columns)


def sub_columns(a: int, b: int) -> str:
    """The columns of a - b for a >= b >= 0; a column that borrows is written with its ten (``12-7=5``)."""
    assert a >= b
    digits_a, digits_b = _digits(a), _digits(b)
    columns, borrow = [], 0
    for x, y in zip(digits_a, digits_b + [0] * (len(digits_a) - len(digits_b)), strict=True):
        lend = x - y - borrow < 0
        top = x + 10 if lend else x
        columns.append(f"{top}-{y}{'-1' if borrow else ''}={top - y - borrow}")
        borrow = int(lend)
    return " ".join(columns)


def times_columns(a: int, digit: int) -> str:
    """The columns of a * digit for a >= 0 and one digit; the tens of a column carry into the next."""
    assert 0 <= digit <= 9
    columns, carry = [], 0
    for x in _digits(a):
        total = x * digit + carry
        columns.append(f"{x}*{digit}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return " ".join(columns)


def signed_sum(a: int, b: int) -> str:
    """The columns of a + b with signs: like signs add, unlike signs take the smaller size from the larger."""
    if (a < 0) == (b < 0):
        return add_columns(abs(a), abs(b))
    return sub_columns(max(abs(a), abs(b)), min(abs(a), abs(b)))


def worked(a: int, op: str, b: int) -> tuple[str, int]:
    """The working of a+b, a-b or a*b with signs, and its value; sums below 20 and the times table are written at once.

    Otherwise the operands come first, then the subtraction that their signs lead to where it is another one, then the
    columns and the result: ``-29+45 45-29 15-9=6 4-2-1=1 16``. Of two factors the larger comes first.
    """
    if op == "*":
        x, y = (a, b) if abs(a) >= abs(b) else (b, a)
        if abs(x) <= 9 or abs(y) <= 1:
            return f"{a}*{b}={a * b}", a * b
        columns = times_columns(abs(x), abs(y)) if abs(y) <= 9 else _long_product(abs(x), abs(y))
        return f"{x}*{y} {columns} {a * b}", a * b
    if b < 0:
        op, b = "-" if op == "+" else "+", -b
    value = a + b if op == "+" else a - b
    if abs(a) < 20 and b < 20:
        return f"{a}{op}{b}={value}", value
    size, start, columns = abs(a), f"{a}{op}{b}", signed_sum(a, value - a)
    lead = start if (a < 0) == (op == "-") else f"{max(size, b)}-{min(size, b)}"
    return f"{start} {columns} {value}" if lead == start else f"{start} {lead} {columns} {value}", value


def _long_product(a: int, b: int) -> str:
    """The tens of b, the ones of b, and their sum."""
    (tens, many), (ones, few) = worked(a, "*", b // 10), worked(a, "*", b % 10)
    return f"{tens} {ones} {worked(10 * many, '+', few)[0]}"


def before_result(working: str) -> str:
    """Working without the result behind its columns, for a step whose summary is little more than the result."""
    words = working.split()
    return working if "=" in words[-1] else " ".join(words[:-1])


def working_of(operation: str) -> list[str] | None:
    """The words of the working that begins with these operands; None for text that no working begins with."""
    found = _OPERATION.fullmatch(operation)
    words = worked(int(found[1]), found[2], int(found[3]))[0].split() if found else []
    return words if words and words[0] == operation else None


def quotient_columns(a: int, digit: int) -> str:
    """The steps of a / digit for an exact quotient, highest digit first, with remainders: ``8/7=1r1 14/7=2r0``."""
    assert 1 <= digit <= 9 and a >= 0
    columns, rest = [], 0
    for x in reversed(_digits(a)):
        top = 10 * rest + x
        rest = top % digit
        if columns or top >= digit or len(str(a)) == 1:
            columns.append(f"{top}/{digit}={top // digit}r{rest}")
    return " ".join(columns) or f"{a}/{digit}=0r{rest}"


def columns_value(columns: str) -> int | None:
    """The number that columns say, slips included; None for text that is not columns."""
    totals = [column.partition("=")[2] for column in columns.split(" ")]
    if totals[0].partition("r")[1]:
        totals = [total.partition("r")[0] for total in totals]
    else:
        # All but the highest column leave their last digit; the highest is written whole.
        totals = [totals[-1], *(total[-1:] for total in reversed(totals[:-1]))]
    number = "".join(totals)
    return int(number) if all(totals) and number.isascii() and number.isdigit() and len(number) <= 400 else None


def slip(columns: str, rng: Random) -> str | None:
    """The columns with one wrong result: a carry or borrow forgotten, or a digit one off; None where there is none.

    The tens of a result stay, so all later columns follow; the value is off by 1 to 8 times a power of ten, which
    casting out nines sees.
    """
    if columns_value(columns) is None:
        return None
    parts = columns.split(" ")
    index = rng.randrange(len(parts))
    work, _, total = parts[index].partition("=")
    quotient, mark, rest = total.partition("r")
    forgotten = _forget(work, int(quotient)) if not mark and rng.random() < 0.5 else None
    if forgotten is not None:
        parts[index] = forgotten
    else:
        last = int(quotient[-1])
        wrong = last + (rng.choice((-1, 1)) if 0 < last < 9 else 1 if last == 0 else -1)
        parts[index] = f"{work}={quotient[:-1]}{wrong}{mark}{rest}"
    return " ".join(parts)


def _forget(work: str, total: int) -> str | None:
    """A column without its carry or borrow, where that changes only the last digit of its result."""
    cut = max(work.rfind("+"), work.rfind("-"))
    if cut < 0 or sum(work.count(sign) for sign in "+-*") < 2:
        return None
    carried = int(work[cut + 1 :]) * (1 if work[cut] == "+" else -1)
    wrong = total - carried
    return f"{work[:cut]}={wrong}" if wrong // 10 == total // 10 else None


def residues(number: int, modulus: int = CASTING_OUT) -> str:
    """The running residues of a number's digits, highest first: ``347`` gives ``375``, so its residue is 5."""
    running, seen = 0, []
    for digit in str(abs(number)):
        running = (10 * running + int(digit)) % modulus
        seen.append(str(running))
    return ("" if modulus <= 10 else " ").join(seen)


def verdict(wanted: int, got: int) -> str:
    """The summary of a check: what both sides leave, when they differ."""
    return "ok" if wanted == got else f"{wanted} not {got}, {START_OVER}"


def _run(step: Step, check: Check, last: Block | None = None) -> list[Block]:
    """The blocks from the last one to the check; without the check where the work gets stuck."""
    blocks: list[Block] = []
    while (block := step(last, None)) is not None:
        blocks.append(block)
        last = block
    checked = check(last) if last else None
    return [*blocks, checked] if checked else blocks


def work_through(
    step: Step, check: Check, redoable: Callable[[int, Block], bool], rng: Random, style: Style, restate: bool = False
) -> tuple[Block, ...]:
    """The blocks of a thought in a style; `redoable` says which steps can be redone from what folding leaves.

    With `restate` a step done again has its first headline in its own.
    """
    if style is Style.DIRECT:
        return ()
    clean = _run(step, check)
    if style is Style.CORRECTED:
        for _ in range(_ATTEMPTS):
            corrected = _corrected(step, check, redoable, rng, clean, restate)
            if corrected:
                return corrected
    if style is Style.WANDERING:
        return _wandering(redoable, rng, clean, restate)
    return tuple(clean)


def _corrected(
    step: Step, check: Check, redoable: Callable[[int, Block], bool], rng: Random, clean: list[Block], restate: bool
) -> tuple[Block, ...] | None:
    """One step slips; it is redone at once, or the check at the end sees it and all is done again."""
    work = clean[:-1]
    again = [index for index, block in enumerate(work) if redoable(index, block)]
    at_once = bool(again) and rng.random() < 0.6
    index = rng.choice(again) if at_once else rng.randrange(len(work))
    wrong = step(work[index - 1] if index else None, rng)
    if wrong is None or wrong.summary == work[index].summary:
        return None
    if at_once:
        return (*clean[:index], wrong, _again(work[index], wrong, restate), *clean[index + 1 :])
    rest = _run(step, check, wrong)
    # A check can be blind to a slip (nine times a wrong number); such a thought would end wrong.
    if not rest or not rest[-1].summary.endswith(START_OVER):
        return None
    return (*clean[:index], wrong, *rest, *clean)


def _wandering(
    redoable: Callable[[int, Block], bool], rng: Random, clean: list[Block], restate: bool
) -> tuple[Block, ...]:
    """Some steps are done twice, and sometimes all is begun again out of doubt."""
    blocks: list[Block] = []
    if rng.random() < 0.5:
        blocks = clean[: rng.randint(1, len(clean) - 1)]
        blocks.append(_doubt(blocks[-1]))
    twice = [index for index, block in enumerate(clean[:-1]) if redoable(index, block)]
    chosen = {index for index in twice if rng.random() < 0.4}
    if not blocks and not chosen and twice:
        chosen = {rng.choice(twice)}
    for index, block in enumerate(clean):
        blocks.append(block)
        if index in chosen:
            blocks.append(_again(block, block, restate))
    return tuple(blocks)


def _again(right: Block, first: Block, restate: bool) -> Block:
    """The step done a second time, saying whether the first time was right."""
    headline = f"{AGAIN} {right.headline}" if restate else AGAIN
    return Block(headline, f"{right.thoughts} {'yes' if first.summary == right.summary else 'no'}", right.summary)


def _doubt(last: Block) -> Block:
    return Block(START_OVER, f"{last.summary} not sure", START_OVER)


def check_work(
    step: Step, check: Check, true: Callable[[str], bool], blocks: Sequence[Block], restate: bool = False
) -> tuple[BlockCheck, ...]:
    """Judges each block as the step, repetition or check it says it is; `true` says whether a summary's state is.

    A block that goes on from a wrong state is not valid; a check that finds a result wrong is.
    """
    checks: list[BlockCheck] = []
    before: Block | None = None
    last: Block | None = None
    for block in blocks:
        expected = _expected(step, check, before, last, block, restate)
        if expected is None:
            checks.append(BlockCheck(False, None, "this step does not follow from the last summary"))
        elif expected != block:
            checks.append(BlockCheck(False, None, f"should be {expected.thoughts!r}, {expected.summary!r}"[:300]))
        elif block.summary.endswith(START_OVER):
            checks.append(BlockCheck(True, True, "begins again"))
        elif block.summary == "ok":
            right = last is not None and true(last.summary)
            checks.append(BlockCheck(right, right or None, "" if right else "the check missed a wrong result"))
        else:
            right = true(block.summary)
            checks.append(BlockCheck(right, right or None, "" if right else "goes on from a wrong state"))
        before, last = last, None if block.summary.endswith(START_OVER) else block
    return tuple(checks)


def _expected(
    step: Step, check: Check, before: Block | None, last: Block | None, block: Block, restate: bool
) -> Block | None:
    """What the block must be, given the two before it."""
    if block.headline == START_OVER:
        return _doubt(last) if last else None
    if block.headline.startswith("check "):
        return check(last) if last else None
    if block.headline.partition(" ")[0] == AGAIN:
        right = step(before, None) if last else None
        return _again(right, last, restate) if right and last and right.headline == last.headline else None
    return step(last, None)
