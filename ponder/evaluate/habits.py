"""What thoughts contain, and whether they matter: verifying, backtracking, subgoals, and what a wrong block does.

Each problem is thought about three times: freely; from the start of a solver's demonstration with a real mistake, up to
just before it; and from the same start with the wrong block forced in. What the wrong block costs is the difference of
the last two, and P(right | a wrong block forced in) is self-correction. All models get the same starts.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ponder.errors import ProblemError
from ponder.evaluate.metrics import mean, wilson
from ponder.evaluate.problems import ProblemSet
from ponder.interfaces import Prefix, Sampler, Sampling
from ponder.search.single import single
from ponder.seeds import rng_for, seed_for
from ponder.tasks import task_named
from ponder.text.effort import BUDGETS
from ponder.types import Block, Completion, Effort, Ended, Grade, Message, Problem, Style, Thought

ARMS = ("free", "before", "wrong")
"""Thought about freely; from a demonstration's start; from the same with a wrong block at its end."""
TRIES = 8
"""Demonstrations that are made of a problem, at most, to find one whose mistake the checker knows."""
SIDE_BY_SIDE = 128
VERIFIES = re.compile(r"^(check|nines|left|right|again)\b|\bagain$")
BACKTRACKS = (
    re.compile(r"^(start over|fix|too big|again)\b"),
    re.compile(r"^(no|not|wrong)\b|\b(no|wrong|fails|start over)$"),
)
"""Of a headline, and of a summary."""
SUBGOALS = re.compile(r"^(make|test|try)\b|^\S+[-+*/]\S+:|\b(yes|no)$")


def kinds_of(block: Block) -> frozenset[str]:
    """Which of `verify`, `backtrack` and `subgoal` a block is, by the words that the tasks' notations have for it.

    Verifying: a check, or a step done again. Backtracking: giving up what was found or tried. A subgoal: a target, a
    case or a hypothesis that is named before it is worked on.
    """
    headline, summary = block.headline.strip(), block.summary.strip()
    found = {
        "verify": VERIFIES.search(headline),
        "backtrack": BACKTRACKS[0].search(headline) or BACKTRACKS[1].search(summary),
        "subgoal": SUBGOALS.search(headline),
    }
    return frozenset(name for name, match in found.items() if match)


def wrong_start(problem: Problem) -> tuple[Thought, Block] | None:
    """Right blocks and the wrong one that a solver's demonstration has after them; None where no mistake is known."""
    task = task_named(problem.task)
    for number in range(TRIES):
        shown = task.demonstrate(problem, rng_for("habits", problem.id, number), Style.CORRECTED)
        checks = task.check_blocks(problem, shown.blocks)
        first = next((at for at, check in enumerate(checks) if check.valid is False), None)
        if first is not None:
            return shown.blocks[:first], shown.blocks[first]
    return None


