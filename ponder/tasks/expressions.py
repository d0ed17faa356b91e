"""Whole-number expressions with + - * / and brackets: reading, writing, and the one operation that comes next.

An expression is a sum of signed terms, a term a product of factors, a factor a number or a bracketed sum. Numbers in it
are never negative: a minus sign moves to the front of its term (``5*(-12)`` is ``-5*12``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ponder.errors import ProblemError
from ponder.tasks.working import residues

MAX_CHARS, MAX_NUMBERS, MAX_DEPTH, MAX_DIGITS = 1_000, 40, 8, 18
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-"})


@dataclass(frozen=True)
class Term:
    """A signed product; the first operator is always ``*``."""

    sign: int
    factors: tuple[tuple[str, int | Sum], ...]


@dataclass(frozen=True)
class Sum:
    """Terms, added left to right."""

    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Operation:
    """What comes next, as it is written: only `left` may be negative, and only for + and -."""

    op: str
    left: int
    right: int
    inner: bool
    """Whether it stands in brackets."""

    @property
    def text(self) -> str:
        """The operation as it is written, such as ``-12+30``."""
        return f"{self.left}{self.op}{self.right}"


@dataclass
class _Open:
    """A sum that is being read."""

    terms: list[Term] = field(default_factory=list)
    factors: list[tuple[str, int | Sum]] = field(default_factory=list)
    sign: int = 1
    op: str = "*"


def read(text: str) -> Sum:
    """The expression that the text spells; ProblemError says what is wrong with it."""
    if len(text) > MAX_CHARS:
        raise ProblemError(f"the expression has {len(text)} characters, more than {MAX_CHARS}")
    stack, expecting, minus, numbers = [_Open()], True, False, 0
    for part in _parts(text.translate(_SIGNS)):
        top, minus_before, minus = stack[-1], minus, False
        if expecting and part.isdigit():
            numbers += 1
            _take(top, int(part))
            expecting = False
        elif expecting and part == "(" and len(stack) <= MAX_DEPTH:
            stack.append(_Open())
        elif expecting and part == "-" and not minus_before:
            top.sign, minus = -top.sign, True
        elif not expecting and part in ("*", "/"):
            top.op, expecting = part, True
        elif not expecting and part in ("+", "-"):
            _close_term(top)
            top.sign, expecting = (1 if part == "+" else -1), True
        elif not expecting and part == ")" and len(stack) > 1:
            _take(stack[-2], _close(stack.pop()))
        else:
            raise ProblemError(f"cannot read {text[:60]!r} at {part!r}: use whole numbers, + - * / and brackets")
        if numbers > MAX_NUMBERS:
            raise ProblemError(f"the expression has more than {MAX_NUMBERS} numbers")
    if expecting or len(stack) > 1:
        raise ProblemError(f"{text[:60]!r} ends too early")
    return _close(stack[0])


def _parts(text: str) -> list[str]:
    parts, index = [], 0
    while index < len(text):
        end = index + 1
        if text[index] in "0123456789":
            while end < len(text) and text[end] in "0123456789":
                end += 1
            if end - index > MAX_DIGITS:
                raise ProblemError(f"a number has more than {MAX_DIGITS} digits")
        if text[index] not in "0123456789+-*/() ":
            raise ProblemError(f"{text[index]!r} does not belong in an expression of + - * / and brackets")
        if text[index] != " ":
            parts.append(text[index:end])
        index = end
    return parts


def _take(top: _Open, factor: int | Sum) -> None:
    """Adds a factor; a bracket around a single factor falls away and leaves its sign to the term."""
    while isinstance(factor, Sum) and len(factor.terms) == 1 and len(factor.terms[0].factors) == 1:
        top.sign *= factor.terms[0].sign
        factor = factor.terms[0].factors[0][1]
    top.factors.append((top.op, factor))
    top.op = "*"


def _close_term(top: _Open) -> None:
    # A lone zero has no sign, so that one value has one spelling.
    sign = 1 if not top.terms and top.factors == [("*", 0)] else top.sign
    top.terms.append(Term(sign, tuple(top.factors)))
    top.factors, top.sign = [], 1


def _close(top: _Open) -> Sum:
    _close_term(top)
    return Sum(tuple(top.terms))


def write(expression: Sum, gap: str = "") -> str:
    """The expression as text, with `gap` around its operators; nested at most MAX_DEPTH deep."""
    parts: list[str] = []
    for index, term in enumerate(expression.terms):
        if index:
            parts.append(f"{gap}{'+' if term.sign > 0 else '-'}{gap}")
        elif term.sign < 0:
            parts.append("-")
        for number, (op, factor) in enumerate(term.factors):
            text = str(factor) if isinstance(factor, int) else f"({write(factor, gap)})"
            parts.append(f"{gap}{op}{gap}{text}" if number else text)
    return "".join(parts)


def ordered(expression: Sum) -> Sum:
    """The expression with the terms of every sum and the factors of every product in one fixed order."""
    terms: list[Term] = []
    for term in expression.terms:
        factors = [(op, ordered(factor) if isinstance(factor, Sum) else factor) for op, factor in term.factors]
        # "*" sorts before "/", so that a product still begins with a factor.
        factors.sort(key=lambda part: (part[0], str(part[1]) if isinstance(part[1], int) else write(part[1])))
        terms.append(Term(term.sign, tuple(factors)))
    return Sum(tuple(sorted(terms, key=lambda term: write(Sum((term,))))))


def flattened(expression: Sum) -> Sum:
    """The expression without the brackets that only group: ``a-(b-c)`` is ``a-b+c``, ``a/(b*c)`` is ``a/b/c``."""
    terms: list[Term] = []
    for term in map(_flat_product, expression.terms):
        alone = term.factors[0][1] if len(term.factors) == 1 else None
        inner = alone.terms if isinstance(alone, Sum) else (replace(term, sign=1),)
        terms += [replace(one, sign=term.sign * one.sign) for one in inner]
    return Sum(tuple(terms))


def _flat_product(term: Term) -> Term:
    """A term with the products in its brackets taken out of them; the first factor stays one that multiplies."""
    sign, factors = term.sign, list[tuple[str, int | Sum]]()
    for op, factor in term.factors:
        inner = flattened(factor) if isinstance(factor, Sum) else factor
        if isinstance(inner, Sum) and len(inner.terms) == 1:
            (only,) = inner.terms
            sign *= only.sign
            factors += [("*" if op == inner_op else "/", one) for inner_op, one in only.factors]
        else:
            factors.append((op, inner))
    return Term(sign, tuple(factors))


def value(expression: Sum) -> int | None:
    """The value, or None where a division is not exact."""
    total = 0
    for term in expression.terms:
        product = term.sign
        for op, factor in term.factors:
            number = factor if isinstance(factor, int) else value(factor)
            if number is None or (op == "/" and (number == 0 or product % number)):
                return None
            product = product * number if op == "*" else product // number
        total += product
    return total


def following(expression: Sum) -> Operation | None:
    """The next operation: in the bracket that closes first, * and / before + and -, from left to right."""
    inner, terms = False, expression.terms
    while nested := next((factor for term in terms for _, factor in term.factors if isinstance(factor, Sum)), None):
        inner, terms = True, nested.terms
    for term in terms:
        if len(term.factors) > 1:
            (_, left), (op, right) = term.factors[:2]
            assert isinstance(left, int) and isinstance(right, int)
            return Operation(op, left, right, inner)
    if len(terms) == 1:
        return None
    left, right = (term.factors[0][1] for term in terms[:2])
    assert isinstance(left, int) and isinstance(right, int)
    return Operation("+" if terms[1].sign > 0 else "-", terms[0].sign * left, right, inner)


def reduced(expression: Sum, result: int) -> Sum:
    """The expression with the result in the place of its next operation."""
    done = False
    whole = _Open()
    for term in expression.terms:
        whole.sign = term.sign
        nested = next((index for index, (_, factor) in enumerate(term.factors) if isinstance(factor, Sum)), None)
        for index, (op, factor) in enumerate(term.factors):
            whole.op = op
            if not done and index == nested and isinstance(factor, Sum):
                factor, done = reduced(factor, result), True
            _take(whole, factor)
        _close_term(whole)
    return Sum(tuple(whole.terms)) if done else _reduced_flat(expression, result)


def _reduced_flat(expression: Sum, result: int) -> Sum:
    """The same for a sum without brackets."""
    terms = list(expression.terms)
    for index, term in enumerate(terms):
        if len(term.factors) > 1:
            terms[index] = Term(term.sign, (("*", result), *term.factors[2:]))
            break
    else:
        terms[:2] = [Term(-1 if result < 0 else 1, (("*", abs(result)),))]
    if terms[0].factors == (("*", 0),):
        terms[0] = Term(1, terms[0].factors)
    return Sum(tuple(terms))


def with_residues(expression: Sum, modulus: int, at_once: int, listed: list[str]) -> Sum:
    """The expression with residues for at most so many numbers, which are listed with their running residues."""
    terms: list[Term] = []
    for term in expression.terms:
        factors: list[tuple[str, int | Sum]] = []
        for op, factor in term.factors:
            if isinstance(factor, Sum):
                factor = with_residues(factor, modulus, at_once, listed)
            elif factor >= modulus and len(listed) < at_once:
                listed.append(f"{factor}:{residues(factor, modulus)}")
                factor %= modulus
            factors.append((op, factor))
        terms.append(Term(term.sign, tuple(factors)))
    return Sum(tuple(terms))


def residue_steps(expression: Sum, modulus: int, steps: list[tuple[int, str, int, int]]) -> int:
    """The residue of an expression; each operation on residues is appended as (left, op, right, result)."""
    total: int | None = None
    for term in expression.terms:
        product = 1
        for index, (op, factor) in enumerate(term.factors):
            right = factor % modulus if isinstance(factor, int) else residue_steps(factor, modulus, steps)
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
