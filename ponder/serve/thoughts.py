"""Thoughts in what a client sends back: earlier turns' thoughts never come into a context again.

Clients that know no field for them put them into the text, between tags of many names.
"""

import re

_TAGS = ("think", "thinking", "reason", "reasoning", "thought")
_OPEN = re.compile(rf"<({'|'.join(_TAGS)})>|<(details)\b[^<>]{{0,200}}>", re.IGNORECASE)
_CLOSE = {tag: re.compile(f"</{tag}>", re.IGNORECASE) for tag in (*_TAGS, "details")}
_ANY_CLOSE = re.compile(rf"</(?:{'|'.join(_TAGS)})>", re.IGNORECASE)


def without_thoughts(text: str) -> str:
    """An assistant's turn without the thoughts between tags in it, and without one that was cut off at its end."""
    kept: list[str] = []
    at, unclosed = 0, set[str]()
    for found in _OPEN.finditer(text):
        tag = (found[1] or found[2]).lower()
        if found.start() < at or tag in unclosed or (found[2] and 'type="reasoning"' not in found[0]):
            continue
        end = _CLOSE[tag].search(text, found.end())
        if end is None:
            unclosed.add(tag)
            if not any(map(str.strip, [*kept, text[at : found.start()]])):
                return ""
            continue
        kept.append(text[at : found.start()])
        at = end.end()
    rest = text[at:]
    ends = [found.end() for found in _ANY_CLOSE.finditer(rest)]
    if ends:  # a template began this thought in the prompt
        kept, rest = [], rest[ends[-1] :]
    return "".join([*kept, rest]).lstrip() if at or ends else text
