"""The head is trained on what the engine reads, learns what can be seen, and a run goes on to the same bits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from ponder.engine.local import LocalSampler
from ponder.errors import CheckpointError, ConfigError
from ponder.evaluate.calibration import measure
from ponder.interfaces import Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ponder.model.heads import Head, new_head
from ponder.reward.boundary import Judged, Label, Labels
from ponder.reward.head import HeadRater
from ponder.runs import Run
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make
from ponder.text import format
from ponder.train import loop
from ponder.train.batch import Row, pack, pack_segments
from ponder.train.chunks import Source, read_rollouts
from ponder.train.loop import LoopConfig, Progress, fit
from ponder.train.losses import cross_entropy
from ponder.train.rated import Harm, Labelled, Rated, collate_rated, harm, micro_batches, pack_rollout, rating_loss
from ponder.train.reads import head_loss, judged, read_all, together
from ponder.train.reward import Listener, RewardConfig, held_out_demonstrations, run_reward, step_rows
from ponder.train.rollout import Draw, Drawn, roll_out_all
from ponder.types import Block, Effort, Message, Segment, Split

if TYPE_CHECKING:
    from tests.train.conftest import Tiny

WINDOWS = (None, 1, 2)
PROBLEMS = sorted(
    (make(TASKS["multiplication"], 1, Split.TRAIN, index) for index in range(40)), key=lambda one: len(one.prompt)
)[:6]
MESSAGES = (Message("user", PROBLEMS[0].prompt),)


def random_head(hidden: int) -> Head:
    head = new_head(hidden)
    torch.nn.init.normal_(head.outer.weight, generator=torch.Generator().manual_seed(3))
    return head


@pytest.fixture(scope="module")
def model(micro_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that has learned to write three short blocks, more or less."""
    found = load_checkpoint(micro_checkpoint)
    batches = [micro.batch for micro in micro_batches(visible_signal(found, 24, 5, len(PROBLEMS)), 8192)]
    folder = tmp_path_factory.mktemp("taught")
    config = LoopConfig(steps=60, learning_rate=1e-2, save_seconds=1e9)
    fit(found.network, lambda first: (batches for _ in range(60)), cross_entropy, config, Run(folder))
    save_checkpoint(found, folder / "checkpoint")
    return folder / "checkpoint"


@pytest.fixture(scope="module")
def checkpoint(model: Path) -> Checkpoint:
    found = load_checkpoint(model)
    return replace(found, head=random_head(found.network.shape.hidden_size))


def judge(model: Rated, rows: Sequence[Labelled], most_tokens: int, device: str) -> list[Judged]:
    return judged(model, rows, read_all(model, rows, most_tokens, device), device)


def windowed(checkpoint: Checkpoint, window: int | None) -> Checkpoint:
    return replace(checkpoint, config=checkpoint.config.model_copy(update={"fold_window": window}))


def rolled(checkpoint: Checkpoint, efforts: Sequence[Effort] = (Effort.LOW,), n: int = 6) -> list[Drawn]:
    draws = [Draw(problem, effort, seed) for effort in efforts for seed, problem in enumerate(PROBLEMS[:n])]
    return asyncio.run(roll_out_all(draws, LocalSampler(checkpoint)))


def nothing(drawn: Drawn) -> Labels:
    return (Label(None),) * (len(drawn.rollout.segments) + 1)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
def test_training_reads_what_the_engine_rates(checkpoint: Checkpoint, window: int | None) -> None:
    rated = Rated(checkpoint.network, checkpoint.head or new_head(1), frozen=True)
    drawn = rolled(windowed(checkpoint, window), (Effort.NONE, Effort.MINIMAL, Effort.LOW))
    rows = [pack_rollout(one.rollout.segments, nothing(one)) for one in drawn]
    assert max(len(one.rollout.completion.blocks) for one in drawn) >= 4
    for one, said in zip(drawn, judge(rated, rows, 4096, "cpu"), strict=True):
        assert one.ratings and len(said.ratings) == len(one.ratings)
        for trained, served in zip(said.ratings, one.ratings, strict=True):
            assert trained.value == pytest.approx(served.value, abs=1e-4)
            assert trained.validity == pytest.approx(served.validity, abs=1e-4)
    spread = [rating.value for one in drawn for rating in one.ratings or ()]
    assert max(spread) - min(spread) > 0.01, "all ratings are alike: this compares nothing"


