"""Votes read again from the record of single chains: what is known of a problem's chains need not be thought again.

A record keeps of each chain its answer, how it ended, its tokens and the value at its end, to four digits. That is all
that votes by answers and by last values see; votes by the validity of blocks need the blocks.
"""

from collections.abc import Sequence
from dataclasses import replace

from ponder.evaluate.records import Record
from ponder.search import VOTES
from ponder.search.adaptive import enough
from ponder.search.select import Chain, Key, Vote
from ponder.text.effort import Budget
from ponder.types import Completion, Ended, Rating, Tokens

MAJORITY, ADAPTIVE, WEIGHTED = "majority", "adaptive", "weighted_vote"
BY_VALUE = (WEIGHTED, "best_of_n", ADAPTIVE)
"""These need the values, too."""


def vote_of(search: str) -> Vote:
    """How a search chooses among the chains that it has drawn."""
    return VOTES[WEIGHTED if search == ADAPTIVE else search]


def readable(record: Record, search: str) -> bool:
    """Whether a record of single chains tells all that a vote sees: each was graded, and rated where ratings count."""
    if None in record.scores or search not in (MAJORITY, *BY_VALUE):
        return False
    return search == MAJORITY or all(value is not None for value, known in _rated(record) if known)


def _rated(record: Record) -> list[tuple[float | None, bool]]:
    """Each chain's value, and whether it has answered."""
    values = record.values or (None,) * len(record.answers)
    return [(value, ended is Ended.ANSWERED) for value, ended in zip(values, record.ended, strict=True)]


def chosen_again(record: Record, search: str, budget: Budget, seed: int, key: Key) -> tuple[int | None, int]:
    """Which chain a vote over the first `budget.samples` of a record would have chosen, None where none of them has
    answered, and after how many of them."""
    told = zip(record.answers, _rated(record), strict=True)
    chains = [
        Chain(index, answer if known else None, () if value is None else (Rating(value, value),))
        for index, (answer, (value, known)) in enumerate(told)
    ][: budget.samples]
    if search == ADAPTIVE:
        chains = chains[: enough(chains, budget, key)]
    return vote_of(search)(chains, seed, key), len(chains)


def voted_again(record: Record, search: str, budget: Budget, seed: int, key: Key) -> Completion:
    """What such a vote comes to, but for its blocks and tree."""
    chosen, count = chosen_again(record, search, budget, seed, key)
    at = chosen or 0  # where none has answered: a broken answer
    return Completion((), record.answers[at], record.ended[at], _together(record.tokens[:count], at))


def _together(tokens: Sequence[Tokens], kept: int) -> Tokens:
    """The tokens of a vote, of whose chains one is kept."""
    whole = replace(tokens[kept], prompt=next((one.prompt for one in tokens if one.prompt), 0))
    others = sum(one.kept for index, one in enumerate(tokens) if index != kept)
    return replace(whole, discarded=others, cached=sum(one.cached for one in tokens))