@dataclass(frozen=True)
class Attempt:
    """One thought about a problem, from its start on."""

    answer: str
    score: float | None
    ended: str
    tokens: int
    blocks: int
    """That the model wrote itself."""
    kinds: Mapping[str, int]
    """How many of them verify, backtrack, set a subgoal."""

    @property
    def right(self) -> bool:
        """Whether it came to a right answer."""
        return self.score == 1.0


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One problem, thought about in every way."""

    model: str
    weights: str
    task: str
    level: int
    id: str
    effort: str
    temperature: float
    seed: int
    given: int
    """Right blocks before the wrong one."""
    forced: tuple[str, str]
    """Headline and summary of the wrong block."""
    attempts: Mapping[str, Attempt]
    """By the names of ARMS."""

    @property
    def asked(self) -> tuple[str, str, str, str, float, int]:
        """What it is the probe of."""
        return self.model, self.weights, self.id, self.effort, self.temperature, self.seed

    def line(self) -> str:
        """As a line of a file."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read_probes(path: Path) -> list[Probe]:
    """All whole probes of a file, none where there is none; a line that a kill cut off is left out."""
    if not path.exists():
        return []
    found: list[Probe] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            told = json.loads(line)
            attempts = {name: Attempt(**attempt) for name, attempt in told.pop("attempts").items()}
            found.append(Probe(**told | {"forced": tuple(told["forced"]), "attempts": attempts}))
        except (ValueError, TypeError, KeyError, AttributeError) as err:
            raise ProblemError(f"{path}:{number} is no probe of habits ({err}): name another file") from None
    return list({probe.asked: probe for probe in found}.values())


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How problems are thought about."""

    model: str
    weights: str
    effort: Effort = Effort.MEDIUM
    temperature: float = 1.0
    seed: int = 0

    def asked(self, problem: Problem) -> tuple[str, str, str, str, float, int]:
        """What the probe of a problem will say that it is of."""
        return self.model, self.weights, problem.id, self.effort, self.temperature, self.seed


class _Work(NamedTuple):
    set: ProblemSet
    problem: Problem
    given: Thought
    wrong: Block


def probe(
    sets: Sequence[ProblemSet],
    how: Habits,
    sampler: Sampler,
    *,
    known: Iterable[Probe] = (),
    on_probe: Callable[[Probe], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Probe], int]:
    """A probe for every problem, and how many were left out because no mistake is known of them.

    What is `known` is not computed again; new ones go to `on_probe` as they come.
    """
    have = {one.asked: one for one in known}
    pairs = [(one, problem, wrong_start(problem)) for one in sets for problem in one.problems]
    works = [_Work(one, problem, *start) for one, problem, start in pairs if start]
    new = [work for work in works if how.asked(work.problem) not in have]

    async def all_of_them() -> None:
        gate, done = asyncio.Semaphore(SIDE_BY_SIDE), 0

        async def one(work: _Work) -> None:
            nonlocal done
            async with gate:
                found = await _probed(work, how, sampler)
            have[found.asked], done = found, done + 1
            if on_probe:
                on_probe(found)
            if on_progress:
                on_progress(done, len(new))

        await asyncio.gather(*(one(work) for work in new))

    asyncio.run(all_of_them())
    return [have[how.asked(work.problem)] for work in works], len(pairs) - len(works)


async def _probed(work: _Work, how: Habits, sampler: Sampler) -> Probe:
    starts = {"free": (), "before": work.given, "wrong": (*work.given, work.wrong)}
    made = await asyncio.gather(*(_attempt(work, how, sampler, arm, starts[arm]) for arm in ARMS))
    return Probe(
        model=how.model,
        weights=how.weights,
        task=work.set.task,
        level=work.set.level,
        id=work.problem.id,
        effort=how.effort,
        temperature=how.temperature,
        seed=how.seed,
        given=len(work.given),
        forced=(work.wrong.headline, work.wrong.summary),
        attempts=dict(zip(ARMS, made, strict=True)),
    )


async def _attempt(work: _Work, how: Habits, sampler: Sampler, arm: str, start: Thought) -> Attempt:
    """The budget is the effort's own, whatever stands there already."""
    prefix = Prefix((Message("user", work.problem.prompt),), how.effort, start)
    sampling = Sampling(how.temperature, seed=seed_for("habits", how.seed, work.problem.id, arm))
    completion = await single(prefix, BUDGETS[how.effort], sampling, sampler)
    written = completion.blocks
    kinds = [kinds_of(block) for block in written]
    return Attempt(
        answer=completion.answer,
        score=_grade(work, completion).score,
        ended=completion.ended,
        tokens=completion.tokens.kept,
        blocks=len(written),
        kinds={name: sum(name in one for one in kinds) for name in ("verify", "backtrack", "subgoal")},
    )


def _grade(work: _Work, completion: Completion) -> Grade:
    if completion.ended is not Ended.ANSWERED:
        return Grade(0.0, f"no finished answer: {completion.ended}")
    return work.set.grade(work.problem, completion.answer)


# --- what they come to ------------------------------------------------------------------------------------------------


class Share(NamedTuple):
    """A share with its 95 % interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class HabitsSummary:
    """What the probes of one model and task come to."""

    model: str
    weights: str
    task: str
    """TASK:LEVEL, or `all`."""
    n: int
    right: Mapping[str, Share]
    """By the names of ARMS."""
    changed: Share
    """How often the answer after the wrong block is another one than without it."""
    backtracks: Share
    """How often something is given up after the wrong block."""
    kinds: Mapping[str, float] = field(default_factory=dict[str, float])
    """Share of blocks in free thoughts that verify, backtrack, set a subgoal."""
    blocks: float = 0.0
    """Of a free thought."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        told = asdict(self)
        told["right"] = {name: one._asdict() for name, one in self.right.items()}
        return told | {"changed": self.changed._asdict(), "backtracks": self.backtracks._asdict()}


def summarize_habits(probes: Iterable[Probe]) -> list[HabitsSummary]:
    """A summary for each model and task, then one for each model over all its tasks."""
    groups: dict[tuple[str, str, str], list[Probe]] = {}
    for one in probes:
        for task in (f"{one.task}:{one.level}", "all"):
            groups.setdefault((one.model, one.weights, task), []).append(one)
    ordered = sorted(groups.items(), key=lambda item: item[0][2] == "all")
    return [_summary(*key, own) for key, own in ordered]


def _summary(model: str, weights: str, task: str, probes: Sequence[Probe]) -> HabitsSummary:
    free = [one.attempts["free"] for one in probes]
    blocks = sum(one.blocks for one in free)
    names = ("verify", "backtrack", "subgoal")
    return HabitsSummary(
        model=model,
        weights=weights,
        task=task,
        n=len(probes),
        right={arm: _share([one.attempts[arm].right for one in probes]) for arm in ARMS},
        changed=_share([one.attempts["wrong"].answer != one.attempts["before"].answer for one in probes]),
        backtracks=_share([one.attempts["wrong"].kinds["backtrack"] > 0 for one in probes]),
        kinds={name: sum(one.kinds[name] for one in free) / max(1, blocks) for name in names},
        blocks=mean(one.blocks for one in free) or 0.0,
    )


def _share(values: Sequence[bool]) -> Share:
    return Share(sum(values) / max(1, len(values)), *wilson(sum(values), len(values)))
