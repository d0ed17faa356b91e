"""The thread that thinks: one event loop with the sampler, apart from the one that talks HTTP.

A request's events come back in order: Begun once its prompt fits, a Folded for each closed block, more and more of the
answer as Told, and Done. Whoever stops listening has cancelled the thought, and its rows are free for others.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampler, Sampling
from ponder.search.tree import spent
from ponder.serve.refusal import Refusal
from ponder.text import format
from ponder.text.format import DIALECTS, Dialect, Place
from ponder.text.stream import Delta, Stream
from ponder.think import Request, think_one
from ponder.types import Block, Completion, Ended, Rating

T = TypeVar("T")
LIVE = ("direct", "single")
"""Searches that keep everything they try, so that it can be shown at once; of the others only the end is."""


@dataclass(frozen=True)
class Begun:
    """The prompt fits, and something is being written."""


@dataclass(frozen=True)
class Folded:
    """A block has closed."""

    block: Block


@dataclass(frozen=True)
class Told:
    """More of the answer."""

    text: str


@dataclass(frozen=True)
class Done:
    """The whole, with its counts."""

    completion: Completion
    forced: bool
    """Whether the model would have thought on, but had to answer."""


@dataclass(frozen=True)
class Tried:
    """A search has one more candidate; told only where the tree was asked for."""

    id: int
    """In the order of coming."""
    parent: int | None
    """The candidate that it goes on from; None for the question."""
    rating: Rating | None
    tokens: int
    answers: bool


Event = Begun | Folded | Told | Tried | Done


@dataclass(eq=False)
class Answer:
    """Follows an answer while it is written; what could still become a stop text, or a trailing blank, is held back."""

    dialect: Dialect
    stop: tuple[str, ...]
    tell: Callable[[Event], None]
    _text: str = ""
    _sent: str = ""

    def __post_init__(self) -> None:
        self._stream = Stream(self.dialect)
        self._stream.feed(format.text_of(format.opening(answering=True, dialect=self.dialect)))

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
    tree: bool = False
    """Whether each candidate is told of."""
    forced: bool = False
    _begun: bool = False
    _over: bool = False
    """Whether the model ended its thinking by itself."""
    _tried: int = 0
    _numbers: dict[tuple[int, ...], int] = field(default_factory=dict[tuple[int, ...], int])
    """Of thoughts that were extended, by their blocks, which the search's tree keeps."""

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
        if self.live:
            self._show(prefix, extensions[0], answer)
        for extension in extensions if self.tree else ():
            self._grow(prefix, extension)
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

    def _grow(self, prefix: Prefix, extension: Extension) -> None:
        """Tell of one candidate. Two that read the same are two: places are known by their blocks, not their texts."""
        place = tuple(map(id, prefix.blocks))
        if extension.block:
            self._numbers[(*place, id(extension.block))] = self._tried
        elif extension.answer is None:
            return
        tokens = spent(extension).kept
        self.tell(Tried(self._tried, self._numbers.get(place), extension.rating, tokens, extension.block is None))
        self._tried += 1

    def _show(self, prefix: Prefix, extension: Extension, answer: Answer) -> None:
        if extension.answer is not None:
            self.forced = prefix.answering and not self._over
            answer.send(extension.answer)
        elif extension.block:
            self.tell(Folded(extension.block))
        self._over = extension.last


@dataclass(eq=False)
class Worker:
    """A sampler in a thread of its own."""

    sampler: Sampler
    dialect: str = format.BLOCKS.name
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="thinking", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it can think."""
        return self._thread.is_alive() and not self._loop.is_closed()

    async def events(
        self, requests: Sequence[Request], stop: tuple[str, ...] = (), *, tree: bool = False
    ) -> AsyncGenerator[tuple[int, Event]]:
        """What becomes of each request, with its number; where one fails, so do all, and its error is raised.

        With `tree`, every candidate of a search is told of, too.
        """
        here, told = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Event | None]]()

        def teller(number: int) -> Callable[[Event | None], None]:
            return lambda event: _call(here, lambda: told.put_nowait((number, event)))

        futures: list[Future[Done]] = []
        try:
            for number, request in enumerate(requests):
                tell = teller(number)
                future = asyncio.run_coroutine_threadsafe(self._think(request, stop, tell, tree), self._loop)
                futures.append(future)
                future.add_done_callback(lambda _, tell=tell: tell(None))
            left = len(futures)
            while left:
                number, event = await told.get()
                if event is None:
                    left, event = left - 1, _result(futures[number])
                yield number, event
        finally:
            for future in futures:
                future.cancel()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine comes to in the thread that thinks, where networks may be used."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.cancelled():
                raise SamplerError("the server is stopping") from None
            raise

    def close(self) -> None:
        """Give up every thought and end the thread."""
        if self.alive:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _think(self, request: Request, stop: tuple[str, ...], tell: Callable[[Event], None], tree: bool) -> Done:
        followed = Followed(self.sampler, DIALECTS[self.dialect], stop, request.search in LIVE, tell, tree)
        completion = await think_one(request, followed)
        if completion.ended is Ended.MALFORMED:
            raise Refusal(500, "The model broke its format: try another seed.", code="model_error")
        if not followed.live:
            for block in completion.blocks:
                tell(Folded(block))
            tell(Told(completion.answer))
        return Done(completion, followed.forced)


def _result(future: "Future[Done]") -> Done:
    try:
        return future.result()
    except CancelledError:
        raise SamplerError("the server is stopping") from None


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Have a loop of another thread do something, unless it has ended: then nobody listens any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
