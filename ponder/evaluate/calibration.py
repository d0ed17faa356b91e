"""How good ratings are: do they rank right above wrong, mean what they say, and find the first error?"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from ponder.evaluate.metrics import mean
from ponder.evaluate.plots import LOOKS, new_figure
from ponder.reward.boundary import Judged
from ponder.seeds import rng_for

STYLES = tuple(LOOKS[name] for name in ("majority", "weighted_vote", "beam", "best_of_n", "single"))
"""Colours and marks of heads."""
BINS = 15
THRESHOLD = 0.5
"""A block whose validity is below this is called wrong."""
STEPS = 64
"""Into how many equal parts the thresholds that are tried divide the validities, where one is chosen."""


class Rated(NamedTuple):
    """A probability that was said, and what was true."""

    said: float
    true: bool


class Bin(NamedTuple):
    """Ratings of about the same size: what was said and what was true on average."""

    said: float
    true: float
    size: int


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What one output of a head, or of a judge, is worth."""

    n: int
    base: float | None
    """Share of what was true."""
    auc: float | None
    """Chance that something true is rated above something false; None where only one of them occurs."""
    ece: float | None
    """Expected calibration error over equal-mass bins."""
    loss: float | None
    """Mean binary cross-entropy, in nats."""


@dataclass(frozen=True, kw_only=True)
class FirstError:
    """ProcessBench's measure (Zheng et al. 2024): does the rater find the first wrong block, and only where one is?"""

    wrong: float | None
    """Share of thoughts with a wrong block in which the first one was found."""
    right: float | None
    """Share of thoughts without one in which none was found."""
    f1: float | None
    """Harmonic mean of both."""
    n_wrong: int
    n_right: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All about a set of judged completions."""

    outcome: Quality
    """The value at the end of the answer against the grade, over all problems."""
    within: float | None
    """AUC of the same among the answers to one problem, over all pairs: what best-of-N lives by. Over all problems it
    is enough to know which ones are hard."""
    start: Quality
    """The value before anything is thought: what effort=auto chooses by."""
    value: Quality
    """The value at the ends of blocks."""
    validity: Quality
    """The validity at the ends of blocks."""
    first_error: FirstError
    chosen: FirstError
    """The same where each half of the problems has the threshold that is best for the other half. ProcessBench, too,
    chooses it on other data: some labels leave all validities high."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    def flat(self) -> dict[str, float]:
        """The numbers that a training's metrics keep, by short names."""
        parts = {"outcome": self.outcome, "start": self.start, "value": self.value, "validity": self.validity}
        found = {f"{name}_{key}": getattr(part, key) for name, part in parts.items() for key in ("auc", "ece", "loss")}
        found |= {"within_auc": self.within, "f1": self.first_error.f1, "chosen_f1": self.chosen.f1}
        return {name: value for name, value in found.items() if value is not None}


def measure(judged: Sequence[Judged], threshold: float = THRESHOLD) -> Measured:
    """What the ratings of some completions are worth, against labels of 0 and 1; other labels are left out."""
    said = {name: [one for _, one in pairs] for name, pairs in outputs(judged).items()}
    return Measured(
        outcome=quality(said["outcome"]),
        within=_within(judged),
        start=quality(said["start"]),
        value=quality(said["value"]),
        validity=quality(said["validity"]),
        first_error=first_error_f1((found, true) for _, found, true in first_errors(judged, threshold)),
        chosen=first_error_f1((found, true) for _, found, true in chosen_first_errors(judged)),
    )


def outputs(judged: Sequence[Judged]) -> dict[str, list[tuple[int, Rated]]]:
    """What was said by each output, with what was true, and the number of the completion that it was said of."""
    found: dict[str, list[tuple[int, Rated]]] = {"outcome": [], "start": [], "value": [], "validity": []}
    for number, one in enumerate(judged):
        blocks = list(zip(one.ratings[1:-1], one.labels[1:-1], strict=True))
        pairs = {
            "outcome": [(one.ratings[-1].value, one.labels[-1].value)],
            "start": [(one.ratings[0].value, one.labels[-1].value)],
            "value": [(rating.value, label.value) for rating, label in blocks],
            "validity": [(rating.validity, label.validity) for rating, label in blocks],
        }
        for name, own in pairs.items():
            found[name] += [(number, rated) for rated in _known(own)]
    return found


def _known(pairs: Iterable[tuple[float, float | None]]) -> list[Rated]:
    return [Rated(said, label == 1.0) for said, label in pairs if label in (0.0, 1.0)]


def quality(rated: Sequence[Rated]) -> Quality:
    """The four numbers of one output."""
    return Quality(
        n=len(rated),
        base=mean(float(one.true) for one in rated),
        auc=auc(rated),
        ece=calibration_error(rated),
        loss=mean(-math.log(max(1e-12, one.said if one.true else 1.0 - one.said)) for one in rated),
    )


def auc(rated: Sequence[Rated]) -> float | None:
    """Area under the ROC curve, ties counted half: the Mann-Whitney statistic as a share of all pairs."""
    positives = sum(one.true for one in rated)
    pairs = positives * (len(rated) - positives)
    if not pairs:
        return None
    ordered = sorted(rated)
    won, below, at = 0.0, 0, 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end].said == ordered[at].said:
            end += 1
        true = sum(one.true for one in ordered[at:end])
        false = end - at - true
        won += true * (below + false / 2)
        below, at = below + false, end
    return won / pairs


