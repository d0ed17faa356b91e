"""A sampler that plays given texts: for tests and documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.text import format
from ponder.types import Ended, Segment


@dataclass(frozen=True)
class ScriptedSampler:
    """Plays, for each prompt, a whole completion written in the blocks dialect, a block or the answer at a time.

    A script counts one token a character; a limit that is smaller than a block's text cuts it off.
    """

    scripts: Mapping[str, str]
    """Text of the last user message to completion."""

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """The next block or the answer of the prefix's script, the same for each sampling."""
        return [self._one(prefix, limit) for _ in samplings]

    def _one(self, prefix: Prefix, limits: Limit) -> Extension:
        prompt = prefix.messages[-1].content
        if prompt not in self.scripts:
            raise SamplerError(f"no script for the prompt {prompt[:60]!r}")
        parsed = format.parse(self.scripts[prompt])
        rest = () if prefix.answering else parsed.blocks[len(prefix.blocks) :]
        block = rest[0] if rest else None
        limit = limits.thinking if block else limits.answer
        text = parsed.answer if block is None else format.text_of(format.render_block(block))
        segment = Segment((), tuple(range(min(len(text), limit))), (0.0,) * min(len(text), limit))
        if len(text) > limit:
            return Extension(None, None if block else text[:limit], Ended.CUT_OFF, segment)
        if block is None:
            return Extension(None, parsed.answer, parsed.ended, segment)
        return Extension(block, None, None, segment)
