"""Thoughts that solve linear equations: the steps of ``linear.py`` as blocks, and slips with their corrections.

A failed check ends its summary with ``no``; the block after it starts over from the prompt.
"""

import re
from collections.abc import Mapping, Sequence
from random import Random

from ponder.interfaces import Data
from ponder.tasks.linear import (
    ROWS,
    Equation,
    Side,
    State,
    Step,
    assigned,
    digit_work,
    next_step,
    nines,
    read_problem,
    value_of,
)
from ponder.tasks.linear_checks import check_block
from ponder.tasks.working import worked
from ponder.types import Block, Demonstration, Problem, Style

MAX_STEPS = 500
LONG = 48
"""A block of more tokens is avoided where a thought could do without it."""


def answer_text(solution: Mapping[str, int]) -> str:
    """``13`` for one variable, ``x = 3, y = -2`` for several."""
    if len(solution) == 1:
        return str(next(iter(solution.values())))
    return ", ".join(f"{name} = {value}" for name, value in solution.items())


def block_size(block: Block) -> int:
    """About how many tokens a block has: its words, and every character outside of them."""
    return len(re.findall(" ?[a-z]+|[^a-z]", f"{block.headline}{block.thoughts}{block.summary}"))


# --- substituting back --------------------------------------------------------------------------------------------


def _work(side: Side, values: Mapping[str, int]) -> tuple[list[str], int]:
    """The working of a side at these values, and what it is worth."""
    work: list[str] = []
    total: int | None = None
    for term in side:
        size = term.factor
        if term.inner or term.name:
            inner, size = _work(term.inner, values) if term.inner else ([], values[term.name])
            work += inner
            if term.factor != 1:
                text, size = worked(term.factor, "*", size)
                # -x needs no product where it is taken from what stands before it.
                work += [text] if term.factor != -1 or total is None else []
        if total is None:
            total = size
        else:
            text, total = worked(total, "+", size)
            work.append(text)
    return work, total or 0


def _compared(work: list[str], value: int, wanted: int) -> list[str]:
    """The working with a comparison of its value, which takes the place of a value written by itself."""
    known = bool(work) and work[-1].split()[-1] == str(value)
    before = [*work[:-1], work[-1].removesuffix(f" {value}")] if known else work
    return [*before, f"{value}={wanted}" if value == wanted else f"{value} not {wanted}"]


def _substitute(row: int, equations: list[Equation], values: Mapping[str, int], verdict: str, head: str) -> list[Block]:
    """Blocks that put values into one equation: one where its right side is a number, otherwise one for each side."""
    (left, right), known = equations[row], assigned(values)
    of = f" of {ROWS[row]}" if len(equations) > 1 else ""
    work, value = _work(left, values)
    blocks: list[Block] = []
    if len(right) > 1 or any(term.name or term.inner for term in right):
        blocks = [Block(head or f"left{of}", " ".join(work or [str(value)]), f"{known} left {value}")]
        (work, wanted), head = _work(right, values), ""
        work, head = _compared(work, value, wanted), f"right{of}"
    else:
        wanted, head = value_of(right, values), head or (f"check {ROWS[row]}" if of else "check")
        work = _compared(work, value, wanted)
    return [*blocks, Block(head, " ".join(work), f"{known} {verdict if value == wanted else 'no'}")]


def _in_two(equation: Equation, values: Mapping[str, int]) -> list[Block] | None:
    """Two blocks that check a*x + b = c: the product, then the sum; by remainders of nine where both factors are long.

    None for other equations, and where the numbers are small enough for one block.
    """
    left, right = equation
    terms = [term for term in left if term.name]
    if len(values) > 1 or len(terms) != 1 or len(left) > 2 or any(t.inner for t in left):
        return None
    if len(right) > 1 or any(t.name or t.inner for t in right):
        return None
    name, known = terms[0].name, assigned(values)
    factor, x = terms[0].factor, values[name]
    constant = next((term.factor for term in left if not term.name), 0)
    total = right[0].factor if right else 0
    if min(abs(factor), abs(x)) < 10:
        text, product = worked(factor, "*", x)
        if not constant or (abs(product) < 20 and abs(constant) < 20):
            return None
        text_sum, value = worked(constant, "+", product) if left.index(terms[0]) else worked(product, "+", constant)
        work = " ".join(_compared([text_sum], value, total))
        return [
            Block("check product", text, f"{known} product {product}"),
            Block("check sum", work, f"{known} {'ok' if value == total else 'no'}"),
        ]
    (text_a, a), (text_x, b) = nines(abs(factor)), nines(abs(x))
    text, rest = nines(a * b)
    work = [text_a, text_x, f"{a}*{b}={a * b}"] + ([text] if a * b > 8 else [])
    first = Block(f"nines {abs(factor)}*{abs(x)}", " ".join(work), f"{known} rest {rest}")
    value, work = (rest if factor * x > 0 else -rest), []
    if constant:
        text, b = nines(abs(constant))
        summed, value = worked(b, "+", value) if constant > 0 else worked(value, "-", b)
        work = [text, summed]
    if value not in range(9):
        work.append(nines(value)[0] if value > 0 else f"{value}:{value % 9}")
    text, c = nines(abs(total))
    work += [text] + ([f"{-c}:{-c % 9}"] if total < 0 and c else [])
    same = (value - (c if total >= 0 else -c)) % 9 == 0
    return [first, Block("nines of both sides", " ".join(work), f"{known} {'ok' if same else 'no'}")]


