"""The written form of thoughts: the only file that knows the markers.

Two dialects share one parser. `BLOCKS` is what Ponder's own models write: blocks between single special tokens, which
fold once they are closed. `THINK_TAGS` is what other reasoning models write: ``<think>``, paragraphs as blocks, no
folding. A dialect is a table of marks and of the places they lead to; rendering, parsing, streaming (`stream.py`) and
constrained decoding all read that one table.

Texts are handled as pieces, a marker or plain text each, so that a prompt which spells a marker in letters stays text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from ponder.types import Block, Effort, Ended, Message, Thought


class Piece(NamedTuple):
    """A marker, or plain text."""

    text: str
    marker: bool = False


class Mark(StrEnum):
    """What a marker means."""

    BLOCK = "block"
    THOUGHTS = "thoughts"
    SUMMARY = "summary"
    END_BLOCK = "end_block"
    ANSWER = "answer"
    END = "end"


class Place(StrEnum):
    """Where in a completion the next character falls."""

    BETWEEN = "between"
    HEADLINE = "headline"
    THOUGHTS = "thoughts"
    SUMMARY = "summary"
    ANSWER = "answer"
    DONE = "done"
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Dialect:
    """One written form: its marks, where each leads, and whether closed blocks fold."""

    name: str
    folds: bool
    marks: Mapping[str, Mark]
    """Marker text to meaning."""
    moves: Mapping[tuple[Place, Mark], Place]
    """The grammar. A mark that is not in it for a place is plain text there (`loose`) or malformed."""
    loose: bool = False

    @cached_property
    def marker(self) -> dict[Mark, Piece]:
        """The marker of each meaning, as a piece."""
        return {mark: Piece(text, True) for text, mark in self.marks.items()}

    @cached_property
    def lexer(self) -> re.Pattern[str]:
        """Matches any marker of the dialect."""
        return re.compile("|".join(re.escape(text) for text in sorted(self.marks, key=len, reverse=True)))


_B, _H, _T, _S, _A = Place.BETWEEN, Place.HEADLINE, Place.THOUGHTS, Place.SUMMARY, Place.ANSWER

BLOCKS = Dialect(
    name="blocks",
    folds=True,
    marks={f"<|{mark}|>": mark for mark in Mark},
    moves={
        (_B, Mark.BLOCK): _H,
        (_B, Mark.ANSWER): _A,
        (_H, Mark.THOUGHTS): _T,
        (_H, Mark.SUMMARY): _S,  # a folded block has no thoughts
        (_T, Mark.SUMMARY): _S,
        (_S, Mark.END_BLOCK): _B,
        (_A, Mark.END): Place.DONE,
    },
)

THINK_TAGS = Dialect(
    name="think_tags",
    folds=False,
    marks={"<think>": Mark.BLOCK, "\n\n": Mark.END_BLOCK, "</think>": Mark.ANSWER, "<|im_end|>": Mark.END},
    moves={
        (_B, Mark.BLOCK): _T,
        (_B, Mark.END_BLOCK): _B,
        (_B, Mark.ANSWER): _A,
        (_T, Mark.END_BLOCK): _T,
        (_T, Mark.ANSWER): _A,
        (_A, Mark.END): Place.DONE,
    },
    loose=True,
)

DIALECTS = {dialect.name: dialect for dialect in (BLOCKS, THINK_TAGS)}

_TURN = Piece("<|im_start|>", True)
"""What opens a turn around think tags: ChatML, which closes it with their end marker."""
WAIT = "Wait"
"""How a paragraph begins that a model would not have written by itself (Muennighoff et al. 2025)."""
SYSTEM, USER, ASSISTANT, PAD = (Piece(f"<|{name}|>", True) for name in ("system", "user", "assistant", "pad"))
_ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
EFFORTS = {effort: Piece(f"<|effort:{effort}|>", True) for effort in Effort}
SPECIALS: tuple[str, ...] = (
    *(piece.text for piece in (PAD, SYSTEM, USER, ASSISTANT)),
    *BLOCKS.marks,
    *(piece.text for piece in EFFORTS.values()),
)
"""Every special token of the blocks dialect, in the order of their ids."""


# Rendering


def text_of(pieces: Iterable[Piece]) -> str:
    """The pieces as one string."""
    return "".join(piece.text for piece in pieces)


def render_prompt(messages: Sequence[Message], effort: Effort) -> list[Piece]:
    """The conversation up to where the model goes on; of earlier answers only what the user saw stays."""
    pieces: list[Piece] = []
    for message in messages:
        pieces.append(_ROLES[message.role])
        if message.role == "assistant":
            pieces += render_answer(visible(message.content))
        else:
            pieces.append(Piece(message.content))
    return [*pieces, ASSISTANT, EFFORTS[effort]]


def visible(content: str, dialect: Dialect = BLOCKS) -> str:
    """The answer in an earlier turn's text, with any thought in front of it and the end marker dropped."""
    if not dialect.folds:
        return parse(content, dialect).answer
    marker = BLOCKS.marker
    return content.split(marker[Mark.ANSWER].text)[-1].split(marker[Mark.END].text)[0]


