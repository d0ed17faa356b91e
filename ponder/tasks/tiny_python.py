"""A tiny subset of Python, parsed and executed by hand: one-letter integers, + - * // %, if, for, while, print.

Running a program yields *units*: the pieces of execution that a thought works through one block at a time. A unit is
a simple line, a run of constant assignments, an if-statement, or one round of a loop whose body is simple.

A unit's working never leaves a step to be guessed: a line reads ``s = u + 30``, then ``23+30 3+0=3 2+3=5 s=53`` with
the values put in, the digit columns, and the result under its name. Sums with signs are first brought into the order
in which they are worked (``23-47 -(47-23) 7-3=4 4-2=2``), and the executed branch of an if is written out before it.
Every name has a space before it, even at the start, because a tokenizer gives ``s`` and `` s`` different tokens.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ponder.errors import ProblemError
from ponder.tasks.working import add_columns, sub_columns, times_columns

MAX_LINES, MAX_LINE_CHARS, MAX_DEPTH, MAX_STEPS, MAX_VALUE = 40, 80, 3, 500, 1_000_000
MAX_ATOMS, SIMPLE_BODY = 4, 3

_LEXEME = re.compile(r"[0-9]{1,7}|[a-z]|//|[-+*%]")
_COMPARISON = re.compile(r"<=|>=|==|!=|<|>")
COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_ASSIGN = re.compile(r"([a-z]) (\+|-|\*|//|%)?= ([^=]+)")
_FOR = re.compile(r"for ([a-z]) in range\(([a-z]|[0-9]{1,4})(?:, ([a-z]|[0-9]{1,4}))?\):")

Atom = int | str
Expr = tuple[Atom | str, ...]
"""Atoms and operators in turn, such as ("a", "+", 4)."""
Piece = tuple[str, str]
"""A piece of working as a thought shows it, and in short, with nothing restated: draws measure programs by that."""


@dataclass(frozen=True)
class Line:
    """One line with what it governs: the body of an if or a loop, and the lines after else."""

    kind: str
    """assign, print, if, for or while."""
    text: str
    target: str = ""
    expr: Expr = ()
    test: tuple[Expr, str, Expr] | None = None
    body: tuple["Line", ...] = ()
    orelse: tuple["Line", ...] = ()
    inline: bool = False


@dataclass(frozen=True)
class Unit:
    """One piece of execution, as a block shows it."""

    headline: str
    pieces: tuple[Piece, ...]
    values: dict[str, int]
    note: str = ""
    """yes or no after a test, again or done in a loop, prints N at the end."""
    constant: bool = False
    redoable: bool = False
    """Whether the values after it are enough to work it out again."""

    @property
    def summary(self) -> str:
        """All values, then the note: `` a=3 b=7 again``."""
        return _spaced([*(f"{name}={value}" for name, value in self.values.items()), self.note])

    @property
    def work(self) -> str:
        """The working, every step of it visible."""
        return _spaced(shown for shown, _ in self.pieces)


def _spaced(parts: Iterable[str]) -> str:
    """The parts that are not empty, with a space before each name."""
    text = " ".join(part for part in parts if part)
    return f" {text}" if text[:1].isalpha() else text


# --- reading ------------------------------------------------------------------------------------------------------


def read_expr(text: str) -> Expr:
    """Atoms joined by operators, without brackets; a leading minus belongs to a number."""
    lexemes = _LEXEME.findall(text)
    if "".join(lexemes) != text.replace(" ", "") or not lexemes:
        raise ProblemError(f"cannot read {text[:40]!r}: needs one-letter variables, integers, + - * // %")
    if lexemes[0] == "-" and len(lexemes) > 1 and lexemes[1].isdigit():
        lexemes[:2] = ["-" + lexemes[1]]
    expr: Expr = tuple(int(x) if x.lstrip("-").isdigit() else x for x in lexemes)
    atoms, operators = expr[::2], expr[1::2]
    fits = len(expr) % 2 == 1 and len(atoms) <= MAX_ATOMS
    if not fits or any(a in _OPERATORS for a in atoms) or any(o not in _OPERATORS for o in operators):
        raise ProblemError(
            f"cannot read {text[:40]!r}: needs up to {MAX_ATOMS} values with an operator between each two"
        )
    return expr


_OPERATORS = ("+", "-", "*", "//", "%")


def _read_test(text: str) -> tuple[Expr, str, Expr]:
    parts, signs = _COMPARISON.split(text), _COMPARISON.findall(text)
    if len(parts) != 2:
        raise ProblemError(f"condition {text[:40]!r}: needs one comparison, such as a < b")
    return read_expr(parts[0]), signs[0], read_expr(parts[1])


def _read_simple(text: str) -> Line:
    found = _ASSIGN.fullmatch(text)
    if not found:
        raise ProblemError(f"line {text[:60]!r}: needs an assignment such as a = b + 4, if, for, while or print")
    target, operator, right = found.groups()
    expr = read_expr(right)
    if operator and len(expr) > 1:
        raise ProblemError(f"line {text[:60]!r}: one value must stand after {operator}=")
    return Line("assign", text, target, (target, operator, *expr) if operator else expr)


def _read_block(lines: list[tuple[int, str]], at: int, indent: int, depth: int) -> tuple[tuple[Line, ...], int]:
    """The statements at one indentation from line `at` on, and where they end."""
    if depth > MAX_DEPTH:
        raise ProblemError(f"blocks are nested more than {MAX_DEPTH} deep")
    block: list[Line] = []
    while at < len(lines) and lines[at][0] == indent:
        text, at = lines[at][1], at + 1
        if text.startswith("print(") and text.endswith(")"):
            block.append(Line("print", text, expr=read_expr(text[6:-1])))
            continue
        keyword, _, rest = text.partition(" ")
        if keyword not in ("if", "while", "for"):
            block.append(_read_simple(text))
            continue
        condition, _, inline = rest.partition(":")
        loop = _FOR.fullmatch(text)
        if keyword == "for" and not loop:
            raise ProblemError(f"line {text[:60]!r}: needs the form for i in range(3): or range(1, 4):")
        test = None if keyword == "for" else _read_test(condition)
        if inline.strip():
            if keyword != "if" or not inline.startswith(" "):
                raise ProblemError(f"line {text[:60]!r}: only an if may hold its body on the same line")
            block.append(Line("if", text, test=test, body=(_read_simple(inline[1:]),), inline=True))
            continue
        if at >= len(lines) or lines[at][0] <= indent:
            raise ProblemError(f"line {text[:60]!r}: its body must follow, indented")
        body, at = _read_block(lines, at, lines[at][0], depth + 1)
        orelse: tuple[Line, ...] = ()
        if keyword == "if" and at + 1 < len(lines) and lines[at] == (indent, "else:") and lines[at + 1][0] > indent:
            orelse, at = _read_block(lines, at + 1, lines[at + 1][0], depth + 1)
        target, expr = "", ()
        if loop:
            first, last = (loop[2], loop[3]) if loop[3] else ("0", loop[2])
            target, expr = loop[1], (*read_expr(first), "to", *read_expr(last))
        block.append(Line(keyword, text, target, expr, test, body, orelse))
    return tuple(block), at


def read_lines(source: Sequence[str]) -> tuple[Line, ...]:
    """The statements of some lines; ProblemError names the line that the tiny language does not have."""
    if not 1 <= len(source) <= MAX_LINES or any(len(line) > MAX_LINE_CHARS for line in source):
        raise ProblemError(f"a program needs 1 to {MAX_LINES} lines of at most {MAX_LINE_CHARS} characters")
    lines = [(len(line) - len(line.lstrip(" ")), line.strip(" ")) for line in source]
    block, at = _read_block(lines, 0, 0, 1)
    if at < len(lines):
        raise ProblemError(f"line {source[at][:60]!r}: its indentation does not fit")
    return block


# --- arithmetic in words ------------------------------------------------------------------------------------------


def _sum(a: int, operator: str, b: int) -> tuple[str, str, str, int]:
    """A sum as it is worked, its columns, the sum without double signs, and its value; below 20 without columns."""
    if b < 0:
        operator, b = "-" if operator == "+" else "+", -b
    plain, change = f"{a}{operator}{b}", b if operator == "+" else -b
    value = a + change
    if abs(a) < 20 and b < 20:
        return plain, "", plain, value
    low, high = sorted((abs(a), b))
    alike = (a < 0) == (change < 0)
    worked, columns = (f"{abs(a)}+{b}", add_columns(abs(a), b)) if alike else (f"{high}-{low}", sub_columns(high, low))
    return f"-({worked})" if value < 0 else worked, columns, plain, value


def _product(a: int, b: int) -> str:
    """The columns of a * b for a, b >= 0; none where the times table has it."""
    small, large = sorted((a, b))
    if small > 9:
        tens, ones = large * (small // 10), large * (small % 10)
        first, second = operate(large, "*", small // 10)[0][0], operate(large, "*", small % 10)[0][0]
        return f"{first} {second} {tens * 10}+{ones} {add_columns(tens * 10, ones)}"
    return times_columns(large, small) if small > 1 and large > 9 else ""


def _division(a: int, operator: str, b: int) -> str:
    """The columns of a // b or a % b, one prefix of a after the other: ``137//5`` takes ``13//5=2 13%5=3 37//5=7``."""
    work: list[str] = []
    if a >= 10 * b > 0:
        rest = 0
        for digit in str(a):
            prefix = rest * 10 + int(digit)
            rest = prefix % b
            if prefix >= b or work:
                work += ([f"{prefix}//{b}={prefix // b}"] if operator == "//" else []) + [f"{prefix}%{b}={rest}"]
    return " ".join(work[:-1] if operator == "//" else work)


