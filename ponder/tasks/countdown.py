"""Countdown: the checker of the blocks in `countdown_blocks.py`, the grader, and the task."""

from collections.abc import Sequence
from fractions import Fraction
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain
from ponder.tasks.countdown_blocks import Claim, check_block, claims, find, find_openings, list_block, supposed
from ponder.tasks.countdown_search import Path, Spot, ahead, solvable, state
from ponder.tasks.countdown_thoughts import COMPLETE, demonstrate, first_answer, searched
from ponder.tasks.expressions import flattened, ordered, read, write
from ponder.types import Block, BlockCheck, Grade, Problem

_DRAWS = {1: (3, 3, 20, 1, 50), 2: (4, 4, 20, 10, 100), 3: (4, 4, 99, 10, 100), 4: (5, 6, 99, 100, 999)}
"""Level to fewest and most numbers, largest number, smallest and largest target."""
_MAX_DEPTH = 30
_MAX_NUMBER, _MAX_TARGET = 999, 99_999
_MOST_NUMBERS = 6


class _Checker:
    """Reads blocks in order, keeping what a later block may rely on."""

    def __init__(self, data: Data) -> None:
        self.data, self.state = data, state(data)
        self.path: Path = ()
        self.claim: tuple[Spot, Claim] | None = None
        self.listed = False

    def read(self, block: Block) -> BlockCheck:
        if block.headline.startswith("make "):
            return self._list(block)
        if block.headline == "check":
            return self._check(block)
        return self._test(block) if "," in block.headline.rpartition(":")[2] else self._open(block)

    def _result(self, note: str, winnable: bool | None) -> BlockCheck:
        # With more numbers the search leaves out some ways, so that finding none proves nothing.
        unknown = not winnable and len(self.data["numbers"]) > COMPLETE
        return BlockCheck(not note, None if unknown else winnable, note)

    def _list(self, block: Block) -> BlockCheck:
        note = "" if block == list_block(self.data) else "the numbers or the target are wrong"
        if self.listed or self.path:
            note = "the numbers were listed before"
        self.listed = self.listed or not note
        return self._result(note, ahead(*self.state, self.path))

    def _open(self, block: Block) -> BlockCheck:
        self.claim = None
        found = find_openings(*self.state, block.headline)
        if not found:
            return self._result("no such opening: a number or a step is wrong", None)
        meant = [one for one in found if one.block() == block]
        behind = all(one.path < self.path[: len(one.path)] for one in meant)
        note = "a step is worked out wrongly" if not meant else "goes back" if behind else ""
        return self._result(note, ahead(*self.state, self.path))

    def _test(self, block: Block) -> BlockCheck:
        self.claim = None
        spot = find(*self.state, block.headline)
        if spot is None:
            self._claim(supposed(*self.state[1:], block.headline), block.summary)
            return self._result("no such test: a number or a step is wrong", None)
        note = "" if spot.path > self.path else "goes back"
        if not note and spot.path[-1] and not spot.formed and self.path != (*spot.path[:-1], spot.path[-1] - 1):
            note = "leaves out a pair"
        if block.thoughts != spot.thoughts(*spot.lists):
            note = "the lists are wrong"
        self.path = max(spot.path, self.path)
        if self._claim(spot, block.summary):
            return self._result(note, True)
        if self.claim or block.summary != "no":
            note = "no true match"
        elif spot.hit:
            note = "misses a match"
        return self._result(note, ahead(*self.state, self.path))

    def _claim(self, spot: Spot | None, summary: str) -> bool:
        """Keeps what is claimed about a place for the check that may follow; whether it is true."""
        made = next((claim for claim in claims(spot) if claim.text(spot) == summary), None) if spot else None
        if spot is None or made is None:
            return False
        self.claim = spot, made
        return made.value(spot) == spot.goal

    def _check(self, block: Block) -> BlockCheck:
        right = check_block(*self.claim, self.data["target"]) if self.claim else None
        self.claim = None
        if right is None:
            return self._result("nothing to check", ahead(*self.state, self.path))
        done = right.summary.endswith(" ok")
        winnable = block.summary == right.summary if done else ahead(*self.state, self.path)
        return self._result("" if block == right else "the check is wrong", winnable)


