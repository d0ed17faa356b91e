"""The scheduler: samples of one context, cancellations, and nothing left behind."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from ponder.engine.kv_cache import Slots
from ponder.engine.local import LocalSampler
from ponder.engine.spans import Span, token_bytes
from ponder.engine.store import Store
from ponder.errors import RequestError, SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import load_checkpoint
from ponder.model.heads import new_head
from ponder.model.sizes import shape_named
from ponder.types import Block, Effort, Message


@pytest.fixture(params=[True, False], ids=["native", "torch"], scope="module")
def native(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def sampler(micro_checkpoint: Path, native: bool) -> LocalSampler:
    return LocalSampler(load_checkpoint(micro_checkpoint), most_rows=12, native=native)


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
    asyncio.run(sampler.extend(prefix(3, 1), Limit(10, 4), [Sampling()] * 12))
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


def test_random_cancellations_leave_nothing_behind_and_change_nothing(sampler: LocalSampler) -> None:
    rng = Random(4)
    found: dict[int, list[tuple[int, ...]]] = {}

    def asked(number: int) -> tuple[Prefix, Limit, list[Sampling]]:
        samplings = [Sampling(1.0, 1.0, number + i) for i in range(1 + number % 4)]
        return prefix(number % 50, number % 3), Limit(25, 6), samplings

    async def one(number: int) -> None:
        task = asyncio.ensure_future(sampler.extend(*asked(number)))
        if rng.random() < 0.5:
            for _ in range(rng.randint(0, 30)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            found[number] = [extension.segment.generated for extension in await task]
        except asyncio.CancelledError:
            assert task.cancelled()

    async def all_of_them() -> int:
        gate = asyncio.Semaphore(40)

        async def gated(number: int) -> None:
            async with gate:
                await one(number)

        await asyncio.gather(*(gated(number) for number in range(300)))
        for waited in range(100):  # rows of requests that were cancelled last
            if not sampler.scheduler.busy:
                return waited
            await asyncio.sleep(0)
        return 100

    assert asyncio.run(all_of_them()) < 100
    assert 140 <= len(found) < 300
    fresh = LocalSampler(sampler.checkpoint)
    for number in list(found)[::12]:
        alone = asyncio.run(fresh.extend(*asked(number)))
        assert found[number] == [extension.segment.generated for extension in alone]


def test_a_loop_that_ends_early_leaves_the_sampler_usable(sampler: LocalSampler) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sampler.extend(prefix(1), Limit(1000, 100), [Sampling(1.0, 1.0, 3)] * 20), 0.01)

    asyncio.run(give_up())
    again = asyncio.run(sampler.extend(prefix(2), Limit(15, 5), [Sampling()]))
    fresh = asyncio.run(LocalSampler(sampler.checkpoint).extend(prefix(2), Limit(15, 5), [Sampling()]))
    assert again[0].segment.generated == fresh[0].segment.generated


def test_a_failing_step_tells_all_who_wait_and_no_later_ones(
    sampler: LocalSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def both() -> list[object]:
        tasks = [asyncio.ensure_future(sampler.extend(prefix(i), Limit(30, 5), [Sampling()])) for i in range(3)]
        for _ in range(4):
            await asyncio.sleep(0)
        failing = lambda *args: (_ for _ in ()).throw(RuntimeError("out of memory"))  # noqa: E731
        monkeypatch.setattr(type(sampler.scheduler.decoder), "decode", failing)
        tasks[0].cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    cancelled, *told = asyncio.run(both())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert all(isinstance(err, SamplerError) and "out of memory" in str(err) for err in told)
    monkeypatch.undo()
    assert asyncio.run(sampler.extend(prefix(1), Limit(15, 5), [Sampling()]))


def test_a_listener_that_fails_fails_alone(sampler: LocalSampler) -> None:
    def broken(sample: int, text: str) -> None:
        raise BrokenPipeError("nobody listens")

    async def both() -> list[object]:
        deaf = sampler.extend(prefix(1), Limit(15, 5), [Sampling()], broken)
        other = sampler.extend(prefix(2), Limit(15, 5), [Sampling()])
        return list(await asyncio.gather(deaf, other, return_exceptions=True))

    failed, fine = asyncio.run(both())
    assert isinstance(failed, BrokenPipeError) and isinstance(fine, list)


def test_long_extensions_odd_seeds_and_none_at_all(sampler: LocalSampler) -> None:
    texts = asyncio.run(
        sampler.extend(prefix(1), Limit(700, 5), [Sampling(1.0, 1.0, 2**63 + 5), Sampling(1.0, 1.0, -3)])
    )
    assert any(len(one.segment.generated) > 256 for one in texts)
    with pytest.raises(RequestError, match="n=0"):
        asyncio.run(sampler.extend(prefix(1), Limit(700, 5), []))


def test_many_contexts_are_read_in_several_passes(sampler: LocalSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(one: LocalSampler) -> list[tuple[int, ...]]:
        rows = [one.extend(prefix(i, i % 3), Limit(12, 5), [Sampling(1.0, 1.0, i)]) for i in range(20)]
        return [found.segment.generated for (found,) in await asyncio.gather(*rows)]

    whole = asyncio.run(run(sampler))
    monkeypatch.setattr("ponder.engine.reader.READ_AT_ONCE", 40)
    assert asyncio.run(run(LocalSampler(sampler.checkpoint))) == whole


def test_new_weights_are_not_served_with_old_prompts(micro_checkpoint: Path) -> None:
    sampler = LocalSampler(load_checkpoint(micro_checkpoint))
    asyncio.run(sampler.extend(prefix(1), Limit(15, 5), [Sampling()]))
    with torch.no_grad():
        for parameter in sampler.checkpoint.network.parameters():
            parameter.mul_(1.5)
    trained, fresh = (
        asyncio.run(one.extend(prefix(1), Limit(15, 5), [Sampling()]))[0].segment
        for one in (sampler, LocalSampler(sampler.checkpoint))
    )
    assert trained.generated == fresh.generated
    assert trained.logprobs == pytest.approx(fresh.logprobs, abs=1e-5)


def test_a_small_memory_is_kept_and_changes_nothing(micro_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(micro_checkpoint)
    window = replace(checkpoint.network.shape, max_position_embeddings=512)
    checkpoint.network.shape = window
    samplings = [Sampling(1.0, 1.0, seed) for seed in range(40)]

    async def run(sampler: LocalSampler, jobs: int) -> tuple[list[tuple[int, ...]], int]:
        tasks = [
            asyncio.ensure_future(sampler.extend(prefix(i), Limit(300, 20), samplings, lambda *_: None))
            for i in range(jobs)
        ]
        most = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            most = max(most, sampler.scheduler.bytes)
        return [one.segment.generated for task in tasks for one in task.result()], most

    small = LocalSampler(checkpoint, most_bytes=2 * token_bytes(window) * 1500)
    whole, free = asyncio.run(run(LocalSampler(checkpoint), 3))
    found, most = asyncio.run(run(small, 3))
    assert found == whole
    assert most <= small.most_bytes * 5 // 8 < free
    assert small.scheduler.evicted > 0
    with pytest.raises(SamplerError, match="does not hold one row"):
        LocalSampler(checkpoint, most_bytes=1000)


def test_a_longer_prompt_after_many_short_ones_is_not_stuck(micro_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(micro_checkpoint)
    checkpoint.network.shape = replace(checkpoint.network.shape, max_position_embeddings=512)
    sampler = LocalSampler(checkpoint, most_bytes=2 * token_bytes(checkpoint.network.shape) * 2600)
    long = Prefix((Message("user", "what is the sum " * 12),), Effort.LOW)

    async def run() -> None:
        few = [Sampling(1.0, 1.0, seed) for seed in range(40)]
        await sampler.extend(prefix(1), Limit(9, 5), few)
        assert len(await asyncio.wait_for(sampler.extend(long, Limit(9, 5), few), 60)) == 40
        together = [sampler.extend(one, Limit(30, 5), few) for one in (long, prefix(1), prefix(2))]
        assert all(await asyncio.wait_for(asyncio.gather(*together), 60))

    asyncio.run(run())


def test_a_stop_text_holds_when_memory_is_short_and_blocks_are_rated(micro_checkpoint: Path) -> None:
    loaded = load_checkpoint(micro_checkpoint)
    loaded.network.shape = replace(loaded.network.shape, max_position_embeddings=256)
    checkpoint = replace(loaded, head=new_head(loaded.network.shape.hidden_size))
    answering = [replace(prefix(i), answering=True) for i in range(4)]
    samplings = [Sampling(1.0, 1.0, seed) for seed in range(25)]

    async def run(sampler: LocalSampler) -> list[Extension]:
        limit = Limit(9, 150, ("e",))
        return sum(await asyncio.gather(*(sampler.extend(one, limit, samplings) for one in answering)), [])

    small = LocalSampler(checkpoint, most_bytes=2 * token_bytes(checkpoint.network.shape) * 1300)
    whole, found = asyncio.run(run(LocalSampler(checkpoint))), asyncio.run(run(small))
    assert [(x.answer, x.segment.generated) for x in found] == [(x.answer, x.segment.generated) for x in whole]
    assert small.scheduler.evicted > 0


def test_many_rows_are_sorted_and_come_to_the_same(micro_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[tuple[int, ...]]:
        sampler = LocalSampler(load_checkpoint(micro_checkpoint))

        async def all_of_them() -> list[list[Extension]]:
            samplings = [[Sampling(1.0, 1.0, 100 * i + j) for j in range(5)] for i in range(30)]
            return await asyncio.gather(
                *(sampler.extend(prefix(i, i % 4), Limit(40 + i, 9), samplings[i]) for i in range(30))
            )

        return [one.segment.generated for found in asyncio.run(all_of_them()) for one in found]

    whole = run()
    monkeypatch.setattr("ponder.engine.scheduler.SORTED_ROWS", 10**9)
    monkeypatch.setattr("ponder.engine.kv_cache.PARTS", 1)
    assert run() == whole


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
    assert slots.lengths.tolist() == [7, 0] and slots.rows == 2 and slots.keys.shape[3] == 64
    assert torch.equal(slots.keys[:, 0, :, :7], span.keys) and torch.equal(slots.values[:, 0, :, :7], span.values)
