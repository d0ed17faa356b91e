"""The same parse as `format.parse`, a few characters at a time, as events for a screen or a wire.

A text that might be the beginning of a marker is held back until it is decided; everything else passes at once.
However a text is cut into chunks, the blocks and the answer come out the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ponder.text.format import BLOCKS, Dialect, Parsed, Parser, Piece, Place, pieces_of
from ponder.types import Block


@dataclass(frozen=True)
class Delta:
    """More text of one part: the headline, thoughts or summary of the open block, or the answer."""

    place: Place
    text: str


@dataclass(frozen=True)
class Closed:
    """A block has closed, and folds."""

    block: Block


Event = Delta | Closed


@dataclass
class Stream:
    """Feeds chunks to the parser; `feed` returns what became certain, `finish` the whole."""

    dialect: Dialect = BLOCKS
    _held: str = ""
    _parser: Parser = field(init=False)

    def __post_init__(self) -> None:
        self._parser = Parser(self.dialect)

    def feed(self, chunk: str) -> list[Event]:
        """Take the next characters."""
        text = self._held + chunk
        keep = self._undecided(text)
        self._held = text[len(text) - keep :]
        return list(self._eat(text[: len(text) - keep]))

    def finish(self) -> Parsed:
        """No more is coming: what was held back is text after all."""
        for _ in self._eat(self._held):
            pass
        self._held = ""
        return self._parser.result()

    def _undecided(self, text: str) -> int:
        """How many last characters could still become a marker."""
        longest = max(map(len, self.dialect.marks)) - 1
        for size in range(min(longest, len(text)), 0, -1):
            tail = text[-size:]
            inside = any(found.end() > len(text) - size for found in self.dialect.lexer.finditer(text))
            if not inside and any(mark.startswith(tail) and mark != tail for mark in self.dialect.marks):
                return size
        return 0

    def _eat(self, text: str) -> Iterator[Event]:
        for piece in pieces_of(text, self.dialect):
            yield from self._events(piece)

    def _events(self, piece: Piece) -> Iterator[Event]:
        parser = self._parser
        closed = len(parser.blocks)
        before = dict(parser.parts)
        parser.eat(piece)
        for block in parser.blocks[closed:]:
            yield Closed(block)
        place = parser.place
        grown = parser.parts.get(place, "")[len(before.get(place, "")) :]
        if grown:
            yield Delta(place, grown)
