"""Evaluation with scripts for a model: what is right, wrong, cut off and undecided is known by hand."""

import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.engine.scripted import ScriptedSampler, Step
from ponder.errors import ConfigError, SamplerError
from ponder.evaluate import problems
from ponder.evaluate.problems import ProblemSet, from_file, from_gym, held_out, parse_spec
from ponder.evaluate.run import BY_EFFORT, Settings, evaluate, planned
from ponder.evaluate.summary import summarize
from ponder.interfaces import Prefix
from ponder.reward.route import Router
from ponder.seeds import seed_for
from ponder.tasks import TASKS, split_of
from ponder.text import format
from ponder.text.effort import Plan
from ponder.think import Request, think
from ponder.types import Block, Effort, Ended, Grade, Message, Problem, Rating, Split

BLOCKS = (Block("add", "1+1=2", "2"), Block("check", "2-1=1", "2 ok"))


def problem(number: int) -> Problem:
    return Problem("toy", 1, f"question {number}", str(number), {}, f"toy:{number}")


def grade(problem: Problem, text: str) -> Grade:
    if text == "unsure":
        return Grade(None, "could not tell")
    return Grade(1.0) if text == problem.answer else Grade(0.0, "wrong")


def toy_set(*answers: str) -> tuple[ProblemSet, ScriptedSampler]:
    """Problem i is answered with answers[i]; right is str(i)."""
    made = tuple(problem(i) for i in range(len(answers)))
    scripts = {p.prompt: format.render(BLOCKS, a) for p, a in zip(made, answers, strict=True)}
    return ProblemSet("toy", 1, made, grade, len(made)), ScriptedSampler(scripts)


def test_records_hold_what_was_asked_and_answered():
    toys, sampler = toy_set("0", "7")
    first, second = evaluate([toys], Settings(efforts=(Effort.MEDIUM,), seed=5), sampler)
    assert (first.id, first.prompt, first.gold, first.answers, first.scores) == (
        "toy:0",
        "question 0",
        "0",
        ("0",),
        (1.0,),
    )
    assert (second.scores, second.notes, second.ended) == ((0.0,), ("wrong",), (Ended.ANSWERED,))
    assert first.tokens[0].thinking == sum(len(format.text_of(format.render_block(block))) for block in BLOCKS)
    assert (first.seed, first.search, first.effort) == (5, "single", "medium")
    assert json.loads(json.dumps(first.to_json()))["tokens"][0]["answer"] == 1


def test_undecided_is_left_out_of_n_and_counted_apart():
    toys, sampler = toy_set("0", "1", "unsure", "wrong")
    (summary,) = summarize(evaluate([toys], Settings(efforts=(Effort.MEDIUM,)), sampler))
    assert (summary.n, summary.undecided, summary.accuracy) == (3, 1, 2 / 3)
    assert summary.low < 2 / 3 < summary.high
    assert summary.pass_at_k is None


def test_nothing_decided_is_no_accuracy_at_all():
    toys, sampler = toy_set("unsure")
    (summary,) = summarize(evaluate([toys], Settings(efforts=(Effort.LOW,)), sampler))
    assert (summary.n, summary.accuracy, summary.low, summary.high) == (0, None, 0.0, 1.0)


def test_a_cut_off_answer_is_not_graded_by_its_beginning():
    gold = "9" * 192
    toys = ProblemSet("toy", 1, (Problem("toy", 1, "q", gold, {}, "toy:q"),), grade, 1)
    sampler = ScriptedSampler({"q": format.render((), gold + "8")})
    (record,) = evaluate([toys], Settings(efforts=(Effort.NONE,)), sampler)
    assert (record.answers, record.ended, record.scores) == ((gold,), (Ended.CUT_OFF,), (0.0,))
    assert summarize([record])[0].cut_off == 1.0


def test_samples_are_averaged_in_a_problem_and_give_pass_at_k():
    toys, sampler = toy_set("0", "x")
    settings = Settings(efforts=(Effort.MEDIUM,), samples=6, temperature=1.0)
    (summary,) = summarize(evaluate([toys], settings, sampler))
    assert (summary.n, summary.samples, summary.accuracy) == (2, 6, 0.5)
    assert summary.pass_at_k == {1: 0.5, 2: 0.5, 4: 0.5, 6: 0.5}


