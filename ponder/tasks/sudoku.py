"""Sudoku of three sizes (4x4, 6x6, 9x9): fill the blanks so that each row, column and box holds each digit once.

A thought scans the blanks in reading order, round and round. Each block looks at the next few blanks: the digits of a
cell's row, column and box, each named once, leave one digit (``row23 col1 so4``) or several (``row2 col1 or34``). The
summary is the grid with what was found, so the next block needs only it and the headline's last cell. Every 4x4 grid
with one solution yields to this scan (all of them were tried), and larger grids are drawn so that they do.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

Grid = tuple[int, ...]
"""The cells in reading order, 0 for a blank; size * size of them."""

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
"""Size to the rows and columns of a box."""
LOOKS = {4: 2, 6: 2, 9: 3}
"""How many blanks one block looks at: restating a larger grid costs more, so its blocks do more."""
CHECKED = {4: 4, 6: 2, 9: 3}
"""How many columns one check block lists."""
BLANKS = {1: (4, 1, 6), 2: (4, 8, 12), 3: (6, 8, 18), 4: (9, 30, 50)}
"""Level to size and the range of blanks."""
MAX_NODES = 20_000
"""Search steps after which a user's grid counts as too open to check."""
ROW_NAMES = "abcdefghi"
JUMP = 0.12
"""How often a wandering thought looks somewhere else than at the next blanks."""
_PIECE = re.compile(r"(row|col|box|so|or)([1-9]{1,9})")


def _size(grid: Grid) -> int:
    return {16: 4, 36: 6, 81: 9}[len(grid)]


def _grid(data: Data) -> Grid:
    return tuple(value for row in data["grid"] for value in row)


@cache
def _units(size: int) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], ...]:
    """For each cell its row, column and box, as (name, cells in reading order)."""
    high, wide = BOXES[size]
    units = []
    for cell in range(size * size):
        row, column = divmod(cell, size)
        top, left = row // high * high, column // wide * wide
        box = tuple(r * size + c for r in range(top, top + high) for c in range(left, left + wide))
        columns = tuple(range(column, size * size, size))
        units.append((("row", tuple(range(row * size, row * size + size))), ("col", columns), ("box", box)))
    return tuple(units)


@cache
def _peers(size: int) -> tuple[tuple[int, ...], ...]:
    """For each cell the others that may not hold the same digit."""
    return tuple(
        tuple(sorted({other for _, unit in units for other in unit} - {cell}))
        for cell, units in enumerate(_units(size))
    )


def _candidates(grid: Sequence[int], cell: int, size: int) -> list[int]:
    """The digits that no peer of the cell holds."""
    taken = {grid[peer] for peer in _peers(size)[cell]}
    return [digit for digit in range(1, size + 1) if digit not in taken]


def _by_singles(grid: Grid) -> Grid | None:
    """The solution where blanks with one candidate suffice to reach it (so it is the only one), else None."""
    size = _size(grid)
    cells = list(grid)
    while left := cells.count(0):
        for cell in range(size * size):
            if not cells[cell] and len(options := _candidates(cells, cell, size)) == 1:
                cells[cell] = options[0]
        if cells.count(0) == left:
            return None
    return tuple(cells)


def _solutions(grid: Grid, order: Callable[[list[int]], list[int]] = list) -> Iterator[Grid | None]:
    """Every solution, trying the blank with fewest candidates first; None once when MAX_NODES were not enough."""
    size, cells, trail = _size(grid), list(grid), list[tuple[int, list[int]]]()
    for _ in range(MAX_NODES):
        choices = [(cell, _candidates(cells, cell, size)) for cell, value in enumerate(cells) if not value]
        if choices:
            cell, options = min(choices, key=lambda choice: len(choice[1]))
            trail.append((cell, order(options)))
        else:
            yield tuple(cells)
        while trail and not trail[-1][1]:
            cells[trail.pop()[0]] = 0
        if not trail:
            return
        cells[trail[-1][0]] = trail[-1][1].pop()
    yield None


def _solution(grid: Grid) -> Grid:
    """The one solution of a checked grid."""
    assert (found := _by_singles(grid) or next(_solutions(grid)))
    return found


