"""How the command line behaves as a process: streams, exit codes, pipes, interrupts."""

import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-c", "import sys; from ponder.cli import main; sys.exit(main())"]


def test_help_is_fast_because_it_needs_no_torch():
    code = "import sys; from ponder.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_process_separates_its_streams_and_its_exit_codes(micro_checkpoint):
    asked = [*COMMAND, "think", "hi", "--model", str(micro_checkpoint), "--effort", "none"]
    done = subprocess.run(asked, capture_output=True, check=False)
    assert done.returncode in (0, 1) and b"answer tokens" in done.stderr and b"answer tokens" not in done.stdout
    done = subprocess.run([*COMMAND, "think", b"\xff"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"") and b"not UTF-8" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and signals")
def test_a_broken_pipe_is_quiet():
    command = [*COMMAND, "tasks", "sample", "countdown:1", "--n", "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and signals")
def test_an_interrupt_is_quiet_and_exits_with_130():
    command = [*COMMAND, "tasks", "sample", "countdown:1", "--n", "100000"]

    def listen_to_interrupts() -> None:  # whoever runs the tests in the background may ignore them
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listen_to_interrupts
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == b""
    assert process.returncode == 130
