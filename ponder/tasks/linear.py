"""Linear equations as terms, and the steps that solve them: expand, collect, move, divide digit by digit, eliminate.

States are compact equations: ``3x+7=2x+13``; ``98e=4508 take 98*40=3920`` is a long division under way, and
``98(e-40)=588`` is the same division with its first digit found. Rows of a system are named E1, E2, E3.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import gcd

from ponder.errors import ProblemError
from ponder.interfaces import Data
from ponder.tasks.working import before_result, times_columns, worked

ROWS = ("E1", "E2", "E3")
_SUM = re.compile(r"-?[0-9]{1,15}(?:\*-?[0-9]{1,15})?(?:[-+][0-9]{1,15}(?:\*-?[0-9]{1,15})?){0,4}")
_PRODUCT = re.compile(r"[-+]?[0-9]+(?:\*-?[0-9]+)?")
_LEXEME = re.compile(r"[0-9]{1,9}|[a-z]|[-+*()=]")
MAX_EQUATION_CHARS, MAX_TERMS = 200, 16


# --- equations as terms -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """``factor*name``, a constant (no name), or ``factor*(inner)``."""

    factor: int
    name: str = ""
    inner: "Side" = ()


Side = tuple[Term, ...]
Equation = tuple[Side, Side]


def show(side: Side) -> str:
    """A side in compact form, such as ``3(x+4)-5``."""
    out = ""
    for term in side:
        body = f"({show(term.inner)})" if term.inner else term.name
        size = "" if body and abs(term.factor) == 1 else str(abs(term.factor))
        out += ("-" if term.factor < 0 else "+" if out else "") + size + body
    return out or "0"


def show_equation(equation: Equation) -> str:
    """Both sides in compact form."""
    return f"{show(equation[0])}={show(equation[1])}"


def _read_side(lexemes: list[str], at: int, inside: bool) -> tuple[Side, int]:
    terms: list[Term] = []
    seen = False
    end = ")" if inside else "="
    while at < len(lexemes) and lexemes[at] != end:
        sign = 1
        if lexemes[at] in "+-":
            sign, at = -1 if lexemes[at] == "-" else 1, at + 1
        elif seen:
            raise ProblemError("two terms without + or - between them")
        seen = True
        number = lexemes[at] if at < len(lexemes) and lexemes[at].isdigit() else ""
        at += bool(number)
        if number and at < len(lexemes) and lexemes[at] == "*":
            at += 1
            if at == len(lexemes) or not (lexemes[at].isalpha() or lexemes[at] == "("):
                raise ProblemError("after * a variable or a bracket must stand, as in 3*x or 3*(x + 4)")
        factor = sign * int(number or 1)
        count = len(terms)
        if at < len(lexemes) and lexemes[at].isalpha():
            terms, at = [*terms, Term(factor, lexemes[at])], at + 1
        elif at < len(lexemes) and lexemes[at] == "(" and not inside:
            inner, at = _read_side(lexemes, at + 1, inside=True)
            terms = [*terms, Term(factor, "", inner)]
        elif number:
            terms.append(Term(factor))
        else:
            raise ProblemError("a term is missing, or brackets stand inside brackets")
        if not factor:
            terms = terms[:count]
        if len(terms) > MAX_TERMS:
            raise ProblemError(f"more than {MAX_TERMS} terms on one side")
    if not seen or at >= len(lexemes) or (inside and not terms):
        raise ProblemError("a side or a bracket is empty or not closed")
    return tuple(terms), at + 1


def read_equation(text: str) -> Equation:
    """The two sides of an equation such as ``3(x + 4) - 5 = 2*x + 13``; ProblemError says what is wrong with others."""
    if len(text) > MAX_EQUATION_CHARS:
        raise ProblemError(f"an equation has {len(text)} characters, more than {MAX_EQUATION_CHARS}")
    bare = text.replace(" ", "")
    lexemes = _LEXEME.findall(bare)
    if "".join(lexemes) != bare or lexemes.count("=") != 1:
        raise ProblemError(f"equation {text!r}: needs integers, one-letter variables, + - * ( ) and one =")
    try:
        left, at = _read_side(lexemes, 0, inside=False)
        right, _ = _read_side([*lexemes[at:], "="], 0, inside=False)
    except ProblemError as err:
        raise ProblemError(f"equation {text!r}: {err}") from None
    return left, right


def value_of(side: Side, values: Mapping[str, int]) -> int:
    """What a side is worth at these values of its variables."""
    return sum(t.factor * (value_of(t.inner, values) if t.inner else values[t.name] if t.name else 1) for t in side)


def linear_form(equation: Equation, names: Sequence[str]) -> list[int]:
    """Coefficients of left minus right, then the constant: ``3x+7=2x+13`` is [1, -6]."""
    zero = dict.fromkeys(names, 0)
    constant = value_of(equation[0], zero) - value_of(equation[1], zero)
    ones = [{**zero, name: 1} for name in names]
    return [value_of(equation[0], one) - value_of(equation[1], one) - constant for one in ones] + [constant]


def solve(equations: Sequence[Equation], names: Sequence[str]) -> dict[str, Fraction] | None:
    """The one solution, or None where there is none or more than one."""
    rows = [[Fraction(c) for c in linear_form(equation, names)] for equation in equations]
    for column in range(len(names)):
        pivot = next((r for r in range(column, len(rows)) if rows[r][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [c / rows[column][column] for c in rows[column]]
        for r in range(len(rows)):
            if r != column:
                rows[r] = [c - rows[r][column] * p for c, p in zip(rows[r], rows[column], strict=True)]
    return {name: -row[-1] for name, row in zip(names, rows, strict=True)}


def read_problem(data: Data) -> tuple[list[Equation], tuple[str, ...], dict[str, int]]:
    """Equations, variables and solution of checked data."""
    equations, names = [read_equation(text) for text in data["equations"]], tuple(data["variables"])
    solution = solve(equations, names)
    assert solution is not None
    return equations, names, {name: int(value) for name, value in solution.items()}


def assigned(values: Mapping[str, int]) -> str:
    """Values as summaries state them, such as ``x=3 y=-2``."""
    return " ".join(f"{name}={value}" for name, value in values.items())


# --- arithmetic in words ------------------------------------------------------------------------------------------


def read_sum(text: str) -> int:
    """What sums and products of integers such as ``3-2*2`` come to; ValueError for other text."""
    if not _SUM.fullmatch(text):
        raise ValueError(f"cannot read {text[:40]!r}")
    total = 0
    for part in _PRODUCT.findall(text):
        factors = part.lstrip("+").split("*")
        total += int(factors[0]) * int(factors[1] if len(factors) > 1 else 1)
    return total


def nines(number: int) -> tuple[str, int]:
    """``1218:1343``: the remainders by nine of 1, 12, 121 and 1218."""
    rest, shown = 0, ""
    for digit in str(number):
        rest = (rest + int(digit)) % 9
        shown += str(rest)
    return f"{number}:{shown}", rest


# --- one step of a solution ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What is known beyond the prompt: rows that were changed, solved variables, and a division under way."""

    rows: dict[int, Equation] = field(default_factory=dict)
    solved: dict[str, int] = field(default_factory=dict)
    dividing: int | None = None
    """The row that is being divided digit by digit."""
    take: int = 0
    """The multiple to subtract from that row next."""

    def show(self, names: Sequence[str]) -> str:
        """The summary text, such as ``E2:-7y=14 take 7 z=2``."""
        parts: list[str] = []
        for r in sorted(self.rows):
            parts.append((f"{ROWS[r]}:" if len(names) > 1 else "") + show_equation(self.rows[r]))
            if self.take and r == self.dividing:
                factor = abs(self.rows[r][0][0].factor)
                parts.append(f"take {factor}*{self.take // factor}={self.take}")
        return " ".join(parts + [f"{name}={self.solved[name]}" for name in names if name in self.solved])

    def settled(self) -> "State":
        """The same state with rows such as ``x=6`` counted as solved."""
        rows, solved = dict(self.rows), dict(self.solved)
        for r, (left, right) in self.rows.items():
            alone = len(left) == 1 and left[0].factor == 1 and left[0].name
            if alone and len(right) < 2 and not any(term.name or term.inner for term in right):
                solved[left[0].name] = right[0].factor if right else 0
                del rows[r]
        return replace(self, rows=rows, solved=solved)


