"""Training learns, resumes to the same bits after SIGKILL, and keeps the splits apart."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ponder.errors import CheckpointError, ConfigError
from ponder.model.checkpoint import load_checkpoint
from ponder.runs import Run
from ponder.seeds import rng_for
from ponder.tasks import TASKS, make, split_of
from ponder.text.effort import BUDGETS
from ponder.text.tokenizer import PonderTokenizer, train_tokenizer
from ponder.train.sft import SFTConfig, corpus, demonstration, mix, run_sft, step_rows
from ponder.types import Effort, Split

TINY = {
    "size": "micro",
    "tasks": {"letters:1": 1.0, "multiplication:1": 1.0},
    "steps": 24,
    "rows": 6,
    "vocabulary": 400,
    "micro_tokens": 1024,
    "threads": 1,
    "dtype": "float32",
}
PROGRAM = """
import json, sys
from pathlib import Path
from ponder.train import loop
from ponder.train.sft import SFTConfig, run_sft
if __name__ == "__main__":
    fields = loop.LoopConfig.__dataclass_fields__
    loop.LoopConfig.__init__.__kwdefaults__["save_seconds"] = 0.0  # a state after every step
    run_sft(SFTConfig(**json.loads(sys.argv[1])), Path(sys.argv[2]), on_step=lambda p, r: print(p.step, flush=True))
"""


@pytest.fixture(scope="module")
def tokenizer() -> PonderTokenizer:
    return train_tokenizer(corpus(SFTConfig.model_validate(TINY), rows=300), 400)


def start(folder: Path, out: Path) -> subprocess.Popen[str]:
    program = folder / "train.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(program), json.dumps(TINY), str(out)], stdout=subprocess.PIPE, text=True, env=environment
    )


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "model.safetensors")


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    run_sft(SFTConfig.model_validate(TINY), tmp_path / "first")
    more = TINY | {"model": str(tmp_path / "first" / "checkpoint"), "steps": 1, "learning_rate": 1e-9, "size": "base"}
    run_sft(SFTConfig.model_validate(more), tmp_path / "second")
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    for name, value in before.items():
        assert torch.allclose(value, after[name], atol=1e-6) and value.shape == after[name].shape
    with pytest.raises(CheckpointError, match="no model directory"):
        run_sft(SFTConfig.model_validate(more | {"model": str(tmp_path / "none")}), tmp_path / "third")


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run_sft(SFTConfig.model_validate(TINY), whole)
    broken = tmp_path / "broken"
    rng = rng_for("kill")
    killed = 0
    for step in (1, 7, 15):
        process = start(tmp_path, broken)
        assert process.stdout
        for line in process.stdout:
            if int(line) >= step:
                break
        time.sleep(rng.random() * 0.05)  # somewhere inside the next step or its save
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        killed += not (broken / "checkpoint").exists()
    assert killed == 3, "a kill came after the end: it tested nothing"
    last = start(tmp_path, broken)
    steps = list(map(int, last.communicate()[0].split()))
    assert last.returncode == 0
    assert steps[0] > 7, "the last start did not go on from a saved state"
    assert steps[-1] == TINY["steps"]
    first, second = weights(whole), weights(broken)
    assert all(torch.equal(first[name], second[name]) for name in first)
    logged = [record["step"] for record in Run(broken).metrics()]
    assert logged == sorted(set(logged))


def test_it_learns(tmp_path: Path) -> None:
    config = SFTConfig.model_validate(TINY | {"steps": 60, "rows": 8})
    run_sft(config, tmp_path / "run")
    losses = [record["loss"] for record in Run(tmp_path / "run").metrics()]
    assert losses[-1] < 0.7 * losses[0]
    assert load_checkpoint(tmp_path / "run" / "checkpoint").config.tasks == ("letters:1", "multiplication:1")


def test_other_settings_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    config = SFTConfig.model_validate(TINY | {"steps": 1})
    run_sft(config, tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        run_sft(config.model_copy(update={"seed": 1}), tmp_path)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    config = SFTConfig.model_validate(TINY | {"steps": 1})
    run_sft(config, tmp_path)
    (tmp_path / "state" / "state.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"state is damaged.*remove it"):
        run_sft(config, tmp_path)


def test_rows_are_a_pure_function_of_the_step(tokenizer: PonderTokenizer) -> None:
    config = SFTConfig.model_validate(TINY)
    assert step_rows(config, tokenizer, 3) == step_rows(config, tokenizer, 3)
    assert step_rows(config, tokenizer, 3) != step_rows(config, tokenizer, 4)


@pytest.mark.parametrize("name", TASKS)
def test_the_tag_covers_the_real_length(name: str, tokenizer: PonderTokenizer) -> None:
    from ponder.text import format

    for index in range(12):
        problem = make(TASKS[name], 1, Split.TRAIN, index)
        effort, shown = demonstration(problem, rng_for("tag", index), tokenizer, "thinking")
        length = sum(len(tokenizer.encode(format.render_block(block))) for block in shown.blocks)
        assert length <= BUDGETS[effort].thinking
        assert (effort is Effort.NONE) == (not shown.blocks)


def test_rows_that_are_always_too_long_are_refused(tokenizer: PonderTokenizer) -> None:
    config = SFTConfig.model_validate(TINY | {"tasks": {"sudoku:4": 1.0}, "rows": 1})
    with pytest.raises(ConfigError, match="choose lower levels"):
        for step in range(50):  # a few of them are prompts outside the tasks
            step_rows(config, tokenizer, step)


def test_direct_demonstrations_do_not_think(tokenizer: PonderTokenizer) -> None:
    problem = make(TASKS["multiplication"], 2, Split.TRAIN, 0)
    effort, shown = demonstration(problem, rng_for("direct"), tokenizer, "direct")
    assert effort is Effort.NONE and shown.blocks == () and shown.answer == problem.answer


@pytest.mark.parametrize("name", TASKS)
def test_splits_are_apart(name: str) -> None:
    task = TASKS[name]
    seen = {split: {task.canonical(make(task, 2, split, index).data) for index in range(40)} for split in Split}
    for split, contents in seen.items():
        for other in set(Split) - {split}:
            assert not contents & seen[other]
    assert all(split_of(task, make(task, 2, split, 3).data) is split for split in Split)


def test_the_mix_is_checked() -> None:
    assert set(mix(SFTConfig())) == {(name, level) for name in TASKS for level in (1, 2, 3)}
    for wrong in ("countdown", "countdown:9", "countdown:x"):
        with pytest.raises(ConfigError, match="task:level"):
            mix(SFTConfig(tasks={wrong: 1.0}))
    for weight in (0, -1, float("inf")):
        with pytest.raises(ValueError, match="greater than 0|less than|finite"):
            SFTConfig.model_validate({"tasks": {"countdown:2": weight}})
    with pytest.raises(ConfigError, match="unknown task 'chess'"):
        mix(SFTConfig(tasks={"chess:1": 1.0}))
