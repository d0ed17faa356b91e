"""A tiny real model with a head, through every search: what holds for scripts holds for tensors."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ponder.engine.local import LocalSampler
from ponder.errors import ConfigError
from ponder.interfaces import Prefix, Sampling
from ponder.model.checkpoint import load_checkpoint
from ponder.model.heads import new_head
from ponder.search import SEARCHES
from ponder.text.effort import Budget
from ponder.types import Completion, Effort, Ended, Message

ROOT = Prefix((Message("user", "what is the sum of both"),), Effort.LOW)


@pytest.fixture(scope="module")
def sampler(micro_checkpoint: Path) -> LocalSampler:
    checkpoint = load_checkpoint(micro_checkpoint)
    head = new_head(checkpoint.network.shape.hidden_size)
    torch.nn.init.normal_(head.outer.weight, generator=torch.Generator().manual_seed(3))
    return LocalSampler(replace(checkpoint, head=head))


def search(name: str, sampler: LocalSampler) -> Completion:
    budget = Budget(60, answer=12, samples=4, width=2, depth=3)
    return asyncio.run(SEARCHES[name](ROOT, budget, Sampling(1.0, seed=5), sampler))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_real_model_searches(sampler: LocalSampler, name: str) -> None:
    found, again = search(name, sampler), search(name, sampler)
    assert found.tree and found.tree.nodes and found.answer is not None
    assert found.ended in (Ended.ANSWERED, Ended.CUT_OFF)
    assert found.tokens == again.tokens and found.answer == again.answer
    assert [node.block for node in found.tree.nodes] == [node.block for node in again.tree.nodes]  # type: ignore
    assert found.tokens.generated == sum(node.tokens.kept for node in found.tree.nodes)
    assert found.tokens.thinking <= 60 and found.tokens.prompt == len(sampler.context(ROOT)) + (name == "direct")
    blocks = [node for node in found.tree.nodes if node.block]
    assert all(node.rating and 0 < node.rating.value < 1 for node in blocks)
    assert not any(node.lost for node in found.tree.nodes)


def test_ratings_are_free_and_lead_the_search(sampler: LocalSampler) -> None:
    found = search("best_of_n", sampler)
    assert found.tree
    ends = [node.rating.value for node in found.tree.nodes if node.ended is Ended.ANSWERED and node.rating]
    kept = [node.rating.value for node in found.tree.nodes if node.kept and node.answer is not None and node.rating]
    assert not ends or kept == [max(ends)]


def test_a_model_without_a_head_is_told_what_to_do(micro_checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="ponder train reward"):
        search("beam", LocalSampler(load_checkpoint(micro_checkpoint)))
