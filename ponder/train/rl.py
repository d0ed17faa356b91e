"""Reinforcement learning on the model's own thoughts: rounds of sampling through the one optimiser loop, watched.

The folder keeps metrics.jsonl (one record a round, and the alarms), samples.jsonl (thoughts with their rewards), a
checkpoint at steps that are evenly spaced on a log scale, for the curve, and the last one; and while it goes on, the
states that it may go back to.
"""

import copy
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ponder.engine.grammar import Replay
from ponder.errors import ConfigError, DivergedError, SamplerError
from ponder.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ponder.model.device import narrow, pick_device, pick_dtype
from ponder.model.heads import new_head
from ponder.model.network import Network
from ponder.reward.exact import grade_completion
from ponder.runs import open_run
from ponder.train.actors import Actors, Sample, sample_here
from ponder.train.advantages import Algorithm
from ponder.train.algorithms import algorithm_named
from ponder.train.competence import Competence
from ponder.train.loop import LoopConfig, Progress, fit, marks, once
from ponder.train.monitors import Action, Alarm
from ponder.train.own import OwnGrader
from ponder.train.policy import Reference, policy_loss
from ponder.train.rated import Rated
from ponder.train.reporters import check_reporter, reporting
from ponder.train.reward import levels
from ponder.train.rollout import Grader
from ponder.train.rounds import RLConfig, Rounds
from ponder.train.settle import settle
from ponder.train.sft import Start, task_level
from ponder.train.watch import SMALLER, STEPS, Sick, Watch, roll_back, tidy

Evaluate = Callable[[Checkpoint, Progress], dict[str, float]]


@dataclass(frozen=True)
class Listener:
    """What hears how a run goes on."""

    start: Callable[[Start], None] = lambda start: None
    step: Callable[[Progress, dict[str, float]], None] = lambda progress, record: None
    alarm: Callable[[Alarm], None] = lambda alarm: None


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
    evaluate: Evaluate | None = None,
    evaluations: int = 4,
    report_to: str | None = None,
) -> Path:
    """Train, or go on with what lies in `out`; returns the last checkpoint's folder.

    Raises TrainingError where a monitor stops the run. `sample` takes the place of the sampling processes.
    """
    listener = listener or Listener()
    given = load_checkpoint(Path(config.model))
    levels(tuple(config.tasks), given)
    algorithm = algorithm_named(config.algorithm, config.options)
    own = OwnGrader(config.grader, config.grader_seconds, grader)
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
    if report_to:
        check_reporter(report_to)
    settings = config.model_dump(mode="json")
    run = open_run(out, settings)
    computing = settle(config.device, config.dtype, config.threads, hidden, run)
    config = config.model_copy(update=computing.chosen)
    policy, model, said = _learner(given.to(config.device), algorithm, config.process == "head")
    listener.start(Start(_loop(config), computing.reason + said, _count(model), run.state.exists()))
    parts = config.workers if narrow(config.device, hidden) else 1
    begun = copy.deepcopy(network).requires_grad_(False) if config.kl else None
    replay = Replay.of(tokenizer.special, tokenizer.size, torch.device(config.device))
    with closing(_sampler(policy, parts, sample)) as sampler, closing(own), reporting(report_to, run, settings) as run:
        done = False
        while not done:
            competence, reference = _competence(config, given), Reference(config.kl, begun)
            rounds = Rounds(
                config, policy, sampler.sample, parts, own.grade, algorithm, competence, replay, run, reference
            )
            done = _attempt(model, rounds, listener, evaluate, evaluations)
    folder = run.folder / "checkpoint"
    save_checkpoint(_saved(policy, out.name, algorithm), folder)
    shutil.rmtree(run.healthy, ignore_errors=True)
    return folder


def _attempt(
    model: Network | Rated, rounds: Rounds, listener: Listener, evaluate: Evaluate | None, evaluations: int
) -> bool:
    """Train from the run's state to the end; False where the run has gone back, and is to be tried again."""
    config, run = rounds.config, rounds.run
    rounds.rolled = tidy(run, config.updates)
    loop = _loop(config)
    loop = replace(loop, learning_rate=loop.learning_rate * SMALLER ** len(rounds.rolled))
    watch = Watch(run, config.updates, listener.alarm)

    def heard(progress: Progress, record: dict[str, float]) -> None:
        watch.check(progress)
        listener.step(progress, record)

    try:
        _fit(model, rounds, loop, watch, heard, evaluate, evaluations)
        return True
    except Sick as sick:
        found = sick
    except (DivergedError, SamplerError) as err:
        if isinstance(err, SamplerError) and all(bool(value.isfinite().all()) for value in model.parameters()):
            raise
        found = Sick(Alarm("finite", Action.ROLL_BACK, str(err)), watch.step, watch.step)
    listener.alarm(found.alarm)
    roll_back(run, found, config.roll_backs, config.updates)
    return False


def _competence(config: RLConfig, given: Checkpoint) -> Competence:
    named = config.tasks
    shares = {task_level(key): weight for key, weight in named.items()} if isinstance(named, dict) else {}
    return Competence(levels(tuple(named), given), config.unlocks, config.lowest, shares)


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


def _learner(given: Checkpoint, algorithm: Algorithm, paid: bool) -> tuple[Checkpoint, Network | Rated, str]:
    """What samples, what is trained, and what is to be said of its head, which may pay for blocks."""
    network, _ = given.own()
    if algorithm.head != "trained":
        said = "; its reward head is not saved again: train it anew" if given.head else ""
        return replace(given, head=given.head if paid or algorithm.head == "read" else None), network, said
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
    heard: Callable[[Progress, dict[str, float]], None],
    evaluate: Evaluate | None,
    evaluations: int,
) -> None:
    """The one loop, with checkpoints, probes and evaluations at its boundaries."""
    config, run = rounds.config, rounds.run
    kept = {number * config.updates for number in kept_rounds(config.steps)}
    measured = marks(loop.steps, evaluations) | {0, loop.steps}
    measure = once(run, model, (lambda progress: evaluate(rounds.checkpoint, progress)) if evaluate else None)

    def boundary(progress: Progress) -> None:
        if progress.step in kept or rounds.over(progress):
            folder = run.folder / STEPS / f"{progress.step // config.updates:05}"
            if not folder.exists():
                save_checkpoint(_saved(rounds.checkpoint, folder.name, rounds.algorithm), folder)
            rounds.probe(progress.step)
        if progress.step in measured or rounds.over(progress):
            measure(progress)

    fit(
        model,
        rounds.stream,
        policy_loss(rounds.algorithm, rounds.replay, rounds.tally, rounds.reference),
        loop,
        run,
        on_step=heard,
        on_boundary=boundary,
        boundaries=frozenset(kept | measured),
        companion=rounds,
        keep=watch.keeps,
        over=rounds.over,
        schedule=partial(rounds.rate, loop),
    )
