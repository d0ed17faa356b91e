"""What practice has brought, as a part of the report: figure, tables, and thoughts before and after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from shlex import quote
from typing import TYPE_CHECKING

from ponder.evaluate.examples import Example, Thinking
from ponder.evaluate.habits import HabitsSummary, Share
from ponder.evaluate.page import escaped, picture, table
from ponder.evaluate.plots import DARK, LIGHT, train_figure
from ponder.evaluate.practice import Practice, TrainCurve, by_task
from ponder.evaluate.scaling import MEAN

if TYPE_CHECKING:
    from ponder.evaluate.pooled import Pooled  # needs numpy


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    parts: Sequence[str]
    commands: Sequence[str]
    """What measures it again."""
    pictures: Mapping[str, bytes] = field(repr=False)


_LEGEND = (
    '<p class="dim">Single chains of held-out problems at checkpoints that are evenly spaced on a log scale. Bold: the '
    "mean of all tasks (or the only one) with its 95 % bootstrap band; dotted: the fit of accuracy to the logarithm of "
    "compute, without the start, which stands at the left edge. Compute is 2 FLOP a parameter and sampled token, and 6 "
    "a parameter and token read in training. Entropy is that of the tokens which each round sampled for training.</p>"
)
_HABITS = (
    '<p class="dim">Verifying, backtracking and subgoals are told by the words of the tasks\' notations, as shares of '
    "all blocks of free thoughts. Forced: the same start of a solver's demonstration, without and with the wrong block "
    "that follows there; right after it is self-correction. All models get the same starts.</p>"
)


def practice_section(practice: Practice, prefix: str = "") -> Section:
    """The part about one run; its pictures' names begin with the prefix. Raises ConfigError without matplotlib."""
    run = practice.history.folder
    title = f"{run.name}: accuracy against training compute"
    parts, pictures, commands = [f"<h2>{escaped(title)}</h2>"], dict[str, bytes](), list[str]()
    if practice.curves:
        light, dark = (train_figure(title, practice.curves, practice.entropy, theme) for theme in (LIGHT, DARK))
        pictures[f"{prefix}practice.png"] = light
        parts += [picture(light, dark, title), _LEGEND, *_gains(practice), *_points(practice), *_fits(practice.curves)]
        commands.append(_command(practice))
    if practice.habits:
        parts += ["<h2>What thoughts contain, and whether it matters</h2>", _habits(practice.habits), _HABITS]
        commands.append(f"ponder runs habits {quote(str(run))}")
    if practice.examples:
        parts += ["<h2>Thoughts before and after</h2>", *map(_example, practice.examples)]
    return Section(parts, commands, pictures)


def pooled_section(found: "Pooled") -> Section:
    """The part about several runs of one recipe together. Raises ConfigError without matplotlib."""
    title = f"{len(found.runs)} runs, mean: accuracy against training compute"
    light, dark = (train_figure(title, found.curves, found.entropy, theme) for theme in (LIGHT, DARK))
    rows = [
        [
            one.task,
            f"{100 * one.before:.1f} %",
            f"{100 * one.after:.1f} %",
            f"{100 * one.change:+.1f}",
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
            f"{one.tokens[0]:,.0f}",
            f"{one.tokens[1]:,.0f}",
        ]
        for one in found.brought
    ]
    titles = ["task", "before", "after", "points", "95 % interval", "tokens before", "after"]
    parts = [f"<h2>{escaped(title)}</h2>", picture(light, dark, title)]
    about = f"The mean of {', '.join(found.runs)}. Bands and intervals resample problems and runs together."
    parts += [f'<p class="dim">{escaped(about)}</p>', table(titles, rows), *_fits(found.curves)]
    return Section(parts, [], {"practice-pooled.png": light})


def _command(practice: Practice) -> str:
    records = practice.records
    first = records[0]
    tasks = " ".join(f"--task {task}:{level}" for task, level in dict.fromkeys((r.task, r.level) for r in records))
    n = max(len({r.id for r in records if (r.task, r.level) == key}) for key in {(r.task, r.level) for r in records})
    how = f"--samples {len(first.answers)} --temperature {first.temperature:g} --seed {first.seed}"
    return f"ponder runs curve {quote(str(practice.history.folder))} {tasks} --n {n} --effort {first.effort} {how}"


