"""Evaluation: problems by efforts by samples through `think`, graded into records, and what the records sum up to."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ponder.evaluate.metrics import mean, pass_at_k, wilson
from ponder.evaluate.problems import ProblemSet
from ponder.interfaces import Sampler
from ponder.seeds import seed_for
from ponder.think import Request, think
from ponder.types import Completion, Effort, Ended, Grade, Message, Problem, Tokens

SINGLE = "single"
"""The search of one plain chain."""
OnProgress = Callable[[int, int], None]
"""Called with the number of chains that are done and of all there are."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every chain of an evaluation is sampled."""

    efforts: tuple[Effort, ...]
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """One problem under one effort and search, with all its samples in order."""

    task: str
    level: int
    effort: Effort
    search: str
    id: str
    prompt: str
    gold: str
    answers: tuple[str, ...]
    scores: tuple[float | None, ...]
    """None where the grader could not decide; notes say why."""
    ended: tuple[Ended, ...]
    tokens: tuple[Tokens, ...]
    notes: tuple[str, ...]
    temperature: float
    top_p: float
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the records of one task, level, effort and search come to."""

    task: str
    level: int
    effort: Effort
    search: str
    samples: int
    n: int
    """Problems of which at least one sample could be graded."""
    accuracy: float | None
    """Share of right samples, a problem's samples averaged first; None where nothing was graded."""
    low: float
    high: float
    """The 95 % interval over problems; with several samples a problem it errs on the wide side."""
    tokens: float
    """Mean thinking and answer tokens of a sample."""
    pass_at_k: dict[int, float] | None
    """k to pass@k for powers of two up to the number of samples; None for one sample."""
    undecided: int
    """Samples the grader could not decide: left out of the accuracy."""
    cut_off: float
    """Share of samples without a finished answer."""
    malformed: float

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Job:
    set: ProblemSet
    problem: Problem
    effort: Effort


def evaluate(
    sets: Sequence[ProblemSet], settings: Settings, sampler: Sampler, *, on_progress: OnProgress | None = None
) -> list[Record]:
    """A record for every problem and effort; many problems of all sets think side by side."""
    jobs = [_Job(s, p, effort) for effort in settings.efforts for s in sets for p in s.problems]
    requests = [_request(job, settings, sample) for job in jobs for sample in range(settings.samples)]
    tell = (lambda done: on_progress(done, len(requests))) if on_progress else None
    completions = think(requests, sampler, on_done=tell)
    return [
        _record(job, settings, completions[index * settings.samples : (index + 1) * settings.samples])
        for index, job in enumerate(jobs)
    ]


def _request(job: _Job, settings: Settings, sample: int) -> Request:
    seed = seed_for("evaluate", settings.seed, job.set.task, job.problem.id, sample)
    messages = (Message("user", job.problem.prompt),)
    return Request(messages, job.effort, settings.temperature, settings.top_p, seed)


def _grade(job: _Job, completion: Completion) -> Grade:
    if completion.ended is not Ended.ANSWERED:  # half an answer may look like a right one
        return Grade(0.0, f"no finished answer: {completion.ended}")
    return job.set.grade(job.problem, completion.answer)


def _record(job: _Job, settings: Settings, completions: Sequence[Completion]) -> Record:
    grades = [_grade(job, completion) for completion in completions]
    return Record(
        task=job.set.task,
        level=job.set.level,
        effort=job.effort,
        search=SINGLE,
        id=job.problem.id,
        prompt=job.problem.prompt,
        gold=job.problem.answer,
        answers=tuple(completion.answer for completion in completions),
        scores=tuple(grade.score for grade in grades),
        ended=tuple(completion.ended for completion in completions),
        tokens=tuple(completion.tokens for completion in completions),
        notes=tuple(grade.note for grade in grades),
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
    )


def summarize(records: Iterable[Record]) -> list[Summary]:
    """One summary for each task, level, effort and search, in the order of their first records."""
    groups: dict[tuple[str, int, Effort, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.task, record.level, record.effort, record.search), []).append(record)
    return [_summary(group) for group in groups.values()]


def _summary(records: Sequence[Record]) -> Summary:
    first, samples = records[0], len(records[0].answers)
    decided_PG = [[score == 1.0 for score in record.scores if score is not None] for record in records]
    shares_P = [sum(right) / len(right) for right in decided_PG if right]
    accuracy = mean(shares_P)
    low, high = wilson(sum(shares_P), len(shares_P))
    ended = [end for record in records for end in record.ended]
    spent = [tokens.thinking + tokens.answer for record in records for tokens in record.tokens]
    return Summary(
        task=first.task,
        level=first.level,
        effort=first.effort,
        search=first.search,
        samples=samples,
        n=len(shares_P),
        accuracy=accuracy,
        low=low,
        high=high,
        tokens=mean(spent) or 0.0,
        pass_at_k=_pass_at(decided_PG, samples) if samples > 1 else None,
        undecided=len(ended) - sum(map(len, decided_PG)),
        cut_off=ended.count(Ended.CUT_OFF) / len(ended),
        malformed=ended.count(Ended.MALFORMED) / len(ended),
    )


def _pass_at(decided_PG: Sequence[Sequence[bool]], samples: int) -> dict[int, float]:
    """pass@k over the problems that have at least k graded samples."""
    ks = sorted({2**power for power in range(samples.bit_length()) if 2**power <= samples} | {samples})
    values = {k: mean(pass_at_k(len(g), sum(g), k) for g in decided_PG if len(g) >= k) for k in ks}
    return {k: value for k, value in values.items() if value is not None}
