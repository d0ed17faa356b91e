"""Responses that are kept: asked for again, gone on from, followed while they think, cancelled and forgotten."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ponder.engine.scripted import Step
from ponder.interfaces import Prefix
from ponder.serve.keys import Keys
from ponder.serve.store import Store
from ponder.types import Message

if TYPE_CHECKING:
    from random import Random

    from tests.serve.conftest import Events, Live, Serve, Stepped

RESPONSES = "/v1/responses"
SECRET = "nobody may read this"
BODY: dict[str, Any] = {"model": "m", "input": "what is the sum of both"}
BLOCK_ENDS = "response.reasoning_summary_part.done"


def test_a_response_can_be_asked_for_again(serve: Serve, events: Events) -> None:
    served = serve()
    whole = served.respond().json()
    assert whole["store"] is True and served.get(f"{RESPONSES}/{whole['id']}").json() == whole
    streamed = served.respond(stream=True)
    told = events(streamed)
    id_ = told[0]["response"]["id"]
    assert served.get(f"{RESPONSES}/{id_}").json() == told[-1]["response"]
    assert events(served.get(f"{RESPONSES}/{id_}?stream=true")) == told
    for after in (0, 3, len(told) - 2):
        assert events(served.get(f"{RESPONSES}/{id_}?stream=true&starting_after={after}")) == told[after + 1 :]
    assert events(served.get(f"{RESPONSES}/{id_}?stream=true&starting_after=1000")) == []


def test_what_there_is_is_sent_in_one_piece(serve: Serve, stepped: Stepped) -> None:
    served, pieces = serve(sampler=stepped), list[bytes]()
    raw, asked = json.dumps(BODY | {"stream": True}).encode(), list[bool]()

    async def receive() -> dict[str, Any]:
        if asked:
            await asyncio.sleep(60)
        asked.append(True)
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        pieces.append(message.get("body", b""))
        if b"response.created" in pieces[-1]:
            stepped.go(3)

    scope = {"type": "http", "method": "POST", "path": RESPONSES, "raw_path": RESPONSES.encode(), "query_string": b""}
    scope |= {"headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http"}
    asyncio.run(served.app(scope | {"root_path": "", "server": ("ponder", 80)}, receive, send))  # type: ignore[arg-type]
    told = [piece.count(b"event: ") for piece in pieces if piece]
    assert told[0] == 3 and sum(told) > 3 * len(told), "created, in_progress and its item; then a block at a time"
    assert pieces[-2].endswith(b"data: [DONE]\n\n") and not pieces[-1]


def test_nothing_is_kept_where_the_client_says_so(serve: Serve) -> None:
    served = serve()
    for stream in (False, True):
        whole = served.respond(store=False, stream=stream)
        id_ = json.loads(whole.text.split("\n")[1][6:])["response"]["id"] if stream else whole.json()["id"]
        assert served.get(f"{RESPONSES}/{id_}").status_code == 404
        assert served.respond(previous_response_id=id_).json()["error"]["code"] == "previous_response_not_found"
    assert served.store._base.execute("SELECT count(*) FROM responses").fetchone() == (0,)


def test_what_was_refused_is_not_kept(serve: Serve) -> None:
    served = serve()
    assert served.respond("").status_code == 400
    assert served.store._base.execute("SELECT count(*) FROM responses").fetchone() == (0,)


def test_deleted_is_forgotten(serve: Serve) -> None:
    served = serve()
    id_ = served.respond().json()["id"]
    assert served.ask(f"{RESPONSES}/{id_}", method="DELETE").json() == {
        "id": id_,
        "object": "response",
        "deleted": True,
    }
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        error = served.ask(f"{RESPONSES}/{id_}{path}", method=method)
        assert (error.status_code, error.json()["error"]["code"]) == (404, "response_not_found")


class Heard:
    """Says 5 after a block, and remembers what it was asked."""

    def __init__(self) -> None:
        self.messages: tuple[Message, ...] = ()

    def __call__(self, prefix: Prefix, rng: Random) -> Step:
        from ponder.types import Block

        self.messages = prefix.messages
        return Step("5") if prefix.blocks or prefix.answering else Step(Block("Think", SECRET, "done"))


def test_a_conversation_goes_on_without_its_thoughts(serve: Serve) -> None:
    heard = Heard()
    served = serve(heard, expose_thoughts=True)
    first = served.respond("2+3?", instructions="be brief", include=["reasoning.content"]).json()
    assert SECRET in str(first)
    second = served.respond([{"role": "user", "content": "sure?"}], previous_response_id=first["id"]).json()
    third = served.respond("and now?", previous_response_id=second["id"], instructions="be loud").json()
    said = [(message.role, message.content) for message in heard.messages]
    assert said == [
        ("system", "be loud"),  # instructions hold for their own response alone
        ("user", "2+3?"),
        ("assistant", "5"),
        ("user", "sure?"),
        ("assistant", "5"),
        ("user", "and now?"),
    ]
    assert third["previous_response_id"] == second["id"]
    removed = [one["id"] for one in third["input_transformations"]]
    assert removed == [first["output"][0]["id"], second["output"][0]["id"]]
    items = served.get(f"{RESPONSES}/{third['id']}/input_items?order=asc").json()
    texts = [item["content"][0]["text"] for item in items["data"] if item["type"] == "message"]
    assert texts == ["2+3?", "5", "sure?", "5", "and now?"] and items["has_more"] is False


def test_input_items_come_in_pages(serve: Serve) -> None:
    served = serve()
    reasoning = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": SECRET}]}
    turns = [{"role": "user", "content": f"turn {at}"} for at in range(5)]
    id_ = served.respond([reasoning, *turns]).json()["id"]
    path, found, after = f"{RESPONSES}/{id_}/input_items", list[Any](), ""
    while True:
        page = served.get(f"{path}?limit=2{after}").json()
        assert (page["object"], page["first_id"], page["last_id"]) == (
            "list",
            page["data"][0]["id"],
            page["data"][-1]["id"],
        )
        found += page["data"]
        after = f"&after={page['last_id']}"
        if not page["has_more"]:
            break
    assert len({item["id"] for item in found}) == len(found) == 6 and SECRET not in str(found)
    assert [item["content"][0]["text"] for item in found[:-1]] == [f"turn {at}" for at in range(4, -1, -1)]
    assert served.get(f"{path}?limit=0").status_code == served.get(f"{path}?order=up").status_code == 400
    assert served.get(f"{path}?after=msg_1").status_code == 404


def test_ids_that_a_client_uses_twice_do_not_break_paging(serve: Serve) -> None:
    served = serve()
    turns = [{"role": "user", "content": f"turn {at}", "id": "msg_same"} for at in range(6)]
    first = served.respond(turns[:3]).json()["id"]
    id_ = served.respond(turns[3:], previous_response_id=first).json()["id"]
    found, after = list[Any](), ""
    for _ in range(9):
        page = served.get(f"{RESPONSES}/{id_}/input_items?limit=2&order=asc{after}").json()
        found += page["data"]
        after = f"&after={page['last_id']}"
        if not page["has_more"]:
            break
    texts = [item["content"][0]["text"] for item in found if item.get("role") == "user"]
    assert texts == [f"turn {at}" for at in range(6)] and len({item["id"] for item in found}) == len(found)


def test_items_can_be_named_by_their_ids(serve: Serve) -> None:
    heard = Heard()
    served = serve(heard)
    first = served.respond("2+3?").json()
    (asked,) = served.get(f"{RESPONSES}/{first['id']}/input_items").json()["data"]
    named = [{"type": "item_reference", "id": one["id"]} for one in (asked, *first["output"])]
    told = served.respond([*named, {"role": "user", "content": "sure?"}]).json()
    assert [message.content for message in heard.messages] == ["2+3?", "5", "sure?"]
    assert [one["id"] for one in told["input_transformations"]] == [first["output"][0]["id"]]
    for wrong in ("msg_1", "", f"msg_{'0' * 32}", f"rs_{first['id'][5:]}_7"):
        assert served.respond([{"type": "item_reference", "id": wrong}]).json()["error"]["code"] == "item_not_found"


def test_nobody_sees_what_was_asked_with_another_key(serve: Serve) -> None:
    keys = Keys(tuple(hashlib.sha256(key).digest() for key in (b"ann", b"bob")))
    served = serve(keys=keys)
    ann, bob = ({"authorization": f"Bearer {name}"} for name in ("ann", "bob"))
    id_ = served.ask(RESPONSES, BODY, headers=ann).json()["id"]
    assert served.get(f"{RESPONSES}/{id_}", headers=ann).status_code == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        assert served.ask(f"{RESPONSES}/{id_}{path}", method=method, headers=bob).status_code == 404
    reply = served.ask(RESPONSES, BODY | {"previous_response_id": id_}, headers=bob)
    assert reply.json()["error"]["code"] == "previous_response_not_found"
    assert served.ask(RESPONSES, BODY | {"previous_response_id": id_}, headers=ann).status_code == 200


def read(lines: Iterator[str], until: str = "") -> list[dict[str, Any]]:
    """The events of an open stream, up to one of a type, or all."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith("data: {"):
            found.append(json.loads(line.removeprefix("data: ")))
            if found[-1]["type"] == until:
                break
    return found


def test_a_response_in_the_background_is_followed_again(serve: Serve, stepped: Stepped, live: Live) -> None:
    served = serve(sampler=stepped)
    client = live(served)
    with client.stream("POST", RESPONSES, json=BODY | {"background": True, "stream": True}) as reply:
        stepped.go()
        seen = read(reply.iter_lines(), BLOCK_ENDS)
    id_, last = seen[0]["response"]["id"], seen[-1]["sequence_number"]  # and here the page is loaded again
    whole = client.get(f"{RESPONSES}/{id_}").json()
    assert (whole["status"], whole["background"]) == ("in_progress", True)
    assert [part["text"] for part in whole["output"][0]["summary"]] == ["**Add the ones**\n\n4, no carry"]
    error = client.post(RESPONSES, json=BODY | {"previous_response_id": id_})
    assert (error.status_code, error.json()["error"]["code"]) == (409, "response_in_progress")
    assert "ponder_thinking 1.0" in client.get("/metrics").text
    with client.stream("GET", f"{RESPONSES}/{id_}?stream=true&starting_after={last}") as reply:
        stepped.go(2)
        rest = read(reply.iter_lines())
    assert [one["sequence_number"] for one in [*seen, *rest]] == list(range(len(seen) + len(rest)))
    assert rest[-1]["type"] == "response.completed" and SECRET not in str(seen + rest)
    assert client.get(f"{RESPONSES}/{id_}").json() == rest[-1]["response"]
    assert "ponder_thinking 0.0" in client.get("/metrics").text


def test_a_response_in_the_background_can_be_polled(serve: Serve, stepped: Stepped, live: Live) -> None:
    client = live(serve(sampler=stepped))
    whole = client.post(RESPONSES, json=BODY | {"background": True}).json()
    assert whole["status"] == "in_progress" and whole["output"][0]["summary"] == []
    stepped.go(3)
    for _ in range(400):
        whole = client.get(f"{RESPONSES}/{whole['id']}").json()
        if whole["status"] != "in_progress":
            break
        time.sleep(0.01)
    assert whole["status"] == "completed" and whole["output"][-1]["content"][0]["text"] == "4"


def test_cancelling_keeps_what_there_is(serve: Serve, stepped: Stepped, live: Live, events: Events) -> None:
    client = live(serve(sampler=stepped))
    with client.stream("POST", RESPONSES, json=BODY | {"background": True, "stream": True}) as reply:
        stepped.go()
        lines = reply.iter_lines()
        seen = read(lines, BLOCK_ENDS)
        id_ = seen[0]["response"]["id"]
        whole = client.post(f"{RESPONSES}/{id_}/cancel").json()
        rest = read(lines)
    assert whole["status"] == "cancelled" and len(whole["output"][0]["summary"]) == 1
    assert rest[-1]["type"] == "response.incomplete" and rest[-1]["response"] == whole
    assert stepped.cancelled.wait(5)
    assert client.get(f"{RESPONSES}/{id_}").json() == whole == client.post(f"{RESPONSES}/{id_}/cancel").json()
    assert events(client.get(f"{RESPONSES}/{id_}?stream=true")) == [*seen, *rest]


def test_cancelling_what_is_over_changes_nothing(serve: Serve) -> None:
    served = serve()
    whole = served.respond().json()
    assert served.ask(f"{RESPONSES}/{whole['id']}/cancel").json() == whole


def test_deleting_stops_the_thought(serve: Serve, stepped: Stepped, live: Live) -> None:
    client = live(serve(sampler=stepped))
    id_ = client.post(RESPONSES, json=BODY | {"background": True}).json()["id"]
    assert client.delete(f"{RESPONSES}/{id_}").json()["deleted"] is True
    assert stepped.cancelled.wait(5) and client.get(f"{RESPONSES}/{id_}").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_without_background_has_cancelled(serve: Serve, stepped: Stepped, live: Live, stream: bool) -> None:
    served = serve(sampler=stepped)
    client = live(served)
    with (
        pytest.raises(httpx.ReadTimeout),
        client.stream("POST", RESPONSES, json=BODY | {"stream": stream}, timeout=0.3) as reply,
    ):
        read(reply.iter_lines())
    assert stepped.cancelled.wait(5)
    for _ in range(100):
        (whole,) = served.store._base.execute("SELECT whole FROM responses").fetchone()
        if json.loads(whole)["status"] != "in_progress":
            break
        time.sleep(0.01)
    assert json.loads(whole)["status"] == "cancelled"


def test_failures_are_kept_as_failures(serve: Serve, events: Events) -> None:
    def failing(prefix: Prefix, rng: Random) -> Step:
        raise ZeroDivisionError

    served = serve(failing)
    for stream in (False, True):
        served.respond(stream=stream)
    for (row,) in served.store._base.execute("SELECT whole FROM responses WHERE NOT running").fetchall():
        assert json.loads(row)["status"] == "failed" and json.loads(row)["error"]["code"] == "server_error"


def test_what_a_dead_server_left_is_told_as_failed(serve: Serve, events: Events, tmp_path: Any) -> None:
    served = serve(store=Store(tmp_path / "file"))
    whole = served.respond().json()
    served.store._base.execute("UPDATE responses SET running = 1, events = NULL")
    served.store._base.execute("UPDATE responses SET whole = json_set(whole, '$.status', 'in_progress')")
    served.store.close()
    served = serve(store=Store(tmp_path / "file"))
    found = served.get(f"{RESPONSES}/{whole['id']}").json()
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
    (end,) = events(served.get(f"{RESPONSES}/{whole['id']}?stream=true&starting_after=7"))
    assert (end["type"], end["sequence_number"], end["response"]) == ("response.failed", 8, found)


def test_a_store_that_fails_fails_the_response(serve: Serve, events: Events) -> None:
    served = serve()
    served.store._base.execute(
        "CREATE TRIGGER full BEFORE UPDATE ON responses BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    assert served.respond().status_code == 500
    told = events(served.respond(stream=True))
    assert [one["type"] for one in told[-2:]] == ["error", "response.failed"]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    served.store._base.execute("DROP TABLE responses")
    assert served.respond().status_code == 500 and "disk" not in served.respond().text