def tossed(prefix: Prefix, rng: Random) -> Step:
    """Right in 40 of 100 chains, else one of ten wrong answers; a head that knows more than chance."""
    if not prefix.blocks and not prefix.answering:
        right = rng.random() < 0.4
        value = (0.7 if right else 0.4) + rng.random() * 0.3
        return Step(Block("toss", "", str(0 if right else rng.randrange(1, 11))), Rating(value, value), Rating(0.4, 1))
    return Step(prefix.blocks[-1].summary if prefix.blocks else "1", before=Rating(0.4, 1))


VOTED = ("majority", "best_of_n", "weighted_vote", "weighted_vote_min", "weighted_vote_product", "adaptive")


def chances(count: int) -> tuple[ProblemSet, ScriptedSampler]:
    made = tuple(Problem("toy", 1, f"question {i}", "0", {}, f"toy:{i}") for i in range(count))
    return ProblemSet("toy", 1, made, grade, count), ScriptedSampler({p.prompt: tossed for p in made})


def test_votes_of_all_numbers_read_chains_that_are_drawn_once():
    toys, sampler = chances(40)
    asked: list[int] = []

    class Counting:
        async def extend(self, prefix, limit, samplings, hear=None):
            asked.extend(one.seed for one in samplings)
            return await sampler.extend(prefix, limit, samplings)

    settings = Settings(
        efforts=(Effort.MEDIUM,), searches=("single", *VOTED), samples=(16, 1, 4), temperature=1.0, seed=3
    )
    records = evaluate([toys], settings, Counting())
    assert len(asked) == 40 * 16 * 2 and planned([toys], settings) == 40
    summaries = {(one.search, one.samples): one for one in summarize(records)}
    assert set(summaries) == {("single", 16), *((search, n) for search in VOTED for n in (1, 4, 16))}
    for (search, n), one in summaries.items():
        assert one.n == 40 and (one.pass_at_k is None) == (search != "single")
        if n == 1:
            assert one.tokens == pytest.approx(summaries["single", 16].tokens, rel=0.1)
        if search != "single" and n == 16:
            assert one.accuracy > summaries["single", 16].accuracy + 0.3
    drawn = [record for record in records if (record.search, record.drawn) == ("weighted_vote", 4)]
    assert all(len(record.answers) == len(record.tokens) == 1 for record in drawn)
    assert all(record.tokens[0].discarded > record.tokens[0].kept for record in drawn)
    assert summaries["adaptive", 16].tokens < summaries["weighted_vote", 16].tokens


@pytest.mark.parametrize("search", VOTED)
def test_a_shared_vote_is_what_the_search_itself_would_have_answered(search):
    toys, sampler = chances(12)
    for n in (4, 16):
        common = {"efforts": (Effort.LOW,), "temperature": 1.0, "seed": 1}
        shared = evaluate([toys], Settings(searches=("single", search), samples=(4, 16), **common), sampler)
        shared = [record for record in shared if (record.search, record.drawn) == (search, n)]
        alone = [
            Request((Message("user", p.prompt),), Effort.LOW, 1.0, seed=seed(p), search=search) for p in toys.problems
        ]
        budget = Settings(efforts=(Effort.LOW,)).budget(Effort.LOW, n)
        found = think([replace(request, budget=budget) for request in alone], sampler)
        assert [record.answers[0] for record in shared] == [one.answer for one in found]
        assert [record.tokens[0] for record in shared] == [one.tokens for one in found]


