"""Responses: the object, and its events while it is written, in the order that OpenAI's clients rely on."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.serve import sse, tree
from ponder.serve.ask import Ask
from ponder.serve.events import Begun, Done, Event, Folded, Refused, Told
from ponder.serve.likely import likely
from ponder.serve.refusal import Refusal
from ponder.serve.settings import Settings
from ponder.serve.summaries import summary
from ponder.serve.tree import Tried
from ponder.serve.usage import responses_usage, total
from ponder.serve.wire import ResponsesBody
from ponder.types import Block

Json = dict[str, Any]


@dataclass(frozen=True)
class Paper:
    """One response's object, whatever has become of it."""

    ask: Ask
    body: ResponsesBody
    settings: Settings
    seal: Callable[[Sequence[Block]], str] = field(default=lambda blocks: "")
    """Makes what the client keeps of a thought."""
    _sealed: dict[tuple[Block, ...], str] = field(default_factory=dict[tuple[Block, ...], str])

    @property
    def id(self) -> str:
        """The response's."""
        return f"resp_{self.ask.id}"

    @property
    def previous(self) -> str | None:
        """The response that it goes on from."""
        return self.body.previous_response_id

    @property
    def store(self) -> bool:
        """Whether it is kept."""
        return self.body.store is not False

    def begun(self) -> Json:
        """While it is being written."""
        return self._object("in_progress", [], None)

    def finished(self, done: Done) -> Json:
        """The whole, or what fit the client's limit."""
        cut, completion = self.ask.cut(done), done.completion
        output = [self.reasoning(completion.blocks)] if self.ask.thinks else []
        part = refusal_part(done.refusal) if done.refusal else output_text(completion.answer, likely(done.chances))
        output.append(self.message(part, "incomplete" if cut else "completed"))
        told = self._object("incomplete" if cut else "completed", output, done)
        if self.ask.tree and completion.tree:
            told["x_ponder_tree"] = tree.told(completion.tree, discarded=self.settings.expose_thoughts)
        return told | {"incomplete_details": {"reason": "max_output_tokens"} if cut else None}

    def part(self, status: str, blocks: Sequence[Block], answer: str | None) -> Json:
        """What there is of one that is not finished: in_progress, cancelled or failed."""
        writing = status == "in_progress"
        thinking = "in_progress" if writing and answer is None else "completed"
        output = [self.reasoning(blocks) | {"status": thinking}] if self.ask.thinks else []
        if answer is not None:
            output.append(self.message(output_text(answer), "in_progress" if writing else "incomplete"))
        return self._object(status, output, None)

    def reasoning(self, blocks: Sequence[Block]) -> Json:
        """The item of a thought: its summaries, and, where they may be shown, the raw thoughts."""
        shown = [text for block in blocks if (text := summary(block))] if self.ask.summaries else []
        item: Json = {"type": "reasoning", "id": f"rs_{self.ask.id}", "status": "completed"}
        item["summary"] = [{"type": "summary_text", "text": text} for text in shown]
        if self.ask.raw:
            item["content"] = [{"type": "reasoning_text", "text": block.thoughts} for block in blocks]
        if self.ask.sealed and blocks:  # no two seals are alike, and all events must tell the same
            whole = tuple(blocks)
            item["encrypted_content"] = self._sealed.setdefault(whole, self._sealed.get(whole) or self.seal(whole))
        return item

    def message(self, part: Json | None, status: str) -> Json:
        """The item of the answer; of one that has not begun, without its part."""
        item: Json = {"type": "message", "id": f"msg_{self.ask.id}", "role": "assistant", "status": status}
        return item | {"content": [] if part is None else [part]}

    def _object(self, status: str, output: list[Json], done: Done | None) -> Json:
        ask, body = self.ask, self.body
        removed = [
            {"id": id_, "type": "reasoning", "action": "removed", "reason": "turn_boundary"} for id_ in ask.removed
        ]
        return {
            "id": self.id,
            "object": "response",
            "created_at": ask.created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "incomplete_details": None,
            "error": None,
            "model": ask.model.name,
            "previous_response_id": self.previous,
            "instructions": body.instructions,
            "output": output,
            "tools": [],
            "tool_choice": "auto",
            "truncation": "disabled",
            "parallel_tool_calls": False,
            "text": {"format": ask.form.told if ask.form else {"type": "text"}},
            "top_p": ask.top_p,
            "temperature": ask.temperature,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_logprobs": ask.likely or 0,
            "reasoning": {
                "effort": ask.effort,
                "summary": "auto" if ask.summaries else None,
                "context": "current_turn",
            },
            "usage": responses_usage(total([done]), self.ask.model.price) if done else None,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "store": self.store,
            "background": bool(body.background),
            "service_tier": "default",
            "metadata": body.metadata or {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        } | ({"input_transformations": removed} if removed else {})


def output_text(text: str, likely: Sequence[Json] = ()) -> Json:
    """The one content part of an answer."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(likely)}


def refusal_part(why: str) -> Json:
    """The one content part where there is no answer in the form that was asked for."""
    return {"type": "refusal", "refusal": why}


@dataclass
class Script:
    """A response's events, numbered as they are told."""

    paper: Paper
    number: int = 0
    shown: int = 0
    """Summary parts so far."""
    raw: int = 0
    """Raw thoughts so far."""
    blocks: list[Block] = field(default_factory=list[Block])
    answer: str | None = None
    """None before it has begun."""
    done: Done | None = None
    ended: Json | None = None
    """The whole, once it is over."""

    @property
    def whole(self) -> Json:
        """The response's object, as far as it is written."""
        return self.ended or self.paper.part("in_progress", self.blocks, self.answer)

    def lines(self, event: Event) -> Iterator[bytes]:
        """What is told of an event."""
        match event:
            case Folded(block):
                return self.folded(block)
            case Told(text, chances):
                return self.told(text, likely(chances))
            case Refused(why):
                return self.refused(why)
            case Done():
                return self.finish(event)
            case Tried():
                return iter((self.event(tree.GROWN, node=tree.grown(event)),))
            case Begun():
                return iter(())

    def event(self, kind: str, **more: Any) -> bytes:
        """The next event."""
        data = {"type": kind, "sequence_number": self.number, **more}
        self.number += 1
        return sse.event(data, kind)

    def begin(self) -> Iterator[bytes]:
        """Up to where thinking begins."""
        yield self.event("response.created", response=self.paper.begun())
        yield self.event("response.in_progress", response=self.paper.begun())
        if self.paper.ask.thinks:
            item = self.paper.reasoning(()) | {"status": "in_progress"}
            yield self.event("response.output_item.added", output_index=0, item=item)

    def folded(self, block: Block) -> Iterator[bytes]:
        """One more block."""
        self.blocks.append(block)
        at: Json = {"item_id": f"rs_{self.paper.ask.id}", "output_index": 0}
        if self.paper.ask.summaries and (text := summary(block)):
            where = at | {"summary_index": self.shown}
            self.shown += 1
            empty, part = {"type": "summary_text", "text": ""}, {"type": "summary_text", "text": text}
            yield self.event("response.reasoning_summary_part.added", **where, part=empty)
            yield self.event("response.reasoning_summary_text.delta", **where, delta=text)
            yield self.event("response.reasoning_summary_text.done", **where, text=text)
            yield self.event("response.reasoning_summary_part.done", **where, part=part)
        if self.paper.ask.raw:
            where, text = at | {"content_index": self.raw}, block.thoughts
            self.raw += 1
            empty, part = {"type": "reasoning_text", "text": ""}, {"type": "reasoning_text", "text": text}
            yield self.event("response.content_part.added", **where, part=empty)
            yield self.event("response.reasoning_text.delta", **where, delta=text)
            yield self.event("response.reasoning_text.done", **where, text=text)
            yield self.event("response.content_part.done", **where, part=part)

    def told(self, text: str, chances: Sequence[Json] = ()) -> Iterator[bytes]:
        """More of the answer, which ends the thought where it is the first of it."""
        if self.answer is None:
            yield from self._answering(output_text(""))
        self.answer = (self.answer or "") + text
        if text:
            yield self.event("response.output_text.delta", **self._place(), delta=text, logprobs=list(chances))

    def refused(self, why: str) -> Iterator[bytes]:
        """In place of the answer."""
        yield from self._answering(refusal_part(""))
        self.answer = ""
        yield self.event("response.refusal.delta", **self._place(), delta=why)
        yield self.event("response.refusal.done", **self._place(), refusal=why)

    def finish(self, done: Done) -> Iterator[bytes]:
        """The end, however it ended."""
        yield from self.told("")
        self.done, self.ended = done, self.paper.finished(done)
        whole = self.ended
        part = whole["output"][-1]["content"][0]
        if not done.refusal:
            told = {"text": part["text"], "logprobs": part["logprobs"]}
            yield self.event("response.output_text.done", **self._place(), **told)
        yield self.event("response.content_part.done", **self._place(), part=part)
        index = int(self.paper.ask.thinks)
        yield self.event("response.output_item.done", output_index=index, item=whole["output"][index])
        yield self.event(f"response.{whole['status']}", response=whole)

    def cancel(self) -> Iterator[bytes]:
        """The end, by whoever asked for it; there is no event of its own for that."""
        self.ended = self.paper.part("cancelled", self.blocks, self.answer)
        yield self.event("response.incomplete", response=self.ended)

    def fail(self, refusal: Refusal) -> Iterator[bytes]:
        """The end, by an error: for clients that read OpenAI's error events, and for those that raise its errors."""
        yield self.event("error", code=refusal.code, message=refusal.message, param=refusal.param)
        error = {"code": "server_error" if refusal.status >= 500 else "invalid_prompt", "message": refusal.message}
        self.ended = self.paper.part("failed", self.blocks, self.answer) | {"error": error}
        yield self.event("response.failed", response=self.ended)

    def _answering(self, part: Json) -> Iterator[bytes]:
        if self.paper.ask.thinks:
            item = self.paper.reasoning(self.blocks)
            yield self.event("response.output_item.done", output_index=0, item=item)
        item, at = self.paper.message(None, "in_progress"), self._place()
        yield self.event("response.output_item.added", output_index=at["output_index"], item=item)
        yield self.event("response.content_part.added", **at, part=part)

    def _place(self) -> Json:
        ask = self.paper.ask
        return {"item_id": f"msg_{ask.id}", "output_index": int(ask.thinks), "content_index": 0}