def spelled_marker(pieces: Iterable[Piece], dialect: Dialect = BLOCKS) -> str | None:
    """The first marker that plain text among the pieces spells: joined to one text, it would become that marker."""
    markers = SPECIALS if dialect.folds else (_TURN.text, *(text for text in dialect.marks if text.strip()))
    plain = [piece.text for piece in pieces if not piece.marker]
    return next((marker for text in plain for marker in markers if marker in text), None)


def render_block(block: Block, *, folded: bool = False, dialect: Dialect = BLOCKS) -> list[Piece]:
    """One closed block; folded, its thoughts are gone."""
    marker = dialect.marker
    if not dialect.folds:
        lines = (block.headline, block.thoughts, block.summary)
        return [Piece("\n".join(line for line in lines if line)), marker[Mark.END_BLOCK]]
    thoughts = [] if folded else [marker[Mark.THOUGHTS], Piece(block.thoughts)]
    summary = [marker[Mark.SUMMARY], Piece(block.summary), marker[Mark.END_BLOCK]]
    return [marker[Mark.BLOCK], Piece(block.headline), *thoughts, *summary]


def render_answer(answer: str) -> list[Piece]:
    """The answer, from its marker to the end of the turn."""
    return [BLOCKS.marker[Mark.ANSWER], Piece(answer), BLOCKS.marker[Mark.END]]


def render(blocks: Thought, answer: str, dialect: Dialect = BLOCKS) -> str:
    """A whole completion as text; `parse` is its inverse."""
    if dialect.folds:
        pieces = [piece for block in blocks for piece in render_block(block)] + render_answer(answer)
        return text_of(pieces)
    marker = {mark: piece.text for mark, piece in dialect.marker.items()}
    body = "".join(text_of(render_block(block, dialect=dialect)) for block in blocks)
    return f"{marker[Mark.BLOCK]}\n{body}{marker[Mark.ANSWER]}\n\n{answer}{marker[Mark.END]}"


# Folding


class Section(NamedTuple):
    """A run of a packed training row: its pieces, whether the loss sees them, and which earlier runs it sees."""

    pieces: list[Piece]
    trained: bool
    sees: tuple[int, ...]


def in_window(blocks: Thought, window: int | None) -> Thought:
    """The closed blocks that stay, folded, in the context: the last `window` of them, or all."""
    return blocks if window is None else blocks[max(0, len(blocks) - window) :]


