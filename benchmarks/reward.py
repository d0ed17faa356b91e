"""What a checkpoint's reward head is worth: ``python -m benchmarks.reward --model DIR --task countdown:2``.

Samples test problems at temperature 1, several rollouts each, with the ratings that the engine gives while sampling,
and holds them against the exact truth: AUC, calibration and first-error F1, with a reliability plot. Then selection
among N of them: a plain sample, the majority, the best by rating, and a vote weighted by rating. The exact checker
measures here; it never chooses.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from ponder.engine.local import LocalSampler
from ponder.errors import CheckpointError
from ponder.evaluate.calibration import measure, plot_reliability, reliability_curves
from ponder.evaluate.metrics import mean, wilson
from ponder.evaluate.problems import held_out, parse_spec
from ponder.interfaces import Data
from ponder.model.checkpoint import load_checkpoint
from ponder.model.device import pick_device, settle_decoding_threads
from ponder.reward.boundary import Judged
from ponder.reward.exact import exact_labels
from ponder.search.select import vote
from ponder.seeds import rng_for, seed_for
from ponder.text.effort import effort_named
from ponder.train.rollout import Draw, Drawn, roll_out_all
from ponder.types import Ended

RESULTS = Path(__file__).parent / "results"
SHUFFLES = 8
"""Orders of a problem's samples over which a selection among its first N is averaged."""
Select = Callable[[Sequence[Drawn]], str]
"""Some rollouts of one problem to an answer."""


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
    """Accuracy of each selection among N = 1, 2, 4 … samples, and the share of problems with any right one."""
    found: dict[str, dict[str, float | None]] = {}
    for n in (2**power for power in range(samples.bit_length()) if 2**power <= samples):
        shares: dict[str, list[float]] = {name: [] for name in (*SELECTIONS, "coverage")}
        for index, drawn in enumerate(by_problem):
            right = {answer(one): one.rollout.grade.right for one in drawn}
            for shuffle in range(SHUFFLES if n < samples else 1):
                order: Random = rng_for("selection", index, shuffle)
                some = order.sample(list(drawn), n)
                for name, select in SELECTIONS.items():
                    shares[name].append(float(right[select(some)]))
                shares["coverage"].append(float(any(one.rollout.grade.right for one in some)))
        found[str(n)] = {name: mean(values) for name, values in shares.items()}
    return found


def main() -> None:
    """Measure, print, and write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--task", action="append", required=True, metavar="TASK:LEVEL", help="all:2 for every task")
    parser.add_argument("--problems", type=int, default=100, help="of each task")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--effort", type=effort_named, default="medium")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "reward.json")
    given = parser.parse_args()
    checkpoint = load_checkpoint(given.model)
    if checkpoint.head is None:
        raise CheckpointError(f"{given.model} has no reward head: make one with ponder train reward")
    device = pick_device().value
    settle_decoding_threads(device, checkpoint.network.shape.hidden_size)
    checkpoint.to(device)
    started = time.monotonic()
    result: dict[str, object] = {"model": checkpoint.config.name, **vars(given) | {"model": str(given.model)}}
    everything: list[Judged] = []
    tasks: dict[str, object] = {}
    for name, level in [pair for spec in given.task for pair in parse_spec(spec)]:
        problems = held_out(name, level, given.problems, seed=given.seed).problems
        draws = [
            Draw(problem, given.effort, seed_for("benchmark", given.seed, problem.id, sample))
            for problem in problems
            for sample in range(given.samples)
        ]
        drawn = asyncio.run(roll_out_all(draws, LocalSampler(checkpoint)))
        judged = [
            Judged(
                one.ratings,
                exact_labels(one.draw.problem, one.rollout.completion, one.rollout.grade),
                one.draw.problem.id,
            )
            for one in drawn
            if one.ratings
        ]
        assert len(judged) == len(drawn)
        everything += judged
        right = sum(one.rollout.grade.right for one in drawn)
        by_problem = [drawn[at : at + given.samples] for at in range(0, len(drawn), given.samples)]
        tasks[f"{name}:{level}"] = {
            "problems": len(problems),
            "pass_at_1": [right / len(drawn), *wilson(right / given.samples, len(problems))],
            "head": measure(judged).to_json(),
            "selection": selection(by_problem, given.samples),
        }
        print(f"{name}:{level}", json.dumps(tasks[f"{name}:{level}"], indent=2), flush=True)
    result |= {"tasks": tasks, "all": measure(everything).to_json(), "seconds": round(time.monotonic() - started, 1)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2, default=str) + "\n", encoding="utf-8")
    plot_reliability(reliability_curves(everything), given.out.with_suffix(".png"))
    print("all", json.dumps(result["all"], indent=2))
    print(f"written to {given.out} and {given.out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
