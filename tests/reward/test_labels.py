"""Monte-Carlo labels: exact shares and costs, no state asked twice, and a binary search that finds the same block."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.engine.scripted import ScriptedSampler
from ponder.errors import ConfigError, SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.reward.boundary import Label
from ponder.reward.exact import grade_completion
from ponder.reward.labels import Cost, MonteCarlo, MonteCarloLabels, continue_from, folded_state
from ponder.seeds import rng_for
from ponder.text.effort import Budget
from ponder.text.format import render
from ponder.types import Block, Completion, Effort, Ended, Grade, Message, Problem, Segment, Tokens

PROBLEM = Problem("open", 0, "What is 6 * 7?", "42", id="q")
MESSAGES = (Message("user", PROBLEM.prompt),)
THOUGHT = tuple(Block(f"step {n}", "some work", f"so {n}") for n in range(4))
SCRIPT = render(THOUGHT, "42")


@dataclass
class World:
    """A sampler of one-token blocks that answers after `length` of them: wrong if any block is bad, and else right
    with a chance."""

    length: int = 6
    chance: float = 1.0
    calls: int = 0
    open: int = 0
    most_open: int = 0
    seeds: list[int] = field(default_factory=list[int])

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        self.calls += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        self.seeds += [one.seed for one in samplings]
        return [self.one(prefix, one) for one in samplings]

    def one(self, prefix: Prefix, sampling: Sampling) -> Extension:
        segment = Segment((1,), (2,), (0.0,))
        if len(prefix.blocks) < self.length and not prefix.answering:
            return Extension(Block(f"step {len(prefix.blocks)}", "", "fine"), None, None, segment)
        lost = any(block.summary == "bad" for block in prefix.blocks)
        right = not lost and rng_for("world", sampling.seed).random() < self.chance
        return Extension(None, "42" if right else "41", Ended.ANSWERED, segment)


def thought(length: int, bad: int | None = None) -> Completion:
    """A completion whose block `bad` loses it."""
    blocks = tuple(Block(f"step {n}", "", "bad" if n == bad else f"fine {n}") for n in range(length))
    return Completion(blocks, "42" if bad is None else "41", Ended.ANSWERED)


def labelled(carlo: MonteCarlo, completion: Completion, search: str) -> MonteCarloLabels:
    grade = grade_completion(PROBLEM, completion)
    return asyncio.run(carlo.label(PROBLEM, Effort.LOW, completion, grade, search))


def test_a_script_is_continued_to_its_end_and_counted() -> None:
    carlo = MonteCarlo(ScriptedSampler({PROBLEM.prompt: SCRIPT}), grade_completion, continuations=3)
    found = labelled(carlo, Completion(THOUGHT, "42", Ended.ANSWERED), "linear")
    assert found.labels == (Label(1.0), *(Label(1.0, 1.0),) * 4, Label(1.0, 1.0)) and found.first_bad is None
    # A script's tokens are its characters: from boundary b, blocks b to 3 and the answer, three times.
    blocks = [len(render((block,), "")) - len(render((), "")) for block in THOUGHT]
    tokens = sum(3 * (sum(blocks[b:]) + 2) for b in range(5))
    assert found.cost == carlo.cost == Cost(continuations=15, tokens=tokens)


@given(st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), st.none() | st.integers(0, max(0, n - 1)))))
def test_binary_search_finds_the_block_that_the_scan_finds(case: tuple[int, int | None]) -> None:
    length, bad = case
    completion = thought(length, bad if length else None)
    scan = labelled(MonteCarlo(World(12), grade_completion, 2), completion, "linear")
    search = labelled(MonteCarlo(World(12), grade_completion, 2), completion, "binary")
    assert search.first_bad == scan.first_bad == (bad if length else None)
    assert [label.validity for label in search.labels] == [label.validity for label in scan.labels]
    known = [1.0] * (length if bad is None else min(length, bad)) + ([0.0] if length and bad is not None else [])
    assert [label.validity for label in scan.labels[1:-1]] == known + [None] * (length - len(known))
    assert scan.cost.continuations == 2 * (length + 1)
    assert search.cost.continuations <= min(scan.cost.continuations, 2 * (2 + length.bit_length()))
    asked = [label.value for label in search.labels[:-1] if label.value is not None]
    assert 2 * len(asked) == search.cost.continuations


def test_a_problem_that_is_never_solved_says_nothing_of_its_blocks() -> None:
    found = labelled(MonteCarlo(World(chance=0.0), grade_completion, 4), thought(5, 3), "binary")
    assert found.first_bad is None and found.cost.continuations == 4
    assert found.labels == (Label(0.0), *(Label(None, None),) * 5, Label(0.0, 0.0))


def test_soft_is_the_share_and_hard_is_any() -> None:
    world = World(chance=0.3)
    found = labelled(MonteCarlo(world, grade_completion, 200), thought(2), "linear")
    for label in found.labels[:-1]:
        assert label.value and 0.2 < label.value < 0.4
        assert label.validity in (None, 1.0)
    assert len(set(world.seeds)) == len(world.seeds), "a seed was used twice"


def test_equal_states_are_asked_once() -> None:
    carlo = MonteCarlo(World(), grade_completion, 4)
    first = labelled(carlo, thought(3), "linear")
    again = labelled(carlo, thought(3), "linear")
    assert again.labels == first.labels and again.cost == Cost(reused=4)
    other = labelled(carlo, thought(3, 2), "linear")  # two blocks are the same, then it differs
    assert other.cost.continuations == 4 and other.cost.reused == 3
    assert carlo.cost == first.cost + again.cost + other.cost
    # Where blocks fold and one stays, thoughts and earlier blocks make no other state.
    carlo = MonteCarlo(World(), grade_completion, 4, state=folded_state(1))
    labelled(carlo, thought(3), "linear")
    blocks = (Block("another", "way", "round"), Block("step 2", "other work", "fine 2"))
    found = labelled(carlo, Completion(blocks, "42", Ended.ANSWERED), "linear")
    assert found.cost.continuations == 4 and found.cost.reused == 2


def test_labels_depend_on_the_seed_alone() -> None:
    def values(seed: int, side_by_side: int) -> list[float | None]:
        carlo = MonteCarlo(World(chance=0.5), grade_completion, 8, seed=seed, side_by_side=side_by_side)
        return [label.value for label in labelled(carlo, thought(6), "linear").labels]

    assert values(0, 1) == values(0, 64) != values(1, 64)


def test_many_boundaries_are_asked_at_once_but_not_too_many() -> None:
    world = World()
    labelled(MonteCarlo(world, grade_completion, 1, side_by_side=3), thought(5), "linear")
    assert world.most_open == 3


def test_undecided_grades_are_left_out() -> None:
    def grade(problem: Problem, completion: Completion) -> Grade:
        return Grade(None) if completion.answer == "41" else Grade(1.0)

    found = labelled(MonteCarlo(World(chance=0.5), grade, 16), thought(2), "linear")
    assert [label.value for label in found.labels[:-1]] == [1.0] * 3
    found = labelled(MonteCarlo(World(chance=0.0), grade, 4), thought(2), "linear")
    assert [label.value for label in found.labels[:-1]] == [None] * 3


def test_a_continuation_keeps_its_budget_and_always_answers() -> None:
    async def run(budget: Budget, blocks: int = 0) -> Completion:
        prefix = Prefix(MESSAGES, Effort.LOW, thought(blocks).blocks)
        (found,) = await continue_from(prefix, World(length=1000), [Sampling()], budget)
        return found

    assert len(asyncio.run(run(Budget(20))).blocks) == 13  # with less than 8 tokens left no block is begun
    assert len(asyncio.run(run(Budget(100, depth=5))).blocks) == 5
    assert len(asyncio.run(run(Budget(100, depth=5), blocks=9)).blocks) == 0
    at_once = asyncio.run(run(Budget(0)))
    assert at_once.blocks == () and at_once.ended is Ended.ANSWERED and at_once.tokens == Tokens(prompt=1, answer=1)


def test_a_sampler_that_fails_is_an_error() -> None:
    carlo = MonteCarlo(ScriptedSampler({}), grade_completion)
    with pytest.raises(SamplerError, match="no script"):
        labelled(carlo, thought(2), "linear")
    with pytest.raises(ConfigError, match="unknown search 'ternary'"):
        labelled(carlo, thought(2), "ternary")
    with pytest.raises(ConfigError, match="at least one"):
        MonteCarlo(World(), grade_completion, continuations=0)
