"""Rounds of reinforcement learning: choose problems, sample, grade, and turn the rollouts into micro-batches.

The optimiser loop asks for the next step's batches, and only then are they sampled, from the weights as they are. A
round is a pure function of the weights, its number, the seed and the running success of the levels, which is saved
with the weights: a run that was killed samples again what it would have sampled.
"""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pydantic

from ponder.engine.grammar import Replay
from ponder.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ponder.runs import Run
from ponder.seeds import rng_for, seed_for
from ponder.tasks import TASKS, make
from ponder.text.effort import BUDGETS, Budget
from ponder.train.actors import Sample
from ponder.train.advantages import Algorithm, Fork, Group, Lesson, Scored
from ponder.train.competence import LOWEST, Competence
from ponder.train.loop import LoopConfig, Progress, rate, rate_between
from ponder.train.measures import mean, measured, tokens_of, told
from ponder.train.policy import PolicyBatch, Reference, Tally, policy_batches
from ponder.train.rewards import Form, Process, Rewards, grade_alone
from ponder.train.rollout import Draw, Drawn, Grader, Kept
from ponder.train.watch import ROLLED, Rolled
from ponder.types import Effort, Split


class RLConfig(pydantic.BaseModel):
    """Everything that decides the weights of a run."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str
    """The checkpoint's folder to begin from."""
    tasks: dict[str, pydantic.PositiveFloat] | tuple[str, ...] = ()
    """As `task:level`, with weights or without; the lowest level of each task is open, the next one opens once it is
    learned. Empty for what the checkpoint was taught."""
    unlocks: float = pydantic.Field(0.7, ge=0, le=1)
    """Success at which a task's next level opens; 0 for all of them open at the start."""
    lowest: float = pydantic.Field(LOWEST, ge=0, lt=1)
    """Success below which a level is hardly practised: where eight samples are seldom right, little is learned."""
    grader: str = ""
    """A reward function of your own in place of the tasks' graders, as `FILE.py:FUNCTION`; see `own.py`."""
    grader_seconds: float = pydantic.Field(10.0, gt=0)
    """Longest that it may take for one sample."""
    algorithm: str = "grpo"
    options: dict[str, Any] = {}
    """The algorithm's own settings: see its file."""
    steps: int = pydantic.Field(60, ge=1)
    """Rounds of sampling, at most."""
    tokens: int = pydantic.Field(0, ge=0)
    """Sampled tokens after which no further round begins, for runs of equal cost; the rate then follows them and not
    the rounds. 0 for no such end."""
    problems: int = pydantic.Field(48, ge=1)
    """In a round."""
    samples: int = pydantic.Field(8, ge=2)
    """Rollouts of each problem."""
    updates: int = pydantic.Field(1, ge=1)
    """Optimiser steps on each round's rollouts."""
    efforts: tuple[Effort, ...] = pydantic.Field((Effort.MEDIUM,), min_length=1)
    """In turn, problem by problem."""
    thinking: int | None = pydantic.Field(None, ge=0)
    """Most thinking tokens, in place of the effort's own."""
    answer: int | None = pydantic.Field(None, ge=1)
    """Most tokens of the answer, likewise."""
    process: Process = "off"
    process_form: Form = "min"
    process_weight: float = 0.2
    format_weight: float = 0.05
    length_weight: float = 0.05
    soft_length: float = 0.8
    kl: float = pydantic.Field(0.0, ge=0)
    """Weight of the divergence from a reference, which is the policy at the start."""
    reset_reference: int = pydantic.Field(0, ge=0)
    """After so many rounds, again and again, the reference becomes the policy of then; 0 for never."""
    learning_rate: float = pydantic.Field(2e-4, gt=0)
    """Peak rate."""
    head_rate: float = pydantic.Field(10.0, gt=0)
    """The rate of a reward head that is trained too, as a multiple of it."""
    decay: float = pydantic.Field(0.5, gt=0, le=1)
    """Share of the steps, at the end, over which the rate falls to zero."""
    probe: int = pydantic.Field(16, ge=0)
    """Validation problems, always the same ones, that every kept checkpoint is tried on; 0 for none."""
    probe_samples: int = pydantic.Field(8, ge=2)
    """Rollouts of each of them."""
    roll_backs: int = pydantic.Field(2, ge=0)
    """How often the run may go back to a healthy state, to go on with half of its step, before it stops."""
    seed: int = 0
    shown: int = pydantic.Field(3, ge=0)
    """Thoughts of each round in samples.jsonl."""
    micro_tokens: int = pydantic.Field(16384, ge=256)
    """Most tokens of one forward pass."""
    device: str = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The sampler computes in float32: in bfloat16 the trainer would follow a slightly different policy."""
    threads: int = pydantic.Field(0, ge=0)
    """CPU threads of the trainer; 0 for all cores. Part of the settings, because sums depend on it."""
    workers: int = pydantic.Field(2, ge=1)
    """Processes that sample where the network is narrow, each with its part of a round; 1 for none beside this one."""

    def rewards(self) -> Rewards:
        """The reward's settings, checked."""
        names = {"process", "process_weight", "format_weight", "length_weight", "soft_length"}
        return Rewards(form=self.process_form, **self.model_dump(include=names))

    def share(self, step: int, sampled: float) -> float:
        """How much of a run is done after a step up to which so many tokens were sampled."""
        by_steps = step / (self.steps * self.updates)
        return max(by_steps, min(1.0, sampled / self.tokens)) if self.tokens else by_steps

    @pydantic.model_serializer(mode="wrap")
    def _told(self, usual: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without an end that is not asked for: folders from before there was one go on."""
        return {name: value for name, value in usual(self).items() if name != "tokens" or value}


@dataclass(eq=False)
class Rounds:
    """What is sampled and learned; the loop's companion."""

    config: RLConfig
    checkpoint: Checkpoint
    """What samples: the network in training."""
    sample: Sample
    parts: int
    """In which a round is sampled."""
    grader: Grader
    algorithm: Algorithm
    competence: Competence
    replay: Replay
    run: Run
    reference: Reference
    tally: Tally = field(default_factory=Tally)
    sampled: int = 0
    """Tokens of all rounds."""
    before: int = 0
    """The same, without the round that is being learned from."""
    numbers: dict[str, float] = field(default_factory=dict[str, float])
    """Of the round that is being learned from."""
    began: float = 0.0
    rolled: Rolled = field(default_factory=Rolled)
    """How often, and why, the run went back: what is sampled then is sampled anew."""
    probed: dict[str, float] = field(default_factory=dict[str, float])
    """Of the last probe, for the next round's record."""

    # --- what the loop asks for -----------------------------------------------------------------------------------

    def stream(self, first: int) -> Iterator[Sequence[PolicyBatch]]:
        """The micro-batches of every optimiser step from `first` on, each round sampled when it is asked for."""
        updates = self.config.updates
        assert first % updates == 0, "states are saved between rounds"
        self._refer(first // updates)
        for number in range(first // updates, self.config.steps):
            if self._resets(number):
                self._reset_reference(number)
            lessons = self.round(number)
            for update in range(updates):
                yield policy_batches(lessons[update::updates], self.replay, self.config.micro_tokens)
                self.tally.fresh = False

    def over(self, progress: Progress) -> bool:
        """Whether as many tokens are sampled as were asked for, and the last round of them is learned from."""
        return 0 < self.config.tokens <= self.sampled and progress.step % self.config.updates == 0

    def rate(self, loop: LoopConfig, step: int) -> float:
        """The share of the peak rate at a step of the round that was sampled last."""
        if not (tokens := self.config.tokens):
            return rate(step, loop)
        return rate_between(self.before / tokens, self.sampled / tokens, loop)

    def record(self) -> dict[str, float]:
        """The round's numbers, and what its backward passes have shown so far."""
        return self.numbers | self.tally.numbers() | {"training": round(time.monotonic() - self.began, 3)}

    def state(self) -> dict[str, Any]:
        """What the next rounds depend on beside the weights."""
        return {"competence": self.competence.state(), "sampled": self.sampled, ROLLED: self.rolled}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.competence.restore(state["competence"])
        self.sampled = int(state["sampled"])

    # --- one round ------------------------------------------------------------------------------------------------

    def round(self, number: int) -> list[Lesson]:
        """Sample and grade one round, count it, and choose what is learned."""
        start, self.before = time.monotonic(), self.sampled
        groups = self._sampled(self.draws(number))
        self.sampled += tokens_of(groups)
        sampling = time.monotonic() - start
        for group in groups:
            decided = [one.drawn.rollout.grade.right for one in group if one.reward.decided]
            if decided:
                problem = group[0].drawn.rollout.problem
                self.competence.learn((problem.task, problem.level), sum(decided) / len(decided))
        self.numbers = measured(groups) | {"sampling": round(sampling, 3)} | self.probed
        self.probed = {}
        self.numbers |= {f"at {name}:{level}": x for (name, level), x in self.competence.success.items()}
        self._show(number, groups)
        lessons = self.algorithm.lessons(groups, partial(self._again, number))
        self.numbers["sampled"] = self.sampled
        rng_for("rl", "order", self.config.seed, number).shuffle(lessons)
        self.tally.clear()
        self.began = time.monotonic()
        return lessons

    def draws(self, number: int) -> list[list[Draw]]:
        """All rollouts of a round, by their problems."""
        config, draws = self.config, list[list[Draw]]()
        for slot in range(config.problems):
            rng = rng_for("rl", *self._names, number, slot)
            name, level = self.competence.choose(rng)
            problem = make(TASKS[name], level, Split.TRAIN, rng.getrandbits(48))
            effort = config.efforts[(number + slot) % len(config.efforts)]
            seeds = (seed_for("rl", *self._names, number, slot, sample) for sample in range(config.samples))
            draws.append([Draw(problem, effort, seed, budget=self._budget(effort)) for seed in seeds])
        return draws

    @property
    def _names(self) -> tuple[str | int, ...]:
        """What everything that is drawn is named by."""
        return (self.config.seed, *(("again", len(self.rolled)) if self.rolled else ()))

    def _budget(self, effort: Effort) -> Budget:
        usual, config = BUDGETS[effort], self.config
        thinking = usual.thinking if config.thinking is None else config.thinking
        return Budget(thinking, config.answer or usual.answer)

    def _sampled(self, groups: Sequence[Sequence[Draw]]) -> list[Group]:
        """Sampled in parts of whole groups, and scored."""
        bounds = [len(groups) * part // self.parts for part in range(self.parts + 1)]
        parts = [groups[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
        drawn = iter(self.sample([list(chain.from_iterable(part)) for part in parts]))
        found = [[self._scored(next(drawn)) for _ in group] for group in groups]
        return list(found)

    def _scored(self, one: Drawn) -> Scored:
        graded = one.graded(grade_alone(one.rollout.problem, one.rollout.completion, self.grader))
        return Scored(graded, self.config.rewards().of(graded))

    def _again(self, number: int, forks: Sequence[Fork]) -> list[Group]:
        """The siblings that go on from each fork; their numbers stand beside those of the round's own rollouts."""
        start, draws = time.monotonic(), list[list[Draw]]()
        for at, fork in enumerate(forks):
            draw, blocks = fork.scored.drawn.draw, fork.scored.drawn.rollout.completion.blocks[: fork.blocks]
            kept = Kept(blocks, fork.scored.thinking(fork.blocks))
            seeds = [seed_for("rl", "fork", *self._names, number, at, sample) for sample in range(fork.samples)]
            draws.append([replace(draw, seed=seed, kept=kept) for seed in seeds])
        groups = self._sampled(draws) if draws else []
        self.sampled += tokens_of(groups)
        self.numbers |= {"forks": len(forks)}
        if groups:
            names = ("success", "degenerate", "length", "undecided")
            self.numbers |= {f"fork_{name}": x for name, x in measured(groups).items() if name in names}
            self.numbers["sampling"] = round(self.numbers["sampling"] + time.monotonic() - start, 3)
        self._show(number, groups)
        return groups

    def _show(self, number: int, groups: Sequence[Group]) -> None:
        """The first rollout of some groups, for a reader."""
        for group in groups[: self.config.shown]:
            self.run.log_sample({"step": number * self.config.updates + 1} | told(group[0]))

    # --- the probe ------------------------------------------------------------------------------------------------

    def probe(self, step: int) -> None:
        """Log how many validation problems one sample solves, and how many any of several; always the same ones."""
        if not self.config.probe:
            return
        found = next(
            (record["probe"] for record in self.run.metrics() if record["step"] == step and "probe" in record), None
        )
        if found is None:
            groups = self._sampled([self._probe_draws(index) for index in range(self.config.probe)])
            right = [[one.drawn.rollout.grade.right for one in group if one.reward.decided] for group in groups]
            right = [group for group in right if group]
            found = {"pass@1": mean([sum(group) / len(group) for group in right]) if right else 0.0}
            found[f"pass@{self.config.probe_samples}"] = mean([any(group) for group in right]) if right else 0.0
            self.run.log({"step": step, "probe": found})
        self.probed = {f"probe_{name}": value for name, value in found.items()}

    def _probe_draws(self, index: int) -> list[Draw]:
        """All samples of one probe problem: levels and efforts in turn, whatever is open."""
        config = self.config
        name, level = self.competence.levels[index % len(self.competence.levels)]
        problem = make(TASKS[name], level, Split.VALIDATION, rng_for("probe", config.seed, index).getrandbits(48))
        effort = config.efforts[index % len(config.efforts)]
        seeds = [seed_for("probe", config.seed, index, sample) for sample in range(config.probe_samples)]
        return [Draw(problem, effort, seed, budget=self._budget(effort)) for seed in seeds]

    # --- the reference --------------------------------------------------------------------------------------------

    def _resets(self, number: int) -> bool:
        every = self.config.reset_reference if self.config.kl else 0
        return bool(every and number and number % every == 0)

    def _refer(self, number: int) -> None:
        """Before going on with a round: the reference as it was then."""
        if every := self.config.reset_reference if self.config.kl else 0:
            last = number // every * every
            if 0 < last < number:
                self.reference.network = load_checkpoint(self._reference_folder(last)).own()[0]
                self.reference.network.to(self.config.device)

    def _reset_reference(self, number: int) -> None:
        network, tokenizer = self.checkpoint.own()
        save_checkpoint(Checkpoint(network, tokenizer, self.checkpoint.config), self._reference_folder(number))
        self.reference.network = copy.deepcopy(network).requires_grad_(False)

    def _reference_folder(self, number: int) -> Path:
        return self.run.folder / "references" / f"{number:05}"
