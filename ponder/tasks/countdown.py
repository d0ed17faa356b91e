"""Countdown: reach a target with + - * / from given numbers, each used exactly once.

A thought searches backwards from the target, one small exhaustive test a block, always in the same order:

* ``97+3:12,8;5`` asks whether 97 (to which 3 is then added) can be made by combining 12 with 8 and the result with 5.
  The thoughts list what the pair gives and what would be needed, ``+20-4*96;+92-102/485``: ``+92`` says that 92 would
  do, because 92+5=97; the second list ends at the first number that is in both. The summary is then the match,
  ``12*8+5``, else ``no``. ``r-`` and ``r/`` have the operands reversed: ``8r-20`` stands for 20-8.
* ``5-3=2:12,8`` asks the same of the target itself, with 2 = 5-3 as the third number.
* With five or six numbers several last steps stand before the colon, the outermost first: ``102*6,95+7:12,8;3``.

The order is: last step (number from the largest down, then operation), then within it the three choices of the pair;
after all last steps the pairs of pairs. So the place in the search, and what comes next, is readable from one headline.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import NamedTuple

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

Numbers = tuple[int, ...]
Path = tuple[int, ...]
"""A place in the search: which branch at each depth, then which pair. Later places compare greater."""

_DRAWS = {1: (3, 3, 20, 1, 50), 2: (4, 4, 20, 10, 100), 3: (4, 4, 99, 10, 100), 4: (5, 6, 99, 100, 999)}
"""Level to fewest and most numbers, largest number, smallest and largest target."""
_WIDE = 1_000_000
_SKIP = {Style.CLEAN: 0.75, Style.CORRECTED: 0.75, Style.WANDERING: 0.3}
"""How often a demonstration passes over a last step that leads nowhere; one that leads to the target it never does."""
_MAX_DEPTH = 30
_MAX_NUMBER, _MAX_TARGET = 999, 99_999


def _apply(a: int, op: str, b: int) -> int | None:
    """a op b where it is a whole number, else None; ``r-`` and ``r/`` swap the operands first."""
    if len(op) == 2:
        a, b = b, a
    match op[-1]:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case _:
            return a // b if b and a % b == 0 else None


@lru_cache(2**16)
def _values(p: int, q: int, limit: int) -> dict[str, int]:
    """What the pair p >= q gives, by operation: positive whole numbers up to the limit."""
    assert p >= q
    found = {"+": p + q, "-": p - q, "*": p * q, "/": p // q if q > 1 and p % q == 0 else 0}
    return {op: value for op, value in found.items() if 0 < value <= limit}


@lru_cache(2**16)
def _needs(goal: int, z: int, limit: int) -> dict[str, int]:
    """Which w would make ``w op z`` the goal, by operation; dividing by 1 is left to multiplying by 1."""
    found = {
        "+": goal - z,
        "-": goal + z,
        "*": goal // z if goal % z == 0 else 0,
        "/": goal * z if z > 1 else 0,
        "r-": z - goal,
        "r/": z // goal if z > goal and z % goal == 0 else 0,
    }
    return {op: need for op, need in found.items() if 0 < need <= limit}


@lru_cache(2**16)
def _meets(p: int, q: int, z: int, goal: int, limit: int) -> bool:
    return not set(_values(p, q, limit).values()).isdisjoint(_needs(goal, z, limit).values())


def _turns(numbers: Numbers) -> list[tuple[int, int, int]]:
    """The three ways to take a pair from x >= y >= w, smallest left over first; equal numbers give fewer."""
    x, y, w = numbers
    return list(dict.fromkeys([(x, y, w), (x, w, y), (y, w, x)]))


def _without(numbers: Numbers, *gone: int) -> Numbers:
    rest = list(numbers)
    for number in gone:
        rest.remove(number)
    return tuple(rest)


class _Branch(NamedTuple):
    """One last step (``need op z`` makes the goal, `need` comes from `rest`) or one pair formed first (`formed`)."""

    text: str
    op: str
    z: int
    need: int
    rest: Numbers
    formed: tuple[int, str, int] | None = None


@lru_cache(2**13)
def _branches(numbers: Numbers, goal: int, limit: int) -> tuple[_Branch, ...]:
    """The branches of four or more numbers (largest first) in canonical order."""
    found = [
        _Branch(f"{need}{op}{z}", op, z, need, _without(numbers, z))
        for z in dict.fromkeys(numbers)
        for op, need in _needs(goal, z, limit).items()
    ]
    if len(numbers) == 4:
        a, b, c, d = numbers
        splits = dict.fromkeys([((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c))])
        for pair, (x, y) in splits:
            for op, value in _values(x, y, limit).items():
                found.append(_Branch(f"{x}{op}{y}={value}", op, value, goal, pair, (x, op, y)))
    return tuple(found)


def _live(branch: _Branch, limit: int) -> bool:
    if branch.formed:
        p, q = branch.rest
        return _meets(p, q, branch.z, branch.need, limit)
    return _solvable(branch.rest, branch.need, limit)


@lru_cache(2**16)
def _solvable(numbers: Numbers, goal: int, limit: int) -> bool:
    """Whether any place in the search hits; numbers come largest first."""
    if len(numbers) == 3:
        return any(_meets(*turn, goal, limit) for turn in _turns(numbers))
    return any(_live(branch, limit) for branch in _branches(numbers, goal, limit))


def _ahead(numbers: Numbers, goal: int, limit: int, path: Path) -> bool:
    """Whether any place after `path` hits; the empty path is before all of them."""
    if not path:
        return _solvable(numbers, goal, limit)
    at, *inner = path
    if len(numbers) == 3:
        return any(_meets(*turn, goal, limit) for turn in _turns(numbers)[at + 1 :])
    branches = _branches(numbers, goal, limit)
    here = branches[at]
    inside = here.formed is None and _ahead(here.rest, here.need, limit, tuple(inner))
    return inside or any(_live(branch, limit) for branch in branches[at + 1 :])


@lru_cache(2**13)
def _limit(numbers: Numbers, target: int) -> int:
    """The largest number a search writes: three digits, unless only larger ones reach the target."""
    base = 400 if target <= 100 else 999
    return base if _solvable(numbers, target, base) else _WIDE


def _state(data: Data) -> tuple[Numbers, int, int]:
    """The numbers, largest first, the target and the limit."""
    numbers = tuple(sorted(data["numbers"], reverse=True))
    return numbers, data["target"], _limit(numbers, data["target"])


@dataclass(frozen=True)
class _Spot:
    """One test: can `p` and `q`, then `z`, make `goal`? `chain` leads from the goal back out to the target."""

    path: Path
    chain: tuple[_Branch, ...]
    p: int
    q: int
    z: int
    goal: int
    limit: int

    @property
    def formed(self) -> tuple[int, str, int] | None:
        return self.chain[-1].formed if self.chain else None

    @property
    def phase(self) -> Path:
        return self.path if self.formed else self.path[:-1]

    @property
    def hit(self) -> bool:
        return _meets(self.p, self.q, self.z, self.goal, self.limit)

    @property
    def headline(self) -> str:
        steps = ",".join(branch.text for branch in self.chain)
        pair = f"{self.p},{self.q}" if self.formed else f"{self.p},{self.q};{self.z}"
        return f"{steps}:{pair}" if steps else pair

    @property
    def lists(self) -> tuple[dict[str, int], dict[str, int]]:
        """What the pair gives, and what is needed of it."""
        return _values(self.p, self.q, self.limit), _needs(self.goal, self.z, self.limit)

    def thoughts(self, values: Mapping[str, int], needs: Mapping[str, int], stop: str = "") -> str:
        """The two lists; the second one ends at the first match (or at `stop`, which makes a false one)."""
        text = "".join(f"{op}{value}" for op, value in values.items()) + ";"
        for op, need in needs.items():
            text += f"{op}{need}"
            if op == stop or need in values.values():
                break
        return text


def _spots_below(branch: _Branch, at: Path, chain: tuple[_Branch, ...], limit: int) -> Iterator[_Spot]:
    chain = (*chain, branch)
    if branch.formed:
        p, q = branch.rest
        yield _Spot(at, chain, p, q, branch.z, branch.need, limit)
    else:
        yield from _walk(branch.rest, branch.need, limit, at, chain)


def _walk(numbers: Numbers, goal: int, limit: int, path: Path = (), chain: tuple[_Branch, ...] = ()) -> Iterator[_Spot]:
    """The places in order up to the first hit; outer last steps that lead nowhere are too long to enter."""
    if len(numbers) == 3:
        for index, turn in enumerate(_turns(numbers)):
            spot = _Spot((*path, index), chain, *turn, goal, limit)
            yield spot
            if spot.hit:
                return
        return
    for index, branch in enumerate(_branches(numbers, goal, limit)):
        live = _live(branch, limit)
        if live or len(numbers) == 4:
            yield from _spots_below(branch, (*path, index), chain, limit)
        if live:
            return


def _find(numbers: Numbers, target: int, limit: int, headline: str) -> _Spot | None:
    """The place with that headline, found branch by branch; None if there is none."""
    steps, colon, _ = headline.partition(":")
    path: Path = ()
    chain: tuple[_Branch, ...] = ()
    goal, z = target, 0
    for text in steps.split(",") if colon else ():
        branches = _branches(numbers, goal, limit) if len(numbers) > 3 else ()
        at = next((index for index, branch in enumerate(branches) if branch.text == text), None)
        if at is None:
            return None
        branch = branches[at]
        path, chain, numbers = (*path, at), (*chain, branch), branch.rest
        goal, z = branch.need, branch.z
    if len(numbers) > 3:
        return None
    if len(numbers) == 2:
        spots = [_Spot(path, chain, *numbers, z, goal, limit)]
    else:
        spots = [_Spot((*path, at), chain, *turn, goal, limit) for at, turn in enumerate(_turns(numbers))]
    return next((spot for spot in spots if spot.headline == headline), None)


class _Term(NamedTuple):
    """An expression and its outermost operation ("" for a number)."""

    text: str
    op: str = ""


def _join(left: _Term, op: str, right: _Term) -> _Term:
    """One expression from two, with the brackets it needs (a compound right side always has them)."""
    if len(op) == 2:
        left, right, op = right, left, op[1]
    first = f"({left.text})" if left.op in ("+", "-") and op in ("*", "/") else left.text
    return _Term(f"{first}{op}{f'({right.text})' if right.op else right.text}", op)


class _Claim(NamedTuple):
    """A pair's operation and how its value is then combined with the third number."""

    pair_op: str
    op: str

    def text(self, spot: _Spot) -> str:
        pair = _join(_Term(str(spot.p)), self.pair_op, _Term(str(spot.q)))
        return _join(pair, self.op, _Term(str(spot.z))).text

    def value(self, spot: _Spot) -> int | None:
        """What the claim really comes to, if every step is a whole number."""
        first = _apply(spot.p, self.pair_op, spot.q)
        return None if first is None else _apply(first, self.op, spot.z)


