"""The scheduler: samples of one context, cancellations, and nothing left behind."""

import asyncio
from pathlib import Path
from random import Random

import pytest
import torch

from ponder.engine.kv_cache import Slots, Span, Store
from ponder.engine.local import LocalSampler
from ponder.interfaces import Limit, Prefix, Sampling
from ponder.model.checkpoint import load_checkpoint
from ponder.model.sizes import shape_named
from ponder.types import Block, Effort, Message


@pytest.fixture
def sampler(micro_checkpoint: Path) -> LocalSampler:
    return LocalSampler(load_checkpoint(micro_checkpoint), most_rows=12)


def prefix(number: int, blocks: int = 0) -> Prefix:
    thought = tuple(Block(f"step {i}", "the sum", f"so it is {i + number}") for i in range(blocks))
    return Prefix((Message("user", f"what is {number} " + "again " * (number % 4)),), Effort.LOW, thought)


def test_samples_of_one_context_are_those_of_separate_requests(sampler: LocalSampler) -> None:
    samplings = [Sampling(1.0, 0.95, seed) for seed in range(30)]  # more than there are rows

    async def both() -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        together = await sampler.extend(prefix(5, 2), Limit(20, 8), samplings)
        alone = [(await sampler.extend(prefix(5, 2), Limit(20, 8), [one]))[0] for one in samplings]
        return [x.segment.generated for x in together], [x.segment.generated for x in alone]

    together, alone = asyncio.run(both())
    assert together == alone
    assert len(set(together)) > 20


def test_a_known_prompt_is_not_read_again(sampler: LocalSampler) -> None:
    asyncio.run(sampler.extend(prefix(3), Limit(10, 4), [Sampling()]))
    first = sampler.scheduler.read_tokens
    asyncio.run(sampler.extend(prefix(3, 1), Limit(10, 4), [Sampling()] * 20))
    state = len(sampler.context(prefix(3, 1))) - len(sampler.context(prefix(3)))
    assert sampler.scheduler.read_tokens - first == state


def test_a_job_of_many_samples_does_not_keep_others_waiting(sampler: LocalSampler) -> None:
    order: list[str] = []

    async def run(name: str, n: int) -> None:
        await sampler.extend(prefix(len(name)), Limit(12, 4), [Sampling(1.0, 1.0, i) for i in range(n)])
        order.append(name)

    async def both() -> None:
        await asyncio.gather(run("many", 200), run("few", 3))

    asyncio.run(both())
    assert order == ["few", "many"]


def test_random_cancellations_leave_nothing_behind(sampler: LocalSampler) -> None:
    rng = Random(4)
    finished = 0

    async def one(number: int) -> None:
        nonlocal finished
        samplings = [Sampling(1.0, 1.0, number + i) for i in range(rng.randint(1, 4))]
        task = asyncio.ensure_future(sampler.extend(prefix(number % 50, number % 3), Limit(25, 6), samplings))
        if rng.random() < 0.5:
            for _ in range(rng.randint(0, 30)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            found = await task
            finished += 1
            assert len(found) == len(samplings)
        except asyncio.CancelledError:
            pass

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(40)

        async def gated(number: int) -> None:
            async with gate:
                await one(number)

        await asyncio.gather(*(gated(number) for number in range(300)))
        while sampler.scheduler.busy:  # rows of requests that were cancelled last
            await asyncio.sleep(0)

    asyncio.run(all_of_them())
    assert finished >= 140
    assert not sampler.scheduler.busy
    used, fresh = (
        asyncio.run(one.extend(prefix(1), Limit(15, 5), [Sampling(1.0, 1.0, 9)]))[0].segment.generated
        for one in (sampler, LocalSampler(sampler.checkpoint))
    )
    assert used == fresh


def test_a_failing_step_fails_those_who_wait_and_no_others(
    sampler: LocalSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = sampler.scheduler

    def fail(self: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(broken, "_decode", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        asyncio.run(sampler.extend(prefix(1), Limit(15, 5), [Sampling()]))
    assert sampler.scheduler is not broken
    assert asyncio.run(sampler.extend(prefix(1), Limit(15, 5), [Sampling()]))


def test_the_store_keeps_what_was_used_last() -> None:
    def span(tokens: int) -> Span:
        return Span(torch.ones(2, 1, tokens, 4), torch.ones(2, 1, tokens, 4))

    store = Store(most_bytes=3 * span(5).bytes)
    for name in range(3):
        store.keep((name,), span(5))
    assert store.find((0,)) is not None
    store.keep((3,), span(5))
    assert store.find((1,)) is None
    assert [store.find((name,)) is not None for name in (0, 2, 3)] == [True] * 3
    store.keep((4,), span(50))
    assert store.find((4,)) is None and store.bytes == 3 * span(5).bytes


def test_slots_grow_and_keep_what_they_hold() -> None:
    shape = shape_named("micro")
    slots = Slots(shape, torch.device("cpu"))
    slots.reserve(3, 10)
    span = Span(*torch.randn(2, shape.num_hidden_layers, shape.num_key_value_heads, 7, shape.head_dim))
    slots.put(1, span.first(4), Span(span.keys[:, :, 4:], span.values[:, :, 4:]))
    slots.reserve(5, 200)
    slots.keep(torch.tensor([1, 4]))
    assert slots.lengths.tolist() == [7, 0] and slots.rows == 2
    assert torch.equal(slots.keys[:, 0, :, :7], span.keys) and torch.equal(slots.values[:, 0, :, :7], span.values)
