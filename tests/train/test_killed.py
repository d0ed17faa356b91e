"""Killed at any instant, in the middle of a rollout or of a write, the same command ends with the same bits.

Two instants are tried each time; ten with ``pytest -m slow tests/train/test_killed.py``. A run's process is a fork of
one that has imported everything, so that an attempt takes no longer than its rounds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ponder.runs import Run

TINY: dict[str, Any] = {
    "tasks": ("multiplication:1", "multiplication:2"),
    "algorithm": "branch",
    "options": {"siblings": 2, "groups": "wrong", "boundary": "valid"},
    "efforts": ("low", "none"),
    "thinking": 24,
    "answer": 6,
    "problems": 4,
    "samples": 4,
    "updates": 2,
    "kl": 0.05,
    "reset_reference": 2,
    "steps": 8,
    "probe": 2,
    "probe_samples": 2,
    "learning_rate": 5e-3,
    "threads": 1,
    "workers": 1,
}
PROGRAM = '''
import json, os, random, signal, sys, time
from pathlib import Path
from ponder import runs
from ponder.model import checkpoint
from ponder.train import actors, loop, rl
from ponder.types import Grade

settings, whole, broken = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
kinds, config, rng = sys.argv[4].split(","), rl.RLConfig(**settings), random.Random(sys.argv[5])
loop.LoopConfig.__init__.__kwdefaults__["save_seconds"] = 0.0  # a state after every round

def odd(problem, completion):
    return Grade(float("3" in completion.answer or "7" in completion.answer))

def attempt(kind, at):
    """Goes on in a process of its own, which kills itself after so many of the instants of a kind, and a little."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = [at]
    def due():
        left[0] -= 1
        return left[0] == 0
    def dies(after=0.0):
        time.sleep(after)
        os.kill(os.getpid(), signal.SIGKILL)
    save, append, sample = loop.save_file, runs._append, actors.sample_part
    def torn_save(tensors, path, *more, **named):
        if kind == "state" and due():
            Path(path).write_bytes(b"half a file")
            dies()
        save(tensors, path, *more, **named)
    def torn_append(path, record):
        if kind == "metrics" and due():
            with path.open("a") as file:
                file.write(json.dumps(record)[: rng.randrange(1, 40)])
            dies()
        append(path, record)
    def torn_sample(checkpoint, draws):
        if kind == "rollout" and due():
            signal.signal(signal.SIGALRM, lambda *_: dies())
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, 0.03))
        return sample(checkpoint, draws)
    def torn_checkpoint(*given):
        if kind == "checkpoint" and due():
            checkpoint.save_file = lambda *a, **k: dies()
        checkpoint_save(*given)
    checkpoint_save = rl.save_checkpoint
    loop.save_file, runs._append = torn_save, torn_append
    actors.sample_part, rl.save_checkpoint = torn_sample, torn_checkpoint
    if kind == "anywhere":
        signal.signal(signal.SIGALRM, lambda *_: dies())
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.02, 0.6))
    rl.run_rl(config, broken, grader=odd)
    os._exit(0)

rl.run_rl(config, whole, grader=odd)
killed = 0
for kind in kinds:
    killed += attempt(kind, rng.randint(1, 3)) == -signal.SIGKILL
rl.run_rl(config, broken, grader=odd)
print(killed)
'''
KINDS = ("rollout", "state", "metrics", "checkpoint", "anywhere")


@pytest.mark.parametrize(
    "kinds", [("rollout", "state"), pytest.param(KINDS * 2, marks=pytest.mark.slow)], ids=["two", "ten"]
)
def test_killed_at_any_instant_it_ends_with_the_same_bits(taught: Path, tmp_path: Path, kinds: tuple[str, ...]) -> None:
    program, settings = tmp_path / "train.py", {"model": str(taught), **TINY}
    program.write_text(PROGRAM, encoding="utf-8")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = subprocess.run(
        [sys.executable, str(program), json.dumps(settings), str(whole), str(broken), ",".join(kinds), "7"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(kinds) - 1, "hardly any kill came before the end"
    one, other = (load_file(out / "checkpoint" / "model.safetensors") for out in (whole, broken))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    clocks = {"seconds", "waited", "sampling", "training"}
    told = [
        [{name: value for name, value in record.items() if name not in clocks} for record in Run(out).metrics()]
        for out in (whole, broken)
    ]
    assert told[0] == told[1] and Run(whole).samples() == Run(broken).samples()
