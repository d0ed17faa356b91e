"""However a text is cut into chunks, the stream parses it as the whole is parsed."""

from hypothesis import given
from hypothesis import strategies as st

from ponder.text.format import BLOCKS, THINK_TAGS, Dialect, Place, parse, render
from ponder.text.stream import Closed, Delta, Event, Stream
from ponder.types import Block

texts = st.lists(
    st.sampled_from([*BLOCKS.marks, *THINK_TAGS.marks, "a", " ", "\n", "<", "<|", "<|blo", "|>", "</th", "x1"]),
    max_size=14,
).map("".join)
dialects = st.sampled_from([BLOCKS, THINK_TAGS])


def stream(text: str, cuts: list[int], dialect: Dialect) -> tuple[list[Event], object]:
    bounds = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    feeder = Stream(dialect)
    events = [event for a, b in zip(bounds, bounds[1:], strict=False) for event in feeder.feed(text[a:b])]
    return events, feeder.finish()


@given(texts, dialects)
def test_one_character_at_a_time_is_the_same_as_all_at_once(text: str, dialect: Dialect) -> None:
    events, parsed = stream(text, list(range(len(text))), dialect)
    assert parsed == parse(text, dialect)
    closed = tuple(event.block for event in events if isinstance(event, Closed))
    assert closed == parse(text, dialect).blocks[: len(closed)]


@given(texts, st.lists(st.integers(0, 200), max_size=6), dialects)
def test_any_chunks_are_the_same_as_all_at_once(text: str, cuts: list[int], dialect: Dialect) -> None:
    assert stream(text, cuts, dialect)[1] == parse(text, dialect)


def test_a_headline_streams_before_its_block_closes() -> None:
    text = render((Block("look", "2+3=5", "5"),), "five")
    events, _ = stream(text, list(range(len(text))), BLOCKS)
    assert "".join(e.text for e in events if isinstance(e, Delta) and e.place is Place.HEADLINE) == "look"
    assert "".join(e.text for e in events if isinstance(e, Delta) and e.place is Place.ANSWER) == "five"
    assert Closed(Block("look", "2+3=5", "5")) in events


def test_no_part_of_a_marker_is_ever_shown() -> None:
    text = render((Block("a", "b", "c"),), "d")
    events, _ = stream(text, list(range(len(text))), BLOCKS)
    assert all("<" not in event.text for event in events if isinstance(event, Delta))
