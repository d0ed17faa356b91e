"""Evaluation: problems by efforts by searches through `think`, graded into records as they come.

Chains are drawn once: a vote of any kind and number of samples reads the first chains of the largest vote.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

from ponder.errors import ConfigError, ContextError
from ponder.evaluate.problems import ProblemSet
from ponder.evaluate.progress import Kind, Outlook
from ponder.evaluate.records import Asked, Record
from ponder.evaluate.votes import ADAPTIVE, readable, vote_of, voted_again
from ponder.interfaces import Rater, Sampler
from ponder.reward.route import Router
from ponder.search import VOTES, check_budget, check_plan
from ponder.search.adaptive import enough
from ponder.search.select import chains_of, elected, first_chains
from ponder.search.tree import completion as completed
from ponder.search.tree import counted
from ponder.seeds import seed_for
from ponder.text.effort import AUTO, Budget, Plan, effort_named
from ponder.think import Request, think_each
from ponder.types import Completion, Effort, Ended, Grade, Message, Problem, Tree

SINGLE = "single"
"""The search of one plain chain."""
DIRECT = "direct"
"""One answer at once, whatever the number of samples."""
BY_EFFORT = "effort"
"""In place of a search: what each effort means to this model, by its own plans."""
DRAWN = (SINGLE, *VOTES, ADAPTIVE)
"""The searches that all read the same chains."""
DIGITS = 4
"""Of a value in a record."""
OnProgress = Callable[[int, int, float], None]
"""Called with the number of requests that are done, of all there are, and the share of all tokens that is done."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every chain of an evaluation is sampled."""

    efforts: tuple[str, ...]
    """Names of efforts, or ``auto``."""
    searches: tuple[str, ...] = (SINGLE,)
    samples: int | tuple[int, ...] = 1
    """Chains or candidates of each search; of single chains and of votes all numbers read the largest one's chains."""
    width: int | None = None
    """Of searches that have one; else the usual one of their samples."""
    rater: Rater | None = None
    """In place of the sampler's own ratings."""
    rated_by: Literal["", "judge", "exact"] = ""
    """What that is, for the records."""
    temperature: float = 0.0
    """Of a plan that was measured at another one, that."""
    top_p: float = 1.0
    seed: int = 0
    model: str = ""
    weights: str = ""
    """Who thinks, for the records."""
    plans: Mapping[Effort, Plan] = field(default_factory=dict[Effort, Plan])
    """What `BY_EFFORT` means; efforts that are missing are one chain."""
    router: Router | None = None
    """What ``auto`` chooses by."""

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The numbers of samples, smallest first."""
        return tuple(sorted({self.samples} if isinstance(self.samples, int) else set(self.samples)))

    def budget(self, effort: Effort, samples: int) -> Budget:
        """The effort's budget with so many candidates."""
        return self._plan(SINGLE, max(samples, 1)).budget(effort)

    def _plan(self, search: str, samples: int) -> Plan:
        return Plan(search=search, samples=samples, width=self.width, temperature=self.temperature)

    def plan(self, effort: Effort, search: str, samples: int) -> Plan:
        """How a search is done, at a temperature that is known."""
        if search != BY_EFFORT:
            return self._plan(search, samples)
        own = self.plans.get(effort, Plan())
        return own if own.temperature is not None else own.model_copy(update={"temperature": self.temperature})

    def check(self) -> None:
        """Refuse efforts, searches and numbers that do not fit."""
        if (self.rater is None) is not (self.rated_by == ""):
            raise ConfigError(f"rated_by={self.rated_by!r} does not fit: a rater is named, so that its records say so")
        if not (self.searches and self.counts and self.efforts):
            raise ConfigError("nothing to search with: name a search, an effort and a number of samples")
        if self.counts[0] < 1:
            raise ConfigError(f"samples={self.counts[0]} does not fit: it is at least 1")
        efforts = [effort_named(name) for name in self.efforts if name != AUTO]
        if AUTO in self.efforts:
            if self.router is None:
                raise ConfigError("effort auto needs a model with a reward head that chooses: name an effort")
            efforts += self.router.thresholds
        for search in self.searches:
            if search == BY_EFFORT:
                for effort in efforts:
                    plan = self.plan(effort, search, 1)
                    check_plan(plan, plan.temperature or 0.0)
                continue
            for samples in self.counts:
                check_budget(search, self.budget(Effort.MEDIUM, samples))


