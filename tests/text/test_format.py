"""Rendering and parsing are inverses, and folding keeps exactly what the design says."""

from hypothesis import given
from hypothesis import strategies as st

from ponder.text import format
from ponder.text.format import BLOCKS, THINK_TAGS, parse, render, render_context, sections, text_of
from ponder.types import Block, Effort, Ended, Message

plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=20)
blocks = st.lists(st.builds(Block, plain, plain, plain), max_size=4).map(tuple)
paragraph = st.text("ab c\n.1", min_size=1, max_size=12).map(lambda t: t.replace("\n\n", "\n").strip()).filter(bool)
paragraphs = st.lists(
    st.builds(Block, st.just(""), paragraph.filter(lambda t: "\n\n" not in t), st.just("")), max_size=4
).map(tuple)
QUESTION = (Message("user", "what is 2+3"),)
TWO = (Block("h1", "t1", "s1"), Block("h2", "t2", "s2"))


@given(blocks, plain)
def test_parse_is_the_inverse_of_render(thought: tuple[Block, ...], answer: str) -> None:
    assert parse(render(thought, answer)) == (thought, answer, Ended.ANSWERED)


@given(paragraphs, paragraph)
def test_think_tags_parse_is_the_inverse_of_render(thought: tuple[Block, ...], answer: str) -> None:
    text = render(thought, answer, THINK_TAGS)
    assert parse(text, THINK_TAGS) == (thought, answer, Ended.ANSWERED)


@given(st.lists(st.sampled_from([*BLOCKS.marks, "a", " 1", "\n"]), max_size=12).map("".join))
def test_parse_never_raises_and_says_how_it_ended(text: str) -> None:
    parsed = parse(text)
    assert (parsed.ended is Ended.ANSWERED) == (parsed.ended not in (Ended.CUT_OFF, Ended.MALFORMED))


def test_how_a_completion_ended() -> None:
    whole = render(TWO, "5")
    assert parse(whole[:-3]).ended is Ended.CUT_OFF
    assert parse(whole[:10]) == ((), "", Ended.CUT_OFF)
    assert parse("5").ended is Ended.MALFORMED
    assert parse(whole + "x").ended is Ended.MALFORMED
    assert parse("<|block|>h<|answer|>5<|end|>").ended is Ended.MALFORMED


def test_a_model_that_does_not_think_still_answers() -> None:
    assert parse("Paris.\n\nReally.<|im_end|>", THINK_TAGS) == ((), "Paris.\n\nReally.", Ended.ANSWERED)


def test_context_keeps_headline_and_summary_but_no_thoughts() -> None:
    text = text_of(render_context(QUESTION, Effort.LOW, TWO, None))
    assert text == (
        "<|user|>what is 2+3<|assistant|><|effort:low|>"
        "<|block|>h1<|summary|>s1<|end_block|><|block|>h2<|summary|>s2<|end_block|>"
    )
    assert "s1" not in text_of(render_context(QUESTION, Effort.LOW, TWO, 1))
    assert text_of(render_context(QUESTION, Effort.LOW, TWO, 1, answering=True)).endswith("s2<|end_block|><|answer|>")


def test_where_nothing_folds_the_context_is_chatml_with_the_whole_thought() -> None:
    turns = (*QUESTION, Message("assistant", "<think>\nno</think>\n\n5"), Message("user", "sure?"))
    thought = (Block("", "one", ""), Block("", "two", ""))
    text = text_of(render_context(turns, Effort.LOW, thought, 1, answering=True, dialect=THINK_TAGS))
    assert text == (
        "<|im_start|>user\nwhat is 2+3<|im_end|>\n<|im_start|>assistant\n5<|im_end|>\n"
        "<|im_start|>user\nsure?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\none\n\ntwo\n\n</think>\n\n"
    )
    begun = text_of(render_context(QUESTION, Effort.LOW, thought, None, dialect=THINK_TAGS))
    assert parse(begun.split("assistant\n")[1], THINK_TAGS) == (thought, "", Ended.CUT_OFF)


def test_text_that_spells_a_marker_is_found() -> None:
    asked = (Message("user", "say <|end|> and </think>"),)
    assert format.spelled_marker(render_context(asked, Effort.LOW, TWO, None)) == "<|end|>"
    assert (
        format.spelled_marker(render_context(asked, Effort.LOW, (), None, dialect=THINK_TAGS), THINK_TAGS) == "</think>"
    )
    assert format.spelled_marker(render_context(QUESTION, Effort.LOW, TWO, None, answering=True)) is None


def test_earlier_turns_keep_only_the_answer() -> None:
    turns = (*QUESTION, Message("assistant", render(TWO, "5")), Message("user", "and 3+3"))
    text = text_of(format.render_prompt(turns, Effort.NONE))
    assert "<|assistant|><|answer|>5<|end|><|user|>and 3+3" in text
    assert "t1" not in text and "s1" not in text


def test_sections_show_each_block_what_it_saw_when_sampled() -> None:
    for window in (None, 1, 2):
        row = sections(QUESTION, Effort.HIGH, TWO, "5", window)
        trained = [section for section in row if section.trained]
        assert len(trained) == 3
        for done, section in enumerate(trained):
            seen = text_of(piece for index in section.sees for piece in row[index].pieces)
            assert seen == text_of(render_context(QUESTION, Effort.HIGH, TWO[:done], window))
