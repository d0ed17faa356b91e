"""Drawing: the right frequencies, from seeds alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder.engine.sampling import Draws, draw, uniforms


def draws(n: int, **settings: torch.Tensor) -> Draws:
    """n rows of seeds 0, 1, 2, … at temperature 1, but for what is given."""
    ones, zeros = torch.ones(n), torch.zeros(n, dtype=torch.long)
    return Draws(ones, ones, zeros, torch.zeros(n), torch.arange(n), zeros)._replace(**settings)


def test_uniforms_are_uniform_and_unrelated_to_their_neighbours() -> None:
    seeds = torch.arange(20_000)
    values = uniforms(seeds, torch.zeros_like(seeds))
    assert values.min() > 0 and values.max() < 1
    counts = torch.histc(values, 20, 0, 1)
    assert ((counts - 1_000).abs() < 160).all()  # five standard deviations
    assert torch.corrcoef(torch.stack((values[:-1], values[1:])))[0, 1].abs() < 0.03
    assert not torch.equal(values, uniforms(seeds, torch.ones_like(seeds)))


def test_frequencies_follow_the_probabilities() -> None:
    n = 20_000
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(n, 1)
    ones = torch.ones(n)
    drawn = draw(logits, draws(n))
    shares = torch.bincount(drawn, minlength=4) / n
    assert (shares - torch.tensor([0.5, 0.3, 0.15, 0.05])).abs().max() < 0.02
    top = draw(logits, draws(n, top_ps=0.79 * ones))
    assert top.max() == 1, "0.5 + 0.3 reach 0.79: the others are cut"
    hot = draw(logits, draws(n, temperatures=100 * ones))
    assert (torch.bincount(hot, minlength=4) / n - 0.25).abs().max() < 0.02


def test_temperature_zero_takes_the_likeliest_beside_others_that_draw() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0]] * 50)
    temperatures = torch.tensor([0.0, 1.0] * 25)
    drawn = draw(logits, draws(50, temperatures=temperatures))
    assert (drawn[::2] == 1).all() and (drawn[1::2] != 1).any()


@pytest.mark.parametrize("size", [5000, 5120])
def test_a_large_vocabulary_is_drawn_from_as_a_small_one(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By blocks, in float32: the same tokens, forbidden ones never, whole forbidden blocks included."""
    n = 300
    logits = 4 * torch.randn(n, size, generator=torch.Generator().manual_seed(1))
    logits[:, 100:1000], logits[:, ::3], logits[:7, :-1] = -torch.inf, -torch.inf, -torch.inf
    top_ps = torch.tensor([1.0, 0.8, 0.5] * (n // 3))
    ways = draws(n), draws(n, top_ps=top_ps), draws(n, temperatures=torch.tensor([0.0, 2.0] * (n // 2)))
    by_blocks = [draw(logits, how) for how in ways]
    monkeypatch.setattr("ponder.engine.sampling.WIDE", size + 1)
    for found, how in zip(by_blocks, ways, strict=True):
        assert torch.equal(found, draw(logits, how))
        assert logits.gather(1, found[:, None]).isfinite().all() and len(set(found.tolist())) > 100


def test_forbidden_tokens_are_never_drawn() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 0.0]] * 500)
    drawn = draw(logits, draws(500))
    assert set(drawn.tolist()) == {0, 2}


def test_the_likeliest_token_stays_whatever_is_cut() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 2.0]] * 20)
    zeros, ones = torch.zeros(20), torch.ones(20)
    for how in (draws(20, top_ps=zeros), draws(20, top_ks=ones.long()), draws(20, min_ps=ones)):
        assert (draw(logits, how) == 2).all()


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12, unique=True),
    st.integers(0, 13),
    st.floats(0, 1),
    st.floats(0.01, 1),
    st.floats(0.1, 3),
)
def test_what_is_drawn_is_among_the_likeliest(
    values: list[float], top_k: int, min_p: float, top_p: float, temperature: float
) -> None:
    n = 64
    how = draws(
        n,
        top_ks=torch.full((n,), top_k),
        min_ps=torch.full((n,), min_p),
        top_ps=torch.full((n,), top_p),
        temperatures=torch.full((n,), temperature),
    )
    drawn = set(draw(torch.tensor([values] * n), how).tolist())
    chances = (torch.tensor(values).double() / torch.tensor(temperature).double()).softmax(-1)
    order = chances.argsort(descending=True).tolist()
    for rank, token in enumerate(order):
        if token in drawn:
            assert rank == 0 or not top_k or rank < top_k
            assert float(chances[token]) >= min_p * float(chances[order[0]]) * 0.999
            assert rank == 0 or float(chances[order[:rank]].sum()) <= top_p + 1e-6
