"""The thoughts about who is a knight: assignments of roles tried in counting order, and the exact check of each block.

Everybody is truthful in the first assignment, and the last person changes fastest. A block works out one or two
statements: ``A yes: B no f or C yes t so t ok`` reads: A, a knight here, claims that B is none, which is false, or that
C is one, which is true; so A's claim is true, which agrees with A's role. People go by initials, or by full names where
initials clash. The summary says how far the assignment holds (``B ok``), or whose words break it (``A fails``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ponder.types import Block, BlockCheck, Demonstration, Problem, Style

OPERATORS: dict[str, Callable[[bool, bool], bool]] = {
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "->": lambda a, b: not a or b,
    "<=>": lambda a, b: a == b,
}
KEEP = {Style.CLEAN: 4, Style.CORRECTED: 4, Style.WANDERING: 12}
"""About how many wrong assignments a thought tries at most, where there are many people."""

Claim = tuple[int, bool]
"""A person, and whether they are said to be truthful."""


@dataclass(frozen=True)
class Said:
    """What one person says: one claim, or two joined by an operator (None where there is one)."""

    operator: str | None
    claims: tuple[Claim, ...]

    def value(self, truths: Sequence[bool]) -> bool:
        """Whether all of it holds, given whether each claim does."""
        return truths[0] if self.operator is None else OPERATORS[self.operator](truths[0], truths[1])

    def truths(self, roles: Sequence[bool]) -> list[bool]:
        """Whether each claim holds when the people have these roles."""
        return [roles[person] == truthful for person, truthful in self.claims]


def _claim(statement: Sequence[Any]) -> Claim:
    if statement[0] == "not":
        person, truthful = _claim(statement[1])
        return person, not truthful
    return statement[1], statement[0] == "telling-truth"


def said_in(statement: Sequence[Any]) -> Said:
    if statement[0] in OPERATORS:
        return Said(statement[0], tuple(_claim(part) for part in statement[1:]))
    return Said(None, (_claim(statement),))


def roles_of(number: int, people: int) -> tuple[bool, ...]:
    """Assignment number `number` in counting order: 0 is everybody truthful, the last person changes fastest."""
    return tuple(not number >> (people - 1 - person) & 1 for person in range(people))


def _hold(said: Sequence[Said], number: int) -> list[bool]:
    """For each person, whether what they say agrees with their role."""
    roles = roles_of(number, len(said))
    return [one.value(one.truths(roles)) == role for one, role in zip(said, roles, strict=True)]


def solutions(said: Sequence[Said]) -> Iterator[int]:
    """The numbers of the assignments that everything said agrees with."""
    people = len(said)
    for number in range(2**people):
        roles = roles_of(number, people)
        if all(one.value(one.truths(roles)) == role for one, role in zip(said, roles, strict=True)):
            yield number


@dataclass(frozen=True)
class Puzzle:
    """What thoughts are written from."""

    labels: tuple[str, ...]
    said: tuple[Said, ...]

    def head(self, number: int) -> str:
        """An assignment in words: ``A yes B no C yes``."""
        roles = roles_of(number, len(self.said))
        return " ".join(f"{label} {_yes(role)}" for label, role in zip(self.labels, roles, strict=True))


def _puzzle(data: Mapping[str, Any]) -> Puzzle:
    initials = [name[0] for name in data["names"]]
    labels = (name if initials.count(name[0]) > 1 else name[0] for name in data["names"])
    return Puzzle(tuple(labels), tuple(said_in(statement) for statement in data["statements"]))


def _yes(role: bool) -> str:
    return "yes" if role else "no"


def _t(value: bool) -> str:
    return "t" if value else "f"


def _joined(operator: str | None, parts: Sequence[str], value: bool) -> str:
    if operator is None:
        return parts[0]
    words = f"if {parts[0]} then {parts[1]}" if operator == "->" else f" {operator} ".join(parts).replace("<=>", "iff")
    return f"{words} so {_t(value)}"


def _line(puzzle: Puzzle, person: int, roles: Sequence[bool], rng: Random | None) -> tuple[str, bool]:
    """One person's words worked out, and whether they agree with the role; with `rng` one slip turns that around."""
    said = puzzle.said[person]
    truths, value = said.truths(roles), said.value(said.truths(roles))
    if rng:
        flips = [[truth != (at == flip) for at, truth in enumerate(truths)] for flip in range(len(truths))]
        # A claim misjudged where that matters, or the operator misread.
        slips = [flipped for flipped in flips if said.value(flipped) != value]
        truths, value = rng.choice(slips or [truths]), not value
    parts = [
        f"{puzzle.labels[other]} {_yes(truthful)} {_t(truth)}"
        for (other, truthful), truth in zip(said.claims, truths, strict=True)
    ]
    agrees = value == roles[person]
    judged = f"{_joined(said.operator, parts, value)} {'ok' if agrees else 'wrong'}"
    return f"{puzzle.labels[person]} {_yes(roles[person])}: {judged}", agrees


def _step(puzzle: Puzzle) -> int:
    """How many statements one block works out: fewer where full names make them long."""
    return 2 if all(len(label) == 1 for label in puzzle.labels) else 1


def _lines(
    puzzle: Puzzle, number: int, start: int, count: int, slip: int = -1, rng: Random | None = None
) -> tuple[str, int, bool]:
    """Up to `count` statements from person `start` worked out, the last person reached, and if their words agree."""
    roles, lines = roles_of(number, len(puzzle.said)), list[str]()
    person, agrees = start, True
    for person in range(start, min(start + count, len(puzzle.said))):
        line, agrees = _line(puzzle, person, roles, rng if person == slip else None)
        lines.append(line)
        if not agrees:
            break
    return " ".join(lines), person, agrees


