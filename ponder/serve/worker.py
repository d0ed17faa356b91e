"""The thread that thinks: one event loop with the sampler, apart from the one that talks HTTP.

A request's events come back in order: Begun once its prompt fits, a Folded for each closed block, more and more of the
answer as Told, and Done. Whoever stops listening has cancelled the thought, and its rows are free for others.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ponder.errors import SamplerError
from ponder.interfaces import Sampler, Yielding
from ponder.search.select import Key
from ponder.serve.events import Done, Event
from ponder.serve.followed import Followed
from ponder.serve.refusal import Refusal
from ponder.serve.tree import Growing
from ponder.text import format
from ponder.text.format import DIALECTS
from ponder.think import Request, think_one
from ponder.types import Ended, Tokens

T = TypeVar("T")
log = logging.getLogger("ponder.serve")
BEAT_SECONDS, CLOSE_SECONDS = 0.25, 5.0
LIVE = ("direct", "single")
"""Searches with one answer, which can be shown while it is written."""


@dataclass(eq=False)
class Outbox:
    """What threads have to tell a loop, which is woken once for all of it: that costs more than the telling."""

    loop: asyncio.AbstractEventLoop
    aside: Callable[[Callable[[], None]], None] = lambda work: work()
    """What wakes it is done by this, soon."""
    _waiting: deque[Callable[[], None]] = field(default_factory=deque[Callable[[], None]])
    _woken: bool = False

    def put(self, what: Callable[[], None]) -> None:
        """Have it done there, in the order of coming."""
        self._waiting.append(what)  # before it is asked whether the loop was woken: else this could wait for ever
        if not self._woken:
            self._woken = True
            self.aside(self.wake)

    def wake(self) -> None:
        """Wake the loop at once, whatever was to do it."""
        _call(self.loop, self._empty)

    def _empty(self) -> None:
        self._woken = False
        while self._waiting:
            self._waiting.popleft()()


@dataclass(eq=False)
class Worker:
    """A sampler in a thread of its own; `watch` puts another one in its place where it is stuck or has crashed."""

    sampler: Sampler
    dialect: str = format.BLOCKS.name
    remake: Callable[[], Sampler] | None = None
    """Makes a fresh sampler; else the old one is used again."""
    stuck_seconds: float = 120.0
    """A step that takes longer will never end."""
    same: Key = str.strip
    """Which answers are one to a vote."""
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _thread: threading.Thread = field(init=False)
    _listening: set[Callable[[Exception], None]] = field(default_factory=set[Callable[[Exception], None]])
    """Who waits for something, to be told where it will never come."""
    _beat: float = 0.0
    """When the thread last had time."""
    _closed: Exception | None = None
    """What whoever asks is told, once it takes no more."""
    _outbox: Outbox | None = None
    """To the loop that asked last."""

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._loop, self._beat = asyncio.new_event_loop(), time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="thinking", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it can think."""
        return self._thread.is_alive() and not self._loop.is_closed()

    async def events(
        self,
        requests: Sequence[Request],
        stop: tuple[str, ...] = (),
        spend: Callable[[Tokens], None] = lambda tokens: None,
        *,
        tree: bool = False,
    ) -> AsyncGenerator[tuple[int, Event]]:
        """What becomes of each request, with its number; where one fails, so do all, and its error is raised.

        `spend` hears of tokens as they are used, of the prompt's once for all. With `tree`, every candidate of a search
        is told of, too.
        """
        if self._closed:
            raise self._closed
        box, told = self._box(), asyncio.Queue[tuple[int, Event | Exception | None]]()

        def teller(number: int) -> Callable[[Event | Exception | None], None]:
            return lambda event: box.put(lambda: told.put_nowait((number, event)))

        def counter(number: int) -> Callable[[Tokens], None]:
            def count(tokens: Tokens) -> None:
                own = replace(tokens, prompt=0, cached=0) if number else tokens  # they have one prompt
                box.put(lambda: spend(own))

            return count

        futures: list[Future[Done]] = []
        lost = teller(0)
        self._listening.add(lost)
        try:
            for number, request in enumerate(requests):
                tell = teller(number)
                thought = self._think(request, stop, tell, counter(number), tree)
                future = self._begin(thought)
                futures.append(future)
                future.add_done_callback(lambda _, tell=tell: tell(None))
            left = len(futures)
            while left:
                number, event = await told.get()
                if isinstance(event, Exception):
                    raise event
                if event is None:
                    left, event = left - 1, _result(futures[number])
                yield number, event
        finally:
            self._listening.discard(lost)
            for future in futures:
                future.cancel()

    def _box(self) -> Outbox:
        here = asyncio.get_running_loop()
        if self._outbox is None or self._outbox.loop is not here:
            self._outbox = Outbox(here, self._aside)
        return self._outbox

    def _aside(self, work: Callable[[], None]) -> None:
        """Wake the other loop when that does not slow the thread that thinks, if it is that which asks for it."""
        if isinstance(self.sampler, Yielding) and threading.current_thread() is self._thread:
            self.sampler.aside(work)
        else:
            work()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine comes to in the thread that thinks, where networks may be used."""
        if self._closed:
            work.close()
            raise self._closed
        here, found = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def end(error: Exception | None = None) -> None:
            if not found.done():
                found.set_exception(error) if error else found.set_result(None)

        def lost(error: Exception) -> None:
            _call(here, lambda: end(error))

        future = self._begin(work)
        self._listening.add(lost)
        future.add_done_callback(lambda _: _call(here, end))
        try:
            await found
        finally:
            self._listening.discard(lost)
            future.cancel()
        return _result(future)

    def _begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Have the thread that thinks do it; refused where it has died and no other one has begun yet."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # its loop is closed
            work.close()
            said = "The engine has stopped and is beginning again: ask again."
            raise Refusal(503, said, code="engine_stopped", retry_after=1) from None

    async def watch(self, on_restart: Callable[[], None]) -> None:
        """Look after the thread: where it is stuck or has died, its requests fail, and another one begins."""
        while True:
            await asyncio.sleep(min(1.0, self.stuck_seconds / 4))
            stuck = time.monotonic() - self._beat > self.stuck_seconds
            if self._closed or (self.alive and not stuck):
                continue
            log.error("the engine %s: it begins again", "is stuck" if self.alive else "has crashed")
            on_restart()
            self.restart()

    def restart(self) -> None:
        """Give the thread up with what it was doing, and begin another one."""
        old = self._loop
        if self.alive:
            _call(old, old.stop)  # in case it ever has time again
        if self.remake:
            self.sampler = self.remake()
        self._start()
        self._tell_lost(SamplerError("the engine had to begin again"))

    def give_up(self, why: Exception) -> None:
        """Take no more, and tell whoever waits why nothing comes."""
        self._closed = why
        self._tell_lost(why)

    def close(self) -> None:
        """Give up every thought and end the thread."""
        self._closed = self._closed or SamplerError("the server is stopping")
        if self.alive:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)

    def _tell_lost(self, error: Exception) -> None:
        for tell in tuple(self._listening):
            tell(error)
        if self._outbox:  # the sampler that was to see to it may never have time again
            self._outbox.wake()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        def beat() -> None:
            if loop is self._loop:
                self._beat = time.monotonic()
            loop.call_later(BEAT_SECONDS, beat)

        asyncio.set_event_loop(loop)
        loop.call_soon(beat)
        try:
            loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _think(
        self,
        request: Request,
        stop: tuple[str, ...],
        tell: Callable[[Event], None],
        spend: Callable[[Tokens], None],
        tree: bool,
    ) -> Done:
        growing = Growing(tell) if tree else None
        live = request.search in LIVE
        followed = Followed(self.sampler, DIALECTS[self.dialect], stop, live, tell, growing, spend)
        completion = await think_one(replace(request, key=self.same), followed)
        if completion.ended is Ended.MALFORMED:
            raise Refusal(500, "The model broke its format: try another seed.", code="model_error")
        written = followed.chosen(completion)
        cached = min(followed.cached or 0, completion.tokens.prompt)
        return Done(completion, written is not None and written.forced, cached, written.segment if written else None)


def _result(future: "Future[T]") -> T:
    try:
        return future.result()
    except CancelledError:
        raise SamplerError("the engine has stopped") from None


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Have a loop of another thread do something, unless it has ended: then nobody listens any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