@dataclass(frozen=True)
class _Job:
    set: ProblemSet
    problem: Problem
    effort: str
    chosen: Effort
    """The same, but where it is ``auto``."""


@dataclass(frozen=True)
class _Want:
    """One record to be, of a job."""

    search: str
    plan: Plan
    drawn: int = 1
    count: int = 1


class _Found(NamedTuple):
    """What a record is made of."""

    completions: Sequence[Completion]
    values: Sequence[float | None]


@dataclass(frozen=True)
class _Work:
    """Requests of one problem, and what their completions come to: one finding for each record."""

    job: _Job
    wants: Sequence[_Want]
    requests: Sequence[Request]
    read: Callable[[Sequence[Completion]], list[_Found]]
    alone: _Want | None = None
    """The single chains that all of it can be read from, where it is."""


def evaluate(
    sets: Sequence[ProblemSet],
    settings: Settings,
    sampler: Sampler,
    *,
    on_progress: OnProgress | None = None,
    known: Mapping[Asked, Record] | None = None,
    on_records: Callable[[Sequence[Record]], None] | None = None,
) -> list[Record]:
    """A record for every problem, effort, search and number of samples; many problems think side by side.

    Of single chains there is one record with the largest number of samples. What is `known` is not computed again, and
    votes are read from single chains that are known; new records go to `on_records` as soon as they are there. Returned
    are all, in the order of efforts, problems, searches.
    """
    known = dict(known or {})
    works = _plan(sets, settings)
    asked = [[_asked(work.job, settings, want) for want in work.wants] for work in works]
    for work in works:
        again = _read_again(work, settings, known)
        known.update((record.asked, record) for record in again)
        if again and on_records:
            on_records(again)
    open_ = [number for number, names in enumerate(asked) if not known.keys() >= set(names)]
    owners = [(number, place) for number in open_ for place in range(len(works[number].requests))]
    outlook = Outlook([_kind(works[number].job, works[number].requests[place]) for number, place in owners])
    waiting: dict[int, dict[int, Completion]] = {number: {} for number in open_}
    done = 0

    def take(index: int, completion: Completion) -> None:
        nonlocal done
        number, place = owners[index]
        work, parts, done = works[number], waiting[number], done + 1
        parts[place] = completion
        share = outlook.finished(index, completion.tokens.generated)
        if len(parts) == len(work.requests):  # large trees are read and let go as they come
            whole = [parts[at] for at in range(len(parts))]
            unread = next((one for one in whole if one.note and one.tree is None), None)
            found = [_Found([unread] * want.count, ()) for want in work.wants] if unread else work.read(whole)
            made = [_record(work.job, name, one) for name, one in zip(asked[number], found, strict=True)]
            del waiting[number]
            new = [record for record in made if record.asked not in known]
            known.update((record.asked, record) for record in new)
            if on_records:
                on_records(new)
        if on_progress:
            on_progress(done, len(owners), share)

    if on_progress:
        on_progress(0, len(owners), outlook.share)
    requests = [works[number].requests[place] for number, place in owners]
    think_each(requests, sampler, take, refused=lambda index, err: take(index, _unread(err)))
    return [known[name] for names in asked for name in names]


def _unread(err: ContextError) -> Completion:
    """What comes of a prompt that the model cannot read: nothing, undecided, with the reason."""
    return Completion((), "", Ended.CUT_OFF, note=str(err))


def _kind(job: _Job, request: Request) -> Kind:
    assert request.budget
    return Kind((job.set.task, job.set.level, request.effort, request.search), request.budget.samples)


