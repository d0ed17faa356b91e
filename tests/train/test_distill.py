"""A student learns from right thoughts alone, the short and different ones; what was sampled is not sampled again."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.engine.scripted import ScriptedSampler
from ponder.errors import CheckpointError, ConfigError, SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.model.checkpoint import load_checkpoint
from ponder.runs import Run
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.text import format
from ponder.train import distill
from ponder.train.distill import DistillConfig, Listener, Thoughts, Yield, choose, read_thoughts, run_distill
from ponder.train.rollout import Draw, Drawn
from ponder.train.sft import SFTConfig
from ponder.types import Block, Completion, Effort, Ended, Grade, Problem, Rollout, Split, Style, Tokens


def settings(student: Path, **more: Any) -> DistillConfig:
    own = {"model": str(student), "steps": 2, "rows": 4, "dtype": "float32", "threads": 1}
    told = {"teacher": "a script", "tasks": ["multiplication:1"], "problems": 4, "samples": 2, "student": own}
    return DistillConfig.model_validate(told | more)


class Teacher:
    """Demonstrates what it is asked, but answers wrongly where the product is odd; counts what it is asked."""

    def __init__(self, summaries: bool = True, fails: int = 0) -> None:
        self.asked: list[str] = []
        self.summaries, self.fails = summaries, fails

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: list[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        prompt = prefix.messages[-1].content
        self.asked.append(prompt)
        if len(self.asked) <= self.fails:
            raise SamplerError("the server is away")
        problem = next(one for one in PROBLEMS if one.prompt == prompt)
        shown = TASKS["multiplication"].demonstrate(problem, rng_for("teacher"), Style.CLEAN)
        blocks = shown.blocks if self.summaries else tuple(Block("", block.thoughts, "") for block in shown.blocks)
        answer = shown.answer if int(shown.answer) % 2 == 0 else "1"
        return await ScriptedSampler({prompt: format.render(blocks, answer)}).extend(prefix, limit, samplings)


PROBLEMS: list[Problem] = []


@pytest.fixture(autouse=True)
def problems() -> None:
    """The first problems of a distillation, which the teacher knows."""
    if not PROBLEMS:
        for index in range(4):
            number = rng_for("rollouts", 0, Split.TRAIN, index).getrandbits(48)
            PROBLEMS.append(make(TASKS["multiplication"], 1, Split.TRAIN, number))
        assert 0 < sum(int(one.answer) % 2 for one in PROBLEMS) < 4, "some must be even and some odd"


# --- choosing ---------------------------------------------------------------------------------------------------------

BLOCKS = st.lists(st.builds(Block, st.sampled_from("ab"), st.text(max_size=3), st.sampled_from("xy")), max_size=3)


@given(
    st.lists(st.tuples(BLOCKS, st.sampled_from([1.0, 0.0, None]), st.integers(1, 50)), max_size=12), st.integers(1, 4)
)
def test_right_short_and_different_thoughts_are_chosen(
    found: list[tuple[list[Block], float | None, int]], most: int
) -> None:
    drawn: list[Drawn] = []
    for blocks, score, tokens in found:
        problem = Problem("letters", 1, "?", "1")
        completion = Completion(tuple(blocks), "1", Ended.ANSWERED, Tokens(1, tokens, 1))
        drawn.append(Drawn(Draw(problem, Effort.LOW, 0), Rollout(problem, completion, (), Grade(score)), None))

    def said(one: Drawn) -> tuple[tuple[str, str], ...]:
        return tuple((block.headline, block.summary) for block in one.rollout.completion.blocks)

    kept = choose(drawn, most)
    right = [one for one in drawn if one.rollout.grade.right]
    assert len(kept) == min(most, len({said(one) for one in right})) == len({said(one) for one in kept})
    lengths = [one.rollout.completion.tokens.kept for one in kept]
    assert all(one.rollout.grade.right for one in kept) and lengths == sorted(lengths)
    best = sorted(
        min(one.rollout.completion.tokens.kept for one in right if said(one) == told)
        for told in {said(one) for one in right}
    )
    assert lengths == best[:most], "of those that say the same the shortest, and of all of them the shortest"


# --- the whole --------------------------------------------------------------------------------------------------------


def test_the_student_learns_what_was_right(taught: Path, tmp_path: Path) -> None:
    teacher, heard = Teacher(), list[Yield]()
    out = tmp_path / "small"
    listener = Listener(sampled=lambda done, total, came: heard.append(came))
    folder = run_distill(settings(taught), out, sampler=teacher, listener=listener)
    even = [one for one in PROBLEMS if int(one.answer) % 2 == 0]
    assert heard == [Yield(sampled=8, right=2 * len(even), kept=len(even))], "equal thoughts of a problem are one"
    (came,) = Run(out).metrics()
    assert came["kept"] == len(even) and len(Run(out / "student").metrics()) >= 1
    _, thoughts = read_thoughts(out / "thoughts" / "00000.jsonl")
    assert [one["prompt"] for one in thoughts] == [one.prompt for one in even]
    checkpoint = load_checkpoint(folder)
    assert checkpoint.config.name == "small" and checkpoint.config.tasks == ("multiplication:1",)
    asked = len(teacher.asked)
    run_distill(settings(taught), out, sampler=teacher, listener=listener)
    assert len(teacher.asked) == asked, "the same command does nothing twice"


def test_rows_are_thoughts_and_demonstrations(taught: Path, tmp_path: Path) -> None:
    records = [
        {"prompt": f"number {n}", "effort": "low", "blocks": [["look", "at it", f"{n}"]], "answer": str(n)}
        for n in range(5)
    ]
    lines = [vars(Yield(kept=5)), *records]
    (tmp_path / "00000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    tokenizer = load_checkpoint(taught).own()[1]
    config = SFTConfig(tasks={"multiplication:1": 1.0}, rows=8, seed=3)
    source = Thoughts(tmp_path, 0.25, 5)
    seen: list[str] = []
    for step in range(5):
        rows = source(config, tokenizer, step)
        assert len(rows) == 8 and rows == source(config, tokenizer, step), "a step's rows follow from its number"
        texts = [tokenizer.decode(row.ids) for row in rows]
        assert all("number" in text for text in texts[:6]) and not any("number" in text for text in texts[6:])
        seen += [text.split("number ")[1][0] for text in texts[:6]]
    assert all(sorted(seen[at : at + 5]) == list("01234") for at in range(0, 30, 5)), "each once an epoch"
    assert seen[:5] != seen[5:10] or seen[5:10] != seen[10:15]


def test_stopped_between_files_it_goes_on(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill, "CHUNK", 2)

    class Stop(Exception):
        pass

    def stop(done: int, total: int, came: Yield) -> None:
        if done == 1:
            raise Stop

    first = Teacher()
    with pytest.raises(Stop):
        run_distill(settings(taught), tmp_path, sampler=first, listener=Listener(sampled=stop))
    assert set(first.asked) == {one.prompt for one in PROBLEMS[:2]}
    second = Teacher()

    class Enough(Exception):
        pass

    def taught_now(start: Any) -> None:
        raise Enough

    with pytest.raises(Enough):
        run_distill(settings(taught), tmp_path, sampler=second, listener=Listener(start=taught_now))
    assert set(second.asked) == {one.prompt for one in PROBLEMS[2:]}
    (tmp_path / "thoughts" / "00001.jsonl").write_text('{"kept": 3}\n')
    with pytest.raises(CheckpointError, match=r"00001.jsonl is damaged \(0 thoughts, not 3\)"):
        run_distill(settings(taught), tmp_path, sampler=second)


def test_a_server_that_fails_now_and_then_costs_those_thoughts(taught: Path, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def started(start: Any) -> None:
        raise Enough

    heard: list[Yield] = []
    listener = Listener(sampled=lambda done, total, came: heard.append(came), start=started)
    with pytest.raises(Enough):
        run_distill(settings(taught), tmp_path / "some", sampler=Teacher(fails=3), listener=listener)
    assert heard[0].lost == 3 and heard[0].sampled == 8
    with pytest.raises(SamplerError, match="the server is away"):
        run_distill(settings(taught), tmp_path / "all", sampler=Teacher(fails=10**6))


def test_what_does_not_fit_is_refused(taught: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in no blocks with summaries"):
        run_distill(settings(taught), tmp_path / "one", sampler=Teacher(summaries=False))
    odd = DistillConfig.model_validate(settings(taught).model_dump() | {"teacher": str(taught)})
    with pytest.raises(ConfigError, match="none of 8 thoughts was right"):
        run_distill(odd, tmp_path / "two")
    with pytest.raises(ConfigError, match="leave no room for thoughts"):
        run_distill(settings(taught, demonstrations=0.99), tmp_path / "three", sampler=Teacher())
    with pytest.raises(CheckpointError, match="no model directory"):
        run_distill(settings(tmp_path / "none"), tmp_path / "four", sampler=Teacher())
    assert not (tmp_path / "three").exists() and not (tmp_path / "four").exists()