@pytest.mark.parametrize("broken", [False, True])
def test_votes_are_read_from_chains_that_are_known(broken):
    """What they would have been had they been drawn together, and nothing is sampled for them."""
    toys, sampler = chances(30)
    if broken:  # some chains are cut off, of some problems all
        scripts = {
            p.prompt: (lambda prefix, rng: Step("1" * 999 if rng.random() < 0.6 else "0")) for p in toys.problems
        }
        scripts[toys.problems[0].prompt] = lambda prefix, rng: Step("1" * 999)
        sampler = ScriptedSampler(scripts)
    common = {"efforts": (Effort.LOW,), "samples": (16, 1, 4), "temperature": 1.0, "seed": 3}
    votes = ("majority",) if broken else ("majority", "best_of_n", "weighted_vote", "adaptive")
    fresh = evaluate([toys], Settings(searches=("single", *votes), **common), sampler)
    known = {record.asked: record for record in fresh if record.search == "single"}
    heard = []

    class Silent:
        async def extend(self, prefix, limit, samplings, hear=None):
            raise AssertionError("it was sampled again")

    again = evaluate([toys], Settings(searches=votes, **common), Silent(), known=known, on_records=heard.extend)
    assert again == [record for record in fresh if record.search != "single"]
    assert len(heard) == len(again) and {record.asked for record in heard} == {record.asked for record in again}
    assert (Ended.CUT_OFF in {record.ended[0] for record in again}) is broken
    with pytest.raises(AssertionError, match="sampled again"):  # what the record does not tell
        evaluate([toys], Settings(searches=("weighted_vote_min",), **common), Silent(), known=known)


def commuted(prefix: Prefix, rng: Random) -> Step:
    """Right in six of ten chains, in one of many spellings; else the one wrong answer that all others give."""
    terms = ["3", "4", "5*2", "1"]
    rng.shuffle(terms)
    return Step("+".join(terms) if rng.random() < 0.6 else "5*2+4*3-1", before=Rating(0.5, 0.5))


@pytest.mark.parametrize("search", ["majority", "weighted_vote", "adaptive", "dvts"])
def test_answers_in_one_form_vote_together(search):
    """A task says which answers are the same, and searches of all kinds hear it."""
    made = tuple(Problem("countdown", 2, f"{i}?", "3+4+5*2+1", {"numbers": [], "target": 18}, str(i)) for i in range(9))
    right = ProblemSet("countdown", 2, made, lambda _, text: Grade(float("-" not in text)), 9)
    same, sampler = replace(right, same=TASKS["countdown"].same), ScriptedSampler({p.prompt: commuted for p in made})
    settings = Settings(efforts=("none",), searches=(search,), samples=16, width=16, temperature=1.0)
    (apart,) = summarize(evaluate([right], settings, sampler))
    (together,) = summarize(evaluate([same], settings, sampler))
    assert (together.accuracy or 0) >= 0.7 > 0.5 > (apart.accuracy or 0)


def seed(problem: Problem) -> int:
    return seed_for("evaluate", 1, "toy", problem.id)


def test_single_chains_are_the_same_with_and_without_votes_beside_them():
    toys, sampler = chances(10)
    common = {"efforts": (Effort.LOW,), "samples": 6, "temperature": 1.0}
    alone = evaluate([toys], Settings(**common), sampler)
    beside = evaluate([toys], Settings(searches=("majority", "single"), **common), sampler)
    beside = [record for record in beside if record.search == "single"]
    assert [r.answers for r in alone] == [r.answers for r in beside] and [r.scores for r in alone] == [
        r.scores for r in beside
    ]
    assert [[t.kept for t in r.tokens] for r in alone] == [[t.kept for t in r.tokens] for r in beside]


def test_searches_with_candidates_of_their_own_are_asked_each():
    toys, sampler = chances(6)
    settings = Settings(
        efforts=(Effort.NONE, Effort.LOW),
        searches=("direct", "beam", "mcts", "revise"),
        samples=(1, 4),
        temperature=1.0,
    )
    told = []
    records = evaluate([toys], settings, sampler, on_progress=lambda *done: told.append(done))
    found = [(one.effort, one.search, one.samples) for one in summarize(records)]
    wanted = [("direct", 1), *((search, n) for search in ("beam", "mcts", "revise") for n in (1, 4))]
    assert found == [(effort, *one) for effort in (Effort.NONE, Effort.LOW) for one in wanted]
    assert told[-1] == (6 * 2 * 7, 6 * 2 * 7, 1.0) and told == sorted(told)


def test_a_lost_chain_is_undecided():
    toys, sampler = chances(1)
    bad = seed_for(seed_for(seed_for("evaluate", 0, "toy", "toy:0"), 1), 0)

    class Broken:
        async def extend(self, prefix, limit, samplings, hear=None):
            if samplings[0].seed == bad:
                raise SamplerError("out of memory")
            return await sampler.extend(prefix, limit, samplings)

    settings = Settings(efforts=(Effort.LOW,), searches=("single", "majority"), samples=3, temperature=1.0)
    single, vote = evaluate([toys], settings, Broken())
    assert single.scores[1] is None and single.notes[1] == "out of memory" and None not in vote.scores


