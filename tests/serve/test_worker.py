"""Engines that are stuck or crash: another one takes their place, and only their requests fail."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ponder.engine.scripted import ScriptedSampler, Step
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.serve.events import Done
from ponder.serve.models import Model
from ponder.serve.refusal import Refusal
from ponder.serve.worker import Outbox, Worker
from ponder.tasks import same_of
from ponder.text.effort import Budget
from ponder.think import Request
from ponder.types import Message

if TYPE_CHECKING:
    from tests.serve.conftest import Live, Serve

FINE = ScriptedSampler({"2+2?": "<|answer|>4<|end|>"})
ASKED = Request((Message("user", "2+2?"),))


class Broken:
    """Does not come back: it blocks its thread, or takes it down; and never does what it was to do besides."""

    def __init__(self, how: str) -> None:
        self.how, self.free, self.asides = how, threading.Event(), list[Callable[[], None]]()
        self.crash = threading.Event()

    def aside(self, work: Callable[[], None]) -> None:
        self.asides.append(work)

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        if self.how == "crashes":
            while not self.crash.is_set():
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().stop()
            await asyncio.sleep(60)
        await asyncio.sleep(0)  # so that it is told that it has begun
        self.free.wait(20)
        return await FINE.extend(prefix, limit, samplings, hear)


async def asked(worker: Worker) -> str:
    events = [event async for _, event in worker.events([ASKED])]
    assert isinstance(events[-1], Done)
    return events[-1].completion.answer


@pytest.mark.parametrize("how", ["is stuck", "crashes"])
def test_another_engine_takes_its_place(how: str, caplog: pytest.LogCaptureFixture) -> None:
    broken, restarts = Broken(how), list[int]()
    worker = Worker(broken, remake=lambda: FINE, stuck_seconds=1.5)

    async def main() -> None:
        watching = asyncio.create_task(worker.watch(lambda: restarts.append(1)))
        waiting = [asyncio.create_task(asked(worker)) for _ in range(3)]
        await asyncio.sleep(0)  # all three have asked: who comes after the crash is refused, which is tested below
        broken.crash.set()
        failed = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 15)
        assert all(isinstance(one, SamplerError) for one in failed), failed
        for _ in range(100):
            if restarts:
                break
            await asyncio.sleep(0.05)
        assert await asked(worker) == "4" and worker.alive
        watching.cancel()

    asyncio.run(main())
    broken.free.set()
    worker.close()
    assert broken.asides
    assert ("is stuck" if how == "is stuck" else "has crashed") in caplog.text


CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TURNS = [{"role": "user", "content": "2+2?"}]


def restarts(client: httpx.Client) -> dict[str, float]:
    """How often the engine of each model had to begin again, as the numbers tell it."""
    found = re.findall(r'ponder_engine_restarts_total{model="(.*)"} (.*)', client.get("/metrics").text)
    return {name: float(count) for name, count in found}


@pytest.mark.parametrize("how", ["is stuck", "crashes"])
def test_over_http_only_its_own_requests_fail(how: str, serve: Serve, live: Live) -> None:
    broken, other = Broken(how), Worker(FINE)
    served = serve(sampler=broken, fast=Model(name="mini", worker=other))
    served.worker.remake, served.worker.stuck_seconds = lambda: FINE, 2.5
    client, body = live(served, watched=True), {"model": "m", "messages": TURNS, "input": "2+2?"}
    asked = [(path, body | {"stream": stream}) for path in (CHAT, RESPONSES) for stream in (False, True)]
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(client.post, path, json=json) for path, json in asked]
        while "ponder_thinking 4.0" not in client.get("/metrics").text:
            time.sleep(0.02)
        seen = {client.get("/health").status_code}
        broken.crash.set()
        while not restarts(client)["m"]:
            fine = client.post(CHAT, json=body | {"model": "mini"})
            assert fine.json()["choices"][0]["message"]["content"] == "4", "another model's engine is untouched"
            seen.add(client.get("/health").status_code)
            time.sleep(0.02)
        failed = [one.result(20) for one in waiting]
    for (_, json), reply in zip(asked, failed, strict=True):
        if reply.status_code == 200:  # it had begun to stream
            assert json["stream"] and reply.text.endswith("data: [DONE]\n\n")
        else:
            assert reply.status_code == 500
        assert '"code":"model_error"' in reply.text
    assert seen == ({200, 503} if how == "crashes" else {200})
    again = client.post(RESPONSES, json=body)
    assert again.json()["output"][-1]["content"][0]["text"] == "4" and client.get("/health").status_code == 200
    assert restarts(client) == {"m": 1.0, "mini": 0.0} and other.sampler is FINE
    broken.free.set()


def test_until_another_engine_begins_whoever_asks_is_told_to_come_again() -> None:
    broken = Broken("crashes")
    worker = Worker(broken, remake=lambda: FINE)
    broken.crash.set()

    async def main() -> None:
        first = asyncio.create_task(asked(worker))
        while worker.alive:
            await asyncio.sleep(0.01)
        for work in (asked(worker), worker.do(asyncio.sleep(0))):
            with pytest.raises(Refusal, match="beginning again") as refused:
                await work
            assert (refused.value.status, refused.value.retry_after) == (503, 1)
        worker.restart()
        assert await asked(worker) == "4"
        with pytest.raises(SamplerError):
            await first

    asyncio.run(main())
    worker.close()


def test_what_it_was_told_to_do_fails_with_it() -> None:
    worker, free = Worker(FINE), threading.Event()

    async def main() -> None:
        async def hang() -> None:
            free.wait(20)

        doing = asyncio.create_task(worker.do(hang()))
        await asyncio.sleep(0.05)
        worker.restart()
        with pytest.raises(SamplerError, match="begin again"):
            await doing
        assert await asked(worker) == "4"

    asyncio.run(main())
    free.set()
    worker.close()


def test_given_up_it_says_why() -> None:
    endless = Broken("")
    worker = Worker(endless)

    async def main() -> None:
        waiting: Any = asyncio.create_task(asked(worker))
        await asyncio.sleep(0.05)
        worker.give_up(Refusal(503, "The server is stopping."))
        for one in (waiting, asked(worker)):
            with pytest.raises(Refusal):
                await one

    asyncio.run(main())
    endless.free.set()
    worker.close()


def test_a_real_engine_begins_again_on_the_same_weights(micro_checkpoint: Any) -> None:
    from dataclasses import replace

    from ponder.engine.local import LocalSampler
    from ponder.model.checkpoint import load_checkpoint

    sampler = LocalSampler(load_checkpoint(micro_checkpoint))
    worker = Worker(sampler, remake=lambda: replace(sampler))
    first = asyncio.run(asked(worker))
    worker.restart()
    assert asyncio.run(asked(worker)) == first and worker.sampler is not sampler
    worker.close()


def test_a_loop_is_woken_once_for_much_and_hears_it_in_order() -> None:
    async def main() -> None:
        here, heard, woken = asyncio.get_running_loop(), list[int](), list[int]()
        wake = here.call_soon_threadsafe

        def counted(*given: Any, **more: Any) -> Any:
            woken.append(1)
            return wake(*given, **more)

        here.call_soon_threadsafe = counted  # type: ignore[method-assign]
        box = Outbox(here)

        def tell() -> None:
            for number in range(1000):
                box.put(partial(heard.append, number))

        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()  # this loop has no time before all is told
        assert not heard and len(woken) == 1
        for again in range(2):
            await asyncio.sleep(0)
            assert heard == list(range(1000 + again))
            box.put(lambda: heard.append(1000))
        await asyncio.sleep(0)
        assert len(woken) == 3 and len(heard) == 1002

    asyncio.run(main())


def test_threads_that_tell_while_a_loop_hears_lose_nothing() -> None:
    async def main() -> None:
        heard: dict[int, list[int]] = {0: [], 1: []}
        box = Outbox(asyncio.get_running_loop())

        def tell(who: int) -> None:
            for number in range(5000):
                box.put(partial(heard[who].append, number))

        await asyncio.gather(*(asyncio.to_thread(tell, who) for who in heard))
        await asyncio.sleep(0)
        assert heard == {0: list(range(5000)), 1: list(range(5000))}

    asyncio.run(main())


def test_a_vote_is_over_the_answers_that_are_one() -> None:
    """What is served is what was measured: expressions of one form vote together."""
    spelled = ("1+2+3", "3+2+1", "2+1+3", "4*3", "4*3")
    sampler = ScriptedSampler({"2+2?": lambda prefix, rng: Step(rng.choice(spelled))})
    voted = Request(ASKED.messages, temperature=1.0, budget=Budget(0, samples=64), search="majority")

    async def main(worker: Worker) -> str:
        events = [event async for _, event in worker.events([voted])]
        assert isinstance(events[-1], Done)
        return events[-1].completion.answer

    for same, answers in ((str.strip, {"4*3"}), (same_of(["countdown:2"]), set(spelled[:3]))):
        worker = Worker(sampler, same=same)
        try:
            assert asyncio.run(main(worker)) in answers
        finally:
            worker.close()
