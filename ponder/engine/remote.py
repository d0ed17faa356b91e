"""The remote sampler: extends prefixes on any server that speaks OpenAI's API.

``completions`` servers take raw text, so they go on from any prefix: each extension is one request, which stops where
a block or the answer closes. ``chat`` servers take a conversation and cannot go on from a thought that is given to
them: from those the whole completion is fetched when a chain is first extended, and handed out block by block. Any
other prefix with blocks is refused, and a thought that used up its tokens has no answer.

Ponder's own checkpoints write ``blocks`` and need completions, because each fold is a new prompt. Other reasoning
models write ``think_tags``: they are reached over chat, or, where their turns are ChatML, over completions, with a
paragraph a request. The effort is told to a chat server; over completions ChatML has no place for it, and only the
budget holds it.

Servers send no token ids, so segments hold none and cannot be trained on. Counts are those of the server's usage.
They do not hold the model to its format either, so more comes back malformed than from the local sampler, above all
where an answer is forced. Nothing is streamed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Annotated, Any, NamedTuple

import pydantic

from ponder.engine.endpoint import Endpoint, Kind, Server
from ponder.engine.limits import before_stop, check
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.seeds import rng_for
from ponder.text import format
from ponder.text.format import DIALECTS, THINK_TAGS, Dialect, Mark, Parser, Place, pieces_of
from ponder.types import Effort, Ended, Message, Segment, Thought, Tokens

MOST_KEPT = 4096
"""Prefixes for which the rest of a chat server's completion is kept."""
SEEDS = 2**31
"""Seeds are sent modulo this: few servers take all 63 bits."""
NO_IDS = Segment((), (), ())


# What servers send; fields that are not named here are ignored.


class _Details(pydantic.BaseModel):
    reasoning_tokens: pydantic.NonNegativeInt | None = None


class _Usage(pydantic.BaseModel):
    prompt_tokens: pydantic.NonNegativeInt
    completion_tokens: pydantic.NonNegativeInt
    completion_tokens_details: _Details | None = None


class _Logprobs(pydantic.BaseModel):
    token_logprobs: list[float | None] = []


class _Text(pydantic.BaseModel):
    text: str
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _TextReply(pydantic.BaseModel):
    choices: Annotated[list[_Text], pydantic.Field(min_length=1)]
    usage: _Usage


