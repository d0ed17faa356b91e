"""Records whose curves are known: made up, not computed."""

from collections.abc import Callable
from random import Random

import pytest

from ponder.evaluate.records import Record
from ponder.types import Ended, Tokens

Make = Callable[..., Record]


@pytest.fixture(scope="session")
def make() -> Make:
    """Makes a record of right (1), wrong (0) and undecided (None) answers, 100 tokens each."""

    def made(number: int, *scores: float | None, answers: tuple[str, ...] = (), **changes) -> Record:
        told = {
            "model": "toy",
            "weights": "w1",
            "task": "toy",
            "level": 2,
            "effort": "medium",
            "search": "single",
            "id": f"toy:2:test:{number}",
            "prompt": f"question {number}",
            "gold": "right",
            "answers": answers or tuple("right" if score else "wrong" for score in scores),
            "scores": scores,
            "ended": (Ended.ANSWERED,) * len(scores),
            "tokens": (Tokens(50, 90, 10),) * len(scores),
            "notes": ("",) * len(scores),
            "temperature": 0.8,
            "top_p": 1.0,
            "seed": 0,
        }
        return Record(**(told | changes))

    return made


@pytest.fixture(scope="session")
def sweep(make: Make) -> list[Record]:
    """Two tasks, 40 problems each: 16 rated chains, a beam that gains and a best of n that is fooled."""
    records: list[Record] = []
    for task in ("toy", "other"):
        rng = Random(task)
        for number in range(40):
            skill, common = rng.random() * 0.7, {"task": task, "id": f"{task}:2:test:{number}"}
            scores = tuple(float(rng.random() < skill) for _ in range(16))
            answers = tuple("right" if score else f"wrong {rng.randrange(6)}" for score in scores)
            values = tuple(0.3 + 0.4 * score + 0.3 * rng.random() for score in scores)
            records.append(make(number, *scores, answers=answers, values=values, **common))
            for drawn, gain in ((1, 0.0), (4, 0.2), (16, 0.4)):
                spent = (Tokens(50, 90, 10, 100 * (drawn - 1)),)
                beam = {"search": "beam", "drawn": drawn, "width": {1: 1, 4: 2, 16: 4}[drawn], "tokens": spent}
                records.append(make(number, float(rng.random() < skill + gain), **common, **beam))
                fooled = {"search": "best_of_n", "drawn": drawn, "tokens": spent}
                records.append(make(number, float(rng.random() < 0.8 - 1.5 * gain), **common, **fooled))
            for effort, share, tokens in (
                ("low", 0.3, 100),
                ("medium", 0.6, 400),
                ("high", 0.8, 1600),
                ("auto", 0.78, 600),
            ):
                plan = {"effort": effort, "search": "effort", "tokens": (Tokens(50, tokens),), "temperature": 0.8}
                records.append(make(number, float(rng.random() < share), **common, **plan))
    return records
