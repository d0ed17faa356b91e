"""The local sampler: extends prefixes by a block or an answer each, on this machine's own weights.

Any number of extensions may be awaited at once; the scheduler decodes all of them in one batch.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ponder.engine.grammar import Grammar
from ponder.engine.scheduler import Job, Scheduler
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
    most_rows: int = 256
    scheduler: Scheduler = field(init=False)
    _driver: "asyncio.Task[None] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not self.checkpoint.config.dialect == BLOCKS.name:
            raise ConfigError(f"the local sampler speaks blocks, the checkpoint {self.checkpoint.config.dialect!r}")
        self.scheduler = self._scheduler()
        self._open: set[asyncio.Future[None]] = set()
        self._markers = {id_: text for text, id_ in self.checkpoint.tokenizer.special.items()}
        self._prompt = lru_cache(PROMPTS)(self._encode_prompt)

    def _scheduler(self) -> Scheduler:
        network, tokenizer = self.checkpoint.network, self.checkpoint.tokenizer
        device = next(network.parameters()).device
        return Scheduler(network, Grammar.of(tokenizer.special, tokenizer.size, device), self.most_rows)

    def _encode_prompt(self, messages: tuple[Message, ...], effort: Effort) -> tuple[int, ...]:
        return tuple(self.checkpoint.tokenizer.encode(format.render_prompt(messages, effort)))

    def context(self, prefix: Prefix) -> list[int]:
        """The ids that the next block, or the answer, of a prefix is generated from."""
        return [*self._prompt(prefix.messages, prefix.effort), *self._state(prefix)]

    def _state(self, prefix: Prefix) -> list[int]:
        window = self.checkpoint.config.fold_window
        pieces = format.render_state(prefix.blocks, window, answering=prefix.answering)
        return self.checkpoint.tokenizer.encode(pieces)

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One block or answer for each sampling; what reaches its limit first comes back CUT_OFF."""
        prompt = self._prompt(prefix.messages, prefix.effort)
        context = (*prompt, *self._state(prefix))
        found: dict[int, Extension] = {}
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(sample: int, generated: tuple[int, ...], logprobs: tuple[float, ...]) -> None:
            found[sample] = self._extension(context, generated, logprobs, prefix)
            if len(found) == len(samplings) and not finished.done():
                finished.set_result(None)

        listener = _Ear(hear, self.checkpoint.tokenizer).hear if hear else None
        bounded = self._bounded(limit, context)
        job = Job(context, len(prompt), prefix.answering, bounded, samplings, done, listener)
        self._open.add(finished)
        self.scheduler.submit(job)
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive())
        try:
            await finished
        finally:
            self._open.discard(finished)
            if len(found) < len(samplings):
                self.scheduler.cancel(job)
        return [found[sample] for sample in range(len(samplings))]

    async def _drive(self) -> None:
        """Step while there is work; whoever has waited for a result may submit more between two steps."""
        while self.scheduler.busy:
            try:
                self.scheduler.step()
            except Exception as err:
                self.scheduler = self._scheduler()  # this one's state is unknown: whoever waits is told why
                for waiting in self._open:
                    waiting.set_exception(err)
                return
            await asyncio.sleep(0)

    def _bounded(self, limit: Limit, context: Sequence[int]) -> Limit:
        """A block, its fold and the answer must fit the window, however long the whole thought may become."""
        longest = self.checkpoint.network.shape.max_position_embeddings
        if len(context) + 1 + limit.answer > longest:
            raise SamplerError(
                f"the prompt has {len(context)} tokens and its answer up to {limit.answer}, but the model reads at "
                f"most {longest}: shorten the prompt"
            )
        return Limit(min(limit.thinking, max(1, (longest - len(context) - limit.answer) // 2)), limit.answer)

    def _extension(
        self, context: tuple[int, ...], generated: tuple[int, ...], logprobs: tuple[float, ...], prefix: Prefix
    ) -> Extension:
        parser = Parser()
        if prefix.answering:
            parser.eat(BLOCKS.marker[format.Mark.ANSWER])
        for piece in self._pieces(generated):
            parser.eat(piece)
        segment = Segment(context, generated, logprobs)
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
