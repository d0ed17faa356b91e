"""Requests side by side: each gets what it would get alone, or its own error, and leaves nothing behind."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
import torch

from ponder.engine.local import LocalSampler
from ponder.engine.scheduler import Scheduler
from ponder.engine.spans import token_bytes
from ponder.errors import ConfigError, RequestError, SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.heads import new_head
from ponder.search import SEARCHES
from ponder.text.effort import Budget
from ponder.think import Request, think
from ponder.types import Block, Effort, Message

ENOUGH = 300
"""Seconds after which something is stuck."""


@pytest.fixture(scope="module", params=[True, False], ids=["native", "torch"])
def native(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def rated(micro_checkpoint: Path) -> Checkpoint:
    """With a head, and a window of 512 tokens."""
    checkpoint = load_checkpoint(micro_checkpoint)
    network, _ = checkpoint.own()
    network.shape = replace(network.shape, max_position_embeddings=512)
    head = new_head(network.shape.hidden_size)
    torch.nn.init.normal_(head.outer.weight, generator=torch.Generator().manual_seed(3))
    return replace(checkpoint, head=head)


def tight(checkpoint: Checkpoint, native: bool, tokens: int = 1100) -> LocalSampler:
    """With memory for so many tokens of rows."""
    budget = 2 * tokens * token_bytes(checkpoint.network.shape)
    return LocalSampler(checkpoint, most_rows=40, most_bytes=budget, native=native)


def prefix(number: int, blocks: int = 0) -> Prefix:
    thought = tuple(Block(f"step {i}", "the sum", f"so it is {i + number}") for i in range(blocks))
    return Prefix((Message("user", f"what is {number} " + "again " * (number % 4)),), Effort.LOW, thought)


def ids(found: list[Extension]) -> list[tuple[int, ...]]:
    return [one.segment.generated for one in found]


async def turns(count: int) -> None:
    """So many steps of the scheduler, where it has anything to do."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- ten thousand requests --------------------------------------------------------------------------------------------


@dataclass
class Crowd:
    """Requests of one to four samples each, every third of which is given up on at some time."""

    sampler: LocalSampler
    listening: bool = False
    rng: Random = field(default_factory=lambda: Random(1))
    answered: int = 0
    lost: int = 0
    heard: int = 0

    def hear(self, sample: int, text: str) -> None:
        self.heard += 1

    async def one(self, number: int) -> None:
        samplings = [Sampling(1.0, seed=4 * number + i) for i in range(1 + number % 4)]
        asked = self.sampler.extend(
            prefix(number % 50, number % 3), Limit(20, 5), samplings, self.hear if self.listening else None
        )
        task = asyncio.ensure_future(asked)
        given_up = self.rng.random() < 1 / 3
        if given_up:
            await turns(self.rng.randint(0, 40))
            task.cancel()
        try:
            found = await task
        except asyncio.CancelledError:
            assert given_up and task.cancelled()
            self.lost += 1
        else:
            assert len(found) == len(samplings)
            self.answered += 1

    async def all_of_them(self, count: int, together: int = 100) -> list[int]:
        """Memory after each hundred."""
        sizes: list[int] = []
        for start in range(0, count, together):
            await asyncio.gather(*(self.one(start + i) for i in range(together)))
            sizes.append(self.sampler.scheduler.bytes)
        while self.sampler.scheduler.busy:
            await asyncio.sleep(0)
        return sizes


def test_ten_thousand_requests_are_answered_and_leave_the_memory_flat(micro_checkpoint: Path) -> None:
    crowd = Crowd(LocalSampler(load_checkpoint(micro_checkpoint), most_rows=48))
    sizes = asyncio.run(asyncio.wait_for(crowd.all_of_them(10_000), ENOUGH))
    assert crowd.answered + crowd.lost == 10_000 and 1000 < crowd.lost < 4000
    assert crowd.sampler.scheduler.idle
    assert sum(sizes[50:]) <= 1.1 * sum(sizes[:50]), "what it holds goes up and down with the rows, but does not grow"


def test_a_crowd_that_listens_and_is_rated_in_little_memory(rated: Checkpoint, native: bool) -> None:
    crowd = Crowd(tight(rated, native), listening=True)
    sizes = asyncio.run(asyncio.wait_for(crowd.all_of_them(400), ENOUGH))
    assert crowd.answered + crowd.lost == 400 and 40 < crowd.lost < 160 and crowd.heard > 1000
    assert crowd.sampler.scheduler.idle and max(sizes) <= crowd.sampler.most_bytes * 5 // 8


# --- bad requests -----------------------------------------------------------------------------------------------------

