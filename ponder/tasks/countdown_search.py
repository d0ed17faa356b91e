"""Countdown: reach a target with + - * / from given numbers, each used exactly once.

A thought searches backwards from the target, one small exhaustive test a block, always in the same order:

* ``97+3:12,8;5`` asks whether 97 (to which 3 is then added) can be made by combining 12 with 8 and the result with 5.
  The thoughts list what the pair gives and what would be needed, ``+20-4*96;+92-102/485``: ``+92`` says that 92 would
  do, because 92+5=97; the second list ends at the first number that is in both. The summary is then the match,
  ``12*8+5``, else ``no``. ``r-`` and ``r/`` have the operands reversed: ``8r-20`` stands for 20-8.
* ``5-3=2:12,8`` asks the same of the target itself, with 2 = 5-3 as the third number.
* With five or six numbers several last steps stand before the colon, the outermost first: ``102*6,95+7:12,8;3``.
* Before the first test of a last step a block works it out digit by digit: ``100-3``, ``10-3=7 10-0-1=9 1-0-1=0``,
  ``97+3``. So does one for what a pair gives, ``12*8`` with ``12*8=96``. Each can be found from the block before it.

The order is: last step (number from the largest down, then operation), then within it the three choices of the pair;
after all last steps the pairs of pairs. So the place in the search, and what comes next, is readable from one headline.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ponder.interfaces import Data

Numbers = tuple[int, ...]
Path = tuple[int, ...]
"""A place in the search: which branch at each depth, then which pair. Later places compare greater."""

Operation = tuple[int, str, int]

_WIDE = 1_000_000_000


def apply(a: int, op: str, b: int) -> int | None:
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


class Branch(NamedTuple):
    """One last step (``need op z`` makes the goal, `need` comes from `rest`) or one pair formed first (`formed`)."""

    text: str
    op: str
    z: int
    need: int
    rest: Numbers
    formed: Operation | None = None

    def working(self, goal: int) -> Operation | None:
        """What is worked out to find this step; None for a quotient, which is seen in the times table or not at all."""
        if self.formed:
            return self.formed if self.formed[1] != "/" else None
        ways = {"+": (goal, "-", self.z), "-": (goal, "+", self.z), "/": (goal, "*", self.z), "r-": (self.z, "-", goal)}
        return ways.get(self.op)

    def but(self, wrong: int) -> "Branch":
        """The same step with another number for what is worked out."""
        if self.formed:
            return formed_first(*self.formed, wrong, self.need, self.rest)
        return last_step(wrong, self.op, self.z, self.rest)


def last_step(need: int, op: str, z: int, rest: Numbers) -> Branch:
    return Branch(f"{need}{op}{z}", op, z, need, rest)


def formed_first(x: int, op: str, y: int, value: int, goal: int, pair: Numbers) -> Branch:
    return Branch(f"{x}{op}{y}={value}", op, value, goal, pair, (x, op, y))


@lru_cache(2**13)
def branches_of(numbers: Numbers, goal: int, limit: int) -> tuple[Branch, ...]:
    """The branches of four or more numbers (largest first) in canonical order."""
    found = [
        last_step(need, op, z, _without(numbers, z))
        for z in dict.fromkeys(numbers)
        for op, need in _needs(goal, z, limit).items()
    ]
    if len(numbers) == 4:
        a, b, c, d = numbers
        splits = dict.fromkeys([((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c))])
        for pair, (x, y) in splits:
            found += [formed_first(x, op, y, value, goal, pair) for op, value in _values(x, y, limit).items()]
    return tuple(found)


def _live(branch: Branch, limit: int) -> bool:
    if branch.formed:
        p, q = branch.rest
        return _meets(p, q, branch.z, branch.need, limit)
    return solvable(branch.rest, branch.need, limit)


@lru_cache(2**16)
def solvable(numbers: Numbers, goal: int, limit: int) -> bool:
    """Whether any place in the search hits; numbers come largest first."""
    if len(numbers) == 3:
        return any(_meets(*turn, goal, limit) for turn in _turns(numbers))
    return any(_live(branch, limit) for branch in branches_of(numbers, goal, limit))


def ahead(numbers: Numbers, goal: int, limit: int, path: Path) -> bool:
    """Whether any place after `path` hits; the empty path is before all of them."""
    if not path:
        return solvable(numbers, goal, limit)
    at, *inner = path
    if len(numbers) == 3:
        return any(_meets(*turn, goal, limit) for turn in _turns(numbers)[at + 1 :])
    branches = branches_of(numbers, goal, limit)
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
    chain: tuple[Branch, ...]
    p: int
    q: int
    z: int
    goal: int
    limit: int

    @property
    def formed(self) -> Operation | None:
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


def tests_below(numbers: Numbers, goal: int, limit: int, path: Path, chain: tuple[Branch, ...]) -> list[Spot]:
    """The tests below some steps: of two numbers with what the others gave, or of three."""
    if len(numbers) == 2:
        p, q = numbers
        return [Spot(path, chain, p, q, chain[-1].z, goal, limit)]
    return [Spot((*path, at), chain, *turn, goal, limit) for at, turn in enumerate(_turns(numbers))]


def _spots_below(branch: Branch, at: Path, chain: tuple[Branch, ...], limit: int) -> Iterator[Spot]:
    chain = (*chain, branch)
    if branch.formed:
        yield from tests_below(branch.rest, branch.need, limit, at, chain)
    else:
        yield from walk(branch.rest, branch.need, limit, at, chain)


def walk(numbers: Numbers, goal: int, limit: int, path: Path = (), chain: tuple[Branch, ...] = ()) -> Iterator[Spot]:
    """The places in order up to the first hit; outer last steps that lead nowhere are too long to enter."""
    if len(numbers) == 3:
        for index, turn in enumerate(_turns(numbers)):
            spot = Spot((*path, index), chain, *turn, goal, limit)
            yield spot
            if spot.hit:
                return
        return
    for index, branch in enumerate(branches_of(numbers, goal, limit)):
        live = _live(branch, limit)
        if live or len(numbers) == 4:
            yield from _spots_below(branch, (*path, index), chain, limit)
        if live:
            return
