"""A sampler that plays given texts, or what a function says: for tests and documentation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.seeds import rng_for
from ponder.text import format
from ponder.types import Block, Ended, Rating, Segment


@dataclass(frozen=True)
class Step:
    """What comes next: a block, or the answer, and what a head would read there."""

    says: Block | str
    rating: Rating | None = None
    """After it."""
    before: Rating | None = None
    ended: Ended = Ended.ANSWERED
    """Of an answer."""


Play = Callable[[Prefix, Random], Step]
"""A script that branches: what follows a prefix, by chance; raises SamplerError where nothing can."""


@dataclass(frozen=True)
class ScriptedSampler:
    """Plays a script for each prompt: a whole completion written in the blocks dialect, or a function.

    A script counts one token a character; a limit that is smaller than a step's text cuts it off.
    """

    scripts: Mapping[str, str | Play]
    """By the text of the last user message."""

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """The next block or the answer of the prefix's script; a text is the same for each sampling."""
        prompt = prefix.messages[-1].content
        if prompt not in self.scripts:
            raise SamplerError(f"no script for the prompt {prompt[:60]!r}")
        script = self.scripts[prompt]
        play = _recited(script) if isinstance(script, str) else script
        return [_played(play(prefix, rng_for("scripted", one.seed)), prefix, limit) for one in samplings]


def _recited(text: str) -> Play:
    parsed = format.parse(text)

    def play(prefix: Prefix, rng: Random) -> Step:
        rest = () if prefix.answering else parsed.blocks[len(prefix.blocks) :]
        if prefix.think_on and not rest:
            raise SamplerError("the script has no further block")
        return Step(rest[0]) if rest else Step(parsed.answer, ended=parsed.ended)

    return play


def _played(step: Step, prefix: Prefix, limits: Limit) -> Extension:
    block = step.says if isinstance(step.says, Block) else None
    text = step.says if isinstance(step.says, str) else format.text_of(format.render_block(step.says))
    limit = limits.thinking if block else limits.answer
    context = format.render_context(
        prefix.messages, prefix.effort, prefix.blocks, None, answering=prefix.answering, think_on=prefix.think_on
    )
    written = text[:limit]
    segment = Segment(tuple(map(ord, format.text_of(context))), tuple(map(ord, written)), (0.0,) * len(written))
    if len(text) > limit:
        return Extension(None, None if block else written, Ended.CUT_OFF, segment, before=step.before)
    answer, ended = (None, None) if block else (text, step.ended)
    return Extension(block, answer, ended, segment, step.rating, step.before)
