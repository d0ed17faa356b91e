"""No combination of the other terms outweighs the outcome, and a failing grader costs one sample."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ponder.errors import ConfigError
from ponder.reward.exact import exact_ratings
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.text.effort import Budget
from ponder.train.rewards import Rewards, grade_alone, worst_progress, worst_validity
from ponder.train.rollout import Draw, Drawn, Kept
from ponder.types import Block, Completion, Effort, Ended, Grade, Rating, Rollout, Split, Style, Tokens

PROBLEM = make(TASKS["letters"], 1, Split.TRAIN, 0)
SHARES = st.floats(0, 1)
RATINGS = st.lists(st.builds(Rating, SHARES, SHARES), min_size=2, max_size=6)


def drawn(
    grade: Grade,
    ended: Ended = Ended.ANSWERED,
    thinking: int = 0,
    ratings: tuple[Rating, ...] | None = None,
    kept: int = 0,
) -> Drawn:
    """Blocks that the checker finds right and wrong in turn, the first of them kept from another rollout."""
    right = TASKS["letters"].demonstrate(PROBLEM, rng_for("drawn"), Style.CLEAN).blocks[0]
    blocks = (right, Block("a", "b", "c")) * (kept + len(ratings or ()))
    blocks = blocks[: kept + max(0, len(ratings or ()) - 2)]
    completion = Completion(blocks, "3", ended, Tokens(thinking=thinking))
    draw = Draw(PROBLEM, Effort.LOW, 0, budget=Budget(100), kept=Kept(blocks[:kept], 0))
    return Drawn(draw, Rollout(PROBLEM, completion, (), grade), ratings)


@given(
    st.tuples(SHARES, SHARES, SHARES),
    st.tuples(st.sampled_from(["off", "exact", "head"]), st.sampled_from(["min", "progress"])),
    st.tuples(RATINGS, RATINGS),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
    st.tuples(st.sampled_from(list(Ended)), st.sampled_from(list(Ended))),
    st.floats(0, 0.99),
)
def test_right_is_worth_more_than_wrong_whatever_else(weights, kind, ratings, kept, lengths, ended, soft) -> None:  # type: ignore[no-untyped-def]
    process, format_, length = weights
    assume(sum(weights) < 0.999 and max(weights) < 1)
    rewards = Rewards(
        process=kind[0],
        form=kind[1],
        process_weight=process,
        format_weight=format_,
        length_weight=length,
        soft_length=soft,
    )
    right, wrong = (
        rewards.of(drawn(Grade(score), ended[n], lengths[n], tuple(ratings[n]), kept[n]))
        for n, score in enumerate((1.0, 0.0))
    )
    assert right.total > wrong.total
    assert set(right.terms) == {"outcome", "format", "length", *(["process"] if kind[0] != "off" else [])}
    assert right.total == pytest.approx(sum(right.terms.values()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"process_weight": 0.5, "format_weight": 0.3, "length_weight": 0.2},
        {"length_weight": -0.1},
        {"format_weight": 1.0},
        {"process_weight": math.nan},
        {"soft_length": 1.0},
    ],
)
def test_weights_that_could_outweigh_it_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="fit"):
        Rewards(**wrong)  # type: ignore[arg-type]


def test_the_terms_are_what_they_are_called() -> None:
    rewards = Rewards(format_weight=0.1, length_weight=0.2, soft_length=0.5)
    assert rewards.of(drawn(Grade(1.0))).terms == {"outcome": 1.0, "format": 0.0, "length": 0.0}
    assert rewards.of(drawn(Grade(1.0), thinking=75)).terms["length"] == pytest.approx(-0.1)
    assert rewards.of(drawn(Grade(0.0), thinking=300)).terms["length"] == pytest.approx(-0.2)
    assert rewards.of(drawn(Grade(0.0), Ended.CUT_OFF)).terms["format"] == pytest.approx(-0.1)
    assert rewards.of(drawn(Grade(0.9))).terms["outcome"] == 0.0, "nearly right is not right"


def test_more_blocks_are_never_worth_more() -> None:
    ratings = (Rating(0.5, 1.0), Rating(0.8, 0.9), Rating(0.4, 0.7))
    assert worst_validity(ratings) == 0.7 and worst_progress(ratings) == pytest.approx(-0.4)
    for more in (Rating(1.0, 1.0), Rating(0.0, 0.0)):
        longer = (*ratings, more)
        assert worst_validity(longer) <= worst_validity(ratings)
        assert worst_progress(longer) <= worst_progress(ratings)
    assert worst_progress(ratings[:1]) == 0.0 and worst_validity(ratings[:1]) == 0.5


def test_the_exact_checker_rates_blocks() -> None:
    rng = rng_for("reward")
    long = make(TASKS["letters"], 2, Split.TRAIN, 1)
    clean = TASKS["letters"].demonstrate(long, rng, Style.CLEAN).blocks
    slipped = (clean[0], replace(clean[1], summary="X=99"), *clean[2:])
    rewards = Rewards(process="exact", process_weight=0.2)

    def term(blocks: tuple[Block, ...]) -> float:
        rollout = Rollout(long, Completion(blocks, "1", Ended.ANSWERED), (), Grade(0.0))
        return rewards.of(Drawn(Draw(long, Effort.LOW, 0), rollout, None)).terms["process"]

    assert term(clean) == pytest.approx(0.2)
    assert term(slipped) == 0.0
    assert [rating.validity for rating in exact_ratings(long, Completion(clean, "1", Ended.ANSWERED))][1:] == [
        1.0
    ] * len(clean)


def test_a_grader_that_fails_costs_its_sample_alone() -> None:
    def fails(problem: object, completion: object) -> Grade:
        raise ZeroDivisionError("by nothing")

    completion = Completion((), "3", Ended.ANSWERED)
    for grader, why in (
        (fails, "by nothing"),
        (lambda p, c: Grade(math.nan), "nan"),
        (lambda p, c: Grade(7.0), r"7\.0"),
        (lambda p, c: None, "score"),
        (lambda p, c: Grade("1"), "not supported"),  # type: ignore[arg-type]
    ):
        grade = grade_alone(PROBLEM, completion, grader)  # type: ignore[arg-type]
        assert grade.score is None and not grade.right
        reward = Rewards().of(drawn(grade))
        assert not reward.decided and reward.terms == {}
        assert re.search(why, reward.note), reward.note
    assert grade_alone(PROBLEM, completion, lambda p, c: Grade(None, "torn")).note == "torn"
    broken = drawn(Grade(1.0), ratings=(Rating(0.5, 1.0), Rating(math.nan, 1.0), Rating(0.5, 1.0)))
    assert not Rewards(process="head").of(broken).decided
