"""Columns, slips, and the chains of steps that tasks build from them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.tasks.working import (
    add_columns,
    columns_value,
    quotient_columns,
    residues,
    slip,
    sub_columns,
    times_columns,
    worked,
    working_of,
)

number = st.integers(0, 10**9)


def test_notation():
    assert add_columns(47, 85) == "7+5=12 4+8+1=13"
    assert sub_columns(42, 17) == "12-7=5 4-1-1=2"
    assert times_columns(347, 8) == "7*8=56 4*8+5=37 3*8+3=27"
    assert quotient_columns(84, 7) == "8/7=1r1 14/7=2r0"
    assert quotient_columns(0, 7) == "0/7=0r0"
    assert residues(347) == "375"


@given(number, number, st.integers(1, 9))
def test_columns_say_their_value(a: int, b: int, digit: int):
    assert columns_value(add_columns(a, b)) == a + b
    assert columns_value(sub_columns(max(a, b), min(a, b))) == abs(a - b)
    assert columns_value(times_columns(a, digit)) == a * digit
    assert columns_value(quotient_columns(a * digit, digit)) == a
    assert int(residues(a)[-1]) == a % 9


@pytest.mark.parametrize(
    ("a", "op", "b", "text"),
    [
        (-29, "+", 45, "-29+45 45-29 15-9=6 4-2-1=1 16"),
        (-29, "-", 45, "-29-45 9+5=14 2+4+1=7 -74"),
        (29, "-", -45, "29+45 9+5=14 2+4+1=7 74"),
        (20, "-", 45, "20-45 45-20 5-0=5 4-2=2 -25"),
        (13, "-", 19, "13-19=-6"),
        (-8, "*", 7, "-8*7=-56"),
        (2, "*", -19, "-19*2 9*2=18 1*2+1=3 -38"),
        (12, "*", 13, "13*12 13*1=13 13*2 3*2=6 1*2=2 26 130+26 0+6=6 3+2=5 1+0=1 156 156"),
    ],
)
def test_signed_working(a: int, op: str, b: int, text: str):
    value = {"+": a + b, "-": a - b, "*": a * b}[op]
    assert worked(a, op, b) == (text, value)
    restated = working_of(text.split()[0])
    assert restated == (None if "=" in text.split()[0] else text.split())


@given(number, number, st.integers(0, 9), st.integers(0, 1000))
def test_a_slip_is_one_column_and_seen_by_casting_out_nines(a: int, b: int, digit: int, seed: int):
    for columns in (add_columns(a, b), sub_columns(max(a, b), min(a, b)), times_columns(a, digit)):
        slipped = slip(columns, Random(seed))
        assert slipped is not None
        changed = [pair for pair in zip(columns.split(" "), slipped.split(" "), strict=True) if len(set(pair)) > 1]
        assert len(changed) == 1
        value, wrong = columns_value(columns), columns_value(slipped)
        assert value is not None and wrong is not None and (value - wrong) % 9


@given(st.text(max_size=80))
def test_any_text_is_columns_or_is_not(text: str):
    value = columns_value(text)
    assert value is None or value >= 0


@pytest.mark.parametrize("text", ["", "not sure", "1+1", "1+1= 2+2=4", "1+1=²", "5: 3*4=12;"])
def test_other_text_has_no_value(text: str):
    assert columns_value(text) is None
    assert slip(text, Random(0)) is None
