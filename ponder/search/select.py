"""Choosing among finished chains and among candidates, as plain functions; ties are broken by a named seed.

A vote sees chains, not samplers, so that chains drawn once can be voted on in every way and number.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod

from ponder.seeds import rng_for
from ponder.types import Ended, Node, Rating, Tree

Key = Callable[[str], str]
"""Answers are the same where this says the same of them."""


class Score(StrEnum):
    """How the ratings of a chain's blocks become one score."""

    LAST = "last"
    """The value after the last block: what it is known to be worth in the end (Snell et al. 2024)."""
    MIN = "min"
    """The validity of its worst block (Lightman et al. 2023)."""
    PRODUCT = "product"
    """The probability that all its blocks are valid (Lightman et al. 2023)."""

    def of(self, ratings: Sequence[Rating]) -> float:
        """The score of a chain with these ratings, at least one."""
        match self:
            case Score.LAST:
                return ratings[-1].value
            case Score.MIN:
                return min(rating.validity for rating in ratings)
            case Score.PRODUCT:
                return prod(rating.validity for rating in ratings)


@dataclass(frozen=True)
class Chain:
    """One chain of a tree whose chains branch at the question alone."""

    last: int
    """The node in which it ends."""
    answer: str | None
    """None where no finished answer came."""
    ratings: tuple[Rating, ...] = ()
    """Of its blocks, in order; where it has none, of the question."""


Vote = Callable[[Sequence[Chain], int, Key], int | None]
"""Chains, a seed for ties and the answers' key to the chosen chain's index; None where none has answered."""


def chains_of(tree: Tree) -> list[Chain]:
    """The chains of a tree that branches at the question alone, in order."""
    runs: list[list[Node]] = []
    for node in tree.nodes:
        if node.parent is None:
            runs.append([])
        runs[-1].append(node)
    return [_chain(run) for run in runs]


def _chain(run: Sequence[Node]) -> Chain:
    last = run[-1]
    answered = last.answer is not None and last.ended is Ended.ANSWERED and not any(node.lost for node in run)
    rated = [node.rating for node in run if node.block and node.rating]
    if last.rating:  # the end of the thought: of equal states it is the one rating that counts
        rated[-1:] = [last.rating]
    return Chain(last.id, last.answer if answered else None, tuple(rated))


def first_chains(tree: Tree, count: int) -> Tree:
    """The tree of a vote as it would have been with fewer chains."""
    starts = [node.id for node in tree.nodes if node.parent is None]
    end = starts[count] if count < len(starts) else len(tree.nodes)
    return replace(tree, nodes=tree.nodes[:end])


def elected(tree: Tree, vote: Vote, seed: int, key: Key = str.strip) -> int | None:
    """The node in which a vote's winner ends; a broken answer where there is no other, and None without any."""
    chains = chains_of(tree)
    index = vote(chains, seed, key)
    if index is not None:
        return chains[index].last
    return next((node.id for node in tree.nodes if node.answer is not None and not node.lost), None)


def top(scores: Sequence[float], count: int, *names: str | int) -> list[int]:
    """The indices of the highest scores, best first; equal ones in an order that the named seed decides."""
    rng = rng_for("tie", *names)
    drawn = [rng.random() for _ in scores]
    return sorted(range(len(scores)), key=lambda index: (-scores[index], drawn[index]))[:count]


def grouped(answers: Iterable[str | None], key: Key = str.strip) -> dict[str, list[int]]:
    """Each answer's indices, in the order of their first ones; None is no answer."""
    groups: dict[str, list[int]] = {}
    for index, answer in enumerate(answers):
        if answer is not None:
            groups.setdefault(key(answer), []).append(index)
    return groups


def vote(answers: Sequence[str | None], weights: Sequence[float], seed: int, key: Key = str.strip) -> int | None:
    """The index whose answer has the largest sum of weights: of that answer's the heaviest one, else the first."""
    groups = list(grouped(answers, key).values())
    if not groups:
        return None
    (best,) = top([sum(weights[index] for index in group) for group in groups], 1, seed)
    return max(groups[best], key=lambda index: weights[index])
