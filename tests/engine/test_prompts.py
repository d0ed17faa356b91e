"""Prompts that rows share give the same attention as prompts of their own, whatever joins and leaves."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ponder.engine.kv_cache import Slots
from ponder.engine.prompts import Prompts, Spot
from ponder.engine.spans import Span, cut
from ponder.model.sizes import shape_named

SHAPE = replace(shape_named("micro"), num_attention_heads=4, num_key_value_heads=2)
CPU = torch.device("cpu")
LENGTHS = (3, 60, 64, 65, 130)
"""Of the prompts: three shelves."""


def span(tokens: int, seed: int) -> Span:
    size = SHAPE.num_hidden_layers, SHAPE.num_key_value_heads, tokens, SHAPE.head_dim
    generator = torch.Generator().manual_seed(seed)
    return Span(torch.randn(size, generator=generator), torch.randn(size, generator=generator))


def ids(number: int) -> tuple[int, ...]:
    return tuple(range(number, number + LENGTHS[number % len(LENGTHS)]))


def filled(rows: list[tuple[int, int]], shared: bool) -> Slots:
    """Slots with rows of (prompt, own tokens); every fourth row has a prompt of its own all the same."""
    slots = Slots(SHAPE, CPU)
    slots.reserve(len(rows), 1)
    for slot, (number, own) in enumerate(rows):
        prompt, rest = span(len(ids(number)), number), span(own, 1000 + slot)
        slots.reserve(len(rows), len(ids(number)) + own + 1)
        if shared and slot % 4:
            spot = slots.prompts.join(ids(number), [prompt])
            slots.put(slot, rest, prompt=spot, behind=prompt.tokens)
        else:
            slots.put(slot, prompt, rest)
    return slots


def look(slots: Slots) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    rows, heads, kv = slots.rows, SHAPE.num_attention_heads, SHAPE.num_key_value_heads
    q = torch.randn(512, 1, heads, SHAPE.head_dim, generator=generator)[:rows]
    k, v = torch.randn(2, 512, 1, kv, SHAPE.head_dim, generator=generator)[:, :rows]
    slots.prepare()
    return torch.stack([slots(layer, q, k, v) for layer in range(SHAPE.num_hidden_layers)])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 70)), min_size=1, max_size=90))
def test_shared_prompts_change_nothing(rows: list[tuple[int, int]]) -> None:
    alone, together = filled(rows, False), filled(rows, True)
    assert torch.equal(alone.positions, together.positions)
    torch.testing.assert_close(look(together), look(alone), rtol=1e-5, atol=1e-5)
    kept = torch.arange(len(rows) - 1, -1, -2)
    for slots in (alone, together):
        slots.lengths += 1
        slots.keep(kept)
    assert torch.equal(alone.positions, together.positions)
    torch.testing.assert_close(look(together), look(alone), rtol=1e-5, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "compact"]), st.integers(0, 9)), max_size=60))
def test_a_prompt_stands_as_long_as_it_has_rows(program: list[tuple[str, int]]) -> None:
    prompts, rows = Prompts(SHAPE, CPU), list[tuple[int, Spot]]()
    for what, number in program:
        if what == "join":
            before, grown = prompts.tokens, prompts.growth([ids(number)])
            rows.append((number, prompts.join(ids(number), [span(len(ids(number)), number)])))
            assert prompts.tokens == before + grown
        elif what == "leave" and rows:
            prompts.leave(rows.pop(number % len(rows))[1])
        elif what == "compact":
            moved = prompts.compact()
            rows = [(name, moved[spot]) for name, spot in rows]
            assert prompts.tokens == prompts.tokens_of(spot for _, spot in rows)
        assert prompts.users == len(rows)
        for look in prompts.looks([spot for _, spot in rows]):
            for row, at in zip(look.rows.tolist(), look.at.tolist(), strict=True):
                name, spot = rows[row]
                held = span(len(ids(name)), name)
                assert at // look.most == spot.number
                assert torch.equal(look.shelf.keys[:, spot.number, :, : held.tokens], held.keys)
    for _, spot in rows:
        prompts.leave(spot)
    prompts.compact()
    assert prompts.tokens == prompts.users == 0


def test_nobody_joins_a_prompt_that_is_forgotten() -> None:
    prompts = Prompts(SHAPE, CPU)
    old = prompts.join(ids(0), [span(3, 1)])
    prompts.forget()
    new = prompts.join(ids(0), [span(3, 2)])
    assert new != old
    prompts.leave(old)
    assert prompts.growth([ids(0)]) == 0, "the newer one is still there"
    moved = prompts.compact()
    assert moved == {new: Spot(64, 0)} and prompts.growth([ids(0)]) == 0


def test_a_cut_goes_across_spans() -> None:
    whole = span(10, 0)
    parts = whole.part(0, 4), whole.part(4, 4), whole.part(4)
    for start, stop in ((0, 10), (0, 3), (2, 6), (4, 10), (5, None), (10, None), (0, 0)):
        found = list(cut(parts, start, stop))
        assert sum(one.tokens for one in found) == len(range(10)[start:stop])
        if found:
            assert torch.equal(torch.cat([one.keys for one in found], dim=2), whole.part(start, stop).keys)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 40), max_size=30))
def test_growth_is_foretold_for_prompts_that_join_together(before: list[int], joining: list[int]) -> None:
    prompts = Prompts(SHAPE, CPU)
    spots = [prompts.join(ids(number), [span(len(ids(number)), number)]) for number in before]
    for spot in spots[::2]:
        prompts.leave(spot)
    foretold = prompts.tokens + prompts.growth(ids(number) for number in joining)
    for number in joining:
        prompts.join(ids(number), [span(len(ids(number)), number)])
    assert prompts.tokens == foretold
