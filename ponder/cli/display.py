"""Thinking on a screen, as it happens: the headline live, the thoughts dimmed, folded when the block closes.

On a terminal the open block is drawn live and gives way to one line when it closes. Elsewhere only that line is
printed. With `show_thoughts` the thoughts stay, in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ponder.cli.output import clean
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampler, Sampling
from ponder.text import format
from ponder.text.format import Place
from ponder.text.stream import Closed, Delta, Stream
from ponder.types import Block, Thought

MOST_HEADLINE = 60
"""Characters shown of a headline that never ended."""
LIVE_LINES = 10
"""So many last lines of an open block's thoughts are shown."""


@dataclass
class Display:
    """Follows one chain on the console of stderr."""

    console: Console
    show_thoughts: bool = False
    quiet: bool = False
    _stream: Stream = field(default_factory=Stream)
    _open: dict[Place, str] = field(default_factory=dict[Place, str])
    _shown: int = 0
    """Blocks of this extension that were folded while it streamed."""
    _live: Live | None = None

    def begin(self, answering: bool, think_on: bool = False) -> None:
        """An extension is about to be generated."""
        self._stream, self._open, self._shown = Stream(), {}, 0
        self._stream.feed(format.text_of(format.opening(answering=answering, think_on=think_on)))
        if self.console.is_terminal and not self.quiet:
            self._live = Live(console=self.console, transient=True, refresh_per_second=20)
            self._live.start()

    def hear(self, row: int, text: str) -> None:
        """The chain's next piece of text."""
        if row or self.quiet:
            return
        for event in self._stream.feed(text):
            match event:
                case Delta(place, more):
                    self._open[place] = self._open.get(place, "") + more
                case Closed(block):
                    self._fold(block)
        if self._live:
            self._live.update(self._opened())

    def end(self, extension: Extension | None) -> None:
        """The extension is complete; what did not stream is shown now."""
        if self._live:
            self._live.update(Text())
            self._live.stop()
            self._live = None
        if extension is None or self.quiet:
            return
        if extension.block and not self._shown:
            self._fold(extension.block)
        elif not extension.block and self._open.get(Place.HEADLINE) and extension.answer is None:
            headline = clean(self._open[Place.HEADLINE])[:MOST_HEADLINE]
            self.console.print(Text(f"▸ {headline} … cut off", style="yellow"))

    def show(self, blocks: Thought) -> None:
        """A whole thought that was not followed."""
        for block in () if self.quiet else blocks:
            self._fold(block)

    def _opened(self) -> Group:
        headline = Text(f"▸ {clean(self._open[Place.HEADLINE])}", style="bold") if self._open else Text()
        below = self._open.get(Place.THOUGHTS, "") + "\n" * (Place.SUMMARY in self._open)
        thoughts = Text(clean(below + self._open.get(Place.SUMMARY, "")), style="dim")
        lines = thoughts.wrap(self.console, max(20, self.console.width - 2))
        return Group(headline, *(Text("  ") + line for line in lines[-LIVE_LINES:])) if below else Group(headline)

    def _fold(self, block: Block) -> None:
        self._open, self._shown = {}, self._shown + 1
        if not (block.headline or block.summary or self.show_thoughts):
            return  # a paragraph: all of it is raw thought
        line = Text.assemble(("▸ ", "cyan"), (clean(block.headline), "bold"))
        if self.show_thoughts:
            for thought in clean(block.thoughts).splitlines():
                line += Text(f"\n  {thought}", style="dim")
            line += Text("\n  = " + clean(block.summary).replace("\n", "\n    "))
        elif "\n" in block.summary:
            line += Text("\n    " + clean(block.summary).replace("\n", "\n    "), style="dim")
        else:
            line += Text(f"  {clean(block.summary)}", style="dim")
        if self._live:
            self._live.update(Text(), refresh=True)
        self.console.print(line)


@dataclass(frozen=True)
class Watched:
    """A sampler whose extensions of one chain are followed by a display."""

    sampler: Sampler
    display: Display

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """As the sampler extends, while the display follows the first sample."""
        self.display.begin(prefix.answering, prefix.think_on)
        extensions: list[Extension] = []
        try:
            extensions = await self.sampler.extend(prefix, limit, samplings, hear or self.display.hear)
        finally:
            self.display.end(extensions[0] if extensions else None)
        return extensions
