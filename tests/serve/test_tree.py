"""The search's tree on the wire: its shape for who asks, and no text of what was discarded."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ponder.engine.scripted import Step
from ponder.interfaces import Prefix
from ponder.text.effort import Budget
from ponder.types import Block, Effort, Rating

if TYPE_CHECKING:
    from tests.serve.conftest import Events, Serve

SECRET, BAD, GOOD = "nobody may read this", "the wrong way", "the right way"
BUDGETS = {effort: Budget(400, samples=6, width=2) for effort in Effort}
SEARCH: dict[str, Any] = {"search": "beam", "budgets": BUDGETS, "temperature": 1.0}


def play(prefix: Prefix, rng: Random) -> Step:
    """Two steps, each of them right or wrong by chance, and then the answer."""
    if prefix.answering or len(prefix.blocks) == 2:
        return Step("4", Rating(0.5, 0.5))
    right = rng.random() < 0.5
    block = Block(GOOD if right else BAD, f"{SECRET} {rng.random()}", f"so {rng.random():.9f}")
    return Step(block, Rating(0.9 if right else 0.1, 0.5))


@pytest.mark.parametrize("exposed", [False, True])
def test_nothing_discarded_is_told_but_its_shape(serve: Serve, events: Events, exposed: bool) -> None:
    served = serve(play, expose_thoughts=exposed, **SEARCH)
    reply = served.respond(stream=True, include=["ponder.tree"], seed=3)
    told = events(reply)
    tree = told[-1]["response"]["x_ponder_tree"]
    kept = [node for node in tree["nodes"] if node["kept"]]
    lost = [node for node in tree["nodes"] if not node["kept"]]
    assert [node["kind"] for node in kept] == ["block", "block", "answer"] and kept[-1]["answer"] == "4"
    assert all(node["headline"] == GOOD for node in kept[:-1]) and lost
    assert all(("headline" in node) == exposed for node in lost if node["kind"] == "block")
    assert (BAD in reply.text) == exposed and SECRET not in reply.text
    assert sum(node["tokens"] for node in tree["nodes"]) == told[-1]["response"]["usage"]["output_tokens"]


def test_candidates_are_told_while_they_come(serve: Serve, events: Events) -> None:
    told = events(serve(play, **SEARCH).respond(stream=True, include=["ponder.tree"], seed=3))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    grown = [event["node"] for event in told if event["type"] == "ponder.tree.grown"]
    tree = told[-1]["response"]["x_ponder_tree"]["nodes"]
    assert len(grown) == len(tree) and [node["id"] for node in grown] == list(range(len(grown)))
    assert all(node["parent"] is None or node["parent"] < node["id"] for node in grown)
    assert sorted(len(list(lineage(grown, node))) for node in grown) == sorted(
        len(list(lineage(tree, node))) for node in tree
    )
    assert not any("headline" in json.dumps(node) for node in grown)
    first = next(at for at, event in enumerate(told) if event["type"].startswith("response.reasoning_summary"))
    before = [event for event in told[:first] if event["type"] == "ponder.tree.grown"]
    assert len(before) >= 6, "no block is certain before the first six candidates have been rated"


def lineage(nodes: list[dict[str, Any]], node: dict[str, Any]) -> list[int]:
    """The ids on the way to the question."""
    found: list[int] = []
    at: int | None = node["id"]
    while at is not None:
        found.append(at)
        at = nodes[at]["parent"]
    return found


def test_who_does_not_ask_hears_nothing_of_it(serve: Serve, events: Events) -> None:
    served = serve(play, strict=True, **SEARCH)
    for more in ({}, {"include": []}):
        reply = served.respond(stream=True, **more)
        assert "tree" not in reply.text and events(reply)
    asked = served.respond(include=["ponder.tree"], seed=3)
    assert asked.status_code == 200 and "x_ponder_tree" in asked.json() and "x-ignored-params" not in asked.headers
