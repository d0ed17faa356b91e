"""Reinforcement learning on the model's own thoughts: rounds of sampling through the one optimiser loop, watched.

The folder keeps metrics.jsonl (one record a round, and the alarms), samples.jsonl (thoughts with their rewards), a
checkpoint at steps that are evenly spaced on a log scale, for the curve, and the last one.
"""

import copy
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ponder.engine.grammar import Replay
from ponder.errors import ConfigError, TrainingError
from ponder.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ponder.model.device import narrow, pick_device, pick_dtype
from ponder.model.heads import new_head
from ponder.model.network import Network
from ponder.reward.exact import grade_completion
from ponder.runs import Run, open_run
from ponder.train.actors import Actors, Sample, sample_here
from ponder.train.advantages import Algorithm
from ponder.train.algorithms import algorithm_named
from ponder.train.competence import Competence
from ponder.train.loop import LoopConfig, Progress, fit, marks, once
from ponder.train.monitors import QUIET, Action, Alarm, alarms
from ponder.train.policy import Reference, policy_loss
from ponder.train.rated import Rated
from ponder.train.reward import levels
from ponder.train.rollout import Grader
from ponder.train.rounds import RLConfig, Rounds
from ponder.train.settle import settle
from ponder.train.sft import Start

STEPS = "steps"
"""The folder of a run's checkpoints for the curve, by the number of rounds before them."""


@dataclass(frozen=True)
class Listener:
    """What hears how a run goes on."""

    start: Callable[[Start], None] = lambda start: None
    step: Callable[[Progress, dict[str, float]], None] = lambda progress, record: None
    alarm: Callable[[Alarm], None] = lambda alarm: None


@dataclass(eq=False)
class Watch:
    """Runs the monitors after each round, and does what they ask for."""

    run: Run
    updates: int
    listener: Listener

    def heard(self, progress: Progress, record: dict[str, float]) -> None:
        """After an optimiser step; raises TrainingError where an alarm stops the run."""
        if progress.step % self.updates == 0:
            self._check(progress)
        self.listener.step(progress, record)

    def _check(self, progress: Progress) -> None:
        records = self.run.metrics()
        history = [record for record in records if "degenerate" in record]
        since = progress.step - QUIET * self.updates
        told = {record["alarm"] for record in records if "alarm" in record and record["step"] > since}
        for alarm in alarms(history):
            if alarm.action is Action.STOP or alarm.name not in told:
                self.run.log(
                    {"step": progress.step, "alarm": alarm.name, "action": alarm.action, "why": alarm.sentence}
                )
                self.listener.alarm(alarm)
            if alarm.action is Action.STOP:
                raise TrainingError(f"stopped after step {progress.step}: {alarm.sentence}. {self._remedy(progress)}")

    def _remedy(self, progress: Progress) -> str:
        """Where to go on from: the kept checkpoint from about half the way, before it went wrong."""
        kept = sorted(path for path in (self.run.folder / STEPS).iterdir() if not path.name.endswith(".part"))
        early = [path for path in kept if 2 * int(path.name) * self.updates <= progress.step]
        return f"What was learned before lies in {early[-1]}: begin another run there, with other settings"


def kept_rounds(steps: int) -> list[int]:
    """The rounds before which a checkpoint is kept: 0, 1, 2, 4, 8, … and the end."""
    return sorted({0, steps, *(2**power for power in range(steps.bit_length()) if 2**power < steps)})


