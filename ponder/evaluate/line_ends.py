"""Names at the ends of lines, moved apart where they would lie on each other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

SIZE = 7
"""Points of the letters."""
GAP = 1.25 * SIZE
"""Points between two lines of text."""
AWAY = 9
"""Points from a line's end to its name."""


class End(NamedTuple):
    """Where a line ends, and what it is called."""

    x: float
    y: float
    name: str
    colour: str
    bold: bool = False


def name_ends(figure: Any, panels: Sequence[tuple[Any, Sequence[End]]]) -> None:
    """Write names beside the ends of each panel's lines; the figure is laid out here, with all that takes room."""
    written: list[tuple[Any, Sequence[End], list[Any]]] = []
    for axes, ends in panels:
        labels = [
            axes.annotate(
                end.name,
                (end.x, end.y),
                xytext=(AWAY, 0),
                textcoords="offset points",
                color=end.colour,
                fontsize=SIZE,
                fontweight="bold" if end.bold else "normal",
                va="center",
                annotation_clip=False,
                parse_math=False,
                arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2},
            )
            for end in ends
        ]
        written.append((axes, ends, labels))
    # Only once all is laid out it is known how far apart the ends are; it stays so, which saves doing it again.
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    point = 72 / figure.dpi
    for axes, ends, labels in written:
        box = axes.get_window_extent()
        ys = [float(axes.transData.transform((end.x, end.y))[1]) * point for end in ends]
        for label, y, place in zip(labels, ys, apart(ys, GAP, box.y0 * point, box.y1 * point), strict=True):
            label.xyann = (AWAY, place - y)


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places in the order of the wanted ones and at least a gap apart, with the least sum of squared moves.

    They lie from `low` to `high` where there is room for all.
    """
    order = sorted(range(len(wanted)), key=lambda index: (wanted[index], index))
    groups: list[tuple[float, int]] = []
    """Mean and size of neighbours that push each other, each less the gaps below it."""
    for rank, index in enumerate(order):
        mean, size = wanted[index] - rank * gap, 1
        while groups and groups[-1][0] > mean:
            below, count = groups.pop()
            mean, size = (mean * size + below * count) / (size + count), size + count
        groups.append((mean, size))
    flat = [mean for mean, size in groups for _ in range(size)]
    top = max(low, high - gap * (len(wanted) - 1))
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = min(max(flat[rank], low), top) + rank * gap
    return places
