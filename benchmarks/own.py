"""The engine by itself, under the load that the server is given: a worker of `benchmarks.serve`.

``argv``: the model. Then an order a line, {"prompts", "clients", "seconds"}; an answer a line. Each of so many chains
is followed by the next one, as a client's requests are.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.load import closed_loop
from ponder.cli.models import Model, load
from ponder.think import Request, think_one
from ponder.types import Effort, Message


def run(model: Model, prompts: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """Think so; tokens, seconds, and what each question came to."""
    answers: dict[int, tuple[int, str]] = {}
    counts: list[int] = []

    async def ask(client: int, question: int) -> None:
        prompt = prompts[question % len(prompts)]
        found = await think_one(Request((Message("user", prompt),), Effort.LOW), model.sampler)
        counts.append(found.tokens.thinking + found.tokens.answer)
        answers[question % len(prompts)] = counts[-1], found.answer

    start = time.monotonic()
    asyncio.run(closed_loop(ask, clients, seconds))
    told = {"tokens": sum(counts), "streams": len(counts), "seconds": time.monotonic() - start}
    return told | {"answers": answers}


def main() -> None:
    """Answer orders until they end."""
    # Libraries print to stdout as they please: it becomes stderr, and the answers keep the original to themselves.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    model = load(Path(sys.argv[1]), "cpu")
    print("{}", file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(model, **json.loads(line))), file=out, flush=True)
    model.close()


if __name__ == "__main__":
    main()
