"""Demonstrations of countdown: the search in `countdown_search.py`, with the slips that a model makes and finds."""

from collections.abc import Sequence
from random import Random

from ponder.errors import ProblemError
from ponder.interfaces import Data
from ponder.tasks.countdown_blocks import (
    Opening,
    check_block,
    claims,
    expression,
    list_block,
    openings,
    test_block,
    true_claim,
)
from ponder.tasks.countdown_search import Path, Spot, state, walk
from ponder.tasks.working import columns_value, slip
from ponder.types import Block, Demonstration, Problem, Style

_SKIPS = {Style.CLEAN: (0.0, 0.3, 0.75), Style.CORRECTED: (0.0, 0.3, 0.75), Style.WANDERING: (0.0,)}
"""How often a demonstration passes over a last step that leads nowhere (one that leads to the target it never does).
Drawn for each, so that the effort, raised to the length it comes to, says how thorough the search is."""
COMPLETE = 4
"""The search tries every way to combine so many numbers; of more, those that end with a single number each time."""
MOST_SLIPS = 4
"""False matches in a corrected demonstration."""
_MISSTEPS = (0, 1, 2, 3)
"""Last steps that are worked out wrongly in a corrected demonstration, where a false match shows it."""
_MISCOPIED = 0.3
"""How often a demonstration in which nothing else can go wrong begins with a wrong list. When all of them did, which
three numbers mostly are, a policy sampled one wrong list in four (`LOG.md`, 2026-11-22)."""
_ATTEMPTS = 4
"""To find a wrong number that leads to a match."""


def searched(data: Data) -> list[Spot]:
    """The places of the canonical search, the last of which hits."""
    spots = list(walk(*state(data)))
    if not spots or not spots[-1].hit:
        more = ", taking all but four numbers off the target one by one" if len(data["numbers"]) > COMPLETE else ""
        raise ProblemError(f"no way from {data['numbers']} to {data['target']} in positive whole steps{more}")
    return spots


def first_answer(data: Data) -> str:
    """The first solution of the canonical search."""
    end = searched(data)[-1]
    return expression(end, true_claim(end))


def _slip(spot: Spot, target: int, rng: Random) -> tuple[Block, Block] | None:
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
    check = check_block(spot, claim, target)
    return (test, check) if check else None


def _misstep(opening: Opening, target: int, rng: Random) -> list[Block]:
    """A step wrongly worked out, or a quotient that leaves a rest, the tests that follow from it up to a match, and the
    check that finds it wrong.

    Nothing where no wrong number leads to a match: then nothing in the thought would show that it was wrong.
    """
    for _ in range(_ATTEMPTS):
        if rng.random() < 0.5:
            before, spots = [], opening.misdivided(rng.randint(0, 1))
        else:
            columns = slip(opening.columns, rng)
            number = columns_value(columns) if columns else None
            if not columns or not number or number > opening.depth.limit:
                continue
            block, spots = opening.mistaken(columns, number)
            before = [block]
        hit = next((index for index, spot in enumerate(spots) if spot.hit), None)
        check = check_block(spots[hit], true_claim(spots[hit]), target) if hit is not None else None
        if check and hit is not None and not check.summary.endswith(" ok"):
            return [*before, *(test_block(spot) for spot in spots[: hit + 1]), check]
    return []


def _slips(dead: Sequence[Spot], target: int, rng: Random) -> dict[Spot, tuple[Block, Block]]:
    """One to MOST_SLIPS places that lead nowhere, and what is wrongly written there; none where nothing fits."""
    some = rng.sample(dead, min(len(dead), rng.randint(1, MOST_SLIPS)))
    return {spot: found for spot in some if (found := _slip(spot, target, rng))}


def _miscopied(data: Data, rng: Random) -> Block:
    """A first block whose sorted list has one number wrong."""
    right = list_block(data)
    numbers = sorted(data["numbers"], reverse=True)
    at = rng.randrange(len(numbers))
    numbers[at] += rng.choice([step for step in (-10, -1, 1, 10) if numbers[at] + step > 0])
    return Block(right.headline, right.thoughts, ",".join(map(str, numbers)))


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """Searches in canonical order up to the first hit, passing over most last steps that lead nowhere."""
    if style is Style.DIRECT:
        return Demonstration((), first_answer(problem.data))
    walk, (numbers, target, limit) = searched(problem.data), state(problem.data)
    end = walk[-1]
    blocks = [list_block(problem.data)]
    slips: dict[Spot, tuple[Block, Block]] = {}
    missteps = 0
    if style is Style.CORRECTED:
        slips = _slips(walk[:-1], target, rng) if rng.random() < 0.97 else {}
        missteps = rng.choice(_MISSTEPS) if end.chain else 0
    kept = {end.phase, *(spot.phase for spot in slips)}
    skip = rng.choice(_SKIPS[style])
    kept |= {phase for phase in dict.fromkeys(spot.phase for spot in walk) if rng.random() >= skip}
    opened: list[Path] = []
    later: list[Block] = []
    for spot in walk:
        if spot.phase not in kept:
            continue
        for opening in openings(numbers, target, limit, spot):
            if opening.path not in opened:
                opened.append(opening.path)
                wrong = _misstep(opening, target, rng) if missteps else []
                missteps -= bool(wrong)
                # A wrong working is done again at once; a quotient is tried after a number's other steps.
                again = bool(wrong) and wrong[0].headline == opening.headline
                blocks += [*later, *(wrong if again else ()), opening.block()]
                later = [] if again else wrong
        blocks += slips[spot] if spot in slips else [test_block(spot)]
    blocks.append(_true_check(end, target))
    found_out = any(block.summary.startswith("wrong ") for block in blocks)
    if style is Style.CORRECTED and not found_out and rng.random() < _MISCOPIED:
        blocks.insert(0, _miscopied(problem.data, rng))
    return Demonstration(tuple(blocks), first_answer(problem.data))


def _true_check(end: Spot, target: int) -> Block:
    check = check_block(end, true_claim(end), target)
    assert check and check.summary.endswith(" ok")
    return check
