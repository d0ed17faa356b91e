"""Countdown's blocks as they are written: steps opened, tests, checks, and what their headlines say when read."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from ponder.interfaces import Data
from ponder.tasks.countdown_search import (
    Branch,
    Numbers,
    Operation,
    Path,
    Spot,
    apply,
    branches_of,
    formed_first,
    last_step,
    tests_below,
)
from ponder.tasks.working import worked
from ponder.types import Block

_STEP = re.compile(r"([0-9]{1,6})(r?[-+*/])([0-9]{1,6})(?:=([0-9]{1,6}))?")
_PAIR = re.compile(r"([0-9]{1,6}),([0-9]{1,6})(?:;([0-9]{1,6}))?")


class _Depth(NamedTuple):
    """Where some last steps lead: what is left to make which goal of."""

    numbers: Numbers
    goal: int
    limit: int
    path: Path = ()
    chain: tuple[Branch, ...] = ()

    def enter(self, at: int) -> "_Depth":
        """One step deeper."""
        branch = self.branches[at]
        return _Depth(branch.rest, branch.need, self.limit, (*self.path, at), (*self.chain, branch))

    @property
    def branches(self) -> tuple[Branch, ...]:
        return branches_of(self.numbers, self.goal, self.limit) if len(self.numbers) > 3 else ()

    @property
    def openings(self) -> "list[Opening]":
        """In order; a quotient has none."""
        found = ((at, branch, branch.working(self.goal)) for at, branch in enumerate(self.branches))
        return [Opening(self, at, branch, working) for at, branch, working in found if working]


class Opening(NamedTuple):
    """A last step, or what a pair gives first: worked out before it stands in headlines."""

    depth: _Depth
    at: int
    branch: Branch
    working: Operation

    @property
    def path(self) -> Path:
        """The place that it opens."""
        return (*self.depth.path, self.at)

    @property
    def headline(self) -> str:
        chain = ",".join(branch.text for branch in self.depth.chain)
        return (chain + ":" if chain else "") + "".join(map(str, self.working))

    @property
    def columns(self) -> str:
        """The working."""
        return _columns(*self.working)

    def block(self) -> Block:
        """As it is written."""
        return Block(self.headline, self.columns, self.branch.text)

    def misdivided(self, up: int) -> list[Spot]:
        """The tests of a quotient by its number that leaves a rest, rounded; none where there is no such."""
        need = self.depth.goal // self.branch.z + up
        if self.branch.formed or need < 1 or need * self.branch.z == self.depth.goal:
            return []
        return self._below(last_step(need, "*", self.branch.z, self.branch.rest))

    def mistaken(self, columns: str, number: int) -> tuple[Block, list[Spot]]:
        """The same with a wrong working, and the tests that follow from the number it gives."""
        branch = self.branch.but(number)
        return Block(self.headline, columns, branch.text), self._below(branch)

    def _below(self, branch: Branch) -> list[Spot]:
        """The tests that a step in this one's place leads to; none where other steps come first."""
        if len(branch.rest) > 3:
            return []
        return tests_below(branch.rest, branch.need, self.depth.limit, (), (*self.depth.chain, branch))


def _columns(a: int, op: str, b: int) -> str:
    """The columns of an operation without operands and result, which stand beside them; a small one is whole, and so
    is a product that would need two lines."""
    if op == "*" and min(a, b) > 9:
        return f"{a}*{b}={a * b}"
    words = worked(a, op, b)[0].split(" ")
    return words[0] if len(words) == 1 else " ".join(words[1:-1])


def openings(numbers: Numbers, target: int, limit: int, spot: Spot) -> Iterator[Opening]:
    """Those that lead to a place, the outermost first."""
    depth = _Depth(numbers, target, limit)
    for at in spot.path[: len(spot.chain)]:
        yield from (one for one in depth.openings if one.at == at)
        depth = depth.enter(at)


def _descend(numbers: Numbers, target: int, limit: int, steps: str) -> _Depth | None:
    """Where the steps of a headline lead; None if there are no such steps."""
    depth = _Depth(numbers, target, limit)
    for text in steps.split(",") if steps else ():
        at = next((index for index, branch in enumerate(depth.branches) if branch.text == text), None)
        if at is None:
            return None
        depth = depth.enter(at)
    return depth


