"""The server under load: ``python -m benchmarks.serve --clients 500 --seconds 120``.

So many clients stream responses at effort low, each the next one as soon as its last has ended, from a `ponder serve`
with a store on disk. Measured are the times to the first summary and to the answer, what was lost or corrupted, the
server's memory, and its tokens per second beside the engine's own on the same work. The clients share the machine.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.cli.models import find_model
from ponder.evaluate.metrics import mean
from ponder.tasks import TASKS, make
from ponder.types import Split

RESULTS = Path(__file__).parent / "results" / "serve.json"
OWN = """
import json, sys, time
from pathlib import Path
from ponder.cli.models import load
from ponder.think import Request, think
from ponder.types import Effort, Message
prompts, sampler = json.load(sys.stdin), load(Path(sys.argv[1]), "cpu").sampler
requests = [Request((Message("user", prompt),), Effort.LOW) for prompt in prompts]
think(requests[:8], sampler)
start = time.monotonic()
done = think(requests, sampler)
print(json.dumps([sum(one.tokens.generated for one in done), time.monotonic() - start]))
"""


@dataclass
class Heard:
    """One stream, as a client saw it; seconds from its request."""

    summary: float | None = None
    answer: float | None = None
    whole: float = 0.0
    tokens: int = 0
    wrong: str = ""
    text: str = ""
    numbers: list[int] = field(default_factory=list[int])


def prompts(count: int) -> list[str]:
    """Held-out problems of all tasks in turn."""
    tasks = list(TASKS.values())
    return [make(tasks[at % len(tasks)], 2, Split.TEST, at // len(tasks)).prompt for at in range(count)]


async def stream(port: int, name: str, prompt: str) -> Heard:
    """One response, followed to its end, by as little as can read it: the server needs the machine, too."""
    heard, start = Heard(), time.monotonic()
    body = {"model": name, "input": prompt, "stream": True, "reasoning": {"effort": "low"}}
    raw = json.dumps(body).encode()
    lines = ("POST /v1/responses HTTP/1.1", "host: x", "connection: close", "content-type: application/json")
    head = "\r\n".join([*lines, f"content-length: {len(raw)}", "", ""]).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(head + raw)
    last: dict[str, Any] = {}
    done = False
    try:
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                last = json.loads(line[6:])
                heard.numbers.append(last["sequence_number"])
                if last["type"] == "response.reasoning_summary_text.done" and heard.summary is None:
                    heard.summary = time.monotonic() - start
                if last["type"] == "response.output_text.delta":
                    heard.answer = heard.answer or time.monotonic() - start
                    heard.text += last["delta"]
            done = done or line.startswith(b"data: [DONE]")
    finally:
        writer.close()
    heard.whole = time.monotonic() - start
    heard.wrong = _wrong(heard, last, done)
    if not heard.wrong:
        heard.tokens = last["response"]["usage"]["output_tokens"]
    return heard


def _wrong(heard: Heard, last: dict[str, Any], done: bool) -> str:
    """What is wrong with a stream that has ended; empty where it is whole."""
    if not done or last.get("type") not in ("response.completed", "response.incomplete"):
        return f"lost after {last.get('type')}"
    if heard.numbers != list(range(len(heard.numbers))):
        return "corrupted: events are missing"
    said = last["response"]["output"][-1]["content"][0]["text"]
    return "" if said == heard.text else "corrupted: its parts are not its whole"


async def load(port: int, name: str, asked: Sequence[str], clients: int, seconds: float) -> list[Heard]:
    """All streams of all clients."""
    found: list[Heard] = []
    waiting, end = iter(range(10**9)), time.monotonic() + seconds

    async def client(first: int) -> None:
        await asyncio.sleep(first / 1000)  # they do not all connect in the same instant
        while time.monotonic() < end:
            try:
                found.append(await stream(port, name, asked[next(waiting) % len(asked)]))
            except OSError as err:
                found.append(Heard(wrong=f"lost: {err}"))

    await asyncio.gather(*(client(first) for first in range(clients)))
    return found


def resident(pid: int) -> float:
    """A process's memory, in megabytes."""
    said = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", said)[0]) / 1024


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The median and what one in a hundred exceeds."""
    order = sorted(seconds)
    at = {f"p{p}": order[min(len(order) - 1, len(order) * p // 100)] for p in (50, 99)} if order else {}
    return {name: round(value, 3) for name, value in at.items()}


def served(model: Path, asked: Sequence[str], clients: int, seconds: float) -> dict[str, Any]:
    """What the server does under that load."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--model", str(model), "--port", "0", "--device", "cpu", "--store", f"{folder}/responses.sqlite"]
        command = [sys.executable, "-c", "from ponder.cli import main; raise SystemExit(main())", "serve", *options]
        process = subprocess.Popen([*command, "--requests", str(2 * clients)], stderr=subprocess.PIPE, text=True)
        assert process.stderr
        try:
            said = ""
            while not (found := re.search(r"(\S+) at http://127.0.0.1:(\d+)", said)):
                said = process.stderr.readline()
                assert process.poll() is None, said
            name, port = found[1], int(found[2])
            time.sleep(1)
            asyncio.run(load(port, name, asked, min(clients, 8), 0.1))
            before, start = resident(process.pid), time.monotonic()
            half = asyncio.run(load(port, name, asked, clients, seconds / 2))
            middle = resident(process.pid)
            heard = half + asyncio.run(load(port, name, asked, clients, seconds / 2))
            wall, after = time.monotonic() - start, resident(process.pid)
        finally:
            process.terminate()
            process.wait()
    wrong = [one.wrong for one in heard if one.wrong]
    return {
        "clients": clients,
        "seconds": round(wall, 1),
        "responses": len(heard),
        "wrong": {kind: wrong.count(kind) for kind in set(wrong)},
        "first_summary_s": percentiles([one.summary for one in heard if one.summary is not None]),
        "answer_s": percentiles([one.answer for one in heard if one.answer is not None]),
        "tokens_per_response": round(mean([one.tokens for one in heard]), 1),
        "tokens_per_s": round(sum(one.tokens for one in heard) / wall),
        "memory_mb": {"before": round(before), "half way": round(middle), "after": round(after)},
    }


def own(model: Path, asked: Sequence[str]) -> dict[str, Any]:
    """What the engine does by itself with the same questions, all side by side."""
    given = json.dumps(list(asked))
    command = [sys.executable, "-c", OWN, str(model)]
    tokens, seconds = json.loads(
        subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
    )
    return {"tokens": tokens, "seconds": round(seconds, 1), "tokens_per_s": round(tokens / seconds)}


def main() -> None:
    """Measure, write the results, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    model, asked = find_model(given.model), prompts(given.clients)
    found = {
        "model": model.name,
        "own": own(model, asked),
        "served": served(model, asked, given.clients, given.seconds),
    }
    found["share_of_own"] = round(found["served"]["tokens_per_s"] / found["own"]["tokens_per_s"], 3)
    given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
