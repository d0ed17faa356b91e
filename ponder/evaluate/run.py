"""Evaluation: problems by efforts by searches through `think`, graded into records, and what the records sum up to.

Chains are drawn once: a vote of any kind and number of samples reads the first chains of the largest vote.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

from ponder.errors import ConfigError
from ponder.evaluate.metrics import mean, pass_at_k, wilson
from ponder.evaluate.problems import ProblemSet
from ponder.interfaces import Rater, Sampler
from ponder.search import VOTES, check_budget, usual_width
from ponder.search.adaptive import enough
from ponder.search.select import chains_of, elected, first_chains
from ponder.search.tree import completion as completed
from ponder.search.tree import counted
from ponder.seeds import seed_for
from ponder.text.effort import BUDGETS, Budget
from ponder.think import Request, think_each
from ponder.types import Completion, Effort, Ended, Grade, Message, Problem, Tokens, Tree

SINGLE = "single"
"""The search of one plain chain."""
DIRECT = "direct"
"""One answer at once, whatever the number of samples."""
ADAPTIVE = "adaptive"
DRAWN = (SINGLE, *VOTES, ADAPTIVE)
"""The searches that all read the same chains."""
OnProgress = Callable[[int, int], None]
"""Called with the number of requests that are done and of all there are."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every chain of an evaluation is sampled."""

    efforts: tuple[Effort, ...]
    searches: tuple[str, ...] = (SINGLE,)
    samples: int | tuple[int, ...] = 1
    """Chains or candidates of each search; of single chains and of votes all numbers read the largest one's chains."""
    width: int | None = None
    """Of searches that have one; else the usual one of their samples."""
    rater: Rater | None = None
    """In place of the sampler's own ratings."""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The numbers of samples, smallest first."""
        return tuple(sorted({self.samples} if isinstance(self.samples, int) else set(self.samples)))

    def budget(self, effort: Effort, samples: int) -> Budget:
        """The effort's budget with so many candidates."""
        return replace(BUDGETS[effort], samples=samples, width=self.width or usual_width(samples))

    def check(self) -> None:
        """Refuse searches and numbers that do not fit."""
        if not (self.searches and self.counts):
            raise ConfigError("nothing to search with: name a search and a number of samples")
        for search in self.searches:
            for samples in self.counts:
                check_budget(search, self.budget(Effort.MEDIUM, samples))


@dataclass(frozen=True, kw_only=True)
class Record:
    """One problem under one effort and search, with all its answers in order: one, but for several single chains."""

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
    drawn: int = 1
    """Samples that each answer was found with, at most."""

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the records of one task, level, effort, search and number of samples come to."""

    task: str
    level: int
    effort: Effort
    search: str
    samples: int
    """Of each problem."""
    n: int
    """Problems of which at least one sample could be graded."""
    accuracy: float | None
    """Share of right samples, a problem's samples averaged first; None where nothing was graded."""
    low: float
    high: float
    """The 95 % interval over problems; with several samples a problem it errs on the wide side."""
    tokens: float
    """Mean tokens of an answer: thought and answer, and what its search discarded."""
    pass_at_k: dict[int, float] | None
    """k to pass@k for powers of two up to the number of answers; None for one answer."""
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


class _Found(NamedTuple):
    """What a search with so many samples has found, an answer or several."""

    search: str
    drawn: int
    completions: Sequence[Completion]


@dataclass(frozen=True)
class _Work:
    """Requests of one problem, and what their completions come to."""

    job: _Job
    requests: Sequence[Request]
    read: Callable[[Sequence[Completion]], list[_Found]]


def evaluate(
    sets: Sequence[ProblemSet], settings: Settings, sampler: Sampler, *, on_progress: OnProgress | None = None
) -> list[Record]:
    """A record for every problem, effort, search and number of samples; many problems think side by side.

    Of single chains there is one record with the largest number of samples.
    """
    works = _plan(sets, settings)
    owners = [(number, place) for number, work in enumerate(works) for place in range(len(work.requests))]
    waiting: list[dict[int, Completion]] = [{} for _ in works]
    found: dict[int, list[_Found]] = {}
    done = 0

    def take(index: int, completion: Completion) -> None:
        nonlocal done
        number, place = owners[index]
        work, parts, done = works[number], waiting[number], done + 1
        parts[place] = completion
        if len(parts) == len(work.requests):  # large trees are read and let go as they come
            found[number] = [_light(one) for one in work.read([parts[at] for at in range(len(parts))])]
            parts.clear()
        if on_progress:
            on_progress(done, len(owners))

    think_each([request for work in works for request in work.requests], sampler, take)
    return [_record(work.job, settings, one) for number, work in enumerate(works) for one in found[number]]


def _light(found: _Found) -> _Found:
    """Without thoughts and trees, which no record holds."""
    return found._replace(completions=[replace(one, blocks=(), tree=None) for one in found.completions])


def planned(sets: Sequence[ProblemSet], settings: Settings) -> int:
    """How many requests an evaluation makes."""
    return sum(len(work.requests) for work in _plan(sets, settings))


def _plan(sets: Sequence[ProblemSet], settings: Settings) -> list[_Work]:
    settings.check()
    jobs = [_Job(s, p, effort) for effort in settings.efforts for s in sets for p in s.problems]
    return [work for job in jobs for work in _works(job, settings)]


def _works(job: _Job, settings: Settings) -> list[_Work]:
    """What one problem needs: its chains, drawn once, then the searches that have candidates of their own."""
    drawn = [search for search in settings.searches if search in DRAWN]
    works = [_chains(job, settings, drawn)] if drawn else []
    for search in settings.searches:
        if search in DRAWN:
            continue
        for samples in (1,) if search == DIRECT else settings.counts:
            read = partial(_whole, search, samples)
            works.append(_Work(job, [_request(job, settings, search, samples)], read))
    return works