@pytest.mark.parametrize("window", WINDOWS)
def test_folds_are_read_where_the_engine_begins(checkpoint: Checkpoint, window: int | None) -> None:
    """Every segment's `before`, which the ratings of a rollout leave out but for the first."""
    drawn = rolled(windowed(checkpoint, window), n=3)
    sampler = LocalSampler(windowed(checkpoint, window))

    async def before(one: Drawn) -> list[tuple[float, float]]:
        messages, blocks = (Message("user", one.draw.problem.prompt),), one.rollout.completion.blocks
        found = []
        for n in range(len(blocks)):
            prefix = Prefix(messages, one.draw.effort, blocks[:n])
            if sampler.context(prefix) == one.rollout.segments[n].context:
                (extension,) = await sampler.extend(prefix, Limit(8, 1), [Sampling()])
                assert extension.before
                found.append((extension.before.value, extension.before.validity))
        return found

    for one in drawn:
        served = asyncio.run(before(one))
        micro = collate_rated([pack_rollout(one.rollout.segments, nothing(one))])
        rated = Rated(checkpoint.network, checkpoint.head or new_head(1), frozen=True)
        with torch.no_grad():
            trained = rated.logits(rated.hidden(micro.batch), micro).sigmoid()[::2]
        assert len(served) == len(one.rollout.completion.blocks) >= 1
        assert (trained[: len(served)] - torch.tensor(served)).abs().max() < 1e-4


@pytest.mark.parametrize("window", WINDOWS)
def test_segments_pack_as_demonstrations_do(checkpoint: Checkpoint, window: int | None) -> None:
    blocks = tuple(Block(f"{n}+3", f"{n}+3={n + 3} nothing", f"so {n + 3}") for n in range(4))
    encode = checkpoint.tokenizer.encode
    segments = [
        Segment(
            tuple(encode(format.render_context(MESSAGES, Effort.LOW, blocks[:n], window))),
            tuple(encode(format.render_block(blocks[n]) if n < 4 else format.render_answer("9"))),
            (),
        )
        for n in range(5)
    ]
    demonstration = pack(format.sections(MESSAGES, Effort.LOW, blocks, "9", window), checkpoint.tokenizer)
    packed = pack_segments(segments)

    def seen(row: Row) -> list[list[tuple[int, int]]]:
        """What each trained section is made of, and sees: ids at positions."""
        return [
            [(row.ids[at], row.positions[at]) for part in (*sees, number) for at in range(*row.sections[part])]
            for number, (sees, trained) in enumerate(zip(row.sees, row.trained, strict=True))
            if trained
        ]

    assert seen(packed) == seen(demonstration)
    assert len(packed) <= len(demonstration)  # a fold that stays where it was is not written again
    if window != 2:
        assert packed == demonstration


def test_the_rater_reads_the_same_places(checkpoint: Checkpoint) -> None:
    drawn = rolled(checkpoint)
    rater = HeadRater(checkpoint)
    prefixes, expected = [], []
    for one in drawn:
        blocks, ratings = one.rollout.completion.blocks, one.ratings or ()
        messages = (Message("user", one.draw.problem.prompt),)
        for n in range(len(blocks) + 1):
            prefix = Prefix(messages, one.draw.effort, blocks[:n])
            segment = one.rollout.segments[n - 1]
            ids = segment.context + segment.generated if n else one.rollout.segments[0].context
            # What a random network writes is seldom what its text encodes to: then it is another context.
            if rater.context(prefix) == list(ids):
                prefixes.append(prefix)
                expected.append(ratings[n])
    assert len(prefixes) >= len(drawn)
    found = asyncio.run(rater.rate(prefixes))
    assert [one.value for one in found] == pytest.approx([one.value for one in expected], abs=1e-4)
    assert [one.validity for one in found] == pytest.approx([one.validity for one in expected], abs=1e-4)
    with pytest.raises(CheckpointError, match="no reward head"):
        HeadRater(replace(checkpoint, head=None))