GOOD = Limit(15, 5)
BAD: dict[str, tuple[Prefix, Limit, list[Sampling], str]] = {
    "no samples": (prefix(1), GOOD, [], "n=0"),
    "no budget": (prefix(1), Limit(5, 0), [Sampling()], "at least one"),
    "less than none": (prefix(1), Limit(-1, 5), [Sampling()], "at least one"),
    "hot": (prefix(1), GOOD, [Sampling(1e9)], "out of range"),
    "long": (Prefix((Message("user", "the sum " * 5000),), Effort.LOW), GOOD, [Sampling()], "shorten the prompt"),
    "endless": (Prefix((Message("user", "x" * 10**6),), Effort.LOW), GOOD, [Sampling()], "characters"),
    "empty stop": (prefix(1), Limit(5, 5, ("e", "")), [Sampling()], "empty stop text"),
    "number as a stop": (prefix(1), Limit(5, 5, (7,)), [Sampling()], "the stop 7 is no text"),  # type: ignore[arg-type]
    "one text as stops": (prefix(1), Limit(5, 5, "end"), [Sampling()], "give a list"),  # type: ignore[arg-type]
    "NUL": (prefix(1), Limit(5, 5, ("a\0",)), [Sampling()], "holds NUL"),
    "half a character": (prefix(1), Limit(5, 5, ("\ud83d",)), [Sampling()], "half a character"),
    "long stop": (prefix(1), Limit(5, 5, ("x" * 1001,)), [Sampling()], "1,001 characters"),
    "marker": (prefix(1), Limit(5, 5, ("so <|end|>",)), [Sampling()], r"spells the marker <\|end\|>"),
    "many stops": (prefix(1), Limit(5, 5, tuple(map(str, range(17)))), [Sampling()], "17 stop texts"),
}


@pytest.mark.parametrize("names", [[name] for name in BAD] + [list(BAD)], ids=lambda names: names[0])
def test_a_bad_request_fails_alone(sampler: LocalSampler, names: list[str]) -> None:
    async def run() -> tuple[list[list[Extension]], list[BaseException | list[Extension]]]:
        good = [asyncio.ensure_future(asked(sampler, number)) for number in range(6)]
        await turns(2)
        bad = await asyncio.gather(*(sampler.extend(*BAD[name][:3]) for name in names), return_exceptions=True)
        return await asyncio.gather(*good), bad

    good, bad = asyncio.run(run())
    for name, err in zip(names, bad, strict=True):
        assert isinstance(err, SamplerError) and isinstance(err, ConfigError) == (name not in ("long", "endless"))
        with pytest.raises(SamplerError, match=BAD[name][3]):
            raise err
    assert [ids(one) for one in good] == [ids(asyncio.run(asked(sampler, number))) for number in range(6)]
    assert sampler.scheduler.idle


@pytest.fixture(scope="module")
def sampler(micro_checkpoint: Path) -> LocalSampler:
    return LocalSampler(load_checkpoint(micro_checkpoint), most_rows=12)


async def asked(sampler: LocalSampler, number: int) -> list[Extension]:
    """A good request."""
    samplings = [Sampling(1.0, 0.9, number + i, top_k=(0, 40)[i % 2], min_p=0.01 * i) for i in range(1 + number % 3)]
    return await sampler.extend(prefix(number, number % 3), GOOD, samplings)


def test_a_damaged_head_is_an_error_of_the_request(rated: Checkpoint, native: bool) -> None:
    assert rated.head
    with torch.no_grad():
        rated.head.outer.bias[0] = torch.nan
    broken = LocalSampler(rated, native=native)
    with pytest.raises(SamplerError, match="the head's rating is not finite: its weights are damaged"):
        broken.extend_now(prefix(1), GOOD, [Sampling()])
    assert broken.scheduler.idle


def test_no_event_loop_is_needed_and_none_is_stopped(sampler: LocalSampler) -> None:
    now = sampler.extend_now(prefix(1), GOOD, [Sampling(1.0, seed=3)])
    assert ids(now) == ids(asyncio.run(sampler.extend(prefix(1), GOOD, [Sampling(1.0, seed=3)])))

    async def inside() -> None:
        with pytest.raises(SamplerError, match="await extend instead"):
            sampler.extend_now(prefix(1), GOOD, [Sampling()])

    asyncio.run(inside())
    with pytest.raises(RequestError):
        sampler.extend_now(prefix(1), GOOD, [])


# --- what is read, held and freed -------------------------------------------------------------------------------------


