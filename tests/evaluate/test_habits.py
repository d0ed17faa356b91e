"""Habits are told by the notations, wrong blocks are really wrong, and self-correction is measured from them."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.engine.scripted import ScriptedSampler, Step
from ponder.errors import ProblemError
from ponder.evaluate.habits import Habits, kinds_of, probe, read_probes, summarize_habits, wrong_start
from ponder.evaluate.problems import ProblemSet, held_out
from ponder.interfaces import Prefix
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.types import Block, Effort, Ended, Split, Style


@pytest.mark.parametrize(
    ("headline", "summary", "kinds"),
    [
        ("check 9716", "ok", {"verify"}),
        ("check 163915", "6 not 7, start over", {"verify", "backtrack"}),
        ("again 815-176", "639+883", {"verify", "backtrack"}),
        ("h = s % 9 again", " s=53", {"verify"}),
        ("too big", "4r=-16", {"backtrack"}),
        ("fix c1", "__1_/1_23", {"backtrack"}),
        ("test atbash", "not atbash", {"subgoal", "backtrack"}),
        ("57-19:17,13;8", "no", {"subgoal", "backtrack"}),
        ("make 38", "19,17,13,8", {"subgoal"}),
        ("A yes B no", "all hold", {"subgoal"}),
        ("347*8", "277'6 left 2", set()),
        ("a1 a2", "3_1_/1_23", set()),
    ],
)
def test_habits_are_told_by_the_notations(headline: str, summary: str, kinds: set[str]) -> None:
    assert kinds_of(Block(headline, "", summary)) == kinds


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_block(headline: str, summary: str) -> None:
    assert kinds_of(Block(headline, "", summary)) <= {"verify", "backtrack", "subgoal"}


@pytest.mark.parametrize("name", TASKS)
def test_the_forced_block_is_wrong_and_those_before_it_are_not(name: str) -> None:
    problems = [make(TASKS[name], 2, Split.VALIDATION, index) for index in range(6)]
    found = [(problem, start) for problem in problems if (start := wrong_start(problem))]
    assert len(found) >= 4, "most problems have a demonstration with a mistake"
    for problem, (given_blocks, wrong) in found:
        checks = TASKS[name].check_blocks(problem, (*given_blocks, wrong))
        assert [check.valid is False for check in checks] == [False] * len(given_blocks) + [True]
        assert wrong_start(problem) == (given_blocks, wrong)


@pytest.fixture
def problems() -> ProblemSet:
    return held_out("program", 1, 3)


def forgiving(problems: ProblemSet, corrects: bool) -> ScriptedSampler:
    """Answers rightly; after a wrong block only where it corrects, and then it takes a block to say so."""
    scripts = {}
    for problem in problems.problems:
        start = wrong_start(problem)
        assert start

        def play(prefix: Prefix, rng: Random, wrong: Block = start[1], answer: str = problem.answer) -> Step:
            if wrong not in prefix.blocks:
                return Step(answer, ended=Ended.ANSWERED)
            if not corrects:
                return Step("nonsense", ended=Ended.ANSWERED)
            if prefix.blocks[-1] == wrong:
                return Step(Block("start over", "", "start over"))
            return Step(answer, ended=Ended.ANSWERED)

        scripts[problem.prompt] = play
    return ScriptedSampler(scripts)


@pytest.mark.parametrize("corrects", [True, False])
def test_self_correction_is_measured(problems: ProblemSet, corrects: bool) -> None:
    how = Habits(model="m", weights="w", temperature=0.5)
    found, left_out = probe([problems], how, forgiving(problems, corrects))
    assert len(found) == 3 and left_out == 0
    per_task, total = summarize_habits(found)
    assert (per_task.task, total.task, total.n) == ("program:1", "all", 3)
    for one in (per_task, total):
        assert one.right["free"].share == one.right["before"].share == 1
        assert one.right["wrong"].share == corrects and one.changed.share == (not corrects)
        assert one.backtracks.share == corrects and one.blocks == 0
        assert one.right["wrong"].low < one.right["wrong"].high
    assert json.dumps(total.to_json())
    attempt = found[0].attempts["wrong"]
    assert attempt.blocks == corrects and attempt.kinds["backtrack"] == corrects, (
        "forced blocks are not the model's own"
    )


def test_what_was_probed_is_not_probed_again(problems: ProblemSet, tmp_path: Path) -> None:
    how, path = Habits(model="m", weights="w"), tmp_path / "habits.jsonl"
    whole, _ = probe([problems], how, forgiving(problems, True))
    path.write_text(whole[0].line() + whole[1].line() + whole[2].line()[:40], encoding="utf-8")
    known = read_probes(path)
    assert known == whole[:2]
    new: list[str] = []
    again, _ = probe([problems], how, forgiving(problems, True), known=known, on_probe=lambda one: new.append(one.id))
    assert again == whole and new == [whole[2].id]
    other = Habits(model="m", weights="w2", effort=Effort.LOW)
    probe([problems], other, forgiving(problems, False), known=known, on_probe=lambda one: new.append(one.id))
    assert len(new) == 4, "other weights are asked anew"
    path.write_text('{"model": 1}\n', encoding="utf-8")
    with pytest.raises(ProblemError, match="habits.jsonl:1 is no probe"):
        read_probes(path)
    assert read_probes(tmp_path / "none") == []


def test_all_styles_of_demonstrations_have_their_habits() -> None:
    """Corrected demonstrations give something up more often than clean ones: the words are those of the tasks."""
    counts = {Style.CLEAN: 0, Style.CORRECTED: 0}
    for name, task in TASKS.items():
        for index in range(4):
            problem = make(task, 2, Split.VALIDATION, index)
            for style in counts:
                shown = task.demonstrate(problem, rng_for("habits", name, index), style)
                counts[style] += sum("backtrack" in kinds_of(block) for block in shown.blocks)
    assert counts[Style.CORRECTED] > 1.2 * counts[Style.CLEAN]
