"""Curves as pictures. Drawn with matplotlib, which is only needed here and is imported when it is.

Every search has its own colour and mark wherever it appears: the colours are told apart by most who see few of them
(after Okabe and Ito), and the marks by everybody else.
"""

import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from ponder.errors import ConfigError
from ponder.evaluate.line_ends import End, name_ends
from ponder.evaluate.practice import TrainCurve
from ponder.evaluate.run import BY_EFFORT
from ponder.evaluate.scaling import COVERAGE, MEAN, Curve, Point
from ponder.text.effort import AUTO

DPI = 150
COLUMNS = 4
"""Panels beside each other, at most."""


@dataclass(frozen=True)
class Theme:
    """Colours of what is not data."""

    paper: str
    ink: str
    dim: str
    line: str


LIGHT = Theme("#ffffff", "#1b1e24", "#6a7280", "#e3e0da")
DARK = Theme("#1e2126", "#e8e9ec", "#98a0ad", "#2e323a")
LOOKS: dict[str, tuple[str, str]] = {
    "single": ("#8a8f98", "o"),
    "direct": ("#b8bcc4", "P"),
    "majority": ("#0072b2", "s"),
    "weighted_vote": ("#d55e00", "D"),
    "weighted_vote_min": ("#e69f00", "v"),
    "weighted_vote_product": ("#c7a006", "<"),
    "best_of_n": ("#cc79a7", "^"),
    "beam": ("#009e73", "p"),
    "dvts": ("#56b4e9", "h"),
    "mcts": ("#8e5bd0", "*"),
    "revise": ("#a0522d", "X"),
    "adaptive": ("#00a3a3", "d"),
    COVERAGE: ("#98a2b3", ""),
    BY_EFFORT: ("#0072b2", "o"),
}
"""Colour and mark of each search."""
OTHERS = ("#4477aa", "8")
TASK_COLOURS = (
    "#cc6677",
    "#7a6fd0",
    "#b39b1c",
    "#228855",
    "#3ba3c9",
    "#b04a7a",
    "#2fa08d",
    "#8a8a2b",
    "#aa55a0",
    "#c06a2b",
)
"""Of lines that are told apart by the names at their ends (after Tol's muted colours, readable on both papers)."""
BAD = "#d92d20"


def curve_figure(title: str, curves: Sequence[Curve], theme: Theme = LIGHT) -> bytes:
    """Accuracy against tokens, a panel for each task with the mean first, as a PNG.

    Bands are 95 % intervals and dotted lines are fits; a ring marks a point that is lower than an earlier one of the
    same search, red where chance does not explain it. Raises ConfigError without matplotlib.
    """
    tasks = list(dict.fromkeys(curve.task for curve in curves))
    tasks.sort(key=lambda task: task != MEAN)
    figure, panels = _panels(title, len(tasks), theme)
    for task, axes in zip(tasks, panels, strict=True):
        own = [curve for curve in curves if curve.task == task]
        for curve in own:
            _draw(axes, curve, theme)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        _finish(axes, own, "tokens a problem (log scale)", theme)
    drawn = {line.get_label(): line for axes in panels for line in axes.get_lines() if line.get_label()[0] != "_"}
    figure.legend(
        list(drawn.values()),
        list(drawn),
        loc="outside lower center",
        ncols=min(len(drawn), 6),
        frameon=False,
        labelcolor=theme.ink,
        fontsize=9,
    )
    return _png(figure)


def effort_figure(title: str, curves: Sequence[Curve], price: "Price", theme: Theme = LIGHT) -> bytes:
    """Accuracy against what a thousand questions cost, by effort, as a PNG; raises ConfigError without matplotlib."""
    tasks = sorted(dict.fromkeys(curve.task for curve in curves), key=lambda task: task != MEAN)
    figure, panels = _panels(title, len(tasks), theme)
    for task, axes in zip(tasks, panels, strict=True):
        own = [curve for curve in curves if curve.task == task]
        for curve in own:
            _efforts(axes, curve, price, theme)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda x, _: f"${x:,.2f}" if x < 10 else f"${x:,.0f}")
        axes.xaxis.set_minor_formatter(lambda x, _: "")
        _finish(axes, own, f"cost of 1000 questions at {price.words}", theme)
    return _png(figure)


