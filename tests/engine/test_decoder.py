"""Compiled kernels compute what torch does, for every architecture, and a row's bits do not depend on its company."""

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.engine.decoder import Decoder, decoder_for
from ponder.engine.grammar import Grammar
from ponder.engine.kv_cache import Slots
from ponder.engine.native import pair
from ponder.engine.native.decoder import REST, WELL, Company, NativeDecoder
from ponder.engine.native.passes import help
from ponder.engine.rows import Begun, Rows
from ponder.engine.spans import empty_span, token_bytes
from ponder.errors import SamplerError
from ponder.interfaces import Limit, Sampling
from ponder.model.network import Network, new_network
from ponder.model.rope import Rope
from ponder.model.sizes import ARCHITECTURES, Shape
from ponder.text.format import BLOCKS, Place

CPU = torch.device("cpu")
SPECIAL = {marker.text: number for number, marker in enumerate(BLOCKS.marker.values())}
SHAPE = Shape(
    hidden_size=40,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=50,
    vocab_size=93,
    max_position_embeddings=400,
)
ROPES = {
    "default": Rope(),
    "linear": Rope(type="linear", factor=4.0),
    "llama3": Rope(type="llama3", factor=8.0, original=32),
    "yarn": Rope(type="yarn", factor=4.0, original=32),
}


def network_of(**settings: Any) -> Network:
    """A network all of whose weights matter."""
    network, generator = new_network(replace(SHAPE, **settings), 0), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(float("norm" in name), 0.3, generator=generator)
    return network


def passes(decoder: Decoder, contexts: list[list[int]], known: int, steps: int = 3) -> list[torch.Tensor]:
    """Hidden states and logits of contexts that are read in two parts, and decoded on with the tokens 5, 6, 7, …"""
    shape, found = decoder.network.shape, list[torch.Tensor]()  # type: ignore[attr-defined]
    dtype = next(decoder.network.parameters()).dtype  # type: ignore[attr-defined]
    with torch.inference_mode():
        before, *_ = decoder.read([empty_span(shape, CPU, dtype)] * len(contexts), [ids[:known] for ids in contexts])
        after, *rest = decoder.read(before, [ids[known:] for ids in contexts])
        found += rest
        slots, active = Slots(shape, CPU, dtype), torch.ones(len(contexts), dtype=torch.bool)
        slots.reserve(len(contexts), max(map(len, contexts)) + 1)
        for row, parts in enumerate(zip(before, after, strict=True)):
            if row % 2:  # every other one stands behind a shared prompt
                spot = slots.prompts.join(tuple(contexts[row][:known]), [parts[0]])
                slots.put(row, parts[1], prompt=spot, behind=known)
            else:
                slots.put(row, *parts)
        for step in range(steps):
            tokens = torch.arange(len(contexts)) % 5 + 5 + step
            found += [one.clone() for one in decoder.decode(tokens, slots, active)]
            slots.lengths += 1
    return found


