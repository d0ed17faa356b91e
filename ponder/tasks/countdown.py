"""Countdown: demonstrations of the search in `countdown_search.py`, the checker of its blocks, and the grader."""

from collections.abc import Sequence
from fractions import Fraction
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain
from ponder.tasks.countdown_search import (
    Claim,
    Path,
    Spot,
    ahead,
    check_block,
    claims,
    expression,
    find,
    list_block,
    solvable,
    state,
    test_block,
    true_claim,
    walk,
)
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

_DRAWS = {1: (3, 3, 20, 1, 50), 2: (4, 4, 20, 10, 100), 3: (4, 4, 99, 10, 100), 4: (5, 6, 99, 100, 999)}
"""Level to fewest and most numbers, largest number, smallest and largest target."""
_SKIPS = {Style.CLEAN: (0.0, 0.3, 0.75), Style.CORRECTED: (0.0, 0.3, 0.75), Style.WANDERING: (0.0,)}
"""How often a demonstration passes over a last step that leads nowhere (one that leads to the target it never does).
Drawn for each, so that the effort, raised to the length it comes to, says how thorough the search is."""
COMPLETE = 4
"""The search tries every way to combine so many numbers; of more, those that end with a single number each time."""
MOST_SLIPS = 4
"""False matches in a corrected demonstration."""
_MAX_DEPTH = 30
_MAX_NUMBER, _MAX_TARGET = 999, 99_999


def _slip(spot: Spot, rng: Random) -> tuple[Block, Block] | None:
    """A false match of a dead place, and the check block that finds it false.

    Half of them are the closest miss that there is, with one of the lists wrong; the others any claim, as if two
    different numbers were the same, for that is how a model errs. If checks seldom failed, it would learn to write the
    target there without working it out (`LOG.md`, 2026-11-21).
    """
    values, needs = spot.lists
    gaps = [
        (abs(values[claim.pair_op] - needs[claim.op]), rng.random(), claim)
        for claim in claims(spot)
        if claim.pair_op in values and claim.op in needs and (claim.value(spot) or 0) > 0
    ]
    if not gaps:
        return None
    near = rng.random() < 0.5
    gap, _, claim = min(gaps) if near else rng.choice(gaps)
    kind = rng.choice(("value", "need", "match") if gap == 1 else ("value", "need")) if near else "match"
    if kind == "value":
        values = values | {claim.pair_op: needs[claim.op]}
    elif kind == "need":
        needs = needs | {claim.op: values[claim.pair_op]}
    test = Block(spot.headline, spot.thoughts(values, needs, stop=claim.op), claim.text(spot))
    return test, check_block(spot, claim)


def _slips(dead: Sequence[Spot], rng: Random) -> dict[Spot, tuple[Block, Block]]:
    """One to MOST_SLIPS places that lead nowhere, and what is wrongly written there; none where nothing fits."""
    some = rng.sample(dead, min(len(dead), rng.randint(1, MOST_SLIPS)))
    return {spot: slip for spot in some if (slip := _slip(spot, rng))}


def _miscopied(data: Data, rng: Random) -> Block:
    """A first block whose sorted list has one number wrong."""
    right = list_block(data)
    numbers = sorted(data["numbers"], reverse=True)
    at = rng.randrange(len(numbers))
    numbers[at] += rng.choice([step for step in (-10, -1, 1, 10) if numbers[at] + step > 0])
    return Block(right.headline, right.thoughts, ",".join(map(str, numbers)))


def _demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """Searches in canonical order up to the first hit, passing over most last steps that lead nowhere."""
    if style is Style.DIRECT:
        return Demonstration((), _answer(problem.data))
    walk = _search(problem.data)
    end = walk[-1]
    blocks = [list_block(problem.data)]
    slips: dict[Spot, tuple[Block, Block]] = {}
    if style is Style.CORRECTED:
        slips = _slips(walk[:-1], rng) if rng.random() < 0.9 else {}
        if not slips:
            blocks.insert(0, _miscopied(problem.data, rng))
    kept = {end.phase, *(spot.phase for spot in slips)}
    skip = rng.choice(_SKIPS[style])
    kept |= {phase for phase in dict.fromkeys(spot.phase for spot in walk) if rng.random() >= skip}
    for spot in walk:
        if spot in slips:
            blocks += slips[spot]
        elif spot.phase in kept:
            blocks.append(test_block(spot))
    blocks.append(check_block(end, true_claim(end)))
    return Demonstration(tuple(blocks), expression(end, true_claim(end)))


