"""A reward function of the user's own, from `FILE.py:FUNCTION`, in a process that can be killed.

It is called once for every sample, as ``score(problem, completion)`` with two plain dictionaries, and returns a score
in [0, 1], or None where it cannot decide. So whatever it returns can only ever be that sample's: where it raises, says
what is no score or takes too long, that sample alone is lost; where it takes too long again and again, the run stops.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from ponder.errors import ConfigError, TrainingError
from ponder.sandbox.worker import Worker, WorkerError, WorkerTimeout
from ponder.train.rollout import Grader
from ponder.types import Completion, Grade, Problem

MOST_HANGS = 3
"""Samples in a row that may take too long: a round would else wait for hours."""


@dataclass(eq=False)
class OwnGrader:
    """Grades by the function named, or as `usual` where none is."""

    name: str
    seconds: float
    usual: Grader
    _hung: int = 0
    _worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        self._worker = Worker(self.seconds)
        file, _, self._function = self.name.rpartition(":")
        self._file = str(Path(file).resolve())
        if not self.name:
            return
        try:
            found = bool(file) and self._worker.call("ponder.sandbox.own:check", self._file, self._function)
        except WorkerError as err:
            raise ConfigError(f"the grader {self.name!r} cannot be used: {err}") from None
        if not found:
            raise ConfigError(f"the grader {self.name!r} is not FILE.py:FUNCTION, such as rewards.py:score")

    def grade(self, problem: Problem, completion: Completion) -> Grade:
        """See `Grader`; raises TrainingError where there is no use in asking on."""
        if not self.name:
            return self.usual(problem, completion)
        try:
            score = self._worker.call(
                "ponder.sandbox.own:call", self._file, self._function, *_plain(problem, completion)
            )
        except WorkerTimeout as err:
            self._hung += 1
            if self._hung >= MOST_HANGS:
                raise TrainingError(
                    f"the grader {self.name} took more than {self.seconds:g} s for {self._hung} samples in a row: "
                    "mend it, or allow more grader_seconds"
                ) from None
            return Grade(None, str(err))
        except WorkerError as err:
            return Grade(None, str(err))
        self._hung = 0
        if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
            count = f" of {len(score)}" if isinstance(score, list) else ""
            return Grade(None, f"the grader returned a {type(score).__name__}{count} instead of one score")
        return Grade(score)

    def close(self) -> None:
        """End its process."""
        self._worker.close()


def _plain(problem: Problem, completion: Completion) -> tuple[dict[str, object], dict[str, object]]:
    said: dict[str, object] = {
        "answer": completion.answer,
        "ended": str(completion.ended),
        "tokens": completion.tokens.kept,
    }
    said["blocks"] = [asdict(block) for block in completion.blocks]
    return asdict(problem), said
