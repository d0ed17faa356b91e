"""The report: every number of an evaluation with its interval, its seed and its command, and the pictures of them.

One page that stands alone; all texts are escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import TYPE_CHECKING, Any

from ponder.evaluate.claims import Claim, claims
from ponder.evaluate.page import escaped, page, picture, table
from ponder.evaluate.plots import DARK, LIGHT, Price, curve_figure, effort_figure
from ponder.evaluate.practice import Practice
from ponder.evaluate.practice_page import pooled_section, practice_section
from ponder.evaluate.records import Record
from ponder.evaluate.run import BY_EFFORT, DIRECT, SINGLE
from ponder.evaluate.scaling import COVERAGE, Curve, Point, Setting, by_effort, curves, difference
from ponder.text.effort import AUTO, usual_width

if TYPE_CHECKING:
    from ponder.evaluate.pooled import Pooled


@dataclass(frozen=True)
class Report:
    """What records come to, before it is written."""

    curves: Sequence[Curve]
    efforts: Sequence[Curve]
    price: Price
    commands: Sequence[str]
    """What computes the records again."""
    claims: Sequence[Claim]
    practices: Sequence[Practice]
    """What was measured of trainings on the way."""
    pooled: "Pooled | None"
    """The same of all of them together, where they differ by their seeds alone."""
    pictures: Mapping[str, bytes] = field(repr=False)
    """File names to PNGs."""
    page: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON values."""
        return {
            "curves": [_told(curve, self.price) for curve in self.curves],
            "efforts": [_told(curve, self.price) for curve in self.efforts],
            "claims": [one.to_json() for one in self.claims],
            "price": {"prompt": self.price.prompt, "generated": self.price.generated},
            "practice": [one.to_json() for one in self.practices],
            "pooled": self.pooled and self.pooled.to_json(),
            "commands": list(self.commands),
        }


def make_report(
    records: Sequence[Record],
    price: Price | None = None,
    *,
    practices: Sequence[Practice] = (),
    command: str = "",
) -> Report:
    """The whole report; `command` is what makes it again. Raises ConfigError without matplotlib."""
    price = price or Price()
    found, efforts, commands = curves(records), by_effort(records), _commands(records)
    claimed = claims(found, efforts)
    settings = list(dict.fromkeys(curve.setting for curve in [*found, *efforts]))
    together, pictures, parts = _pooled(practices)
    for practice in practices:
        section = practice_section(practice, prefix=f"{len(pictures)}-" if pictures else "")
        pictures |= section.pictures
        parts += section.parts
        commands += section.commands
    parts += _claims(claimed, settings)
    for (setting, effort), own in _grouped(found).items():
        name = _file("curve", effort, setting, settings)
        title = f"{_titled(setting, settings)}, effort {effort}: accuracy against tokens"
        dark = _keep(pictures, name, [curve_figure(title, own, theme) for theme in (LIGHT, DARK)])
        parts += [f"<h2>{escaped(title)}</h2>", picture(pictures[name], dark, title), _LEGEND]
    for setting in dict.fromkeys(curve.setting for curve in efforts):
        own = [curve for curve in efforts if curve.setting == setting]
        name = _file("effort", "", setting, settings)
        title = f"{_titled(setting, settings)}: accuracy and cost by effort"
        dark = _keep(pictures, name, [effort_figure(title, own, price, theme) for theme in (LIGHT, DARK)])
        parts += [f"<h2>{escaped(title)}</h2>", picture(pictures[name], dark, title), _effort_table(own, price)]
    if records:
        parts += [*_drops(found, settings), *_fits(found, settings), *_numbers([*found, *efforts], settings, price)]
    again = [*commands, *([command] if command else [])]
    parts += ["<h2>Commands</h2>", f"<pre>{escaped(chr(10).join(again))}</pre>"]
    whole = page(_heading(records, practices), _about(records), parts)
    return Report(found, efforts, price, again, claimed, practices, together, pictures, whole)


def _pooled(practices: Sequence[Practice]) -> tuple["Pooled | None", dict[str, bytes], list[str]]:
    """Several runs as one, its pictures and its part of the page; where they are too different, the reason alone."""
    if len(practices) < 2:
        return None, {}, []
    from ponder.evaluate.pooled import apart, pooled  # needs numpy

    if why := apart(practices):
        return None, {}, [f'<p class="dim">{escaped(f"The runs are not pooled: {why}.")}</p>']
    found = pooled(practices)
    section = pooled_section(found)
    return found, dict(section.pictures), list(section.parts)


_LEGEND = (
    '<p class="dim">Bands: 95 % bootstrap intervals over problems. Dotted: least-squares fits of accuracy to the '
    "logarithm of tokens. Dashed: the chance that any chain is right, which no choice among them can beat. A ring: "
    "more samples were worse than fewer; red where chance does not explain it.</p>"
)


_CLAIMS = (
    '<p class="dim">Intervals: paired bootstrap over problems. Points are of accuracy; shares are of what is named. '
    "Where a search is as accurate as the vote is read between its points, on a line over the logarithm of tokens; not "
    "reached: by nothing that was measured.</p>"
)


