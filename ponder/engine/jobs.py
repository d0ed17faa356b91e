"""What a scheduler is given to do, and what it hands over."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ponder.interfaces import Limit, Sampling
from ponder.text.format import Place
from ponder.types import Surprise


@dataclass(eq=False)
class Job:
    """A context and what to sample after it."""

    context: tuple[int, ...]
    shared: int
    """So many of its first tokens, the prompt, are worth remembering for other jobs."""
    place: Place
    """Where in the format the samples begin."""
    limit: Limit
    samplings: Sequence[Sampling]
    done: "Callable[[Written], None]"
    """Called for each sample once it is complete."""
    failed: Callable[[Exception], None]
    """Called where `done` or `hear` raises, or the output is not finite: the job is cancelled then, alone."""
    hear: Callable[[int, int], bool] | None = None
    """Called with a sample's number and each of its tokens; True ends that sample there."""
    after: Sequence[tuple[int, ...]] = ()
    """Earlier contexts that this one goes on from; see `Known`."""
    surprises: Sequence[Surprise | None] = ()
    """Of the blocks before it."""
    cancelled: bool = False
    known: int | None = None
    """Tokens of its context that did not have to be computed for it; None before its first row."""

    def __post_init__(self) -> None:
        self.prompt = self.context[: self.shared]
        self.pending = deque(range(len(self.samplings)))
        """Samples that wait for a row."""
        self.heard = [0] * len(self.samplings)
        """Tokens that were told already; a sample that begins again writes the same ones."""


class Written(NamedTuple):
    """One sample of a job."""

    job: Job
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    surprise: Surprise
    before: tuple[float, float] | None
    """Value and validity at the end of the context, where there is a head."""
    after: tuple[float, float] | None
    """The same after the last token."""


def call(job: Job, tell: Callable[[], object]) -> object:
    """Tell a job's owner something; where that fails, it is this job's failure alone."""
    if job.cancelled:
        return None
    try:
        return tell()
    except Exception as err:  # whatever a listener does must not stop the others' decoding
        job.cancelled = True
        job.failed(err)
        return None
