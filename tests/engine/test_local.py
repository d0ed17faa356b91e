"""The local sampler: right log-probabilities, neighbours without influence, and a format that always holds."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ponder.engine.grammar import AT
from ponder.engine.local import LocalSampler
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import load_checkpoint
from ponder.model.heads import doubts, new_head
from ponder.model.network import Masked
from ponder.text.format import Place, opening, text_of
from ponder.types import Block, Effort, Ended, Message, Surprise


@pytest.fixture(params=[True, False], ids=["native", "torch"], scope="module")
def native(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def sampler(micro_checkpoint: Path, native: bool) -> LocalSampler:
    return LocalSampler(load_checkpoint(micro_checkpoint), native=native)


def extend(
    sampler: LocalSampler,
    prefixes: Sequence[Prefix],
    limits: Sequence[Limit],
    samplings: Sequence[Sampling],
) -> list[Extension]:
    """One extension of each prefix, all awaited at once."""

    async def all_of_them() -> list[list[Extension]]:
        rows = zip(prefixes, limits, samplings, strict=True)
        return await asyncio.gather(*(sampler.extend(prefix, limit, [one]) for prefix, limit, one in rows))

    return [found for (found,) in asyncio.run(all_of_them())]


def prefixes(count: int) -> list[Prefix]:
    block = Block("start", "from the answer", "so it is 7", Surprise(0.7, 1.5))
    return [
        Prefix(
            (Message("user", "what is " + "the sum " * (i % 5) + str(i)),),
            Effort.LOW,
            (block,) * (i % 3),
            answering=i % 4 == 0,
        )
        for i in range(count)
    ]


def test_a_row_does_not_depend_on_its_neighbours(sampler: LocalSampler) -> None:
    rows = prefixes(64)
    limits = [Limit(20 + i % 7, 12) for i in range(64)]
    samplings = [Sampling(temperature=(0.0, 1.0, 0.7)[i % 3], top_p=0.9, seed=i) for i in range(64)]
    together = extend(sampler, rows, limits, samplings)
    for i in (0, 1, 2, 17, 40, 63):
        alone = extend(sampler, [rows[i]], [limits[i]], [samplings[i]])[0]
        assert alone.segment.generated == together[i].segment.generated
        assert (alone.block, alone.answer, alone.ended) == (together[i].block, together[i].answer, together[i].ended)


def test_log_probabilities_are_those_of_the_network(sampler: LocalSampler) -> None:
    rows = prefixes(9)
    network = sampler.checkpoint.network
    samplings = [Sampling(1.0, 1.0, i) for i in range(9)]
    # The second time the prompts are known.
    found = [
        *extend(sampler, rows, [Limit(25, 10)] * 9, samplings),
        *extend(sampler, rows, [Limit(25, 10)] * 9, samplings),
    ]
    for prefix, extension in zip((*rows, *rows), found, strict=True):
        context, generated = extension.segment.context, extension.segment.generated
        ids = torch.tensor([[*context, *generated]])
        n = ids.shape[1]
        with torch.no_grad():
            causal = Masked(torch.ones(n, n, dtype=torch.bool).tril()[None, None])
            logits = network.logits(network.hidden(ids, torch.arange(n)[None], causal))[0]
        grammar, place = sampler.scheduler.grammar, AT[Place.ANSWER if prefix.answering else Place.BETWEEN]
        # Tokens that the format forbids are left out, so that the allowed ones share the whole probability.
        left = 10 if prefix.answering else 25
        for at, (token, logprob) in enumerate(zip(generated, extension.segment.logprobs, strict=True)):
            mask = grammar.masks(torch.tensor([place]), torch.tensor([left]))[0]
            allowed = logits[len(context) - 1 + at] + mask
            assert abs(float(allowed.log_softmax(-1)[token]) - logprob) < 1e-4
            before, place = place, int(grammar.leads[place, token])
            left = (10 if (before, place) == (AT[Place.BETWEEN], AT[Place.ANSWER]) else left) - 1


def test_limits_hold_and_the_format_never_breaks(sampler: LocalSampler) -> None:
    for found, prefix in zip(
        extend(sampler, prefixes(40), [Limit(15, 6)] * 40, [Sampling(1.5, 1.0, i) for i in range(40)]),
        prefixes(40),
        strict=True,
    ):
        assert len(found.segment.generated) <= (6 if found.answer is not None or prefix.answering else 15)
        assert found.ended is not Ended.MALFORMED
        if prefix.answering:
            assert found.answer is not None and found.block is None
        assert found.block is None or found.ended is None


@pytest.mark.parametrize("tokens", range(12))
def test_a_block_closes_before_its_limit_and_none_is_begun_that_could_not(sampler: LocalSampler, tokens: int) -> None:
    rows = [prefix for prefix in prefixes(24) if not prefix.answering]
    samplings = [Sampling(1.5, 1.0, i) for i in range(len(rows))]
    for found in extend(sampler, rows, [Limit(tokens, 6)] * len(rows), samplings):
        assert (found.block is None) != (found.answer is None)
        assert tokens > 3 or found.answer is not None
        assert found.block is None or len(found.segment.generated) <= tokens


def test_where_a_block_must_come_none_answers(sampler: LocalSampler) -> None:
    rows = [prefix for prefix in prefixes(40) if not prefix.answering]
    samplings = [Sampling(1.5, 1.0, i) for i in range(len(rows))]
    free = extend(sampler, rows, [Limit(30, 6)] * len(rows), samplings)
    held = extend(sampler, [replace(row, think_on=True) for row in rows], [Limit(30, 6)] * len(rows), samplings)
    assert any(one.answer is not None for one in free)
    for chosen, forced in zip(free, held, strict=True):
        assert forced.block is not None and forced.answer is None
        begins, *rest = forced.segment.context[len(chosen.segment.context) :]
        assert rest == [] and sampler.checkpoint.tokenizer.decode([begins]) == text_of(opening(think_on=True))
        assert len(forced.segment.generated) <= 30


def test_a_stop_text_ends_the_answer_before_it(sampler: LocalSampler) -> None:
    rows = [prefix for prefix in prefixes(60) if prefix.answering]
    samplings = [Sampling(1.0, 1.0, i) for i in range(len(rows))]
    free = extend(sampler, rows, [Limit(5, 40)] * len(rows), samplings)
    held = extend(sampler, rows, [Limit(5, 40, ("e", "zzz"))] * len(rows), samplings)
    assert any("e" in (one.answer or "") for one in free)
    for long, short in zip(free, held, strict=True):
        answer, stop, _ = (long.answer or "").partition("e")
        assert short.answer == answer
        assert len(short.segment.generated) <= len(long.segment.generated)
        assert short.ended is (Ended.ANSWERED if stop else long.ended)


@pytest.mark.parametrize(
    ("limit", "sampling", "words"),
    [
        (Limit(-1, 5), Sampling(), "at least one"),
        (Limit(5, 0), Sampling(), "at least one"),
        (Limit(5, 5, ("",)), Sampling(), "empty stop"),
        (Limit(5, 5), Sampling(temperature=-1.0), "out of range"),
        (Limit(5, 5), Sampling(temperature=float("nan")), "out of range"),
        (Limit(5, 5), Sampling(top_p=0.0), "out of range"),
        (Limit(5, 5), Sampling(top_k=-1), "out of range"),
        (Limit(5, 5), Sampling(top_k=2**63), "out of range"),
        (Limit(5, 5), Sampling(temperature=1e39), "out of range"),
        (Limit(5, 5), Sampling(min_p=2.0), "out of range"),
    ],
)
def test_what_cannot_be_sampled_is_refused(sampler: LocalSampler, limit: Limit, sampling: Sampling, words: str) -> None:
    with pytest.raises(SamplerError, match=words):
        extend(sampler, prefixes(2)[1:], [limit], [sampling])


def test_ratings_come_with_the_blocks_and_are_those_of_the_whole_text(micro_checkpoint: Path, native: bool) -> None:
    checkpoint = load_checkpoint(micro_checkpoint)
    head = new_head(checkpoint.network.shape.hidden_size)
    torch.nn.init.normal_(head.outer.weight, generator=torch.Generator().manual_seed(3))
    sampler, network = LocalSampler(replace(checkpoint, head=head), native=native), checkpoint.network
    found = extend(sampler, prefixes(12), [Limit(25, 10)] * 12, [Sampling(1.0, 1.0, i) for i in range(12)])
    plain = extend(
        LocalSampler(checkpoint, native=native),
        prefixes(12),
        [Limit(25, 10)] * 12,
        [Sampling(1.0, 1.0, i) for i in range(12)],
    )
    for asked, one, unrated in zip(prefixes(12), found, plain, strict=True):
        assert one.segment.generated == unrated.segment.generated and unrated.rating is None
        ids = torch.tensor([[*one.segment.context, *one.segment.generated]])
        n = ids.shape[1]
        with torch.no_grad():
            causal = Masked(torch.ones(n, n, dtype=torch.bool).tril()[None, None])
            hidden = network.hidden(ids, torch.arange(n)[None], causal)[0]
        surprise, past = Surprise.of(one.segment.logprobs), [block.surprise for block in asked.blocks]
        assert one.block is None or one.block.surprise == surprise
        ends = (one.before, len(one.segment.context) - 1, past), (one.rating, n - 1, [*past, surprise])
        for rating, at, chain in ends:
            right = head(hidden[at], torch.tensor(doubts(chain))).sigmoid().tolist()
            assert rating
            assert (rating.value, rating.validity) == pytest.approx(tuple(right), abs=1e-5)


def test_an_endless_prompt_is_refused_before_it_is_encoded(sampler: LocalSampler) -> None:
    with pytest.raises(SamplerError, match="characters"):
        extend(sampler, [Prefix((Message("user", "x" * 10**6),), Effort.LOW)], [Limit(5, 5)], [Sampling()])


def test_damaged_weights_are_an_error_of_the_request(micro_checkpoint: Path, native: bool) -> None:
    checkpoint = load_checkpoint(micro_checkpoint)
    with torch.no_grad():
        checkpoint.network.model.norm.weight[0] = torch.nan
    with pytest.raises(SamplerError, match="not finite"):
        extend(LocalSampler(checkpoint, native=native), prefixes(1), [Limit(9, 5)], [Sampling()])


def test_greedy_is_the_likeliest_and_seeds_matter(sampler: LocalSampler) -> None:
    row = prefixes(4)[1]

    def drawn(temperature: float, seed: int) -> tuple[int, ...]:
        return extend(sampler, [row], [Limit(20, 5)], [Sampling(temperature, 1.0, seed)])[0].segment.generated

    assert drawn(0.0, 1) == drawn(0.0, 2)
    assert drawn(1.0, 1) == drawn(1.0, 1) != drawn(1.0, 2)


def test_the_listener_hears_what_is_generated(micro_checkpoint: Path) -> None:
    heard: dict[int, str] = {}

    def listen(row: int, text: str) -> None:
        heard[row] = heard.get(row, "") + text

    checkpoint = load_checkpoint(micro_checkpoint)
    sampler, prefix = LocalSampler(checkpoint), prefixes(3)[1]
    found = asyncio.run(sampler.extend(prefix, Limit(12, 8), [Sampling(1.0, 1.0, i) for i in range(3)], listen))
    for row, extension in enumerate(found):
        written = checkpoint.tokenizer.decode(extension.segment.generated)
        assert written.startswith(heard[row]) and len(written) - len(heard[row]) <= 3


def test_what_wakes_others_is_done_while_the_network_computes(micro_checkpoint: Path) -> None:
    """In order, within a step; and at once where nothing is decoded, or nothing more will be."""
    sampler, done = LocalSampler(load_checkpoint(micro_checkpoint)), list[str]()
    passes = sampler.scheduler.decoder.decode

    def counted(*given: Any) -> Any:
        done.append("pass")
        return passes(*given)

    sampler.scheduler.decoder.decode = counted  # type: ignore[method-assign]

    def listen(row: int, text: str) -> None:
        for name in "ab":
            sampler.aside(partial(done.append, name))

    sampler.aside(partial(done.append, "idle"))
    assert done == ["idle"]
    asyncio.run(sampler.extend(prefixes(3)[1], Limit(12, 8), [Sampling(1.0)], listen))
    heard = [what for what in done if what != "idle"]
    assert len(heard) > 3 and all(heard[at : at + 2] == ["a", "b"] for at, what in enumerate(heard) if what == "a")
    assert all(heard[at + 2 : at + 3] in (["pass"], []) for at, what in enumerate(heard) if what == "a")

    def broken(*given: Any) -> Any:
        sampler.aside(partial(done.append, "last"))
        raise RuntimeError("the device is lost")

    sampler.scheduler.decoder.decode = broken  # type: ignore[method-assign]
    with pytest.raises(SamplerError, match="the device is lost"):
        asyncio.run(sampler.extend(prefixes(3)[1], Limit(12, 8), [Sampling(1.0)]))
    assert done[-1] == "last"


def test_a_prompt_beyond_the_window_is_refused(sampler: LocalSampler) -> None:
    prefix = Prefix((Message("user", "the sum " * 5000),), Effort.LOW)
    with pytest.raises(SamplerError, match="shorten the prompt"):
        extend(sampler, [prefix], [Limit(10, 10)], [Sampling()])
