"""The six checks of a client in Python, and what plain HTTP was told to the same questions: see run.py."""

import json
import os
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

GIVEN = json.loads(os.environ["PONDER_CLIENT"], object_hook=lambda fields: SimpleNamespace(**fields))
"""url, key, model, questions (two), and replies to each of them, the second being asked behind the first."""


def run(version: str, **found: Callable[[], Any] | str) -> None:
    """Make the checks, each a function, or a text that says why this client does not offer it."""
    print(f"version: {version}")
    for name, check in found.items():
        told = f"not offered: {check}"
        if callable(check):
            try:
                check()
                told = "ok"
            except Exception as err:
                traceback.print_exc(limit=-4)
                told = f"FAILED: {type(err).__name__}"
        print(f"{name}: {told}", flush=True)


def same(found: Any, wanted: Any) -> None:
    """Both are equal; else says what they are."""
    assert found == wanted, f"\n  found  {found!r}\n  wanted {wanted!r}"


def refused(kind: type[Exception] | tuple[type[Exception], ...], ask: Callable[[], Any]) -> Any:
    """The error that asking raises."""
    try:
        told = ask()
    except kind as err:
        return err
    raise AssertionError(f"not refused: {told!r}")


def counts(prompt: int, completion: int, reasoning: int, reply: Any) -> None:
    """The tokens are those that plain HTTP was told of a reply."""
    same((prompt, completion, reasoning), (reply.prompt, reply.completion, reply.reasoning))
