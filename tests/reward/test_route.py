"""Effort auto: the cheapest effort that is predicted to do."""

import asyncio
from itertools import product

from ponder.reward.route import Router, chosen
from ponder.types import Effort, Message, Rating

THRESHOLDS = {Effort.HIGH: 0.0, Effort.LOW: 0.8, Effort.MEDIUM: 0.6}


def test_the_first_effort_whose_value_is_enough():
    for low, medium in product((0.0, 0.59, 0.6, 0.79, 0.8, 1.0), repeat=2):
        expected = Effort.LOW if low >= 0.8 else Effort.MEDIUM if medium >= 0.6 else Effort.HIGH
        assert chosen({Effort.LOW: low, Effort.MEDIUM: medium}, THRESHOLDS) is expected


def test_values_are_read_at_each_efforts_token_before_anything_is_thought():
    asked = []

    class Rater:
        async def rate(self, prefixes):
            asked.extend(prefixes)
            easy = {"easy": 0.9, "middle": 0.7, "hard": 0.1}
            return [Rating(easy[one.messages[-1].content], 0.0) for one in prefixes]

    questions = [(Message("user", text),) for text in ("hard", "easy", "middle")]
    found = asyncio.run(Router(THRESHOLDS, Rater()).choose(questions))
    assert found == [Effort.HIGH, Effort.LOW, Effort.MEDIUM]
    assert [one.effort for one in asked] == [Effort.LOW, Effort.MEDIUM] * 3
    assert all(one.blocks == () and not one.answering for one in asked)
    assert asyncio.run(Router({Effort.LOW: 0.5}, Rater()).choose(questions)) == [Effort.LOW] * 3 and len(asked) == 6