def operate(a: int, operator: str, b: int) -> tuple[Piece, int]:
    """The working of one operation, and its value."""
    given = worked = plain = f"{a}{operator}{b}"
    if operator in ("//", "%"):
        if b == 0:
            raise ProblemError("the program divides by zero")
        columns, value = _division(a, operator, b), a // b if operator == "//" else a % b
    elif operator == "*":
        columns, value = _product(abs(a), abs(b)), a * b
    else:
        worked, columns, plain, value = _sum(a, operator, b)
    if abs(value) > MAX_VALUE:
        raise ProblemError(f"a value of the program goes beyond {MAX_VALUE:,}")
    restated = f"{given} {worked}" if worked != given else given
    shown = f"{restated} {columns}" if columns else f"{restated}={value}"
    return (shown, f"{columns} {plain}={value}".lstrip()), value


def evaluate(expr: Expr, values: Mapping[str, int]) -> tuple[list[Piece], int]:
    """The working of an expression, products before sums, and its value; what is left is written before each step."""
    parts: list[Atom] = []
    for position, part in enumerate(expr):
        if position % 2 == 0 and isinstance(part, str):
            if part not in values:
                raise ProblemError(f"variable {part} is used before it has a value")
            part = values[part]
        parts.append(part)
    work: list[Piece] = []
    for level in (("*", "//", "%"), ("+", "-")):
        at = 1
        while at < len(parts):
            a, operator, b = parts[at - 1 : at + 2]
            if operator in level and isinstance(a, int) and isinstance(b, int):
                if len(parts) > 3:
                    work.append(("".join(map(str, parts)), ""))
                piece, parts[at - 1] = operate(a, str(operator), b)
                work.append(piece)
                del parts[at : at + 2]
            else:
                at += 2
    assert isinstance(parts[0], int)
    return work, parts[0]


