"""Arithmetic worked visibly, one digit column at a time, right to left: the notation that every task shares.

Each column is one small sum whose result can be checked by itself; carries and borrows are written out:
``47+85`` is worked as ``7+5=12 4+8+1=13``, ``42-17`` as ``12-7=5 4-1-1=2``, ``347*8`` as ``7*8=56 4*8+5=37 3*8+3=27``.
"""


def _digits(number: int) -> list[int]:
    """Decimal digits, lowest first."""
    assert number >= 0
    return [int(digit) for digit in reversed(str(number))]


def add_columns(a: int, b: int) -> str:
    """The columns of a + b for a, b >= 0; a column that has only one digit left adds 0."""
    digits_a, digits_b = _digits(a), _digits(b)
    width = max(len(digits_a), len(digits_b))
    columns, carry = [], 0
    for x, y in zip(
        digits_a + [0] * (width - len(digits_a)), digits_b + [0] * (width - len(digits_b)), strict=True
    ):
        total = x + y + carry
        columns.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return " ".join(columns)


def sub_columns(a: int, b: int) -> str:
    """The columns of a - b for a >= b >= 0; a column that borrows is written with its ten (``12-7=5``)."""
    assert a >= b
    digits_a, digits_b = _digits(a), _digits(b)
    columns, borrow = [], 0
    for x, y in zip(digits_a, digits_b + [0] * (len(digits_a) - len(digits_b)), strict=True):
        lend = x - y - borrow < 0
        top = x + 10 if lend else x
        columns.append(f"{top}-{y}{'-1' if borrow else ''}={top - y - borrow}")
        borrow = int(lend)
    return " ".join(columns)


def times_columns(a: int, digit: int) -> str:
    """The columns of a * digit for a >= 0 and one digit; the tens of a column carry into the next."""
    assert 0 <= digit <= 9
    columns, carry = [], 0
    for x in _digits(a):
        total = x * digit + carry
        columns.append(f"{x}*{digit}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return " ".join(columns)


def signed_sum(a: int, b: int) -> str:
    """The columns of a + b with signs: like signs add, unlike signs take the smaller size from the larger."""
    if (a < 0) == (b < 0):
        return add_columns(abs(a), abs(b))
    return sub_columns(max(abs(a), abs(b)), min(abs(a), abs(b)))