def run_rl(
    config: RLConfig,
    out: Path,
    *,
    listener: Listener | None = None,
    grader: Grader = grade_completion,
    sample: Callable[[Checkpoint], Sample] | None = None,
    evaluate: Callable[[Checkpoint, Progress], dict[str, float]] | None = None,
    evaluations: int = 4,
) -> Path:
    """Train, or go on with what lies in `out`; returns the last checkpoint's folder.

    Raises TrainingError where a monitor stops the run. `sample` takes the place of the sampling processes.
    """
    listener = listener or Listener()
    given = load_checkpoint(Path(config.model))
    competence, algorithm = (
        Competence(levels(config.tasks, given), config.unlocks),
        algorithm_named(config.algorithm, config.options),
    )
    config.rewards()
    network, tokenizer = given.own()
    reading = [
        name
        for name, reads in (("--process head", config.process == "head"), (config.algorithm, algorithm.head == "read"))
        if reads
    ]
    if reading and given.head is None:
        raise ConfigError(
            f"{config.model} has no reward head, which {reading[0]} reads: train one with `ponder train reward`"
        )
    hidden = network.shape.hidden_size
    device = pick_device(config.device).value
    pick_dtype(device, hidden, config.dtype)  # refuses what cannot be, before anything is written
    run = open_run(out, config.model_dump(mode="json"))
    computing = settle(config.device, config.dtype, config.threads, hidden, run)
    config = config.model_copy(update=computing.chosen)
    policy, model, said = _learner(given.to(config.device), algorithm)
    reference = Reference(config.kl, copy.deepcopy(network).requires_grad_(False) if config.kl else None)
    loop = _loop(config)
    listener.start(Start(loop, computing.reason + said, _count(model), run.state.exists()))
    parts = config.workers if narrow(config.device, hidden) else 1
    with closing(_sampler(policy, parts, sample)) as sampler:
        replay = Replay.of(tokenizer.special, tokenizer.size, torch.device(config.device))
        rounds = Rounds(config, policy, sampler.sample, parts, grader, algorithm, competence, replay, run, reference)
        _fit(model, rounds, loop, Watch(run, config.updates, listener), evaluate, evaluations)
    folder = run.folder / "checkpoint"
    save_checkpoint(_saved(policy, out.name, algorithm), folder)
    return folder


def _loop(config: RLConfig) -> LoopConfig:
    return LoopConfig(
        steps=config.steps * config.updates,
        learning_rate=config.learning_rate,
        head_rate=config.head_rate,
        decay=config.decay,
        weight_decay=0.0,
        dtype=config.dtype,
        device=config.device,
        log_every=config.updates,
        save_multiple=config.updates,
    )


def _learner(given: Checkpoint, algorithm: Algorithm) -> tuple[Checkpoint, Network | Rated, str]:
    """What samples, what is trained, and what is to be said of its head."""
    network, _ = given.own()
    if algorithm.head != "trained":
        return given, network, "; its reward head is not saved again: train it anew" if given.head else ""
    head = given.head or new_head(network.shape.hidden_size).to(next(network.parameters()).device)
    said = "its reward head is trained along" if given.head else "it has no reward head: a fresh one is trained along"
    return replace(given, head=head), Rated(network, head, frozen=False), f"; {said}"


def _count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _saved(policy: Checkpoint, name: str, algorithm: Algorithm) -> Checkpoint:
    """With its head where that has been trained too: another one knows the policy of before."""
    network, tokenizer = policy.own()
    head = policy.head if algorithm.head == "trained" else None
    return Checkpoint(network, tokenizer, policy.config.model_copy(update={"name": name}), head)


@dataclass(frozen=True)
class _Sampler:
    sample: Sample
    actors: Actors | None = None

    def close(self) -> None:
        if self.actors:
            self.actors.close()


def _sampler(policy: Checkpoint, parts: int, given: Callable[[Checkpoint], Sample] | None) -> _Sampler:
    """What samples a round of so many parts."""
    if given:
        return _Sampler(given(policy))
    if parts == 1:
        return _Sampler(sample_here(policy))
    actors = Actors(policy, parts)
    return _Sampler(actors, actors)


def _fit(
    model: Network | Rated,
    rounds: Rounds,
    loop: LoopConfig,
    watch: Watch,
    evaluate: Callable[[Checkpoint, Progress], dict[str, float]] | None,
    evaluations: int,
) -> None:
    """The one loop, with checkpoints and evaluations at its boundaries."""
    config, run = rounds.config, rounds.run
    kept = {number * config.updates for number in kept_rounds(config.steps)}
    measured = marks(loop.steps, evaluations) | {0, loop.steps}
    measure = once(run, model, (lambda progress: evaluate(rounds.checkpoint, progress)) if evaluate else None)

    def boundary(progress: Progress) -> None:
        if progress.step in kept:
            folder = run.folder / STEPS / f"{progress.step // config.updates:05}"
            if not folder.exists():
                save_checkpoint(_saved(rounds.checkpoint, folder.name, rounds.algorithm), folder)
        if progress.step in measured:
            measure(progress)

    fit(
        model,
        rounds.stream,
        policy_loss(rounds.algorithm, rounds.replay, rounds.tally, rounds.reference),
        loop,
        run,
        on_step=watch.heard,
        on_boundary=boundary,
        boundaries=frozenset(kept | measured),
        companion=rounds,
    )
