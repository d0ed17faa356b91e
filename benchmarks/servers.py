"""What `benchmarks.serve` measures, each in processes of its own: two servers, and the engine by itself."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.load import Clients, load
from benchmarks.peers.client import ENVIRONMENTS, ROOT, python_of
from ponder.text.effort import BUDGETS
from ponder.types import Effort

PONDER = [sys.executable, "-c", "from ponder.cli import main; raise SystemExit(main())"]
TRANSFORMERS = ["-c", "from transformers.cli.transformers import main; main()", "serve", "--continuous-batching"]
PAGES = ["--cb-block-size", "16", "--cb-num-blocks", "4096", "--cb-max-batch-tokens", "512"]
"""As `benchmarks.peers.worker_transformers` measured them to be best here, with room for more requests."""
MOST = BUDGETS[Effort.LOW].thinking + BUDGETS[Effort.LOW].answer
"""Tokens that a peer may write."""


@dataclass(eq=False)
class Running:
    """A process, with all that it began; it ends with the block."""

    process: "subprocess.Popen[Any]"

    def memory(self) -> float:
        """Resident megabytes."""
        said = [Path(f"/proc/{pid}/status").read_text() for pid in self._processes()]
        return sum(int(one) for text in said for one in re.findall(r"VmRSS:\s+(\d+)", text)) / 1024

    def cpu(self) -> float:
        """Seconds of processors that they have used."""
        fields = [_stat(pid) for pid in self._processes()]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")

    def _processes(self) -> list[int]:
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found += parents.get(pid, ())
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def _stat(pid: int) -> list[str]:
    """A process's numbers behind its name: its state, its parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@dataclass(eq=False)
class Server(Running):
    """A server, and what its model is called."""

    port: int
    name: str


@contextlib.contextmanager
def ponder(model: Path, clients: int) -> Generator[Server]:
    """A `ponder serve` with a store on disk."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--model", str(model), "--port", "0", "--device", "cpu", "--store", f"{folder}/responses.sqlite"]
        command = [*PONDER, "serve", *options, "--requests", str(2 * clients)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        with Server(process, 0, "") as server:
            said = ""
            while not (found := re.search(r"(\S+) at http://127.0.0.1:(\d+)", said)):
                said = process.stderr.readline()
                assert said, "the server ended before it served"
            threading.Thread(target=process.stderr.read, daemon=True).start()
            server.name, server.port = found[1], int(found[2])
            yield server


@contextlib.contextmanager
def transformers(model: Path, threads: int) -> Generator[Server]:
    """A `transformers serve` with continuous batching, which has answered once."""
    path = ENVIRONMENTS / "transformers" / "serve.log"
    port = 18000 + os.getpid() % 10000
    options = ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port), *PAGES]
    with path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [str(python_of("transformers")), *TRANSFORMERS, *options, str(model)],
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=log,
        )
        with Server(process, port, str(model)) as server:
            clients = Clients(port, "/v1/chat/completions", chat_body(server, ["What is 2 + 2?"]))
            while all(one.lost for one in load(clients, 1, 0.1)):
                assert process.poll() is None, f"transformers serve ended: {path} says why"
            yield server


class Own(Running):
    """The engine by itself."""

    def __init__(self, model: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.own", str(model)]
        pipe = subprocess.PIPE
        super().__init__(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT))
        self._hear()

    def run(self, **order: Any) -> dict[str, Any]:
        """One phase; see `benchmarks.own`."""
        assert self.process.stdin
        before = self.cpu()
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._hear() | {"cpu_seconds": self.cpu() - before}

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the engine's process has ended"
        return json.loads(line)


def response_body(server: Server, asked: Sequence[str]) -> Callable[[int], dict[str, Any]]:
    """What Ponder is asked."""
    same = {"model": server.name, "stream": True, "reasoning": {"effort": str(Effort.LOW)}, "temperature": 0}
    return lambda question: {**same, "input": asked[question % len(asked)]}


def chat_body(server: Server, asked: Sequence[str]) -> Callable[[int], dict[str, Any]]:
    """What the peer is asked, by the model's own template."""
    same: dict[str, Any] = {"model": server.name, "stream": True, "temperature": 0, "max_tokens": MOST}
    same["chat_template_kwargs"] = {"reasoning_effort": str(Effort.LOW)}
    return lambda question: {**same, "messages": [{"role": "user", "content": asked[question % len(asked)]}]}
