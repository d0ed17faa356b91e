"""What does this small Python program print? The programs are executed line by line, values written out after each."""

import re
from collections.abc import Sequence
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import read_integer
from ponder.tasks.tiny_python import MAX_LINES, Line, Machine, Unit, execute, read_lines
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

LETTERS = "abcdefghkmnpqrstuvwxyz"
CONSTANTS_AT_ONCE = 3
LOOKED_AGAIN = 0.3
"""How often a wandering thought does a line twice."""


def read_program(source: Sequence[str]) -> tuple[Line, ...]:
    """The statements of a program, of which the last one prints."""
    block = read_lines(source)
    prints = sum(line.lstrip().startswith("print(") for line in source)
    if prints != 1 or block[-1].kind != "print":
        raise ProblemError("a program must end with its only print")
    return block


def run(program: Sequence[Line]) -> tuple[list[Unit], Machine]:
    """All units of a run, with runs of constant assignments taken together, and the machine after it."""
    machine, units = Machine(), list[Unit]()
    together = 0
    for unit in execute(program, machine):
        together = together + 1 if unit.constant and 0 < together < CONSTANTS_AT_ONCE else int(unit.constant)
        if together > 1:
            last = units.pop()
            unit = Unit(f"{last.headline}; {unit.headline}", last.pieces + unit.pieces, unit.values, "", True, True)
        units.append(unit)
    return units, machine


def _ran(data: Data) -> tuple[list[Unit], Machine]:
    return run(read_program(data["lines"]))


# --- problems -----------------------------------------------------------------------------------------------------


def _expression(rng: Random, recent: str, values: dict[str, int]) -> str:
    """An expression that uses the variable assigned last, so that most lines matter."""
    other = rng.choice([name for name in values if name != recent])
    small, size = rng.randint(2, 9), values[recent]
    forms = [f"{recent} + {other}", f"{recent} - {other}", f"{other} - {recent}", f"{other} + {recent}"]
    forms += [
        f"{recent} + {rng.randint(2, 40)}",
        f"{recent} - {rng.randint(2, 40)}",
        f"{rng.randint(10, 60)} - {recent}",
    ]
    if abs(size) <= 60:
        forms += [f"{recent} * {rng.randint(2, 5)}"] * 2 + (
            [f"{recent} * {other}"] if 1 < abs(values[other]) < 10 else []
        )
    if size > 20:
        forms += [f"{recent} // {small}", f"{recent} % {small}"]
    return rng.choice(forms)


def _condition(rng: Random, recent: str, values: dict[str, int]) -> str:
    other = rng.choice([name for name in values if name != recent])
    near = values[recent] + rng.randint(-9, 9)
    right = other if rng.random() < 0.5 else str(max(0, near))
    return f"{recent} {rng.choice(('>', '<', '>=', '<='))} {right}"


def _line(rng: Random, recent: str, values: dict[str, int], names: Sequence[str]) -> tuple[str, str]:
    """One assignment, and the variable it sets."""
    if rng.random() < 0.25:
        other = rng.choice([name for name in names if name != recent])
        operator = rng.choice("+-")
        target = rng.choice([name for name in values if name != recent])
        right = recent if rng.random() < 0.8 else other
        if target != right and right in values:
            return f"{target} {operator}= {right}", target
    target = rng.choice(names)
    return f"{target} = {_expression(rng, recent, values)}", target


def _if(rng: Random, recent: str, values: dict[str, int]) -> tuple[list[str], str]:
    condition, names = _condition(rng, recent, values), list(values)
    # Only variables that have a value: the body may be skipped.
    first, target = _line(rng, recent, values, names)
    if rng.random() < 0.6:
        return [f"if {condition}: {first}"], target
    second = f"{target} = {_expression(rng, recent, values)}"
    return [f"if {condition}:", f"    {first}", "else:", f"    {second}"], target


def _accumulate(rng: Random, target: str, source: str) -> str:
    """A line that keeps what the rounds before it did: every round matters."""
    forms = ("{t} += {s}", "{t} -= {s}", "{t} = {t} + {s}", "{t} = {t} - {s}", "{t} = {s} - {t}")
    return rng.choice(forms).format(t=target, s=source)