Step = tuple[str, str, State]
"""Headline, thoughts, and the state after them."""


def _moved(name: str, size: int) -> str:
    body = name if name and abs(size) == 1 else f"{abs(size)}{name}"
    return f"{'take' if size > 0 else 'add'} {body}"


def _without(side: Side, *gone: Term) -> Side:
    return tuple(term for term in side if all(term is not g for g in gone))


def _tidy(equation: Equation, names: Sequence[str]) -> tuple[str, str, Equation] | None:
    """The next step towards ``variables = constant``, or None where that is reached."""
    for which, side in enumerate(equation):
        new: Side | None = None
        head, thoughts = "", ""
        bracket = next((term for term in side if term.inner), None)
        if bracket:
            work = [worked(bracket.factor, "*", t.factor) for t in bracket.inner]
            spread = [Term(value, t.name) for (_, value), t in zip(work, bracket.inner, strict=True)]
            at = side.index(bracket)
            new = (*side[:at], *spread, *side[at + 1 :])
            head, thoughts = f"expand {show((bracket,))}", " ".join(text for text, _ in work)
        else:
            for name in (*names, ""):
                like = [term for term in side if term.name == name]
                if len(like) > 1:
                    thoughts, total = worked(like[0].factor, "+", like[1].factor)
                    put = (Term(total, name),) if total else ()
                    at = next(i for i, term in enumerate(side) if term is like[0])
                    new = (*side[:at], *put, *_without(side[at + 1 :], like[1]))
                    head = show((like[0], like[1]))
                    break
        if new is not None:
            return head, thoughts, (new, equation[1]) if which == 0 else (equation[0], new)
    left, right = equation
    for term in right:
        if term.name:
            old = next((t for t in left if t.name == term.name), Term(0, term.name))
            thoughts, total = worked(old.factor, "-", term.factor)
            put = (Term(total, term.name),) if total else ()
            moved = tuple(x for t in left for x in (put if t is old else (t,))) if old in left else (*put, *left)
            return _moved(term.name, term.factor), thoughts, (moved, _without(right, term))
    constant = next((term for term in left if not term.name), None)
    if constant:
        thoughts, total = worked(right[0].factor if right else 0, "-", constant.factor)
        return _moved("", constant.factor), before_result(thoughts), (_without(left, constant), (Term(total),))
    return None