def train_figure(
    title: str, curves: Sequence[TrainCurve], entropy: Sequence[tuple[float, float]], theme: Theme = LIGHT
) -> bytes:
    """Accuracy, tokens and entropy against the compute of a training, as a PNG; raises ConfigError without matplotlib.

    The first curve is bold, with its 95 % band and its fit, and each has its name at its end; the start, which has no
    compute, stands at the left line.
    """
    figure, panels = _panels(title, 3, theme)
    paid = [flop for curve in curves for flop in curve.flops if flop > 0] + [flop for flop, _ in entropy if flop > 0]
    left = min(paid, default=1.0) / 3
    ends: tuple[list[End], list[End]] = [], []
    for number, curve in enumerate(curves):
        colour = LOOKS["majority"][0] if number == 0 else TASK_COLOURS[(number - 1) % len(TASK_COLOURS)]
        _train_lines(panels[0], panels[1], curve, left, colour, bold=number == 0)
        last, x = curve.points[-1].point, max(curve.flops[-1], left)
        ends[0].append(End(x, 100 * last.accuracy, curve.task, colour, number == 0))
        ends[1].append(End(x, last.tokens, curve.task, colour, number == 0))
    xs = [max(flop, left) for flop, _ in entropy]
    panels[2].plot(xs, [nats for _, nats in entropy], color=LOOKS["weighted_vote"][0], linewidth=1.2)
    names = ("right, %", "tokens an answer", "entropy, nats a token")
    for axes, name in zip(panels, names, strict=True):
        axes.set_xscale("log")
        axes.set_ylabel(name, color=theme.dim, fontsize=8)
        axes.axvline(left, color=theme.line, linewidth=1, zorder=0)
        axes.set_title(f"{name.partition(',')[0]}", color=theme.ink, fontsize=10, loc="left")
        axes.set_xlabel("training compute, FLOP (log scale)", color=theme.dim, fontsize=8)
        _paper(axes, theme)
    name_ends(figure, list(zip(panels[:2], ends, strict=True)))
    return _png(figure)


def _train_lines(accuracy: Any, tokens: Any, curve: TrainCurve, left: float, colour: str, *, bold: bool) -> None:
    mark = LOOKS["majority"][1] if bold else LOOKS["single"][1]
    width, order = (2.0, 4) if bold else (0.9, 2)
    xs, points = [max(flop, left) for flop in curve.flops], [one.point for one in curve.points]
    style = {"color": colour, "linewidth": width, "marker": mark, "markersize": 5 if bold else 2, "zorder": order}
    accuracy.plot(xs, [100 * point.accuracy for point in points], **style)
    tokens.plot(xs, [point.tokens for point in points], **style)
    if bold:
        ends = [100 * point.low for point in points], [100 * point.high for point in points]
        accuracy.fill_between(xs, *ends, color=colour, alpha=0.16, linewidth=0, zorder=1)
    if bold and curve.fit:
        paid = [x for x, flop in zip(xs, curve.flops, strict=True) if flop > 0]
        line = [100 * curve.fit.at(x) for x in (paid[0], paid[-1])]
        accuracy.plot([paid[0], paid[-1]], line, color=colour, linestyle=":", linewidth=1.2, zorder=3)


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens."""

    prompt: float = 15.0
    generated: float = 60.0
    name: str = "o1's prices"
    """The default is what o1 cost on OpenAI's API: an example to compare by, not what these models cost."""

    @property
    def words(self) -> str:
        """For a reader."""
        return f"{self.name} (${self.prompt:g} in, ${self.generated:g} out)"

    def of(self, point: Point) -> float:
        """Dollars for a thousand questions: the prompt billed once, and all that was generated."""
        return (self.prompt * point.prompt + self.generated * point.tokens) / 1000


def new_figure(**settings: Any) -> Any:
    """An empty matplotlib figure that belongs to no window; raises ConfigError without matplotlib."""
    try:
        return importlib.import_module("matplotlib.figure").Figure(**settings)
    except ImportError:
        raise ConfigError("pictures need matplotlib: pip install 'ponder[plots]'") from None