def _loop(rng: Random, values: dict[str, int], names: Sequence[str], rounds: int) -> tuple[list[str], str]:
    """A loop over two lines, and the variable that its body sets last."""
    first, second = rng.sample(list(values), 2)
    if rng.random() < 0.4:
        step = rng.randint(2, 9)
        limit = values[first] + step * rounds - rng.randrange(step)
        body = [f"{first} = {first} + {step}", _accumulate(rng, second, first)]
        return [f"while {first} < {max(1, limit)}:", *(f"    {line}" for line in body)], second
    counter = rng.choice([name for name in "ijt" if name not in names])
    body = [_accumulate(rng, first, counter), _accumulate(rng, second, first)]
    if rng.random() < 0.4:
        # Some rounds take this branch and some do not.
        near = values[first] + rng.randint(-8, 12)
        body[1], second = f"if {first} > {max(0, near)}: {first} = {first} - {rng.randint(5, 40)}", first
    return [f"for {counter} in range({rounds}):", *(f"    {line}" for line in body)], second


def _grown(lines: list[str], machine: Machine, level: int) -> tuple[Machine, list[Unit]] | None:
    """The machine after more lines; None where a value or a block grows too large, or a branch is never taken."""
    after, units = machine.copy(), list[Unit]()
    small, large, size = (-99, 999, 40) if level < 3 else (-999, 9999, 62)
    try:
        for unit in execute(read_lines(lines), after):
            if _size(unit) > size or any(not small <= value <= large for value in unit.values.values()):
                return None
            units.append(unit)
    except ProblemError:
        return None
    branches = [re.findall("yes|no", unit.work)[1:] for unit in units if unit.note == "again"]
    taken = {word for branch in branches for word in branch}
    return None if len(taken) == 1 else (after, units)


def _try(level: int, rng: Random) -> tuple[list[str], Machine] | None:
    """A program that nearly always matters to its end; None where it came to a dead end."""
    few = 3 if level != 2 or rng.random() < 0.6 else 4
    names = rng.sample(LETTERS, few)
    lines = [f"{name} = {rng.randint(2, 30 if level < 3 else 15)}" for name in names[: rng.choice((2, 3))]]
    recent, grown = names[len(lines) - 1], _grown(lines, Machine(), level)
    count = {1: rng.randint(4, 6), 2: rng.randint(7, 9), 3: rng.randint(4, 5), 4: rng.randint(4, 5)}[level]
    plan = ["line"] * (count - len(lines))
    if level == 2:
        for at in rng.sample(range(len(plan)), rng.choice((1, 1, 2))):
            plan[at] = "if"
    elif level > 2:
        plan.insert(rng.randint(0, len(plan)), "loop")
    for what in plan:
        assert grown
        machine, more, target = grown[0], list[str](), recent
        for _ in range(12 if what == "loop" else 8):
            if what == "loop":
                rounds = rng.randint(4, 6) if level == 3 else rng.randint(9, 12)
                more, target = _loop(rng, machine.values, names, rounds)
            elif what == "if":
                more, target = _if(rng, recent, machine.values)
            else:
                text, target = _line(rng, recent, machine.values, names)
                more = [text]
            grown = None if any(line in lines for line in more) else _grown(more, machine, level)
            if grown:
                break
        if grown is None:
            return None
        lines, recent = lines + more, target
    others = [name for name in grown[0].values if name != recent] if grown else []
    shown = recent if rng.random() < 0.5 else f"{recent} {rng.choice('+-')} {rng.choice(others)}"
    grown = grown and _grown([f"print({shown})"], grown[0], level)
    return ([*lines, f"print({shown})"], grown[0]) if grown else None


def draw(level: int, rng: Random) -> Data:
    """A program whose lines all differ and nearly all matter, with values of few digits and blocks that are short."""
    least, most = {1: (5, 7), 2: (8, 13), 3: (16, 24), 4: (32, 60)}[level]
    share = 0.99 if level == 1 else 0.75
    while True:
        drawn = _try(level, rng)
        if not drawn:
            continue
        lines, machine = drawn
        matters = len(machine.used) >= share * machine.assignments
        # Small numbers come up by themselves far too often: a guess must not be worth much.
        common = abs(machine.printed) < 20 and rng.random() < 0.6
        if matters and not common and least <= machine.steps <= most:
            return {"lines": lines}


def _size(unit: Unit) -> int:
    """About how many tokens a block of it has, with nothing restated in its working."""
    short = " ".join(short for _, short in unit.pieces if short)
    return len(re.findall(" ?[a-z]+|[^a-z]", f"{unit.headline}{short}{unit.summary.lstrip()}"))


def canonical(data: Data) -> str:
    """The program with its variables named in order of appearance."""
    text, names = "\n".join(line.rstrip() for line in data["lines"]), dict[str, str]()
    return re.sub(r"\b[a-z]\b", lambda found: names.setdefault(found[0], f"v{len(names)}"), text)


def _source(data: Data) -> str:
    return "\n".join(data["lines"])


