"""What a user sees of a thought: a titled summary of each block, never the thoughts themselves."""

from collections.abc import Iterable

from ponder.types import Block


def summary(block: Block) -> str:
    """The title in bold, then what is known after the block; empty where a block has neither, as paragraphs do."""
    title = f"**{' '.join(block.headline.split())}**" if block.headline.strip() else ""
    return "\n\n".join(part for part in (title, block.summary.strip()) if part)


def summaries(blocks: Iterable[Block]) -> list[str]:
    """Of all blocks that have one."""
    return [text for block in blocks if (text := summary(block))]