def digit_work(size: int, factor: int, digit: int, zeros: int) -> str:
    """One digit of a quotient: the digits of the size that it is found from, and the multiple to subtract.

    ``823/98 98*80 8*8=64 9*8+6=78`` is the digit 8 of 8232/98; a product of the times table stands alone.
    """
    head = f"{str(size)[: len(str(size)) - zeros]}/{factor} "
    multiple = f"{factor}*{digit}{'0' * zeros} " if zeros or factor > 9 else ""
    return f"{head}{multiple}{times_columns(factor, digit)}"


def _divide(row: int, state: State, under: bool) -> Step:
    """One step of the long division of a row with a single variable; `under` takes one less than the best digit."""
    left, right = state.rows[row]
    (term,), total = left, right[0].factor if right else 0
    rows, size, sign = dict(state.rows), abs(total), -1 if total < 0 else 1
    inner = term.inner or (Term(1, term.name),)
    name, offset = inner[0].name, -inner[1].factor if len(inner) > 1 else 0
    if term.factor < 0:
        rows[row] = ((Term(-term.factor, name),), (Term(-total),))
        return "flip signs", f"{term.factor} to {-term.factor} {total} to {-total}", replace(state, rows=rows).settled()
    if state.take:
        offset += sign * state.take // term.factor
        rest = (Term(1, name), Term(-offset))
        thoughts, left_over = worked(size, "-", state.take)
        rows[row] = ((Term(term.factor, "", rest),), (Term(sign * left_over),))
        return "subtract", before_result(thoughts), replace(state, rows=rows, take=0)
    quotient = size // term.factor
    zeros = len(str(quotient)) - 1
    place = 10**zeros
    digit = quotient // place
    digit -= int(under and digit > 1)
    thoughts = digit_work(size, term.factor, digit, zeros)
    if digit * place == quotient:
        del rows[row]
        solved = {**state.solved, name: offset + sign * quotient}
        return "divide", thoughts, replace(state, rows=rows, solved=solved, dividing=None)
    return "divide", thoughts, replace(state, take=digit * place * term.factor, dividing=row)