def render_context(
    messages: Sequence[Message],
    effort: Effort,
    blocks: Thought,
    window: int | None,
    *,
    answering: bool = False,
    think_on: bool = False,
    dialect: Dialect = BLOCKS,
) -> list[Piece]:
    """What the next block, or the answer, is generated from: the prompt and the folded blocks.

    Where nothing folds, it is all blocks, and the prompt has no place for the effort.
    """
    if not dialect.folds:
        thought = render_thought(blocks, answering=answering, think_on=think_on, dialect=dialect)
        return [*render_chatml(messages, dialect), *thought]
    state = render_state(blocks, window, answering=answering, think_on=think_on)
    return [*render_prompt(messages, effort), *state]


def render_state(
    blocks: Thought, window: int | None, *, answering: bool = False, think_on: bool = False
) -> list[Piece]:
    """What follows the prompt: the folded blocks, and how the answer or a block begins where that must come."""
    folds = [piece for block in in_window(blocks, window) for piece in render_block(block, folded=True)]
    return [*folds, *opening(answering=answering, think_on=think_on)]


def opening(*, answering: bool = False, think_on: bool = False, dialect: Dialect = BLOCKS) -> list[Piece]:
    """How the answer, or a block, begins that must come; nothing where the model chooses."""
    if answering:
        return [dialect.marker[Mark.ANSWER]]
    if think_on:
        return [dialect.marker[Mark.BLOCK]] if dialect.folds else [Piece(WAIT)]
    return []


def render_chatml(messages: Sequence[Message], dialect: Dialect = THINK_TAGS) -> list[Piece]:
    """The conversation up to where the model's own turn begins, as most models write it that do not fold."""
    pieces: list[Piece] = []
    for message in messages:
        pieces += [_TURN, Piece(f"{message.role}\n{shown(message, dialect)}"), dialect.marker[Mark.END], Piece("\n")]
    return [*pieces, _TURN, Piece("assistant\n")]


def shown(message: Message, dialect: Dialect) -> str:
    """What of a turn later turns see: of an assistant's, the answer alone."""
    return visible(message.content, dialect) if message.role == "assistant" else message.content


def render_thought(
    blocks: Thought, *, answering: bool = False, think_on: bool = False, dialect: Dialect = THINK_TAGS
) -> list[Piece]:
    """What follows the prompt where nothing folds: all blocks, and the thought's end where the answer must come."""
    pieces = [dialect.marker[Mark.BLOCK], Piece("\n")]
    pieces += [piece for block in blocks for piece in render_block(block, dialect=dialect)]
    if answering and not blocks:
        pieces.append(Piece("\n"))
    pieces += opening(answering=answering, think_on=think_on, dialect=dialect)
    return [*pieces, Piece("\n\n")] if answering else pieces


def sections(
    messages: Sequence[Message], effort: Effort, blocks: Thought, answer: str, window: int | None
) -> list[Section]:
    """A completion as one packed row: ``prompt · block 1 · fold 1 · block 2 · fold 2 · … · answer``.

    A section sees itself and the sections it names, and its positions go on from theirs, so that every block is
    trained on exactly what `render_context` gives while sampling. With all folds kept, each fold stands once; with a
    window, its folds are written afresh before each block, because what a fold has seen then changes.
    """
    row = [Section(render_prompt(messages, effort), False, ())]
    folds: list[int] = []
    for index, block in enumerate((*blocks, None)):
        closed = blocks[:index]
        fresh = closed[-1:] if window is None else in_window(closed, window)
        if window is not None:
            folds = []
        for fold in fresh:
            row.append(Section(render_block(fold, folded=True), False, (0, *folds)))
            folds.append(len(row) - 1)
        pieces = render_answer(answer) if block is None else render_block(block)
        row.append(Section(pieces, True, (0, *folds)))
    return row


# Parsing


