"""Plain Hugging Face directories in the local sampler: paragraphs as blocks, ends of every kind, and what is read."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ponder.engine.local import LocalSampler
from ponder.engine.parallel import ParallelSampler
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import load_checkpoint
from ponder.model.network import Masked
from ponder.text.effort import Budget
from ponder.think import Request, think
from ponder.types import Block, Completion, Effort, Ended, Message

Make = Callable[..., Path]
ASKED = (Message("user", "what is 2+3"),)
LETTERS = ("<|endoftext|>",)
"""The only special token of a tokenizer that has to spell everything else."""


def chain(*tokens: str) -> dict[str, str]:
    """Each token is followed by the next one."""
    return dict(zip(tokens, tokens[1:], strict=False))


ENDS_ITSELF = chain("\n", "a", "b", "</think>") | chain("\n\n", "c", "d", "<|im_end|>")
TURN_ENDS_IN_THOUGHT = chain("\n", "a", "b", "\n\n", "c", "d", "<|im_end|>")
NEVER_ENDS = chain("\n", "a", "a") | chain("\n\n", "c", "d", "<|endoftext|>")
IN_LETTERS = chain("\n", "a", "b", "<", "/", "t", "h", "i", "n", "k", ">") | chain("\n\n", "c", "d", "<|endoftext|>")


def ask(folder: Path, effort: Effort = Effort.LOW, budget: Budget | None = None) -> Completion:
    sampler = LocalSampler(load_checkpoint(folder))
    return think([Request(ASKED, effort, budget=budget)], sampler)[0]


def texts(completion: Completion) -> list[str]:
    return [block.thoughts for block in completion.blocks]


def extend(
    sampler: LocalSampler, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling] = (Sampling(),)
) -> list[Extension]:
    return asyncio.run(sampler.extend(prefix, limit, samplings))


def test_a_thought_that_ends_itself(plain: Make) -> None:
    found = ask(plain(ENDS_ITSELF))
    assert (texts(found), found.answer, found.ended) == (["ab"], "cd", Ended.ANSWERED)
    assert (found.tokens.thinking, found.tokens.answer) == (3, 3)


def test_paragraphs_are_blocks_and_a_turn_that_ends_within_a_thought_ends_the_thought(plain: Make) -> None:
    found = ask(plain(TURN_ENDS_IN_THOUGHT))
    assert (texts(found), found.answer, found.ended) == (["ab", "cd"], "cd", Ended.ANSWERED)


def test_marks_that_are_no_tokens_are_found_in_the_text(plain: Make) -> None:
    found = ask(plain(IN_LETTERS, added=LETTERS))
    assert (texts(found), found.answer, found.ended) == (["ab"], "cd", Ended.ANSWERED)


def test_an_end_of_turn_in_letters_ends_thought_and_answer(plain: Make) -> None:
    halves = ("<|im_", "end|>")  # tokens that are no mark, but spell one
    follows = chain("\n", "a", "b", *halves) | chain("\n\n", "c", "b")
    found = ask(plain(follows, added=(*LETTERS, *halves)))
    assert (texts(found), found.answer, found.ended) == (["ab"], "cb", Ended.ANSWERED)


def test_no_effort_answers_at_once(plain: Make) -> None:
    folder = plain(ENDS_ITSELF)
    found = ask(folder, Effort.NONE)
    assert (found.blocks, found.answer, found.tokens.thinking) == ((), "cd", 0)
    sampler = LocalSampler(load_checkpoint(folder))
    context = sampler.context(Prefix(ASKED, Effort.NONE, answering=True))
    written = sampler.checkpoint.tokenizer.decode(context)
    assert written.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_a_thought_that_never_ends_is_cut_by_its_budget_and_answers(plain: Make) -> None:
    found = ask(plain(NEVER_ENDS), budget=Budget(thinking=20, answer=10))
    assert (texts(found), found.answer, found.ended) == (["a" * 20], "cd", Ended.ANSWERED)
    assert found.tokens.thinking == 20


def test_a_paragraph_that_must_come_begins_as_it_is_told_to(plain: Make) -> None:
    sampler = LocalSampler(load_checkpoint(plain(chain("t", "\n\n") | chain("\n", "a", "</think>"))))
    prefix = Prefix(ASKED, Effort.LOW, (Block("", "a", ""),), think_on=True)
    (found,) = extend(sampler, prefix, Limit(20, 9))
    assert found.block == Block("", "Wait", "") and not found.last and len(found.segment.generated) == 1


def test_an_answer_that_never_ends_is_cut_off(plain: Make) -> None:
    found = ask(plain(chain("\n", "a", "</think>") | chain("\n\n", "c", "c")), budget=Budget(thinking=20, answer=10))
    assert (found.answer, found.ended) == ("c" * 10, Ended.CUT_OFF)


def test_a_stop_text_ends_the_answer_alone(plain: Make) -> None:
    sampler = LocalSampler(load_checkpoint(plain(TURN_ENDS_IN_THOUGHT)))
    (block,) = extend(sampler, Prefix(ASKED, Effort.LOW), Limit(20, 10, ("b", "d")))
    assert block.block == Block("", "ab", "") and not block.last
    (answer,) = extend(sampler, Prefix(ASKED, Effort.LOW, answering=True), Limit(20, 10, ("b", "d")))
    assert (answer.answer, answer.ended) == ("c", Ended.ANSWERED)


def test_the_window_is_kept_and_thinking_ends_before_it_is_full(plain: Make) -> None:
    sampler = LocalSampler(load_checkpoint(plain(chain("\n", "a", "a") | chain("\n\n", "a"))))
    found = think([Request(ASKED, budget=Budget(thinking=5000, answer=50))], sampler)[0]
    assert found.answer == "a" * 50 and 200 < found.tokens.thinking < 350
    long = Prefix(ASKED, Effort.LOW, (Block("", "a" * 300, ""),))
    (nothing,) = extend(sampler, long, Limit(50, 50))
    assert nothing.last and nothing.block is None and nothing.answer is None and not nothing.segment.generated
    with pytest.raises(SamplerError, match="shorten the prompt"):
        extend(sampler, Prefix((Message("user", "x" * 390),), Effort.LOW), Limit(20, 20))


def test_only_what_is_new_is_read(plain: Make) -> None:
    sampler = LocalSampler(load_checkpoint(plain()))
    prefix, read = Prefix(ASKED, Effort.LOW), 0
    paragraphs = [Block("", text, "") for text in ("one, two", "three", "four")]
    for count in range(4):
        at = replace(prefix, blocks=tuple(paragraphs[:count]))
        extend(sampler, at, Limit(9, 5))
        new, read = sampler.scheduler.read_tokens - read, sampler.scheduler.read_tokens
        begun = len(sampler.context(replace(at, blocks=at.blocks[:-1]))) if count else 0
        assert new == len(sampler.context(at)) - begun
    extend(sampler, replace(at, answering=True), Limit(9, 5))
    close = len(sampler.context(replace(at, answering=True))) - len(sampler.context(at))
    assert sampler.scheduler.read_tokens - read <= close + 1
    extend(sampler, at, Limit(9, 5), [Sampling(1.0, 1.0, seed) for seed in range(4)])
    assert sampler.scheduler.read_tokens - read <= close + 2  # known whole: only its last token is read


def test_a_token_that_is_another_one_in_the_longer_text_is_read_again(plain: Make) -> None:
    sampler, at = LocalSampler(load_checkpoint(plain(words=True))), Prefix(ASKED, Effort.LOW, (Block("", "one", ""),))
    longer = replace(at, blocks=(*at.blocks, Block("", "two", "")))
    before, after = sampler.context(at), sampler.context(longer)
    assert after[: len(before)] != before and after[: len(before) - 1] == before[:-1]
    extend(sampler, at, Limit(9, 5))
    read = sampler.scheduler.read_tokens
    (found,) = extend(sampler, longer, Limit(9, 5), [Sampling(1.0, 1.0, 3)])
    assert sampler.scheduler.read_tokens - read == len(after) - len(before) + 1
    (fresh,) = extend(LocalSampler(sampler.checkpoint), longer, Limit(9, 5), [Sampling(1.0, 1.0, 3)])
    assert found.segment.generated == fresh.segment.generated
    assert found.segment.logprobs == pytest.approx(fresh.segment.logprobs, abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_log_probabilities_are_those_of_the_network_with_branches_in_one_batch(plain: Make, kind: str) -> None:
    sampler = LocalSampler(load_checkpoint(plain(kind=kind)))
    network, samplings = sampler.checkpoint.network, [Sampling(1.0, 1.0, seed) for seed in range(3)]
    thought = tuple(Block("", text, "") for text in ("one, two", "three"))
    prefixes = [
        Prefix((Message("user", "why " * (1 + number)),), Effort.LOW, thought[: number % 3], number % 4 == 3)
        for number in range(6)
    ]

    async def all_of_them() -> list[list[Extension]]:
        return await asyncio.gather(*(sampler.extend(one, Limit(15, 9), samplings) for one in prefixes))

    found = [one for part in asyncio.run(all_of_them()) for one in part]
    assert len({one.segment.generated for one in found}) > 12
    for one in found:
        ids = torch.tensor([[*one.segment.context, *one.segment.generated]])
        n = ids.shape[1]
        with torch.no_grad():
            causal = Masked(torch.ones(n, n, dtype=torch.bool).tril()[None, None])
            logits = network.logits(network.hidden(ids, torch.arange(n)[None], causal))[0]
        known = logits[len(one.segment.context) - 1 : -1, : sampler.checkpoint.tokenizer.size].log_softmax(dim=-1)
        right = known.gather(1, torch.tensor(one.segment.generated)[:, None]).squeeze(1)
        assert one.segment.logprobs == pytest.approx(right.tolist(), abs=1e-4)


def test_the_slow_path_samples_what_ours_does(plain: Make) -> None:
    samplings = [Sampling(1.0, 1.0, seed) for seed in range(8)]
    found = [
        extend(
            LocalSampler(load_checkpoint(plain(kind=kind, name=kind))),
            Prefix(ASKED, Effort.LOW),
            Limit(25, 5),
            samplings,
        )
        for kind in ("llama", "mistral")
    ]
    for ours, theirs in zip(*found, strict=True):
        assert ours.segment.generated == theirs.segment.generated
        assert ours.segment.logprobs == pytest.approx(theirs.segment.logprobs, abs=1e-4)


def test_other_processes_sample_the_same(plain: Make) -> None:
    checkpoint = load_checkpoint(plain(kind="mistral", template="{{ messages[0].content }}"))
    samplings = [Sampling(1.0, 1.0, seed) for seed in range(3)]
    alone = extend(LocalSampler(checkpoint), Prefix(ASKED, Effort.LOW), Limit(9, 5), samplings)
    with ParallelSampler(checkpoint, workers=1) as parallel:
        found = asyncio.run(parallel.extend(Prefix(ASKED, Effort.LOW), Limit(9, 5), samplings))
    assert [one.segment.generated for one in found] == [one.segment.generated for one in alone]


def test_the_listener_hears_what_is_written(plain: Make) -> None:
    sampler, heard = LocalSampler(load_checkpoint(plain(TURN_ENDS_IN_THOUGHT))), list[str]()
    asyncio.run(
        sampler.extend(Prefix(ASKED, Effort.LOW), Limit(20, 9), [Sampling()], lambda _, text: heard.append(text))
    )
    assert heard == ["a", "b", "\n\n"]
