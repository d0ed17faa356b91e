"""A small byte-level BPE in which digits, capitals and punctuation are always single tokens.

Numbers stay readable digit by digit, and lower-case words of the tasks become one token each. Every marker and every
effort is a single special token, and text never turns into one, whatever it spells. Saved as an ordinary
``tokenizer.json`` with a chat template, so that other servers read it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ponder.errors import CheckpointError
from ponder.text import format
from ponder.text.format import Piece

MAX_ENTRIES = 2_048
_PIECE = r" ?[a-z]+|[\s\S]"
"""Lower-case words with the space before them may merge; every other character stands alone."""


def _letters() -> dict[str, int]:
    """The byte that each letter of the byte-level alphabet stands for: itself, where that can be printed (GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTES = _letters()


@dataclass(frozen=True)
class PonderTokenizer:
    """Encodes pieces to ids and back. Markers only come from marker pieces, never from text."""

    raw: Tokenizer

    @cached_property
    def special(self) -> dict[str, int]:
        """Special token to id."""
        return {text: id_ for text in format.SPECIALS if (id_ := self.raw.token_to_id(text)) is not None}

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.raw.get_vocab_size()

    def encode(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of the pieces in order."""
        ids: list[int] = []
        for piece in pieces:
            if piece.marker:
                ids.append(self.special[piece.text])
            elif piece.text:
                ids += self.raw.encode(piece.text).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, markers spelled out."""
        return self.raw.decode(list(ids), skip_special_tokens=False)

    def bytes_of(self, id: int) -> bytes:
        """What a token that is no marker stands for: it may be a part of a character."""
        return bytes(_BYTES[letter] for letter in self.raw.id_to_token(id) or "")

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and what transformers needs beside it."""
        # Not by its own save(), which raises a bare Exception where the disk is full.
        (folder / "tokenizer.json").write_text(self.raw.to_str(pretty=True), encoding="utf-8")
        (folder / "chat_template.jinja").write_text(format.CHAT_TEMPLATE, encoding="utf-8")
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": format.PAD.text,
            "eos_token": format.BLOCKS.marker[format.Mark.END].text,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 4096,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def train_tokenizer(texts: Iterable[str], size: int) -> PonderTokenizer:
    """Learn the merges from plain texts; `size` counts special tokens and the 256 bytes too."""
    assert size <= MAX_ENTRIES
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(format.SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    raw.encode_special_tokens = True
    return PonderTokenizer(raw)


def read_tokenizer(folder: Path) -> Tokenizer:
    """A directory's ``tokenizer.json``, whoever made it."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json: it is not a complete checkpoint")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as err:  # the library raises bare Exception for every kind of damage
        raise CheckpointError(f"{path} is damaged ({err}): fetch or train the checkpoint again") from err


def load_tokenizer(folder: Path) -> PonderTokenizer:
    """Read a checkpoint's tokenizer; it must know every marker."""
    path, raw = folder / "tokenizer.json", read_tokenizer(folder)
    raw.encode_special_tokens = True
    tokenizer = PonderTokenizer(raw)
    missing = [text for text in format.SPECIALS if text not in tokenizer.special]
    if missing:
        raise CheckpointError(
            f"{path} lacks the markers {' '.join(missing[:3])}…: it was not made for thinking in blocks"
        )
    spelled = [text for text in format.SPECIALS if tokenizer.special[text] in raw.encode(text).ids]
    if spelled:  # a prompt could then close a thought or give an answer
        raise CheckpointError(f'{path} takes {spelled[0]} in a text for the marker: it must be "special": true there')
    return tokenizer