def test_labels_stand_at_their_readings(checkpoint: Checkpoint) -> None:
    one = next(one for one in rolled(checkpoint) if len(one.rollout.completion.blocks) >= 2)
    n = len(one.rollout.segments)
    labels = (Label(0.5), *(Label(None, float(i % 2)) for i in range(n - 1)), Label(1.0, 1.0))
    micro = collate_rated([pack_rollout(one.rollout.segments, labels)])
    assert micro.labels[0].tolist() == [0.5, 0.0] and micro.known[0].tolist() == [1.0, 0.0]
    for i in range(1, n):  # after block i, and at the fold of it that the next one begins from
        assert micro.known[2 * i - 1].tolist() == micro.known[2 * i].tolist() == [0.0, 1.0]
        assert micro.labels[2 * i - 1].tolist() == micro.labels[2 * i].tolist() == [0.0, float((i - 1) % 2)]
    assert micro.labels[-1].tolist() == [1.0, 1.0] and micro.trained == 1 + 2 * (n - 1) + 2


# --- learning ---------------------------------------------------------------------------------------------------------


def visible_signal(checkpoint: Checkpoint, n: int, seed: int, problems: int = 1) -> list[Labelled]:
    """Thoughts of which some blocks say `no`: those are wrong, and such a thought ends wrong."""
    rng, rows = rng_for("visible", seed), list[Labelled]()
    encode, window = checkpoint.tokenizer.encode, checkpoint.config.fold_window
    for _ in range(n):
        bad, messages = rng.choice([None, 0, 1, 2]), (Message("user", rng.choice(PROBLEMS[:problems]).prompt),)
        blocks = tuple(
            Block(f"step {rng.randint(1, 9)}", "work it out", "no" if index == bad else "yes") for index in range(3)
        )
        segments = [
            Segment(
                tuple(encode(format.render_context(messages, Effort.LOW, blocks[:index], window))),
                tuple(encode(format.render_block(blocks[index]) if index < 3 else format.render_answer("9"))),
                (),
            )
            for index in range(4)
        ]
        end = float(bad is None)
        known = (Label(end), *(Label(end, float(index != bad)) for index in range(3)), Label(end, end))
        rows.append(pack_rollout(segments, known))
    return rows


@pytest.mark.parametrize("frozen", [True, False])
def test_a_visible_signal_is_learned(micro_checkpoint: Path, tmp_path: Path, frozen: bool) -> None:
    checkpoint = load_checkpoint(micro_checkpoint)
    train, held = visible_signal(checkpoint, 32, 0), visible_signal(checkpoint, 32, 1)
    model = Rated(checkpoint.network, new_head(checkpoint.network.shape.hidden_size), frozen=frozen)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    assert measure(judge(model, held, 4096, "cpu")).validity.auc == 0.5
    steps = 150 if frozen else 40
    config = LoopConfig(steps=steps, learning_rate=3e-3, head_rate=10.0)
    if frozen:
        reads = [together(read_all(model, train, 8192, "cpu"))]
        fit(model, lambda first: (reads for _ in range(steps)), head_loss, config, Run(tmp_path))
    else:
        packed = micro_batches(train, 8192)
        fit(model, lambda first: (packed for _ in range(steps)), rating_loss(0.1), config, Run(tmp_path))
    found = measure(judge(model, held, 4096, "cpu"))
    assert found.validity.auc and found.validity.auc > 0.95
    assert found.first_error.f1 and found.first_error.f1 > 0.9
    same = all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())
    assert same is frozen


