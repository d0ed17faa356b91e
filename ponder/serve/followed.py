"""One request's thought, followed while its search asks for extensions: what is told of it, and when.

A block is told as soon as the search is certain to keep it, so that nothing discarded is ever shown: with one chain
that is at once, in a tree once all lines that can still win go through it. The answer of a single chain is told while
it is written, that of a search once it has been chosen.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampler, Sampling
from ponder.search.tree import spent
from ponder.serve.events import Begun, Event, Folded, Told
from ponder.serve.tree import Growing
from ponder.text import format
from ponder.text.format import Dialect, Place
from ponder.text.stream import Delta, Stream
from ponder.types import Block, Completion, Segment, Thought, Tokens


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


class Written(NamedTuple):
    """An answer that may be the one."""

    segment: Segment
    forced: bool
    """Whether the model would have thought on, but had to answer."""


@dataclass(eq=False)
class Followed:
    """A sampler whose extensions of one request are followed; the search tells what it is certain to keep."""

    sampler: Sampler
    dialect: Dialect
    stop: tuple[str, ...]
    live: bool
    """Whether the only answer is told while it is written."""
    tell: Callable[[Event], None]
    tree: Growing | None = None
    """What each candidate is told to, where they are told at all."""
    spend: Callable[[Tokens], None] = lambda tokens: None
    """Hears of tokens as they are used: the prompt's once, and what is generated, extension by extension."""
    cached: int | None = None
    _answers: dict[tuple[Thought, str], Written] = field(default_factory=dict[tuple[Thought, str], Written])
    """What was written, by what it answers."""
    _told: list[Block] = field(default_factory=list[Block])
    """The blocks that were told."""
    _begun: bool = False
    _counted: bool = False
    """Whether the prompt's tokens were."""
    _over: set[tuple[int, ...]] = field(default_factory=set[tuple[int, ...]])
    """Where the model ended its thinking by itself: by the blocks, which the search keeps, not by what they read."""

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
        self._count(prefix, extensions)
        place = tuple(map(id, prefix.blocks))
        for one in extensions:
            if one.answer is not None:
                written = Written(one.segment, prefix.answering and place not in self._over)
                self._answers.setdefault((prefix.blocks, one.answer), written)
            elif one.last:
                self._over.add((*place, id(one.block)) if one.block else place)
        if self.live and extensions[0].answer is not None:
            answer.send(extensions[0].answer)
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

    def _count(self, prefix: Prefix, extensions: Sequence[Extension]) -> None:
        costs, known = [spent(one) for one in extensions], min(one.known for one in extensions)
        if not prefix.blocks:  # candidates of one search read their prompt once, together
            self.cached = known if self.cached is None else min(known, self.cached)
        thinking, answer = sum(cost.thinking for cost in costs), sum(cost.answer for cost in costs)
        prompt, self._counted = 0 if self._counted else costs[0].prompt, True
        self.spend(Tokens(prompt, thinking, answer, cached=min(known, prompt)))

    def certain(self, blocks: Thought) -> None:
        """The search keeps these blocks, whatever comes: those that are new are told."""
        for block in blocks[len(self._told) :]:
            self._told.append(block)
            self.tell(Folded(block))

    def chosen(self, completion: Completion) -> Written | None:
        """What the search has come to: what was not certain before is told now."""
        told = tuple(self._told)
        assert told == completion.blocks[: len(told)], "a block that was told has been discarded"
        self.certain(completion.blocks)
        if not self.live:
            self.tell(Told(completion.answer))
        return self._answers.get((completion.blocks, completion.answer))
