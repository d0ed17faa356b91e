"""What a request asks: its conversation, with what earlier responses hold of it, and without earlier thoughts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ponder.serve.refusal import invalid
from ponder.serve.thoughts import FIELDS, PARTS, without_thoughts
from ponder.serve.wire import TURNS, ChatBody, Item, Part, ResponsesBody, Turn
from ponder.types import Message

TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
Json = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """A conversation."""

    messages: tuple[Message, ...]
    removed: tuple[str, ...] = ()
    """Thoughts of earlier turns that were left out: of a response the items that held them, of a chat the fields."""
    items: tuple[Json, ...] = ()
    """Of a response, its own input, as it is kept."""


def chat_said(body: ChatBody) -> Said:
    """A chat's; raises Refusal where it cannot be read."""
    messages: list[Message] = []
    removed: list[str] = []
    for at, turn in enumerate(body.messages):
        where = f"messages[{at}]"
        messages.append(_turn(turn, where))
        if turn.role == "assistant":
            removed += [f"{where}.{name}" for name in FIELDS if (turn.model_extra or {}).get(name)]
            removed += [f"{where}.content"] if _thinks(turn) else []
    return Said(tuple(messages), tuple(removed))


def response_said(body: ResponsesBody, id: str, earlier: Sequence[Mapping[str, Any]]) -> Said:
    """A response's, behind the items of those it goes on from; raises Refusal where it cannot be read."""
    new = [Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    messages = [_item(item, f"input[{at}]") for at, item in enumerate(new) if item.type != "reasoning"]
    old = [Item.model_validate(item) for item in earlier]
    before = [_item(item, "previous_response_id") for item in old if item.type != "reasoning"]
    if not messages:
        raise invalid("'input' holds no message.", "input")
    if len(before) + len(messages) > TURNS:
        raise invalid(f"The conversation has more than {TURNS} turns: begin a new one.", "input")
    first = (Message("system", whole_text(body.instructions, "instructions")),) if body.instructions else ()
    return Said(
        (*first, *before, *messages),
        tuple(item.id or "" for item in [*old, *new] if item.type == "reasoning" or _thinks(item)),
        tuple(_kept(item, f"{id}_{at}") for at, item in enumerate(new)),
    )


def _kept(item: Item, id: str) -> Json:
    """An input item as it is kept and listed: with an id, its text in parts, and no thoughts."""
    told = item.model_dump(exclude_none=True, exclude={"id"})  # a client may give one id to many items
    if item.type == "reasoning":
        return {"id": f"rs_{id}", "summary": []} | {name: told[name] for name in told if name != "content"}
    kind = "output_text" if item.role == "assistant" else "input_text"
    more: Json = {"annotations": [], "logprobs": []} if item.role == "assistant" else {}
    parts: list[Json] = (
        [{"type": kind, "text": item.content or "", **more}]
        if not isinstance(item.content, list)
        else [part for part in told["content"] if item.role != "assistant" or part["type"] not in PARTS]
    )
    return {"type": "message", "id": f"msg_{id}", "status": "completed"} | told | {"content": parts}


def _thinks(turn: Turn | Item) -> bool:
    """Whether an assistant's turn holds thoughts in its content, within the text or in parts of their own."""
    if turn.role != "assistant":
        return False
    parts = turn.content if isinstance(turn.content, list) else [Part(type="text", text=turn.content)]
    text = "".join(part.text or "" for part in parts)
    return any(part.type in PARTS for part in parts) or without_thoughts(text) != text


def _item(item: Item, where: str) -> Message:
    if item.type != "message":
        raise invalid(f"Items of type {item.type!r} are not supported.", f"{where}.type", "unsupported_value")
    if item.role is None:
        raise invalid(f"Missing required parameter: '{where}.role'.", f"{where}.role", "missing_required_parameter")
    return _message(item.role, item.content, where)


def _turn(turn: Turn, where: str) -> Message:
    if turn.role in ("tool", "function"):
        raise invalid(
            f"Unsupported value: '{where}.role' does not support '{turn.role}' with this model.",
            f"{where}.role",
            "unsupported_value",
        )
    return _message(turn.role, turn.content, where)


def _message(role: str, content: str | Sequence[Part] | None, where: str) -> Message:
    """One turn; of an assistant's, what the user saw. Thoughts in fields of their own were never read."""
    if role == "assistant" and isinstance(content, Sequence) and not isinstance(content, str):
        content = [part for part in content if part.type not in PARTS]
    text = _text(content, where)
    match role:
        case "assistant":
            return Message("assistant", without_thoughts(text).lstrip("\n"))  # Inspect puts one before every answer
        case "user":
            return Message("user", text)
        case _:
            return Message("system", text)


def _text(content: str | Sequence[Part] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return whole_text(content or "", where)
    for at, part in enumerate(content):
        if part.type not in TEXT_PARTS:
            name = f"{where}.content[{at}]"
            raise invalid(f"'{name}' is of type {part.type!r}; this model reads text.", name, "unsupported_value")
    return whole_text("".join(part.text or part.refusal or "" for part in content), where)


def whole_text(text: str, where: str) -> str:
    """A text, refused where it holds half a character, which no model reads."""
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise invalid(f"'{where}' holds half a character at {err.start}: send whole ones.", where) from None
    return text
