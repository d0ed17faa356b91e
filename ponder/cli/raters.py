"""Who rates in place of a model's own head: the options' names to raters, and the sentence that each deserves."""

from collections.abc import Sequence

from ponder.cli import output
from ponder.cli.models import Model
from ponder.errors import ConfigError
from ponder.interfaces import Rater
from ponder.reward.exact import OracleRater
from ponder.reward.judge import Judge
from ponder.tasks import TASKS
from ponder.text.format import BLOCKS
from ponder.types import Problem

HEAD, EXACT, JUDGE = "head", "exact", "judge"
RATERS = (HEAD, EXACT, JUDGE)


def check_rater(name: str, problems: Sequence[Problem] | None = None) -> None:
    """Refuse an unknown rater, and the truth where it is not known: of a prompt, and of problems of others."""
    if name not in RATERS:
        raise ConfigError(f"unknown rater {name!r}: the raters are {', '.join(RATERS)}")
    if name != EXACT:
        return
    if problems is None:
        raise ConfigError("--rater exact needs problems whose truth is known: use ponder eval --rater exact")
    unknown = next((problem.task for problem in problems if problem.task not in TASKS), None)
    if unknown:
        raise ConfigError(f"--rater exact needs a task that checks blocks, and {unknown} does not: leave it out")


def rater_of(name: str, model: Model, problems: Sequence[Problem] = (), seed: int = 0) -> Rater | None:
    """The rater of that name; None for what the model's sampler says of itself."""
    check_rater(name, problems)
    if name == HEAD:
        return None
    if name == EXACT:
        told = "rated by the truth of each block, where what can still be won counts as won"
        output.note(f"{told}: an upper bound, never a result", style="yellow")
        return OracleRater(problems)
    if model.dialect == BLOCKS.name:
        raise ConfigError(
            f"{model.name} knows its tasks alone and cannot judge: --rater judge needs a model that answers a question "
            "with yes or no, as --model or by --upstream with --upstream-dialect think_tags"
        )
    return Judge(model.sampler, seed=seed)


def tell_undecided(rater: Rater | None) -> None:
    """Say how often a judge gave no word, and what it said then."""
    if not isinstance(rater, Judge):
        return
    notes = [one.note for one in rater.judgements if one.note and one.votes]
    if notes:
        told = f"the judge left {len(notes)} of {len(rater.judgements)} ratings at one half"
        output.note(f"{told}, the first time because of {notes[0]}", style="yellow")
