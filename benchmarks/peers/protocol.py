"""What a worker and its client say: a JSON object a line. Imports nothing, so that every peer's Python can run it."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Ids = list[int]


@dataclass(frozen=True)
class Order:
    """What to write: one continuation of every context, up to and including a stop or `most` tokens."""

    contexts: Sequence[Ids]
    stops: Sequence[int]
    most: int = 128
    temperature: float = 1.0
    """Zero is greedy; above, the full distribution is drawn from."""
    seed: int = 0


class Engine(Protocol):
    """A peer behind its worker."""

    name: str
    version: str

    def prepare(self, order: Order) -> None:
        """Make what orders of this kind need once, such as room; not timed."""
        ...

    def generate(self, order: Order) -> list[Ids]:
        """The continuation of every context, in order."""
        ...

    def score(self, contexts: Sequence[Ids]) -> None:
        """One forward pass over all contexts."""
        ...

    def forget(self) -> None:
        """Drop every cached prompt, so that the next order starts cold."""
        ...


def serve(load: Callable[[Path, int], Engine]) -> None:
    """Load ``argv``'s model and threads, say ready, then answer one line after another until the input ends."""
    # Libraries print to stdout as they please: it becomes stderr, and the answers keep the original to themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    engine = load(Path(sys.argv[1]), int(sys.argv[2]))
    say(ready=True, name=engine.name, version=engine.version)
    for line in sys.stdin:
        try:
            say(**_answer(engine, json.loads(line)))
        except Exception as error:  # reported to the client, which raises it; the worker lives on
            traceback.print_exc()
            say(error=f"{type(error).__name__}: {error}")
    os._exit(0)  # a library's own threads must not keep the worker alive without its client


def _answer(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    do, written = asked.pop("do"), None
    order = Order(**asked) if do == "generate" else None
    if order:
        engine.prepare(order)
    wall, cpu = time.perf_counter(), time.process_time()
    if order:
        written = engine.generate(order)
    else:
        {"score": engine.score, "forget": engine.forget}[do](**asked)
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return spent if written is None else {"written": written, **spent}
