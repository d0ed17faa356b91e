"""What somebody else rated stands under a name of its own, and is taken for nothing that the model can do."""

from random import Random

import pytest

from ponder.engine.scripted import Play, ScriptedSampler, Step
from ponder.errors import ConfigError
from ponder.evaluate.claims import claims
from ponder.evaluate.efforts import candidates
from ponder.evaluate.problems import held_out
from ponder.evaluate.records import BOUND, open_ledger, read_record
from ponder.evaluate.run import Settings, evaluate
from ponder.evaluate.scaling import by_effort, curves
from ponder.evaluate.summary import summarize
from ponder.interfaces import Prefix
from ponder.reward.exact import OracleRater
from ponder.seeds import rng_for
from ponder.tasks import TASKS
from ponder.types import Block, Effort, Problem, Style


def by_chance(problem: Problem) -> Play:
    """Three chains in ten are demonstrated ones, the others are lost from their first block on."""
    shown = TASKS[problem.task].demonstrate(problem, rng_for("oracle", problem.id), Style.CLEAN)

    def play(prefix: Prefix, rng: Random) -> Step:
        if not prefix.blocks:
            return Step(shown.blocks[0] if rng.random() < 0.3 else Block("?", "?", "?"))
        if prefix.blocks[0].summary == "?":
            return Step("nonsense")
        at = len(prefix.blocks)
        return Step(shown.answer if prefix.answering or at == len(shown.blocks) else shown.blocks[at])

    return play


def test_the_truth_chooses_what_it_knows_and_its_records_say_so(tmp_path):
    toys = held_out("multiplication", 1, 6)
    sampler = ScriptedSampler({problem.prompt: by_chance(problem) for problem in toys.problems})
    rater = OracleRater(toys.problems)
    usual = {"efforts": (Effort.MEDIUM,), "searches": ("weighted_vote", "best_of_n"), "samples": 16, "temperature": 1.0}
    records = evaluate([toys], Settings(**usual, rater=rater, rated_by="exact"), sampler)
    assert {record.rater for record in records} == {"exact"} and all(record.scores == (1.0,) for record in records)
    assert [read_record(record.line()) for record in records] == records
    assert [one.search for one in summarize(records)] == [f"weighted_vote{BOUND}", f"best_of_n{BOUND}"]
    assert {curve.search for curve in curves(records, times=20)} == {f"weighted_vote{BOUND}", f"best_of_n{BOUND}"}
    ledger = open_ledger(tmp_path / "records.jsonl")
    ledger.add(records)
    with pytest.raises(ConfigError, match="needs ratings"):  # what the truth rated is not taken for the model's own
        evaluate([toys], Settings(**usual), sampler, known=ledger.records)
    with pytest.raises(ConfigError, match="a rater is named"):
        evaluate([toys], Settings(**usual, rater=rater), sampler)
    with pytest.raises(ConfigError, match="a rater is named"):
        evaluate([toys], Settings(**usual, rated_by="exact"), sampler)


def test_curves_stand_apart_by_who_rated(make):
    records = []
    for rater, gain in (("", 0), ("judge", 1), ("exact", 2)):
        for number in range(8):
            scores = [float(sample < number // 2 + gain) for sample in range(4)]
            records.append(make(number, *scores, values=(0.1, 0.2, 0.3, 0.4), rater=rater))
            for effort in ("low", "high"):
                records.append(make(number, scores[0], search="effort", effort=effort, rater=rater))
    found = {
        (curve.search, curve.points[0].accuracy) for curve in curves(records, times=20) if "single" in curve.search
    }
    assert {search for search, _ in found} == {"single", "single, rated by a judge", f"single{BOUND}"}
    assert len({accuracy for _, accuracy in found}) == 3, "they are mixed"
    efforts = by_effort(records, times=20)
    assert [curve.search for curve in efforts] == ["effort", "effort, rated by a judge", f"effort{BOUND}"]
    told = claims(curves(records, times=20), efforts)
    assert told and not any(BOUND in str(one.to_json()) for one in told)
    own = [record for record in records if not record.rater]
    assert candidates(curves(own, times=20))
    for rater in ("judge", "exact"):
        with pytest.raises(ConfigError, match="says nothing of the model alone: leave those records out"):
            candidates(curves([*own, *(one for one in records if one.rater == rater)], times=20))
