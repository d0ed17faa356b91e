"""What efforts should buy: ``python -m benchmarks.effort RECORDS.jsonl … --model DIR``, from validation records.

First, for example: ``ponder eval --model DIR --task all:2 --split validation --n 100 --effort low,medium,high
--search single,majority,weighted_vote,beam --samples 1,4,16 --temperature 0.8 --out RECORDS.jsonl``.

Finds the Pareto front, picks a plan for each effort that was measured, finds the values at which effort ``auto`` may
take the cheaper ones, and writes both into the model's ponder.json. With ``--dry`` it only tells.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ponder.cli.output import note
from ponder.errors import CheckpointError, ConfigError
from ponder.evaluate.efforts import Candidate, candidates, front, pick_plans, pick_thresholds
from ponder.evaluate.records import Record, read_records
from ponder.evaluate.scaling import MEAN, curves
from ponder.interfaces import Prefix
from ponder.model.checkpoint import digest, load_checkpoint, write_config
from ponder.reward.head import HeadRater
from ponder.types import Effort, Message, Split

KEEP = 0.97
"""Share of the reference's accuracy that ``auto`` must keep."""


def validation(files: Sequence[Path], weights: str) -> list[Record]:
    """The records, which must be of the model's own weights and of no test problem."""
    records = [record for file in files for record in read_records(file)]
    for record in records:
        if f":{Split.TEST}:" in record.id:
            raise ConfigError(f"{record.id} is a test problem: choose by --split validation, and report on test")
        if record.weights not in ("", weights):
            raise ConfigError(f"records of the weights {record.weights}, but the model's are {weights}: evaluate it")
    return records


def values_of(
    records: Sequence[Record], efforts: Sequence[Effort], rater: HeadRater, tasks: int
) -> dict[Effort, dict[str, float]]:
    """The head's value at each effort's token, by the names that the points give their problems."""
    prompts: dict[str, str] = {}
    for record in records:
        name = f"{record.seed}/{record.id or record.prompt}"
        prompts[f"{record.task}:{record.level}/{name}" if tasks > 1 else name] = record.prompt
    found: dict[Effort, dict[str, float]] = {}
    for effort in efforts:
        prefixes = [Prefix((Message("user", prompt),), effort) for prompt in prompts.values()]
        ratings = asyncio.run(rater.rate(prefixes))
        found[effort] = {name: rating.value for name, rating in zip(prompts, ratings, strict=True)}
    return found


def told(one: Candidate) -> dict[str, object]:
    """A candidate for a reader."""
    plan = one.plan.model_dump(exclude_none=True)
    return {"effort": one.effort, **plan, "accuracy": round(one.accuracy, 4), "tokens": round(one.tokens, 1)}


def main() -> None:
    """Choose, tell and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--reference", default=Effort.HIGH, type=Effort, help="what auto is to be as good as")
    parser.add_argument("--keep", default=KEEP, type=float)
    parser.add_argument("--dry", action="store_true")
    given = parser.parse_args()
    checkpoint = load_checkpoint(given.model)
    records = validation(given.records, digest(given.model))
    drawn = curves(records)
    found = candidates(drawn)
    picked = pick_plans(found)
    report: dict[str, object] = {"front": [told(one) for one in front(found)], "efforts": [told(one) for one in picked]}
    update: dict[str, object] = {"efforts": {one.effort: one.plan for one in picked}}
    order = list(Effort)
    cheaper = [one for one in picked if order.index(one.effort) <= order.index(given.reference)]
    try:
        rater = HeadRater(checkpoint)
        tasks = len({curve.task for curve in drawn} - {MEAN})
        values = values_of(records, [one.effort for one in cheaper[:-1]], rater, tasks)
        table = pick_thresholds(cheaper, values, keep=given.keep)
        report["auto"], update["auto"] = asdict(table), table.thresholds
    except (CheckpointError, ConfigError) as err:
        note(f"no table for effort auto: {err}", style="yellow")
        update["auto"] = {}
    if not given.dry:
        write_config(given.model, checkpoint.config.model_copy(update=update))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