def _gains(practice: Practice) -> list[str]:
    rows = [
        [
            one.task,
            one.name,
            str(one.before.n),
            f"{100 * one.before.accuracy:.1f} %",
            f"{100 * one.after.accuracy:.1f} %",
            f"{100 * one.change:+.1f}",
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
            f"{one.p:.3f}",
            f"{one.before.tokens:,.0f}",
            f"{one.after.tokens:,.0f}",
        ]
        for one in practice.gains
    ]
    titles = ["task", "measure", "n", "before", "after", "points", "95 % interval", "p", "tokens before", "after"]
    if not rows:
        return []
    lines = "".join(f"<li>{escaped(one.sentence)}</li>" for one in practice.equal)
    return ["<h2>Before and after practice</h2>", table(titles, rows, 2), f"<p>At equal tokens:</p><ul>{lines}</ul>"]


def _points(practice: Practice) -> list[str]:
    first = practice.curves[0]
    rows = [
        [
            str(one.kept.round),
            f"{one.kept.sampled:,.0f}",
            f"{one.kept.flop:.2e}" if one.kept.flop else "0",
            str(one.point.n),
            f"{100 * one.point.accuracy:.1f} %",
            f"{100 * one.point.low:.1f} – {100 * one.point.high:.1f}",
            f"{one.point.tokens:,.0f}",
        ]
        for one in first.points
    ]
    named = "the mean of all tasks" if first.task == MEAN else first.task
    titles = ["round", "tokens sampled", "FLOP", "n", "right", "95 % interval", "tokens an answer"]
    return [f"<h2>Checkpoints, {escaped(named)}</h2>", table(titles, rows)]


def _fits(curves: Sequence[TrainCurve]) -> list[str]:
    rows = [
        [
            curve.task,
            f"{100 * curve.fit.slope:+.2f}",
            f"{100 * curve.slope[0]:+.2f} to {100 * curve.slope[1]:+.2f}" if curve.slope else "–",
            "–" if curve.fit.r2 is None else f"{curve.fit.r2:.3f}",
        ]
        for curve in curves
        if curve.fit
    ]
    titles = ["task", "points a doubling of compute", "95 % interval", "R²"]
    return ["<h2>Fits: accuracy = a + b · log₂(FLOP)</h2>", table(titles, rows)] if rows else []


def _habits(summaries: Sequence[HabitsSummary]) -> str:
    def told(share: Share) -> str:
        return f"{100 * share.share:.1f} % ({100 * share.low:.0f}–{100 * share.high:.0f})"

    rows = [
        [
            task,
            one.model,
            str(one.n),
            *(f"{100 * one.kinds[name]:.0f} %" for name in ("verify", "backtrack", "subgoal")),
            f"{one.blocks:.1f}",
            *(told(one.right[arm]) for arm in ("free", "before", "wrong")),
            told(one.changed),
            told(one.backtracks),
        ]
        for task, own in by_task(summaries).items()
        for one in own
    ]
    titles = ["task", "checkpoint", "n", "verify", "backtrack", "subgoal", "blocks", "right, free"]
    titles += ["right, same start", "right, wrong block forced in", "answer changed by it", "backtracks after it"]
    return table(titles, rows, 2)


def _example(example: Example) -> str:
    sides = "".join(f"<div>{_thinking(one)}</div>" for one in example.thoughts)
    asked = f"<p><b>{escaped(example.task)}</b> <span class='dim'>a right answer: {escaped(example.gold)}</span></p>"
    return f'{asked}<pre>{escaped(example.prompt)}</pre><div class="pair">{sides}</div>'


def _thinking(one: Thinking) -> str:
    verdict = '<span class="good">right</span>' if one.right else '<span class="bad">wrong</span>'
    head = f"<p><b>checkpoint {escaped(one.model)}</b>: {verdict}, {one.tokens} tokens, {escape(one.ended)}</p>"
    blocks = "".join(
        f"<details><summary>{escaped(headline)} → {escaped(summary)}</summary><pre>{escaped(thoughts)}</pre></details>"
        for headline, thoughts, summary in one.blocks
    )
    return f"{head}{blocks}<pre>{escaped(one.answer)}</pre>"
