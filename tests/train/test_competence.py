"""Practice stays at the edge: what is always or never solved is seldom asked, and levels open as they are learned."""

import json
from collections import Counter

import pytest

from ponder.seeds import rng_for
from ponder.train.competence import REST, Competence

LEVELS = [("countdown", 2), ("countdown", 1), ("letters", 2)]


def test_levels_open_one_after_the_other() -> None:
    levels = Competence(LEVELS)
    assert levels.unlocked == {("countdown", 1), ("letters", 2)}
    assert {levels.choose(rng_for("c", n)) for n in range(50)} == levels.unlocked
    levels.learn(("countdown", 1), 0.6)
    assert ("countdown", 2) not in levels.unlocked
    levels.learn(("countdown", 1), 1.0)
    levels.learn(("countdown", 1), 1.0)
    assert levels.success["countdown", 1] == pytest.approx(0.775) and ("countdown", 2) in levels.unlocked
    for _ in range(30):
        levels.learn(("countdown", 1), 0.0)
    assert ("countdown", 2) in levels.unlocked, "what is open stays open"


def test_all_may_be_open_at_once() -> None:
    assert Competence(LEVELS, 0.0).unlocked == set(LEVELS)


def test_the_edge_is_practised() -> None:
    levels = Competence(LEVELS)
    for level, share in ((("countdown", 1), 1.0), (("letters", 2), 0.5), (("countdown", 2), 0.05)):
        levels.learn(level, share)
        assert levels.weight(level) == (level in levels.unlocked), "one group does not close a level"
        for _ in range(30):
            levels.learn(level, share)
    assert [levels.weight(level) for level in levels.levels] == [REST, REST, 1.0]
    chosen = Counter(levels.choose(rng_for("edge", n)) for n in range(400))
    assert chosen["letters", 2] > 330 and min(chosen.values()) > 0, "the others are still seen now and then"


def test_its_state_is_plain_json() -> None:
    levels = Competence(LEVELS)
    for n in range(7):
        levels.learn(LEVELS[n % 2], n / 7)
    other = Competence(LEVELS)
    other.restore(json.loads(json.dumps(levels.state())))
    assert (other.success, other.groups, other.unlocked) == (levels.success, levels.groups, levels.unlocked)
    assert [other.choose(rng_for(n)) for n in range(9)] == [levels.choose(rng_for(n)) for n in range(9)]
