"""Steps of fixed sizes in fixed memory are those of torch, also played from a tape of operations alone."""

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ponder.engine.decoder import TorchDecoder, decoder_for
from ponder.engine.graphs import MOST_GRAPHS, GraphDecoder, rounded, uncaptured
from ponder.engine.local import LocalSampler
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.heads import new_head
from ponder.model.network import Network
from ponder.model.sizes import ARCHITECTURES
from ponder.types import Effort, Message
from tests.engine.test_decoder import contexts_of, network_of, passes

Body = Callable[[], None]
ASKS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "_to_copy")
"""Operations that wait for the device, or may: no graph can have them, unless `_to_copy` stays on its device."""


class Tape(TorchDispatchMode):
    """Records every operation of a body, and plays them over the same memory: what CUDA's graphs do."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        assert name not in ASKS or (name == "_to_copy" and kwargs.get("device") is None), f"{func} waits for the device"
        found = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, found))
        return found

    def play(self) -> None:
        for func, args, kwargs, found in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(_flat(found), _flat(again), strict=True):
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


def _flat(found: Any) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else [one for one in found or () if isinstance(one, Tensor)]


def taped(body: Body, state: Sequence[Tensor]) -> Body:
    """A `Capture` on a CPU."""
    before, tape = [one.clone() for one in state], Tape()
    with tape:
        body()
    for one, value in zip(state, before, strict=True):
        one.copy_(value)
    return tape.play


def sampler_of(checkpoint: Checkpoint, capture: Any = None, **limits: int) -> LocalSampler:
    """A sampler whose steps are torch's, or graphs'."""
    sampler = LocalSampler(checkpoint, native=False, **limits)
    if capture:
        network = checkpoint.network
        assert isinstance(network, Network)
        sampler.scheduler.decoder = GraphDecoder(network, capture)
    return sampler


@pytest.fixture
def checkpoint(micro_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(micro_checkpoint)


@pytest.mark.parametrize("capture", [uncaptured, taped])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_graphs_compute_what_torch_does(kind: str, capture: Any) -> None:
    network = network_of(model_type=kind, tie_word_embeddings=kind != "llama")
    reference = TorchDecoder(network, "")
    decoder = GraphDecoder(network, capture)
    assert "graphs" in decoder.why and "float32" in decoder.why
    for count, steps in ((1, 2), (21, 60), (70, 2)):  # the columns of 21 outgrow those of a graph
        contexts = contexts_of(count)
        for ours, theirs in zip(
            passes(decoder, contexts, 8, steps), passes(reference, contexts, 8, steps), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)


def prefix(number: int) -> Prefix:
    return Prefix((Message("user", f"what is {number} " + "and again " * (9 * number % 31)),), Effort.LOW)


def samplings(rng: Random, count: int) -> list[Sampling]:
    """Some take the likeliest, some cut unlikely tokens."""
    return [
        Sampling(
            rng.choice([0.0, 1.0, 1.0, 0.7]),
            rng.choice([1.0, 1.0, 0.9]),
            rng.getrandbits(64),
            top_k=rng.choice([0, 0, 5]),
            min_p=rng.choice([0.0, 0.0, 0.1]),
        )
        for _ in range(count)
    ]


def work(sampler: LocalSampler, seed: int, jobs: int) -> list[Extension]:
    """Jobs of several samples that join at different steps, so that rows join, leave and are packed together."""
    rng = Random(seed)
    asked = [
        (rng.randrange(25), prefix(rng.randrange(5)), Limit(rng.randint(5, 40), 6), samplings(rng, rng.randint(1, 5)))
        for _ in range(jobs)
    ]

    async def one(after: int, prefix: Prefix, limit: Limit, some: list[Sampling]) -> list[Extension]:
        for _ in range(after):
            await asyncio.sleep(0)
        return await sampler.extend(prefix, limit, some)

    async def all_of_them() -> list[list[Extension]]:
        return await asyncio.gather(*(one(*parts) for parts in asked))

    return [extension for found in asyncio.run(all_of_them()) for extension in found]


def same(ours: Sequence[Extension], theirs: Sequence[Extension]) -> None:
    """Tokens are the same, and log-probabilities nearly."""
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.segment.generated == other.segment.generated
        assert mine.segment.logprobs == pytest.approx(other.segment.logprobs, abs=1e-5)
        if other.rating:
            assert mine.rating and mine.rating.value == pytest.approx(other.rating.value, abs=1e-5)


@settings(max_examples=4)
@given(st.integers(0, 2**32))
def test_rows_join_and_leave_and_share_prompts_as_with_torch(micro: Checkpoint, seed: int) -> None:
    same(work(sampler_of(micro, uncaptured), seed, 12), work(sampler_of(micro), seed, 12))


@pytest.fixture(scope="module")
def micro(micro_checkpoint: Path) -> Checkpoint:
    checkpoint = load_checkpoint(micro_checkpoint)
    return replace(checkpoint, head=new_head(checkpoint.network.shape.hidden_size))


def test_a_tape_is_played_on_through_all_that_changes(checkpoint: Checkpoint) -> None:
    """Two rounds by one decoder: in the second one hardly a size is new."""
    made = list[Body]()

    def counted(body: Body, state: Sequence[Tensor]) -> Body:
        made.append(taped(body, state))
        return made[-1]

    sampler, reference = sampler_of(checkpoint, counted), sampler_of(checkpoint)
    same(work(sampler, 1, 10), work(reference, 1, 10))
    before = len(made)
    same(work(sampler, 1, 10), work(reference, 1, 10))
    assert before > 10 > len(made) - before


def test_a_row_that_draws_otherwise_takes_a_free_place_beside_others(checkpoint: Checkpoint) -> None:
    async def run(sampler: LocalSampler) -> list[list[Extension]]:
        greedy, sharp = Sampling(0.0), Sampling(3.0, top_k=2, seed=5)
        asked = (Limit(40, 5), greedy), (Limit(8, 5), greedy), (Limit(20, 5), sharp), (Limit(9, 5), Sampling(3.0))
        return await asyncio.gather(*(sampler.extend(prefix(i), limit, [one]) for i, (limit, one) in enumerate(asked)))

    ours, theirs = (asyncio.run(run(sampler_of(checkpoint, capture, most_rows=2))) for capture in (uncaptured, None))
    same(sum(ours, []), sum(theirs, []))


def test_records_and_caches_outgrow_their_graphs(checkpoint: Checkpoint) -> None:
    asked = prefix(1), Limit(300, 5), [Sampling(1.0, seed=seed) for seed in range(2)]
    ours, theirs = (
        asyncio.run(one.extend(*asked)) for one in (sampler_of(checkpoint, uncaptured), sampler_of(checkpoint))
    )
    assert max(len(one.segment.generated) for one in theirs) > 256
    same(ours, theirs)


def test_a_small_memory_evicts_rows_that_begin_again(checkpoint: Checkpoint) -> None:
    checkpoint.network.shape = replace(checkpoint.network.shape, max_position_embeddings=256)
    asked = prefix(1), Limit(90, 20), [Sampling(1.0, seed=seed) for seed in range(14)]
    small = sampler_of(checkpoint, uncaptured, most_bytes=2 * 256 * 1150)
    same(asyncio.run(small.extend(*asked)), asyncio.run(sampler_of(checkpoint).extend(*asked)))
    assert small.scheduler.evicted > 0


def test_weights_that_change_or_move_are_seen_and_others_refused() -> None:
    network, contexts = network_of(), contexts_of(3)
    decoder = GraphDecoder(network, taped)
    passes(decoder, contexts, 8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    right = passes(TorchDecoder(network, ""), contexts, 8)
    for change in (lambda: None, network.share_memory):
        change()
        for ours, theirs in zip(passes(decoder, contexts, 8), right, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)
    network.double()
    with pytest.raises(SamplerError, match="float64"):
        passes(decoder, contexts, 8)


def test_a_sampler_in_bfloat16_thinks_and_rates_as_in_float32(micro: Checkpoint) -> None:
    half = replace(micro, network=copy.deepcopy(micro.network)).to("cpu", torch.bfloat16)
    whole = replace(half, network=copy.deepcopy(half.network)).to("cpu", torch.float32)
    near, right = sampler_of(half, uncaptured), sampler_of(whole)
    asked = prefix(1), Limit(20, 5), [Sampling(0.0)]
    mine, theirs = (asyncio.run(one.extend(*asked))[0] for one in (near, right))
    assert mine.segment.logprobs[0] == pytest.approx(theirs.segment.logprobs[0], abs=0.1)
    assert mine.rating and mine.rating.value == pytest.approx(0.5, abs=0.05)
    assert near.scheduler.bytes < 0.6 * right.scheduler.bytes


def test_in_bfloat16_it_is_torch_in_bfloat16() -> None:
    network, contexts = network_of().bfloat16(), contexts_of(21)
    decoder = GraphDecoder(network, taped)
    assert "bfloat16" in decoder.why
    for ours, theirs in zip(passes(decoder, contexts, 8), passes(TorchDecoder(network, ""), contexts, 8), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.15)


@given(st.integers(1, 10**9), st.sampled_from([1, 2, 4]))
def test_sizes_are_few_and_not_much_larger(size: int, steps: int) -> None:
    found = rounded(size, steps)
    assert size <= found <= max(size + 1, size * (1 + 1 / steps)) and rounded(found, steps) == found
    assert len({rounded(one, steps) for one in range(1, 300)}) <= 10 * steps < MOST_GRAPHS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device: nothing is captured as a graph")
def test_cuda_captures_what_torch_computes(checkpoint: Checkpoint) -> None:
    checkpoint = checkpoint.to("cuda")
    sampler, reference = LocalSampler(checkpoint), LocalSampler(checkpoint, native=False)
    assert isinstance(sampler.scheduler.decoder, GraphDecoder)
    for seed in (1, 1, 2):
        ours, theirs = (work(one, seed, 12) for one in (sampler, reference))
        alike = [one.segment.generated == other.segment.generated for one, other in zip(ours, theirs, strict=True)]
        assert sum(alike) >= 0.9 * len(alike), "sums in another order may choose another token now and then"


def test_on_a_cpu_nothing_is_captured(checkpoint: Checkpoint) -> None:
    assert decoder_for(checkpoint.network, native=False).why.endswith("nor graphs: they are not wanted")
