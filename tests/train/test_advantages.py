"""Groups are compared within themselves, by golden numbers; expert iteration keeps the short and the different."""

from dataclasses import replace

import pytest
import torch

from ponder.errors import ConfigError
from ponder.reward.exact import exact_checks
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.text.effort import Budget
from ponder.train.advantages import Group, Scored, degenerate, group_advantages
from ponder.train.algorithms import ALGORITHMS, algorithm_named
from ponder.train.grpo import Grpo
from ponder.train.rewards import Reward
from ponder.train.rollout import Draw, Drawn
from ponder.train.star import Star
from ponder.types import Block, Completion, Effort, Ended, Grade, Rollout, Segment, Split, Style

PROBLEM = make(TASKS["letters"], 1, Split.TRAIN, 0)


def one(right: bool | None, length: int = 4, said: str = "a", more: float = 0.0) -> Scored:
    segment = Segment((1, 2), tuple(range(length)), (-0.5,) * length, (99, 9))
    completion = Completion((Block(said, "", ""),), "3", Ended.ANSWERED)
    grade = Grade(None if right is None else float(right))
    drawn = Drawn(Draw(PROBLEM, Effort.LOW, 0), Rollout(PROBLEM, completion, (segment,), grade), None)
    return Scored(drawn, Reward({} if right is None else {"outcome": float(right), "length": more}))


def demonstrated(*bad: int) -> Scored:
    """The clean thought about a product, with other summaries in these blocks; right if there are none."""
    problem = make(TASKS["multiplication"], 1, Split.TRAIN, 0)
    shown = TASKS["multiplication"].demonstrate(problem, rng_for("blame"), Style.CLEAN)
    blocks = tuple(
        replace(block, summary="5'5 left 5") if at in bad else block for at, block in enumerate(shown.blocks)
    )
    segments = tuple(Segment((1, 2), (at, at), (-0.5,) * 2, (99, 9)) for at in range(len(blocks) + 1))
    rollout = Rollout(problem, Completion(blocks, shown.answer, Ended.ANSWERED), segments, Grade(float(not bad)))
    return Scored(Drawn(Draw(problem, Effort.LOW, 0), rollout, None), Reward({"outcome": float(not bad)}))


def never(forks: object) -> list[Group]:
    raise AssertionError("nothing is sampled again")


def test_rewards_are_compared_within_their_group() -> None:
    group = [one(True), one(False), one(False), one(None), one(False)]
    plain = [advantage for _, advantage in group_advantages(group, std=False)]
    assert plain == pytest.approx([0.75, -0.25, -0.25, -0.25]), "the undecided one is left out"
    scaled = [advantage for _, advantage in group_advantages(group, std=True)]
    assert scaled == pytest.approx([3**0.5, *[-(3**-0.5)] * 3])
    assert sum(plain) == pytest.approx(0) and sum(scaled) == pytest.approx(0)


def test_groups_without_variance_teach_nothing() -> None:
    assert degenerate([one(True), one(True)]) and degenerate([one(None)]) and degenerate([one(True), one(None)])
    assert degenerate([one(False, more=-0.05), one(False)]), "being wrong briefly is not learned"
    assert not degenerate([one(True), one(False)])
    assert Grpo().lessons([[one(False, more=-0.05), one(False)], [one(None), one(True)]], never) == []


def test_the_blame_lies_on_the_first_and_the_last_bad_block() -> None:
    right, wrong, group = demonstrated(), demonstrated(0, 1, 2), [demonstrated(), demonstrated(0, 1, 2)]
    blocks = len(right.drawn.rollout.completion.blocks)
    better, worse = Grpo(blame="block").lessons([group], never)
    assert better.advantages == (0.5,) * (blocks + 1) and better.segments == right.drawn.rollout.segments
    rollout = wrong.drawn.rollout
    last = max(at for at, check in enumerate(exact_checks(rollout.problem, rollout.completion)) if check.valid is False)
    assert last > 1 and worse.advantages == (-0.5, -0.5)
    assert [segment.generated[0] for segment in worse.segments] == [0, last]
    assert [lesson.terms for lesson in (better, worse)] == [1, 1], "and it counts as one rollout still"
    (_, all_of_it) = Grpo().lessons([group], never)
    assert all_of_it.advantages == (-0.5,) * (blocks + 1)
    lucky = wrong._replace(reward=Reward({"outcome": 1.0}))
    gained, _ = Grpo(blame="block").lessons([[lucky, wrong]], never)
    assert [segment.generated[0] for segment in gained.segments] == [blocks], "and by bad blocks nobody gains"


