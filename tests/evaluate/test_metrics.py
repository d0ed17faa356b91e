"""The statistics, against brute force and against published values."""

from itertools import combinations
from math import isclose

from hypothesis import given
from hypothesis import strategies as st

from ponder.evaluate.metrics import majority, mean, pass_at_k, wilson

counts = st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_wilson_has_the_published_values():
    low, high = wilson(81, 263)  # Newcombe (1998), table I, method 3
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = wilson(0, 20)
    assert (low, round(high, 4)) == (0.0, 0.1611)


@given(counts)
def test_wilson_holds_the_share_and_stays_in_range(count):
    right, n = count
    low, high = wilson(right, n)
    assert 0.0 <= low <= (right / n if n else 0.5) <= high <= 1.0


@given(counts)
def test_wilson_is_symmetric(count):
    right, n = count
    low, high = wilson(right, n)
    other_low, other_high = wilson(n - right, n)
    assert isclose(low, 1 - other_high, abs_tol=1e-12) and isclose(high, 1 - other_low, abs_tol=1e-12)


@given(st.integers(1, 200), st.floats(0, 1))
def test_wilson_takes_fractions_and_narrows_with_n(n, share):
    low, high = wilson(share * n, n)
    more_low, more_high = wilson(share * 4 * n, 4 * n)
    assert more_high - more_low <= high - low + 1e-12


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(case):
    n, right, k = case
    draws = list(combinations(range(n), k))
    expected = sum(any(sample < right for sample in draw) for draw in draws) / len(draws)
    assert isclose(pass_at_k(n, right, k), expected, abs_tol=1e-12)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_1_is_the_mean_and_more_draws_never_hurt(case):
    n, right = case
    assert isclose(pass_at_k(n, right, 1), right / n, abs_tol=1e-9)
    values = [pass_at_k(n, right, k) for k in range(1, n + 1)]
    assert all(b >= a - 1e-12 for a, b in zip(values, values[1:], strict=False))


def test_mean_of_nothing_is_nothing():
    assert mean([]) is None
    assert mean([1.0, 2.0]) == 1.5


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_majority_is_most_frequent_and_of_those_the_first(answers):
    chosen = majority(answers)
    most = max(answers.count(answer) for answer in answers)
    assert chosen == next(answer for answer in answers if answers.count(answer) == most)
