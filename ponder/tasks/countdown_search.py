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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ponder.interfaces import Data
from ponder.types import Block

Numbers = tuple[int, ...]
Path = tuple[int, ...]
"""A place in the search: which branch at each depth, then which pair. Later places compare greater."""

_WIDE = 1_000_000_000


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
    return solvable(branch.rest, branch.need, limit)


@lru_cache(2**16)
def solvable(numbers: Numbers, goal: int, limit: int) -> bool:
    """Whether any place in the search hits; numbers come largest first."""
    if len(numbers) == 3:
        return any(_meets(*turn, goal, limit) for turn in _turns(numbers))
    return any(_live(branch, limit) for branch in _branches(numbers, goal, limit))


def ahead(numbers: Numbers, goal: int, limit: int, path: Path) -> bool:
    """Whether any place after `path` hits; the empty path is before all of them."""
    if not path:
        return solvable(numbers, goal, limit)
    at, *inner = path
    if len(numbers) == 3:
        return any(_meets(*turn, goal, limit) for turn in _turns(numbers)[at + 1 :])
    branches = _branches(numbers, goal, limit)
    here = branches[at]
    inside = here.formed is None and ahead(here.rest, here.need, limit, tuple(inner))
    return inside or any(_live(branch, limit) for branch in branches[at + 1 :])


@lru_cache(2**13)
def _limit(numbers: Numbers, target: int) -> int:
    """The largest number a search writes: three digits, unless only larger ones reach the target."""
    base = 400 if target <= 100 else 999
    return base if solvable(numbers, target, base) else _WIDE


def state(data: Data) -> tuple[Numbers, int, int]:
    """The numbers, largest first, the target and the limit."""
    numbers = tuple(sorted(data["numbers"], reverse=True))
    return numbers, data["target"], _limit(numbers, data["target"])


@dataclass(frozen=True)
class Spot:
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


def _spots_below(branch: _Branch, at: Path, chain: tuple[_Branch, ...], limit: int) -> Iterator[Spot]:
    chain = (*chain, branch)
    if branch.formed:
        p, q = branch.rest
        yield Spot(at, chain, p, q, branch.z, branch.need, limit)
    else:
        yield from walk(branch.rest, branch.need, limit, at, chain)


def walk(numbers: Numbers, goal: int, limit: int, path: Path = (), chain: tuple[_Branch, ...] = ()) -> Iterator[Spot]:
    """The places in order up to the first hit; outer last steps that lead nowhere are too long to enter."""
    if len(numbers) == 3:
        for index, turn in enumerate(_turns(numbers)):
            spot = Spot((*path, index), chain, *turn, goal, limit)
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


def find(numbers: Numbers, target: int, limit: int, headline: str) -> Spot | None:
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
        spots = [Spot(path, chain, *numbers, z, goal, limit)]
    else:
        spots = [Spot((*path, at), chain, *turn, goal, limit) for at, turn in enumerate(_turns(numbers))]
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


class Claim(NamedTuple):
    """A pair's operation and how its value is then combined with the third number."""

    pair_op: str
    op: str

    def text(self, spot: Spot) -> str:
        pair = _join(_Term(str(spot.p)), self.pair_op, _Term(str(spot.q)))
        return _join(pair, self.op, _Term(str(spot.z))).text

    def value(self, spot: Spot) -> int | None:
        """What the claim really comes to, if every step is a whole number."""
        first = _apply(spot.p, self.pair_op, spot.q)
        return None if first is None else _apply(first, self.op, spot.z)


def claims(spot: Spot) -> Iterator[Claim]:
    """Every claim about a place whose steps are whole numbers, true or not."""
    claims = (Claim(pair_op, op) for pair_op in "+-*/" for op in ("+", "-", "*", "/", "r-", "r/"))
    return (claim for claim in claims if claim.value(spot) is not None)


def true_claim(spot: Spot) -> Claim:
    """The first match of a hit, in the order in which it is written."""
    values, needs = spot.lists
    return next(Claim(pair_op, op) for op, need in needs.items() for pair_op, value in values.items() if value == need)


def expression(spot: Spot, claim: Claim) -> str:
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


def check_block(spot: Spot, claim: Claim) -> Block:
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
    return Block("check", work, f"{expression(spot, claim)} ok")


def test_block(spot: Spot) -> Block:
    summary = true_claim(spot).text(spot) if spot.hit else "no"
    return Block(spot.headline, spot.thoughts(*spot.lists), summary)


def list_block(data: Data) -> Block:
    """The first block: the numbers as given, then largest first."""
    numbers = data["numbers"]
    ordered = sorted(numbers, reverse=True)
    return Block(f"make {data['target']}", ",".join(map(str, numbers)), ",".join(map(str, ordered)))