# --- running ------------------------------------------------------------------------------------------------------


@dataclass
class Machine:
    """The variables of a run, and which assignments each of their values rests on."""

    values: dict[str, int] = field(default_factory=dict)
    rests_on: dict[str, frozenset[int]] = field(default_factory=dict)
    control: frozenset[int] = frozenset()
    steps: int = 0
    assignments: int = 0
    used: frozenset[int] = frozenset()
    printed: int = 0

    def copy(self) -> "Machine":
        """A machine that can run on without changing this one."""
        return replace(self, values=dict(self.values), rests_on=dict(self.rests_on))

    def tick(self) -> None:
        """Count one executed line."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ProblemError(f"the program runs more than {MAX_STEPS:,} steps")

    def sources(self, *exprs: Expr) -> frozenset[int]:
        """The assignments behind the variables of some expressions."""
        names = [part for expr in exprs for part in expr if isinstance(part, str)]
        return frozenset().union(*(self.rests_on.get(name, frozenset()) for name in names))

    def put(self, name: str, value: int, sources: frozenset[int]) -> None:
        """Set a variable, and note what its value rests on."""
        self.assignments += 1
        self.values[name] = value
        self.rests_on[name] = sources | self.control | {self.assignments}


def _assign(line: Line, machine: Machine, inside: bool = False) -> list[Piece]:
    machine.tick()
    work, value = evaluate(line.expr, machine.values)
    machine.put(line.target, value, machine.sources(line.expr))
    bound = f"{line.target}={value}"
    return [*work, (bound, bound if inside else "" if work else str(value))]


def _same(text: str) -> Piece:
    return text, text


def _test(line: Line, machine: Machine) -> tuple[list[Piece], bool]:
    assert line.test
    machine.tick()
    left, sign, right = line.test
    (work_a, a), (work_b, b) = evaluate(left, machine.values), evaluate(right, machine.values)
    true = COMPARE[sign](a, b)
    machine.control |= machine.sources(left, right)
    return [*work_a, *work_b, _same(f"{a}{sign}{b}"), _same("yes" if true else "no")], true


def _simple(body: Sequence[Line]) -> bool:
    return len(body) <= SIMPLE_BODY and all(line.kind == "assign" or line.inline for line in body)


def _do(body: Sequence[Line], machine: Machine, restated: bool = False) -> list[Piece]:
    """Execute simple lines, each written out before its working where that is asked."""
    work: list[Piece] = []
    for line in body:
        work += [(line.text, "")] * restated
        if line.kind == "assign":
            work += _assign(line, machine, inside=True)
        else:
            control = machine.control
            tested, true = _test(line, machine)
            work += tested + (_do(line.body, machine) if true else [])
            machine.control = control
    return work


def _run_if(line: Line, machine: Machine) -> Iterator[Unit]:
    control = machine.control
    work, true = _test(line, machine)
    branch = line.body if true else line.orelse
    if _simple(line.body) and _simple(line.orelse):
        work += _do(branch, machine, restated=not line.inline)
        yield Unit(line.text, tuple(work), dict(machine.values), redoable=not branch)
    else:
        yield Unit(line.text, tuple(work), dict(machine.values), "yes" if true else "no")
        yield from execute(branch, machine)
    machine.control = control


def _rounds(line: Line, machine: Machine) -> Iterator[tuple[list[Piece], bool]]:
    """The test before each round of a loop; the last one is false."""
    if line.kind == "while":
        while True:
            yield (tested := _test(line, machine))
            if not tested[1]:
                return
    first, last = (evaluate((line.expr[i],), machine.values)[1] for i in (0, 2))
    for value in range(first, max(first, last) + 1):
        machine.tick()
        bound = f"{line.target}={value}"
        work = [_same(f"{value - 1}+1={value}")] if value > first else [("", bound)] * (value < last)
        work += [_same(f"{value}<{last}"), _same("yes" if value < last else "no")]
        if value < last:
            work.append((bound, ""))
            machine.values[line.target] = value
            machine.rests_on[line.target] = machine.sources((line.expr[0],)) | machine.control
        yield work, value < last


def _run_loop(line: Line, machine: Machine) -> Iterator[Unit]:
    control, simple = machine.control, _simple(line.body)
    for work, true in _rounds(line, machine):
        if simple and true:
            work += _do(line.body, machine)
        note = ("again" if true else "done") if simple else ("yes" if true else "no")
        yield Unit(line.text, tuple(work), dict(machine.values), note)
        if true and not simple:
            yield from execute(line.body, machine)
    machine.control = control


def execute(lines: Sequence[Line], machine: Machine) -> Iterator[Unit]:
    """Run statements on a machine, one unit after the other."""
    for line in lines:
        if line.kind == "assign":
            constant = len(line.expr) == 1 and isinstance(line.expr[0], int)
            work = _assign(line, machine)
            free = line.target not in line.expr
            yield Unit(line.text, tuple(work), dict(machine.values), constant=constant, redoable=free)
        elif line.kind == "print":
            machine.tick()
            work, machine.printed = evaluate(line.expr, machine.values)
            machine.used = machine.sources(line.expr)
            note = f"prints {machine.printed}"
            work.append((note, "" if work else str(machine.printed)))
            yield Unit(line.text, tuple(work), dict(machine.values), note, redoable=True)
        else:
            yield from (_run_if if line.kind == "if" else _run_loop)(line, machine)