def _claims(spot: _Spot) -> Iterator[_Claim]:
    """Every claim about a place whose steps are whole numbers, true or not."""
    claims = (_Claim(pair_op, op) for pair_op in "+-*/" for op in ("+", "-", "*", "/", "r-", "r/"))
    return (claim for claim in claims if claim.value(spot) is not None)


def _true_claim(spot: _Spot) -> _Claim:
    """The first match of a hit, in the order in which it is written."""
    values, needs = spot.lists
    return next(_Claim(pair_op, op) for op, need in needs.items() for pair_op, value in values.items() if value == need)


def _expression(spot: _Spot, claim: _Claim) -> str:
    """The whole expression of a place and a claim, out to the target."""
    z = _Term(str(spot.z))
    if spot.formed:
        x, op, y = spot.formed
        z = _join(_Term(str(x)), op, _Term(str(y)))
    term = _join(_join(_Term(str(spot.p)), claim.pair_op, _Term(str(spot.q))), claim.op, z)
    for branch in reversed(spot.chain):
        if not branch.formed:
            term = _join(term, branch.op, _Term(str(branch.z)))
    return term.text


def _check_block(spot: _Spot, claim: _Claim) -> Block:
    """Works a claim out step by step, ``12*8=96+1=97+3=100``, up to the target or the first step that fails."""
    first, value = _apply(spot.p, claim.pair_op, spot.q), claim.value(spot)
    assert first is not None and value is not None
    work = f"{spot.chain[-1].text} " if spot.formed else ""
    work += f"{spot.p}{claim.pair_op}{spot.q}={first}"
    work += f" {spot.z}{claim.op[1]}{first}={value}" if len(claim.op) == 2 else f"{claim.op}{spot.z}={value}"
    if value != spot.goal:
        return Block("check", f"{work} not {spot.goal}", f"wrong {spot.headline}")
    for branch in reversed(spot.chain):
        if not branch.formed:
            after = _apply(value, branch.op, branch.z)
            assert after is not None
            reversed_step = f" {branch.z}{branch.op[-1]}{value}={after}"
            work += reversed_step if len(branch.op) == 2 else f"{branch.op}{branch.z}={after}"
            value = after
    return Block("check", work, f"{_expression(spot, claim)} ok")


