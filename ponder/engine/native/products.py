"""Products of weights with the features of many lanes."""

from collections.abc import Callable
from typing import Any

from ponder.engine.native.compiling import INTEGER, LANES, NOTHING, WIDEST, emitted, kernel
from ponder.engine.native.vectors import LINE, Vectors, at, get, loop, put

ROWS = 16 if WIDEST == LANES else 8
"""Rows of a weight that are multiplied at once: as many sums stand in registers."""


def product(rows: int, width: int) -> Callable[..., Any]:
    """Adds to `rows` features of one block a product of so many rows of a weight, for its first `width` lanes.

    (weight, inputs, block of inputs, block of outputs).
    """

    @emitted(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER)
    def add(b: Any, weight: Any, count: Any, inputs: Any, outputs: Any) -> None:
        v = Vectors(b, width)
        sums = [v.variable(v.load(outputs, at(row * LANES))) for row in range(rows)]

        def one(feature: Any) -> None:
            x = v.load(inputs, b.mul(feature, at(LANES)))
            for row, total in enumerate(sums):
                w = v.spread_from(weight, b.add(b.mul(count, at(row)), feature))
                b.store(v.fused(w, x, b.load(total)), total)

        fours = b.udiv(count, at(4))
        ahead = b.mul(count, at(rows))
        with loop(b, fours) as turn:
            for number in range(4):
                feature = b.add(b.mul(turn.index, at(4)), at(number))
                if rows == LINE:  # so the next rows of the weight are near when it is their turn
                    v.fetch(weight, b.add(ahead, b.mul(feature, at(LINE))))
                one(feature)
        done = b.mul(fours, at(4))
        with loop(b, b.sub(count, done)) as turn:
            one(b.add(done, turn.index))
        for row, total in enumerate(sums):
            v.store(b.load(total), outputs, at(row * LANES))

    return add


def narrow_product(rows: int, lanes: int) -> Callable[..., Any]:
    """The same for few lanes, in vectors of rows: squares of the weight, whose rows stand in memory, are turned in
    registers. Every sum is taken in the same order, so that it has the same bits."""

    @emitted(NOTHING, INTEGER, INTEGER, INTEGER, INTEGER)
    def add(b: Any, weight: Any, count: Any, inputs: Any, outputs: Any) -> None:
        v, lines = Vectors(b, rows), [b.mul(count, at(row)) for row in range(rows)]
        places = [[(outputs, at(row * LANES + lane)) for row in range(rows)] for lane in range(lanes)]
        sums = [v.variable(v.gathered(ours)) for ours in places]

        def one(feature: Any, column: Any) -> None:
            for lane, total in enumerate(sums):
                x = v.spread_from(inputs, b.add(b.mul(feature, at(LANES)), at(lane)))
                b.store(v.fused(column, x, b.load(total)), total)

        squares, ahead = b.udiv(count, at(rows)), b.mul(count, at(rows))
        with loop(b, squares) as turn:
            first = b.mul(turn.index, at(rows))
            starts = [b.add(line, first) for line in lines]
            for start in starts:
                v.fetch(weight, b.add(ahead, start))
            for number, column in enumerate(v.turned([v.load(weight, start) for start in starts])):
                one(b.add(first, at(number)), column)
        done = b.mul(squares, at(rows))
        with loop(b, b.sub(count, done)) as turn:
            feature = b.add(done, turn.index)
            one(feature, v.gathered([(weight, b.add(line, feature)) for line in lines]))
        for ours, total in zip(places, sums, strict=True):
            v.scattered(b.load(total), ours)

    return add


_WHOLE, _HALF = (product(ROWS, width) for width in (LANES, LANES // 2))
_ONE_WHOLE, _ONE_HALF, _ONE_QUARTER = (product(1, width) for width in (LANES, LANES // 2, LANES // 4))
FEW = LANES // 4
"""Lanes for which a vector of them stands emptier than one of rows."""
_NARROW = narrow_product(ROWS, FEW)
FLOAT = 4
"""Bytes of a number."""


@kernel
def _several(weight: int, count: int, inputs: int, outputs: int, lanes: int) -> None:
    if lanes > LANES // 2:
        if WIDEST == LANES:
            _WHOLE(weight, count, inputs, outputs)
        else:
            _HALF(weight, count, inputs, outputs)
            _HALF(weight, count, inputs + FLOAT * LANES // 2, outputs + FLOAT * LANES // 2)
    elif lanes > FEW:
        _HALF(weight, count, inputs, outputs)
    else:
        _NARROW(weight, count, inputs, outputs)


@kernel
def _single(weight: int, count: int, inputs: int, outputs: int, lanes: int) -> None:
    if lanes > LANES // 2:
        _ONE_WHOLE(weight, count, inputs, outputs)
    elif lanes > LANES // 4:
        _ONE_HALF(weight, count, inputs, outputs)
    else:
        _ONE_QUARTER(weight, count, inputs, outputs)


@kernel
def multiply(weight: int, rows: int, count: int, inputs: int, outputs: int, lanes: int) -> None:
    """Adds a (rows, count) weight times `inputs` of so many lanes to `outputs`."""
    blocks, whole = (lanes + LANES - 1) // LANES, rows // ROWS * ROWS
    for row in range(0, whole, ROWS):
        for block in range(blocks):
            x, y = inputs + FLOAT * LANES * count * block, outputs + FLOAT * LANES * (rows * block + row)
            _several(weight + FLOAT * count * row, count, x, y, lanes - LANES * block)
    for row in range(whole, rows):
        for block in range(blocks):
            x, y = inputs + FLOAT * LANES * count * block, outputs + FLOAT * LANES * (rows * block + row)
            _single(weight + FLOAT * count * row, count, x, y, lanes - LANES * block)


@kernel
def fill(outputs: int, rows: int, lanes: int, bias: int) -> None:
    """What a product is added to: its bias in every lane, or zeros where that is 0."""
    for block in range((lanes + LANES - 1) // LANES):
        for row in range(rows):
            value = get(bias, row) if bias else 0.0
            for lane in range(LANES):
                put(outputs, LANES * (rows * block + row) + lane, value)


@kernel
def place(block_of: int, features: int, lane: int) -> int:
    """The address of a lane's first feature; the others are LANES numbers apart."""
    return block_of + FLOAT * (lane // LANES * features * LANES + lane % LANES)
