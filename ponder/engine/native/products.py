"""Products of weights with the features of many lanes."""

from ponder.engine.native.compiling import LANES, WIDEST, kernel
from ponder.engine.native.vectors import get, product, put

ROWS = 16 if WIDEST == LANES else 8
"""Rows of a weight that are multiplied at once: as many sums stand in registers."""
_WHOLE, _HALF, _QUARTER = (product(ROWS, width) for width in (LANES, LANES // 2, LANES // 4))
_ONE_WHOLE, _ONE_HALF, _ONE_QUARTER = (product(1, width) for width in (LANES, LANES // 2, LANES // 4))
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
    elif lanes > LANES // 4:
        _HALF(weight, count, inputs, outputs)
    else:
        _QUARTER(weight, count, inputs, outputs)


@kernel
def _single(weight: int, count: int, inputs: int, outputs: int, lanes: int) -> None:
    if lanes > LANES // 2:
        _ONE_WHOLE(weight, count, inputs, outputs)
    elif lanes > LANES // 4:
        _ONE_HALF(weight, count, inputs, outputs)
    else:
        _ONE_QUARTER(weight, count, inputs, outputs)


@kernel
def multiply(weight: int, rows: int, count: int, inputs: int, outputs: int, lanes: int, first: int, last: int) -> None:
    """Adds rows `first` to `last` of a (rows, count) weight times `inputs` of so many lanes to `outputs`."""
    blocks, whole = (lanes + LANES - 1) // LANES, first + (last - first) // ROWS * ROWS
    for row in range(first, whole, ROWS):
        for block in range(blocks):
            x, y = inputs + FLOAT * LANES * count * block, outputs + FLOAT * LANES * (rows * block + row)
            _several(weight + FLOAT * count * row, count, x, y, lanes - LANES * block)
    for row in range(whole, last):
        for block in range(blocks):
            x, y = inputs + FLOAT * LANES * count * block, outputs + FLOAT * LANES * (rows * block + row)
            _single(weight + FLOAT * count * row, count, x, y, lanes - LANES * block)


@kernel
def fill(outputs: int, rows: int, lanes: int, bias: int, first: int, last: int) -> None:
    """What those rows of a product are added to: its bias in every lane, or zeros where that is 0."""
    for block in range((lanes + LANES - 1) // LANES):
        for row in range(first, last):
            value = get(bias, row) if bias else 0.0
            for lane in range(LANES):
                put(outputs, LANES * (rows * block + row) + lane, value)


@kernel
def place(block_of: int, features: int, lane: int) -> int:
    """The address of a lane's first feature; the others are LANES numbers apart."""
    return block_of + FLOAT * (lane // LANES * features * LANES + lane % LANES)
