"""Votes and ties, by hand and by property."""

from hypothesis import given
from hypothesis import strategies as st

from ponder.search import VOTES
from ponder.search.select import Chain, Score, grouped, top, vote
from ponder.types import Rating

answers = st.lists(st.sampled_from(["1", "2", " 2 ", "3", None]), min_size=1, max_size=12)
weights = st.lists(st.floats(0, 1), min_size=12, max_size=12)


def chain(index: int, answer: str | None, *values: float) -> Chain:
    return Chain(index, answer, tuple(Rating(value, 1 - value) for value in values))


def test_scores():
    ratings = [Rating(0.9, 0.5), Rating(0.2, 0.8), Rating(0.6, 0.5)]
    assert [score.of(ratings) for score in (Score.LAST, Score.MIN, Score.PRODUCT)] == [0.6, 0.5, 0.2]


def test_votes_by_hand():
    chains = [chain(0, "a", 0.9), chain(1, "b", 0.5), chain(2, " b", 0.6), chain(3, None), chain(4, "c", 0.3)]
    chosen = {name: elect(chains, 0, str.strip) for name, elect in VOTES.items()}
    assert chosen == {
        "majority": 1,
        "best_of_n": 0,
        "weighted_vote": 2,
        "weighted_vote_min": 1,
        "weighted_vote_product": 1,
    }


def test_nobody_answered():
    assert {elect([chain(0, None, 0.5), chain(1, None)], 0, str.strip) for elect in VOTES.values()} == {None}


@given(answers, weights, st.integers(0, 10**6))
def test_a_vote_has_the_largest_sum_and_its_heaviest_chain(answers, weights, seed):
    found = vote(answers, weights, seed)
    groups = grouped(answers)
    if found is None:
        assert not groups
        return
    sums = {key: sum(weights[index] for index in group) for key, group in groups.items()}
    key = answers[found].strip()
    assert sums[key] == max(sums.values()) and weights[found] == max(weights[index] for index in groups[key])


@given(answers)
def test_groups_hold_every_answer_once(answers):
    groups = grouped(answers)
    assert sorted(index for group in groups.values() for index in group) == [
        index for index, answer in enumerate(answers) if answer is not None
    ]
    assert len({key.strip() for key in groups}) == len(groups)


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(0, 20), st.integers())
def test_top_is_best_first_and_depends_on_its_seed_alone(scores, count, seed):
    best = top(scores, count, seed)
    assert [scores[index] for index in best] == sorted(scores, reverse=True)[:count]
    assert best == top(scores, count, seed) and len(set(best)) == len(best)


def test_ties_are_broken_by_chance_and_fairly():
    winners = [top([0.5, 0.5, 0.1, 0.5], 1, seed)[0] for seed in range(600)]
    assert {0, 1, 3} == set(winners) and all(150 < winners.count(index) < 250 for index in (0, 1, 3))
    assert {vote(["a", "b", "a", "b"], [1.0] * 4, seed) for seed in range(20)} == {0, 1}