class Sighted:
    """A rater that knows how hard a question is: the effort has to be as high as its number."""

    async def rate(self, prefixes):
        order = list(Effort)
        return [
            Rating(float(order.index(one.effort) >= 2 + int(one.messages[-1].content.split()[-1])), 1.0)
            for one in prefixes
        ]


def test_efforts_are_spent_by_the_models_plans_and_auto_chooses_among_them():
    toys, sampler = chances(3)
    plans = {Effort.MEDIUM: Plan(search="majority", samples=5, temperature=0.7), Effort.HIGH: Plan(thinking=0)}
    router = Router({Effort.LOW: 0.5, Effort.MEDIUM: 0.5, Effort.HIGH: 0.5}, Sighted())
    efforts = ("low", "medium", "high", "auto")
    settings = Settings(efforts=efforts, searches=(BY_EFFORT,), plans=plans, router=router)
    records = evaluate([toys], settings, sampler)
    assert planned([toys], settings) == len(records) == 12
    assert [record.how for record in records[::3][:3]] == ["single", "majority, 5 samples", "single"]
    assert [record.temperature for record in records[::3][:3]] == [0.0, 0.7, 0.0]
    auto = records[9:]
    assert [record.how for record in auto] == ["low: single", "medium: majority, 5 samples", "high: single"]
    assert [record.answers for record in auto] == [records[3 * place + place].answers for place in range(3)]
    assert [record.tokens for record in auto] == [records[4 * place].tokens for place in range(3)]
    assert {(record.effort, record.search, record.drawn) for record in auto} == {("auto", "effort", 1)}
    summaries = summarize(records)
    assert [(one.effort, one.n) for one in summaries] == [(effort, 3) for effort in efforts]


def test_what_is_known_is_not_computed_again():
    toys, sampler = chances(5)
    asked: list[int] = []

    class Counting:
        async def extend(self, prefix, limit, samplings, hear=None):
            asked.extend(one.seed for one in samplings)
            return await sampler.extend(prefix, limit, samplings)

    settings = Settings(efforts=(Effort.LOW,), searches=("single", "majority", "beam"), samples=(2, 4), temperature=1.0)
    new: list[int] = []
    whole = evaluate([toys], settings, Counting(), on_records=lambda records: new.append(len(records)))
    assert sum(new) == len(whole) == 5 * (1 + 2 + 2) and max(new) == 3
    known = {record.asked: record for record in whole}
    all_asked = len(asked)
    assert evaluate([toys], settings, Counting(), known=known) == whole and len(asked) == all_asked
    for changes in ({"seed": 1}, {"temperature": 0.9}, {"top_p": 0.9}, {"weights": "x"}, {"model": "y"}, {"width": 1}):
        asked.clear()
        evaluate([toys], replace(settings, **changes), Counting(), known=known)
        assert asked, changes
    asked.clear()
    part = {name: one for name, one in known.items() if (one.search, one.drawn, one.id) != ("majority", 2, "toy:3")}
    again: list[int] = []
    found = evaluate([toys], settings, Counting(), known=part, on_records=lambda records: again.append(len(records)))
    assert found == whole and again == [1] and not asked, "it is read from the single chains"
    part = {name: one for name, one in part.items() if (one.search, one.id) != ("single", "toy:3")}
    found = evaluate([toys], settings, Counting(), known=part, on_records=lambda records: again.append(len(records)))
    assert found == whole and again == [1, 2] and len(asked) == 4 * 2


