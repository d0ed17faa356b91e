"""The tokenizer of a model that was not made for Ponder: its own ``tokenizer.json``, whatever that knows.

A marker that is a single token there becomes that token; one that is not is written out in letters. A conversation's
text never becomes a single token of the model's own, whatever it spells.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from ponder.text import format
from ponder.text.format import THINK_TAGS, Mark, Piece
from ponder.text.tokenizer import read_tokenizer

_ANCHOR = "a"
"""Decoded before every text: some decoders drop the blank that the first token begins with."""


@dataclass(frozen=True)
class ForeignTokenizer:
    """Encodes pieces to ids and back. Marker pieces may hold more than a marker: all of a template's own text."""

    raw: Tokenizer
    ends: frozenset[int]
    """Tokens after which the model's turn is over."""

    @cached_property
    def special(self) -> dict[str, int]:
        """What text must not become: the model's special tokens, and the markers that are single tokens."""
        marks = {text for text in THINK_TAGS.marks if text.strip()}
        added = self.raw.get_added_tokens_decoder()
        return {token.content: id_ for id_, token in added.items() if token.special or token.content in marks}

    @cached_property
    def size(self) -> int:
        """One more than the last id."""
        return max(self.raw.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def opening(self) -> tuple[int, ...]:
        """What the tokenizer puts in front of a text by itself."""
        plain = self._anchor[0]
        whole = self.raw.encode(_ANCHOR).ids
        at = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)
        return tuple(whole[:at])

    def encode(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of the pieces in order, read as one text: a token may reach from one piece into the next."""
        ids: list[int] = []
        run = ""
        for piece in pieces:
            parts = [piece.text] if piece.marker or self._guard is None else self._guard.split(piece.text)
            for number, part in enumerate(parts):
                if number % 2 == 0:
                    run += part
                    continue
                ids += [*self._encode(run), *self._letters.encode(part, add_special_tokens=False).ids]
                run = ""
        return [*ids, *self._encode(run)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, markers spelled out, as it stands after other text."""
        anchor, before = self._anchor
        return self.raw.decode([*anchor, *ids], skip_special_tokens=False).removeprefix(before)

    def spelled(self, text: str) -> list[str]:
        """The text, cut before and after whatever spells a special token: every second part does."""
        return self._guard.split(text) if self._guard else [text]

    def _encode(self, text: str) -> list[int]:
        return self.raw.encode(text, add_special_tokens=False).ids if text else []

    @cached_property
    def _anchor(self) -> tuple[list[int], str]:
        ids = self.raw.encode(_ANCHOR, add_special_tokens=False).ids
        return ids, self.raw.decode(ids, skip_special_tokens=False)

    @cached_property
    def _guard(self) -> re.Pattern[str] | None:
        names = sorted(self.special, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None

    @cached_property
    def _letters(self) -> Tokenizer:
        """The same, with none of its special tokens found in a text; made when a text first spells one."""
        made = json.loads(self.raw.to_str())
        for token in made["added_tokens"]:
            token["special"] = token["special"] or token["content"] in self.special
        letters = Tokenizer.from_str(json.dumps(made))
        letters.encode_special_tokens = True
        return letters


def load_foreign_tokenizer(folder: Path, ends: frozenset[int]) -> ForeignTokenizer:
    """Read a model's tokenizer; `ends` are the ids that its settings name as ends, its own end marker is one too."""
    raw = read_tokenizer(folder)
    raw.no_truncation()
    raw.no_padding()
    own = raw.token_to_id(format.THINK_TAGS.marker[Mark.END].text)
    return ForeignTokenizer(raw, ends if own is None else ends | {own})
