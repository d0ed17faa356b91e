"""Everything in one command: baseline, demonstrations, reward, reinforcement learning, reward again, evaluation.

The stages hand one another checkpoints: `sft` is taught by demonstrations, `reward` gives it a head, `rl` practises
from `sft` (or from `reward`, where its process term reads the head), and `reward_again` gives a head to what `rl` made,
because the first head knew the policy of before. What measures and draws comes from whoever calls, so that training
knows nothing of evaluation.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from ponder.errors import ConfigError
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.sizes import shape_named
from ponder.train.algorithms import algorithm_named
from ponder.train.loop import Progress
from ponder.train.monitors import Alarm
from ponder.train.reward import Listener as RewardListener
from ponder.train.reward import Measure, RewardConfig, levels, run_reward
from ponder.train.rl import Listener as RLListener
from ponder.train.rl import run_rl
from ponder.train.rounds import RLConfig
from ponder.train.sft import SFTConfig, mix, run_sft, task_level
from ponder.train.stages import Passed, Stage, StageListener, Tell, run_stages
from ponder.types import Effort

CHECKPOINT = "checkpoint"
RECORDS, PAGE = "records.jsonl", "index.html"
TRAINED = ("direct", "sft", "reward", "rl", "reward_again")
"""The stages that leave a checkpoint, in their order."""
FINAL = ("reward_again", "rl", "reward", "sft")
"""Whose checkpoint is the pipeline's, the first of them that there is."""
SHARED = ("seed", "device", "threads")
"""Settings of the pipeline that are those of each training, where it has none of its own."""
MINUTES = {"direct": 4, "sft": 30, "reward": 5, "rl": 20, "reward_again": 5, "evaluation": 5, "report": 0.3}
"""What stages are planned to take where a recipe does not say."""
SAMPLING = 0.4
"""Share of a reward stage's time that goes into its rollouts."""


class Pass(pydantic.BaseModel):
    """One evaluation of some of the models, as `ponder eval` would do it."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...] = pydantic.Field(min_length=1)
    """Names of stages."""
    tasks: tuple[str, ...] = pydantic.Field(("all:2",), min_length=1)
    problems: int = pydantic.Field(50, ge=1)
    """Of each task."""
    efforts: tuple[str, ...] = ("medium",)
    searches: tuple[str, ...] = ("single",)
    samples: tuple[int, ...] = (1,)
    temperature: float = pydantic.Field(0.0, ge=0)
    seed: int = 0


class CurveConfig(pydantic.BaseModel):
    """How the checkpoints that practice kept are measured."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...] = ()
    """Empty for what was practised."""
    problems: int = pydantic.Field(default=20, ge=1)
    """Of each task."""
    samples: int = pydantic.Field(default=1, ge=1)
    temperature: float = pydantic.Field(default=1.0, ge=0)
    """1 is the policy as it practised."""
    effort: Effort | None = None
    """Else the first one that was practised."""
    examples: int = pydantic.Field(default=1, ge=0)
    """Problems of each task that are thought about before and after."""
    habits: int = pydantic.Field(default=0, ge=0)
    """Problems of each task that are thought about with a wrong block forced in, before and after."""
    seed: int = 0


