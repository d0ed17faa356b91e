"""How far an evaluation is: what large requests take is not judged by small ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.evaluate.progress import Kind, Outlook


def test_unseen_kinds_count_by_their_samples_and_seen_ones_by_what_they_took():
    small, large = Kind("small", 1), Kind("large", 8)
    outlook = Outlook([small, small, large])
    assert outlook.share == 0.0
    assert outlook.finished(0, 10) == pytest.approx(10 / (10 + 10 + 80))
    assert outlook.finished(2, 200) == pytest.approx(210 / (210 + 10))
    assert outlook.finished(1, 0) == 1.0


def test_nothing_to_do_is_done():
    assert Outlook([]).share == 1.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.integers(0, 50)), min_size=1, max_size=30))
def test_the_share_stays_in_range_and_ends_at_one(requests):
    outlook = Outlook([Kind(name, samples) for name, samples, _ in requests])
    shares = [outlook.finished(index, tokens) for index, (_, _, tokens) in enumerate(requests)]
    assert all(0 <= share <= 1 for share in shares) and shares[-1] == 1.0
