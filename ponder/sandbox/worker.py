"""Runs named functions in a child process that is killed when it takes too long: graders and generators we do not own.

Requests and replies are JSON lines over pipes, so nothing but plain values crosses. The child lives on between calls
(importing is slow), has a memory limit, prints nowhere, and is in a process group of its own that is killed whole.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, Self

from ponder.errors import PonderError

MAX_REPLY = 64 * 2**20
"""Bytes; a longer reply kills the child."""
GRACE = 5
"""Seconds after its time limit at which a child whose parent has died ends by itself."""


class WorkerError(PonderError):
    """The function failed, took too long, or its process died; the text names the function and the remedy."""


class WorkerTimeout(WorkerError):
    """The function took too long and was killed."""


class Worker:
    """A child process for calls of functions by name, restarted when it had to be killed; for one thread at a time."""

    def __init__(self, seconds: float = 10.0, memory_mb: int = 4096) -> None:
        self._seconds = seconds
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None

    def call(self, function: str, *arguments: Any, seconds: float | None = None) -> Any:
        """The value that ``module:function`` returns for JSON-plain arguments, within `seconds` of wall time."""
        limit = self._seconds if seconds is None else seconds
        request = json.dumps({"function": function, "arguments": arguments, "seconds": limit})
        with self._lock:
            deadline = time.monotonic() + limit
            process = self._start()
            try:
                reply = json.loads(_exchange(process, request.encode() + b"\n", deadline))
            except TimeoutError:
                self._kill()
                raise WorkerTimeout(
                    f"{function} took more than {limit:g} s and was killed: allow more seconds, or give it less to do"
                ) from None
            except (OSError, EOFError, ValueError) as err:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                code, last = self._kill()
                raise WorkerError(
                    f"{function}: its process died ({err or 'no reply'}; exit code {code}{last}): "
                    f"if it ran out of memory, allow more than memory_mb={self._memory_mb}"
                ) from None
            except BaseException:  # an interrupt in mid-call: the reply would be taken for the next call's
                self._kill()
                raise
        if "error" in reply:
            raise WorkerError(f"{function} failed: {reply['error']}")
        return reply["value"]

    def close(self) -> None:
        """Ends the child, if there is one."""
        with self._lock:
            self._kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._kill()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115, closed by _kill
        # The child must import what the parent can, and numeric libraries must not reserve memory for many threads.
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ponder.sandbox.worker", str(self._memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environment,
            start_new_session=True,
        )
        return self._process

    def _kill(self) -> tuple[int | None, str]:
        """Kills the child and all it started; its exit code, and the last line that it complained, if any."""
        process, complaints = self._process, self._complaints
        self._process = self._complaints = None
        if process is None or complaints is None:
            return None, ""
        code = process.poll()
        # The group goes even if the child has ended: what the child started may still run.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        with complaints:
            complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 500))
            lines = complaints.read().decode(errors="replace").strip().splitlines()
        return code, f"; {lines[-1]}" if lines else ""


def run(function: str, *arguments: Any, seconds: float = 10.0, memory_mb: int = 4096) -> Any:
    """One call of ``module:function`` in a child of its own."""
    with Worker(seconds, memory_mb) as worker:
        return worker.call(function, *arguments)


def _exchange(process: subprocess.Popen[bytes], request: bytes, deadline: float) -> bytes:
    """Writes a request and reads one reply line; neither can block beyond the deadline."""
    assert process.stdin is not None and process.stdout is not None
    write, read = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(write, False)
    reply = bytearray()
    while not reply.endswith(b"\n"):
        readable, writable, _ = select.select(
            [read], [write] if request else [], [], max(0.0, deadline - time.monotonic())
        )
        if not readable and not writable:
            raise TimeoutError
        if writable:
            request = request[os.write(write, request) :]
        if readable:
            part = os.read(read, 2**16)
            reply += part
            if not part:
                raise EOFError("the pipe was closed")
            if len(reply) > MAX_REPLY:
                raise EOFError(f"a reply of more than {MAX_REPLY} bytes")
    return bytes(reply)


# --- in the child ------------------------------------------------------------------------------------------------


def _limit(memory_mb: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows; there the time limit alone holds
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _named(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _answer(line: bytes) -> str:
    """The reply to one request; whatever the function raises is reported, for the parent decides what it means."""
    request = json.loads(line)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"] + GRACE)
    try:
        return json.dumps({"value": _named(request["function"])(*request["arguments"])})
    except Exception as err:
        return json.dumps({"error": f"{type(err).__name__}: {str(err)[:500]}"})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _requests() -> Iterator[bytes]:
    """Lines from the parent, until it closes the pipe; then the functions find an empty standard input."""
    private = os.fdopen(os.dup(0), "rb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    return iter(private.readline, b"")


def _main() -> None:
    _limit(int(sys.argv[1]))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a function prints must not mix with the replies
    for line in _requests():
        replies.write(_answer(line).encode() + b"\n")
        replies.flush()


if __name__ == "__main__":
    _main()
