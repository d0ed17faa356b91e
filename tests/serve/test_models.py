"""Who answers: plans of efforts, effort auto, and model auto."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ponder.engine.scripted import ScriptedSampler
from ponder.interfaces import Prefix
from ponder.reward.route import Router
from ponder.serve.models import Model
from ponder.serve.worker import Worker
from ponder.text.effort import Plan
from ponder.types import Effort, Rating

if TYPE_CHECKING:
    from tests.serve.conftest import Events, Serve

AUTO: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "what is the sum of both"}]}
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


@dataclass
class Values:
    """A rater with one value for each effort."""

    values: Mapping[Effort, float]
    asked: list[Effort] = field(default_factory=list[Effort])

    async def rate(self, prefixes: Sequence[Prefix]) -> list[Rating]:
        self.asked += [prefix.effort for prefix in prefixes]
        return [Rating(self.values[prefix.effort], 1.0) for prefix in prefixes]


TABLE = {Effort.NONE: 0.9, Effort.LOW: 0.8, Effort.HIGH: 0.0}


def router(none: float, low: float, table: Mapping[Effort, float] = TABLE) -> Router:
    return Router(table, Values(dict.fromkeys(Effort, 0.85) | {Effort.NONE: none, Effort.LOW: low}))


class AnyPrompt(dict[str, Any]):
    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return "<|answer|>quick<|end|>"


@pytest.fixture
def fast() -> Iterator[Any]:
    """Makes a fast model whose head expects these values."""
    workers: list[Worker] = []

    def make(chooses: Router | None, **more: Any) -> Model:
        workers.append(Worker(ScriptedSampler(AnyPrompt())))
        return Model(name="mini", worker=workers[-1], router=chooses, **more)

    yield make
    for worker in workers:
        worker.close()


@pytest.mark.parametrize(
    ("none", "low", "effort"), [(0.95, 0.1, "none"), (0.5, 0.8, "low"), (0.5, 0.5, "high"), (0.9, 0.9, "none")]
)
def test_effort_auto_is_the_cheapest_that_is_enough(serve: Serve, none: float, low: float, effort: str) -> None:
    served = serve(router=router(none, low))
    reply = served.chat(reasoning_effort="auto")
    assert reply.headers["x-ponder-effort"] == reply.json()["reasoning_effort"] == effort
    assert served.respond(reasoning={"effort": "auto"}).json()["reasoning"]["effort"] == effort
    assert served.ask(CHAT, AUTO).json()["reasoning_effort"] == effort, "of one model, model auto is its effort auto"
    assert served.ask(CHAT, AUTO | {"reasoning_effort": "max"}).json()["reasoning_effort"] == "max"


def test_a_model_without_a_head_says_so(serve: Serve) -> None:
    served = serve(unrouted="m has no reward head: name an effort")
    for reply, param in (
        (served.chat(reasoning_effort="auto"), "reasoning_effort"),
        (served.respond(reasoning={"effort": "auto"}), "reasoning.effort"),
        (served.ask(CHAT, AUTO), "model"),
    ):
        error = reply.json()["error"]
        assert reply.status_code == 400 and "no reward head: name an effort" in error["message"]
        assert error["param"] == param
    assert [one["id"] for one in served.get("/v1/models").json()["data"]] == ["m"]


@pytest.mark.parametrize(
    ("none", "low", "asked", "answers"),
    [
        (0.95, 0.1, None, ("mini", "none")),
        (0.5, 0.85, "auto", ("mini", "low")),
        (0.5, 0.5, None, ("m", "medium")),  # that the table ends in high at 0 promises nothing
        (0.95, 0.95, "low", ("mini", "low")),
        (0.95, 0.85, "low", ("m", "low")),  # a named effort is held against the strictest threshold
    ],
)
def test_model_auto_asks_the_fast_models_head(
    serve: Serve, fast: Any, none: float, low: float, asked: str | None, answers: tuple[str, str], events: Events
) -> None:
    served = serve(fast=fast(router(none, low)))
    how = {"reasoning_effort": asked} if asked else {}
    reply = served.ask(CHAT, AUTO | how)
    told = reply.json()
    assert (told["model"], told["reasoning_effort"]) == answers
    assert (reply.headers["x-ponder-model"], reply.headers["x-ponder-effort"]) == answers
    assert told["choices"][0]["message"]["content"] == ("quick" if answers[0] == "mini" else "4")
    how = {"reasoning": {"effort": asked}} if asked else {}
    streamed = served.ask(RESPONSES, {"model": "auto", "input": "what is the sum of both", "stream": True, **how})
    last = events(streamed)[-1]["response"]
    assert (last["model"], last["reasoning"]["effort"]) == answers


def test_models_can_be_named(serve: Serve, fast: Any) -> None:
    served = serve(fast=fast(None, unrouted="mini has no head"), router=router(0.1, 0.1))
    assert served.chat(model="mini").json()["model"] == "mini"
    assert served.ask(CHAT, AUTO).status_code == 400
    assert [one["id"] for one in served.get("/v1/models").json()["data"]] == ["m", "mini"]
    assert served.get("/v1/models/auto").status_code == 400
    served = serve(fast=fast(router(0.1, 0.1)), router=router(0.1, 0.9))
    assert [one["id"] for one in served.get("/v1/models").json()["data"]] == ["m", "mini", "auto"]
    assert "auto" in served.get("/v1/models/m").json()["x_ponder_efforts"]
    told = served.ask(CHAT, AUTO).json()
    assert (told["model"], told["reasoning_effort"]) == ("m", "low"), "then the main model chooses its effort"
    assert served.chat(model="nobody").json()["error"]["message"].endswith("'m' and 'mini' and 'auto'.")


def test_efforts_are_spent_as_the_models_plans_say(micro: Serve) -> None:
    plans = {Effort.HIGH: Plan(search="majority", samples=4, temperature=0.9)}
    budgets = {effort: plans.get(effort, Plan(thinking=40)).budget(effort) for effort in Effort}
    served = micro(plans=plans, budgets=budgets)
    reply = served.chat(reasoning_effort="high", max_completion_tokens=300)
    assert reply.headers["x-ponder-search"] == "majority"
    whole = served.respond(reasoning={"effort": "high"}, max_output_tokens=300).json()
    assert whole["temperature"] == 0.9
    assert served.chat(reasoning_effort="low").headers["x-ponder-search"] == "single"
    greedy = served.chat(reasoning_effort="high", temperature=0, max_completion_tokens=300)
    assert greedy.headers["x-ponder-search"] == "single", "all samples would be the same"
    assert reply.json()["usage"]["completion_tokens"] > greedy.json()["usage"]["completion_tokens"]


def test_a_prompt_that_no_head_can_read_is_refused(micro_checkpoint: Any, serve: Serve) -> None:
    import torch

    from ponder.model.checkpoint import load_checkpoint
    from ponder.model.heads import new_head
    from ponder.reward.head import HeadRater

    checkpoint = load_checkpoint(micro_checkpoint)
    torch.manual_seed(0)
    from dataclasses import replace

    headed = replace(checkpoint, head=new_head(checkpoint.network.shape.hidden_size))
    served = serve(router=Router(TABLE, HeadRater(headed)))
    assert served.chat(reasoning_effort="auto").status_code == 200
    for words in (3000, 100_000):
        reply = served.chat("so " * words, reasoning_effort="auto")
        assert reply.json()["error"]["code"] == "context_length_exceeded"
