"""What reward heads are worth: ``python -m benchmarks.reward --model DIR --task countdown:2``, several side by side by
``--head exact=DIR --head mc=DIR --head orm=DIR``.

Samples test problems at temperature 1 from the model, several rollouts each, lets every head read them, and holds what
it says against the exact truth: AUC, calibration and first-error F1, with intervals over problems and a reliability
plot. Then selection among N of them: a plain sample, the majority, the best by rating, and a vote weighted by rating.
The exact checker measures here; it never chooses.

Beside them stands what needs no labels at all: how unlikely the model itself thought its least likely token.

A head reads with the trunk it was saved with; heads of one frozen trunk share its readings. Of one that was never told
which blocks are valid, as an outcome reward model, the value stands in for the validity.
"""

import argparse
import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.page import commit, place, table
from ponder.cli import output
from ponder.engine.local import LocalSampler
from ponder.errors import CheckpointError, ConfigError
from ponder.evaluate.calibration import measure, plot_reliability, reliability_curves
from ponder.evaluate.confidence import intervals
from ponder.evaluate.metrics import bootstrap, mean
from ponder.evaluate.problems import held_out, parse_spec
from ponder.interfaces import Data
from ponder.model.checkpoint import Checkpoint, load_checkpoint
from ponder.model.device import pick_device, settle_decoding_threads
from ponder.model.heads import Head
from ponder.reward.boundary import Judged
from ponder.reward.exact import exact_labels
from ponder.search.select import vote
from ponder.seeds import rng_for, seed_for
from ponder.text.effort import effort_named
from ponder.train.rated import Labelled, Rated, pack_rollout
from ponder.train.reads import judged, read_all, trunk_digest
from ponder.train.rollout import Draw, Drawn, roll_out_all
from ponder.types import Ended, Rating, Surprise

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "reward.json"
PLOT = ROOT / "docs" / "reliability.png"
NAME, OWN = "reward", "own"
SURPRISE = "no labels"
"""The rating by the model's own surprise."""
SHUFFLES = 8
"""Orders of a problem's samples over which a selection among its first N is averaged."""
MOST_TOKENS = 16_384
"""Of one pass of a trunk."""
TOLD = {
    "f1": "first-error F1",
    "chosen_f1": "at a threshold chosen on the other half",
    "validity_auc": "AUC, validity",
    "outcome_auc": "AUC, outcome",
    "within_auc": "within problems",
    "start_auc": "at the start",
    "validity_ece": "calibration error, validity",
    "outcome_ece": "outcome",
}
"""The numbers of the table, by the names of `Measured.flat`."""
Select = Callable[[Sequence[Drawn]], str]
"""Some rollouts of one problem to an answer."""


# --- choosing ---------------------------------------------------------------------------------------------------------


def rating(drawn: Drawn) -> float:
    """The head's value at the end of the answer."""
    assert drawn.ratings
    return drawn.ratings[-1].value


def thought(drawn: Drawn) -> float:
    """The head's value at the end of the thought, which is what the searches choose by."""
    assert drawn.ratings
    return drawn.ratings[-2].value


def answer(drawn: Drawn) -> str:
    """The answer as it is voted for; none where it was not finished."""
    completion = drawn.rollout.completion
    return " ".join(completion.answer.split()) if completion.ended is Ended.ANSWERED else ""


def voted(drawn: Sequence[Drawn], weight: Callable[[Drawn], float]) -> str:
    """The answer with the greatest weight, as the searches vote; none where nothing was answered."""
    answers = [answer(one) or None for one in drawn]
    chosen = vote(answers, [weight(one) for one in drawn], 0)
    return "" if chosen is None else answers[chosen] or ""


SELECTIONS: dict[str, Select] = {
    "single": lambda drawn: answer(drawn[0]),
    "majority": lambda drawn: voted(drawn, lambda one: 1.0),
    "best of n": lambda drawn: answer(max(drawn, key=rating)),
    "weighted vote": lambda drawn: voted(drawn, rating),
    "best of n, by thought": lambda drawn: answer(max(drawn, key=thought)),
    "weighted vote, by thought": lambda drawn: voted(drawn, thought),
}


def selection(by_problem: Sequence[Sequence[Drawn]], samples: int) -> Data:
    """Accuracy of each selection among N = 1, 2, 4 … samples, and the share of problems with any right one, with
    intervals over problems."""
    found: dict[str, dict[str, Sequence[float]]] = {}
    for n in (2**power for power in range(samples.bit_length()) if 2**power <= samples):
        shares: dict[str, list[float]] = {name: [] for name in (*SELECTIONS, "coverage")}
        for index, drawn in enumerate(by_problem):
            right = {answer(one): one.rollout.grade.right for one in drawn}
            sums = dict.fromkeys(shares, 0.0)
            shuffles = SHUFFLES if n < samples else 1
            for shuffle in range(shuffles):
                order: Random = rng_for("selection", index, shuffle)
                some = order.sample(list(drawn), n)
                for name, select in SELECTIONS.items():
                    sums[name] += right[select(some)]
                sums["coverage"] += any(one.rollout.grade.right for one in some)
            for name, total in sums.items():
                shares[name].append(total / shuffles)
        found[str(n)] = {name: bootstrap(values, "selection") for name, values in shares.items()}
    return found


