"""The local sampler: extends prefixes by a block or an answer each, on this machine's own weights.

Any number of extensions may be awaited at once; the scheduler decodes all of them in one batch.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from ponder.engine.grammar import Grammar
from ponder.engine.scheduler import MOST_BYTES, MOST_ROWS, Job, Scheduler, Written
from ponder.errors import ConfigError, SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint
from ponder.text import format
from ponder.text.format import BLOCKS, Mark, Parser, Place
from ponder.text.tokenizer import PonderTokenizer
from ponder.types import Effort, Ended, Message, Rating, Segment

PROMPTS = 4096
"""Prompts whose tokens are remembered."""


@dataclass(frozen=True)
class _Ear:
    """Hears tokens: tells a listener each one's text, and ends a sample whose answer holds a stop text.

    A character of several tokens is held back until it is whole.
    """

    tokenizer: PonderTokenizer
    listener: Hear | None
    stops: tuple[str, ...]
    answering: bool
    held: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    said: dict[int, str] = field(default_factory=dict[int, str])

    def hear(self, sample: int, token: int) -> bool:
        ids = [*self.held.pop(sample, []), token]
        text = self.tokenizer.decode(ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(ids) < 4:  # no character has more than four bytes
            self.held[sample] = ids
            return False
        if self.listener:
            self.listener(sample, text)
        if not self.stops:
            return False
        said = self.said.get(sample, "") + text
        answer = said if self.answering else said.partition(BLOCKS.marker[Mark.ANSWER].text)[2]
        self.said[sample] = said
        return any(stop in answer for stop in self.stops)


@dataclass(eq=False)
class LocalSampler:
    """A checkpoint that generates."""

    checkpoint: Checkpoint
    most_rows: int = MOST_ROWS
    most_bytes: int = MOST_BYTES
    """Memory for what was read and written; what has no room waits."""
    scheduler: Scheduler = field(init=False)
    _driver: "asyncio.Task[None] | None" = field(default=None, init=False)
    _open: "set[asyncio.Future[None]]" = field(default_factory=lambda: set[asyncio.Future[None]](), init=False)

    def __post_init__(self) -> None:
        if not self.checkpoint.config.dialect == BLOCKS.name:
            raise ConfigError(f"the local sampler speaks blocks, the checkpoint {self.checkpoint.config.dialect!r}")
        tokenizer = self.checkpoint.tokenizer
        self.scheduler = self._fresh()
        self._markers = {id_: text for text, id_ in tokenizer.special.items()}
        self._prompt = lru_cache(PROMPTS)(partial(_encode_prompt, tokenizer))

    def _fresh(self) -> Scheduler:
        network, tokenizer = self.checkpoint.network, self.checkpoint.tokenizer
        grammar = Grammar.of(tokenizer.special, tokenizer.size, next(network.parameters()).device)
        return Scheduler(network, grammar, self.most_rows, self.most_bytes, self.checkpoint.head)

    def context(self, prefix: Prefix) -> tuple[int, ...]:
        """The ids that the next block, or the answer, of a prefix is generated from."""
        window = self.checkpoint.config.fold_window
        state = format.render_state(prefix.blocks, window, answering=prefix.answering)
        return (*self._prompt(prefix.messages, prefix.effort), *self.checkpoint.tokenizer.encode(state))

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One block or answer for each sampling.

        A block closes before its limit, and none is begun that could not; an answer that reaches its limit comes back
        CUT_OFF.
        """
        _check(limit, samplings)
        context = self.context(prefix)
        limit = self._bounded(limit, context, prefix.answering)
        if not samplings:
            return []
        found: dict[int, Extension] = {}
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(written: Written) -> None:
            found[written.sample] = self._extension(written, prefix, limit.stop)
            if len(found) == len(samplings) and not finished.done():
                finished.set_result(None)

        def failed(err: Exception) -> None:
            if not finished.done():
                finished.set_exception(err)

        ear = _Ear(self.checkpoint.tokenizer, hear, limit.stop, prefix.answering)
        listener = ear.hear if hear or limit.stop else None
        shared = len(self._prompt(prefix.messages, prefix.effort))
        job = Job(context, shared, prefix.answering, limit, samplings, done, failed, listener)
        self._open.add(finished)
        self.scheduler.submit(job)
        self._start()
        try:
            await finished
        finally:
            self._open.discard(finished)
            if len(found) < len(samplings):
                self.scheduler.cancel(job)
        return [found[sample] for sample in range(len(samplings))]

    def _start(self) -> None:
        """See to it that somebody steps, in the loop that waits now."""
        loop = asyncio.get_running_loop()
        if self._driver is None or self._driver.done() or self._driver.get_loop() is not loop:
            if self._driver and self._driver.get_loop().is_running() and not self._driver.done():
                raise SamplerError("the sampler is in use by another thread's event loop: give each loop its own")
            self._driver = loop.create_task(self._drive())

    async def _drive(self) -> None:
        """Step while there is work; whoever has waited for a result may submit more between two steps."""
        try:
            while self.scheduler.busy:
                self.scheduler.step()
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise  # the loop ends, and with it all who waited: nothing is wrong with the scheduler
        except BaseException as err:  # out of memory, a device that failed, Ctrl-C: whoever waits is told why
            self.scheduler = self._fresh()
            for waiting in tuple(self._open):
                if not waiting.done():
                    waiting.set_exception(SamplerError(f"decoding failed: {err or type(err).__name__}"))
            if not isinstance(err, Exception):
                raise

    def _bounded(self, limit: Limit, context: Sequence[int], answering: bool) -> Limit:
        """A block, its fold and the answer must fit the window, however long the whole thought may become."""
        longest = self.checkpoint.network.shape.max_position_embeddings
        if len(context) + (not answering) + limit.answer > longest:  # the answer's marker is still to come
            raise SamplerError(
                f"the prompt has {len(context)} tokens and its answer up to {limit.answer}, but the model reads at "
                f"most {longest}: shorten the prompt"
            )
        room = max(1, (longest - len(context) - limit.answer) // 2)
        return replace(limit, thinking=min(limit.thinking, room))

    def _extension(self, written: Written, prefix: Prefix, stops: Sequence[str]) -> Extension:
        parser = Parser()
        if prefix.answering:
            parser.eat(BLOCKS.marker[Mark.ANSWER])
        for piece in self._pieces(written.tokens):
            parser.eat(piece)
        segment = Segment(written.job.context, written.tokens, written.logprobs)
        parsed = parser.result()
        rated = partial(Extension, segment=segment, rating=_rating(written.after), before=_rating(written.before))
        if parsed.blocks:
            return rated(parsed.blocks[0], None, None)
        answer = parsed.answer if parser.place in (Place.ANSWER, Place.DONE) else None
        ended = parsed.ended
        if answer is not None and (at := [answer.find(stop) for stop in stops if stop in answer]):
            answer, ended = answer[: min(at)], Ended.ANSWERED
        return rated(None, answer, ended)

    def _pieces(self, ids: Sequence[int]) -> list[format.Piece]:
        """Generated ids as pieces: only special tokens are markers, whatever the text between them spells."""
        pieces: list[format.Piece] = []
        run: list[int] = []
        for id_ in (*ids, -1):
            if id_ != -1 and id_ not in self._markers:
                run.append(id_)
                continue
            if run:
                pieces.append(format.Piece(self.checkpoint.tokenizer.decode(run)))
                run = []
            if id_ != -1:
                pieces.append(format.Piece(self._markers[id_], True))
        return pieces


def _encode_prompt(tokenizer: PonderTokenizer, messages: tuple[Message, ...], effort: Effort) -> tuple[int, ...]:
    return tuple(tokenizer.encode(format.render_prompt(messages, effort)))


def _rating(found: tuple[float, float] | None) -> Rating | None:
    return Rating(*found) if found else None


def _check(limit: Limit, samplings: Sequence[Sampling]) -> None:
    """Refuses what cannot be sampled."""
    if limit.thinking < 0 or limit.answer < 1:
        raise SamplerError(f"{limit.thinking} thinking and {limit.answer} answer tokens: an answer needs at least one")
    if "" in limit.stop:
        raise SamplerError("an empty stop text would end every answer before it begins: leave it out")
    for one in samplings:
        right = one.temperature >= 0 and 0 < one.top_p <= 1 and one.top_k >= 0 and 0 <= one.min_p <= 1
        if not right or not math.isfinite(one.temperature):
            raise SamplerError(f"{one} is out of range: temperature and top_k from 0, top_p in (0, 1], min_p in [0, 1]")
