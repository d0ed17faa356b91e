"""The reward head and what it is told of a model's doubts."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder.model.heads import DOUBTS, doubts, new_head
from ponder.types import Surprise

LOGPROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=9)


def test_a_new_head_says_one_half() -> None:
    head = new_head(8)
    said = head(torch.randn(3, 8), torch.rand(3, DOUBTS)).sigmoid()
    assert torch.equal(said, torch.full((3, 2), 0.5))
    assert torch.equal(head.inner.weight, new_head(8).inner.weight)


@given(st.lists(LOGPROBS, min_size=1, max_size=5))
def test_doubts_tell_of_the_last_block_and_of_the_chain(chain: list[list[float]]) -> None:
    told = [math.expm1(number) for number in doubts([Surprise.of(logprobs) for logprobs in chain])]
    least = [-min(logprobs) for logprobs in chain]
    sums = [-sum(logprobs) for logprobs in chain]
    expected = [least[-1], sums[-1], max(least), sum(least), sum(sums), len(chain)]
    assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) for a, b in zip(told, expected, strict=True))


def test_nothing_written_and_what_others_wrote_surprise_nobody() -> None:
    assert doubts([]) == [0.0] * DOUBTS
    assert doubts([None]) == doubts([Surprise.of([0.0, 0.0])])
