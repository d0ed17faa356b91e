"""Chat completions: the object, and its chunks while it is written."""

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from ponder.serve import sse
from ponder.serve.ask import Ask
from ponder.serve.events import Begun, Done, Event, Folded, Refused, Told
from ponder.serve.likely import likely
from ponder.serve.refusal import refusal_of
from ponder.serve.settings import Settings
from ponder.serve.summaries import summaries, summary
from ponder.serve.tree import Tried
from ponder.serve.usage import chat_usage, total

if TYPE_CHECKING:
    from ponder.engine.chances import Chance


def fields(settings: Settings, text: str) -> dict[str, str]:
    """The summaries under the names that the operator chose."""
    names = {"both": ("reasoning_content", "reasoning"), "none": ()}
    return dict.fromkeys(names.get(settings.reasoning_field, (settings.reasoning_field,)), text)


def completion(ask: Ask, dones: Sequence[Done], settings: Settings) -> dict[str, Any]:
    """A whole chat completion."""
    return {
        **_head(ask, "chat.completion"),
        "choices": [_choice(ask, at, done, settings) for at, done in enumerate(dones)],
        "usage": chat_usage(total(dones), ask.model.price),
    }


def _choice(ask: Ask, index: int, done: Done, settings: Settings) -> dict[str, Any]:
    thought = "\n\n".join(summaries(done.completion.blocks)) if ask.summaries else ""
    answer = None if done.refusal else done.completion.answer
    message = {"role": "assistant", "content": answer, "refusal": done.refusal, "annotations": []}
    message |= fields(settings, thought) if thought else {}
    return {
        "index": index,
        "message": message,
        "logprobs": _likely(ask, done.chances),
        "finish_reason": _finish(ask, done),
    }


async def chunks(
    ask: Ask, events: AsyncGenerator[tuple[int, Event]], settings: Settings, *, usage: bool
) -> AsyncGenerator[bytes]:
    """The same, as it is written; closes `events`."""
    head, more = _head(ask, "chat.completion.chunk"), {"usage": None} if usage else {}
    begun, dones = set[int](), dict[int, Done]()

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, likely: Any = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": likely, "finish_reason": finish}
        return sse.event({**head, "choices": [choice], **more})

    try:
        for index in range(ask.choices):
            yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
        async for index, event in events:
            match event:
                case Folded(block) if ask.summaries and (text := summary(block)):
                    if delta := fields(settings, "\n\n" * (index in begun) + text):
                        yield chunk(index, delta)
                    begun.add(index)
                case Told(text, chances):
                    yield chunk(index, {"content": text}, likely=_likely(ask, chances))
                case Refused(why):
                    yield chunk(index, {"refusal": why})
                case Done():
                    dones[index] = event
                    yield chunk(index, {}, _finish(ask, event))
                case Begun() | Folded() | Tried():
                    pass
        if usage:
            counts = chat_usage(total([dones[index] for index in range(ask.choices)]), ask.model.price)
            yield sse.event({**head, "choices": [], "usage": counts})
    except Exception as err:  # the status was sent long ago: an error can only be told in the stream
        yield sse.event(refusal_of(err).to_json())
    finally:
        await events.aclose()
    yield sse.DONE


def _likely(ask: Ask, chances: "Sequence[Chance]") -> dict[str, Any] | None:
    return None if ask.likely is None else {"content": likely(chances), "refusal": None}


def _head(ask: Ask, kind: str) -> dict[str, Any]:
    who = {"model": ask.model.name, "reasoning_effort": str(ask.effort)}
    return {"id": f"chatcmpl-{ask.id}", "object": kind, "created": ask.created, **who}


def _finish(ask: Ask, done: Done) -> str:
    return "length" if ask.cut(done) else "stop"
