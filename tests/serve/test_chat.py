"""Chat completions, from outside."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ponder.engine.scripted import Step
from ponder.interfaces import Prefix
from ponder.serve.settings import Price
from ponder.text.effort import Budget
from ponder.types import Block, Effort

if TYPE_CHECKING:
    from tests.serve.conftest import Events, Serve

SECRET = "nobody may read this"
SUMMARIES = "**Add the ones**\n\n4, no carry\n\n**Check**\n\n4 is right"


def test_a_completion_has_answer_summaries_and_usage(serve: Serve) -> None:
    reply = serve().chat()
    told = reply.json()
    (choice,) = told["choices"]
    assert choice["message"]["content"] == "4" and choice["message"]["reasoning_content"] == SUMMARIES
    assert (choice["finish_reason"], choice["logprobs"], told["object"]) == ("stop", None, "chat.completion")
    assert told["id"].startswith("chatcmpl-") and reply.headers["x-request-id"].startswith("req_")
    assert SECRET not in reply.text


def test_a_stream_says_the_same_in_order(serve: Serve, events: Events) -> None:
    served = serve()
    whole = served.chat().json()
    reply = served.chat(stream=True, stream_options={"include_usage": True})
    told = events(reply)
    assert SECRET not in reply.text
    assert len({(one["id"], one["created"], one["object"]) for one in told}) == 1
    *chunks, last = told
    assert last["choices"] == [] and last["usage"] == whole["usage"]
    assert all(one["usage"] is None for one in chunks)
    deltas = [one["choices"][0]["delta"] for one in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None} and deltas[-1] == {}
    assert [name for delta in deltas[1:-1] for name in delta] == ["reasoning_content"] * 2 + ["content"]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == SUMMARIES
    assert [one["choices"][0]["finish_reason"] for one in chunks] == [None] * (len(chunks) - 1) + ["stop"]


@pytest.mark.parametrize(("name", "names"), [("both", {"reasoning_content", "reasoning"}), ("none", set[str]())])
def test_the_field_of_summaries_can_be_chosen(serve: Serve, name: str, names: set[str]) -> None:
    message = serve(reasoning_field=name).chat().json()["choices"][0]["message"]
    assert names == {key for key in message if key.startswith("reasoning")}


def test_summaries_can_be_kept_back(serve: Serve) -> None:
    assert "ones" not in serve().chat(reasoning={"exclude": True}).text


@pytest.mark.parametrize("stream", [False, True])
def test_usage_adds_up_by_the_models_own_tokens(micro: Serve, stream: bool, events: Events) -> None:
    served = micro(price=Price(1.0, 10.0))
    reply = served.chat(stream=stream, stream_options={"include_usage": True}, n=8, temperature=1, seed=4)
    usage = events(reply)[-1]["usage"] if stream else reply.json()["usage"]
    from ponder.interfaces import Prefix
    from ponder.types import Message

    prompt = len(served.worker.sampler.context(Prefix((Message("user", "what is the sum of both"),), Effort.MEDIUM)))  # type: ignore[attr-defined]
    assert usage["prompt_tokens"] == prompt
    assert usage["total_tokens"] == prompt + usage["completion_tokens"]
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
    assert float(usage["x_ponder_cost"]) == pytest.approx((prompt + 10 * usage["completion_tokens"]) / 1e6)
    assert stream or reply.headers["x-ponder-cost"] == usage["x_ponder_cost"]


def test_a_real_models_stream_is_its_completion(micro: Serve, events: Events) -> None:
    for effort in ("none", "medium"):
        how: dict[str, Any] = {"seed": 7, "temperature": 1, "n": 3, "reasoning_effort": effort}
        whole = [choice["message"] for choice in micro().chat(**how).json()["choices"]]
        told = [one["choices"][0] for one in events(micro().chat(**how, stream=True))]
        for index, message in enumerate(whole):
            deltas = [one["delta"] for one in told if one["index"] == index]
            for name in ("content", "reasoning_content"):
                assert "".join(delta.get(name, "") for delta in deltas) == message.get(name, "")
        assert len({message["content"] for message in whole}) > 1


def test_an_answer_streams_while_it_is_written(micro: Serve, events: Events) -> None:
    told = events(micro().chat(stream=True, reasoning_effort="none", temperature=1, seed=1, n=16))
    spoken = [one["choices"][0]["index"] for one in told if one["choices"][0]["delta"].get("content")]
    assert len(spoken) > len(set(spoken)) + 8


def test_seeds_repeat(micro: Serve) -> None:
    one, same, other = (micro().chat(temperature=1, seed=seed).json()["choices"] for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("stream", [False, True])
def test_answers_end_before_a_stop_text(micro: Serve, stream: bool, events: Events) -> None:
    how: dict[str, Any] = {"temperature": 1, "seed": 3, "reasoning_effort": "none"}
    answer = micro().chat(**how).json()["choices"][0]["message"]["content"]
    assert len(answer) > 6
    stop = answer[3:5]
    reply = micro().chat(**how, stop=[stop, "never written"], stream=stream)
    if stream:
        told = [one["choices"][0] for one in events(reply)]
        text = "".join(one["delta"].get("content", "") for one in told)
        assert told[-1]["finish_reason"] == "stop"
    else:
        text = reply.json()["choices"][0]["message"]["content"]
    assert text == answer[: answer.find(stop)]


def test_a_limit_holds_thinking_and_answer_together_and_leaves_an_answer(micro: Serve) -> None:
    for most in (1, 2, 9, 32, 40, 55, 80, 130):
        for effort in ("none", "max"):
            told = micro().chat(max_completion_tokens=most, reasoning_effort=effort, temperature=1, seed=most).json()
            assert 0 < told["usage"]["completion_tokens"] <= most
            reasoning = told["usage"]["completion_tokens_details"]["reasoning_tokens"]
            assert told["usage"]["completion_tokens"] > reasoning  # so there was an answer


def test_running_out_is_told_as_length(serve: Serve) -> None:
    served = serve()
    answered = served.chat(max_completion_tokens=40).json()["choices"][0]
    assert (answered["message"]["content"], answered["finish_reason"]) == ("4", "length")  # it had to answer
    cut = serve("<|answer|>" + "9" * 300 + "<|end|>").chat(max_completion_tokens=50).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("9" * 32, "length")
    assert served.chat(max_completion_tokens=100_000).json()["choices"][0]["finish_reason"] == "stop"


FEW: dict[str, Any] = {
    "search": "majority",
    "budgets": {effort: Budget(400, answer=40, samples=2) for effort in Effort},
    "temperature": 1.0,
}


def test_running_out_is_told_of_a_search_too(serve: Serve, events: Events) -> None:
    served = serve(**FEW)
    for stream in (False, True):
        reply = served.chat(max_completion_tokens=150, stream=stream)
        told = events(reply)[-1] if stream else reply.json()
        assert told["choices"][0]["finish_reason"] == "length"
    assert served.chat(max_completion_tokens=2000).json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("runs_on", "reason"), [(0.2, "stop"), (0.8, "length")])
def test_it_is_the_chosen_chain_that_ran_out(serve: Serve, runs_on: float, reason: str) -> None:
    def play(prefix: Prefix, rng: Random) -> Step:
        block = Block("Think", "on and on" * 3, "so") if not prefix.blocks or rng.random() < runs_on else None
        return Step("forced") if prefix.answering else Step(block or "by itself")

    budgets = {effort: Budget(150, answer=40, samples=15) for effort in Effort}
    (choice,) = serve(play, **FEW | {"budgets": budgets}).chat(max_completion_tokens=2250).json()["choices"]
    forced = reason == "length"
    assert choice["message"]["content"] == ("forced" if forced else "by itself") and choice["finish_reason"] == reason


def test_a_number_of_tokens_runs_out_as_length_and_an_efforts_own_budget_does_not(serve: Serve) -> None:
    budgets = {effort: Budget(0 if effort is Effort.NONE else 100, answer=40) for effort in Effort}

    def told(**how: Any) -> tuple[str, str]:
        (choice,) = serve(budgets=budgets).chat(**how).json()["choices"]
        return choice["message"]["content"], choice["finish_reason"]

    numbers: tuple[dict[str, Any], ...] = (
        {"reasoning": {"max_tokens": 90}},
        {"thinking": {"type": "enabled", "budget_tokens": 90}},
        {"max_completion_tokens": 130},
        {"max_tokens": 130},
    )
    assert [told(**how) for how in numbers] == [("4", "length")] * len(numbers)
    efforts: tuple[dict[str, Any], ...] = ({}, {"reasoning_effort": "low"}, {"reasoning": {"enabled": False}})
    assert [told(**how) for how in efforts] == [("4", "stop")] * len(efforts)


def test_efforts_and_budgets_by_every_name(micro: Serve) -> None:
    def reasoning(**how: Any) -> int:
        reply = micro().chat(**how, n=8, temperature=1, seed=1).json()
        return reply["usage"]["completion_tokens_details"]["reasoning_tokens"]

    none: tuple[dict[str, Any], ...] = (
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"enabled": False}},
        {"thinking": {"type": "disabled"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
    )
    assert [reasoning(**how) for how in none] == [0] * len(none)
    assert 0 < reasoning(reasoning={"max_tokens": 25}) <= 8 * 25
    assert 0 < reasoning(thinking={"type": "enabled", "budget_tokens": 20}) <= 8 * 20
    assert reasoning(reasoning_effort="minimal") <= 8 * 10 < reasoning(reasoning_effort="high") <= 8 * 90


def test_a_search_that_branches_streams_only_what_it_kept(micro: Serve, events: Events) -> None:
    budgets = {effort: Budget(60, answer=12, samples=16) for effort in Effort}
    served = micro(search="majority", budgets=budgets, temperature=1.0)
    whole, told = served.chat(seed=5).json(), events(served.chat(seed=5, stream=True))
    shown = "".join(one["choices"][0]["delta"].get("reasoning_content", "") for one in told)
    assert shown == whole["choices"][0]["message"].get("reasoning_content", "")
    usage = whole["usage"]
    assert usage["completion_tokens"] > 60 + 12  # discarded chains were computed, too
    for most in (10, 140, 600):
        assert served.chat(seed=5, max_completion_tokens=most).json()["usage"]["completion_tokens"] <= most


def test_json_is_ascii_and_survives_any_text(serve: Serve, events: Events) -> None:
    served = serve("<|answer|>½ 😀 \N{LINE SEPARATOR}<|end|>")
    assert served.chat().json()["choices"][0]["message"]["content"] == "½ 😀 \N{LINE SEPARATOR}"
    told = events(served.chat(stream=True))
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in told) == "½ 😀 \N{LINE SEPARATOR}"
    assert json.loads(served.chat().text)


def test_a_model_that_thinks_in_tags_shows_its_answer_alone(serve: Serve, plain: Any, events: Events) -> None:
    from ponder.engine.local import LocalSampler
    from ponder.model.checkpoint import load_checkpoint

    chains = (("\n", "a", "b", "</think>"), ("\n\n", "4", "2", "<|im_end|>"))
    follows = {one: other for chain in chains for one, other in zip(chain, chain[1:], strict=False)}
    served = serve(sampler=LocalSampler(load_checkpoint(plain(follows))), dialect="think_tags")
    reply = served.chat("what is 6*7?").json()
    message, usage = reply["choices"][0]["message"], reply["usage"]
    assert message["content"] == "42" and "reasoning_content" not in message
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3 == usage["completion_tokens"] - 3
    told = [one["choices"][0]["delta"] for one in events(served.chat("what is 6*7?", stream=True))]
    assert [delta["content"] for delta in told if delta.get("content")] == ["4", "2"]
    cut = served.chat("what is 6*7?", stop="2", stream=True)
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in events(cut)) == "4"
    assert served.respond("what is 6*7?").json()["output"][0]["summary"] == []


def test_what_the_engine_need_not_read_is_told_as_cached(micro: Serve) -> None:
    served = micro(price=Price(2.0, 10.0, 0.5))
    text = "a question that nobody has asked before"

    def usage(text: str, **how: Any) -> tuple[int, int, float]:
        told = served.chat(text, **how).json()["usage"]
        return (
            told["prompt_tokens"],
            told["prompt_tokens_details"]["cached_tokens"],
            (float(told["x_ponder_cost"]) - told["completion_tokens"] * 1e-5) * 1e6,
        )

    sampler = served.worker.sampler
    before = sampler.scheduler.read_tokens  # type: ignore[attr-defined]
    prompt, cached, cost = usage(text, n=4, temperature=1, reasoning_effort="none")
    assert cached == 0 and cost == pytest.approx(2 * prompt, abs=1)
    read = sampler.scheduler.read_tokens - before  # type: ignore[attr-defined]
    assert read <= prompt + 8, "four choices read their prompt once"
    for how in ({}, {"n": 3, "temperature": 1}):
        prompt, cached, cost = usage(text, reasoning_effort="none", **how)
        assert prompt - 3 <= cached <= prompt, "all that was read to its end before"
        assert cost == pytest.approx(2 * (prompt - cached) + cached / 2, abs=1)
    whole = served.respond(text, reasoning={"effort": "none"}).json()["usage"]
    assert whole["input_tokens_details"]["cached_tokens"] == cached


def test_a_stop_that_cannot_be_is_the_clients_error(micro: Serve) -> None:
    reply = micro().chat("what is 6*7?", stop=["so", "<|end|>"])
    assert reply.status_code == 400 and "spells the marker <|end|>" in reply.json()["error"]["message"]