def _checks(equations: list[Equation], values: Mapping[str, int], every: bool = False) -> list[Block]:
    """Blocks that check values against the prompt, up to the first equation that fails."""
    short = _in_two(equations[0], values) if len(equations) == 1 else None
    if short:
        return short
    blocks: list[Block] = []
    rows = range(0 if every or len(equations) == 1 else 1, len(equations))
    for row in rows:
        blocks += _substitute(row, equations, values, "ok" if row == rows[-1] else f"{ROWS[row]} ok", "")
        if blocks[-1].summary.endswith(" no"):
            break
    return blocks


# --- demonstrations -----------------------------------------------------------------------------------------------


def _solve_steps(equations: list[Equation], names: Sequence[str], under: bool = False) -> list[Step]:
    steps: list[Step] = []
    state = State()
    for _ in range(MAX_STEPS):
        step = next_step(equations, names, state, under)
        if step is None:
            return steps
        steps.append(step)
        state = step[2]
        under = under and not state.take
    raise AssertionError(f"no solution after {MAX_STEPS} steps")


def _blocks(steps: Sequence[Step], names: Sequence[str]) -> list[Block]:
    return [Block(head, thoughts, state.show(names)) for head, thoughts, state in steps]


def _column_value(results: Sequence[str]) -> str:
    """The number that columns spell, lowest first: 14, 7, 2 is 274."""
    return (results[-1] + "".join(result[-1] for result in reversed(results[:-1]))).lstrip("0") or "0"


def _slip(block: Block, rng: Random) -> Block | None:
    """The block with one result off by one, and the numbers behind its columns and in its summary that come from it."""
    chunks = block.thoughts.split()
    columns = [j for j, chunk in enumerate(chunks) if "=" in chunk]
    results = [chunks[j].partition("=")[2] for j in columns]
    spelt = _column_value(results) if results and all(result.isdigit() for result in results) else ""
    found = list(re.finditer("[0-9]+", block.summary))[-1]
    options: list[Block] = []
    for number, j in enumerate(columns):
        expression, result = chunks[j].split("=", 1)
        if not result.isdigit() or not result.strip("0") or not re.search("[0-9][-+*]", expression):
            continue
        wrong = str(int(result) + (-1 if result[-1] == "9" else 1))
        new, end = _column_value([*results[:number], wrong, *results[number + 1 :]]) if spelt else "", chunks[j + 1 :]
        if spelt and found[0].startswith(spelt) and not found[0][len(spelt) :].strip("0"):
            put = new + found[0][len(spelt) :]
            if end and end[-1].lstrip("-") == spelt:
                end[-1] = end[-1].replace(spelt, new)
        elif found[0] == result and j == len(chunks) - 1:
            put = wrong
        else:
            continue
        thoughts = " ".join([*chunks[:j], f"{expression}={wrong}", *end])
        summary = block.summary[: found.start()] + put + block.summary[found.end() :]
        options.append(Block(block.headline, thoughts, summary))
    return rng.choice(options) if options else None


