"""Earlier turns: their thoughts never come into a context again, however a client sends them back."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.engine.scripted import Step
from ponder.interfaces import Prefix
from ponder.serve.thoughts import without_thoughts
from ponder.types import Message

if TYPE_CHECKING:
    from tests.serve.conftest import Serve

SECRET = "nobody may read this"
CHAT = "/v1/chat/completions"
ANSWERS: tuple[dict[str, Any], ...] = (
    {"content": "4"},
    {"content": "4", "reasoning_content": SECRET},
    {"content": "\n4", "reasoning_content": SECRET},
    {"content": "4", "reasoning": SECRET, "reasoning_details": [{"text": SECRET}]},
    {"content": f"<think>{SECRET}</think>4"},
    {"content": f"<think>\n{SECRET}\n\n{SECRET}</think>\n\n4"},
    {"content": f"{SECRET}</think>\n4"},
    {"content": f'<details type="reasoning" done="true" duration="3">\n{SECRET}\n</details>\n4'},
    {"content": [{"type": "text", "text": f"<thinking>{SECRET}</thinking>4"}]},
    {"content": f"<|begin_of_thought|>{SECRET}<|end_of_thought|>\n\n4"},
    {"content": f"[THINK]{SECRET}[/THINK]4"},
    {"content": f"<details done='true' type='reasoning'>{SECRET}</details>4"},
    {"content": f"4\n<think>{SECRET}"},
    {"content": f"4 [THINK]{SECRET}"},
    {"content": f"{SECRET}</think>4<think>{SECRET}"},
    {"content": [{"type": "thinking", "thinking": SECRET, "signature": "x"}, {"type": "text", "text": "4"}]},
    {"content": [{"type": "reasoning", "text": SECRET}, {"type": "text", "text": "4"}]},
    {"content": [{"type": "redacted_thinking", "data": SECRET}, {"type": "text", "text": "4"}]},
)
OWN_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")


class Heard:
    """A script that remembers what it was asked."""

    def __init__(self) -> None:
        self.messages: tuple[Message, ...] = ()

    def __call__(self, prefix: Prefix, rng: Random) -> Step:
        self.messages = prefix.messages
        return Step("5")


@pytest.mark.parametrize("turn", ANSWERS)
def test_a_chats_earlier_thoughts_are_dropped(serve: Serve, turn: dict[str, Any]) -> None:
    heard = Heard()
    turns = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "2+2?"}]
    turns += [{"role": "assistant", **turn}, {"role": "user", "content": "and one more?"}]
    reply = serve(heard).ask(CHAT, {"model": "m", "messages": turns})
    assert reply.status_code == 200
    held = [name for name in OWN_FIELDS if name in turn] or ["content"] * (SECRET in str(turn))
    removed = [f"messages[2].{name}" for name in held]
    assert reply.headers.get("x-ignored-params", "").split(", ") == (removed or [""])
    wanted = [("system", "be brief"), ("user", "2+2?"), ("assistant", "4"), ("user", "and one more?")]
    assert [(message.role, message.content) for message in heard.messages] == wanted


@pytest.mark.parametrize("turn", ANSWERS)
def test_a_responses_items_are_read_without_thoughts(serve: Serve, turn: dict[str, Any]) -> None:
    heard = Heard()
    served = serve(heard)
    items = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "id": "msg_1", **turn}]
    first = served.respond([*items, {"role": "user", "content": "and one more?"}]).json()
    held = not any(name in turn for name in OWN_FIELDS) and SECRET in str(turn)
    removed = first.get("input_transformations", [])
    assert [(one["id"], one["action"]) for one in removed] == [("msg_1", "removed")] * held
    wanted = [("user", "2+2?"), ("assistant", "4"), ("user", "and one more?")]
    assert [(message.role, message.content) for message in heard.messages] == wanted
    served.respond("and now?", previous_response_id=first["id"])
    assert [(message.role, message.content) for message in heard.messages][:3] == wanted
    if isinstance(turn["content"], list) and turn["content"][0]["type"] != "text":
        listed = served.get(f"/v1/responses/{first['id']}/input_items").json()
        assert listed["data"] and SECRET not in str(listed), "what is kept holds no thoughts"


def test_a_users_own_parts_are_text(serve: Serve) -> None:
    for kind in ("thinking", "reasoning"):
        error = serve().respond([{"role": "user", "content": [{"type": kind, "text": "4"}]}]).json()["error"]
        assert error["code"] == "unsupported_value"


def test_a_responses_earlier_thoughts_are_dropped_and_told(serve: Serve) -> None:
    heard = Heard()
    served = serve(heard, expose_thoughts=True)
    first = served.respond("2+2?").json()
    reasoning = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": SECRET}],
    }
    items = [{"role": "user", "content": [{"type": "input_text", "text": "2+2?"}]}, reasoning, first["output"][-1]]
    told = served.respond([*items, {"role": "user", "content": "and one more?"}], instructions="be brief").json()
    assert told["input_transformations"] == [
        {"id": "rs_1", "type": "reasoning", "action": "removed", "reason": "turn_boundary"}
    ]
    wanted = [("system", "be brief"), ("user", "2+2?"), ("assistant", "5"), ("user", "and one more?")]
    assert [(message.role, message.content) for message in heard.messages] == wanted


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("4", "4"),
        ("a <b> c", "a <b> c"),
        ("<think>never closed", ""),
        ("<details><summary>x</summary>y</details>", "<details><summary>x</summary>y</details>"),
        ("<THINK>a</Think>b", "b"),
        ("one <think>x</think>two", "one two"),
        ("İ <think>x</think>y", "İ y"),
        ("say `<think>` to think", "say `<think>` to think"),
        ("say <think> to think", "say"),
        ("so <|begin_of_thought|>x<|end_of_thought|>y", "so y"),
        ("[think]x[/Think]y", "y"),
        ("[THINK]ing caps", ""),
        ("<details type='reasoning'>x</details>y", "y"),
        ("<details type=reasoning>x</details>y", "y"),
        ("◁think▷x◁/think▷y", "y"),
        ("</think>x<think>y", "x"),
    ],
)
def test_texts_without_thoughts(text: str, left: str) -> None:
    assert without_thoughts(text) == left


@given(st.lists(st.sampled_from(["<think>", "</think>", '<details type="reasoning">', "</details>", "a", " "])))
def test_nothing_between_tags_stays(parts: list[str]) -> None:
    text = "".join(parts)
    left = without_thoughts(f"<think>{SECRET}</think>{text}")
    assert SECRET not in left
    assert without_thoughts("plain " + "b" * len(parts)) == "plain " + "b" * len(parts)


def test_many_open_tags_take_no_time() -> None:
    for tag in ("<think>", "</think>", "<details ", '<details type="reasoning">', "<think><thinking>"):
        without_thoughts(tag * (1_000_000 // len(tag)))
