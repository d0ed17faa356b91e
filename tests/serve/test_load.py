"""Many clients at once, as `benchmarks.serve` has them: no stream is lost or mixed up; one that were would be told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.load import Clients, Heard, load, read_response

if TYPE_CHECKING:
    from tests.serve.conftest import Live, Serve

RESPONSES = "/v1/responses"


def body(question: int) -> dict[str, Any]:
    asked = ("what is the sum of both", "start from the answer", "check it again")[question % 3]
    return {"model": "m", "input": asked, "stream": True, "temperature": 0, "reasoning": {"effort": "low"}}


def test_sixty_clients_at_once(micro: Serve, live: Live) -> None:
    client = live(micro())
    usual = {}
    for question in range(3):
        whole = client.post(RESPONSES, json=body(question) | {"stream": False}).json()
        usual[question] = whole["usage"]["output_tokens"], whole["output"][-1]["content"][0]["text"]
    heard = load(Clients(client.base_url.port or 0, RESPONSES, body), 60, 1.5)
    read = [read_response(one) for one in heard]
    assert len(heard) >= 20 and not [one.wrong for one in read if one.wrong]
    assert all((two.tokens, two.answer) == usual[one.asked % 3] for one, two in zip(heard, read, strict=True))
    assert all(0 < one.first["answer"] <= one.whole for one in heard if "answer" in one.first)


def test_those_that_are_refused_are_counted(serve: Serve, live: Live) -> None:
    client = live(serve())
    unknown = Clients(client.base_url.port or 0, RESPONSES, lambda question: body(question) | {"model": "another"})
    assert {read_response(one).wrong for one in load(unknown, 2, 0.05)} == {"refused: 404"}


@pytest.fixture(scope="module")
def parts() -> list[bytes]:
    """The events of a whole stream."""
    where: dict[str, Any] = {"sequence_number": 0}
    message = {"content": [{"text": "4"}]}
    thought = {"summary": [{"text": "**Add**"}]}
    usage = {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}
    whole = {"output": [thought, message], "usage": usage | {"output_tokens_details": {"reasoning_tokens": 7}}}
    summary = "response.reasoning_summary_"
    kinds = ["response.created", "response.in_progress", "response.output_item.added", f"{summary}part.added"]
    kinds += [f"{summary}text.delta", f"{summary}text.done", f"{summary}part.done", "response.output_item.done"]
    kinds += ["response.output_item.added", "response.content_part.added", "response.output_text.delta"]
    kinds += ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    found: list[bytes] = []
    for number, kind in enumerate([*kinds, "response.completed"]):
        data = where | {"type": kind, "sequence_number": number, "response": whole}
        data |= {"delta": "4" if "output_text" in kind else "**Add**"}
        found.append(f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode())
    return [*found, b"data: [DONE]\n\n"]


def reply(parts: list[bytes]) -> Heard:
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    return Heard(0, b"".join([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]))


def test_a_whole_stream_is_read(parts: list[bytes]) -> None:
    assert (read := read_response(reply(parts))).wrong == "" and (read.tokens, read.answer) == (9, "4")
    assert read_response(reply([b"".join(parts)])) == read  # however it was cut into pieces
    assert read_response(replace(reply(parts), lost="lost: x")).wrong == "lost: x"


@pytest.mark.parametrize("at", range(16))
def test_what_is_missing_or_twice_or_another_is_told(parts: list[bytes], at: int) -> None:
    assert read_response(reply([*parts[:at], *parts[at + 1 :]])).wrong
    assert read_response(reply([*parts[:at], parts[at], *parts[at:]])).wrong


@pytest.mark.parametrize(
    "change",
    [
        (b'"delta": "4"', b'"delta": "5"'),
        (b'"delta": "**Add**"', b'"delta": "**Sub**"'),
        (b'"total_tokens": 14', b'"total_tokens": 15'),
        (b'"reasoning_tokens": 7', b'"reasoning_tokens": 9'),
        (b'"sequence_number": 6', b'"sequence_number": 5'),
        (b'"type": "response.completed"', b'"type": "response.incomplete"'),
    ],
)
def test_what_was_changed_is_told(parts: list[bytes], change: tuple[bytes, bytes]) -> None:
    changed = [part.replace(*change) for part in parts]
    assert changed != parts and read_response(reply(changed)).wrong.startswith("corrupted")
