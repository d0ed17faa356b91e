"""A thought's events, its answer in the form that was asked for, or with how likely its tokens were.

Both are known only once an answer is whole, so that it is told all at once then.
"""

from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from ponder.serve.ask import Ask
from ponder.serve.events import Done, Event, Refused, Told
from ponder.serve.forms import Unfit

if TYPE_CHECKING:
    from ponder.engine.chances import Chance


async def formed(ask: Ask, events: AsyncGenerator[tuple[int, Event]]) -> AsyncGenerator[tuple[int, Event]]:
    """The events as they are told; closes them."""
    whole = ask.form is not None or ask.likely is not None
    async with aclosing(events):
        async for number, event in events:
            if whole and isinstance(event, Done):
                for one in await _ended(ask, event):
                    yield number, one
            elif not (whole and isinstance(event, Told)):
                yield number, event


async def _ended(ask: Ask, done: Done) -> list[Event]:
    answer = done.completion.answer
    if ask.form:
        try:
            answer = ask.form.shaped(answer)
        except Unfit as err:
            return [Refused(str(err)), replace(done, refusal=str(err))]
        return [Told(answer), replace(done, completion=replace(done.completion, answer=answer))]
    chances = await _chances(ask, done)
    return [Told(answer, chances), replace(done, chances=chances)]


async def _chances(ask: Ask, done: Done) -> "tuple[Chance, ...]":
    """Of the answer's tokens, up to where a stop text ended it."""
    if ask.likely is None or ask.model.chances is None or done.segment is None:
        return ()
    # By characters, as the answer has them: a broken one is three bytes there, and other ones among its tokens.
    decoder, size, kept = getincrementaldecoder("utf-8")("replace"), 0, list["Chance"]()
    for chance in await ask.model.worker.do(ask.model.chances.of(done.segment, ask.likely)):
        size += len(decoder.decode(chance.token.bytes))
        begun = bool(decoder.getstate()[0])
        if size + begun > len(done.completion.answer):
            break
        kept.append(chance)
    return tuple(kept)