def test_a_context_is_read_once_for_more_samples_than_there_are_rows(micro_checkpoint: Path, native: bool) -> None:
    sampler = LocalSampler(load_checkpoint(micro_checkpoint), most_rows=12, native=native)
    asked = prefix(3, 2)
    found = sampler.extend_now(asked, GOOD, [Sampling(1.0, seed=seed) for seed in range(120)])
    assert sampler.scheduler.read_tokens == len(sampler.context(asked))
    alone = [sampler.extend_now(asked, GOOD, [Sampling(1.0, seed=seed)])[0] for seed in range(0, 120, 30)]
    assert ids(alone) == ids(found[::30])
    for one, other in zip(alone, found[::30], strict=True):
        same = one.segment.logprobs == other.segment.logprobs
        assert same if native else one.segment.logprobs == pytest.approx(other.segment.logprobs, abs=1e-5)


def test_going_back_to_a_boundary_reads_nothing(micro_checkpoint: Path, native: bool) -> None:
    sampler = LocalSampler(load_checkpoint(micro_checkpoint), native=native)
    states = [prefix(3, blocks) for blocks in range(4)]
    first = [ids(sampler.extend_now(state, GOOD, [Sampling(1.0, seed=5)])) for state in states]
    read = sampler.scheduler.read_tokens
    for at in (0, 2, 3, 1, 0):
        assert ids(sampler.extend_now(states[at], GOOD, [Sampling(1.0, seed=5)])) == first[at]
    assert sampler.scheduler.read_tokens == read


def test_rows_that_begin_again_do_not_read_again(rated: Checkpoint, native: bool) -> None:
    sampler = tight(rated, native)
    answering = replace(prefix(1, 1), answering=True)
    sampler.extend_now(answering, Limit(9, 150), [Sampling(9.0, seed=seed) for seed in range(30)])
    assert sampler.scheduler.evicted > 0
    assert sampler.scheduler.read_tokens == len(sampler.context(answering))


def test_a_fork_holds_its_own_tokens_alone(micro_checkpoint: Path, native: bool) -> None:
    """However long the prompt is that it shares."""

    def grown(words: int) -> list[int]:
        sampler = LocalSampler(load_checkpoint(micro_checkpoint), native=native)
        asked = Prefix((Message("user", "again " * words),), Effort.LOW, answering=True)
        held = list[int]()

        async def run() -> None:
            for rows in (8, 16, 32):
                samplings = [Sampling(9.0, seed=seed) for seed in range(rows)]
                task = asyncio.ensure_future(sampler.extend(asked, Limit(9, 30), samplings))
                await turns(3)
                assert sampler.scheduler.decoding == rows
                held.append(sampler.scheduler.bytes)
                task.cancel()
                await turns(3)

        asyncio.run(run())
        return [more - less for less, more in zip(held, held[1:], strict=False)]

    each = token_bytes(load_checkpoint(micro_checkpoint).network.shape)
    assert grown(5) == grown(300) == [8 * 64 * each, 16 * 64 * each]


def test_a_cancellation_frees_at_once(rated: Checkpoint, native: bool) -> None:
    sampler = LocalSampler(rated, native=native)
    scheduler, answering = sampler.scheduler, replace(prefix(2, 1), answering=True)

    async def run() -> None:
        tasks = [
            asyncio.ensure_future(sampler.extend(answering, Limit(9, 300), [Sampling(9.0, seed=i)] * (3 + i)))
            for i in range(2)
        ]
        await turns(4)
        assert scheduler.decoding == 7
        tasks[0].cancel()
        await turns(1)  # the one who waited hears of it, and says so
        scheduler.step()
        assert scheduler.decoding == 4 and not scheduler.idle
        tasks[1].cancel()
        await turns(1)
        scheduler.step()
        assert scheduler.decoding == 0 and scheduler.idle and not scheduler.busy
        assert scheduler.bytes == remembered(scheduler), "only what was read is remembered"

    asyncio.run(run())


def remembered(scheduler: Scheduler) -> int:
    """Bytes of what was read, of a scheduler without rows."""
    before = scheduler.bytes
    scheduler.refresh()
    return before


# --- company ----------------------------------------------------------------------------------------------------------