def test_single_chains_know_what_they_were_rated():
    toys, sampler = chances(4)
    common = {"efforts": (Effort.LOW,), "samples": 6, "temperature": 1.0}
    alone = evaluate([toys], Settings(**common), sampler)
    beside = evaluate([toys], Settings(searches=("single", "weighted_vote"), **common), sampler)[::2]
    # In a vote, chains in equal states share the first one's rating.
    for record in (*alone, *beside):
        assert len(record.values) == 6
        assert all((value > 0.55) >= (score == 1.0) for value, score in zip(record.values, record.scores, strict=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"searches": ("bream",)}, "unknown search 'bream'"),
        ({"searches": ()}, "name a search"),
        ({"samples": ()}, "name a search"),
        ({"samples": 0}, "at least 1"),
        ({"efforts": ()}, "name a search, an effort"),
        ({"efforts": ("auto",)}, "reward head"),
        ({"searches": ("effort",), "plans": {Effort.LOW: Plan(search="majority", samples=4)}}, "give --temperature"),
        ({"searches": ("effort",), "plans": {Effort.LOW: Plan(search="single", samples=4)}}, "draws one sample"),
        ({"searches": ("beam",), "samples": (4, 6), "width": 4}, "not a multiple"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        evaluate([], Settings(**{"efforts": (Effort.LOW,), **changes}), ScriptedSampler({}))


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 3))
def test_chunks_cover_everything_once_and_progress_ends_at_the_total(count, samples, efforts):
    toys, sampler = toy_set(*(str(i) for i in range(count)))
    chosen = (Effort.NONE, Effort.MEDIUM, Effort.HIGH)[:efforts]
    told: list[tuple[int, int, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ponder.think.SIDE_BY_SIDE", 7)
        settings = Settings(efforts=chosen, samples=samples, temperature=1.0)
        records = evaluate([toys], settings, sampler, on_progress=lambda *done: told.append(done))
    assert [(r.effort, r.id) for r in records] == [(e, p.id) for e in chosen for p in toys.problems]
    assert told[-1] == (count * samples * efforts,) * 2 + (1.0,)
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert all(record.scores == (1.0,) * samples for record in records)


def test_held_out_problems_are_distinct_of_the_split_and_the_same_again():
    name = next(iter(TASKS))
    task = TASKS[name]
    for split in (Split.TEST, Split.VALIDATION):
        found = held_out(name, 1, 25, split=split).problems
        assert len({task.canonical(p.data) for p in found}) == 25
        assert all(split_of(task, p.data) is split for p in found)
        assert found == held_out(name, 1, 25, split=split).problems
    assert held_out(name, 1, 5, seed=1).problems[0].id == f"{name}:1:test:{problems.SEED_SPAN}"


def test_a_level_with_few_problems_gives_what_it_has(monkeypatch):
    few = replace(
        TASKS["countdown"],
        name="few",
        draw=lambda level, rng: {"numbers": [rng.randint(1, 40)], "target": 1},
        canonical=lambda data: str(data["numbers"]),
        phrasings=(lambda data: f"{data}",),
        answer=lambda data: "1",
        gym=None,
    )
    monkeypatch.setitem(TASKS, "few", few)
    found = held_out("few", 1, 100)
    expected = [n for n in range(1, 41) if split_of(few, {"numbers": [n]}) is Split.TEST]
    assert sorted(p.data["numbers"][0] for p in found.problems) == expected
    assert found.wanted == 100


def test_specs():
    assert parse_spec("countdown:3") == [("countdown", 3)]
    assert parse_spec("countdown") == [("countdown", 2)]
    assert parse_spec("all:2") == [(task.name, 2) for task in TASKS.values()]
    for wrong in ("countdown:", "countdown:x", "countdown:99", "countdown:٢", "nothing:2", "all:99", "", ":2"):
        with pytest.raises(ConfigError):
            parse_spec(wrong)


def test_a_file_is_grouped_by_task_and_level(tmp_path):
    lines = [
        {"task": "open", "prompt": "a?", "answer": "b"},
        {"task": "countdown", "data": {"numbers": [1, 2, 3], "target": 6}, "level": 1},
        {"task": "open", "prompt": "c?", "answer": "d"},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    opened, countdown = from_file(path)
    assert (opened.task, len(opened.problems), countdown.task, countdown.level) == ("open", 2, "countdown", 1)
    assert opened.grade(opened.problems[0], "b").right and not opened.grade(opened.problems[0], "c").right
    assert countdown.grade(countdown.problems[0], "1+2+3").right


def test_gym_problems_are_scored_by_reasoning_gym():
    gym = from_gym("products:1", 3)
    assert (gym.task, gym.level, len(gym.problems)) == ("gym:products", 1, 3)
    assert gym.grade(gym.problems[0], gym.problems[0].answer).right
    assert not gym.grade(gym.problems[0], "1").right
    with pytest.raises(ConfigError, match="not NAME:LEVEL"):
        from_gym("products:x", 3)