@dataclass
class Parser:
    """The one parser: eats pieces, holds the place, the closed blocks and what is open. `stream.py` feeds it too."""

    dialect: Dialect = BLOCKS
    place: Place = Place.BETWEEN
    blocks: list[Block] = field(default_factory=list[Block])
    parts: dict[Place, str] = field(default_factory=dict[Place, str])
    """Text so far of the open block's parts and of the answer."""

    def eat(self, piece: Piece) -> None:
        """Take the next piece."""
        move = self.dialect.moves.get((self.place, self.dialect.marks[piece.text])) if piece.marker else None
        if move is not None:
            self._move(move)
        elif piece.marker and not self.dialect.loose:
            self.place = Place.MALFORMED
        else:
            self._text(piece.text)

    def _move(self, to: Place) -> None:
        if self.place is Place.SUMMARY or (self.place is Place.THOUGHTS and not self.dialect.folds):
            self._close()
        self.place = to
        if to is not Place.DONE:
            self.parts.setdefault(to, "")

    def _close(self) -> None:
        texts = [self.parts.pop(part, "") for part in (Place.HEADLINE, Place.THOUGHTS, Place.SUMMARY)]
        block = Block(texts[0], texts[1], texts[2])
        if not self.dialect.folds:
            block = Block("", block.thoughts.strip(), "")
            if not block.thoughts:
                return
        self.blocks.append(block)

    def _text(self, text: str) -> None:
        if self.place is Place.BETWEEN and self.dialect.loose and text.strip():
            self.place = Place.ANSWER  # a model that answers without thinking
        if self.place in (Place.BETWEEN, Place.DONE):
            if text.strip():
                self.place = Place.MALFORMED
        elif self.place is not Place.MALFORMED:
            self.parts[self.place] = self.parts.get(self.place, "") + text

    def result(self) -> "Parsed":
        """What has been read so far."""
        ended = {Place.DONE: Ended.ANSWERED, Place.MALFORMED: Ended.MALFORMED}.get(self.place, Ended.CUT_OFF)
        answer = self.parts.get(Place.ANSWER, "")
        return Parsed(tuple(self.blocks), answer if self.dialect.folds else answer.strip(), ended)


class Parsed(NamedTuple):
    """The closed blocks, the answer (empty where there is none yet) and how the text ended."""

    blocks: Thought
    answer: str
    ended: Ended


def pieces_of(text: str, dialect: Dialect = BLOCKS) -> Iterator[Piece]:
    """A generated text cut at its markers."""
    start = 0
    for found in dialect.lexer.finditer(text):
        if found.start() > start:
            yield Piece(text[start : found.start()])
        yield Piece(found.group(), True)
        start = found.end()
    if start < len(text):
        yield Piece(text[start:])


def parse_on(
    pieces: Iterable[Piece], dialect: Dialect, *, answering: bool = False, think_on: bool = False, closed: bool = False
) -> Parser:
    """Reads what was written after a prefix, which left off in the answer, in a block that must come, or before one.

    Where it is `closed`, the marker that ended the block or the answer was left out, and is put back.
    """
    parser = Parser(dialect)
    if not answering and not dialect.folds:
        parser.eat(dialect.marker[Mark.BLOCK])
    for piece in (*opening(answering=answering, think_on=think_on, dialect=dialect), *pieces):
        parser.eat(piece)
    if closed and answering and parser.place is Place.ANSWER:
        parser.eat(dialect.marker[Mark.END])
    elif closed and parser.place in (Place.HEADLINE, Place.THOUGHTS, Place.SUMMARY):
        parser.eat(dialect.marker[Mark.END_BLOCK])
    return parser


def parse(text: str, dialect: Dialect = BLOCKS) -> Parsed:
    """Read a generated completion; never raises, whatever the model wrote."""
    parser = Parser(dialect)
    for piece in pieces_of(text, dialect):
        parser.eat(piece)
    return parser.result()


# The chat template that ships with a checkpoint: the same as `render_prompt`, for other servers.

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "{{- '<|assistant|><|answer|>' + message.content.split('<|answer|>')[-1].split('<|end|>')[0] + '<|end|>' -}}"
    "{%- else -%}{{- '<|' + message.role + '|>' + message.content -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|assistant|><|effort:' + (reasoning_effort | default('medium')) + '|>' -}}"
    "{%- endif -%}"
)
