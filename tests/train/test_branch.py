"""Siblings go on from the boundary before the first bad block, as one policy with what they go on from."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ponder.engine.grammar import Replay
from ponder.engine.local import LocalSampler
from ponder.interfaces import Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.runs import Run
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.text.effort import Budget
from ponder.train.advantages import Fork, Group, Lesson, Scored
from ponder.train.batch import pack_segments
from ponder.train.branch import Branch
from ponder.train.policy import policy_batches, sampled_logprobs
from ponder.train.rewards import Reward, Rewards
from ponder.train.rl import RLConfig, run_rl
from ponder.train.rollout import Draw, Drawn, Kept, roll_out_all
from ponder.types import (
    Block,
    BlockCheck,
    Completion,
    Effort,
    Ended,
    Grade,
    Message,
    Problem,
    Rating,
    Rollout,
    Segment,
    Split,
    Style,
)

PROBLEM = make(TASKS["multiplication"], 1, Split.TRAIN, 0)
COUNTDOWN = make(TASKS["countdown"], 2, Split.TRAIN, 5)


def gap(checkpoint: Checkpoint, chains: list[tuple[Segment, ...]]) -> float:
    network, tokenizer = checkpoint.own()
    replay = Replay.of(tokenizer.special, tokenizer.size, torch.device("cpu"))
    lessons = [Lesson(pack_segments(chain), chain, (1.0,) * len(chain), 1.0, 1) for chain in chains]
    with torch.no_grad():
        (batch,) = policy_batches(lessons, replay, 10**6)
        return float((sampled_logprobs(network, batch, replay.allowed) - batch.sampled).abs().max())


@pytest.mark.parametrize("window", [None, 1, 2])
def test_what_goes_on_is_one_thought_and_one_policy(taught: Path, window: int | None) -> None:
    found = load_checkpoint(taught)
    found = replace(found, config=found.config.model_copy(update={"fold_window": window}))
    whole = asyncio.run(
        roll_out_all(
            [Draw(PROBLEM, Effort.LOW, seed, budget=Budget(120, 9)) for seed in range(12)], LocalSampler(found)
        )
    )
    (first,) = [one for one in whole if len(one.rollout.completion.blocks) >= 3][:1]
    blocks = first.rollout.completion.blocks[:2]
    spent = sum(len(segment.generated) for segment in first.rollout.segments[:2])
    draws = [replace(first.draw, seed=seed, kept=Kept(blocks, spent)) for seed in range(8)]
    siblings = asyncio.run(roll_out_all(draws, LocalSampler(found)))
    assert gap(found, [one.rollout.segments for one in siblings]) < 1e-4
    for one in siblings:
        completion, segments = one.rollout.completion, one.rollout.segments
        assert completion.blocks[:2] == blocks and len(segments) == len(completion.blocks) - 1
        assert completion.tokens.thinking == spent + sum(len(segment.generated) for segment in segments[:-1]) <= 120
        assert segments[0].context == first.rollout.segments[2].context
    assert len({one.rollout.completion.blocks for one in siblings}) > 1
    tired = [replace(first.draw, kept=Kept(blocks, 119))]
    (forced,) = asyncio.run(roll_out_all(tired, LocalSampler(found)))
    assert forced.rollout.completion.blocks == blocks, "without thinking tokens left it must answer"


def test_blocks_with_the_same_fold_are_one_policy_too(taught: Path) -> None:
    found = load_checkpoint(taught)
    prefix = Prefix((Message("user", PROBLEM.prompt),), Effort.LOW, (Block("step 1", "", "yes"),))
    made = asyncio.run(
        LocalSampler(found).extend(prefix, Limit(40, 9), [Sampling(1.0, seed=seed) for seed in range(6)])
    )
    segments = tuple(one.segment for one in made)
    assert len({segment.context for segment in segments}) == 1
    assert gap(found, [segments[:2], segments[2:5], segments[5:]]) < 1e-4


# --- where ------------------------------------------------------------------------------------------------------------


def scored(
    problem: Problem,
    blocks: tuple[Block, ...],
    right: bool | None = False,
    tokens: int = 5,
    ratings: tuple[Rating, ...] | None = None,
) -> Scored:
    segments = tuple(Segment((1,), (1,) * tokens, (0.0,) * tokens) for _ in range(len(blocks) + 1))
    completion = Completion(blocks, "1", Ended.ANSWERED)
    grade = Grade(None if right is None else float(right))
    drawn = Drawn(
        Draw(problem, Effort.LOW, 0, budget=Budget(100)), Rollout(problem, completion, segments, grade), ratings
    )
    return Scored(drawn, Reward({} if right is None else {"outcome": float(right)}))


def shown(style: Style = Style.CLEAN) -> tuple[Block, ...]:
    return TASKS["countdown"].demonstrate(COUNTDOWN, rng_for("shown"), style).blocks


def test_the_last_place_from_which_it_can_be_won() -> None:
    blocks = shown()
    assert len(blocks) >= 3
    lost = (*blocks[:-2], replace(blocks[-2], summary="no"), blocks[-1])
    assert Branch().boundary_of(scored(COUNTDOWN, lost)) == len(blocks) - 2, "before the hit that was missed"
    false = Block("check", blocks[-1].thoughts, blocks[-1].summary.replace("ok", "is right, ok"))
    sure = (*blocks[:-2], false)
    assert Branch().boundary_of(scored(COUNTDOWN, sure)) == len(blocks) - 2, "what it takes for won is not gone on from"
    early = (blocks[0], replace(blocks[1], summary="no such thing"), *blocks[2:])
    assert Branch(boundary="valid").boundary_of(scored(COUNTDOWN, early)) == 1
    assert Branch(boundary="valid").boundary_of(scored(COUNTDOWN, blocks)) == 0, "no block is bad"
    assert Branch().boundary_of(scored(COUNTDOWN, blocks)) == len(blocks), "only the answer was wrong"
    assert Branch().boundary_of(scored(COUNTDOWN, blocks, tokens=30)) == 2, "what is left must be worth it"
    own = replace(COUNTDOWN, task="own")
    assert Branch().boundary_of(scored(own, blocks)) == 0, "no checker, no boundary"


def test_the_head_finds_it_too() -> None:
    branch = Branch(by="head", doubt=0.4)
    assert (branch.head, Branch().head) == ("read", "unused")
    ratings = tuple(Rating(0.5, validity) for validity in (0.1, 0.9, 0.5, 0.3, 0.2, 0.0))
    assert branch.boundary_of(scored(PROBLEM, (Block("a", "", ""),) * 4, ratings=ratings)) == 2
    assert branch.boundary_of(scored(PROBLEM, (Block("a", "", ""),) * 4, ratings=(Rating(0.5, 0.9),) * 6)) == 0


def test_which_groups_and_which_of_their_rollouts() -> None:
    blocks = shown()
    lost = (*blocks[:-2], replace(blocks[-2], summary="no"), blocks[-1])
    near, far = scored(COUNTDOWN, lost), scored(COUNTDOWN, blocks[:2])
    right, torn = scored(COUNTDOWN, blocks, right=True), scored(COUNTDOWN, lost, right=None)
    failed, mixed = [far, near, near, torn], [right, near]

    def at(branch: Branch, group: Group) -> list[int]:
        return [fork.blocks for fork in branch.forks_of(group)]

    assert at(Branch(), failed) == [len(blocks) - 2] and at(Branch(), mixed) == []
    assert at(Branch(forks=3), failed) == [len(blocks) - 2, 2], "equal states once"
    assert at(Branch(groups="wrong"), mixed) == [len(blocks) - 2] and at(Branch(groups="wrong"), [right, torn]) == []


def test_siblings_are_compared_with_each_other_alone() -> None:
    blocks = shown()
    lost = scored(COUNTDOWN, (*blocks[:-2], replace(blocks[-2], summary="no"), blocks[-1]))
    asked: list[Fork] = []

    def again(forks: object) -> list[Group]:
        asked.extend(forks)  # type: ignore[arg-type]
        return [[scored(COUNTDOWN, blocks[:1], right=True, tokens=3), *[scored(COUNTDOWN, blocks[:1], tokens=4)] * 3]]

    lessons = Branch(siblings=4).lessons([[lost, lost], [lost, scored(COUNTDOWN, blocks, right=True)]], again)
    assert [(fork.blocks, fork.samples) for fork in asked] == [(len(blocks) - 2, 4)]
    assert sorted(lesson.advantages[0] for lesson in lessons) == [-0.5, -0.25, -0.25, -0.25, 0.5, 0.75]


def test_a_kept_beginning_is_no_merit() -> None:
    ratings = (Rating(0.5, 1.0), Rating(0.9, 0.8), Rating(0.9, 0.9))
    one = scored(PROBLEM, (Block("a", "", ""),) * 3, right=True).drawn
    part = replace(one, draw=replace(one.draw, kept=Kept((Block("a", "", ""),) * 2, 20)), ratings=ratings)
    assert Rewards(process="head").of(part).terms["process"] == pytest.approx(0.2 * 0.8)
    assert Scored(part, Reward({})).thinking(3) == 25


# --- learning ---------------------------------------------------------------------------------------------------------


def seven(problem: Problem, completion: Completion) -> Grade:
    return Grade(float(completion.answer.strip() in ("3", "7")))


def two_at_most(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """A checker for which any third block is one too many."""
    return tuple(BlockCheck(at < 2, at < 2) for at in range(len(blocks)))


def test_where_all_fail_it_learns_from_siblings(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "multiplication", replace(TASKS["multiplication"], check_blocks=two_at_most))
    config = RLConfig.model_validate(
        {
            "model": str(taught),
            "tasks": ("multiplication:1",),
            "algorithm": "branch",
            "options": {"siblings": 8, "forks": 2},
            "efforts": ("low",),
            "thinking": 60,
            "answer": 6,
            "problems": 8,
            "samples": 2,
            "steps": 16,
            "learning_rate": 3e-3,
            "threads": 1,
            "workers": 1,
            "shown": 1,
        }
    )
    run_rl(config, tmp_path, grader=seven)
    records = [record for record in Run(tmp_path).metrics() if "degenerate" in record]
    assert sum(record["forks"] for record in records) >= 16
    assert max(record.get("gap", 0.0) for record in records) < 1e-4
    assert records[0]["success"] < 0.3
    late = sum(record["success"] for record in records[-4:]) / 4
    assert late > records[0]["success"] + 0.25
    kept = [sample for sample in Run(tmp_path).samples() if sample["kept"]]
    assert kept and all(len(sample["blocks"]) >= sample["kept"] for sample in kept)
