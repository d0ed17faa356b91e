"""Responses that are kept, as their own endpoints tell them, and as later requests go on from them."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from starlette.responses import Response

from ponder.serve import sse
from ponder.serve.desk import Desk
from ponder.serve.gate import OWNER
from ponder.serve.refusal import Refusal
from ponder.serve.settings import Settings
from ponder.serve.store import Kept
from ponder.serve.wire import Item, ResponsesBody

ITEM = re.compile(r"(?:msg|rs)_([0-9a-f]{32})(?:_[0-9]+)?")
"""Ids of items name their response."""
MOST_ITEMS = 100


@dataclass(frozen=True)
class Archive:
    """The endpoints of one server's kept responses."""

    desk: Desk
    settings: Settings

    async def get(
        self,
        id: str,
        request: Request,
        stream: bool = False,
        starting_after: Annotated[int | None, Query(ge=0, le=2**31)] = None,
    ) -> Response:
        """A response as it stands; with `stream`, its events behind a number, those to come included."""
        owner, after = request.scope[OWNER], -1 if starting_after is None else starting_after
        if writing := self.desk.writing(id, owner):
            await writing.begun()
            if stream:
                return sse.Events(writing.follow(after), {}, self.settings)
            return sse.Json(writing.script.whole)
        kept = await self._find(id, owner)
        if not stream:
            return sse.Json(kept.whole)
        return sse.Events(_replayed(kept, after), {}, self.settings)

    async def delete(self, id: str, request: Request) -> Response:
        """Forget a response; one that is being written is cancelled."""
        owner = request.scope[OWNER]
        if writing := self.desk.writing(id, owner):
            await writing.stop()
        if not await self.desk.store.delete(id, owner):
            raise _unknown(id)
        return sse.Json({"id": id, "object": "response", "deleted": True})

    async def cancel(self, id: str, request: Request) -> Response:
        """Stop a response where it stands; one that is over stays as it is."""
        owner = request.scope[OWNER]
        if writing := self.desk.writing(id, owner):
            await writing.stop()
        return sse.Json((await self._find(id, owner)).whole)

    async def items(
        self,
        id: str,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MOST_ITEMS)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Response:
        """The items that a response answers: the conversation before it, and its own input."""
        owner = request.scope[OWNER]
        kept = await self._find(id, owner)
        found = [*await self.before(kept.previous, owner), *kept.items] if kept.previous else list(kept.items)
        found = found[::-1] if order == "desc" else found
        ids = [item["id"] for item in found]
        if after is not None:
            if after not in ids:
                raise Refusal(404, f"No item with id '{after}' found.", "after", "item_not_found")
            found = found[ids.index(after) + 1 :]
        page = found[:limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return sse.Json({"object": "list", "data": page, **ends, "has_more": len(found) > limit})

    async def before(self, previous: str | None, owner: str) -> list[Mapping[str, Any]]:
        """The items of a response that another one goes on from: its conversation, its input and its output."""
        if previous is None:
            return []
        chain = await self.desk.store.conversation(previous, owner)
        if chain is None:
            raise Refusal(
                400,
                f"Previous response with id '{previous}' not found, or one that it goes on from.",
                "previous_response_id",
                "previous_response_not_found",
            )
        if chain[-1].whole["status"] == "in_progress":
            message = f"Response '{previous}' is still being written: go on from it when it is over."
            raise Refusal(409, message, "previous_response_id", "response_in_progress", retry_after=1)
        return [item for kept in chain for item in (*kept.items, *kept.whole["output"])]

    async def resolved(self, body: ResponsesBody, owner: str) -> ResponsesBody:
        """The body, with the items that it names by their ids in place of their names."""
        if isinstance(body.input, str):
            return body
        items = [await self._item(item, at, owner) for at, item in enumerate(body.input)]
        return body.model_copy(update={"input": items})

    async def _item(self, item: Item, at: int, owner: str) -> Item:
        if item.type != "item_reference":
            return item
        found = ITEM.fullmatch(item.id or "")
        kept = await self.desk.store.find(f"resp_{found[1]}", owner) if found else None
        for one in (*kept.items, *kept.whole["output"]) if kept else ():
            if one["id"] == item.id:
                return Item.model_validate(one)
        message = f"Item with id '{item.id}' not found: of responses without 'store' nothing is kept."
        raise Refusal(404, message, f"input[{at}].id", "item_not_found")

    async def _find(self, id: str, owner: str) -> Kept:
        kept = await self.desk.store.find(id, owner)
        if kept is None:
            raise _unknown(id)
        return kept


def _unknown(id: str) -> Refusal:
    return Refusal(404, f"Response with id '{id}' not found.", "response_id", "response_not_found")


async def _replayed(kept: Kept, after: int) -> AsyncGenerator[bytes]:
    """The events behind a number; of a response that a dead server left, only its end."""
    lines: Sequence[bytes] = [] if kept.events is None else kept.events[after + 1 :]
    if kept.events is None:
        kind = f"response.{kept.whole['status']}"
        lines = [sse.event({"type": kind, "sequence_number": after + 1, "response": kept.whole}, kind)]
    for line in lines:
        yield line
    yield sse.DONE