def _whole(search: str, samples: int, completions: Sequence[Completion]) -> list[_Found]:
    return [_Found(search, samples, completions)]


def _chains(job: _Job, settings: Settings, drawn: Sequence[str]) -> _Work:
    """Chain i is the same for all of them: it has the seed ``seed_for(seed, i)``."""
    most = settings.counts[-1]
    if list(drawn) == [SINGLE]:
        whole = _request(job, settings, SINGLE, 1)
        requests = [replace(whole, seed=seed_for(whole.seed, sample)) for sample in range(most)]
        return _Work(job, requests, partial(_whole, SINGLE, 1))
    rated = {"best_of_n", "weighted_vote", ADAPTIVE} & set(drawn)
    by_blocks = {"weighted_vote_min", "weighted_vote_product"} & set(drawn)
    search = "weighted_vote_product" if by_blocks else "weighted_vote" if rated else "majority"
    request = _request(job, settings, search, most)

    def read(completions: Sequence[Completion]) -> list[_Found]:
        tree = completions[0].tree
        assert tree
        found: list[_Found] = []
        for search in drawn:
            if search == SINGLE:
                found.append(_Found(search, 1, _alone(tree)))
                continue
            for samples in settings.counts:
                found.append(_Found(search, samples, [_voted(tree, search, samples, settings, request.seed)]))
        return found

    return _Work(job, [request], read)


def _alone(tree: Tree) -> list[Completion]:
    """Each chain of a vote by itself; what another one had read before it counts as cached."""
    lasts = [chain.last for chain in chains_of(tree)]
    found: list[Completion] = []
    for first, last in zip([0, *(last + 1 for last in lasts)], lasts, strict=False):
        nodes = [replace(node, kept=True) for node in tree.nodes[first : last + 1]]
        if nodes[-1].answer is None:
            found.append(Completion((), "", Ended.CUT_OFF, counted(nodes), nodes[-1].lost))
        else:
            found.append(replace(completed(tree, last), tokens=counted(nodes), tree=None))
    return found


def _voted(tree: Tree, search: str, samples: int, settings: Settings, seed: int) -> Completion:
    """What a search would have answered with the first chains alone."""
    if search == ADAPTIVE:
        samples = enough(chains_of(tree)[:samples], settings.budget(Effort.MEDIUM, samples))
    part = first_chains(tree, samples)
    chosen = elected(part, VOTES["weighted_vote" if search == ADAPTIVE else search], seed)
    if chosen is None:
        lost = next((node.lost for node in part.nodes if node.lost), "")
        return Completion((), "", Ended.CUT_OFF, counted(part.nodes), f"all lost: {lost}")
    return completed(part, chosen)


def _request(job: _Job, settings: Settings, search: str, samples: int) -> Request:
    return Request(
        messages=(Message("user", job.problem.prompt),),
        effort=job.effort,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=seed_for("evaluate", settings.seed, job.set.task, job.problem.id),
        budget=settings.budget(job.effort, samples),
        search=search,
        rater=settings.rater,
    )


def _grade(job: _Job, completion: Completion) -> Grade:
    if completion.note:  # nothing was sampled: that says nothing of the model
        return Grade(None, completion.note)
    if completion.ended is not Ended.ANSWERED:  # half an answer may look like a right one
        return Grade(0.0, f"no finished answer: {completion.ended}")
    return job.set.grade(job.problem, completion.answer)


def _record(job: _Job, settings: Settings, found: _Found) -> Record:
    completions = found.completions
    grades = [_grade(job, completion) for completion in completions]
    return Record(
        task=job.set.task,
        level=job.set.level,
        effort=job.effort,
        search=found.search,
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
        drawn=found.drawn,
    )


def summarize(records: Iterable[Record]) -> list[Summary]:
    """One summary for each task, level, effort, search and number of samples, in the order of their first records."""
    groups: dict[tuple[str, int, Effort, str, int], list[Record]] = {}
    for record in records:
        groups.setdefault((record.task, record.level, record.effort, record.search, record.drawn), []).append(record)
    return [_summary(group) for group in groups.values()]


def _summary(records: Sequence[Record]) -> Summary:
    first, answers = records[0], len(records[0].answers)
    decided_PG = [[score == 1.0 for score in record.scores if score is not None] for record in records]
    shares_P = [sum(right) / len(right) for right in decided_PG if right]
    accuracy = mean(shares_P)
    low, high = wilson(sum(shares_P), len(shares_P))
    ended = [end for record in records for end in record.ended]
    spent = [tokens.generated for record in records for tokens in record.tokens]
    return Summary(
        task=first.task,
        level=first.level,
        effort=first.effort,
        search=first.search,
        samples=answers * first.drawn,
        n=len(shares_P),
        accuracy=accuracy,
        low=low,
        high=high,
        tokens=mean(spent) or 0.0,
        pass_at_k=_pass_at(decided_PG, answers) if answers > 1 else None,
        undecided=len(ended) - sum(map(len, decided_PG)),
        cut_off=ended.count(Ended.CUT_OFF) / len(ended),
        malformed=ended.count(Ended.MALFORMED) / len(ended),
    )


def _pass_at(decided_PG: Sequence[Sequence[bool]], samples: int) -> dict[int, float]:
    """pass@k over the problems that have at least k graded samples."""
    ks = sorted({2**power for power in range(samples.bit_length()) if 2**power <= samples} | {samples})
    values = {k: mean(pass_at_k(len(g), sum(g), k) for g in decided_PG if len(g) >= k) for k in ks}
    return {k: value for k, value in values.items() if value is not None}
