"""Random programs of forks, folds, rollbacks and cancellations, held against transformers' own forward."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.engine.grammar import Replay
from ponder.engine.local import LocalSampler
from ponder.engine.spans import token_bytes
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ponder.model.heads import doubts, new_head
from ponder.model.network import Network
from ponder.model.sizes import ARCHITECTURES, shape_named
from ponder.types import Block, Effort, Message, Surprise

PIECES = ("step", "the sum", "so it is 7", "again and over", "12 * 34")
ROOM = 700
"""Tokens of all rows in the tight sampler."""


@dataclass(frozen=True)
class Both:
    """One network of random weights, computed here and by transformers."""

    samplers: dict[str, LocalSampler]
    theirs: Any
    replay: Replay


def random_checkpoint(kind: str, micro: Checkpoint) -> Checkpoint:
    """Of that architecture; weights, norms and biases are large enough to matter."""
    shape = replace(shape_named("micro"), num_attention_heads=4, num_key_value_heads=2, model_type=kind)
    shape = replace(shape, vocab_size=micro.network.shape.vocab_size, tie_word_embeddings=kind != "llama")
    network, generator = Network(shape), torch.Generator().manual_seed(6)
    for name, parameter in network.named_parameters():
        mean = float("norm" in name)
        torch.nn.init.normal_(
            parameter, mean=mean, std=0.2 if mean or parameter.dim() > 1 else 0.5, generator=generator
        )
    head = new_head(shape.hidden_size)
    torch.nn.init.normal_(head.outer.weight, generator=generator)
    return replace(micro, network=network, head=head)


@pytest.fixture(scope="module", params=[*((kind, True) for kind in ARCHITECTURES), ("qwen2", False)], ids=str)
def both(request: pytest.FixtureRequest, micro_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    from transformers import AutoModelForCausalLM

    (kind, native), folder = request.param, tmp_path_factory.mktemp("programs") / "model"
    save_checkpoint(random_checkpoint(kind, load_checkpoint(micro_checkpoint)), folder)
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert theirs.config.model_type == kind
    assert kind != "qwen2" or bool(theirs.model.layers[0].self_attn.q_proj.bias.all())
    assert theirs.config.tie_word_embeddings == (kind != "llama")
    rated = load_checkpoint(folder)
    network, tokenizer = rated.own()
    network.shape = replace(network.shape, max_position_embeddings=ROOM // 2)
    plain = replace(rated, head=None)
    budget = 2 * ROOM * token_bytes(network.shape)
    samplers = {
        "plain": LocalSampler(plain, most_rows=9, native=native),
        "tight": LocalSampler(rated, most_rows=40, most_bytes=budget, native=native),
    }
    return Both(samplers, theirs, Replay.of(tokenizer.special, tokenizer.size, torch.device("cpu")))


def start(number: int) -> Prefix:
    return Prefix((Message("user", f"what is {number} " + "again " * (number % 4)),), Effort.LOW)


Found = list[tuple[Prefix, Extension]]


async def program(sampler: LocalSampler, data: st.DataObject) -> Found:
    """Extends states of any age by several samples each, gives up on some, folds what was written and other blocks."""
    states, found = [start(data.draw(st.integers(0, 5)))], Found()
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.lists(st.sampled_from(states), min_size=1, max_size=4))
        limit, seeds = Limit(data.draw(st.sampled_from((14, 14, 80))), 6), data.draw(st.integers(0, 2**64))
        samplings = [Sampling(1.0, seed=seeds + i) for i in range(data.draw(st.sampled_from((1, 2, 4, 14))))]
        tasks = [asyncio.ensure_future(sampler.extend(state, limit, samplings)) for state in chosen]
        given_up = data.draw(st.integers(0, 12))
        if given_up < len(tasks):
            for _ in range(data.draw(st.integers(0, 9))):
                await asyncio.sleep(0)
            tasks[given_up].cancel()
        for state, result in zip(chosen, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(result, asyncio.CancelledError):
                continue
            assert not isinstance(result, BaseException)
            found += [(state, one) for one in result]
            states += [replace(state, blocks=(*state.blocks, one.block)) for one in result[:1] if one.block]
        headline, thoughts, summary = (data.draw(st.sampled_from(PIECES)) for _ in range(3))
        block = Block(headline, thoughts, summary)
        other = replace(chosen[0], answering=False, blocks=(*chosen[0].blocks, block))
        states.append(replace(other, answering=data.draw(st.booleans())))
    while sampler.scheduler.busy:
        await asyncio.sleep(0)
    return found


@settings(max_examples=8)
@given(st.sampled_from(("plain", "tight")), st.data())
def test_programs_compute_what_transformers_does(both: Both, how: str, data: st.DataObject) -> None:
    """Log-probabilities among the tokens that the format allows, ratings, contexts; and nothing is left at the end."""
    sampler = both.samplers[how]
    found = asyncio.run(program(sampler, data))
    assert sampler.scheduler.idle
    if not found:
        return
    segments = [one.segment for _, one in found]
    rows = [torch.tensor([*segment.context, *segment.generated]) for segment in segments]
    with torch.no_grad():
        # What stands behind a row's last token changes nothing before it.
        right = both.theirs(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), output_hidden_states=True)
    for (state, one), segment, logits, hidden in zip(
        found, segments, right.logits, right.hidden_states[-1], strict=True
    ):
        assert segment.context == sampler.context(state)
        first, last = len(segment.context) - 1, len(segment.context) + len(segment.generated) - 1
        allowed = logits[first:last] + both.replay.allowed[both.replay.rows(segment)]
        wanted = allowed.log_softmax(-1).gather(1, torch.tensor(segment.generated)[:, None])[:, 0]
        assert (wanted - torch.tensor(segment.logprobs)).abs().max() <= 1e-4
        head, past = sampler.checkpoint.head, [block.surprise for block in state.blocks]
        for at, rating, chain in (
            (first, one.before, past),
            (last, one.rating, [*past, Surprise.of(segment.logprobs)]),
        ):
            if head is None:
                assert rating is None
                continue
            told = head(hidden[at], torch.tensor(doubts(chain))).sigmoid().tolist()
            assert rating and (rating.value, rating.validity) == pytest.approx(tuple(told), abs=1e-4)


def test_rows_that_begin_again_compute_it_too(both: Both) -> None:
    """A program that must outgrow the tight sampler's memory."""
    sampler = both.samplers["tight"]
    before = sampler.scheduler.evicted
    samplings, answering = [Sampling(9.0, seed=seed) for seed in range(14)], replace(start(1), answering=True)
    tight, free = (
        [one.segment.generated for one in which.extend_now(answering, Limit(9, 80), samplings)]
        for which in both.samplers.values()
    )
    assert sampler.scheduler.evicted > before and sampler.scheduler.idle
    assert tight == free
