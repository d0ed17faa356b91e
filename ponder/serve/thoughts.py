"""Thoughts in what a client sends back: earlier turns' thoughts never come into a context again.

Clients that know no field for them put them into the text, between tags of many names, or into parts of their own.
"""

import re

PARTS = ("thinking", "redacted_thinking", "reasoning", "reasoning_text", "summary_text")
"""Types of a message's parts that hold thoughts, or what was told of them."""
FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
"""Names of a turn's fields that do."""
_WORDS = ("think", "thinking", "reason", "reasoning", "thought")
_PAIRS = (
    *((f"<{word}>", f"</{word}>") for word in _WORDS),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"\[think\]", r"\[/think\]"),
    ("◁think▷", "◁/think▷"),
    (r"""<details\b(?=[^<>]{0,200}\btype=["']?reasoning\b)[^<>]{0,200}>""", "</details>"),
)
"""How a thought begins and how it ends, as patterns."""
_OPEN = re.compile("|".join(f"({begin})" for begin, _ in _PAIRS), re.IGNORECASE)
_CLOSE = tuple(re.compile(end, re.IGNORECASE) for _, end in _PAIRS)
_ANY_CLOSE = re.compile("|".join(end for _, end in _PAIRS[:-1]), re.IGNORECASE)
"""Details are closed in many texts."""


def without_thoughts(text: str) -> str:
    """An assistant's turn without the thoughts between tags in it, and without one that was cut off at its end.

    A tag behind a backtick is one that the text speaks of, where nothing closes it.
    """
    kept, rest = list[str](), None
    at, unclosed = 0, set[int]()
    for found in _OPEN.finditer(text):
        pair = (found.lastindex or 1) - 1
        if found.start() < at:
            continue
        end = None if pair in unclosed else _CLOSE[pair].search(text, found.end())
        if end is None:
            unclosed.add(pair)
            if text[max(0, found.start() - 1) : found.start()] == "`":
                continue
            rest = text[at : found.start()].rstrip()
            break
        kept.append(text[at : found.start()])
        at = end.end()
    cut, rest = rest is not None, text[at:] if rest is None else rest
    ends = [found.end() for found in _ANY_CLOSE.finditer(rest)]
    if ends:  # a template began this thought in the prompt
        kept, rest = [], rest[ends[-1] :]
    return "".join([*kept, rest]).lstrip() if at or ends or cut else text
