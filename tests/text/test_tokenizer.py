"""Digits and capitals stay single, text never becomes a marker, and the chat template says what format.py says."""

import random
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import CheckpointError
from ponder.text import format
from ponder.text.format import Piece, text_of
from ponder.text.tokenizer import PonderTokenizer, load_tokenizer, train_tokenizer
from ponder.types import Effort, Message

WORDS = ("what", "is", "the", "number", "of", "letters", "in", "this", "text", "and", "which", "value", "does", "x")


def sample_texts() -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=8)) + f" {rng.randrange(10**6)} ABC = 12" for _ in range(300)]


TOKENIZER = train_tokenizer(sample_texts(), 400)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode([Piece(text)])) == text


@given(st.from_regex(r"[0-9A-Z]{1,12}", fullmatch=True))
def test_digits_and_capitals_are_single_tokens(text: str) -> None:
    assert len(TOKENIZER.encode([Piece(text)])) == len(text)


@pytest.mark.parametrize("marker", format.SPECIALS)
def test_a_marker_is_one_token_and_its_spelling_is_text(marker: str) -> None:
    assert len(TOKENIZER.encode([Piece(marker, True)])) == 1
    spelled = TOKENIZER.encode([Piece(f"a {marker} b")])
    assert not set(spelled) & set(TOKENIZER.special.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save(path)
    return path


def test_saved_and_loaded_is_the_same(folder: Path) -> None:
    again: PonderTokenizer = load_tokenizer(folder)
    pieces = [format.USER, Piece("what is 12"), format.ASSISTANT]
    assert again.encode(pieces) == TOKENIZER.encode(pieces)


def test_the_chat_template_agrees_with_format(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own import-time deprecations
        from transformers import AutoTokenizer

        theirs = AutoTokenizer.from_pretrained(folder)
    thought = "<|block|>h<|thoughts|>t<|summary|>s<|end_block|><|answer|>4<|end|>"
    conversations = [
        [Message("user", "what is 2+2")],
        [Message("system", "be short"), Message("user", "hi"), Message("assistant", "4"), Message("user", "and 3")],
        [Message("user", "hi"), Message("assistant", thought), Message("user", "and 3")],
    ]
    for messages in conversations:
        for effort in Effort:
            ours = text_of(format.render_prompt(messages, effort))
            turns = [vars(message) for message in messages]
            text = theirs.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, reasoning_effort=str(effort)
            )
            assert text == ours
            assert theirs.encode(text, add_special_tokens=False) == TOKENIZER.encode(
                format.render_prompt(messages, effort)
            )


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_takes_spelled_markers_for_markers_is_refused(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"special": true', '"special": false'), encoding="utf-8")
    with pytest.raises(CheckpointError, match='must be "special": true'):
        load_tokenizer(tmp_path)