def _combine(row: int, pivot: int, name: str, table: list[Equation], state: State, names: Sequence[str]) -> Step:
    """Scale a row, or take a multiple of the pivot row from it, so that the name leaves it."""
    mine = {t.name: t.factor for t in (*table[row][0], *table[row][1])}
    theirs = {t.name: t.factor for t in (*table[pivot][0], *table[pivot][1])}
    a, b = theirs[name], mine[name]
    scale, times = abs(a) // gcd(a, b), b // a
    work: list[str] = []
    new: dict[str, int] = {}
    for key in (*names, ""):
        if scale > 1 and (key in mine):
            text, new[key] = worked(mine[key], "*", scale)
            work.append(text)
        elif scale == 1 and key != name and (key in mine or key in theirs):
            text, product = worked(theirs.get(key, 0), "*", abs(times))
            work += [text] if abs(times) > 1 and product else []
            text, new[key] = worked(mine.get(key, 0), "-" if times > 0 else "+", product)
            work.append(text)
    left = tuple(Term(new[key], key) for key in names if new.get(key))
    sign, many = "-" if times > 0 else "+", "" if abs(times) == 1 else f"{abs(times)}*"
    head = f"{ROWS[row]}*{scale}" if scale > 1 else f"{ROWS[row]}{sign}{many}{ROWS[pivot]}"
    return head, " ".join(work), replace(state, rows={**state.rows, row: (left, (Term(new.get("", 0)),))})


def _put(row: int, name: str, table: list[Equation], state: State) -> Step:
    """Put a solved variable into a row."""
    left, right = table[row]
    term = next(t for t in left if t.name == name)
    first, product = worked(term.factor, "*", state.solved[name])
    second, total = worked(right[0].factor if right else 0, "-", product)
    rows = {**state.rows, row: (_without(left, term), (Term(total),))}
    return f"put {name}={state.solved[name]} in {ROWS[row]}", f"{first} {second}", replace(state, rows=rows).settled()


def next_step(equations: list[Equation], names: Sequence[str], state: State, under: bool = False) -> Step | None:
    """The next step from a state, the same for the same state; None where everything is solved."""
    table = [state.rows.get(r, equation) for r, equation in enumerate(equations)]
    if len(state.solved) == len(names):
        return None
    if state.dividing is not None:
        return _divide(state.dividing, state, under)
    if not state.solved:
        for row, equation in enumerate(table):
            tidied = _tidy(equation, names)
            if tidied:
                after = replace(state, rows={**state.rows, row: tidied[2]})
                return tidied[0], tidied[1], after.settled() if len(names) == 1 else after
    pivots: dict[str, int] = {}
    for name in names:
        has = [r for r in range(len(names)) if any(t.name == name for t in table[r][0]) and r not in pivots.values()]
        if not has:
            continue
        pivots[name] = has[0]
        if not state.solved and len(has) > 1:
            return _combine(has[1], has[0], name, table, state, names)
    return _back(table, names, state, under)


def _back(table: list[Equation], names: Sequence[str], state: State, under: bool) -> Step:
    """Back-substitution: the row with the fewest unknown variables comes next."""
    unknown = [[t for t in left if t.name not in state.solved] for left, _ in table]
    # A row that was solved away stands in the prompt again, perhaps with brackets: it is not needed.
    usable = [r for r in range(len(names)) if unknown[r] and _tidy(table[r], names) is None]
    row = min(usable, key=lambda r: len(unknown[r]))
    known = [t.name for t in table[row][0] if t.name in state.solved]
    if known:
        return _put(row, known[0], table, state)
    (term,), right = table[row]
    total = right[0].factor if right else 0
    if term.factor == 1:
        rows = {r: e for r, e in state.rows.items() if r != row}
        solved = {**state.solved, term.name: total}
        return f"read {term.name}", f"{term.name}={total}", replace(state, rows=rows, solved=solved)
    return _divide(row, replace(state, rows={**state.rows, row: table[row]}), under)
