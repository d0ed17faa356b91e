"""Names at the ends of lines: in their order, never on each other, and no further away than they must be."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.evaluate.line_ends import GAP, End, apart, name_ends
from ponder.evaluate.plots import new_figure


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_names_keep_their_order_and_a_gap_within_the_panel(wanted) -> None:
    places = apart(wanted, 8, 0, 100)
    for (one, at), (other, there) in combinations(zip(wanted, places, strict=True), 2):
        assert abs(at - there) >= 8 - 1e-6 and (one == other or (one < other) == (at < there))
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)


def test_what_is_apart_stays_and_the_rest_moves_evenly() -> None:
    assert apart([10, 50, 30], 8, 0, 100) == [10, 50, 30]
    assert apart([50, 50], 8, 0, 100) == [46, 54]
    assert apart([50, 52, 90], 8, 0, 100) == [47, 55, 90]
    assert apart([99, 100], 8, 0, 100) == [92, 100] and apart([0, 1], 8, 0, 100) == [0, 8]
    assert apart([], 8, 0, 100) == []


def test_names_do_not_lie_on_each_other_in_a_picture() -> None:
    text = pytest.importorskip("matplotlib.text").Text
    figure = new_figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for y in (50, 50.5, 51, 90):
        axes.plot([0, 1], [40, y])
    name_ends(figure, [(axes, [End(1, y, f"task {y} $", "#000000") for y in (50, 50.5, 51, 90)])])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent(one) for one in axes.texts]  # without the lines that lead to them
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    gaps = sorted(other.y0 - one.y0 for one, other in combinations(sorted(boxes, key=lambda box: box.y0), 2))
    assert gaps[0] * 72 / figure.dpi == pytest.approx(GAP, abs=0.2)
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