def draw(level: int, rng: Random) -> Data:
    """A random grid that a scan for single candidates solves, so its solution is unique."""
    size, fewest, most = BLANKS[level]
    want = rng.randint(fewest, most)
    while True:
        full = next(_solutions((0,) * size**2, lambda options: rng.sample(options, len(options))))
        assert full is not None
        cells = list(full)
        for cell in rng.sample(range(size * size), size * size):
            cells[cell] = 0
            if not _by_singles(tuple(cells)):
                cells[cell] = full[cell]
            if cells.count(0) == want:
                break
        if cells.count(0) >= fewest:
            return {"grid": [cells[row : row + size] for row in range(0, size * size, size)]}


def canonical(data: Data) -> str:
    """The givens, row by row."""
    return _text(_grid(data))


def _text(grid: Grid) -> str:
    """The state as thoughts write it: ``2__3/__1_/1_3_/3_21``."""
    size = _size(grid)
    return "/".join("".join(str(value or "_") for value in grid[row : row + size]) for row in range(0, len(grid), size))


def _lines(grid: Grid) -> str:
    """The grid as reasoning-gym writes it, digits spaced and rows on lines."""
    return "\n".join(" ".join(row) for row in _text(grid).split("/"))


def _gym(data: Data) -> str:
    grid = _grid(data)
    size = _size(grid)
    if size == 9:
        return (
            f"Solve this Sudoku puzzle:\n{_lines(grid)}\nRespond with only your answer, formatted as the puzzle, "
            "a 9x9 grid with numbers separated by spaces, and rows separated by newlines."
        )
    high, wide = BOXES[size]
    title = "4x4 Mini Sudoku" if size == 4 else "6x6 Sudoku"
    return (
        f"In {title}:\n"
        f"- Each row must contain each number from 1-{size} exactly once\n"
        f"- Each column must contain each number 1-{size} exactly once\n"
        f"- Each {high}x{wide} subgrid must contain each number 1-{size} exactly once\n"
        f"Solve this {title} puzzle:\n{_lines(grid)}\n"
        "Format your response as the puzzle above, with spaces separating each number within a row, "
        "and newlines separating rows.\n"
    )


def _short(data: Data) -> str:
    size = _size(_grid(data))
    return f"Solve this {size}x{size} sudoku:\n{_lines(_grid(data))}"


def _rules(data: Data) -> str:
    size = _size(_grid(data))
    high, wide = BOXES[size]
    rows = _text(_grid(data)).replace("/", "\n")
    return f"Fill in the blanks so that each row, column and {high}x{wide} box has each of 1 to {size} once:\n{rows}"


def answer(data: Data) -> str:
    """The full grid, rows on lines."""
    return _lines(_solution(_grid(data)))


def _read_grid(text: str, size: int) -> Grid | None:
    """The grid in the notation of thoughts, or None."""
    rows = text.split("/")
    if len(rows) != size or any(len(row) != size or not set(row) <= set("_123456789"[: size + 1]) for row in rows):
        return None
    return tuple(0 if sign == "_" else int(sign) for row in rows for sign in row)


def _read_answer(text: str, size: int) -> Grid:
    """The grid of an answer: a row per line (or between slashes), digits spaced or not; nothing else."""
    rows = [row.split() for row in plain(text).replace("/", "\n").split("\n") if row.strip()]
    if any(len(row) > 1 and any(len(word) > 1 for word in row) for row in rows):
        raise AnswerUnreadable("digits of a row are partly glued")
    grid = _read_grid("/".join("".join(row) for row in rows), size)
    if grid is None or 0 in grid:
        raise AnswerUnreadable(f"not {size} rows of {size} digits from 1 to {size}")
    return grid


def grade(problem: Problem, text: str) -> Grade:
    """1 for a full grid that keeps the givens and has each digit once in each row, column and box."""
    given = _grid(problem.data)
    size = _size(given)
    try:
        cells = _read_answer(text, size)
    except AnswerUnreadable as err:
        return Grade(0.0, note=str(err))
    for cell, value in enumerate(cells):
        if given[cell] not in (0, value):
            return Grade(0.0, note=f"{_name(cell, size)} is {value}, but {given[cell]} was given")
        if any(cells[peer] == value for peer in _peers(size)[cell]):
            return Grade(0.0, note=f"{value} is twice in the row, column or box of {_name(cell, size)}")
    return Grade(1.0)


def _name(cell: int, size: int) -> str:
    """A cell's name: rows are letters from the top, columns digits from the left."""
    return f"{ROW_NAMES[cell // size]}{cell % size + 1}"


