"""Functions in a killable child: values, errors, time, memory, noise, death."""

import os
import sys
import time

import pytest

from ponder.errors import PonderError
from ponder.sandbox.worker import Worker, WorkerError, WorkerTimeout, run


@pytest.fixture(scope="module")
def worker():
    with Worker(seconds=20) as shared:
        yield shared


def test_values_cross_as_json(worker):
    assert worker.call("math:gcd", 12, 18) == 6
    assert worker.call("builtins:sorted", ["b", "é", "a\n"]) == ["a\n", "b", "é"]
    assert worker.call("builtins:divmod", 7, 3) == [2, 1]


def test_the_child_lives_on_between_calls(worker):
    first = worker.call("os:getpid")
    assert first != os.getpid()
    assert worker.call("os:getpid") == first


def test_a_failing_function_is_reported_and_the_child_survives(worker):
    child = worker.call("os:getpid")
    with pytest.raises(WorkerError, match="math:sqrt failed: ValueError"):
        worker.call("math:sqrt", -1)
    with pytest.raises(WorkerError, match="ModuleNotFoundError"):
        worker.call("no_such_module:f")
    with pytest.raises(WorkerError, match="AttributeError"):
        worker.call("math:no_such_function")
    with pytest.raises(WorkerError, match="not JSON serializable"):
        worker.call("builtins:complex", 1, 2)
    assert worker.call("os:getpid") == child


def test_too_slow_is_killed_and_the_next_call_works():
    with Worker(seconds=20) as worker:
        child = worker.call("os:getpid")
        started = time.monotonic()
        with pytest.raises(WorkerTimeout, match=r"time:sleep took more than 0.3 s .* allow more seconds"):
            worker.call("time:sleep", 60, seconds=0.3)
        assert time.monotonic() - started < 3
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
        assert worker.call("math:gcd", 4, 6) == 2


def test_what_the_child_started_dies_with_it(tmp_path):
    mark = tmp_path / "mark"
    with Worker(seconds=20) as worker:
        worker.call("os:getpid")
        with pytest.raises(WorkerTimeout):
            worker.call("os:system", f"sleep 1.2; touch {mark}", seconds=0.3)
    time.sleep(1.5)
    assert not mark.exists()


def test_printing_does_not_disturb_the_replies(worker):
    assert worker.call("os:system", "echo noise; echo more >&2") == 0
    assert worker.call("builtins:print", '{"value": 1}') is None
    assert worker.call("math:gcd", 4, 6) == 2


def test_a_dying_process_is_an_error_that_names_the_exit():
    with Worker(seconds=20) as worker, pytest.raises(WorkerError, match="os:_exit: its process died .*exit code 3"):
        worker.call("os:_exit", 3)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce RLIMIT_AS")
def test_memory_is_limited():
    with pytest.raises(PonderError, match="MemoryError|memory_mb=300"):
        run("builtins:bytearray", 10**9, seconds=20, memory_mb=300)


def test_large_requests_and_replies_pass(worker):
    text = "x" * 2_000_000
    assert worker.call("builtins:str", text) == text


def test_close_twice():
    worker = Worker()
    worker.call("math:gcd", 1, 1)
    worker.close()
    worker.close()
    assert worker.call("math:gcd", 4, 6) == 2
    worker.close()
