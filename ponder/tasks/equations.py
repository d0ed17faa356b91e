"""Linear equations with integer solutions: one unknown, or systems of two or three.

A thought transforms the equation one block at a time and then substitutes the solution back; the steps are in
``linear.py``. A check that fails ends with ``no``, and the solution starts over from the prompt.
"""

import re
from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain, read_integer
from ponder.tasks.linear import linear_form, read_equation, read_problem, solve, value_of
from ponder.tasks.linear_checks import check_blocks
from ponder.tasks.linear_thoughts import answer_text, demonstrate, straight
from ponder.tasks.working import sub_columns, working_of
from ponder.types import Block, Grade, Problem

GYM_WORDINGS = (
    "Solve for {variable}: {equation}",
    "Find the value of {variable} in the equation: {equation}",
    "Determine the value of {variable} that satisfies: {equation}",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MAX_SOLUTION = 1_000_000


# --- problems -----------------------------------------------------------------------------------------------------


def _gym_equation(rng: Random, name: str, terms: int, top: int) -> str:
    """An equation as reasoning-gym draws it: constants up to `top`, + - * between terms, the left side worked out."""
    values, at = [(0, rng.randint(1, top)) for _ in range(terms)], rng.randrange(terms)
    values[at] = (rng.randint(1, top), 0)
    a, b = values[0]
    for c, d in values[1:]:
        op = rng.choices("+-*", weights=(0.4, 0.4, 0.2))[0]
        # A product multiplies all that stands before it; only one factor holds the variable.
        a, b = (a * d + b * c, b * d) if op == "*" else (a + c, b + d) if op == "+" else (a - c, b - d)
    return gym_text(name, a, b, rng.randint(1, top))


def gym_text(name: str, a: int, b: int, solution: int) -> str:
    """The equation a*name + b as sympy prints it: a positive constant stands before a negative multiple."""
    right = a * solution + b
    term = name if abs(a) == 1 else f"{abs(a)}*{name}"
    if a < 0 and b > 0:
        return f"{b} - {term} = {right}"
    tail = f" {'+' if b > 0 else '-'} {abs(b)}" if b else ""
    return f"{'-' if a < 0 else ''}{term}{tail} = {right}"


def _gym_shaped(rng: Random, digits: tuple[int, int], top: int) -> Data:
    """A drawn equation whose longest number has a number of digits in this range, and which is never ``0 = 0``."""
    while True:
        name = rng.choice(LETTERS)
        text = _gym_equation(rng, name, rng.randint(2, 4 if top == 100 else 2), top)
        sizes = [len(number) for number in re.findall("[0-9]+", text)]
        factor = re.match(r"(?:[0-9]+ )?[- ]*([0-9]*)\*?[a-z]", text)
        if factor and factor[1] != "0" and digits[0] <= max(sizes) <= digits[1] and len(factor[1]) < 7:
            return {"equations": [text], "variables": [name], "wording": rng.randrange(len(GYM_WORDINGS))}


def _term(size: int, name: str, star: str, first: bool) -> str:
    body = name if name and abs(size) == 1 else f"{abs(size)}{star if name else ''}{name}"
    return (("-" if size < 0 else "") if first else (" - " if size < 0 else " + ")) + body


def _nonzero(rng: Random, top: int) -> int:
    return rng.choice([n for n in range(-top, top + 1) if n])


def _simple(rng: Random) -> Data:
    name, star, x = rng.choice(LETTERS), rng.choice(("", "*")), _nonzero(rng, 20)
    a, b = rng.randint(2, 12), rng.randint(1, 60) * rng.choice((1, 1, -1))
    term = f"{a}{star}{name}"
    forms = (
        (f"{_term(a, name, star, True)}{_term(b, '', star, False)}", a * x + b),
        (f"{abs(b)} + {term}", a * x + abs(b)),
        (f"{abs(b)} - {term}", abs(b) - a * x),
        (term, a * x),
    )
    left, right = rng.choice(forms)
    return {"equations": [f"{left} = {right}"], "variables": [name]}


def _brackets(rng: Random) -> Data:
    """Brackets, or the variable on both sides, or both."""
    while True:
        name, star, x = rng.choice(LETTERS), rng.choice(("", "", "*")), _nonzero(rng, 9)
        k, m, a, b = rng.randint(2, 9), rng.randint(-6, 9), _nonzero(rng, 9), _nonzero(rng, 40)
        shape = rng.randrange(3)
        if shape == 0:
            left = f"{_term(a, name, star, True)}{_term(b, '', star, False)}"
        else:
            left = f"{k}{star}({name}{_term(_nonzero(rng, 9), '', star, False)})"
            left += _term(b, "", star, False) if rng.random() < 0.6 else ""
        m = 0 if shape == 1 else m or 2
        start = f"{_term(m, name, star, True)}" if m else ""
        c = value_of(read_equation(left + "=0")[0], {name: x}) - m * x
        right = f"{start}{_term(c, '', star, not start)}" if c or not start else start
        text = f"{left} = {right}"
        if linear_form(read_equation(text), [name])[0]:
            return {"equations": [text], "variables": [name]}


def _two(rng: Random) -> Data:
    return _system(rng, 2)


def _three(rng: Random) -> Data:
    return _system(rng, 3)


def _system(rng: Random, size: int) -> Data:
    top, reach = (6, 9) if size == 2 else (3, 6)
    while True:
        first = rng.choice(("x", "x", "x", "a", "p", "m")) if size == 2 else rng.choice(("x", "x", "a", "p"))
        at = LETTERS.index(first)
        names, star = LETTERS[at : at + size], rng.choice(("", "", "*"))
        values = [rng.randint(-reach, reach) for _ in names]
        texts: list[str] = []
        for row in range(size):
            sizes = [_nonzero(rng, top) for _ in names]
            if size == 3:
                # A leading 1 keeps the multiples small; a missing variable shortens some rows.
                sizes[0] = 1 if row == 0 else sizes[0]
                sizes[rng.randrange(1, 3)] *= int(rng.random() < 0.7)
            left = "".join(_term(s, n, star, n == names[0]) for s, n in zip(sizes, names, strict=True) if s)
            texts.append(f"{left} = {sum(s * v for s, v in zip(sizes, values, strict=True))}")
        if solve([read_equation(text) for text in texts], names):
            return {"equations": texts, "variables": list(names)}


def _drawn_size(block: Block) -> int:
    """About how many tokens a block has where nothing is restated: its words, and every character outside of them.

    Which problems are drawn depends on this, so that it must not follow the notation of the thoughts.
    """
    head, words = block.headline, block.thoughts.split()
    columns, extra = [word for word in words if "=" in word], 0
    if head == "subtract":
        a, _, b = words[0].partition("=")[0].partition("-")
        words = [sub_columns(int(a), int(b))]
    elif head == "divide":
        head, words = words[1].partition("=")[0], columns
    elif re.fullmatch("(take|add) [0-9]+", head):
        words = columns
    else:
        extra = _restating(words)
    text = f"{head}{' '.join(words)}{re.sub('take [0-9]+[*][0-9]+=', 'take ', block.summary)}"
    return len(re.findall(" ?(?:[a-z]+|E[123])|[^a-z]", text)) + extra


def _restating(words: list[str]) -> int:
    """By how much the working is shorter than with one operation, and its value before a comparison, where it was."""
    extra, at = 0, 0
    while at < len(words):
        whole = working_of(words[at]) or [""]
        if len(whole) > 1:
            extra -= sum(len(word) + 1 for word in whole[1:] if re.fullmatch("[0-9]+[-+][0-9]+", word))
            at += len(whole) - 1
            extra += (len(whole[-1]) + 1) * (words[at] != whole[-1] or words[at + 1 : at + 2] == ["not"])
        at += 1
    return extra


def draw(level: int, rng: Random) -> Data:
    """One problem; four in ten of levels 1 and 2, half (with longer numbers) of level 3 have reasoning-gym's shape."""
    gym = rng.random() < (0.4, 0.4, 0.5, 0.0)[level - 1]
    while True:
        if gym:
            data = _gym_shaped(rng, *(((1, 3), 12), ((1, 4), 100), ((4, 7), 100))[level - 1])
        else:
            data = (_simple, _brackets, _two, _three)[level - 1](rng)
        # A block is learnt and searched as one step, so that it must stay short.
        if max(map(_drawn_size, straight(data))) <= ((42 if gym else 40) if level < 3 else 64):
            return data


def canonical(data: Data) -> str:
    """The collected equations, whatever their order, the names of their variables and the sides of their terms."""
    equations, names, _ = read_problem(data)
    forms = [linear_form(equation, names) for equation in equations]
    renamed = [[[form[i] for i in (*order, -1)] for form in forms] for order in permutations(range(len(names)))]
    return str(min(sorted(max(form, [-c for c in form]) for form in rows) for rows in renamed))


def _names(data: Data) -> str:
    *rest, last = data["variables"]
    return f"{', '.join(rest)} and {last}" if rest else last


def _gym_wording(data: Data) -> str:
    wording = GYM_WORDINGS[data.get("wording", 0)]
    return wording.format(variable=_names(data), equation=", ".join(data["equations"]))


def _lines_wording(data: Data) -> str:
    return f"What {'is' if len(data['variables']) == 1 else 'are'} {_names(data)}?\n" + "\n".join(data["equations"])


PHRASINGS = (
    _gym_wording,
    lambda data: f"Solve {' and '.join(data['equations'])}.",
    _lines_wording,
    lambda data: f"{', '.join(data['equations'])}. Find {_names(data)}.",
)


def answer(data: Data) -> str:
    """``13`` for one variable, ``x = 3, y = -2`` for several."""
    return answer_text(read_problem(data)[2])


def _read_answer(text: str, names: Sequence[str]) -> dict[str, int]:
    body = plain(text)
    if len(names) == 1:
        return {names[0]: read_integer(text, tuple(names))}
    found: dict[str, int] = {}
    for part in re.split(r",|;|\n|\band\b", body):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in names or name.strip() in found:
            raise AnswerUnreadable(f"not one value for each of {', '.join(names)}: {body[:60]!r}")
        found[name.strip()] = read_integer(value)
    if len(found) != len(names):
        raise AnswerUnreadable(f"{len(found)} values for the {len(names)} variables {', '.join(names)}")
    return found


def grade(problem: Problem, text: str) -> Grade:
    """1 for the solution, in one number or as ``x = 3, y = -2`` in any order."""
    _, names, solution = read_problem(problem.data)
    try:
        given = _read_answer(text, names)
    except AnswerUnreadable as err:
        return Grade(0.0, note=str(err))
    wrong = [name for name in names if given[name] != solution[name]]
    return Grade(0.0, note=f"wrong value of {', '.join(wrong)}") if wrong else Grade(1.0)


def validate(data: Data) -> Data:
    """A user's ``{"equations": ["3x + 4 = 19"], "variables": ["x"]}``, checked to have one integer solution."""
    texts, names, wording = data.get("equations"), data.get("variables"), data.get("wording", 0)
    if not isinstance(texts, list) or not 1 <= len(texts) <= 3 or not all(isinstance(t, str) for t in texts):
        raise ProblemError(f"equations={str(texts)[:80]}: needs a list of one to three equations as text")
    if not isinstance(names, list) or len(set(map(str, names))) != len(names) or len(names) != len(texts):
        raise ProblemError(f"variables={str(names)[:80]}: needs as many different variables as equations")
    if not all(isinstance(name, str) and len(name) == 1 and name in LETTERS for name in names):
        raise ProblemError(f"variables={str(names)[:80]}: each is one lower-case letter")
    if type(wording) is not int or not 0 <= wording < len(GYM_WORDINGS):
        raise ProblemError(f"wording={str(wording)[:80]}: needs 0 to {len(GYM_WORDINGS) - 1}")
    for text in texts:
        read_equation(text)
        unknown = sorted({letter for letter in text if letter.isalpha()} - set(names))
        if unknown:
            raise ProblemError(f"equation {text!r}: {unknown[0]} is not among the variables")
    solution = solve([read_equation(text) for text in texts], names)
    if solution is None or any(v.denominator != 1 or abs(v) > MAX_SOLUTION for v in solution.values()):
        raise ProblemError(f"{', '.join(texts)}: needs exactly one solution, in integers up to {MAX_SOLUTION:,}")
    checked: dict[str, Any] = {"equations": [text.strip() for text in texts], "variables": list(names)}
    return checked | ({"wording": wording} if "wording" in data else {})


EQUATIONS = Task(
    name="equations",
    title="Solve linear equations with integer solutions.",
    levels={
        1: "a*x + b = c, b - a*x = c, a*x = c",
        2: "brackets, x on both sides, and reasoning-gym's equations up to four digits",
        3: "two equations with two unknowns, and reasoning-gym's longer equations",
        4: "three equations with three unknowns",
    },
    draw=draw,
    canonical=canonical,
    phrasings=PHRASINGS,
    answer=answer,
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
    gym="simple_equations",
)