# --- rating -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contestant:
    """A head, and the trunk that it reads with."""

    name: str
    folder: Path
    checkpoint: Checkpoint
    trunk: str
    """What tells its trunk from others."""

    @property
    def head(self) -> Head:
        """Its head."""
        assert self.checkpoint.head
        return self.checkpoint.head

    @property
    def taught(self) -> bool:
        """Whether it was ever told which blocks are valid: a head's validity begins as nothing but zeros."""
        validity = self.head.outer.weight[1]
        return bool(validity.any())


def contestants(model: Path, heads: Iterable[str], device: str) -> list[Contestant]:
    """The heads by name; the model's own one where none is named."""
    found: list[Contestant] = []
    for spec in heads or (f"{OWN}={model}",):
        name, equals, folder = spec.partition("=")
        if not equals or name in {one.name for one in found}:
            raise ConfigError(f"--head {spec} does not fit: give NAME=DIR, each name once")
        checkpoint = load_checkpoint(Path(folder)).to(device)
        if checkpoint.head is None:
            raise CheckpointError(f"{folder} has no reward head: make one with ponder train reward")
        found.append(Contestant(name, Path(folder), checkpoint, trunk_digest(checkpoint.own()[0])))
    return found


def sampled(checkpoint: Checkpoint, task: str, level: int, given: argparse.Namespace) -> list[Drawn]:
    """The rollouts of test problems, problem by problem."""
    draws = [
        Draw(problem, given.effort, seed_for("benchmark", given.seed, problem.id, sample))
        for problem in held_out(task, level, given.problems, seed=given.seed).problems
        for sample in range(given.samples)
    ]
    return asyncio.run(roll_out_all(draws, LocalSampler(checkpoint)))


def rated(
    drawn: Sequence[Drawn], entered: Sequence[Contestant], device: str
) -> dict[str, tuple[list[Drawn], list[Judged]]]:
    """The rollouts as each head rates them, and the ratings beside the exact truth."""
    rows: list[Labelled] = [
        pack_rollout(
            one.rollout.segments,
            exact_labels(one.draw.problem, one.rollout.completion, one.rollout.grade),
            group=one.draw.problem.id,
        )
        for one in drawn
    ]
    models = {one.name: Rated(one.checkpoint.own()[0], one.head, frozen=True) for one in entered}
    reads = {one.trunk: read_all(models[one.name], rows, MOST_TOKENS, device) for one in _trunks(entered)}
    found: dict[str, tuple[list[Drawn], list[Judged]]] = {}
    for one in entered:
        said = judged(models[one.name], rows, reads[one.trunk], device)
        if not one.taught:
            said = [replace(each, ratings=tuple(Rating(r.value, r.value) for r in each.ratings)) for each in said]
        pairs = zip(drawn, said, strict=True)
        found[one.name] = [replace(each, ratings=told.ratings) for each, told in pairs], said
    own = [Judged(surprised(one), row.labels, row.group) for one, row in zip(drawn, rows, strict=True)]
    found[SURPRISE] = [replace(one, ratings=each.ratings) for one, each in zip(drawn, own, strict=True)], own
    return found


def surprised(drawn: Drawn) -> tuple[Rating, ...]:
    """At each boundary how likely the model thought the least likely token: of all so far, and of the last block."""
    ratings, least = [Rating(1.0, 1.0)], 1.0
    for segment in drawn.rollout.segments:
        here = math.exp(-Surprise.of(segment.logprobs).most)
        least = min(least, here)
        ratings.append(Rating(least, here))
    return tuple(ratings)


def _trunks(entered: Sequence[Contestant]) -> list[Contestant]:
    """One of those that share a trunk."""
    return list({one.trunk: one for one in entered}.values())


def worth(said: Sequence[Judged]) -> dict[str, Any]:
    """All about a head, and how sure it is."""
    return measure(said).to_json() | {"flat": measure(said).flat(), "intervals": intervals(said, NAME)}


# --- what was found ---------------------------------------------------------------------------------------------------


def cell(told: Mapping[str, Any], name: str) -> str:
    """A number with its interval."""
    if (number := told["flat"].get(name)) is None:
        return "–"
    low, high = told["intervals"].get(name, (number, number))
    return f"{number:.3f} ({low:.3f}–{high:.3f})"


