"""The trainer's log-probabilities are the sampler's: folds, forced closings and answers included."""

import asyncio
import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ponder.engine.grammar import PLACES, Replay
from ponder.engine.local import LocalSampler
from ponder.interfaces import Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.network import Network
from ponder.tasks import TASKS, make
from ponder.text.effort import Budget
from ponder.train.advantages import Lesson
from ponder.train.batch import pack_segments
from ponder.train.grpo import Grpo
from ponder.train.policy import PolicyBatch, Reference, Tally, policy_batches, policy_loss, sampled_logprobs
from ponder.train.rollout import Draw, Drawn, roll_out_all
from ponder.train.star import Star
from ponder.types import Effort, Message, Segment, Split

PROBLEMS = [make(TASKS["multiplication"], 1, Split.TRAIN, index) for index in range(4)]
BUDGETS = (Budget(0, 6), Budget(14, 12), Budget(60, 3), Budget(400, 30))
"""Answers at once, blocks that are closed by force, answers that are cut off, and room for all."""


@pytest.fixture(scope="module")
def checkpoint(taught: Path) -> Checkpoint:
    return load_checkpoint(taught)


def windowed(checkpoint: Checkpoint, window: int | None) -> Checkpoint:
    return replace(checkpoint, config=checkpoint.config.model_copy(update={"fold_window": window}))


def rolled(checkpoint: Checkpoint) -> list[Drawn]:
    draws = [
        Draw(problem, effort, seed * 100 + number, budget=budget)
        for number, problem in enumerate(PROBLEMS)
        for effort in (Effort.NONE, Effort.LOW)
        for seed, budget in enumerate(BUDGETS)
    ]
    return asyncio.run(roll_out_all(draws, LocalSampler(checkpoint)))


@pytest.fixture(scope="module")
def drawn(checkpoint: Checkpoint) -> list[Drawn]:
    """Rollouts of the checkpoint as it is."""
    return rolled(checkpoint)


def replay_of(checkpoint: Checkpoint) -> Replay:
    network, tokenizer = checkpoint.own()
    return Replay.of(tokenizer.special, tokenizer.size, next(network.parameters()).device)


def lessons(drawn: list[Drawn], advantage: float = 1.0) -> list[Lesson]:
    return [taught_by(one.rollout.segments, advantage) for one in drawn]


def taught_by(segments: tuple[Segment, ...], advantage: float = 1.0) -> Lesson:
    return Lesson(pack_segments(segments), segments, (advantage,) * len(segments), 1.0, 1)


@pytest.mark.parametrize("window", [None, 1, 2])
def test_the_trainer_computes_what_was_sampled(checkpoint: Checkpoint, window: int | None) -> None:
    found = windowed(checkpoint, window)
    sampled, replay = rolled(found), replay_of(found)
    assert max(len(one.rollout.completion.blocks) for one in sampled) >= 3
    micro = policy_batches(lessons(sampled), replay, 2048)
    assert len(micro) > 1
    with torch.no_grad():
        for batch in micro:
            trained = sampled_logprobs(found.own()[0], batch, replay.allowed)
            assert (trained - batch.sampled).abs().max() < 1e-4
    chances = torch.cat([batch.sampled for batch in micro])
    assert chances.min() < -1.0, "all is certain: this compares nothing"
    rows = torch.cat([batch.rows for batch in micro])
    forced = rows >= len(PLACES)
    assert int(forced.sum()) >= 6 and bool((chances[forced] == 0).all()), "no block was closed by force"


def test_without_the_masks_it_would_be_another_policy(checkpoint: Checkpoint, drawn: list[Drawn]) -> None:
    replay = replay_of(checkpoint)
    (batch,) = policy_batches(lessons(drawn), replay, 10**6)
    with torch.no_grad():
        free = sampled_logprobs(checkpoint.own()[0], batch, torch.zeros_like(replay.allowed))
    assert (free - batch.sampled).abs().max() > 0.05