def _look(grid: Grid, cell: int) -> tuple[str, int]:
    """What is seen at one cell (its own value apart), in words, and the digit that must go there or 0."""
    size, seen, pieces = _size(grid), list[int](), list[str]()
    for name, unit in _units(size)[cell]:
        new = [grid[other] for other in unit if other != cell and grid[other]]
        new = [value for at, value in enumerate(new) if value not in seen and value not in new[:at]]
        seen += new
        if new:
            pieces.append(name + "".join(map(str, new)))
    options = _candidates(grid, cell, size)
    word = "so" if len(options) == 1 else "or"
    pieces.append(word + "".join(map(str, options)))
    return " ".join(pieces), options[0] if len(options) == 1 else 0


def _put(grid: Grid, fills: dict[int, int]) -> Grid:
    return tuple(fills.get(cell, value) for cell, value in enumerate(grid))


def _look_block(grid: Grid, cells: Sequence[int]) -> tuple[Block, Grid]:
    """One block that looks at some blanks, all read off the same grid, and the grid after it."""
    looks = {cell: _look(grid, cell) for cell in cells}
    after = _put(grid, {cell: digit for cell, (_, digit) in looks.items() if digit})
    headline = " ".join(_name(cell, _size(grid)) for cell in cells)
    return Block(headline, " ".join(words for words, _ in looks.values()), _text(after)), after


def _slip(grid: Grid, cells: Sequence[int], rng: Random) -> tuple[list[Block], int]:
    """A block that misreads one digit of a single's row, column or box, the block that mends it, and the cell."""
    block, after = _look_block(grid, cells)
    size = _size(grid)
    wrong = rng.choice([cell for cell in cells if after[cell]])
    right = after[wrong]
    digit = rng.choice([value for value in range(1, size + 1) if value != right])
    words = _look(grid, wrong)[0]
    swapped = words.translate({ord(str(right)): str(digit), ord(str(digit)): str(right)})
    thoughts = " ".join(swapped if cell == wrong else _look(grid, cell)[0] for cell in cells)
    bad = _put(after, {wrong: digit})
    unit = next(name for name, unit in _units(size)[wrong] if any(bad[o] == digit for o in unit if o != wrong))
    mended = f"{digit} twice in {unit} {_look(bad, wrong)[0]}"
    fix = Block(f"fix {_name(wrong, size)}", mended, _text(after))
    return [Block(block.headline, thoughts, _text(bad)), fix], wrong


