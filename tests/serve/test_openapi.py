"""The description is true: whatever is sent is answered as it says, and never by a failure of the server."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ponder.reward.route import Router
from ponder.serve.params import LOGPROBS, RAW, SEALED, TREE
from ponder.text.effort import AUTO, Budget
from ponder.types import Effort

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serve.conftest import Live, Serve, Served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
DRAWS = [*range(1, 10), 0]
"""A case with 0, one in ten, stays as it was made up: it names nothing that there is. The first is the simplest."""
NONE = b'"reasoning_tokens":0'
EFFORTS = [*map(str, Effort), AUTO]


@dataclass
class Cases:
    """Sends what is made up for each operation that is described, most of it aimed at what there is."""

    served: Served
    url: str
    kept: list[tuple[str, str]]
    """Responses that there are, each with the id of an item that it answers."""
    sent: Counter[str] = field(default_factory=Counter[str])
    fine: Counter[str] = field(default_factory=Counter[str])
    """Cases with a status of 2xx; those that were streamed, or thought about, are counted once more."""

    def aim(self, case: Any, name: str, draw: int) -> None:
        """Name the model, the responses and the items that there are, in place of what was made up."""
        id_, item = self.kept[draw % len(self.kept)]
        if name.startswith("DELETE"):
            id_ = self.served.respond(reasoning={"effort": "none"}).json()["id"]
        if "id" in case.path_parameters:
            case.path_parameters["id"] = "m" if "/models/" in name else id_
        if isinstance(case.body, dict) and "model" in case.body:
            say(case.body, draw, id_)
        for at, value in {"starting_after": 3, "after": item}.items():
            if at in (case.query or {}):
                case.query[at] = value

    def draw(self, operation: Any, mode: GenerationMode, count: int) -> None:
        """Send so many cases of an operation."""
        name = f"{operation.method.upper()} {operation.path}"

        @settings(max_examples=count, suppress_health_check=list(HealthCheck), deadline=None, database=None)
        @given(operation.as_strategy(generation_mode=mode), st.sampled_from(DRAWS))
        def check(case: Any, draw: int) -> None:
            if draw:
                self.aim(case, name, draw)
            self.sent[name] += 1
            reply = case.call_and_validate(checks=CHECKS)
            if reply.status_code < 300:
                self.fine[name] += 1
                self.fine[f"{name}, streamed"] += "text/event-stream" in reply.headers["content-type"][0]
                self.fine[f"{name}, thought"] += b'"reasoning_tokens":' in reply.content.replace(NONE, b"")

        check()


def say(body: dict[str, Any], draw: int, id_: str) -> None:
    """Put into a body what its description has no words for: the model, efforts, a question among what is said."""
    body["model"] = AUTO if draw == 1 else "m"
    if isinstance(reasoning := body.get("reasoning"), dict):
        reasoning |= {name: EFFORTS[draw % 8] for name in ("effort",) if name in reasoning}
        reasoning |= {name: "auto" for name in ("summary",) if name in reasoning}
    body |= {"stream": True} if draw == 2 else {}
    known = {"reasoning_effort": EFFORTS[draw % 8], "previous_response_id": id_, "stop": ["7", "so"][: draw % 3]}
    known |= {"include": [LOGPROBS, RAW, SEALED, TREE][draw % 3 :], "max_completion_tokens": 8 * draw}
    body |= {name: value for name, value in known.items() if body.get(name)}
    question = {"role": "user", "content": "and so"}  # about this the checkpoint thinks, most of the time
    for name in ("messages", "input"):
        if isinstance(turns := body.get(name), list):
            for turn in turns:
                heard(turn, draw, name)
            turns.append(question)
        elif name in body and draw % 3 == 0:
            body[name] = [question]


def heard(turn: Any, draw: int, name: str) -> None:
    """Make a turn one that this server hears, if it is one at all."""
    if not isinstance(turn, dict) or draw > 7:
        return
    turn |= {"role": ("user", "assistant", "developer")[draw % 3]} | ({"type": "message"} if name == "input" else {})
    for part in turn["content"] if isinstance(turn.get("content"), list) else ():
        if isinstance(part, dict):
            part |= {"type": "text" if name == "messages" else "input_text", "text": "and so"}


def test_what_is_described_is_what_happens(micro: Serve, live: Live, micro_checkpoint: Path) -> None:
    """Most of a minute."""
    from ponder.engine.chances import Chances
    from ponder.model.checkpoint import load_checkpoint
    from ponder.model.heads import new_head
    from ponder.reward.head import HeadRater

    own = load_checkpoint(micro_checkpoint)
    headed = replace(own, head=new_head(own.network.shape.hidden_size))
    router = Router({Effort.NONE: 0.5, Effort.LOW: 0.5, Effort.MEDIUM: 0.0}, HeadRater(headed))
    small = {effort: Budget(0 if effort is Effort.NONE else 40, answer=12) for effort in Effort}
    served = micro(router=router, chances=Chances(own), expose_thoughts=True, budgets=small)
    kept = [served.respond().json()["id"] for _ in range(3)]
    items = [served.get(f"{RESPONSES}/{id_}/input_items").json()["data"][0]["id"] for id_ in kept]
    cases = Cases(served, str(live(served).base_url).rstrip("/"), list(zip(kept, items, strict=True)))
    for found in schemathesis.openapi.from_url(f"{cases.url}/openapi.json").get_all_operations():
        operation = found.ok()
        wrong = [GenerationMode.NEGATIVE] if operation.body or operation.query else []  # else nothing can be wrong
        for mode in (GenerationMode.POSITIVE, *wrong):
            cases.draw(operation, mode, 190)
    assert cases.sent.total() >= 2000
    reached = [f"POST {path}, {how}" for path in (CHAT, RESPONSES) for how in ("streamed", "thought")]
    few = [name for name in (*cases.sent, *reached, f"GET {RESPONSES}/{{id}}, streamed") if cases.fine[name] < 10]
    assert not few, f"hardly ever answered: {few}; {cases.fine}"
