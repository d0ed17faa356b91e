"""A peer as the benchmark sees it: a process to send contexts to, which says how long its own work took.

with Peer("llama", model) as peer:
    written = peer.generate(contexts, stops)
"""

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.protocol import Ids, Order
from ponder.errors import ConfigError, SamplerError

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".peers"


@dataclass(frozen=True)
class Kind:
    """Which environment and which worker a peer is."""

    environment: str
    worker: str
    mode: tuple[str, ...] = ()


PEERS = {
    "generate": Kind("transformers", "worker_transformers", ("generate",)),
    "continuous": Kind("transformers", "worker_transformers", ("continuous",)),
    "llama": Kind("llama", "worker_llama"),
    "trl": Kind("trl", "worker_trl"),
}


@dataclass(frozen=True)
class Written:
    """What a peer wrote for each context, the stop included, and the time that took it alone."""

    ids: list[Ids]
    seconds: float
    cpu_seconds: float


def python_of(environment: str) -> Path:
    """The interpreter of a peer's environment, installed or not."""
    return ENVIRONMENTS / environment / "bin" / "python"


def installed(name: str) -> bool:
    """Whether `benchmarks.peers.setup` has finished the peer's environment."""
    return (ENVIRONMENTS / PEERS[name].environment / "installed.txt").exists()


class Peer:
    """A worker process with `model` loaded; an answer that takes longer than `timeout` seconds ends it."""

    def __init__(self, name: str, model: Path, threads: int = 1, timeout: float = 600) -> None:
        if name not in PEERS:
            raise ConfigError(f"there is no peer {name!r}: choose from {', '.join(PEERS)}")
        kind = PEERS[name]
        if not installed(name):
            setup = f"python -m benchmarks.peers.setup {kind.environment}"
            raise ConfigError(f"the peer {name!r} is not installed: run `{setup}` first")
        self.name, self.timeout = name, timeout
        self.log = ENVIRONMENTS / kind.environment / f"{name}.log"
        with self.log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [
                    *(str(python_of(kind.environment)), "-m", f"benchmarks.peers.{kind.worker}"),
                    *(str(model.resolve()), str(threads), *kind.mode),
                ],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        ready = self._hear()
        self.engine, self.version = str(ready["name"]), str(ready["version"])

    def generate(
        self, contexts: Sequence[Ids], stops: Sequence[int], most: int = 128, temperature: float = 1.0, seed: int = 0
    ) -> Written:
        """One continuation of every context; for several samples, repeat the context."""
        order = Order(list(contexts), list(stops), most, temperature, seed)
        answer = self._ask("generate", **vars(order))
        return Written(answer["written"], answer["seconds"], answer["cpu_seconds"])

    def score(self, contexts: Sequence[Ids]) -> float:
        """The seconds that one forward pass over all contexts takes; only `generate` and `continuous` can."""
        return self._ask("score", contexts=list(contexts))["seconds"]

    def forget(self) -> None:
        """Make the next order start without the prompts cached by earlier ones."""
        self._ask("forget")

    def close(self) -> None:
        """End the worker."""
        pipes = (self._process.stdin, self._process.stdout)
        self._process.kill()
        self._process.wait()
        for pipe in pipes:
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, do: str, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SamplerError(f"the peer {self.name!r} has ended: {self.log} says why") from None
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        alarm = threading.Timer(self.timeout, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line:
            self.close()
            raise SamplerError(f"the peer {self.name!r} ended or took over {self.timeout:g} s: {self.log} says why")
        answer = json.loads(line)
        if "error" in answer:
            raise SamplerError(f"the peer {self.name!r} failed: {answer['error']}; {self.log} has the rest")
        return answer