def _too_big(steps: Sequence[Step], names: Sequence[str], at: int) -> list[Block] | None:
    """A division digit that is one too large, and the block that notices; None where step `at` finds no digit."""
    head, thoughts, state = steps[at]
    found = re.search(r"([0-9]+)\*([1-8])(0*)(?![0-9])", thoughts)
    if head != "divide" or not found or (state.take == 0 and state.dividing is not None):
        return None
    before = steps[at - 1][2] if at else State()
    row = next((r for r in range(3) if r in before.rows and r not in state.rows), state.dividing)
    shown = before.rows.get(row) if row is not None else None
    if shown is None or row is None:
        return None
    factor, digit, size = int(found[1]), int(found[2]) + 1, abs(shown[1][0].factor)
    take = factor * digit * 10 ** len(found[3])
    wrong = State(before.rows, before.solved, row, take)
    noticed = Block("too big", f"{take}>{size}", before.show(names))
    return [Block(head, digit_work(size, factor, digit, len(found[3])), wrong.show(names)), noticed]


def _corrected(equations: list[Equation], solution: dict[str, int], rng: Random) -> list[Block]:
    names = tuple(solution)
    steps = _solve_steps(equations, names)
    clean, checks = _blocks(steps, names), _checks(equations, solution)
    for kind in rng.sample(("again", "again", "big", "big", "end"), 5):
        if kind == "big":
            options = [(at, extra) for at in range(len(steps)) if (extra := _too_big(steps, names, at))]
            if options:
                at, extra = rng.choice(options)
                return [*clean[:at], *extra, *clean[at:], *checks]
        elif kind == "again":
            at = rng.choice([i for i, step in enumerate(steps) if i == 0 or step[2].take])
            slip = _slip(clean[at], rng)
            if slip and not check_block(equations, solution, slip).valid:
                return [*clean[:at], slip, _again(clean[at]), *clean[at + 1 :], *checks]
        else:
            name = next(n for n in names if len(steps) == 1 or n not in steps[-2][2].solved)
            missed = _missed(equations, solution, name, clean[-1], rng)
            if missed:
                return [*clean[:-1], *missed, *clean, *checks]
    # A number copied wrongly in the first block is always possible.
    head, thoughts, summary = clean[0].headline, clean[0].thoughts, clean[0].summary
    copied = [
        Block(head, thoughts, f"{summary[: found.start()]}{int(found[0]) + 1}{summary[found.end() :]}")
        for found in re.finditer("(?<!E)[0-9]+", summary)
    ]
    # Where every variable is 0, other multiples of it are no mistake, but a constant is.
    copied.insert(0, Block(head, thoughts, f"{summary}+1"))
    slip = next(block for block in reversed(copied) if not check_block(equations, solution, block).valid)
    return [slip, _again(clean[0]), *clean[1:], *checks]


def _again(block: Block) -> Block:
    return Block(f"{block.headline} again", block.thoughts, block.summary)


def _missed(
    equations: list[Equation], solution: dict[str, int], name: str, last: Block, rng: Random
) -> list[Block] | None:
    """The last block with a wrong value, and the check that fails; None where no small change fails the check."""
    # The failing check must not be longer than the true one would be.
    longest = [block_size(block) for block in _checks(equations, solution)]
    for change in rng.sample((1, -1, 2, -2, 3, -3), 6):
        values = {**solution, name: solution[name] + change}
        failed = _checks(equations, values)
        if failed[-1].summary.endswith(" no") and max(map(block_size, failed)) <= max(LONG, *longest):
            return [Block(last.headline, last.thoughts, assigned(values)), *failed]
    return None


def _wandering(equations: list[Equation], solution: dict[str, int], rng: Random) -> list[Block]:
    names = tuple(solution)
    guess = rng.choice((1, 2, 3, 5))
    values = dict.fromkeys(names, guess)
    tried = _substitute(0, equations, values, "ok", f"try {assigned(values)}")
    # A guess is worth its tokens only where it is quick to try.
    if not tried[-1].summary.endswith(" no") or max(map(block_size, tried)) > LONG:
        tried = []
    steps = _solve_steps(equations, names, under=not tried or rng.random() < 0.5)
    return [*tried, *_blocks(steps, names), *_checks(equations, solution, every=True)]


def straight(data: Data) -> list[Block]:
    """The straight solution."""
    equations, names, solution = read_problem(data)
    return _blocks(_solve_steps(equations, names), names) + _checks(equations, solution)


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """The canonical solution; with a slip that is noticed and undone, or with a guess and smaller steps first."""
    equations, _, solution = read_problem(problem.data)
    blocks: list[Block] = []
    if style is Style.CLEAN:
        blocks = straight(problem.data)
    elif style is Style.CORRECTED:
        blocks = _corrected(equations, solution, rng)
    elif style is Style.WANDERING:
        blocks = _wandering(equations, solution, rng)
    return Demonstration(tuple(blocks), answer_text(solution))