def contexts_of(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(count)
    return [torch.randint(93, (9 + 7 * row % 40,), generator=generator).tolist() for row in range(count)]


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize(("kind", "tied"), [(kind, kind != "llama") for kind in ARCHITECTURES])
def test_kernels_compute_what_torch_does(kind: str, rope: str, tied: bool) -> None:
    network = network_of(model_type=kind, rope=ROPES[rope], tie_word_embeddings=tied)
    kernels, reference = decoder_for(network), decoder_for(network, native=False)
    assert kernels.why.startswith("compiled") and reference.why.startswith("torch")
    contexts = contexts_of(21)
    for ours, theirs in zip(passes(kernels, contexts, 8), passes(reference, contexts, 8), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_wide_head_and_a_long_context() -> None:
    network = network_of(head_dim=64, num_attention_heads=3, num_key_value_heads=1)
    contexts = [*contexts_of(4), torch.arange(300).remainder(93).tolist()]
    for ours, theirs in zip(
        passes(decoder_for(network), contexts, 8), passes(decoder_for(network, native=False), contexts, 8), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_row_has_the_same_bits_in_any_company_and_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, contexts = decoder_for(network_of()), contexts_of(40)
    whole = passes(decoder, contexts, 8)
    for rows in ([0], [7], [3, 5, 8, 9, 20], list(range(10, 40))):
        alone = passes(decoder, [contexts[row] for row in rows], 8, steps=0)
        assert all(torch.equal(one, all_of_them[rows]) for one, all_of_them in zip(alone, whole, strict=False))
    other_split = passes(decoder, contexts, 3)
    monkeypatch.setattr("ponder.engine.native.decoder.SHARE", 4)
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    threaded = passes(decoder, contexts, 8)
    for found in (other_split, threaded):
        assert all(torch.equal(one, two) for one, two in zip(found, whole, strict=True))


def test_a_helper_shares_in_passes_of_few_rows_and_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.engine.native.decoder.WORTH_A_HELPER", 0)
    monkeypatch.setattr("ponder.engine.native.decoder._company", Company())
    monkeypatch.setattr("ponder.engine.native.decoder.REST", 0)
    submit = ThreadPoolExecutor.submit

    def waited_for(pool: ThreadPoolExecutor, work: Any, /, *given: Any) -> Any:
        """Begins a helper, and goes on when it is there: else it comes when it comes."""
        begun, until = submit(pool, work, *given), time.monotonic() + 1.0
        while work is help and given[-1][pair.STATE * pair.APART] != pair.THERE and time.monotonic() < until:
            time.sleep(0)
        return begun

    monkeypatch.setattr(ThreadPoolExecutor, "submit", waited_for)
    for kind, vocabulary in (("qwen3", 93), ("qwen2", 1100)):
        network, contexts = network_of(model_type=kind, vocab_size=vocabulary, intermediate_size=96), contexts_of(3)
        monkeypatch.setattr("torch.get_num_threads", lambda: 1)
        wanted = passes(decoder_for(network), contexts, 8, steps=60)
        monkeypatch.setattr("torch.get_num_threads", lambda: 2)
        helped = 0
        for _ in range(20):
            decoder = decoder_for(network)
            assert isinstance(decoder, NativeDecoder)
            assert all(map(torch.equal, passes(decoder, contexts, 8, steps=60), wanted))
            if helped := helped + decoder.helped:
                break
        assert helped > 0


def test_where_a_helper_is_late_passes_are_made_alone_for_longer_and_longer() -> None:
    company = Company()
    for rest in (REST, 2 * REST, 4 * REST):
        assert company.wanted()
        company.told(stalled=True)
        assert [company.wanted() for _ in range(rest)] == [False] * (rest - 1) + [True]
    for _ in range(WELL):
        company.told(stalled=False)
    company.told(stalled=True)
    assert [company.wanted() for _ in range(REST)].count(True) == 1


def test_weights_that_change_or_move_are_seen_and_others_refused() -> None:
    network, contexts = network_of(), contexts_of(3)
    decoder = decoder_for(network)
    first = passes(decoder, contexts, 8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    changed = passes(decoder, contexts, 8)
    assert not torch.equal(first[0], changed[0])
    network.share_memory()
    assert all(map(torch.equal, passes(decoder, contexts, 8), changed))
    assert all(map(torch.equal, passes(decoder_for(network), contexts, 8), changed))
    network.double()
    with pytest.raises(SamplerError, match="float64"):
        passes(decoder, contexts, 8)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_in_bfloat16_it_computes_nearly_the_same_and_caches_take_half(kind: str) -> None:
    """Forks behind shared prompts included; the weights are the same numbers, so that only computing differs."""
    narrow = network_of(model_type=kind, tie_word_embeddings=kind != "llama").bfloat16()
    wide, contexts = copy.deepcopy(narrow).float(), contexts_of(21)
    found = passes(decoder_for(narrow), contexts, 8), passes(decoder_for(wide, native=False), contexts, 8)
    for near, right in zip(*found, strict=True):
        assert (near.float() - right).square().mean() < (0.06 * right.std()) ** 2
        assert (near.float() - right).abs().max() < 0.2 * right.abs().max()
    bfloat = torch.bfloat16
    assert empty_span(SHAPE, CPU, bfloat).keys.dtype is bfloat and 2 * token_bytes(SHAPE, bfloat) == token_bytes(SHAPE)
    slots = Slots(SHAPE, CPU, bfloat)
    slots.reserve(3, 70)
    assert slots.keys.nbytes + slots.values.nbytes == 3 * 128 * token_bytes(SHAPE, bfloat)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: network_of(head_dim=12), "12 is no multiple of 8"),
        (lambda: network_of().bfloat16(), "bfloat16"),
    ],
)
def test_what_kernels_cannot_do_torch_does_and_says_why(make: Any, reason: str) -> None:
    assert reason in decoder_for(make()).why


@settings(max_examples=40)
@given(st.data())
def test_the_same_tokens_are_drawn(data: st.DataObject) -> None:
    """Random rows in random places: tokens, log-probabilities and all that rows are at, step by step."""
    count, size = data.draw(st.integers(1, 12)), data.draw(st.integers(len(SPECIAL) + 1, 60))
    begun = [
        Begun(
            data.draw(st.sampled_from([Place.BETWEEN, Place.HEADLINE, Place.ANSWER])),
            Limit(data.draw(st.integers(4, 12)), data.draw(st.integers(1, 5))),
            Sampling(
                data.draw(st.sampled_from([0.0, 1.0, 1.0, 0.7, 3.0])),
                data.draw(st.sampled_from([1.0, 1.0, 0.9, 0.3])),
                data.draw(st.integers(0, 2**64 - 1)),
                top_k=data.draw(st.sampled_from([0, 0, 3, 100])),
                min_p=data.draw(st.sampled_from([0.0, 0.0, 0.1])),
            ),
        )
        for _ in range(count)
    ]
    network, grammar = network_of(vocab_size=size), Grammar.of(SPECIAL, size, CPU)
    decoders, both = (decoder_for(network), decoder_for(network, native=False)), (Rows.none(CPU), Rows.none(CPU))
    for rows in both:
        rows.extend(count)
        rows.seat(range(count), begun)
    generator, running = torch.Generator().manual_seed(data.draw(st.integers(0, 99))), set(range(count))
    while running:
        logits = 3 * torch.randn(count, size, generator=generator)
        (ours, our_end), (theirs, their_end) = (
            decoder.draw(rows, logits, grammar) for decoder, rows in zip(decoders, both, strict=True)
        )
        at = sorted(running)
        assert ours[at].tolist() == theirs[at].tolist() and sorted(our_end) == sorted(their_end)
        for rows in both:
            rows.free(our_end)
        running -= set(our_end)
        for name in ("left", "drawn"):
            assert torch.equal(getattr(both[0], name)[at], getattr(both[1], name)[at])
    for (tokens, chances), (same, others) in zip(*(rows.read(range(count)) for rows in both), strict=True):
        assert tokens == same and chances == pytest.approx(others, abs=1e-5)


def test_a_step_leaves_torch_its_threads_also_where_another_begins_meanwhile() -> None:
    """A new Python thread finds the number that was set last: one, while another decoder is at its step."""
    first, second = decoder_for(network_of()), decoder_for(network_of())
    after: list[tuple[int, int]] = []

    def begin() -> None:
        with second.alone():
            during = torch.get_num_threads()
        after.append((during, torch.get_num_threads()))

    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with first.alone():
            thread = threading.Thread(target=begin)
            thread.start()
            thread.join()
        assert (after, torch.get_num_threads()) == ([(1, 2)], 2)
    finally:
        torch.set_num_threads(usual)