def section(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    heads = found["heads"]
    rows = [[name, *(cell(one["all"], key) for key in TOLD)] for name, one in heads.items()]
    lines = [
        "## Reward heads",
        "",
        f"`{found['command']}`: {found['rollouts']:,} rollouts at temperature 1 of {found['model']} "
        f"({found['problems']} test problems × {found['samples']} of {', '.join(found['tasks'])}), the same for every "
        "head, against the exact truth. In brackets 95 % intervals of a bootstrap over problems.",
        "",
        table(["head", *TOLD.values()], rows),
        "",
        f"`{SURPRISE}` is the model's own surprise: the probability of its least likely token, in the block for "
        "validity, in all so far for the value.",
        "",
        "Goals: first-error F1 ≥ 0.80 of a head that learned from exact labels, ≥ 0.70 from Monte-Carlo ones alone; "
        "calibration error ≤ 0.05.",
    ]
    for name, one in heads.items():
        if not one["taught"]:
            lines.append(f"`{name}` was never told which blocks are valid: its value stands in.")
    lines += [f"`{name}` reads with a trunk of its own." for name, one in heads.items() if one["own_trunk"]]
    lines += ["", "![said against true](../docs/reliability.png)", ""]
    choices = [name for name in (*SELECTIONS, "coverage") if "thought" not in name]
    n = max(int(count) for count in next(iter(heads.values()))["selection"])
    chosen = [
        [name, *(_percent(one["selection"][str(n)][choice]) for choice in choices)] for name, one in heads.items()
    ]
    lines += [table([f"accuracy among {n}, %", *choices], chosen), "", f"The code of commit {found['commit']}."]
    return "\n".join(lines)


def _percent(found: Sequence[float]) -> str:
    average, low, high = (100 * one for one in found)
    return f"{average:.1f} ({low:.1f}–{high:.1f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="it samples")
    parser.add_argument("--head", action="append", default=[], metavar="NAME=DIR", help="else the model's own")
    parser.add_argument("--task", action="append", required=True, metavar="TASK:LEVEL", help="all:2 for every task")
    parser.add_argument("--problems", type=int, default=100, help="of each task")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--effort", type=effort_named, default="medium")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--dry", action="store_true", help="write neither the page nor the plot in docs/")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write JSON, the page's section and a plot."""
    given, started = _options(), time.monotonic()
    device = pick_device(given.device).value
    entered = contestants(given.model, given.head, device)
    sampling = replace(load_checkpoint(given.model).to(device), head=None)
    network = sampling.own()[0]
    settle_decoding_threads(device, network.shape.hidden_size)
    pairs = [pair for spec in given.task for pair in parse_spec(spec)]
    names = [*(one.name for one in entered), SURPRISE]
    everything: dict[str, list[Judged]] = {name: [] for name in names}
    by_problem: dict[str, list[list[Drawn]]] = {name: [] for name in names}
    tasks: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, level in pairs:
        drawn = sampled(sampling, name, level, given)
        right = [float(one.rollout.grade.right) for one in drawn]
        shares = [mean(right[at : at + given.samples]) or 0.0 for at in range(0, len(right), given.samples)]
        for head, (own, said) in rated(drawn, entered, device).items():
            parts = [own[at : at + given.samples] for at in range(0, len(own), given.samples)]
            everything[head] += said
            by_problem[head] += parts
            tasks[head][f"{name}:{level}"] = {
                "problems": len(shares),
                "pass_at_1": bootstrap(shares, "selection"),
                "head": worth(said),
                "selection": selection(parts, given.samples),
            }
        output.note(f"{name}:{level}: {len(drawn)} rollouts, {100 * (mean(right) or 0.0):.1f} % right")
    found: dict[str, Any] = {
        "model": str(given.model),
        "tasks": [f"{name}:{level}" for name, level in pairs],
        "problems": len(by_problem[SURPRISE]),
        "rollouts": len(everything[SURPRISE]),
        **{name: getattr(given, name) for name in ("samples", "effort", "seed")},
        "command": f"python -m benchmarks.reward --model {given.model}"
        + "".join(f" --head {spec}" for spec in given.head)
        + "".join(f" --task {spec}" for spec in given.task)
        + f" --problems {given.problems} --samples {given.samples}",
        "heads": {
            name: {
                "folder": str(one.folder) if one else "",
                "taught": one is None or one.taught,
                "own_trunk": one is not None and one.trunk != trunk_digest(network),
                "all": worth(everything[name]),
                "selection": selection(by_problem[name], given.samples),
                "tasks": tasks[name],
            }
            for name, one in zip(names, (*entered, None), strict=True)
        },
        "commit": commit(),
        "seconds": round(time.monotonic() - started, 1),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    plot = given.out.with_suffix(".png") if given.dry else PLOT
    plot_reliability({name: reliability_curves(said) for name, said in everything.items()}, plot)
    if not given.dry:
        place(NAME, section(found))
    print(section(found))
    output.note(f"written to {given.out} and {plot}")


if __name__ == "__main__":
    main()