PHRASINGS = (
    lambda data: f"What does this program print?\n{_source(data)}",
    lambda data: f"What is the output of this Python code?\n\n{_source(data)}",
    lambda data: f"{_source(data)}\n\nWhat is printed?",
    lambda data: f"Run this program and give its output:\n{_source(data)}",
)


def answer(data: Data) -> str:
    """The printed integer."""
    return str(_ran(data)[1].printed)


def grade(problem: Problem, text: str) -> Grade:
    """1 for the printed integer."""
    printed = _ran(problem.data)[1].printed
    try:
        given = read_integer(text)
    except AnswerUnreadable as err:
        return Grade(0.0, note=str(err))
    return Grade(1.0) if given == printed else Grade(0.0, note="not what the program prints")


def validate(data: Data) -> Data:
    """A user's ``{"lines": ["a = 3", "print(a + 4)"]}``, checked to run to its end in the tiny language."""
    lines = data.get("lines")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ProblemError(f"lines={str(lines)[:80]}: needs a list of up to {MAX_LINES} program lines as text")
    lines = [line.rstrip() for line in lines]
    run(read_program(lines))
    return {"lines": lines}


# --- demonstrations -----------------------------------------------------------------------------------------------


def _block(unit: Unit, again: bool = False) -> Block:
    return Block(unit.headline + (" again" if again else ""), unit.work, unit.summary)


def _slip(unit: Unit, rng: Random) -> Block | None:
    """A unit whose last result is off by one or ten, or whose test went the wrong way; None where neither can be."""
    found = re.search(r"-?[0-9]+$", unit.work)
    if unit.work.endswith("no"):
        return Block(unit.headline, unit.work.removesuffix("no") + "yes", unit.summary)
    if not found:
        return None
    right = found[0]
    wrong = str(int(right) + rng.choice((1, -1, 10, -10)))
    name = unit.headline.split("; ")[-1].split()[0]
    old, new = (f"prints {right}", f"prints {wrong}") if unit.note else (f"{name}={right}", f"{name}={wrong}")
    work = unit.work[: found.start()] + wrong
    # Where the result stands before its name too, the slip begins there.
    work = work.removesuffix(f"={right} {new}") + f"={wrong} {new}" if work.endswith(f"={right} {new}") else work
    before, there, after = unit.summary.rpartition(old)
    return Block(unit.headline, work, before + new + after) if there else None


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """The run, one unit a block; a slip is noticed by doing its line again, which needs only the values after it."""
    units, machine = _ran(problem.data)
    redoable = [at for at, unit in enumerate(units) if unit.redoable]
    blocks: list[Block] = []
    if style is Style.CORRECTED:
        at, slip = next((at, s) for at in rng.sample(redoable, len(redoable)) if (s := _slip(units[at], rng)))
        redone = [slip, _block(units[at], again=True)]
        blocks = [_block(u) for u in units[:at]] + redone + [_block(u) for u in units[at + 1 :]]
    elif style is not Style.DIRECT:
        for at, unit in enumerate(units):
            blocks.append(_block(unit))
            looks_again = at in redoable and (rng.random() < LOOKED_AGAIN or at == len(units) - 1)
            if style is Style.WANDERING and looks_again:
                blocks.append(_block(unit, again=True))
    return Demonstration(tuple(blocks), str(machine.printed))


# --- checking -----------------------------------------------------------------------------------------------------


def _check(block: Block, unit: Unit, again: bool) -> BlockCheck:
    if block.headline != unit.headline + (" again" if again else ""):
        return BlockCheck(valid=False, winnable=None, note=f"the next line is {unit.headline}")
    if block.summary != unit.summary:
        return BlockCheck(valid=False, winnable=False, note=f"the values are{unit.summary}")
    if block.thoughts != unit.work:
        return BlockCheck(valid=False, winnable=True, note=f"the working is {unit.work}")
    return BlockCheck(valid=True, winnable=True)


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Each block against the next unit of the run, or against the last one where its headline says ``again``."""
    units, _ = _ran(problem.data)
    checks: list[BlockCheck] = []
    done = 0
    for block in blocks:
        again = block.headline.endswith(" again") and done > 0
        if done == len(units) and not again:
            checks.append(BlockCheck(valid=False, winnable=True, note="the program has ended"))
            continue
        checks.append(_check(block, units[done - again], again))
        done += not again and block.headline == units[done].headline
    return tuple(checks)


PROGRAM = Task(
    name="program",
    title="Say what a small Python program prints.",
    levels={
        1: "4 to 6 assignments",
        2: "7 to 13 lines with if and else",
        3: "a loop, 16 to 24 executed lines",
        4: "a loop, 32 or more executed lines",
    },
    draw=draw,
    canonical=canonical,
    phrasings=PHRASINGS,
    answer=answer,
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
)