def _test(
    puzzle: Puzzle, number: int, start: int, count: int, slip: int = -1, rng: Random | None = None, again: str = ""
) -> tuple[Block, int, bool]:
    """A block on up to `count` statements from person `start`; the last person worked out, and if their words agree."""
    work, person, agrees = _lines(puzzle, number, start, count, slip, rng)
    done = person == len(puzzle.said) - 1
    summary = f"{puzzle.labels[person]} fails" if not agrees else "all hold" if done else f"{puzzle.labels[person]} ok"
    return Block(again + puzzle.head(number), work, summary), person, agrees


def _check(puzzle: Puzzle, number: int, start: int) -> tuple[Block, int, bool]:
    """A block that works out statements once more; the last person worked out, and whether all agree."""
    work, person, agrees = _lines(puzzle, number, start, _step(puzzle))
    done = person == len(puzzle.said) - 1
    finding = " fails" if not agrees else " ok" if done else f" {puzzle.labels[person]} ok"
    return Block("check", work, puzzle.head(number) + finding), person, agrees


def _work(puzzle: Puzzle, number: int, slip: int, rng: Random) -> list[Block]:
    """All blocks about one assignment; a slip at person `slip` (if >= 0) is undone by a second look or by the check."""
    blocks, people, start, again = list[Block](), len(puzzle.said), 0, ""
    right = all(_hold(puzzle.said, number))
    while start < people:
        block, person, agrees = _test(puzzle, number, start, _step(puzzle), slip, rng, again)
        blocks.append(block)
        again, start = "", person + 1
        if not agrees and right:
            # The slip blamed the right assignment: look at that person again.
            again, start, slip = "again ", person, -1
        elif not agrees:
            return blocks
    start = 0
    while start < people:
        block, person, agrees = _check(puzzle, number, start)
        blocks.append(block)
        start = person + 1 if agrees else people
    return blocks


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """Tries assignments in counting order, skipping some wrong ones (none when wandering among few)."""
    if style is Style.DIRECT:
        return Demonstration((), problem.answer)
    puzzle = _puzzle(problem.data)
    solution = next(solutions(puzzle.said))
    tried = 1.0 if style is Style.WANDERING else 0.5
    tried = min(tried, KEEP[style] / max(1, solution))
    numbers = [number for number in range(solution) if rng.random() < tried] + [solution]
    slip_number, slip = -1, -1
    if style is Style.CORRECTED:
        slip_number, slip = solution, rng.randrange(len(puzzle.said))
        # Wrong assignments that one slip would let pass: the final check finds them.
        tempting = [number for number in range(solution) if _hold(puzzle.said, number).count(False) == 1]
        if tempting and rng.random() < 0.7:
            slip_number = rng.choice(tempting)
            slip = _hold(puzzle.said, slip_number).index(False)
    blocks: list[Block] = []
    for number in sorted({*numbers, slip_number} - {-1}):
        blocks += _work(puzzle, number, slip if number == slip_number else -1, rng)
    return Demonstration(tuple(blocks), problem.answer)


@dataclass(frozen=True)
class State:
    """What a closed block says: about which assignment, what was found, and at which person."""

    number: int
    found: str
    person: int = -1


def _state(puzzle: Puzzle, heads: dict[str, int], block: Block) -> State | None:
    """The state that the next block starts from, read from headline and summary alone."""
    checking = block.headline == "check"
    words = block.summary.split(" ")
    width = 2 * len(puzzle.labels) if checking else 0
    head = " ".join(words[:width]) if checking else block.headline.removeprefix("again ")
    found = words[width:]
    if head not in heads or not found:
        return None
    if found[0] in puzzle.labels and found[1:] in (["ok"], ["fails"]):
        return State(heads[head], ("checked " if checking else "") + found[1], puzzle.labels.index(found[0]))
    return State(heads[head], ("checked " if checking else "") + " ".join(found))


def _follows(puzzle: Puzzle, heads: dict[str, int], before: State | None, block: Block) -> bool:
    """Whether a block is exactly what working from `before` gives."""
    if block.headline == "check":
        if before is None or before.found not in ("all hold", "checked ok") or before.person == len(puzzle.said) - 1:
            return False
        return block == _check(puzzle, before.number, before.person + 1)[0]
    again = "again " if block.headline.startswith("again ") else ""
    number = heads.get(block.headline.removeprefix("again "))
    if number is None:
        return False
    same = before if before and before.number == number else None
    start = 0
    if again:
        if same is None or same.found != "fails":
            return False
        start = same.person
    elif same and same.found == "ok":
        start = same.person + 1
    counts = range(1, len(puzzle.said) - start + 1)
    return any(block == _test(puzzle, number, start, count, again=again)[0] for count in counts)


def _winnable(state: State | None, solution: int) -> bool | None:
    """Whether the solution still lies ahead in counting order; None where a check has yet to judge a wrong one."""
    if state is None:
        return None
    if state.number == solution:
        return not state.found.endswith("fails")
    if state.found == "checked ok" and state.person < 0:
        return False
    return state.number < solution and (None if state.found == "all hold" else True)


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Each block against what working from the previous block's headline and summary gives."""
    puzzle = _puzzle(problem.data)
    solution = next(solutions(puzzle.said))
    heads = {puzzle.head(number): number for number in range(2 ** len(puzzle.said))}
    checks, state = list[BlockCheck](), None
    for block in blocks:
        valid = _follows(puzzle, heads, state, block)
        state = _state(puzzle, heads, block)
        checks.append(BlockCheck(valid, _winnable(state, solution), "" if valid else "this does not follow"))
    return tuple(checks)