def _final_checks(grid: Grid) -> list[Block]:
    """Blocks that list the columns, which the grid's text does not show; each names its columns unless it lists all."""
    size, step = _size(grid), CHECKED[_size(grid)]
    blocks = []
    for group in (range(start, start + step) for start in range(0, size, step)):
        headline = "check" if step == size else "check " + "".join(str(column + 1) for column in group)
        columns = "/".join("".join(map(str, grid[column::size])) for column in group)
        blocks.append(Block(headline, columns, f"{_text(grid)} ok"))
    return blocks


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """Scans the blanks in reading order; grids that need more than single candidates are answered without a thought."""
    grid = _grid(problem.data)
    if style is Style.DIRECT or _by_singles(grid) is None:
        return Demonstration((), answer(problem.data))
    size = _size(grid)
    last, blocks = size * size - 1, list[Block]()
    # There are at least as many blocks as this, and the last one fills something: the slip's turn always comes.
    slip_at = rng.randrange(max(1, grid.count(0) // LOOKS[size])) if style is Style.CORRECTED else -1
    while 0 in grid:
        blanks = [cell for cell, value in enumerate(grid) if not value]
        if style is Style.WANDERING and rng.random() < JUMP:
            last = rng.choice(blanks)
        ahead = [cell for cell in blanks if cell > last] + [cell for cell in blanks if cell <= last]
        cells = ahead[: LOOKS[size]]
        block, after = _look_block(grid, cells)
        new, last = [block], cells[-1]
        if 0 <= slip_at <= len(blocks) and after != grid:
            (new, last), slip_at = _slip(grid, cells, rng), -1
        blocks += new
        grid = after
    return Demonstration((*blocks, *_final_checks(grid)), _lines(grid))


def _fault_in_look(grid: Grid, cell: int, pieces: Iterator[str]) -> str:
    """What is wrong with the words for one cell, or nothing; reads on up to so or or."""
    size, units = _size(grid), dict(_units(_size(grid))[cell])
    options, listed = _candidates(grid, cell, size), set[int]()
    for piece in pieces:
        found = _PIECE.fullmatch(piece)
        if not found:
            return f"{piece[:20]!r} cannot be read"
        digits = [int(digit) for digit in found[2]]
        if found[1] not in units:
            right = digits == options and found[1] == ("so" if len(options) == 1 else "or")
            shown = len(listed) + len(digits) == size
            return "" if right and shown else f"{_name(cell, size)} can be {options}; {piece} is wrong or not shown"
        if not set(digits) <= {grid[other] for other in units[found[1]] if other != cell}:
            return f"not all of {found[2]} are in the {found[1]} of {_name(cell, size)}"
        listed.update(digits)
    return f"nothing is found for {_name(cell, size)}"


def _fault(grid: Grid, solution: Grid, block: Block) -> str:
    """What is wrong with one block that starts from a grid, or nothing."""
    size, words, thoughts = _size(grid), block.headline.split(" "), block.thoughts.split(" ")
    if words[0] == "check":
        right = grid == solution and block in _final_checks(grid)
        return "" if right else "the grid, its columns or its claim is not right"
    fixing = words[0] == "fix"
    names = {_name(cell, size): cell for cell in range(size * size)}
    cells = [names[word] for word in words[fixing:] if word in names]
    if not cells or len(set(cells)) != len(words) - fixing or (fixing and len(cells) != 1):
        return f"the headline {block.headline[:40]!r} does not name cells, each once"
    if any((grid[cell] != 0) != fixing for cell in cells):
        return "the cell to fix is blank" if fixing else "a cell is already filled"
    if fixing:
        unit = dict(_units(size)[cells[0]]).get(thoughts[3], ()) if len(thoughts) > 3 else ()
        twice = any(grid[other] == grid[cells[0]] for other in unit if other != cells[0])
        if not twice or thoughts[:3] != [str(grid[cells[0]]), "twice", "in"]:
            return "no digit is there twice as claimed"
        thoughts = thoughts[4:]
    pieces = iter(thoughts)
    for cell in cells:
        if fault := _fault_in_look(grid, cell, pieces):
            return fault
    if next(pieces, None) is not None:
        return "there are more looks than cells"
    fills = {cell: _look(grid, cell)[1] for cell in cells}
    return "" if block.summary == _text(_put(grid, fills)) else "the grid does not follow from the looks"


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Each block against the grid that the one before it left; winnable while that grid agrees with the solution."""
    state: Grid | None = _grid(problem.data)
    solution = _solution(state)
    checks = []
    for block in blocks:
        fault = _fault(state, solution, block) if state else "there is no grid to go on from"
        state = _read_grid(block.summary.removesuffix(" ok"), _size(solution))
        winnable = None if state is None else all(v in (0, s) for v, s in zip(state, solution, strict=True))
        checks.append(BlockCheck(not fault, winnable, fault))
    return tuple(checks)


def validate(data: Data) -> Data:
    """A user's grid, checked: 4, 6 or 9 rows of as many digits, 0 for a blank, with exactly one solution."""
    rows = data.get("grid")
    if not isinstance(rows, list) or len(rows) not in BOXES:
        raise ProblemError("sudoku needs a grid of 4, 6 or 9 rows, such as [[1, 0, 0, 4], ...] with 0 for a blank")
    size = len(rows)
    for row in rows:
        right = isinstance(row, list) and len(row) == size
        if not right or any(type(value) is not int or not 0 <= value <= size for value in row):
            raise ProblemError(f"sudoku row {str(row)[:60]} is not a list of {size} digits from 0 (blank) to {size}")
    grid = tuple(value for row in rows for value in row)
    for cell, value in enumerate(grid):
        if value and any(grid[peer] == value for peer in _peers(size)[cell]):
            raise ProblemError(f"sudoku has {value} twice in the row, column or box of {_name(cell, size)}")
    found = _solutions(grid)
    first, second = next(found, ()), next(found, ())
    if first is None or second is None:
        raise ProblemError("sudoku grid is too open to check: give more digits")
    if not first or second:
        raise ProblemError(f"sudoku grid has {'more than one' if first else 'no'} solution: exactly one is needed")
    return {"grid": [list(row) for row in rows]}


SUDOKU = Task(
    name="sudoku",
    title="Fill the blanks so that each row, column and box holds each digit once",
    levels={level: f"{size}x{size} with {fewest}-{most} blanks" for level, (size, fewest, most) in BLANKS.items()},
    draw=draw,
    canonical=canonical,
    phrasings=(_gym, _short, _rules),
    answer=answer,
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
    gym="mini_sudoku",
)