def test_a_block_that_must_come_is_replayed(checkpoint: Checkpoint) -> None:
    """What begins inside a block, or inside the answer, is told by the context's last token."""
    sampler, network = LocalSampler(checkpoint), checkpoint.own()[0]
    replay, found = replay_of(checkpoint), list[Segment]()
    for asked in (
        Prefix((Message("user", PROBLEMS[0].prompt),), Effort.LOW, think_on=True),
        Prefix((Message("user", PROBLEMS[0].prompt),), Effort.LOW, answering=True),
    ):
        samplings = [Sampling(1.0, seed=seed) for seed in range(4)]
        found += [one.segment for one in asyncio.run(sampler.extend(asked, Limit(12, 9), samplings))]
    (batch,) = policy_batches([taught_by((segment,)) for segment in found], replay, 10**6)
    with torch.no_grad():
        assert (sampled_logprobs(network, batch, replay.allowed) - batch.sampled).abs().max() < 1e-4


def test_forced_tokens_have_no_gradient(checkpoint: Checkpoint, drawn: list[Drawn]) -> None:
    replay = replay_of(checkpoint)
    (batch,) = policy_batches(lessons(drawn), replay, 10**6)
    network = checkpoint.own()[0]
    logprobs = sampled_logprobs(network, batch, replay.allowed)
    logprobs[batch.rows >= len(PLACES)].sum().backward()
    assert all(float(p.grad.abs().max()) == 0 for p in network.parameters() if p.grad is not None)
    network.zero_grad(set_to_none=True)


def test_a_gap_is_counted_while_the_weights_are_fresh(checkpoint: Checkpoint, drawn: list[Drawn]) -> None:
    replay, tally = replay_of(checkpoint), Tally()
    loss = policy_loss(Grpo(), replay, tally, Reference())
    network = copied(checkpoint)
    batches = policy_batches(lessons(drawn), replay, 10**6)
    value = loss(network, batches[0])
    assert value.item() == pytest.approx(-len(batches[0].rows), rel=1e-4), "a ratio of 1 and an advantage of 1 each"
    assert tally.numbers()["gap"] < 1e-5 and tally.numbers()["moved"] == 0
    with torch.no_grad():
        network.model.norm.weight.mul_(1.3)
    tally.fresh = False
    loss(network, batches[0])
    assert tally.numbers()["gap"] < 1e-5 and tally.numbers()["moved"] > 0.01
    tally.clear()
    loss(network, batches[0])
    assert tally.numbers()["gap"] > 1e-3


def copied(checkpoint: Checkpoint) -> Network:

    return copy.deepcopy(checkpoint.own()[0])


def test_a_reference_holds_it(checkpoint: Checkpoint, drawn: list[Drawn]) -> None:
    replay = replay_of(checkpoint)
    (batch,) = policy_batches(lessons(drawn, 0.0), replay, 10**6)
    network, there = copied(checkpoint), copied(checkpoint)
    tally = Tally()
    loss = policy_loss(Grpo(), replay, tally, Reference(0.5, there))
    assert loss(network, batch).item() == pytest.approx(0.0, abs=1e-4)
    with torch.no_grad():
        network.model.norm.weight.mul_(1.2)
    away = loss(network, batch)
    assert away.item() > 1.0 and tally.numbers()["divergence"] > 0
    away.backward()
    grad = network.model.norm.weight.grad
    assert grad is not None and float((grad * network.model.norm.weight.detach()).sum()) > 0, "it does not pull back"


def test_star_s_loss_is_the_likelihood(checkpoint: Checkpoint, drawn: list[Drawn]) -> None:
    replay = replay_of(checkpoint)
    batch: PolicyBatch = policy_batches(lessons(drawn), replay, 10**6)[0]
    with torch.no_grad():
        value = policy_loss(Star(), replay, Tally(), Reference())(checkpoint.own()[0], batch)
    assert value.item() == pytest.approx(-float(batch.sampled.sum()), rel=1e-4)