class EvaluationConfig(pydantic.BaseModel):
    """What is measured at the end."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    passes: tuple[Pass, ...] = pydantic.Field(min_length=1)
    curve: CurveConfig | None = None
    """Measures what practice brought, checkpoint by checkpoint."""
    workers: int = pydantic.Field(2, ge=1)
    """Processes that sample on a CPU; no part of what the records say."""


class PipelineConfig(pydantic.BaseModel):
    """A whole recipe: the settings of each stage; those that are not named are left out."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    device: str = "auto"
    threads: int = pydantic.Field(0, ge=0)
    direct: SFTConfig | None = None
    sft: SFTConfig
    reward: RewardConfig | None = None
    rl: RLConfig | None = None
    reward_again: RewardConfig | None = None
    evaluation: EvaluationConfig | None = None
    marks: int = pydantic.Field(4, ge=1)
    """Validations on the way of each training."""
    minutes: dict[str, float] = {}
    """What each stage is planned to take: for the estimate of the time left alone."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _shared(cls, given: Any) -> Any:
        """Give each training the pipeline's settings, and the models that the pipeline itself will name."""
        if not isinstance(given, Mapping):
            return given
        filled: dict[str, Any] = dict(given)
        shared = {name: filled[name] for name in SHARED if name in filled}
        for name in TRAINED:
            section = filled.get(name)
            if not isinstance(section, Mapping):
                continue
            own = {"style": "direct"} if name == "direct" else {} if name == "sft" else {"model": ""}
            if own.keys() & section.keys():
                raise ValueError(f"{next(iter(own))} in {name} is filled in by the pipeline: leave it out")
            filled[name] = {**shared, **section, **own}
        return filled

    @property
    def trained(self) -> list[str]:
        """The trainings that there are, in order."""
        return [name for name in TRAINED if getattr(self, name) is not None]

    @property
    def stages(self) -> list[str]:
        """All stages, in order."""
        return [*self.trained, *(("evaluation", "report") if self.evaluation else ())]


@dataclass(frozen=True)
class Beside:
    """What a pipeline needs that is not training; without it, nothing is measured on the way."""

    validator: (
        Callable[[Iterable[tuple[str, int]], Effort], Callable[[Checkpoint, Progress], dict[str, float]]] | None
    ) = None
    """From (task, level) pairs and an effort to what measures a model in training."""
    measure: Measure | None = None
    """What measures a head."""
    evaluate: Callable[[EvaluationConfig, Mapping[str, Path], Path, Tell], None] | None = None
    """Settings and checkpoints by the names of their stages, to records in a file; goes on with what it holds."""
    report: Callable[[Path, Path], None] | None = None
    """The pipeline's folder, to a page in a folder."""
    alarm: Callable[[Alarm], None] = lambda alarm: None


def check(config: PipelineConfig) -> None:
    """Refuse recipes whose parts do not fit, before an hour is spent on the stages before them."""
    for one in filter(None, (config.direct, config.sft)):
        mix(one)
        shape_named(one.size)
    for one in filter(None, (config.reward, config.rl, config.reward_again)):
        for key in one.tasks:
            task_level(key)
    if config.rl:
        algorithm_named(config.rl.algorithm, config.rl.options)
        config.rl.rewards()
    if config.reward_again and not config.rl:
        raise ConfigError("reward_again is the head of what rl makes: give rl too, or leave it out")
    if config.rl and config.rl.process == "head" and not config.reward:
        raise ConfigError("rl.process=head reads the head that reward trains: give reward too, or process: exact")
    if config.evaluation and config.evaluation.curve and not config.rl:
        raise ConfigError("evaluation.curve measures what rl keeps: give rl too, or leave it out")
    known = {*TRAINED, "evaluation", "report"}
    for name in config.minutes:
        if name not in known:
            raise ConfigError(f"minutes names {name!r}, which is no stage: they are {', '.join(sorted(known))}")
    for one in config.evaluation.passes if config.evaluation else ():
        for name in one.models:
            if name not in config.trained:
                raise ConfigError(
                    f"evaluation names the model {name!r}, which no stage makes: {', '.join(config.trained)}"
                )