def planned(sets: Sequence[ProblemSet], settings: Settings) -> int:
    """How many requests an evaluation makes, as far as it is known before efforts are chosen."""
    fixed = tuple(effort for effort in settings.efforts if effort != AUTO)
    some = _plan(sets, replace(settings, efforts=fixed)) if fixed else []
    chosen = sum(len(s.problems) for s in sets) * len(settings.searches) if AUTO in settings.efforts else 0
    return sum(len(work.requests) for work in some) + chosen


def _plan(sets: Sequence[ProblemSet], settings: Settings) -> list[_Work]:
    settings.check()
    pairs = [(s, p) for s in sets for p in s.problems]
    jobs: list[_Job] = []
    for effort in settings.efforts:
        chosen = _routed(pairs, settings) if effort == AUTO else [effort_named(effort)] * len(pairs)
        jobs += [_Job(s, p, effort, own) for (s, p), own in zip(pairs, chosen, strict=True)]
    return [work for job in jobs for work in _works(job, settings)]


def _routed(pairs: Collection[tuple[ProblemSet, Problem]], settings: Settings) -> list[Effort]:
    assert settings.router
    return asyncio.run(settings.router.choose([(Message("user", problem.prompt),) for _, problem in pairs]))


def _works(job: _Job, settings: Settings) -> list[_Work]:
    """What one problem needs: its chains, drawn once, then the searches that have candidates of their own."""
    drawn = [search for search in settings.searches if search in DRAWN]
    works = [_chains(job, settings, drawn)] if drawn else []
    for search in settings.searches:
        if search in DRAWN:
            continue
        for samples in (1,) if search in (DIRECT, BY_EFFORT) else settings.counts:
            plan = settings.plan(job.chosen, search, samples)
            works.append(_Work(job, [_Want(search, plan, samples)], [_request(job, settings, plan)], _whole))
    return works


def _whole(completions: Sequence[Completion]) -> list[_Found]:
    return [_Found(completions, [_end_value(one.tree) if one.tree else None for one in completions])]


def _end_value(tree: Tree) -> float | None:
    """What was read at the end of the thought that was kept."""
    last = next((node for node in reversed(tree.nodes) if node.kept), None)
    return last.rating.value if last and last.rating else None


def _chains(job: _Job, settings: Settings, drawn: Sequence[str]) -> _Work:
    """Chain i is the same for all of them: it has the seed ``seed_for(seed, i)``."""
    most = settings.counts[-1]
    alone = _Want(SINGLE, settings.plan(job.chosen, SINGLE, 1), 1, most)
    if list(drawn) == [SINGLE]:
        whole = _request(job, settings, alone.plan)
        requests = [replace(whole, seed=seed_for(whole.seed, sample)) for sample in range(most)]
        return _Work(job, [alone], requests, _whole)
    rated = {"best_of_n", "weighted_vote", ADAPTIVE} & set(drawn)
    by_blocks = {"weighted_vote_min", "weighted_vote_product"} & set(drawn)
    search = "weighted_vote_product" if by_blocks else "weighted_vote" if rated else "majority"
    request = _request(job, settings, settings.plan(job.chosen, search, most))
    wants: list[_Want] = []
    for name in drawn:
        votes = [_Want(name, settings.plan(job.chosen, name, samples), samples) for samples in settings.counts]
        wants += [alone] if name == SINGLE else votes
    return _Work(job, wants, [request], partial(_voted_all, wants, request), alone)


def _read_again(work: _Work, settings: Settings, known: Mapping[Asked, Record]) -> list[Record]:
    """The records of votes over single chains of which there is a record."""
    job, request = work.job, work.requests[0]
    record = work.alone and known.get(_asked(job, settings, work.alone))
    if not record:
        return []
    votes = {_asked(job, settings, want): want for want in work.wants if readable(record, want.search)}
    plans = {name: want.plan.budget(request.effort) for name, want in votes.items() if name not in known}
    return [
        _record(job, name, _Found([voted_again(record, name.search, budget, request.seed, request.key)], ()))
        for name, budget in plans.items()
    ]


