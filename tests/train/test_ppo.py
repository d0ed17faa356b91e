"""Advantages over blocks by golden numbers; the head learns what it is called, and the policy by its baseline."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder.model.checkpoint import load_checkpoint, save_checkpoint
from ponder.model.heads import new_head
from ponder.runs import Run
from ponder.tasks import TASKS, make
from ponder.train.advantages import Scored
from ponder.train.ppo import Ppo, advantages
from ponder.train.rewards import Reward
from ponder.train.rl import Listener, RLConfig, run_rl
from ponder.train.rollout import Draw, Drawn
from ponder.train.sft import Start
from ponder.types import Block, Completion, Effort, Ended, Grade, Problem, Rating, Rollout, Segment, Split

PROBLEM = make(TASKS["letters"], 1, Split.TRAIN, 0)


def test_credit_goes_back_block_by_block() -> None:
    values = [0.5, 0.75, 0.25]
    assert advantages(values, 1.0, 0.0) == pytest.approx([0.25, -0.5, 0.75]), "what the next value says"
    assert advantages(values, 1.0, 1.0) == pytest.approx([0.5, 0.25, 0.75]), "what came of it"
    assert advantages(values, 1.0, 0.5) == pytest.approx([0.25 + 0.5 * (-0.5 + 0.5 * 0.75), -0.5 + 0.375, 0.75])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.0, 1.0]), st.floats(0, 1))
def test_what_a_value_should_have_been_is_a_probability(values: list[float], end: float, decay: float) -> None:
    for value, more in zip(values, advantages(values, end, decay), strict=True):
        assert -1e-9 <= value + more <= 1 + 1e-9


def one(right: bool | None, *values: float, more: float = 0.0) -> Scored:
    segments = tuple(Segment((1, 2), (3,) * 4, (-0.5,) * 4, (99, 9)) for _ in range(len(values) - 1))
    completion = Completion((Block("", "", ""),) * (len(values) - 2), "3", Ended.ANSWERED)
    grade = Grade(None if right is None else float(right))
    ratings = tuple(Rating(value, 0.5) for value in values)
    drawn = Drawn(Draw(PROBLEM, Effort.LOW, 0), Rollout(PROBLEM, completion, segments, grade), ratings)
    return Scored(drawn, Reward({} if right is None else {"outcome": float(right), "length": more}))


def test_every_decided_rollout_is_a_lesson() -> None:
    groups = [[one(True, 0.5, 0.75, 0.9), one(None, 0.5, 0.5, 0.5)], [one(False, 0.5, 0.25, 0.1, more=-0.1)]]
    lessons = Ppo(decay=1.0, length=8, value_weight=0.5).lessons(groups, lambda forks: [])
    assert [lesson.advantages for lesson in lessons] == [
        pytest.approx((0.5 + 0.05, 0.25 + 0.05)),
        pytest.approx((-0.5 - 0.05, -0.25 - 0.05)),
    ], "what is not the outcome counts by how unusual it is"
    assert [[label.value for label in lesson.labels] for lesson in lessons] == [[1.0] * 3, [0.0] * 3]
    assert lessons[0].labels[-1].validity == 1.0 and lessons[0].labels[1].validity is not None
    assert {(lesson.weight, lesson.terms, lesson.label_weight) for lesson in lessons} == {(1 / 8, 1, 0.5)}
    assert Ppo().lessons([[one(None, 0.5, 0.5)]], lambda forks: []) == []


TINY: dict[str, Any] = {
    "tasks": ("multiplication:1",),
    "algorithm": "ppo",
    "options": {"length": 8},
    "efforts": ("low", "none"),
    "thinking": 24,
    "answer": 6,
    "problems": 16,
    "samples": 4,
    "steps": 14,
    "learning_rate": 3e-3,
    "threads": 1,
    "workers": 1,
    "length_weight": 0.0,
}


def odd(problem: Problem, completion: Completion) -> Grade:
    return Grade(float("3" in completion.answer or "7" in completion.answer))


@pytest.mark.parametrize("begins", ["fresh", "given"])
def test_policy_and_head_learn(taught: Path, tmp_path: Path, begins: str) -> None:
    model, said = taught, list[Start]()
    if begins == "given":
        found, head, model = load_checkpoint(taught), new_head(32), tmp_path / "rated"
        with torch.no_grad():
            head.outer.bias.copy_(torch.tensor([3.0, 0.0]))
        save_checkpoint(replace(found, head=head), model)
    config = RLConfig.model_validate({"model": str(model), **TINY})
    folder = run_rl(config, tmp_path / "run", grader=odd, listener=Listener(start=said.append))
    records = [record for record in Run(tmp_path / "run").metrics() if "degenerate" in record]
    assert ("it has no reward head: a fresh one" if begins == "fresh" else "its reward head is trained") in said[
        0
    ].reason
    late = sum(record["success"] for record in records[-3:]) / 3
    assert late > records[0]["success"] + 0.2
    assert max(record["gap"] for record in records) < 1e-4
    if begins == "given":
        assert records[0]["optimism"] > 0.3 > abs(records[-1]["optimism"]), "it was far too sure"
    assert records[0]["value_error"] > records[-1]["value_error"] and records[-1]["label_loss"] > 0
    head = load_checkpoint(folder).head
    assert head is not None and all(bool(p.abs().max() > 0) for p in head.parameters())


def test_stopped_it_ends_with_the_same_bits_of_the_head_too(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from ponder.train import loop

    config = RLConfig.model_validate({"model": str(taught), **TINY, "steps": 4, "problems": 4, "updates": 2})
    run_rl(config, tmp_path / "whole", grader=odd)
    monkeypatch.setitem(loop.LoopConfig.__init__.__kwdefaults__, "save_seconds", 0.0)
    steps = itertools.count(1)

    def stop(*_: object) -> None:
        if next(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_rl(config, tmp_path / "broken", grader=odd, listener=Listener(step=stop))
    run_rl(config, tmp_path / "broken", grader=odd)
    for file in ("model.safetensors", "heads.safetensors"):
        one, other = (load_file(tmp_path / name / "checkpoint" / file) for name in ("whole", "broken"))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