def _check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Valid: exactly what the search writes there. Winnable: a hit lies at or after the place reached."""
    checker = _Checker(problem.data)
    return tuple(checker.read(block) for block in blocks)


def _tokens(body: str, most: int) -> list[str]:
    """Numbers, operations and brackets, last one first; refuses everything else."""
    tokens, at, numbers = [], 0, 0
    while at < len(body):
        end = at + 1
        if body[at] in "0123456789":
            while end < len(body) and body[end] in "0123456789":
                end += 1
            numbers += 1
            if numbers > most or end - at > 6 or (body[at] == "0" and end - at > 1):
                raise AnswerUnreadable(f"a number that was not given, or too many of them: {body[at : at + 20]!r}")
        elif body[at] not in "+-*/() ":
            raise AnswerUnreadable(f"not an expression of + - * / and brackets: {body[at : at + 20]!r}")
        if body[at] != " ":
            tokens.append(body[at:end])
        at = end
    return tokens[::-1]


def _read_sum(tokens: list[str], depth: int) -> Fraction:
    """Takes a sum off the end of the tokens; it may begin with a minus."""
    if depth > _MAX_DEPTH:
        raise AnswerUnreadable("brackets nested too deeply")
    negative = tokens[-1:] == ["-"] and bool(tokens.pop())
    total = _read_product(tokens, depth) * (-1 if negative else 1)
    while tokens and tokens[-1] in ("+", "-"):
        sign = 1 if tokens.pop() == "+" else -1
        total += sign * _read_product(tokens, depth)
    return total


def _read_product(tokens: list[str], depth: int) -> Fraction:
    total = _read_operand(tokens, depth)
    while tokens and tokens[-1] in ("*", "/"):
        op, factor = tokens.pop(), _read_operand(tokens, depth)
        if op == "/" and factor == 0:
            raise AnswerUnreadable("divides by zero")
        total = total * factor if op == "*" else total / factor
    return total


def _read_operand(tokens: list[str], depth: int) -> Fraction:
    token = tokens.pop() if tokens else ""
    if token == "(":
        value = _read_sum(tokens, depth + 1)
        if not tokens or tokens.pop() != ")":
            raise AnswerUnreadable("an open bracket")
        return value
    if not token.isdigit():
        raise AnswerUnreadable(f"a number is missing before {token!r}")
    return Fraction(int(token))


def _body(text: str) -> str:
    """The expression in an answer text, with ASCII signs."""
    body = plain(text)
    before, _, after = text.partition(body or text or " ")
    if before.count("*") != after.count("*"):  # not bold type, which plain() takes off, but half an operation
        raise AnswerUnreadable("an operation lacks one of its numbers")
    for sign, ascii_sign in (("×", "*"), ("÷", "/"), ("−", "-")):
        body = body.replace(sign, ascii_sign)
    return body


def _value(tokens: list[str]) -> Fraction:
    """The exact value of an expression's tokens, last one first."""
    value = _read_sum(tokens, 0)
    if tokens:
        raise AnswerUnreadable(f"an operation is missing before {tokens[-1]!r}")
    return value


def _read_answer(text: str, numbers: Sequence[int]) -> Fraction:
    """The exact value of an expression that uses exactly these numbers."""
    tokens = _tokens(_body(text), len(numbers))
    if sorted(int(token) for token in tokens if token.isdigit()) != sorted(numbers):
        raise AnswerUnreadable("does not use each number exactly once")
    return _value(tokens)


def _same(text: str) -> str:
    """The expression in one order of its terms and factors, without brackets that only group.

    What the grader cannot read stays as it is, so that answers with one form have one grade; no target is known here.
    """
    try:
        body = _body(text)
        _value(_tokens(body, _MOST_NUMBERS))
        return write(ordered(flattened(read(body))))
    except (AnswerUnreadable, ProblemError):
        return text.strip()


def _grade(problem: Problem, text: str) -> Grade:
    """Right if the expression uses every number exactly once and comes to exactly the target."""
    try:
        value = _read_answer(text, problem.data["numbers"])
    except AnswerUnreadable as error:
        return Grade(0.0, str(error))
    target = problem.data["target"]
    return Grade(1.0) if value == target else Grade(0.0, f"comes to {value}, not {target}")


