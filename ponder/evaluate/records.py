"""What an evaluation leaves: a record a problem, effort and search, one JSON object a line, in a file that grows.

Lines are appended whole as problems finish, so that a killed evaluation can go on; everything that is ever said of an
evaluation (summaries, curves, reports) reads only these records.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import pydantic

from ponder.errors import ProblemError
from ponder.model.saving import saving
from ponder.runs import write_whole
from ponder.types import Ended, Tokens

FIRST = '{"model": '
"""How each line begins: what begins otherwise is no file of records, and is left alone."""

BOUND = ", rated by the truth: an upper bound, no result"
RATED_BY: Mapping[str, str] = {"": "", "judge": ", rated by a judge", "exact": BOUND}
"""What stands behind a search's name, by who rated."""


class Asked(NamedTuple):
    """All that a record's result follows from: two records that say the same here are the same."""

    model: str
    weights: str
    task: str
    level: int
    id: str
    prompt: str
    gold: str
    effort: str
    how: str
    search: str
    drawn: int
    answers: int
    """How many there are in the record."""
    width: int
    thinking: int
    temperature: float
    top_p: float
    seed: int
    rater: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One problem under one effort and search, with all its answers in order: one, but for several single chains."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    model: str = ""
    """Its name."""
    weights: str = ""
    """A digest of what it computes with, or the address of its server."""
    task: str
    level: int
    effort: str
    """An effort's name, or ``auto``."""
    how: str = ""
    """What that came to, where it does not follow from effort and search: the effort that was chosen, the plan."""
    search: str
    id: str
    prompt: str
    gold: str
    answers: tuple[str, ...]
    scores: tuple[float | None, ...]
    """None where the grader could not decide; notes say why."""
    ended: tuple[Ended, ...]
    tokens: tuple[Tokens, ...]
    values: tuple[float | None, ...] = ()
    """What the model rated the end of each answer's thought with; empty where nobody rates."""
    notes: tuple[str, ...]
    temperature: float
    top_p: float
    seed: int
    drawn: int = 1
    """Samples that each answer was found with, at most."""
    width: int = 1
    thinking: int = 0
    """Most tokens of thought in one chain; 0 also where an older record does not say."""
    rater: Literal["", "judge", "exact"] = ""
    """Who rated in place of the model's own head; by the truth itself it is an upper bound, never a result."""

    @property
    def asked(self) -> Asked:
        """What it is the record of."""
        told: dict[str, Any] = {**vars(self), "answers": len(self.answers)}
        return Asked(**{name: told[name] for name in Asked._fields})

    @property
    def titled(self) -> str:
        """The search with who rated, wherever it is shown."""
        return self.search + RATED_BY[self.rater]

    @property
    def rights(self) -> tuple[bool | None, ...]:
        """Whether each answer is right; None where the grader could not decide."""
        return tuple(None if score is None else score == 1.0 for score in self.scores)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        told = asdict(self)
        if not self.rater:  # as in files from before anybody else could
            del told["rater"]
        return told

    def line(self) -> str:
        """The record as a line of a file."""
        return json.dumps(self.to_json(), ensure_ascii=False) + "\n"


_READER = pydantic.TypeAdapter(Record)


def read_record(line: str) -> Record:
    """The record of a line; raises pydantic.ValidationError where it is none."""
    return _READER.validate_json(line)


@dataclass(eq=False)
class Ledger:
    """A file of records that grows."""

    path: Path
    records: dict[Asked, Record] = field(default_factory=dict[Asked, Record])
    """All that the file holds."""
    dropped: bool = False
    """Whether the file ended in a line that a kill had cut off."""

    def add(self, records: Iterable[Record]) -> None:
        """Append records, whole lines at once."""
        new = {record.asked: record for record in records if record.asked not in self.records}
        with saving(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(record.line() for record in new.values()))
        self.records |= new

    def settle(self, records: Sequence[Record]) -> None:
        """Put these records last and into this order: the file of a whole evaluation does not tell what came first.

        Replaced as a whole; nothing is written where they are in order already.
        """
        own = {record.asked: record for record in records}
        ordered = {asked: one for asked, one in self.records.items() if asked not in own} | own
        if list(ordered) != list(self.records):
            write_whole(self.path, "".join(record.line() for record in ordered.values()))
            self.records = ordered


def open_ledger(path: Path) -> Ledger:
    """A file of records to go on with, or a new one; a last line that was cut off is taken out of it.

    Raises ProblemError for a file of anything else, which is left as it is.
    """
    if not path.exists():
        write_whole(path, "")
        return Ledger(path)
    raw = path.read_bytes()
    whole, newline, torn = raw.rpartition(b"\n")
    records = _parsed(path, whole + newline)
    if torn and not torn.startswith(FIRST.encode()[: len(torn)]):
        raise _no_record(path, raw.count(b"\n") + 1, "it does not end a line")
    if torn:
        with path.open("r+b") as file:
            file.truncate(len(whole + newline))
    return Ledger(path, {record.asked: record for record in records}, bool(torn))


def read_records(path: Path) -> list[Record]:
    """All records of a file, each once; a last line that was cut off is left out. Raises ProblemError for others."""
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise ProblemError(
            f"{path} cannot be read ({err.strerror}): give a file that `ponder eval --out` wrote"
        ) from None
    whole, newline, torn = raw.rpartition(b"\n")
    found = _parsed(path, whole + newline)
    if torn and not (found and torn.startswith(FIRST.encode()[: len(torn)])):
        found += _parsed(path, torn)
    if not found:
        raise ProblemError(f"{path} holds no records: give a file that `ponder eval --out` wrote")
    return list({record.asked: record for record in found}.values())


def _parsed(path: Path, raw: bytes) -> list[Record]:
    found: list[Record] = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line:
            continue
        try:
            found.append(read_record(line.decode("utf-8")))
        except (UnicodeDecodeError, pydantic.ValidationError) as err:
            raise _no_record(path, number, _first(err)) from None
    return found


def _first(err: UnicodeDecodeError | pydantic.ValidationError) -> str:
    """What is wrong, in a few words."""
    if isinstance(err, UnicodeDecodeError):
        return "not UTF-8"
    first = err.errors()[0]
    return " ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _no_record(path: Path, number: int, why: str) -> ProblemError:
    return ProblemError(f"{path}:{number} is no record of an evaluation ({why}): name another file, or mend the line")