def _search(data: Data) -> list[Spot]:
    """The places of the canonical search, the last of which hits."""
    spots = list(walk(*state(data)))
    if not spots or not spots[-1].hit:
        more = ", taking all but four numbers off the target one by one" if len(data["numbers"]) > COMPLETE else ""
        raise ProblemError(f"no way from {data['numbers']} to {data['target']} in positive whole steps{more}")
    return spots


def _answer(data: Data) -> str:
    """The first solution of the canonical search."""
    end = _search(data)[-1]
    return expression(end, true_claim(end))


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
        return self._check(block) if block.headline == "check" else self._test(block)

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

    def _test(self, block: Block) -> BlockCheck:
        self.claim = None
        spot = find(*self.state, block.headline)
        if spot is None:
            return self._result("no such test: a number or a step is wrong", None)
        note = "" if spot.path > self.path else "goes back"
        if not note and spot.path[-1] and not spot.formed and self.path != (*spot.path[:-1], spot.path[-1] - 1):
            note = "leaves out a pair"
        if block.thoughts != spot.thoughts(*spot.lists):
            note = "the lists are wrong"
        self.path = max(spot.path, self.path)
        for claim in claims(spot):
            if block.summary == claim.text(spot):
                self.claim = spot, claim
                if claim.value(spot) == spot.goal:
                    return self._result(note, True)
        if self.claim or block.summary != "no":
            note = "no true match"
        elif spot.hit:
            note = "misses a match"
        return self._result(note, ahead(*self.state, self.path))

    def _check(self, block: Block) -> BlockCheck:
        if self.claim is None:
            return self._result("nothing to check", ahead(*self.state, self.path))
        right = check_block(*self.claim)
        self.claim = None
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


def _read_answer(text: str, numbers: Sequence[int]) -> Fraction:
    """The exact value of an expression that uses exactly these numbers."""
    body = plain(text)
    before, _, after = text.partition(body or text or " ")
    if before.count("*") != after.count("*"):  # not bold type, which plain() takes off, but half an operation
        raise AnswerUnreadable("an operation lacks one of its numbers")
    for sign, ascii_sign in (("×", "*"), ("÷", "/"), ("−", "-")):
        body = body.replace(sign, ascii_sign)
    tokens = _tokens(body, len(numbers))
    if sorted(int(token) for token in tokens if token.isdigit()) != sorted(numbers):
        raise AnswerUnreadable("does not use each number exactly once")
    value = _read_sum(tokens, 0)
    if tokens:
        raise AnswerUnreadable(f"an operation is missing before {tokens[-1]!r}")
    return value


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
    if not isinstance(numbers, list | tuple) or not 3 <= len(numbers) <= 6:
        raise ProblemError(f"numbers must be a list of 3 to 6 numbers, not {numbers!r}")
    for value, name, largest in [(n, "each number", _MAX_NUMBER) for n in numbers] + [(target, "target", _MAX_TARGET)]:
        if type(value) is not int or not 1 <= value <= largest:
            raise ProblemError(f"{name} must be a whole number from 1 to {largest}, not {value!r}")
    if type(wording) is not int or not 0 <= wording < len(_GYM_WORDINGS):
        raise ProblemError(f"wording must be from 0 to {len(_GYM_WORDINGS) - 1}, not {wording!r}")
    checked = {"numbers": list(numbers), "target": target, "wording": wording}
    _search(checked)
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
    answer=_answer,
    grade=_grade,
    check_blocks=_check_blocks,
    demonstrate=_demonstrate,
    validate=_validate,
    gym="countdown",
)