def test_the_language_model_holds_still_where_it_is_weighed(model: Path, tmp_path: Path) -> None:
    """The same training harms the language model less with its loss beside the head's, on texts of the same kind."""
    found: dict[float, Harm] = {}
    before = load_checkpoint(model).network
    for weight in (0.0, 1.0):
        checkpoint = load_checkpoint(model)
        train, held = (micro_batches(visible_signal(checkpoint, 16, seed), 8192) for seed in (0, 1))
        rated = Rated(checkpoint.network, new_head(checkpoint.network.shape.hidden_size), frozen=False)
        run = Run(tmp_path / str(weight))
        run.folder.mkdir()
        config = LoopConfig(steps=20, learning_rate=1e-3)
        fit(rated, lambda first, t=train: (t for _ in range(20)), rating_loss(weight), config, run)
        batches = [micro.batch for micro in held]
        assert harm(before, before, batches).divergence == pytest.approx(0.0, abs=1e-6)
        found[weight] = harm(before, rated.network, batches)
    assert found[1.0].divergence < 0.75 * found[0.0].divergence
    assert found[1.0].loss < found[0.0].loss


# --- whole runs -------------------------------------------------------------------------------------------------------


def numbers(found: Sequence[Judged]) -> dict[str, float]:
    return measure(found).flat()


def weights(out: Path) -> dict[str, torch.Tensor]:
    folder = out / "checkpoint"
    return load_file(folder / "model.safetensors") | load_file(folder / "heads.safetensors")


class Stop(Exception):
    """What ends a run at a place that a test chooses."""


def stopping(step: int) -> Listener:
    def heard(progress: Progress, record: dict[str, float]) -> None:
        if progress.step == step:
            raise Stop

    return Listener(step=heard)


