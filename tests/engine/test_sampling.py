"""Drawing: the right frequencies, from seeds alone."""

import torch

from ponder.engine.sampling import draw, uniforms


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
    ones, zeros = torch.ones(n), torch.zeros(n, dtype=torch.long)
    drawn = draw(logits, ones, ones, torch.arange(n), zeros)
    shares = torch.bincount(drawn, minlength=4) / n
    assert (shares - torch.tensor([0.5, 0.3, 0.15, 0.05])).abs().max() < 0.02
    top = draw(logits, ones, 0.79 * ones, torch.arange(n), zeros)
    assert top.max() == 1, "0.5 + 0.3 reach 0.79: the others are cut"
    hot = draw(logits, 100 * ones, ones, torch.arange(n), zeros)
    assert (torch.bincount(hot, minlength=4) / n - 0.25).abs().max() < 0.02


def test_temperature_zero_takes_the_likeliest_beside_others_that_draw() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0]] * 50)
    temperatures = torch.tensor([0.0, 1.0] * 25)
    drawn = draw(logits, temperatures, torch.ones(50), torch.arange(50), torch.zeros(50, dtype=torch.long))
    assert (drawn[::2] == 1).all() and (drawn[1::2] != 1).any()


def test_forbidden_tokens_are_never_drawn() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 0.0]] * 500)
    ones = torch.ones(500)
    drawn = draw(logits, ones, ones, torch.arange(500), torch.zeros(500, dtype=torch.long))
    assert set(drawn.tolist()) == {0, 2}


def test_the_likeliest_token_stays_whatever_top_p_is() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 2.0]] * 20)
    drawn = draw(logits, torch.ones(20), torch.zeros(20), torch.arange(20), torch.zeros(20, dtype=torch.long))
    assert (drawn == 2).all()
