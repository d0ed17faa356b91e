"""The local sampler: extends prefixes by a block or an answer each, on this machine's own weights.

Any number of extensions may be awaited at once; the scheduler decodes all of them in one batch.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

from ponder.engine.grammar import Grammar
from ponder.engine.scheduler import MOST_ROWS, Job, Scheduler, Written
from ponder.errors import ConfigError, SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint
from ponder.text import format
from ponder.text.format import BLOCKS, Parser, Place
from ponder.text.tokenizer import PonderTokenizer
from ponder.types import Effort, Ended, Message, Segment

PROMPTS = 4096
"""Prompts whose tokens are remembered."""


@dataclass(frozen=True)
class _Ear:
    """Tells a listener each token's text; a character of several tokens is held back until it is whole."""

    listener: Hear
    tokenizer: PonderTokenizer
    held: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def hear(self, sample: int, token: int) -> None:
        ids = [*self.held.pop(sample, []), token]
        text = self.tokenizer.decode(ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(ids) < 4:  # no character has more than four bytes
            self.held[sample] = ids
        else:
            self.listener(sample, text)


@dataclass(eq=False)
class LocalSampler:
    """A checkpoint that generates."""

    checkpoint: Checkpoint
    most_rows: int = MOST_ROWS
    scheduler: Scheduler = field(init=False)
    _driver: "asyncio.Task[None] | None" = field(default=None, init=False)
    _open: "set[asyncio.Future[None]]" = field(default_factory=lambda: set[asyncio.Future[None]](), init=False)

    def __post_init__(self) -> None:
        if not self.checkpoint.config.dialect == BLOCKS.name:
            raise ConfigError(f"the local sampler speaks blocks, the checkpoint {self.checkpoint.config.dialect!r}")
        network, tokenizer = self.checkpoint.network, self.checkpoint.tokenizer
        grammar = Grammar.of(tokenizer.special, tokenizer.size, next(network.parameters()).device)
        self.scheduler = Scheduler(network, grammar, self.most_rows)
        self._markers = {id_: text for text, id_ in tokenizer.special.items()}
        self._prompt = lru_cache(PROMPTS)(partial(_encode_prompt, tokenizer))

    def context(self, prefix: Prefix) -> tuple[int, ...]:
        """The ids that the next block, or the answer, of a prefix is generated from."""
        window = self.checkpoint.config.fold_window
        state = format.render_state(prefix.blocks, window, answering=prefix.answering)
        return (*self._prompt(prefix.messages, prefix.effort), *self.checkpoint.tokenizer.encode(state))

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One block or answer for each sampling; what reaches its limit first comes back CUT_OFF."""
        context = self.context(prefix)
        limit = self._bounded(limit, context, prefix.answering)
        if not samplings:
            return []
        found: dict[int, Extension] = {}
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(written: Written) -> None:
            found[written.sample] = self._extension(written, prefix)
            if len(found) == len(samplings) and not finished.done():
                finished.set_result(None)

        def failed(err: Exception) -> None:
            if not finished.done():
                finished.set_exception(err)

        listener = _Ear(hear, self.checkpoint.tokenizer).hear if hear else None
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
            self.scheduler = Scheduler(self.checkpoint.network, self.scheduler.grammar, self.most_rows)
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
        return Limit(min(limit.thinking, max(1, (longest - len(context) - limit.answer) // 2)), limit.answer)

    def _extension(self, written: Written, prefix: Prefix) -> Extension:
        parser = Parser()
        if prefix.answering:
            parser.eat(BLOCKS.marker[format.Mark.ANSWER])
        for piece in self._pieces(written.tokens):
            parser.eat(piece)
        segment = Segment(written.job.context, written.tokens, written.logprobs)
        parsed = parser.result()
        if parsed.ended is Ended.ANSWERED:
            return Extension(None, parsed.answer, Ended.ANSWERED, segment)
        if parsed.blocks:
            return Extension(parsed.blocks[0], None, None, segment)
        answer = parsed.answer if parser.place is Place.ANSWER else None
        return Extension(None, answer, parsed.ended, segment)

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
