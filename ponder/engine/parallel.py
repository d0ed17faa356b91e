"""Local samplers in processes of their own, one thread each, on the same weights in shared memory.

Two threads that share every small product of a narrow network gain little on a CPU: they wait for each other hundreds
of times a step. Two processes with half of the rows each gain nearly the whole second core. Chains of one prompt go to
the same worker, which keeps it; a sample's tokens do not depend on which one that is.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
import torch.multiprocessing

from ponder.engine.limits import check
from ponder.engine.local import LocalSampler
from ponder.engine.reader import version_of
from ponder.engine.scheduler import MOST_BYTES, MOST_ROWS, least_bytes
from ponder.errors import PonderError, SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint
from ponder.text.format import DIALECTS
from ponder.types import Message

PROMPTS = 4096
"""Prompts of which it is remembered who has them."""
SLACK = 16
"""A prompt moves to another worker where its own one has so many samples more to do than the idlest."""


class _Ask(NamedTuple):
    number: int
    prefix: Prefix
    limit: Limit
    samplings: tuple[Sampling, ...]
    hears: bool


class _Cancel(NamedTuple):
    number: int


class _Changed(NamedTuple):
    """The weights are others now."""


class _Heard(NamedTuple):
    number: int
    sample: int
    text: str


class _Reply(NamedTuple):
    number: int
    found: list[Extension] | PonderError


@dataclass(frozen=True)
class _Waiting:
    future: "asyncio.Future[list[Extension]]"
    hear: Hear | None

    def tell(self, what: _Heard | _Reply) -> None:
        """In the loop that waits: pass a worker's word on."""
        if self.future.done():
            return
        if isinstance(what, _Heard):
            assert self.hear
            try:
                self.hear(what.sample, what.text)
            except Exception as err:  # a listener's failure is this extension's alone
                self.future.set_exception(err)
        elif isinstance(what.found, PonderError):
            self.future.set_exception(what.found)
        else:
            self.future.set_result(what.found)


@dataclass(eq=False)
class _Worker:
    process: Any
    connection: "Connection[Any, Any]"
    waiting: dict[int, _Waiting] = field(default_factory=dict[int, _Waiting])
    load: int = 0
    """Samples that it has to do."""

    def listen(self) -> None:
        """In a thread of its own: pass on what comes, until the process ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                what = self.connection.recv()
                self._pass(what.number, what)
        for number in tuple(self.waiting):
            self._pass(number, _Reply(number, SamplerError("a sampler's process has ended: its memory may be short")))

    def _pass(self, number: int, what: _Heard | _Reply) -> None:
        if waiting := self.waiting.get(number):
            with contextlib.suppress(RuntimeError):  # the loop that asked is closed: nobody waits
                waiting.future.get_loop().call_soon_threadsafe(waiting.tell, what)

    def send(self, what: object) -> None:
        try:
            self.connection.send(what)
        except OSError as err:
            raise SamplerError("a sampler's process has ended: its memory may be short") from err


class ParallelSampler:
    """A checkpoint that generates in several processes; `close` ends them.

    The weights are moved to shared memory, so that a trainer's steps reach every worker at once.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        workers: int | None = None,
        most_rows: int = MOST_ROWS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.checkpoint, count = checkpoint, workers or os.cpu_count() or 1
        if most_bytes < (least := count * least_bytes(checkpoint.network.shape)):
            raise SamplerError(
                f"a memory budget of {most_bytes:,} bytes is too small for {count} processes: give it at least "
                f"{least:,}"
            )
        self._parameters = tuple(checkpoint.network.share_memory().parameters())
        self._version = version_of(self._parameters)
        if checkpoint.head:
            checkpoint.head.share_memory()
        self._numbers = itertools.count()
        self._homes: OrderedDict[tuple[Message, ...], int] = OrderedDict()
        context = torch.multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            given = theirs, checkpoint, max(1, most_rows // count), most_bytes // count
            process = context.Process(target=_serve, args=given, daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))
            threading.Thread(target=self._workers[-1].listen, daemon=True).start()

    @property
    def processes(self) -> list[int]:
        """The workers' process numbers."""
        return [worker.process.pid for worker in self._workers]

    @property
    def load(self) -> list[int]:
        """Samples that each of them has to do."""
        return [worker.load for worker in self._workers]

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One block or answer for each sampling: see `LocalSampler.extend`."""
        check(limit, samplings, DIALECTS[self.checkpoint.config.dialect])
        if (version := version_of(self._parameters)) != self._version:
            self.refresh()
            self._version = version
        worker, number = self._worker_of(prefix.messages), next(self._numbers)
        worker.waiting[number] = _Waiting(asyncio.get_running_loop().create_future(), hear)
        worker.load += len(samplings)
        try:
            worker.send(_Ask(number, prefix, limit, tuple(samplings), hear is not None))
            return await worker.waiting[number].future
        except BaseException:  # cancelled, or a listener that failed: nobody wants the rest
            with contextlib.suppress(SamplerError):
                worker.send(_Cancel(number))
            raise
        finally:
            del worker.waiting[number]
            worker.load -= len(samplings)

    def refresh(self) -> None:
        """Forget what was read of prompts: a trainer in another process than this one has changed the weights."""
        for worker in self._workers:
            worker.send(_Changed())

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            with contextlib.suppress(SamplerError):
                worker.send(None)
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
            worker.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _worker_of(self, messages: tuple[Message, ...]) -> _Worker:
        loads = self.load
        idlest = loads.index(min(loads))
        home = self._homes.get(messages, idlest)
        if loads[home] > loads[idlest] + SLACK:
            home = idlest
        self._homes[messages] = home
        self._homes.move_to_end(messages)
        if len(self._homes) > PROMPTS:
            self._homes.popitem(last=False)
        return self._workers[home]


# In the worker's process


def _serve(connection: "Connection[Any, Any]", checkpoint: Checkpoint, most_rows: int, most_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits: it ends this one
    torch.set_num_threads(1)
    asyncio.run(_answer(connection, LocalSampler(checkpoint, most_rows, most_bytes)))


async def _answer(connection: "Connection[Any, Any]", sampler: LocalSampler) -> None:
    loop, orders, tasks = asyncio.get_running_loop(), asyncio.Queue[Any](), dict[int, asyncio.Task[None]]()

    def listen() -> None:
        order: object = ()
        while order is not None:
            try:
                order = connection.recv()
            except (EOFError, OSError):  # whoever asked is gone
                order = None
            loop.call_soon_threadsafe(orders.put_nowait, order)

    threading.Thread(target=listen, daemon=True).start()
    while (order := await orders.get()) is not None:
        if isinstance(order, _Ask):
            task = loop.create_task(_extend(connection, sampler, order))
            tasks[order.number] = task
            task.add_done_callback(lambda _, number=order.number: tasks.pop(number))
        elif isinstance(order, _Changed):
            sampler.scheduler.refresh()
        elif order.number in tasks:
            tasks[order.number].cancel()


async def _extend(connection: "Connection[Any, Any]", sampler: LocalSampler, ask: _Ask) -> None:
    def hear(sample: int, text: str) -> None:
        connection.send(_Heard(ask.number, sample, text))

    try:
        found = await sampler.extend(ask.prefix, ask.limit, ask.samplings, hear if ask.hears else None)
        connection.send(_Reply(ask.number, found))
    except PonderError as err:
        connection.send(_Reply(ask.number, err))
    except Exception as err:  # it must reach whoever waits, whatever it is
        connection.send(_Reply(ask.number, SamplerError(f"sampling failed: {err or type(err).__name__}")))
