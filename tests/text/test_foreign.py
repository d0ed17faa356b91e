"""Other models' tokenizers: what is a single token counts as a marker, and text never becomes one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from ponder.text.foreign import ForeignTokenizer, load_foreign_tokenizer
from ponder.text.format import THINK_TAGS, Piece, render_chatml, render_thought, text_of
from ponder.types import Block, Message

Make = Callable[..., Path]
MARKS = ("<think>", "</think>", "<|im_end|>")


@pytest.fixture
def tokens(plain: Make) -> ForeignTokenizer:
    return load_foreign_tokenizer(plain(), frozenset([7]))


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_is_a_token_is_one_and_its_spelling_is_text(tokens: ForeignTokenizer, mark: str) -> None:
    (id_,) = tokens.encode([Piece(mark, True)])
    spelled = tokens.encode([Piece(f"a {mark} b")])
    assert id_ == tokens.special[mark] and id_ not in spelled and len(spelled) == len(mark) + 4
    assert tokens.decode(spelled) == f"a {mark} b"


def test_a_mark_that_is_no_token_is_written_out(plain: Make) -> None:
    tokens = load_foreign_tokenizer(plain(added=("<|endoftext|>",)), frozenset())
    assert not set(MARKS) & set(tokens.special) and not tokens.ends
    assert tokens.encode([Piece("</think>", True)]) == tokens.encode([Piece("</think>")])


def test_the_end_marker_is_an_end_beside_those_of_the_settings(tokens: ForeignTokenizer) -> None:
    assert tokens.ends == {7, tokens.special["<|im_end|>"]}


def test_pieces_are_read_as_one_text(tokens: ForeignTokenizer) -> None:
    context = [*render_chatml([Message("user", "2+3?")]), *render_thought((Block("", "so 5", ""),), answering=True)]
    together = tokens.raw.encode(text_of(context), add_special_tokens=False).ids
    assert tokens.encode(context) == together
    blank = THINK_TAGS.marker[THINK_TAGS.marks["\n\n"]]
    assert tokens.encode([Piece("\n"), Piece("\n")]) == tokens.encode([blank])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.integers(0, 40))
def test_any_text_comes_back_in_parts_too(text: str, cut: int) -> None:
    tokens = spaced()
    ids = tokens.encode([Piece(text)])
    whole = tokens.decode(ids)
    assert tokens.decode(tokens.encode([Piece(whole.removeprefix(" "))])).removeprefix(" ") == whole.removeprefix(" ")
    if "\N{REPLACEMENT CHARACTER}" not in tokens.decode(ids[:cut]) + tokens.decode(ids[cut:]):
        assert tokens.decode(ids[:cut]) + tokens.decode(ids[cut:]) == whole


def spaced() -> ForeignTokenizer:
    """Words with the blank before them, as SentencePiece writes them, bytes for the rest, and an opening token."""
    words = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "b", "▁b"]
    vocabulary = {word: number for number, word in enumerate(words)}
    raw = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[("▁", "a"), ("▁", "b")], byte_fallback=True, unk_token="<unk>")
    )
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    raw.add_special_tokens([AddedToken("<s>", special=True)])
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return ForeignTokenizer(raw, frozenset())


def test_a_word_keeps_the_blank_before_it_and_the_opening_is_known() -> None:
    tokens = spaced()
    ids = tokens.encode([Piece("a b")])
    assert [tokens.decode([id_]) for id_ in ids] == [" a", " b"]
    assert tokens.opening == (1,)


def test_settings_that_cut_or_pad_are_dropped(plain: Make) -> None:
    folder = plain()
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.enable_truncation(4)
    raw.enable_padding(length=9)
    raw.save(str(folder / "tokenizer.json"))
    tokens = load_foreign_tokenizer(folder, frozenset())
    assert len(tokens.encode([Piece("abcdefgh")])) == 8 and len(tokens.encode([Piece("ab")])) == 2