def _panels(title: str, count: int, theme: Theme) -> tuple[Any, list[Any]]:
    columns = min(count, COLUMNS)
    rows = ceil(count / columns)
    size = (max(6.4, 3.4 * columns), 0.9 + max(2.9 if count > 1 else 4.2, 2.9) * rows)
    figure = new_figure(figsize=size, layout="constrained", facecolor=theme.paper)
    figure.suptitle(title, color=theme.ink, fontsize=12, parse_math=False)
    made = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in made[count:]:
        spare.remove()
    return figure, made[:count]


def _draw(axes: Any, curve: Curve, theme: Theme) -> None:
    base, _, _ = curve.search.partition(",")
    colour, mark = LOOKS.get(base, OTHERS)
    points = curve.points
    xs, ys = [point.tokens for point in points], [100 * point.accuracy for point in points]
    bound = curve.search == COVERAGE
    label = "coverage pass@k: the upper bound" if bound else curve.search
    style = {"linestyle": "--", "linewidth": 1.2} if bound else {"linewidth": 1.6, "marker": mark, "markersize": 5}
    order = 2 if bound else 5 if len(points) == 1 else 3  # one point among lines must not lie under them
    axes.plot(xs, ys, color=colour, label=label, zorder=order, **style)
    if len(xs) > 1:
        lows, highs = [100 * point.low for point in points], [100 * point.high for point in points]
        axes.fill_between(xs, lows, highs, color=colour, alpha=0.10 if bound else 0.16, linewidth=0, zorder=1)
    else:
        ends = [[ys[0] - 100 * points[0].low], [100 * points[0].high - ys[0]]]
        axes.errorbar(xs, ys, yerr=ends, color=colour, capsize=2, linewidth=1, zorder=2)
    if curve.fit and not bound:
        ends = [min(xs), max(xs)]
        axes.plot(ends, [100 * curve.fit.at(x) for x in ends], color=colour, linestyle=":", linewidth=1.1, zorder=2)
    for point, x, y in zip(points, xs, ys, strict=True):
        if point.drop:
            ring = BAD if point.drop.sure else theme.dim
            axes.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=ring, zorder=4)


def _efforts(axes: Any, curve: Curve, price: Price, theme: Theme) -> None:
    colour, _ = LOOKS[BY_EFFORT]
    fixed = [point for point in curve.points if point.label != AUTO]
    axes.plot([price.of(point) for point in fixed], [100 * point.accuracy for point in fixed], color=colour, zorder=2)
    for point in curve.points:
        own, mark = (LOOKS["weighted_vote"][0], "D") if point.label == AUTO else (colour, "o")
        x, y = price.of(point), 100 * point.accuracy
        ends = [[y - 100 * point.low], [100 * point.high - y]]
        axes.errorbar([x], [y], yerr=ends, color=own, marker=mark, markersize=6, capsize=2, linewidth=1, zorder=3)
        # Auto's name stands on the other side: it may well have chosen the same effort every time.
        place, side = ((-6, 5), "right") if point.label == AUTO else ((6, -11), "left")
        named = {"xytext": place, "textcoords": "offset points", "ha": side, "fontsize": 8, "zorder": 4}
        axes.annotate(point.label, (x, y), color=theme.ink, **named)
    axes.margins(x=0.15)


def _finish(axes: Any, curves: Sequence[Curve], across: str, theme: Theme) -> None:
    task, n = curves[0].task, max(point.n for curve in curves for point in curve.points)
    named = "mean of all tasks" if task == MEAN else task
    axes.set_title(f"{named}, n={n}", color=theme.ink, fontsize=10, loc="left", parse_math=False)
    axes.set_xlabel(across, color=theme.dim, fontsize=8, parse_math=False)
    axes.set_ylabel("right, %", color=theme.dim, fontsize=8)
    _paper(axes, theme)


def _paper(axes: Any, theme: Theme) -> None:
    """What is not data."""
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.dim, labelsize=8, which="both")
    axes.grid(color=theme.line, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.line)


def _png(figure: Any) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=DPI, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return held.getvalue()