def _test_block(spot: _Spot) -> Block:
    summary = _true_claim(spot).text(spot) if spot.hit else "no"
    return Block(spot.headline, spot.thoughts(*spot.lists), summary)


def _list_block(data: Data) -> Block:
    """The first block: the numbers as given, then largest first."""
    numbers = data["numbers"]
    ordered = sorted(numbers, reverse=True)
    return Block(f"make {data['target']}", ",".join(map(str, numbers)), ",".join(map(str, ordered)))


def _slip(spot: _Spot, rng: Random) -> tuple[int, Block, Block] | None:
    """How far off, a false match of a dead place, and the check block that finds it false."""
    values, needs = spot.lists
    gaps = [
        (abs(values[claim.pair_op] - needs[claim.op]), rng.random(), claim)
        for claim in _claims(spot)
        if claim.pair_op in values and claim.op in needs and (claim.value(spot) or 0) > 0
    ]
    if not gaps:
        return None
    gap, _, claim = min(gaps)
    kind = rng.choice(("value", "need", "match") if gap == 1 else ("value", "need"))
    if kind == "value":
        values = values | {claim.pair_op: needs[claim.op]}
    elif kind == "need":
        needs = needs | {claim.op: values[claim.pair_op]}
    test = Block(spot.headline, spot.thoughts(values, needs, stop=claim.op), claim.text(spot))
    return gap, test, _check_block(spot, claim)


