"""Hears a sample's tokens while they are drawn: tells its listener their text, and says when the text has ended it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ponder.interfaces import Hear


class Decoder(Protocol):
    """A tokenizer, as far as it is needed here."""

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Ear:
    """Hears tokens; a character of several tokens is held back until it is whole."""

    tokenizer: Decoder
    listener: Hear | None
    over: Callable[[str], bool] | None = None
    """Whether a sample that has this text ends here."""
    begins: int | None = None
    """The token behind which that text begins; None where it begins at once."""
    held: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    texts: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def deaf(self) -> bool:
        """Whether nobody needs to hear anything."""
        return self.listener is None and self.over is None

    def hear(self, sample: int, token: int) -> bool:
        """The sample's next token; True where it ends the sample."""
        ids = [*self.held.pop(sample, []), token]
        text = self.tokenizer.decode(ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(ids) < 4:  # no character has more than four bytes
            self.held[sample] = ids
            return False
        if self.listener:
            self.listener(sample, text)
        if self.over is None:
            return False
        if sample in self.texts or self.begins is None:
            self.texts[sample] = self.texts.get(sample, "") + text
        elif token == self.begins:
            self.texts[sample] = ""
        return sample in self.texts and self.over(self.texts[sample])
