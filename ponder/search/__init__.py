"""Ways to think, by name. A new one is a file and a line here."""

from collections.abc import Mapping
from functools import partial

from ponder.errors import ConfigError
from ponder.search.adaptive import adaptive
from ponder.search.beam import beam
from ponder.search.best_of_n import best_of_n, vote_best
from ponder.search.direct import direct
from ponder.search.dvts import dvts
from ponder.search.majority import majority, vote_majority
from ponder.search.mcts import mcts
from ponder.search.revise import revise
from ponder.search.select import Score, Vote
from ponder.search.single import single
from ponder.search.tree import Search
from ponder.search.weighted_vote import vote_weighted, weighted_vote
from ponder.text.effort import Budget, Plan
from ponder.types import Effort

SEARCHES: dict[str, Search] = {
    "direct": direct,
    "single": single,
    "majority": majority,
    "best_of_n": best_of_n,
    "weighted_vote": weighted_vote,
    "weighted_vote_min": partial(weighted_vote, by=Score.MIN),
    "weighted_vote_product": partial(weighted_vote, by=Score.PRODUCT),
    "beam": beam,
    "dvts": dvts,
    "mcts": mcts,
    "revise": revise,
    "adaptive": adaptive,
}
VOTES: Mapping[str, Vote] = {
    "majority": vote_majority,
    "best_of_n": vote_best,
    "weighted_vote": vote_weighted,
    "weighted_vote_min": partial(vote_weighted, by=Score.MIN),
    "weighted_vote_product": partial(vote_weighted, by=Score.PRODUCT),
}
"""The searches that choose among whole chains, as functions of chains that have been drawn."""
ONE_CHAIN = ("direct", "single", "revise")
"""The searches that never have two candidates at once."""
SHARING = ("beam", "dvts")
"""The searches whose samples are divided among the width."""


def search_named(name: str) -> Search:
    """The search of that name; unknown names list the known ones."""
    if name not in SEARCHES:
        raise ConfigError(f"unknown search {name!r}: the searches are {', '.join(SEARCHES)}")
    return SEARCHES[name]


def check_budget(name: str, budget: Budget) -> None:
    """Refuse numbers of candidates that a search cannot use."""
    search_named(name)
    if budget.samples < 1 or budget.width < 1 or budget.depth < 1:
        raise ConfigError(
            f"samples={budget.samples}, width={budget.width} and depth={budget.depth} do not fit: each is at least 1"
        )
    if name in SHARING and budget.samples % budget.width:
        raise ConfigError(
            f"samples={budget.samples} is not a multiple of width={budget.width}: {name} gives each the same share"
        )


def check_plan(plan: Plan, temperature: float) -> None:
    """Refuse a plan that asks for what its search cannot do, or for samples that would all be the same."""
    check_budget(plan.search, plan.budget(Effort.MEDIUM))
    if plan.search in ("direct", "single") and plan.samples > 1:
        raise ConfigError(f"{plan.search} draws one sample, not {plan.samples}: choose another --search")
    if plan.search not in ONE_CHAIN and plan.samples > 1 and temperature == 0:
        raise ConfigError(
            f"{plan.samples} samples at temperature 0 are {plan.samples} times the same: give --temperature 0.8"
        )