def _within(judged: Sequence[Judged]) -> float | None:
    """AUC among the outcomes of each group, weighted by its pairs."""
    groups: dict[str, list[tuple[float, float | None]]] = {}
    for one in judged:
        groups.setdefault(one.group, []).append((one.ratings[-1].value, one.labels[-1].value))
    won = pairs = 0.0
    for rated in map(_known, groups.values()):
        right = sum(one.true for one in rated)
        won += (auc(rated) or 0.0) * right * (len(rated) - right)
        pairs += right * (len(rated) - right)
    return won / pairs if pairs else None


def bins(rated: Sequence[Rated], count: int = BINS) -> list[Bin]:
    """The ratings from low to high in bins of equal mass, as nearly as it goes: equal ratings stay in one bin."""
    ordered = sorted(rated, key=lambda one: one.said)
    ends = [bisect_right(ordered, one.said, key=lambda other: other.said) for one in ordered]
    cuts = {round(i * len(ordered) / count) for i in range(1, count + 1)}
    edges = sorted({0, *(ends[cut - 1] for cut in cuts if cut)})
    groups = [ordered[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    return [
        Bin(sum(one.said for one in group) / len(group), sum(one.true for one in group) / len(group), len(group))
        for group in groups
    ]


def calibration_error(rated: Sequence[Rated], count: int = BINS) -> float | None:
    """Expected calibration error over equal-mass bins: mean distance of what was said from what was true."""
    if not rated:
        return None
    return math.fsum(one.size * abs(one.said - one.true) for one in bins(rated, count)) / len(rated)


def first_error(validities: Sequence[float], threshold: float = THRESHOLD) -> int:
    """Index of the first block called wrong, or -1."""
    return next((index for index, validity in enumerate(validities) if validity < threshold), -1)


def first_error_f1(pairs: Iterable[tuple[int, int]]) -> FirstError:
    """From (found, true) indices of first wrong blocks, -1 where there is none; 0 where one kind is never found."""
    listed = list(pairs)
    wrong = [found == true for found, true in listed if true >= 0]
    right = [found == true for found, true in listed if true < 0]
    of_wrong, of_right = mean(map(float, wrong)), mean(map(float, right))
    f1 = None
    if of_wrong is not None and of_right is not None:
        f1 = 2 * of_wrong * of_right / (of_wrong + of_right) if of_wrong + of_right else 0.0
    return FirstError(wrong=of_wrong, right=of_right, f1=f1, n_wrong=len(wrong), n_right=len(right))


def first_errors(judged: Sequence[Judged], threshold: float = THRESHOLD) -> list[tuple[int, int, int]]:
    """(number, found, true) of the completions whose first wrong block is known: unknown labels before it leave it
    open."""
    pairs: list[tuple[int, int, int]] = []
    for number, one in enumerate(judged):
        labels = [label.validity for label in one.labels[1:-1]]
        true = labels.index(0.0) if 0.0 in labels else -1
        if labels and None not in (labels[:true] if true >= 0 else labels):
            said = [rating.validity for rating in one.ratings[1:-1]]
            pairs.append((number, first_error(said, threshold), true))
    return pairs


def chosen_first_errors(judged: Sequence[Judged]) -> list[tuple[int, int, int]]:
    """As `first_errors`, at the threshold with the highest F1 among the other half of the problems."""
    half = [rng_for("half", one.group or str(number)).random() < 0.5 for number, one in enumerate(judged)]
    said = sorted(rating.validity for one in judged for rating in one.ratings[1:-1])
    tried = [first_errors(judged, said[step * len(said) // STEPS]) for step in range(STEPS if said else 0)]

    def best(other: bool) -> list[tuple[int, int, int]]:
        def f1(pairs: Sequence[tuple[int, int, int]]) -> float:
            return first_error_f1((found, true) for number, found, true in pairs if half[number] is other).f1 or 0.0

        return max(tried, key=f1, default=[])

    found = {own: best(not own) for own in (False, True)}
    return [pair for own, pairs in found.items() for pair in pairs if half[pair[0]] is own]


def plot_reliability(heads: Mapping[str, Mapping[str, Sequence[Rated]]], path: Path) -> None:
    """Writes a PNG: what was true against what was said, in equal-mass bins, a panel for each output and a line for
    each head's curve of it; raises ConfigError without matplotlib."""
    names = list(dict.fromkeys(name for curves in heads.values() for name in curves))
    figure = new_figure(figsize=(3.6 * max(1, len(names)), 3.9), layout="constrained")
    for name, axes in zip(names, figure.subplots(1, max(1, len(names)), squeeze=False)[0], strict=False):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for (head, curves), (colour, mark) in zip(heads.items(), cycle(STYLES), strict=False):
            found = bins(curves.get(name, ()))
            style = {"color": colour, "marker": mark, "markersize": 4, "linewidth": 1.4, "label": head}
            axes.plot([one.said for one in found], [one.true for one in found], **style)
        axes.set(xlabel="said", ylabel="true", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_title(name, loc="left", fontsize=10)
    drawn = {line.get_label(): line for axes in figure.axes for line in axes.get_lines() if line.get_label() in heads}
    figure.legend([*drawn.values()], [*drawn], loc="outside lower center", ncols=max(1, len(drawn)), frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


CURVES = {"outcome": "value, end of answer", "value": "value, blocks", "validity": "validity, blocks"}
"""The outputs that are drawn."""


def reliability_curves(judged: Sequence[Judged]) -> dict[str, Sequence[Rated]]:
    """What `plot_reliability` draws of judged completions: the outputs for which anything is known."""
    said = outputs(judged)
    return {title: [one for _, one in said[name]] for name, title in CURVES.items() if said[name]}
