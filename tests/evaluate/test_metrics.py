"""The statistics, against brute force and against published values."""

from fractions import Fraction
from itertools import combinations, product
from math import comb, isclose, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.evaluate.metrics import (
    Cast,
    bootstrap,
    compared,
    fit_log2,
    mean,
    pass_at_k,
    percentiles,
    resampled,
    sign_test,
    votes_at_k,
    wilson,
)

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


RIGHT = {"a": True, "b": False, "c": None}
"""By answer: a right one, a wrong one, and one that the grader cannot decide."""
chains = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3)), min_size=1, max_size=7).map(
    lambda drawn: [Cast(answer, RIGHT.get(answer or "", False), weight / 4) for answer, weight in drawn]
)


def elected(subset: tuple[Cast, ...]) -> Fraction | None:
    """The chance of a right answer, by the definition: each of the heaviest answers is equally likely."""
    answers = {cast.answer for cast in subset} - {None}
    if not answers:
        return Fraction(0)
    sums = {answer: sum(Fraction(cast.weight) for cast in subset if cast.answer == answer) for answer in answers}
    tied = [answer for answer in answers if sums[answer] == max(sums.values()) and RIGHT[answer] is not None]
    return Fraction(sum(RIGHT[answer] for answer in tied), len(tied)) if tied else None


@given(chains)
def test_votes_at_k_are_the_mean_over_all_subsets(casts):
    found = votes_at_k(casts, range(1, len(casts) + 1), 0)
    for k in range(1, len(casts) + 1):
        each = [chance for subset in combinations(casts, k) if (chance := elected(subset)) is not None]
        assert (k in found) == bool(each)
        if each:
            assert isclose(found[k], sum(each) / len(each), abs_tol=1e-9)


def test_votes_at_k_do_not_tell_answers_apart_by_blanks():
    casts = [Cast("x ", True), Cast(" x", True), Cast("y", False), Cast("y", False), Cast("x", True)]
    assert votes_at_k(casts, [5])[5] == 1.0


def test_subsets_are_drawn_where_there_are_too_many_to_try():
    casts = [Cast("a", True)] * 12 + [Cast(f"w{i}", False) for i in range(8)] + [Cast("b", False)] * 12
    found = votes_at_k(casts, [4, 32], "seed", draws=400)
    assert found[32] == 0.5
    total = 0.0
    for a, b in product(range(5), repeat=2):
        if a + b <= 4:
            ways = comb(12, a) * comb(12, b) * comb(8, 4 - a - b)
            most, others = max(a, b, 1 if a + b < 4 else 0), 4 - a - b
            tied = (a == most) + (b == most) + (others if most == 1 else 0)
            total += ways * (a == most) / tied
    assert found[4] == pytest.approx(total / comb(32, 4), abs=0.06)
    assert found == votes_at_k(casts, [4, 32], "seed", draws=400) != votes_at_k(casts, [4, 32], "other", draws=400)


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=30), st.integers(0, 5))
def test_a_bootstrap_holds_its_mean_and_is_the_same_again(values, seed):
    found = bootstrap(values, seed, times=200)
    assert found == bootstrap(values, seed, times=200)
    assert min(values) <= found.low <= found.high <= max(values)
    assert isclose(found.mean, sum(values) / len(values))


def test_a_bootstrap_of_few_values_has_the_exact_distribution():
    means = resampled([0.0, 1.0, 1.0], "few", times=20_000)
    for right in range(4):
        expected = comb(3, right) * (2 / 3) ** right * (1 / 3) ** (3 - right)
        assert sum(isclose(one, right / 3) for one in means) / 20_000 == pytest.approx(expected, abs=0.015)


def test_a_bootstrap_covers_what_wilson_covers():
    low, high = bootstrap([1.0] * 120 + [0.0] * 180, "cover")[1:]
    wide = wilson(120, 300)
    assert low == pytest.approx(wide[0], abs=0.012) and high == pytest.approx(wide[1], abs=0.012)


def test_percentiles_are_of_the_middle_95():
    assert percentiles([i / 1000 for i in range(1001)]) == (0.025, 0.975)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=20))
def test_a_paired_difference_is_of_the_same_problems_and_turns_around(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = compared(first, second, 1, times=200), compared(second, first, 1, times=200)
    assert isclose(there.mean, -back.mean, abs_tol=1e-12) and (there.wins, there.losses) == (back.losses, back.wins)
    assert isclose(there.low, -back.high, abs_tol=1e-9) and there.p == back.p
    assert there.wins + there.losses == sum(a != b for a, b in pairs)


@given(st.integers(0, 9), st.integers(0, 9))
def test_the_sign_test_counts_all_splits_that_are_as_uneven(wins, losses):
    n = wins + losses
    flips = [sum(flip) for flip in product((0, 1), repeat=min(n, 12))] if n <= 12 else None
    if flips is not None:
        expected = sum(abs(2 * heads - n) >= abs(wins - losses) for heads in flips) / 2**n
        assert isclose(sign_test(wins, losses), expected)
    assert 0 < sign_test(wins, losses) <= 1


def test_mcnemars_published_example():
    assert sign_test(2, 10) == pytest.approx(0.0386, abs=1e-4)  # exact binomial, 12 discordant pairs


@given(st.floats(-1, 1), st.floats(-0.2, 0.2), st.lists(st.integers(0, 12), min_size=3, max_size=8, unique=True))
def test_a_fit_finds_the_line(at_one, slope, powers):
    tokens = [float(2**power) for power in powers]
    fit = fit_log2(tokens, [at_one + slope * log2(count) for count in tokens])
    assert fit and isclose(fit.at_one, at_one, abs_tol=1e-9) and isclose(fit.slope, slope, abs_tol=1e-9)
    assert fit.r2 is None or fit.r2 > 0.999
    assert isclose(fit.at(2 * tokens[0]) - fit.at(tokens[0]), fit.slope, abs_tol=1e-9)


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0, 1)), min_size=3, max_size=8, unique_by=lambda at: at[0]))
def test_no_other_line_is_nearer(points):
    tokens, shares = [float(count) for count, _ in points], [share for _, share in points]
    fit = fit_log2(tokens, shares)
    assert fit

    def rest(at_one: float, slope: float) -> float:
        return sum((y - at_one - slope * log2(x)) ** 2 for x, y in zip(tokens, shares, strict=True))

    least = rest(fit.at_one, fit.slope)
    for a, b in product((-0.01, 0, 0.01), repeat=2):
        assert rest(fit.at_one + a, fit.slope + b) >= least - 1e-9
    assert fit.r2 is None or -1e-6 <= fit.r2 <= 1 + 1e-9


def test_no_line_through_one_place():
    assert fit_log2([64.0, 64.0], [0.1, 0.2]) is None
    flat = fit_log2([1.0, 2.0, 4.0], [0.5, 0.5, 0.5])
    assert flat and flat.r2 is None and flat.slope == 0
