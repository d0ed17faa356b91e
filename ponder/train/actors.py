"""Sampling for training: parts of a round, each by a sampler of its own, here or in processes side by side.

A part's tokens, to the last bit of their log-probabilities, follow from the weights and its draws alone: its sampler is
fresh, and nobody else shares its batch. Samplers that serve in processes (``engine/parallel.py``) batch whatever comes
first, which moves log-probabilities in their last digits from run to run: a run that was killed would end elsewhere.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
import torch.multiprocessing

from ponder.engine.local import LocalSampler
from ponder.errors import PonderError, SamplerError
from ponder.model.checkpoint import Checkpoint
from ponder.model.device import settle_decoding_threads
from ponder.train.rollout import Draw, Drawn, roll_out_all
from ponder.types import Completion, Grade, Problem

Parts = Sequence[Sequence[Draw]]
Sample = Callable[[Parts], list[Drawn]]
"""Parts of a round to their rollouts, in order and not graded."""

_GONE = "a sampling process has ended: its memory may be short"


def ungraded(problem: Problem, completion: Completion) -> Grade:
    """What stands for a grade until the reward has graded it, where a failing grader can be told."""
    return Grade(None, "not graded yet")


def sample_part(checkpoint: Checkpoint, draws: Sequence[Draw]) -> list[Drawn]:
    """One part's rollouts, without their trees: nobody reads those."""
    drawn = asyncio.run(roll_out_all(draws, LocalSampler(checkpoint), ungraded))
    return [_bare(one) for one in drawn]


def _bare(drawn: Drawn) -> Drawn:
    rollout = drawn.rollout
    return replace(drawn, rollout=replace(rollout, completion=replace(rollout.completion, tree=None)))


def sample_here(checkpoint: Checkpoint) -> Sample:
    """Samples in this process, one part after the other."""
    device = next(checkpoint.network.parameters()).device.type

    def sample(parts: Parts) -> list[Drawn]:
        threads = torch.get_num_threads()
        settle_decoding_threads(device, checkpoint.network.shape.hidden_size)
        try:
            return [one for part in parts for one in sample_part(checkpoint, part)]
        finally:
            torch.set_num_threads(threads)

    return sample


class _Actor(NamedTuple):
    process: Any
    connection: "Connection[Any, Any]"


class Actors:
    """Processes that sample on the trainer's own weights in shared memory; `close` ends them, and so does its end."""

    def __init__(self, checkpoint: Checkpoint, count: int) -> None:
        checkpoint.network.share_memory()
        if checkpoint.head:
            checkpoint.head.share_memory()
        context = torch.multiprocessing.get_context("spawn")
        self._actors: list[_Actor] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, checkpoint), daemon=True)
            process.start()
            theirs.close()  # so that a process which ends is noticed
            self._actors.append(_Actor(process, ours))

    def __call__(self, parts: Parts) -> list[Drawn]:
        """See `Sample`; at most one part for each process."""
        assert len(parts) <= len(self._actors)
        busy = [(actor, part) for actor, part in zip(self._actors, parts, strict=False) if part]
        found: list[list[Drawn] | PonderError] = []
        try:
            for actor, part in busy:
                actor.connection.send(list(part))
            found += [actor.connection.recv() for actor, _ in busy]
        except (EOFError, OSError) as err:
            raise SamplerError(_GONE) from err
        drawn: list[Drawn] = []
        for part in found:
            if isinstance(part, PonderError):
                raise part
            drawn += part
        return drawn

    def close(self) -> None:
        """End the processes."""
        for actor in self._actors:
            actor.connection.close()
        for actor in self._actors:
            actor.process.join(timeout=1)
            if actor.process.is_alive():  # in the middle of a part that nobody wants
                actor.process.kill()
                actor.process.join()


def _serve(connection: "Connection[Any, Any]", checkpoint: Checkpoint) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits: it ends this one
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):  # whoever asked is gone
        while True:
            draws = connection.recv()
            try:
                reply: object = sample_part(checkpoint, draws)
            except PonderError as err:
                reply = err
            except Exception as err:  # it must reach whoever waits, whatever it is
                reply = SamplerError(f"sampling failed: {err or type(err).__name__}")
            connection.send(reply)