def test_no_row_depends_on_sixty_three_others(rated: Checkpoint, native: bool) -> None:
    sampler = LocalSampler(rated, native=native)
    ways: list[Callable[[int], Sampling]] = [
        lambda seed: Sampling(0.0, seed=seed),
        lambda seed: Sampling(1.0, seed=seed),
        lambda seed: Sampling(1.2, 0.9, seed),
        lambda seed: Sampling(1.2, seed=seed, top_k=7),
        lambda seed: Sampling(1.2, seed=seed, min_p=0.05),
        lambda seed: Sampling(0.8, 0.95, seed, 50, 0.01),
    ]

    def request(number: int) -> tuple[Prefix, Limit, list[Sampling]]:
        samplings = [ways[(number + i) % len(ways)](2 * number + i) for i in range(2)]
        return replace(prefix(number, number % 3), answering=number % 5 == 0), Limit(20 + number % 7, 12), samplings

    async def together() -> list[list[Extension]]:
        return await asyncio.gather(*(sampler.extend(*request(number)) for number in range(32)))

    whole = [one for found in asyncio.run(together()) for one in found]
    alone = [
        one
        for prefix, limit, samplings in map(request, range(32))
        for sampling in samplings
        for one in LocalSampler(rated, native=native).extend_now(prefix, limit, [sampling])
    ]
    assert len(whole) == len(alone) == 64
    for one, other in zip(whole, alone, strict=True):
        assert (one.segment.generated, one.answer, one.ended) == (other.segment.generated, other.answer, other.ended)
        assert one.segment.logprobs == pytest.approx(other.segment.logprobs, abs=1e-5)
        assert one.rating and other.rating
        assert one.rating.value == pytest.approx(other.rating.value, abs=1e-5)


def test_all_searches_at_once_find_what_each_finds_alone(rated: Checkpoint) -> None:
    requests = [
        Request((Message("user", f"what is {number}"),), search=name, temperature=1.0, seed=number, budget=budget)
        for number, name in enumerate(SEARCHES)
        for budget in (Budget(60, samples=4, width=2, depth=3, answer=12),)
    ]
    together = think(requests, LocalSampler(rated, most_rows=24))
    alone = [think([request], LocalSampler(rated))[0] for request in requests]
    assert len(together) == len(SEARCHES)
    for request, one, other in zip(requests, together, alone, strict=True):
        assert (one.blocks, one.answer, one.tokens) == (other.blocks, other.answer, other.tokens), request.search


def test_a_long_request_among_many_short_ones_neither_starves_nor_blocks(rated: Checkpoint, native: bool) -> None:
    """Where memory holds only a few: who came first is served first, whatever its size."""
    sampler, order = tight(rated, native, tokens=700), list[str]()
    long = Prefix((Message("user", "what is the sum " * 70),), Effort.LOW, answering=True)

    async def one(name: str, prefix: Prefix, limit: Limit) -> None:
        await sampler.extend(prefix, limit, [Sampling(1.0, seed=7)])
        order.append(name)

    async def run() -> None:
        before = [one(f"before {i}", prefix(i), GOOD) for i in range(30)]
        after = [one(f"after {i}", prefix(i), GOOD) for i in range(60)]
        await asyncio.wait_for(asyncio.gather(*before, one("long", long, Limit(9, 40)), *after), ENOUGH)

    asyncio.run(run())
    assert len(order) == 91 and 20 <= order.index("long") < 60
    assert sampler.scheduler.idle


def test_a_very_long_context_is_read_in_parts_between_the_others_steps(
    rated: Checkpoint, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Prefix((Message("user", "what is the sum " * 70),), Effort.LOW, (Block("so", "it is", "7"),))
    whole = LocalSampler(rated, native=native).extend_now(long, GOOD, [Sampling(1.0, seed=3)] * 2)
    monkeypatch.setattr("ponder.engine.reader.READ_AT_ONCE", 64)
    sampler = LocalSampler(rated, native=native)
    tokens, scheduler = len(sampler.context(long)), sampler.scheduler

    async def run() -> list[Extension]:
        answering, heard = replace(prefix(1), answering=True), list[int]()
        endless = sampler.extend(answering, Limit(9, 300), [Sampling(9.0)], lambda *_: heard.append(0))
        other = asyncio.ensure_future(endless)
        await turns(3)
        for parts in (3, tokens // 64):  # the first time it is given up on
            task, before = asyncio.ensure_future(sampler.extend(long, GOOD, [Sampling(1.0, seed=3)] * 2)), len(heard)
            await turns(1)
            for _ in range(parts):
                read = scheduler.read_tokens
                await turns(1)
                assert scheduler.read_tokens - read == 64 and scheduler.decoding == 1
            assert len(heard) > before + parts // 3, "the other one goes on meanwhile"
            if parts == 3:
                task.cancel()
                await turns(2)
        found = await task
        other.cancel()
        return found

    found = asyncio.run(run())
    assert tokens > 256 and ids(found) == ids(whole)
    assert found[0].segment.logprobs == pytest.approx(whole[0].segment.logprobs, abs=1e-5)
