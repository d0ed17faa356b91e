"""Evaluation with scripts for a model: what is right, wrong, cut off and undecided is known by hand."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.engine.scripted import ScriptedSampler
from ponder.errors import ConfigError
from ponder.evaluate import problems
from ponder.evaluate.problems import ProblemSet, from_file, from_gym, held_out, parse_spec
from ponder.evaluate.run import Settings, evaluate, summarize
from ponder.tasks import TASKS, split_of
from ponder.text import format
from ponder.types import Block, Effort, Ended, Grade, Problem, Split

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


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 3))
def test_chunks_cover_everything_once_and_progress_ends_at_the_total(count, samples, efforts):
    toys, sampler = toy_set(*(str(i) for i in range(count)))
    chosen = (Effort.NONE, Effort.MEDIUM, Effort.HIGH)[:efforts]
    told: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ponder.think.SIDE_BY_SIDE", 7)
        settings = Settings(efforts=chosen, samples=samples, temperature=1.0)
        records = evaluate([toys], settings, sampler, on_progress=lambda *done: told.append(done))
    assert [(r.effort, r.id) for r in records] == [(e, p.id) for e in chosen for p in toys.problems]
    assert told[-1] == (count * samples * efforts,) * 2 and told == sorted(told)
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
