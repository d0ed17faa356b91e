"""The only answer comparer: reads answer texts strictly, and says in words why one cannot be read.

Readers tolerate harmless formatting (spaces, a final period, "x = 5", thousands commas, a leading "The answer is")
and refuse anything that could hide a second answer. Every reader is linear in the text's length.
"""

import re

from ponder.errors import AnswerUnreadable

MAX_CHARS = 2_000
"""Longer answer texts are refused unread: no task's answer comes near it."""
_LEAD = re.compile(r"^(?:the )?(?:final )?(?:answer|result)(?: is)?\s*[:=]?\s*", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,400})(?:\.0{1,20})?")


def plain(text: str) -> str:
    """The answer text without harmless dressing: outer spaces and quotes, a lead-in, one final period."""
    if len(text) > MAX_CHARS:
        raise AnswerUnreadable(f"the answer has {len(text)} characters, more than {MAX_CHARS}")
    text = _LEAD.sub("", text.strip().strip("`\"'").strip(), count=1)
    return text.removesuffix(".").strip().strip("`\"'*$").strip()


def read_integer(text: str, names: tuple[str, ...] = ()) -> int:
    """The one integer that the text gives, ASCII digits only; `names` may stand before it as in ``x = 5``."""
    body = plain(text)
    for name in names:
        found = re.match(rf"{re.escape(name)}\s*=\s*", body)
        if found:
            body = body[found.end() :]
            break
    body = body.replace("−", "-")
    if not _INTEGER.fullmatch(body):
        raise AnswerUnreadable(f"not one integer: {body[:60]!r}")
    return int(body.split(".")[0].replace(",", ""))
