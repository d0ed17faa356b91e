"""A checkpoint's own chat template: how its model has learned to read a conversation.

Templates are programs (Jinja, in a sandbox, by transformers). They get the messages with everything in them that spells
one of the model's special tokens replaced by a placeholder, so that no message can end its turn or begin another.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ponder.errors import SamplerError
from ponder.model.foreign import quietly, transformers
from ponder.text import format
from ponder.text.foreign import ForeignTokenizer
from ponder.text.format import THINK_TAGS, Mark, Piece
from ponder.types import Effort, Message

_PLACEHOLDERS = range(0xE000, 0xF8FF)
"""Private characters; one that no message holds marks the placeholders."""
_BEGUN = re.compile(
    f"{re.escape(THINK_TAGS.marker[Mark.BLOCK].text)}\\s*({re.escape(THINK_TAGS.marker[Mark.ANSWER].text)}\\s*)?$"
)
"""A thought that the template begins by itself, or leaves empty: beginning it is ours."""


@dataclass(frozen=True)
class Chat:
    """Renders conversations up to where the model's thought begins."""

    folder: Path
    tokenizer: ForeignTokenizer
    templated: bool
    """Whether the folder holds a template."""

    def prompt(self, messages: Sequence[Message], effort: Effort) -> list[Piece]:
        """The conversation in the model's own form, or in ChatML where it has none."""
        return self._templated(messages, effort) if self.templated else format.render_chatml(messages)

    @property
    def opening(self) -> tuple[int, ...]:
        """Tokens before the prompt, which a template writes by itself."""
        return () if self.templated else self.tokenizer.opening

    @cached_property
    def _theirs(self) -> Any:
        library: Any = transformers()
        with quietly(library):
            return library.PreTrainedTokenizerFast.from_pretrained(self.folder, local_files_only=True)

    def _templated(self, messages: Sequence[Message], effort: Effort) -> list[Piece]:
        contents = [format.shown(message, THINK_TAGS) for message in messages]
        sign = next(chr(code) for code in _PLACEHOLDERS if not any(chr(code) in content for content in contents))
        spelled: list[str] = []

        def hidden(content: str) -> str:
            parts = self.tokenizer.spelled(content)
            for at in range(1, len(parts), 2):
                spelled.append(parts[at])
                parts[at] = f"{sign}{len(spelled) - 1}{sign}"
            return "".join(parts)

        turns = [{"role": one.role, "content": hidden(text)} for one, text in zip(messages, contents, strict=True)]
        thinks = effort is not Effort.NONE
        try:
            text: str = self._theirs.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, enable_thinking=thinks
            )
        except Exception as err:  # templates raise what they like, for roles that they do not know and more
            reason = " ".join(str(err).split()) or type(err).__name__
            raise SamplerError(f"the chat template of {self.folder} refuses the conversation: {reason}") from err
        parts = re.split(f"{sign}(\\d+){sign}", _BEGUN.sub("", text))
        return [Piece(spelled[int(part)]) if at % 2 else Piece(part, True) for at, part in enumerate(parts)]
