"""The `blocks` dialect in the local sampler: markers are tokens, the grammar holds, and closed blocks fold."""

from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import torch

from ponder.engine.ear import Ear
from ponder.engine.form import PROMPTS, Context, answer_fits, check_length, extension, pieces
from ponder.engine.grammar import Grammar
from ponder.engine.jobs import Written
from ponder.engine.limits import before_stop
from ponder.interfaces import Extension, Hear, Limit, Prefix
from ponder.model.checkpoint import Checkpoint
from ponder.text import format
from ponder.text.format import BLOCKS, Mark, Place


@dataclass(eq=False)
class Folding:
    """A checkpoint that was made for blocks; see `Form`."""

    checkpoint: Checkpoint
    _markers: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self.tokenizer = self.checkpoint.own()[1]
        self._markers = {id_: text for text, id_ in self.tokenizer.special.items()}
        self._prompt = lru_cache(PROMPTS)(lambda *asked: tuple(self.tokenizer.encode(format.render_prompt(*asked))))

    def grammar(self, device: torch.device) -> Grammar:
        """The dialect's table."""
        return Grammar.of(self.tokenizer.special, self.tokenizer.size, device)

    def context(self, prefix: Prefix) -> Context:
        """The prompt, which is shared, and the folded blocks."""
        check_length(prefix, self.checkpoint.network.shape.max_position_embeddings)
        window = self.checkpoint.config.fold_window
        state = format.render_state(prefix.blocks, window, answering=prefix.answering, think_on=prefix.think_on)
        prompt = self._prompt(prefix.messages, prefix.effort)
        place = Place.ANSWER if prefix.answering else Place.HEADLINE if prefix.think_on else Place.BETWEEN
        return Context((*prompt, *self.tokenizer.encode(state)), place, len(prompt))

    def bounded(self, limit: Limit, context: Context, prefix: Prefix) -> Limit:
        """A block, its fold and the answer must fit the window."""
        longest, used = self.checkpoint.network.shape.max_position_embeddings, len(context.ids)
        room = longest - used - (not prefix.answering)  # the answer's marker is still to come
        limit = answer_fits(limit, context, prefix, room, longest)
        thinking = min(limit.thinking, max(1, (longest - used - limit.answer) // 2))
        return limit if thinking == limit.thinking else replace(limit, thinking=thinking)

    def ear(self, prefix: Prefix, limit: Limit, hear: Hear | None) -> Ear:
        """Stop texts hold in the answer alone."""
        answer = None if prefix.answering else self.tokenizer.special[BLOCKS.marker[Mark.ANSWER].text]
        return Ear(self.tokenizer, hear, partial(_stopped, limit.stop) if limit.stop else None, answer)

    def extension(self, written: Written, prefix: Prefix, limit: Limit) -> Extension:
        """The one block or the answer that the grammar has allowed."""
        read = pieces(written.tokens, self._markers, self.tokenizer)
        parser = format.parse_on(read, BLOCKS, answering=prefix.answering, think_on=prefix.think_on)
        parsed = parser.result()
        if parsed.blocks:
            return extension(written, parsed.blocks[0], None, None)
        if parser.place not in (Place.ANSWER, Place.DONE):
            return extension(written, None, None, parsed.ended)
        return extension(written, None, *before_stop(parsed.answer, parsed.ended, limit.stop))


def _stopped(stops: tuple[str, ...], text: str) -> bool:
    return any(stop in text for stop in stops)