def _grouped(found: Sequence[Curve]) -> dict[tuple[Setting, str], list[Curve]]:
    groups: dict[tuple[Setting, str], list[Curve]] = {}
    for curve in found:
        groups.setdefault((curve.setting, curve.effort), []).append(curve)
    return groups


def _keep(pictures: dict[str, bytes], name: str, drawn: Sequence[bytes]) -> bytes:
    """Keep the light one as a file; the dark one goes into the page alone."""
    light, dark = drawn
    pictures[name] = light
    return dark


def _titled(setting: Setting, settings: Sequence[Setting]) -> str:
    """The model's name, with what tells this setting from the others."""
    alike = [one for one in settings if one.model == setting.model and one != setting]
    told = [setting.model or "a model"]
    if any(one.weights != setting.weights for one in alike):
        told.append(setting.weights[:8])
    if setting.temperature is not None and any(one.temperature not in (None, setting.temperature) for one in alike):
        told.append(f"T={setting.temperature:g}")
    if any(one.top_p != setting.top_p for one in alike):
        told.append(f"top-p {setting.top_p:g}")
    return " ".join(told)


def _file(kind: str, effort: str, setting: Setting, settings: Sequence[Setting]) -> str:
    """A picture's file name: short where there is nothing to tell apart."""
    told = _titled(setting, settings) if len({one.model for one in settings}) > 1 else ""
    rest = _titled(setting, settings).split(" ")[1:] if not told else []
    words = [kind, effort, *told.split(" "), *rest]
    return "-".join("".join(c if c.isalnum() or c in "._=" else "_" for c in word) for word in words if word) + ".png"


def _heading(records: Sequence[Record], practices: Sequence[Practice]) -> str:
    if not records:
        return f"Learning to think: {', '.join(one.history.folder.name for one in practices)}"
    models = dict.fromkeys(record.model or "a model" for record in records)
    return f"Thinking longer: {', '.join(models)}"


def _about(records: Sequence[Record]) -> str:
    if not records:
        return "What was measured of a training's kept checkpoints."
    problems = len({(record.task, record.level, record.seed, record.id, record.prompt) for record in records})
    tasks = len({(record.task, record.level) for record in records})
    digests = ", ".join(dict.fromkeys(f"{record.model} {record.weights}".strip() for record in records))
    return (
        f"{len(records):,} records of {problems:,} problems in {tasks} tasks and levels. Models and weights: {digests}."
    )


# --- tables ---------------------------------------------------------------------------------------------------------


def _claims(claimed: Sequence[Claim], settings: Sequence[Setting]) -> list[str]:
    """What thinking longer has brought, a claim a row."""
    rows = [
        [
            " ".join(filter(None, (_titled(one.setting, settings) + ",", one.effort))).removesuffix(","),
            one.task,
            one.name,
            one.told,
            one.interval,
            str(one.n),
            one.note,
        ]
        for one in claimed
    ]
    titles = ["model and effort", "task", "claim", "number", "95 % interval", "n", "from"]
    return ["<h2>What thinking longer has brought</h2>", table(titles, rows, 3), _CLAIMS] if rows else []


def _drops(found: Sequence[Curve], settings: Sequence[Setting]) -> list[str]:
    """Where more samples were worse than fewer."""
    rows = [
        [
            f"{_titled(curve.setting, settings)}, {curve.effort}",
            curve.task,
            curve.search,
            point.drop.best,
            point.label,
            f"{100 * point.drop.change:+.1f}",
            f"{100 * point.drop.low:+.1f} to {100 * point.drop.high:+.1f}",
            f"{point.drop.p:.3f}",
            "!yes" if point.drop.sure else "within chance",
        ]
        for curve in found
        for point in curve.points
        if point.drop and curve.search != COVERAGE
    ]
    titles = ["model and effort", "task", "search", "best at", "worse at", "points", "95 % interval", "p", "sure"]
    told = table(titles, rows, 3) if rows else "<p>Nowhere: no search got worse with more samples.</p>"
    return ["<h2>Over-optimisation: where more samples hurt</h2>", told]


def _fits(found: Sequence[Curve], settings: Sequence[Setting]) -> list[str]:
    rows = [
        [
            f"{_titled(curve.setting, settings)}, {curve.effort}",
            curve.task,
            curve.search,
            str(len(curve.points)),
            f"{curve.points[-1].tokens / curve.points[0].tokens:.0f}×",
            f"{100 * curve.fit.slope:+.2f}",
            f"{100 * curve.slope[0]:+.2f} to {100 * curve.slope[1]:+.2f}" if curve.slope else "–",
            "–" if curve.fit.r2 is None else f"{curve.fit.r2:.3f}",
        ]
        for curve in found
        if curve.fit and curve.search != COVERAGE
    ]
    titles = ["model and effort", "task", "search", "points", "tokens", "points a doubling", "95 % interval", "R²"]
    return ["<h2>Fits: accuracy = a + b · log₂(tokens)</h2>", table(titles, rows, 3)] if rows else []


