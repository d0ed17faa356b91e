"""Workers give what one sampler gives, see the trainer's steps, and fail alone."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ponder.engine.local import LocalSampler
from ponder.engine.parallel import ParallelSampler
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import load_checkpoint
from ponder.types import Effort, Message

LIMIT = Limit(20, 8)
MANY = [Sampling(1.0, seed=number) for number in range(64)]


@pytest.fixture(scope="module")
def sampler(micro_checkpoint: Path) -> Iterator[ParallelSampler]:
    with ParallelSampler(load_checkpoint(micro_checkpoint), workers=2, most_rows=24) as made:
        yield made


def prefix(number: int) -> Prefix:
    return Prefix((Message("user", f"what is {number} " + "again " * (number % 4)),), Effort.LOW)


async def some(sampler: ParallelSampler | LocalSampler) -> list[list[Extension]]:
    asked = (sampler.extend(prefix(n % 5), LIMIT, [Sampling(1.0, seed=n), Sampling(1.0, seed=-n)]) for n in range(30))
    return await asyncio.gather(*asked)


def written(found: list[list[Extension]]) -> list[tuple[int, ...]]:
    return [one.segment.generated for some in found for one in some]


def test_workers_write_what_one_sampler_writes(sampler: ParallelSampler) -> None:
    alone = written(asyncio.run(some(LocalSampler(sampler.checkpoint))))
    assert written(asyncio.run(some(sampler))) == alone, "in one loop"
    assert written(asyncio.run(some(sampler))) == alone, "and in another"
    assert len(set(alone)) > 30
    assert sampler.load == [0, 0]


def test_a_step_of_the_trainer_reaches_every_worker(sampler: ParallelSampler) -> None:
    before = written(asyncio.run(some(sampler)))
    with torch.no_grad():
        for parameter in sampler.checkpoint.network.parameters():
            parameter.mul_(1.5)
    after = written(asyncio.run(some(sampler)))
    assert after != before
    assert after == written(asyncio.run(some(LocalSampler(sampler.checkpoint))))


def test_what_is_heard_is_what_comes(sampler: ParallelSampler) -> None:
    heard: dict[int, str] = {0: "", 1: ""}

    def hear(sample: int, text: str) -> None:
        heard[sample] += text

    asked = sampler.extend(prefix(1), LIMIT, [Sampling(1.0, seed=n) for n in range(2)], hear)
    found = asyncio.run(asked)
    decode = sampler.checkpoint.tokenizer.decode
    assert [heard[n].encode(errors="replace")[:4] for n in range(2)] == [
        decode(one.segment.generated).encode(errors="replace")[:4] for one in found
    ]

    def fail(sample: int, text: str) -> None:
        raise ValueError("deaf")

    with pytest.raises(ValueError, match="deaf"):
        asyncio.run(sampler.extend(prefix(1), LIMIT, [Sampling()], fail))


def test_errors_and_cancellations_are_one_extension_s_own(sampler: ParallelSampler) -> None:
    async def run() -> list[list[Extension]]:
        long = Prefix((Message("user", "again " * 20_000),), Effort.LOW)
        with pytest.raises(SamplerError, match="shorten the prompt"):
            await sampler.extend(long, LIMIT, [Sampling()])
        with pytest.raises(SamplerError):
            await sampler.extend(prefix(0), Limit(0, 0), [Sampling()])
        task = asyncio.ensure_future(sampler.extend(prefix(0), Limit(400, 8), MANY))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await some(sampler)

    assert len(asyncio.run(run())) == 30
    assert sampler.load == [0, 0]


def test_a_worker_that_dies_is_said_and_close_leaves_none(micro_checkpoint: Path) -> None:
    sampler = ParallelSampler(load_checkpoint(micro_checkpoint), workers=1)

    async def run() -> None:
        asked = asyncio.ensure_future(sampler.extend(prefix(0), Limit(400, 8), MANY))
        await asyncio.sleep(0)
        os.kill(sampler.processes[0], signal.SIGKILL)
        with pytest.raises(SamplerError, match="process has ended"):
            await asked

    asyncio.run(run())
    with pytest.raises(SamplerError, match="process has ended"):
        asyncio.run(sampler.extend(prefix(0), LIMIT, [Sampling()]))
    sampler.close()
    with pytest.raises(ProcessLookupError):
        os.kill(sampler.processes[0], 0)