def find_openings(numbers: Numbers, target: int, limit: int, headline: str) -> list[Opening]:
    """All that have this headline: the same sum can lead to a last step and to a pair's."""
    depth = _descend(numbers, target, limit, headline.rpartition(":")[0])
    return [one for one in depth.openings if one.headline == headline] if depth else []


def find(numbers: Numbers, target: int, limit: int, headline: str) -> Spot | None:
    """The place with that headline, found branch by branch; None if there is none."""
    steps, colon, _ = headline.partition(":")
    depth = _descend(numbers, target, limit, steps if colon else "")
    if depth is None or len(depth.numbers) > 3:
        return None
    spots = tests_below(depth.numbers, depth.goal, limit, depth.path, depth.chain)
    return next((spot for spot in spots if spot.headline == headline), None)


def supposed(target: int, limit: int, headline: str) -> Spot | None:
    """What a headline says, true or not, so that what is claimed there can be checked; None for other text."""
    steps, colon, tested = headline.rpartition(":")
    chain: list[Branch] = []
    goal, formed = target, False
    for text in steps.split(",") if colon else ():
        found = _STEP.fullmatch(text)
        if not found or formed:
            return None
        a, op, b, value = int(found[1]), found[2], int(found[3]), found[4]
        chain.append(formed_first(a, op, b, int(value), goal, ()) if value else last_step(a, op, b, ()))
        goal, formed = chain[-1].need, bool(value)
    pair = _PAIR.fullmatch(tested)
    if not pair or (pair[3] is None) != formed or int(pair[1]) < int(pair[2]):
        return None
    z = chain[-1].z if formed else int(pair[3])
    spot = Spot((), tuple(chain), int(pair[1]), int(pair[2]), z, goal, limit)
    return spot if spot.headline == headline else None


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
        first = apply(spot.p, self.pair_op, spot.q)
        return None if first is None else apply(first, self.op, spot.z)


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


def _ordered(a: int, op: str, b: int) -> Operation:
    """An operation with its operands as they stand in it."""
    return (b, op[1], a) if len(op) == 2 else (a, op, b)


def _full(a: int, op: str, b: int) -> str:
    """An operation worked through to its result; of a division it is the result that is looked at."""
    return f"{a}/{b}={a // b}" if op == "/" else worked(a, op, b)[0]


def check_block(spot: Spot, claim: Claim, target: int) -> Block | None:
    """Works a claim out step by step, up to the target or the first step that does not come to what it should.

    Whatever is compared stands side by side, right or wrong: ``12*8 2*8=16 1*8+1=9 96 96+1 6+1=7 9+0=9 97 for 97 97+3
    7+3=10 9+0+1=10 100 for 100``. None where a step cannot be done in whole numbers.
    """
    steps: list[tuple[int, str, int, int | None]] = [(*spot.formed, spot.z)] if spot.formed else []
    first, value = apply(spot.p, claim.pair_op, spot.q), claim.value(spot)
    if first is None or value is None:
        return None
    steps += [(spot.p, claim.pair_op, spot.q, None), (*_ordered(first, claim.op, spot.z), spot.goal)]
    goals = [target, *(branch.need for branch in spot.chain)]
    for branch, goal in reversed(list(zip(spot.chain, goals, strict=False))):
        if not branch.formed:
            steps.append((*_ordered(branch.need, branch.op, branch.z), goal))
    work: list[str] = []
    for a, op, b, wanted in steps:
        found = apply(a, op, b)
        if found is None:
            return None
        work.append(_full(a, op, b))
        if wanted is not None:
            work.append(f"for {wanted}")
        if wanted not in (None, found):
            return Block("check", " ".join(work), f"wrong {spot.headline}")
    return Block("check", " ".join(work), f"{expression(spot, claim)} ok")


def test_block(spot: Spot) -> Block:
    summary = true_claim(spot).text(spot) if spot.hit else "no"
    return Block(spot.headline, spot.thoughts(*spot.lists), summary)


def list_block(data: Data) -> Block:
    """The first block: the numbers as given, then largest first."""
    numbers = data["numbers"]
    ordered = sorted(numbers, reverse=True)
    return Block(f"make {data['target']}", ",".join(map(str, numbers)), ",".join(map(str, ordered)))
