"""Where responses are written: each by a task of its own, whoever follows it, and kept in the store where it may be.

What is told of a response is told only once it is kept: who has seen its id can ask for it, and who has seen its end
finds it ended, even where the server is killed right after.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ponder.serve import sse
from ponder.serve.events import Begun, Done, Event
from ponder.serve.refusal import Refusal, refusal_of
from ponder.serve.responses import Script
from ponder.serve.store import Kept, Store

Events = AsyncGenerator[tuple[int, Event]]


@dataclass(eq=False)
class Writing:
    """One response while it is written."""

    script: Script
    owner: str
    store: Store | None
    """None for one that is not kept."""
    lines: list[bytes] = field(default_factory=list[bytes])
    """Its events so far, by their sequence numbers."""
    refusal: Refusal | None = None
    """The error that ended it."""
    over: bool = False
    _begun: bool = False
    """Whether its id may be told."""
    _kept: bool = False
    """Whether the store was asked to keep it."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    @property
    def id(self) -> str:
        """The response's."""
        return self.script.paper.id

    def start(self, events: Events) -> "asyncio.Task[None]":
        """Begin to write."""
        self.task = asyncio.create_task(self._write(events))
        return self.task

    async def begun(self) -> None:
        """Wait until thinking has begun; raises the refusal of what cannot be thought about."""
        while not (self._begun or self.over):
            await self._changed.wait()
        if self.refusal and not self._begun:
            raise self.refusal

    async def end(self) -> None:
        """Wait until it is over; raises the error that ended it."""
        while not self.over:
            await self._changed.wait()
        if self.refusal:
            raise self.refusal

    async def follow(self, after: int = -1) -> AsyncGenerator[bytes]:
        """The events behind that number, those to come included; all that there are by now in one piece."""
        at = after + 1
        while True:
            changed, over, more = self._changed, self.over, self.lines[at:]
            at += len(more)
            if more or over:
                yield b"".join([*more, sse.DONE] if over else more)
            if over:
                return
            if at >= len(self.lines):
                await changed.wait()

    async def alone(self) -> AsyncGenerator[bytes]:
        """All events, for the only one who hears them: who leaves has cancelled the response."""
        try:
            async for lines in self.follow():
                yield lines
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Cancel it, unless it is over, and wait until it is."""
        if self.task and not self.over:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def _write(self, events: Events) -> None:
        script = self.script
        self._add(script.begin())
        last: list[bytes] = []
        try:
            async for _, event in events:
                if isinstance(event, Begun) and not self._kept:
                    await self._keep()
                if isinstance(event, Done):
                    last = list(script.lines(event))
                else:
                    self._add(script.lines(event))
        except asyncio.CancelledError:
            last = list(script.cancel())
        except Exception as err:  # whatever it is, it ends this response, and whoever follows it is told
            last = self._failed(refusal_of(err))
        finally:
            await events.aclose()
            await self._finish(last)

    async def _keep(self) -> None:
        self._kept = True
        if self.store:
            paper = self.script.paper
            await self.store.begin(Kept(self.id, self.owner, paper.previous, paper.ask.items, paper.begun()))
        self._begun = True
        self._add(())

    async def _finish(self, last: Sequence[bytes]) -> None:
        try:
            if self.store and self._kept:
                await self.store.finish(self.id, self.script.whole, [*self.lines, *last])
        except sqlite3.Error as err:
            self.script.number = len(self.lines)
            last = self._failed(refusal_of(err))
        finally:
            self.over = True
            self._add(last)

    def _failed(self, refusal: Refusal) -> list[bytes]:
        self.refusal = refusal
        return list(self.script.fail(refusal))

    def _add(self, lines: Iterable[bytes]) -> None:
        self.lines += lines
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass(eq=False)
class Desk:
    """All responses that are being written, and those that are kept."""

    store: Store
    _open: dict[str, Writing] = field(default_factory=dict[str, Writing])

    def write(self, script: Script, events: Events, owner: str, free: Callable[[], None] | None = None) -> Writing:
        """Write one more; `free` is called when it is over."""
        writing = Writing(script, owner, self.store if script.paper.store else None)
        self._open[writing.id] = writing
        task = writing.start(events)
        task.add_done_callback(lambda _: self._open.pop(writing.id, None))
        if free:
            task.add_done_callback(lambda _: free())
        return writing

    def writing(self, id: str, owner: str) -> Writing | None:
        """One that is kept and still being written."""
        found = self._open.get(id)
        return found if found and found.store and found.owner == owner else None

    async def end(self) -> None:
        """Wait until all are over."""
        while self._open:
            await asyncio.wait([writing.task for writing in self._open.values() if writing.task])