@pytest.mark.parametrize("trunk", ["frozen", "joint"])
def test_stopped_anywhere_it_ends_with_the_same_bits(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trunk: str, tiny: Tiny
) -> None:
    monkeypatch.setattr("ponder.train.chunks.CHUNK", 4)
    config = tiny(model, trunk=trunk)
    run_reward(config, tmp_path / "whole", measure=numbers)
    monkeypatch.setitem(loop.LoopConfig.__init__.__kwdefaults__, "save_seconds", 0.0)  # a state after every step
    broken = tmp_path / "broken"

    def after_two(done: int, total: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        run_reward(config, broken, listener=Listener(sampled=after_two), measure=numbers)
    first = {path.name: path.stat().st_mtime_ns for path in (broken / "rollouts").iterdir()}
    assert len(first) == 2, "two of three chunks were sampled"
    for step in (1, 5):
        with pytest.raises(Stop):
            run_reward(config, broken, listener=stopping(step), measure=numbers)
    run_reward(config, broken, measure=numbers)
    assert {name: (broken / "rollouts" / name).stat().st_mtime_ns for name in first} == first, "sampled again"
    whole, again = weights(tmp_path / "whole"), weights(broken)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    for name in ("00000.jsonl", "00001.jsonl", "00002.jsonl"):
        assert (broken / "rollouts" / name).read_text() == (tmp_path / "whole" / "rollouts" / name).read_text()
    marks = [record["step"] for record in Run(broken).metrics() if "evaluation" in record]
    assert marks == sorted(set(marks)) and marks[0] == 0 and marks[-1] == config.steps
    changed = not torch.equal(whole["model.norm.weight"], load_file(model / "model.safetensors")["model.norm.weight"])
    assert changed is (trunk == "joint")


@pytest.mark.parametrize("labels", ["mc", "outcome"])
def test_labels_of_every_kind_are_trained_on(model: Path, tmp_path: Path, labels: str, tiny: Tiny) -> None:
    config = tiny(model, labels=labels, problems=4, continuations=2, steps=2)
    folder = run_reward(config, tmp_path, measure=numbers)
    assert load_checkpoint(folder).head is not None
    rows = list(read_rollouts(tmp_path / "rollouts" / "00000.jsonl"))
    assert len(rows) == 8 and len({one.group for one in rows}) == 4
    for one in rows:
        inner = {label.value for label in one.labels[:-1]} | {label.validity for label in one.labels[:-1]}
        assert (inner == {None}) is (labels == "outcome")
        assert one.labels[-1].value in (0.0, 1.0)
    held = list(read_rollouts(tmp_path / "held_out" / "00000.jsonl"))
    assert all(label.validity is not None for one in held for label in one.labels[1:])


def test_what_can_still_be_reached_is_a_value_where_it_is_asked_for(model: Path, tmp_path: Path, tiny: Tiny) -> None:
    usual = {"tasks": ("letters:2",), "problems": 4, "steps": 1, "trunk": "frozen", "held_out": 2}
    kept = tmp_path / "winnable"
    run_reward(tiny(model, **usual, value="winnable"), kept, measure=numbers)
    run_reward(tiny(model, **usual, rollouts=str(kept)), tmp_path / "outcome", measure=numbers)
    found, outcomes = (
        list(read_rollouts(tmp_path / name / "rollouts" / "00000.jsonl")) for name in ("winnable", "outcome")
    )
    assert [one.row for one in found] == [one.row for one in outcomes]
    # Whatever it writes here is wrong, and can yet be mended as long as no block goes on from it.
    assert {label.value for one in outcomes for label in one.labels} == {0.0}
    assert {one.labels[1].value for one in found if len(one.labels) > 2} == {1.0}
    assert {label.value for one in found for label in (one.labels[0], one.labels[-1])} == {0.0}
    held = (kept / "held_out" / "00000.jsonl").read_text(encoding="utf-8")
    assert held == (tmp_path / "outcome" / "held_out" / "00000.jsonl").read_text(encoding="utf-8"), "measured otherwise"
    assert "value" not in tiny(model, **usual).model_dump(mode="json")
    with pytest.raises(ValueError, match="value=winnable is for exact labels, not for mc: only a checker knows it"):
        tiny(model, value="winnable", labels="mc")


def test_a_head_goes_on_where_it_was(model: Path, tmp_path: Path, tiny: Tiny) -> None:
    first = run_reward(tiny(model, trunk="frozen"), tmp_path / "first")
    more = run_reward(tiny(first, trunk="frozen", steps=1, learning_rate=1e-12), tmp_path / "second")
    a, b = load_checkpoint(first).head, load_checkpoint(more).head
    assert a and b and torch.allclose(a.outer.weight, b.outer.weight, atol=1e-6)
    assert a.outer.weight.abs().sum() > 0


def test_steps_see_every_rollout_once_an_epoch(checkpoint: Checkpoint) -> None:
    rows = visible_signal(checkpoint, 12, 0)
    config = RewardConfig(model="x", rows=4)
    epoch = [id(one) for step in range(3) for one in step_rows(config, rows, step)]
    assert sorted(epoch) == sorted(map(id, rows))
    assert step_rows(config, rows, 1) == step_rows(config, rows, 1) != step_rows(config, rows, 4)
    assert len(step_rows(config, rows[:3], 5)) == 3


def test_held_out_problems_are_of_another_split(model: Path, tiny: Tiny) -> None:
    checkpoint = load_checkpoint(model)
    assert held_out_demonstrations(tiny(model), checkpoint, 3)
    source = Source(
        levels=(("countdown", 1), ("letters", 2)), problems=4, samples=2, efforts=(Effort.LOW, Effort.HIGH),
        temperature=1.0, labels="exact", continuations=1, search="linear", split=Split.VALIDATION, seed=0,
    )  # fmt: skip
    draws = source.draws(range(4))
    assert [draw.problem.task for draw in draws[::2]] == ["countdown", "letters"] * 2
    assert [draw.effort for draw in draws[::2]] == [Effort.LOW] * 2 + [Effort.HIGH] * 2
    assert all(":validation:" in draw.problem.id for draw in draws)
    assert len({draw.seed for draw in draws}) == 8
    assert source.draws([3]) == draws[6:]


def test_what_does_not_fit_is_refused(model: Path, tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="task:level"):
        run_reward(tiny(model, tasks=("letters:9",)), tmp_path / "a")
    with pytest.raises(CheckpointError, match="no model directory"):
        run_reward(tiny(tmp_path / "none"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    config = tiny(model, steps=1)
    run_reward(config, tmp_path / "a")
    with pytest.raises(ConfigError, match="other settings"):
        run_reward(config.model_copy(update={"seed": 1}), tmp_path / "a")
    path = tmp_path / "a" / "rollouts" / "00000.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"00000\.jsonl is damaged .* remove it"):
        run_reward(config, tmp_path / "a")