def _effort_table(found: Sequence[Curve], price: Price) -> str:
    """Accuracy and cost by effort, and what ``auto`` gains and saves beside each of them."""
    rows: list[list[str]] = []
    for curve in found:
        auto = next((point for point in curve.points if point.label == AUTO), None)
        for point in curve.points:
            row = [curve.task, point.label, str(point.n), _share(point.accuracy), _range(point), f"{point.tokens:,.0f}"]
            row += [f"${price.of(point):,.2f}", *_beside(point, auto)]
            rows.append(row)
    titles = ["task", "effort", "n", "right", "95 % interval", "tokens", "1000 questions"]
    return table([*titles, "auto: points", "95 % interval", "auto: tokens"], rows, 2)


def _beside(point: Point, auto: Point | None) -> list[str]:
    if auto is None or auto is point or not point.tokens:
        return ["–", "–", "–"]
    told = difference(point, auto)
    interval = f"{100 * told.low:+.1f} to {100 * told.high:+.1f}"
    return [f"{100 * told.change:+.1f}", interval, f"{100 * auto.tokens / point.tokens:.0f} %"]


def _numbers(found: Sequence[Curve], settings: Sequence[Setting], price: Price) -> list[str]:
    rows = [
        [
            f"{_titled(curve.setting, settings)}",
            curve.task,
            curve.effort or point.label,
            curve.search,
            str(point.samples) if curve.effort else "–",
            str(point.n),
            _share(point.accuracy),
            _range(point),
            f"{point.tokens:,.0f}",
            f"${price.of(point):,.2f}",
            ", ".join(map(str, curve.seeds)),
            point.source,
        ]
        for curve in found
        for point in curve.points
    ]
    titles = ["model", "task", "effort", "search", "samples", "n", "right", "95 % interval", "tokens"]
    titles += ["1000 questions", "seed", "from"]
    return ["<h2>All numbers</h2>", table(titles, rows, 4)]


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _range(point: Point) -> str:
    return f"{100 * point.low:.1f} – {100 * point.high:.1f}"


# --- what was computed ----------------------------------------------------------------------------------------------


def _told(curve: Curve, price: Price) -> dict[str, Any]:
    """A curve as plain JSON values."""
    return {
        **curve.setting._asdict(),
        "task": curve.task,
        "effort": curve.effort or None,
        "search": curve.search,
        "seeds": list(curve.seeds),
        "fit": curve.fit and {**curve.fit._asdict(), "slope_interval": curve.slope},
        "points": [
            {
                "at": point.label,
                "n": point.n,
                "accuracy": round(point.accuracy, 5),
                "low": round(point.low, 5),
                "high": round(point.high, 5),
                "tokens": round(point.tokens, 1),
                "prompt": round(point.prompt, 1),
                "usd_for_1000": round(price.of(point), 4),
                "from": point.source,
                "drop": point.drop and vars(point.drop) | {"sure": point.drop.sure},
            }
            for point in curve.points
        ],
    }


def _commands(records: Sequence[Record]) -> list[str]:
    """The evaluations that these records come from, one for each setting; models are named, not where they lie."""
    groups: dict[tuple[str, float | None, float, int, int | None, str, str], list[Record]] = {}
    for one in records:
        temperature = None if one.search == BY_EFFORT else one.temperature
        width = one.width if one.width not in (1, usual_width(one.drawn)) else None
        part = one.id.split(":")[2] if one.id.count(":") == 3 and one.task in one.id else ""
        groups.setdefault((one.model, temperature, one.top_p, one.seed, width, part, one.rater), []).append(one)
    return [_command(*key, own) for key, own in groups.items()]


def _command(
    model: str,
    temperature: float | None,
    top_p: float,
    seed: int,
    width: int | None,
    part: str,
    rater: str,
    own: Sequence[Record],
) -> str:
    words = ["ponder", "eval", "--model", quote(model or "DIR")]
    tasks = dict.fromkeys((record.task, record.level) for record in own)
    named = [f"{task}:{level}" for task, level in tasks]
    for name in named:
        if name.startswith("gym:"):
            words += ["--gym", quote(name.removeprefix("gym:"))]
        elif part:
            words += ["--task", quote(name)]
    if not part and not all(name.startswith("gym:") for name in named):
        words += ["--problems", "FILE.jsonl"]
    words += ["--n", str(max(len({one.id for one in own if (one.task, one.level) == task}) for task in tasks))]
    words += ["--split", part] if part not in ("", "test") else []
    words += ["--effort", ",".join(dict.fromkeys(quote(record.effort) for record in own))]
    words += ["--search", ",".join(dict.fromkeys(quote(record.search) for record in own))]
    drawn = {record.drawn if record.search != SINGLE else len(record.answers) for record in own}
    counted = any(record.search not in (DIRECT, BY_EFFORT) for record in own)
    words += ["--samples", ",".join(map(str, sorted(drawn)))] if counted else []
    words += ["--width", str(width)] if width else []
    words += ["--rater", rater] if rater else []
    words += ["--temperature", f"{temperature:g}"] if temperature is not None else []
    words += ["--top-p", f"{top_p:g}"] if top_p != 1 else []
    return " ".join([*words, "--seed", str(seed), "--out", "RECORDS.jsonl"])
