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
from functools import cached_property
from typing import Any, TypeVar

from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampler, Sampling, Yielding
from ponder.search.tree import spent
from ponder.serve.events import Begun, Done, Event, Folded, Told
from ponder.serve.refusal import Refusal
from ponder.serve.tree import Growing
from ponder.text import format
from ponder.text.format import DIALECTS, Dialect, Place
from ponder.text.stream import Delta, Stream
from ponder.think import Request, think_one
from ponder.types import Ended, Segment, Thought

T = TypeVar("T")
log = logging.getLogger("ponder.serve")
BEAT_SECONDS, CLOSE_SECONDS = 0.25, 5.0
LIVE = ("direct", "single")
"""Searches that keep everything they try, so that it can be shown at once; of the others only the end is."""


@dataclass(eq=False)
class Answer:
    """Follows an answer while it is written; what could still become a stop text, or a trailing blank, is held back."""

    dialect: Dialect
    stop: tuple[str, ...]
    tell: Callable[[Event], None]
    _text: str = ""
    _sent: str = ""

    @cached_property
    def _stream(self) -> Stream:
        """Only answers need it, and most extensions are blocks."""
        stream = Stream(self.dialect)
        stream.feed(format.text_of(format.opening(answering=True, dialect=self.dialect)))
        return stream

    def hear(self, row: int, text: str) -> None:
        """The sample's next piece."""
        for event in self._stream.feed(text):
            if isinstance(event, Delta) and event.place is Place.ANSWER:
                self._text += event.text
        self.send(self._certain())

    def send(self, text: str) -> None:
        """Tell what of this has not been told."""
        if len(text) > len(self._sent):
            assert text.startswith(self._sent), "an answer changed while it was written"
            self.tell(Told(text[len(self._sent) :]))
            self._sent = text

    def _certain(self) -> str:
        # Of broken characters, the parts that come one by one may read otherwise than the whole.
        text = self._text.partition("\N{REPLACEMENT CHARACTER}")[0]
        text = text if self.dialect.folds else text.strip()
        at = [text.find(stop) for stop in self.stop if stop in text]
        held = max((len(stop) - 1 for stop in self.stop), default=0)
        return text[: min(at)] if at else text[: max(0, len(text) - held)]


@dataclass(eq=False)
class Followed:
    """A sampler whose extensions of one request are followed."""

    sampler: Sampler
    dialect: Dialect
    stop: tuple[str, ...]
    live: bool
    tell: Callable[[Event], None]
    tree: Growing | None = None
    """What each candidate is told to, where they are told at all."""
    forced: bool = False
    spend: Callable[[int], None] = lambda tokens: None
    """Hears of tokens as they are used: the prompt's once, and what is generated, extension by extension."""
    cached: int | None = None
    answers: dict[tuple[Thought, str], Segment] = field(default_factory=dict[tuple[Thought, str], Segment])
    """What was written, by what it answers."""
    _begun: bool = False
    _counted: bool = False
    """Whether the prompt's tokens were."""
    _over: bool = False
    """Whether the model ended its thinking by itself."""

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """As the sampler extends; answers also end at the request's stop texts."""
        limit, answer = replace(limit, stop=self.stop), Answer(self.dialect, self.stop, self.tell)
        # Closed blocks say enough of a thought; hearing each of its tokens would cost all requests much time.
        following = answer.hear if self.live and prefix.answering else hear
        if self._begun:
            extensions = await self.sampler.extend(prefix, limit, samplings, following)
        else:
            extensions = await self._begin(prefix, limit, samplings, following)
        if not prefix.blocks:  # candidates of one search read their prompt once, together
            known = min(extension.known for extension in extensions)
            self.cached = known if self.cached is None else min(known, self.cached)
        costs = [spent(extension) for extension in extensions]
        self.spend(sum(cost.kept for cost in costs) + (costs[0].prompt if not self._counted else 0))
        self._counted = True
        for extension in extensions:
            if extension.answer is not None:
                self.answers.setdefault((prefix.blocks, extension.answer), extension.segment)
        if self.live:
            self._show(prefix, extensions[0], answer)
        if self.tree:
            self.tree.hear(prefix, extensions)
        return extensions

    async def _begin(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None
    ) -> list[Extension]:
        """The first extension: a prompt that does not fit is refused at once, before anything is awaited."""
        work = asyncio.ensure_future(self.sampler.extend(prefix, limit, samplings, hear))
        try:
            await asyncio.sleep(0)
            if not work.done() or work.exception() is None:
                self._begun = True
                self.tell(Begun())
            return await work
        finally:
            work.cancel()

    def _show(self, prefix: Prefix, extension: Extension, answer: Answer) -> None:
        if extension.answer is not None:
            self.forced = prefix.answering and not self._over
            answer.send(extension.answer)
        elif extension.block:
            self.tell(Folded(extension.block))
        self._over = extension.last


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
        spend: Callable[[int], None] = lambda tokens: None,
        *,
        tree: bool = False,
    ) -> AsyncGenerator[tuple[int, Event]]:
        """What becomes of each request, with its number; where one fails, so do all, and its error is raised.

        `spend` hears of tokens as they are used. With `tree`, every candidate of a search is told of, too.
        """
        if self._closed:
            raise self._closed
        box, told = self._box(), asyncio.Queue[tuple[int, Event | Exception | None]]()

        def teller(number: int) -> Callable[[Event | Exception | None], None]:
            return lambda event: box.put(lambda: told.put_nowait((number, event)))

        def count(tokens: int) -> None:
            box.put(lambda: spend(tokens))

        futures: list[Future[Done]] = []
        lost = teller(0)
        self._listening.add(lost)
        try:
            for number, request in enumerate(requests):
                tell = teller(number)
                thought = self._think(request, stop, tell, count, tree)
                future = asyncio.run_coroutine_threadsafe(thought, self._loop)
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

        self._listening.add(lost)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.add_done_callback(lambda _: _call(here, end))
        try:
            await found
        finally:
            self._listening.discard(lost)
            future.cancel()
        return _result(future)

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
        spend: Callable[[int], None],
        tree: bool,
    ) -> Done:
        dialect, live = DIALECTS[self.dialect], request.search in LIVE
        growing = Growing(tell) if tree else None
        followed = Followed(self.sampler, dialect, stop, live, tell, growing, spend=spend)
        completion = await think_one(request, followed)
        if completion.ended is Ended.MALFORMED:
            raise Refusal(500, "The model broke its format: try another seed.", code="model_error")
        if not followed.live:
            for block in completion.blocks:
                tell(Folded(block))
            tell(Told(completion.answer))
        cached = min(followed.cached or 0, completion.tokens.prompt)
        segment = followed.answers.get((completion.blocks, completion.answer))
        return Done(completion, followed.forced, cached, segment)


def _result(future: "Future[T]") -> T:
    try:
        return future.result()
    except CancelledError:
        raise SamplerError("the engine has stopped") from None


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Have a loop of another thread do something, unless it has ended: then nobody listens any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