class _Message(pydantic.BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """What newer servers call `reasoning_content`."""


class _Turn(pydantic.BaseModel):
    message: _Message
    finish_reason: str | None = None


class _ChatReply(pydantic.BaseModel):
    choices: Annotated[list[_Turn], pydantic.Field(min_length=1)]
    usage: _Usage


class _Key(NamedTuple):
    """What the rest of a completion is a sample of."""

    messages: tuple[Message, ...]
    effort: Effort
    blocks: Thought
    sampling: Sampling
    """Whatever its seed was."""


class _Rest(NamedTuple):
    """What a chat server has written after a prefix, and the part of its cost that no extension has told yet."""

    blocks: Thought
    answer: str
    ended: Ended
    untold: Tokens


@dataclass(eq=False)
class RemoteSampler:
    """A model that generates on a server."""

    endpoint: Endpoint
    rng: Random = field(default_factory=lambda: rng_for("retries"), repr=False)
    """For the jitter of retries; what is sampled has seeds of its own."""
    _server: Server = field(init=False, repr=False)
    _rests: dict[_Key, list[_Rest]] = field(default_factory=dict[_Key, list[_Rest]], init=False, repr=False)

    def __post_init__(self) -> None:
        self._server = Server(self.endpoint, self.rng)

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One block or answer for each sampling, each by a request of its own; `hear` is not called."""
        check(limit, samplings, DIALECTS[self.endpoint.dialect])
        one = self._by_chat if self.endpoint.kind == Kind.CHAT else self._by_text
        tasks = [asyncio.ensure_future(one(prefix, limit, sampling)) for sampling in samplings]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:  # where one has failed, the others need not go on
                task.cancel()

    def _drawn(self, most: int, sampling: Sampling) -> dict[str, Any]:
        """The fields that say how tokens are drawn, and how many; OpenAI knows no top_k and min_p, many servers do."""
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed % SEEDS}
        more = {"top_k": sampling.top_k or None, "min_p": sampling.min_p or None}
        return {self.endpoint.limit_field: most, **drawn, **more}

    # Completions: from any prefix

    async def _by_text(self, prefix: Prefix, limit: Limit, sampling: Sampling) -> Extension:
        dialect = DIALECTS[self.endpoint.dialect]
        most = limit.answer if prefix.answering else limit.thinking
        body = {"prompt": self._prompt(prefix, dialect), "stop": _stops(dialect, prefix.answering, limit)}
        body |= self._drawn(most, sampling) | ({"logprobs": 1} if self.endpoint.logprobs else {})
        reply = await self._server.ask(body, _TextReply)
        choice = reply.choices[0]
        if self.endpoint.logprobs and choice.logprobs is None:
            raise SamplerError(
                f"{self._server.who} sent no log-probabilities, though it was asked: do without (logprobs=False)"
            )
        if prefix.answering:
            return _answer(choice, reply.usage, dialect, limit)
        if dialect.folds:
            self._check_markers(choice, dialect)
        return _block(choice, reply.usage, dialect, prefix.think_on)

    def _prompt(self, prefix: Prefix, dialect: Dialect) -> str:
        asked = format.render_context(prefix.messages, prefix.effort, (), None, dialect=dialect)
        if spelled := format.spelled_marker(asked, dialect):
            raise SamplerError(
                f"the prompt spells {spelled}, which {self._server.who} reads as that marker: write it otherwise"
            )
        pieces = format.render_context(
            prefix.messages,
            prefix.effort,
            prefix.blocks,
            self.endpoint.fold_window,
            answering=prefix.answering,
            think_on=prefix.think_on,
            dialect=dialect,
        )
        return format.text_of(pieces)

    def _check_markers(self, choice: _Text, dialect: Dialect) -> None:
        """Text without any marker must not pass for a bad thought, where it was the server that dropped them."""
        marked = any(piece.marker for piece in pieces_of(choice.text, dialect))
        if choice.finish_reason == "stop" and choice.text.strip() and not marked:
            raise SamplerError(
                f"{self._server.who} sent text without a block's markers: if its model thinks in blocks, it drops "
                'special tokens; ask for them (vLLM, SGLang: extra={"skip_special_tokens": False})'
            )

    # Chat: a whole completion, handed out block by block

    async def _by_chat(self, prefix: Prefix, limit: Limit, sampling: Sampling) -> Extension:
        if prefix.think_on:
            raise SamplerError(
                f"{self._server.who} cannot be held from answering: thinking on needs a completions server"
            )
        key = _Key(prefix.messages, prefix.effort, prefix.blocks, replace(sampling, seed=0))
        rest = self._recall(key)
        if rest is None:
            if prefix.blocks:
                raise SamplerError(
                    f"{self._server.who} cannot go on from a given thought: a search that branches needs a "
                    "completions server"
                )
            rest = await self._whole(prefix, limit, sampling)
        if prefix.answering or not rest.blocks:
            answer, ended = before_stop(rest.answer, rest.ended, limit.stop)
            return Extension(None, answer, ended, NO_IDS, spent=rest.untold)
        block, *others = rest.blocks
        # The whole count is the server's; the parts of it are by length, and add up to it.
        share = rest.untold.thinking * len(block.thoughts) // sum(len(one.thoughts) for one in rest.blocks)
        untold = Tokens(thinking=rest.untold.thinking - share, answer=rest.untold.answer)
        self._remember(key._replace(blocks=(*key.blocks, block)), _Rest(tuple(others), rest.answer, rest.ended, untold))
        told = Tokens(prompt=rest.untold.prompt, thinking=share)
        return Extension(block, None, None, NO_IDS, spent=told, last=not others)

    async def _whole(self, prefix: Prefix, limit: Limit, sampling: Sampling) -> _Rest:
        """A whole completion; the server knows one limit alone, which holds thinking and answer together."""
        most = limit.answer if prefix.answering else limit.thinking + limit.answer
        messages = [{"role": one.role, "content": format.shown(one, THINK_TAGS)} for one in prefix.messages]
        body = {"messages": messages, "reasoning_effort": prefix.effort, **self._drawn(most, sampling)}
        reply = await self._server.ask(body, _ChatReply)
        return _rest(reply.choices[0], reply.usage)

    def _recall(self, key: _Key) -> _Rest | None:
        """A rest that was kept for a prefix; each is one sample, so it is given out once."""
        kept = self._rests.get(key, [])
        if len(kept) <= 1:
            self._rests.pop(key, None)
        return kept.pop(0) if kept else None

    def _remember(self, key: _Key, rest: _Rest) -> None:
        self._rests.setdefault(key, []).append(rest)
        if len(self._rests) > MOST_KEPT:
            self._rests.pop(next(iter(self._rests)))


def _stops(dialect: Dialect, answering: bool, limit: Limit) -> list[str]:
    """The markers at which a request ends.

    A server may leave the one that it found out of the text, so which one it was must be plain without it: a block ends
    in its summary, an answer begins at once. Paragraphs do not tell, so ``</think>`` is read with the last of them.
    """
    if answering:
        return [dialect.marker[Mark.END].text, *limit.stop]
    marks = [Mark.END_BLOCK, Mark.ANSWER] if dialect.folds else [Mark.END_BLOCK]
    return [dialect.marker[mark].text for mark in marks]


def _block(choice: _Text, usage: _Usage, dialect: Dialect, think_on: bool) -> Extension:
    """The text of one request as a block, or as the end of thinking."""
    stopped = choice.finish_reason == "stop"
    read = pieces_of(choice.text, dialect)
    parser = format.parse_on(read, dialect, think_on=think_on, closed=stopped)
    parsed = parser.result()
    spent = Tokens(usage.prompt_tokens, thinking=usage.completion_tokens)
    over = parser.place in (Place.ANSWER, Place.DONE) or (stopped and not choice.text.strip())
    if not parsed.blocks:
        return Extension(None, None, None if over else parsed.ended, _segment(choice), spent=spent, last=over)
    # What a server wrote beyond the first block, against the stop marker, is let go: it had not seen the fold.
    last = over and len(parsed.blocks) == 1 and not dialect.folds
    return Extension(parsed.blocks[0], None, None, _segment(choice), spent=spent, last=last)


def _answer(choice: _Text, usage: _Usage, dialect: Dialect, limit: Limit) -> Extension:
    """The text of one request as the answer."""
    stopped = choice.finish_reason == "stop"
    parsed = format.parse_on(pieces_of(choice.text, dialect), dialect, answering=True, closed=stopped).result()
    answer, ended = before_stop(parsed.answer, parsed.ended, limit.stop)
    spent = Tokens(usage.prompt_tokens, answer=usage.completion_tokens)
    return Extension(None, answer, ended, _segment(choice), spent=spent)


def _segment(choice: _Text) -> Segment:
    """Log-probabilities without ids; none unless the server has all of them."""
    told = choice.logprobs.token_logprobs if choice.logprobs else []
    known = tuple(value for value in told if value is not None)
    return Segment((), (), known if len(known) == len(told) else ())


def _rest(turn: _Turn, usage: _Usage) -> _Rest:
    """A chat server's turn, with its thought in a field of its own, in the text, or not sent at all."""
    content = turn.message.content or ""
    thought = turn.message.reasoning_content or turn.message.reasoning or ""
    parser = Parser(THINK_TAGS)
    begins, ends = THINK_TAGS.marker[Mark.BLOCK], THINK_TAGS.marker[Mark.ANSWER]
    if thought:
        # The field is the thought: whatever it spells, only its paragraphs are marks.
        breaks = THINK_TAGS.marker[Mark.END_BLOCK]
        inside = [p if p == breaks else format.Piece(p.text) for p in pieces_of(thought, THINK_TAGS)]
        for piece in (begins, *inside, *((ends,) if content else ())):
            parser.eat(piece)
    elif ends.text in content and not content.lstrip().startswith(begins.text):  # the template began the thought
        parser.eat(begins)
    for piece in pieces_of(content, THINK_TAGS):
        parser.eat(piece)
    if turn.finish_reason == "stop" and parser.place is Place.ANSWER:
        parser.eat(THINK_TAGS.marker[Mark.END])
    parsed = parser.result()
    return _Rest(parsed.blocks, parsed.answer, parsed.ended, _split(usage, parsed))


def _split(usage: _Usage, parsed: format.Parsed) -> Tokens:
    """The server's count as thinking and answer; by length, where it does not tell them apart."""
    written = usage.completion_tokens
    thinking = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else None
    if thinking is None:
        size = sum(len(block.thoughts) for block in parsed.blocks)
        thinking = written * size // (size + len(parsed.answer)) if parsed.answer else written
    thinking = min(thinking, written)
    return Tokens(usage.prompt_tokens, thinking, written - thinking)