def plan(config: PipelineConfig, out: Path, beside: Beside) -> list[Stage]:
    """The stages of a recipe, in order."""
    check(config)
    minutes = MINUTES | config.minutes
    made = {name: out / name / CHECKPOINT for name in config.trained}
    begins = "reward" if config.rl and config.rl.process == "head" else "sft"
    before = {"direct": "", "sft": "", "reward": "sft", "rl": begins, "reward_again": "rl"}
    works = {"direct": _sft, "sft": _sft, "reward": _reward, "rl": _rl, "reward_again": _reward}
    stages: list[Stage] = []
    for name in config.trained:
        section: SFTConfig | RewardConfig | RLConfig = getattr(config, name)
        source = before[name]
        inputs = {"model": Path(section.model)} if section.model else {}
        if source:
            section, inputs = section.model_copy(update={"model": str(made[source])}), {source: made[source]}
        given = section.model_dump(mode="json", exclude={"model"})  # its digest counts, wherever it lies
        work = works[name](section, config.marks, beside)  # type: ignore[arg-type]
        stages.append(Stage(name, given, inputs, CHECKPOINT, work, minutes[name]))
    records = out / "evaluation" / RECORDS
    if config.evaluation and beside.evaluate:
        chosen, evaluate = config.evaluation, beside.evaluate
        named = [name for one in chosen.passes for name in one.models] + ["rl"] * bool(chosen.curve)
        models = {name: made[name] for name in dict.fromkeys(named)}

        def measure(folder: Path, tell: Tell) -> None:
            folder.mkdir(exist_ok=True)
            evaluate(chosen, models, folder / (RECORDS + ".growing"), tell)
            (folder / (RECORDS + ".growing")).replace(folder / RECORDS)

        given = chosen.model_dump(mode="json", exclude={"workers"})
        stages.append(Stage("evaluation", given, models, RECORDS, measure, minutes["evaluation"]))
        if draw := beside.report:
            work = _drawing(draw, out)
            stages.append(Stage("report", {}, {"evaluation": records}, PAGE, work, minutes["report"]))
    return stages


def run_pipeline(
    config: PipelineConfig, out: Path, *, beside: Beside | None = None, listener: StageListener | None = None
) -> tuple[Path, list[Passed]]:
    """Do what is not done yet of a recipe; returns the folder of the last checkpoint, and how the stages went."""
    stages = plan(config, out, beside or Beside())
    passed = run_stages(stages, out, listener)
    final = next(name for name in FINAL if name in config.trained)
    return out / final / CHECKPOINT, passed


def _drawing(draw: Callable[[Path, Path], None], out: Path) -> Callable[[Path, Tell], None]:
    def work(folder: Path, tell: Tell) -> None:
        tell(0.0, "drawing")
        draw(out, folder)

    return work


def _sft(config: SFTConfig, marks: int, beside: Beside) -> Callable[[Path, Tell], None]:
    def work(folder: Path, tell: Tell) -> None:
        effort = Effort.NONE if config.style == "direct" else Effort.MEDIUM

        def step(progress: Progress, record: dict[str, float]) -> None:
            rate = progress.tokens / (progress.seconds or 1.0)
            tell(progress.step / config.steps, f"loss {record['loss']:.3f}  {rate:,.0f} tokens/s")

        tell(0.0, "tokenizer and first batches")
        evaluate = beside.validator(mix(config), effort) if beside.validator else None
        run_sft(config, folder, on_step=step, evaluate=evaluate, evaluations=marks)

    return work


def _reward(config: RewardConfig, marks: int, beside: Beside) -> Callable[[Path, Tell], None]:
    def work(folder: Path, tell: Tell) -> None:
        def sampled(done: int, total: int) -> None:
            tell(SAMPLING * done / total, f"{done} of {total} files of rollouts")

        def step(progress: Progress, record: dict[str, float]) -> None:
            tell(SAMPLING + (1 - SAMPLING) * progress.step / config.steps, f"loss {record['loss']:.3f}")

        tell(0.0, "first rollouts")
        listener = RewardListener(sampled=sampled, step=step)
        run_reward(config, folder, listener=listener, measure=beside.measure, evaluations=marks)

    return work


def _rl(config: RLConfig, marks: int, beside: Beside) -> Callable[[Path, Tell], None]:
    def work(folder: Path, tell: Tell) -> None:
        def step(progress: Progress, record: dict[str, float]) -> None:
            names = {"success": "success", "entropy": "entropy", "length": "tokens"}
            words = "  ".join(f"{label} {record[name]:.3g}" for name, label in names.items() if name in record)
            tell(config.share(progress.step, record["sampled"]), words)

        tell(0.0, "first round")
        mixed = levels(tuple(config.tasks), load_checkpoint(Path(config.model)))
        evaluate = beside.validator(mixed, config.efforts[0]) if beside.validator else None
        heard = RLListener(step=step, alarm=beside.alarm)
        run_rl(config, folder, listener=heard, evaluate=evaluate, evaluations=marks)

    return work