def _near_miss(dead: Sequence[_Spot], rng: Random) -> tuple[_Spot, Block, Block] | None:
    """A slip at the closest miss among a few dead places."""
    slips = [(spot, _slip(spot, rng)) for spot in rng.sample(dead, min(len(dead), 4))]
    found = [(slip[0], index, spot, *slip[1:]) for index, (spot, slip) in enumerate(slips) if slip]
    return min(found)[2:] if found else None


def _miscopied(data: Data, rng: Random) -> Block:
    """A first block whose sorted list has one number wrong."""
    right = _list_block(data)
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
    blocks = [_list_block(problem.data)]
    slip = None
    if style is Style.CORRECTED:
        slip = _near_miss(walk[:-1], rng) if rng.random() < 0.85 else None
        if slip is None:
            blocks.insert(0, _miscopied(problem.data, rng))
    kept = {end.phase, slip[0].phase} if slip else {end.phase}
    kept |= {phase for phase in dict.fromkeys(spot.phase for spot in walk) if rng.random() >= _SKIP[style]}
    for spot in walk:
        if slip and spot is slip[0]:
            blocks += slip[1:]
        elif spot.phase in kept:
            blocks.append(_test_block(spot))
    blocks.append(_check_block(end, _true_claim(end)))
    return Demonstration(tuple(blocks), _expression(end, _true_claim(end)))


def _search(data: Data) -> list[_Spot]:
    """The places of the canonical search, the last of which hits."""
    spots = list(_walk(*_state(data)))
    if not spots or not spots[-1].hit:
        raise ProblemError(f"{data['target']} cannot be reached from {data['numbers']} in positive whole steps")
    return spots


def _answer(data: Data) -> str:
    """The first solution of the canonical search."""
    end = _search(data)[-1]
    return _expression(end, _true_claim(end))


class _Checker:
    """Reads blocks in order, keeping what a later block may rely on."""

    def __init__(self, data: Data) -> None:
        self.data, self.state = data, _state(data)
        self.path: Path = ()
        self.claim: tuple[_Spot, _Claim] | None = None
        self.listed = False

    def read(self, block: Block) -> BlockCheck:
        if block.headline.startswith("make "):
            return self._list(block)
        return self._check(block) if block.headline == "check" else self._test(block)

    def _result(self, note: str, winnable: bool | None) -> BlockCheck:
        return BlockCheck(not note, winnable, note)

    def _list(self, block: Block) -> BlockCheck:
        note = "" if block == _list_block(self.data) else "the numbers or the target are wrong"
        if self.listed or self.path:
            note = "the numbers were listed before"
        self.listed = self.listed or not note
        return self._result(note, _ahead(*self.state, self.path))

    def _test(self, block: Block) -> BlockCheck:
        self.claim = None
        spot = _find(*self.state, block.headline)
        if spot is None:
            return self._result("no such test: a number or a step is wrong", None)
        note = "" if spot.path > self.path else "goes back"
        if not note and spot.path[-1] and not spot.formed and self.path != (*spot.path[:-1], spot.path[-1] - 1):
            note = "leaves out a pair"
        if block.thoughts != spot.thoughts(*spot.lists):
            note = "the lists are wrong"
        self.path = max(spot.path, self.path)
        for claim in _claims(spot):
            if block.summary == claim.text(spot):
                self.claim = spot, claim
                if claim.value(spot) == spot.goal:
                    return self._result(note, True)
        if self.claim or block.summary != "no":
            note = "no true match"
        elif spot.hit:
            note = "misses a match"
        return self._result(note, _ahead(*self.state, self.path))

    def _check(self, block: Block) -> BlockCheck:
        if self.claim is None:
            return self._result("nothing to check", _ahead(*self.state, self.path))
        right = _check_block(*self.claim)
        self.claim = None
        done = right.summary.endswith(" ok")
        winnable = block.summary == right.summary if done else _ahead(*self.state, self.path)
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
        if _solvable(tuple(sorted(numbers, reverse=True)), target, 400 if target <= 100 else 999):
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