def test_where_no_block_is_bad_all_of_it_pays() -> None:
    group = [demonstrated(), demonstrated()._replace(reward=Reward({"outcome": 0.0}))]
    _, worse = Grpo(blame="block").lessons([group], never)
    assert set(worse.advantages) == {-0.5} and len(worse.segments) == len(group[1].drawn.rollout.segments)


def test_a_budget_that_ran_out_is_no_single_blocks_fault() -> None:
    wrong = demonstrated(1)
    spent = sum(len(segment.generated) for segment in wrong.drawn.rollout.segments[:-1])
    for most, segments in ((2 * spent, 2), (spent, len(wrong.drawn.rollout.segments))):
        drawn = replace(wrong.drawn, draw=replace(wrong.drawn.draw, budget=Budget(most)))
        _, worse = Grpo(blame="block").lessons([[demonstrated(), wrong._replace(drawn=drawn)]], never)
        assert len(worse.segments) == segments


@pytest.mark.parametrize(
    ("mean", "weights", "terms"),
    [("token", [1.0, 1.0], [4, 8]), ("fixed", [0.1, 0.1], [1, 1]), ("sequence", [0.25, 0.125], [1, 1])],
)
def test_the_loss_is_divided_as_it_says(mean: str, weights: list[float], terms: list[int]) -> None:
    lessons = Grpo.model_validate({"mean": mean, "length": 10}).lessons([[one(True, 4), one(False, 8)]], never)
    assert [lesson.weight for lesson in lessons] == pytest.approx(weights)
    assert [lesson.terms for lesson in lessons] == terms
    assert [lesson.advantages for lesson in lessons] == [(0.5,), (-0.5,)]


def test_the_clip_is_wider_upwards() -> None:
    algorithm = Grpo(eps_low=0.2, eps_high=0.28)
    ratios = torch.tensor([1.0, 1.25, 1.5, 0.7, 1.5, 0.7])
    advantages = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    now = ratios.log().requires_grad_()
    losses = algorithm.token_losses(now, torch.zeros(6), advantages)
    assert losses.tolist() == pytest.approx([-1.0, -1.25, -1.28, -0.7, 1.5, 0.8])
    losses.sum().backward()
    assert now.grad is not None
    assert now.grad.tolist() == pytest.approx([-1.0, -1.25, 0.0, -0.7, 1.5, 0.0]), "beyond the clip nothing pulls"


def test_star_keeps_the_short_and_the_different() -> None:
    group = [one(True, 9, "a"), one(True, 5, "b"), one(True, 6, "b"), one(False, 2, "c"), one(True, 7, "d")]
    kept = Star(keep=2).kept(group)
    assert [found.length for found in kept] == [5, 7], "6 goes the same way as 5, 9 is the longest"
    lessons = Star(keep=9).lessons([group, [one(True), one(True)]], never)
    assert [lesson.terms for lesson in lessons] == [5, 7, 9], "what is always solved needs no practice"
    losses = Star().token_losses(torch.tensor([-0.5, -2.0]), torch.zeros(2), torch.ones(2))
    assert losses.tolist() == [0.5, 2.0]


def test_unknown_names_are_refused() -> None:
    assert set(ALGORITHMS) == {"grpo", "branch", "ppo", "star"}
    assert algorithm_named("grpo", {"std": True}) == Grpo(std=True)
    with pytest.raises(ConfigError, match="the algorithms are grpo, branch, ppo, star"):
        algorithm_named("dpo", {})
    with pytest.raises(
        ConfigError, match=r"unknown option 'eps' of grpo, did you mean 'eps_low'\? its options are std"
    ):
        algorithm_named("grpo", {"eps": 0.2})
    with pytest.raises(ConfigError, match="eps_low=2 does not fit"):
        algorithm_named("grpo", {"eps_low": 2})