def _draw(level: int, rng: Random) -> Data:
    """Numbers and a target drawn evenly until the search can reach it within its limit of 400 (level 4: 999)."""
    fewest, most, largest, low, high = _DRAWS[level]
    while True:
        numbers = [rng.randint(1, largest) for _ in range(rng.randint(fewest, most))]
        target = rng.randint(low, high)
        if solvable(tuple(sorted(numbers, reverse=True)), target, 400 if target <= 100 else 999):
            return {"numbers": numbers, "target": target, "wording": rng.randrange(len(_GYM_WORDINGS))}


def _validate(data: Data) -> Data:
    """Numbers, target and perhaps the wording, of the right kind and size and with a solution."""
    if unknown := set(data) - {"numbers", "target", "wording"}:
        raise ProblemError(f"unknown keys {sorted(unknown)}: countdown has numbers, target and perhaps wording")
    numbers, target, wording = data.get("numbers"), data.get("target"), data.get("wording", 0)
    if not isinstance(numbers, list | tuple) or not 3 <= len(numbers) <= _MOST_NUMBERS:
        raise ProblemError(f"numbers must be a list of 3 to {_MOST_NUMBERS} numbers, not {numbers!r}")
    for value, name, largest in [(n, "each number", _MAX_NUMBER) for n in numbers] + [(target, "target", _MAX_TARGET)]:
        if type(value) is not int or not 1 <= value <= largest:
            raise ProblemError(f"{name} must be a whole number from 1 to {largest}, not {value!r}")
    if type(wording) is not int or not 0 <= wording < len(_GYM_WORDINGS):
        raise ProblemError(f"wording must be from 0 to {len(_GYM_WORDINGS) - 1}, not {wording!r}")
    checked = {"numbers": list(numbers), "target": target, "wording": wording}
    searched(checked)
    return checked


def _canonical(data: Data) -> str:
    return f"{sorted(data['numbers'])} {data['target']}"


_GYM_WORDINGS = (
    "Using all the numbers {numbers}, create an expression that equals {target}.\nYou can only use each number once.",
    "Find a way to make {target} using all of these numbers: {numbers}.\nEach number can only be used once.",
    "Calculate {target} using all of these numbers: {numbers}.\nEach number may be used at most once.",
)
_GYM_FORMAT = """

Final answer format instructions:
1. Provide your solution as a arithmetic expression (no '=' sign).
2. Do not include the target number in the expression.
3. Use '*' for multiplication.
4. Use '/' for division.
5. Do not include any other text or formatting.
"""


def _listed(data: Data) -> str:
    return ", ".join(map(str, data["numbers"]))


def _gym_wording(data: Data) -> str:
    wording = _GYM_WORDINGS[data.get("wording", 0)]
    return wording.format(numbers=_listed(data), target=data["target"]) + _GYM_FORMAT


def _make_wording(data: Data) -> str:
    return f"Make {data['target']} from {_listed(data)} with + - * / and brackets. Use each number exactly once."


def _game_wording(data: Data) -> str:
    return f"Countdown: numbers {_listed(data)}, target {data['target']}. Use each number exactly once."


def _question_wording(data: Data) -> str:
    return f"How can I reach {data['target']} if I have to use each of {_listed(data)} exactly once?"


COUNTDOWN = Task(
    name="countdown",
    title="Reach a target with + - * / from given numbers, each used exactly once.",
    levels={
        1: "3 numbers up to 20, target 1-50",
        2: "4 numbers up to 20, target 10-100",
        3: "4 numbers up to 99, target 10-100",
        4: "5 or 6 numbers up to 99, target 100-999",
    },
    draw=_draw,
    canonical=_canonical,
    phrasings=(_gym_wording, _make_wording, _game_wording, _question_wording),
    answer=first_answer,
    grade=_grade,
    check_blocks=_check_blocks,
    demonstrate=demonstrate,
    validate=_validate,
    gym="countdown",
    same=_same,
)