def _voted_all(wants: Sequence[_Want], request: Request, completions: Sequence[Completion]) -> list[_Found]:
    tree = completions[0].tree
    assert tree
    return [
        _alone(tree)
        if want.search == SINGLE
        else _Found([_voted(tree, want.search, want.plan.budget(request.effort), request)], ())
        for want in wants
    ]


def _alone(tree: Tree) -> _Found:
    """Each chain of a vote by itself; what another one had read before it counts as cached."""
    chains = chains_of(tree)
    lasts = [chain.last for chain in chains]
    found: list[Completion] = []
    for first, last in zip([0, *(last + 1 for last in lasts)], lasts, strict=False):
        nodes = [replace(node, kept=True) for node in tree.nodes[first : last + 1]]
        if nodes[-1].answer is None:
            found.append(Completion((), "", Ended.CUT_OFF, counted(nodes), nodes[-1].lost))
        else:
            found.append(replace(completed(tree, last), tokens=counted(nodes), tree=None))
    return _Found(found, [chain.ratings[-1].value if chain.ratings else None for chain in chains])


def _voted(tree: Tree, search: str, budget: Budget, request: Request) -> Completion:
    """What a search would have answered with the first chains alone."""
    samples = budget.samples
    if search == ADAPTIVE:
        samples = enough(chains_of(tree)[:samples], budget, request.key)
    part = first_chains(tree, samples)
    chosen = elected(part, vote_of(search), request.seed, request.key)
    if chosen is None:
        lost = next((node.lost for node in part.nodes if node.lost), "")
        return Completion((), "", Ended.CUT_OFF, counted(part.nodes), f"all lost: {lost}")
    return completed(part, chosen)


def _request(job: _Job, settings: Settings, plan: Plan) -> Request:
    assert plan.temperature is not None
    return Request(
        messages=(Message("user", job.problem.prompt),),
        effort=job.chosen,
        temperature=plan.temperature,
        top_p=settings.top_p,
        seed=seed_for("evaluate", settings.seed, job.set.task, job.problem.id),
        budget=plan.budget(job.chosen),
        search=plan.search,
        rater=settings.rater,
        key=job.set.same,
    )


def _grade(job: _Job, completion: Completion) -> Grade:
    if completion.note:  # nothing was sampled: that says nothing of the model
        return Grade(None, completion.note)
    if completion.ended is not Ended.ANSWERED:  # half an answer may look like a right one
        return Grade(0.0, f"no finished answer: {completion.ended}")
    return job.set.grade(job.problem, completion.answer)


def _asked(job: _Job, settings: Settings, want: _Want) -> Asked:
    plan = want.plan
    budget = plan.budget(job.chosen)
    how = [str(job.chosen)] if job.effort == AUTO else []
    assert plan.temperature is not None
    return Asked(
        model=settings.model,
        weights=settings.weights,
        task=job.set.task,
        level=job.set.level,
        id=job.problem.id,
        prompt=job.problem.prompt,
        gold=job.problem.answer,
        effort=job.effort,
        how=": ".join([*how, *([plan.words()] if want.search == BY_EFFORT else [])]),
        search=want.search,
        drawn=want.drawn,
        answers=want.count,
        width=budget.width,
        thinking=budget.thinking,
        temperature=plan.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        rater=settings.rated_by,
    )


def _record(job: _Job, asked: Asked, found: _Found) -> Record:
    completions = found.completions
    grades = [_grade(job, completion) for completion in completions]
    told: dict[str, Any] = asked._asdict() | {"answers": tuple(completion.answer for completion in completions)}
    return Record(
        **told,
        scores=tuple(grade.score for grade in grades),
        ended=tuple(completion.ended for completion in completions),
        tokens=tuple(completion.tokens for completion in completions),
        values=_kept(found.values),
        notes=tuple(grade.note for grade in grades),
    )


def _kept(values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Values without the last digits, which depend on what shared their batch; nothing where there are none."""
    rounded = tuple(None if value is None else round(value, DIGITS) for value in values)
    return rounded if any(value is not None for value in rounded) else ()
