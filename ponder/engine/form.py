"""What the local sampler must know of a dialect: what is read before an extension, and what is made of its tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch

from ponder.engine.ear import Decoder, Ear
from ponder.engine.grammar import Grammar
from ponder.engine.jobs import Written
from ponder.errors import ContextError
from ponder.interfaces import Extension, Hear, Limit, Prefix
from ponder.text.format import Piece, Place
from ponder.types import Block, Ended, Rating, Segment

PROMPTS = 4096
"""Prompts whose tokens are remembered."""
MOST_CHARACTERS = 32
"""A token has seldom more characters; prompts far beyond the window are refused before they are encoded."""


class Context(NamedTuple):
    """What an extension is generated from."""

    ids: tuple[int, ...]
    place: Place
    """Where in the format the samples begin."""
    shared: int
    """So many of its first tokens are worth remembering for other extensions."""
    after: tuple[tuple[int, ...], ...] = ()
    """Earlier contexts that it may go on from, the longest first."""


class Form(Protocol):
    """One dialect, spoken by one checkpoint."""

    def grammar(self, device: torch.device) -> Grammar:
        """Which tokens may come, and which of them end an extension."""
        ...

    def context(self, prefix: Prefix) -> Context:
        """What the next block, or the answer, of a prefix is generated from."""
        ...

    def bounded(self, limit: Limit, context: Context, prefix: Prefix) -> Limit | None:
        """A limit that keeps to the window, however long the whole thought may become.

        None where there is no room for another block; raises ContextError where there is none for the answer.
        """
        ...

    def ear(self, prefix: Prefix, limit: Limit, hear: Hear | None) -> Ear:
        """What hears the tokens of an extension."""
        ...

    def extension(self, written: Written, prefix: Prefix, limit: Limit) -> Extension:
        """What was written, as a block or as the answer."""
        ...


def check_length(prefix: Prefix, longest: int) -> None:
    """Refuses a conversation that is far too long to be encoded."""
    size = sum(len(message.content) for message in prefix.messages)
    if size > MOST_CHARACTERS * longest:
        raise ContextError(f"the prompt has {size:,} characters, the model reads {longest} tokens: shorten the prompt")


def answer_fits(limit: Limit, context: Context, prefix: Prefix, room: int, longest: int) -> Limit:
    """The limit with an answer of at most `room` tokens, where the thought has taken more than was foreseen.

    Raises ContextError where it is the prompt that leaves too little.
    """
    if prefix.blocks:  # it answers with what is left
        answer = max(1, min(limit.answer, room))
        limit = limit if answer == limit.answer else replace(limit, answer=answer)
    if limit.answer > room:
        raise ContextError(
            f"the prompt has {len(context.ids)} tokens and its answer up to {limit.answer}, but the model reads at "
            f"most {longest}: shorten the prompt"
        )
    return limit


def extension(
    written: Written, block: Block | None, answer: str | None, ended: Ended | None, *, last: bool = False
) -> Extension:
    """An extension with its segment, and with its ratings where there are any."""
    limit = written.job.limit
    segment = Segment(written.job.context, written.tokens, written.logprobs, (limit.thinking, limit.answer))
    after, before = (Rating(*found) if found else None for found in (written.after, written.before))
    block = block and Block(block.headline, block.thoughts, block.summary, written.surprise)
    known = written.job.known or 0
    return Extension(block, answer, ended, segment, after, before, last=last, known=known)


def pieces(ids: Sequence[int], markers: Mapping[int, str], tokenizer: Decoder) -> Iterator[Piece]:
    """Generated ids as pieces: only these tokens are markers, whatever the text between them spells."""
    run: list[int] = []
    for id_ in ids:
        if id_ not in markers:
            run.append(id_)
            continue
        if run:
            yield Piece(tokenizer.decode(run))
            run = []
        yield Piece(markers[id_], True)
    if run:
        yield Piece(tokenizer.decode(run))
