"""The local sampler: extends prefixes by a block or an answer each, on this machine's own weights.

Any number of extensions may be awaited at once; the scheduler decodes all of them in one batch.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from ponder.engine.grammar import Grammar
from ponder.engine.limits import before_stop, check
from ponder.engine.scheduler import MOST_BYTES, MOST_ROWS, Job, Scheduler, Written
from ponder.errors import ConfigError, SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint
from ponder.text import format
from ponder.text.format import BLOCKS, Mark, Parser, Place
from ponder.text.tokenizer import PonderTokenizer
from ponder.types import Effort, Message, Rating, Segment

PROMPTS = 4096
"""Prompts whose tokens are remembered."""
MOST_CHARACTERS = 32
"""A token has seldom more characters; prompts far beyond the window are refused before they are encoded."""


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
    answers: dict[int, str] = field(default_factory=dict[int, str])

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
        if sample in self.answers or self.answering:
            self.answers[sample] = self.answers.get(sample, "") + text
        elif token == self.tokenizer.special[BLOCKS.marker[Mark.ANSWER].text]:
            self.answers[sample] = ""
        return any(stop in self.answers.get(sample, "") for stop in self.stops)


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

    def refresh(self) -> None:
        """Forget what was read of prompts: a trainer in another process than this one has changed the weights."""
        self.scheduler.refresh()

    def context(self, prefix: Prefix) -> tuple[int, ...]:
        """The ids that the next block, or the answer, of a prefix is generated from."""
        size, longest = (
            sum(len(m.content) for m in prefix.messages),
            self.checkpoint.network.shape.max_position_embeddings,
        )
        if size > MOST_CHARACTERS * longest:
            raise SamplerError(
                f"the prompt has {size:,} characters, the model reads {longest} tokens: shorten the prompt"
            )
        window = self.checkpoint.config.fold_window
        state = format.render_state(prefix.blocks, window, answering=prefix.answering, think_on=prefix.think_on)
        return (*self._prompt(prefix.messages, prefix.effort), *self.checkpoint.tokenizer.encode(state))

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One block or answer for each sampling.

        A block closes before its limit, and none is begun that could not; an answer that reaches its limit comes back
        CUT_OFF.
        """
        check(limit, samplings)
        context = self.context(prefix)
        limit = self._bounded(limit, context, prefix.answering, bool(prefix.blocks))
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
        job = Job(context, shared, _place(prefix), limit, samplings, done, failed, listener)
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

    def _bounded(self, limit: Limit, context: Sequence[int], answering: bool, folded: bool) -> Limit:
        """A block, its fold and the answer must fit the window, however long the whole thought may become."""
        longest = self.checkpoint.network.shape.max_position_embeddings
        room = longest - len(context) - (not answering)  # the answer's marker is still to come
        if folded:  # the thought has grown beyond what was foreseen: it answers with what is left
            limit = replace(limit, answer=max(1, min(limit.answer, room)))
        if limit.answer > room:
            raise SamplerError(
                f"the prompt has {len(context)} tokens and its answer up to {limit.answer}, but the model reads at "
                f"most {longest}: shorten the prompt"
            )
        return replace(limit, thinking=min(limit.thinking, max(1, (longest - len(context) - limit.answer) // 2)))

    def _extension(self, written: Written, prefix: Prefix, stops: Sequence[str]) -> Extension:
        parser = Parser()
        for piece in format.opening(answering=prefix.answering, think_on=prefix.think_on):
            parser.eat(piece)
        for piece in self._pieces(written.tokens):
            parser.eat(piece)
        segment = Segment(written.job.context, written.tokens, written.logprobs)
        parsed = parser.result()
        rated = partial(Extension, segment=segment, rating=_rating(written.after), before=_rating(written.before))
        if parsed.blocks:
            return rated(parsed.blocks[0], None, None)
        answer = parsed.answer if parser.place in (Place.ANSWER, Place.DONE) else None
        ended = parsed.ended
        if answer is not None:
            answer, ended = before_stop(answer, ended, stops)
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


def _place(prefix: Prefix) -> Place:
    if prefix.answering:
        return Place.ANSWER
    return Place.HEADLINE if prefix.think_on else Place.BETWEEN


def _rating(found: tuple[float, float] | None) -> Rating | None:
    return Rating(*found) if found else None
