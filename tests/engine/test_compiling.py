"""Kernels are compiled once on a machine, however many processes ask for them at the same time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fcntl")
KERNEL = """
from ponder.engine.native.compiling import entry

@entry
def total(numbers):
    found = 0
    for number in range(numbers):
        found += number * number % 7
    return found
"""
ASK = """
import pathlib, sys, time
import kernel
pathlib.Path(sys.argv[1]).touch()
while not pathlib.Path("go").exists():
    time.sleep(0.001)
print(kernel.total(10), sum(kernel.total.stats.cache_misses.values()))
"""


def test_processes_that_begin_at_once_compile_once(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(KERNEL, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, f"ready{number}"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "kept")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    while not all((tmp_path / f"ready{number}").exists() for number in range(3)):
        assert all(one.poll() is None for one in asking)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [one.communicate(timeout=60)[0].split() for one in asking]
    assert {one[0] for one in said} == {"19"} and sorted(int(one[1]) for one in said) == [0, 0, 1]
