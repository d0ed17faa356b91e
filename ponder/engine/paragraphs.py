"""The `think_tags` dialect in the local sampler: paragraphs as blocks, and nothing folds.

A context is the prompt and the thought so far, encoded as one text: what a paragraph was sampled as does not matter
for what comes after it, so that equal thoughts are equal. Each context goes on from the last one's keys and values.

No grammar holds the model to the dialect. A paragraph ends at a blank line, at the thought's end, at the end of the
turn, or as it is where its tokens are used up; that it must answer is said by ending the thought for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import torch

from ponder.engine.ear import Ear
from ponder.engine.form import PROMPTS, Context, answer_fits, check_length, extension, pieces
from ponder.engine.grammar import Grammar
from ponder.engine.jobs import Written
from ponder.engine.limits import before_stop
from ponder.errors import CheckpointError
from ponder.interfaces import Extension, Hear, Limit, Prefix
from ponder.model.chat import Chat
from ponder.model.checkpoint import Checkpoint
from ponder.text import format
from ponder.text.foreign import ForeignTokenizer
from ponder.text.format import THINK_TAGS, Mark, Piece, Place

MARGIN = 32
"""Tokens kept free for ending a thought, and because a paragraph may have more of them when it is read again."""
_BREAK, _ANSWER, _END = (THINK_TAGS.marker[mark].text for mark in (Mark.END_BLOCK, Mark.ANSWER, Mark.END))


@dataclass(eq=False)
class Paragraphs:
    """A checkpoint that thinks between think tags; see `Form`."""

    checkpoint: Checkpoint
    tokenizer: ForeignTokenizer = field(init=False)
    chat: Chat = field(init=False)

    def __post_init__(self) -> None:
        tokenizer, chat = self.checkpoint.tokenizer, self.checkpoint.chat
        if not isinstance(tokenizer, ForeignTokenizer) or chat is None:
            raise CheckpointError(f"{self.checkpoint.config.name} was not loaded as a model that thinks in think tags")
        self.tokenizer, self.chat = tokenizer, chat
        special = self.tokenizer.special
        self._markers = {special[text]: text for text in THINK_TAGS.marks if text in special}
        self._written = tuple(text for text in (_ANSWER, _END) if text not in special)
        """Marks that the model can only write in letters."""
        self._prompt = lru_cache(PROMPTS)(self.chat.prompt)
        self._ids = lru_cache(PROMPTS)(self._encoded)

    def grammar(self, device: torch.device) -> Grammar:
        """Everything is allowed; ends, and while thinking the thought's end, close an extension."""
        breaks = [id_ for id_, text in self._markers.items() if text == _ANSWER]
        size = self.checkpoint.network.shape.vocab_size
        return Grammar.free(self.tokenizer.ends, breaks, self.tokenizer.size, size, device)

    def context(self, prefix: Prefix) -> Context:
        """Prompt and thought; all of it is shared with whatever goes on from here."""
        check_length(prefix, self.checkpoint.network.shape.max_position_embeddings)
        ids, thinking = self._ids(prefix), replace(prefix, answering=False, think_on=False)
        earlier = (prefix.blocks, prefix.blocks[:-1], ())
        after = tuple(self._ids(replace(thinking, blocks=blocks)) for blocks in earlier)
        if prefix.answering:
            return Context(ids, Place.ANSWER, 0, after)
        return Context(ids, Place.BETWEEN, len(ids), after)

    def _encoded(self, prefix: Prefix) -> tuple[int, ...]:
        prompt = self._prompt(prefix.messages, prefix.effort)
        thought = format.render_thought(prefix.blocks, answering=prefix.answering, think_on=prefix.think_on)
        return (*self.chat.opening, *self.tokenizer.encode([*prompt, *thought]))

    def bounded(self, limit: Limit, context: Context, prefix: Prefix) -> Limit | None:
        """The paragraph, the thought's end and the answer must fit the window."""
        longest = self.checkpoint.network.shape.max_position_embeddings
        room = longest - len(context.ids) - (0 if prefix.answering else MARGIN)
        limit = answer_fits(limit, context, prefix, room, longest)
        thinking = min(limit.thinking, room - limit.answer)
        return replace(limit, thinking=thinking) if prefix.answering or thinking > 0 else None

    def ear(self, prefix: Prefix, limit: Limit, hear: Hear | None) -> Ear:
        """Ends are told by text: a paragraph's, and those whose marks are no single tokens."""
        if not prefix.answering:
            begun = format.text_of(format.opening(think_on=prefix.think_on, dialect=THINK_TAGS))
            return Ear(self.tokenizer, hear, partial(_paragraph_over, self._written, begun))
        stops = (*limit.stop, *(text for text in self._written if text == _END))
        return Ear(self.tokenizer, hear, partial(_holds, stops) if stops else None)

    def extension(self, written: Written, prefix: Prefix, limit: Limit) -> Extension:
        """The first paragraph, or the answer."""
        ids = written.tokens
        over = bool(ids) and ids[-1] in self.tokenizer.ends
        read = list(self._pieces(ids[:-1] if over else ids))
        if prefix.answering:
            parsed = format.parse_on(read, THINK_TAGS, answering=True, closed=over).result()
            return extension(written, None, *before_stop(parsed.answer, parsed.ended, limit.stop))
        end = THINK_TAGS.marker[Mark.END]
        if end in read:  # a turn may end within a thought; what it ends is the thought
            over, read = True, read[: read.index(end)]
        parser = format.parse_on(read, THINK_TAGS, think_on=prefix.think_on, closed=True)
        blocks = parser.result().blocks
        over = over or parser.place is Place.ANSWER
        # What was written behind the first blank line, within its last token, is let go: the paragraph ended there.
        return extension(
            written, blocks[0] if blocks else None, None, None, last=not blocks or (over and len(blocks) == 1)
        )

    def _pieces(self, ids: Sequence[int]) -> Iterator[Piece]:
        """Marks that are single tokens count as such alone, the others by their text."""
        for piece in pieces(ids, self._markers, self.tokenizer):
            if piece.marker:
                yield piece
                continue
            for part in format.pieces_of(piece.text, THINK_TAGS):
                yield part if part.text in (_BREAK, *self._written) else Piece(part.text)


def _paragraph_over(written: tuple[str, ...], begun: str, text: str) -> bool:
    return _BREAK in (begun + text).lstrip() or _holds(written, text)


def _holds(stops: tuple[str, ...], text: str) -> bool:
    return any(stop in text for stop in stops)
