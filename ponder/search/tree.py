"""A tree of thoughts while it grows, and what it comes to: every search extends, rates and counts through here.

Nothing depends on what finishes first: a place in the tree is named by the numbers of the candidates that lead to it,
and its seed, its number and its counts follow from that name.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, NamedTuple, Protocol, TypeVar

from ponder.errors import ConfigError, ContextError, SamplerError, UpstreamError
from ponder.interfaces import Extension, Following, Limit, Prefix, Rater, Sampler, Sampling
from ponder.search.select import Chain, Key, Vote, chains_of, elected
from ponder.seeds import seed_for
from ponder.text.effort import Budget
from ponder.types import Completion, Ended, Node, Rating, Thought, Tokens, Tree

SMALLEST_BLOCK = 8
"""With fewer thinking tokens left than this, a block is not begun."""

Path = tuple[int, ...]
"""The numbers of the candidates that lead to a place from the question."""
State = tuple[tuple[str, ...], ...]
"""What later steps may see of closed blocks."""
T = TypeVar("T")


class Search(Protocol):
    """A way to think: from a question, within a budget of each chain's tokens and of candidates, to a completion."""

    async def __call__(
        self,
        root: Prefix,
        budget: Budget,
        sampling: Sampling,
        sampler: Sampler,
        rater: Rater | None = None,
        *,
        key: Key = str.strip,
    ) -> Completion:
        """The sampling's seed names all randomness; without a rater, the sampler's own ratings are read.

        Answers are the same where `key` says the same of them. Raises ConfigError where the budget does not fit or a
        rating is needed and nobody gives one, and SamplerError where every candidate was lost.
        """
        ...


@dataclass(frozen=True)
class Leaf:
    """How far one branch has come."""

    path: Path
    prefix: Prefix
    """What its next extension goes on from."""
    extension: Extension | None = None
    asked: Prefix | None = None
    """What the extension was generated from."""
    thinking: int = 0
    """Thinking tokens of the whole branch."""
    rating: Rating | None = None
    same_as: Path | None = None
    error: SamplerError | None = None

    @property
    def done(self) -> bool:
        """Whether there is an answer, finished or not."""
        return self.extension is not None and self.extension.answer is not None

    @property
    def answered(self) -> bool:
        """Whether there is a finished answer."""
        return self.done and self.extension is not None and self.extension.ended is Ended.ANSWERED

    @property
    def answer(self) -> str | None:
        """What it answers, where it does."""
        return self.extension.answer if self.extension else None

    @property
    def value(self) -> float:
        """Of a rated leaf."""
        assert self.rating
        return self.rating.value


@dataclass(eq=False)
class Growth:
    """A search's tree while it grows."""

    name: str
    start: Prefix
    budget: Budget
    sampling: Sampling
    sampler: Sampler
    rater: Rater | None = None
    needs_ratings: bool = False
    leaves: dict[Path, Leaf] = field(default_factory=dict[Path, Leaf])
    """All places so far, as they are known last."""
    ratings: dict[State, Rating] = field(default_factory=dict[State, Rating])

    def __post_init__(self) -> None:
        self._follower = self.sampler if isinstance(self.sampler, Following) else None  # asking takes 20 µs

    @property
    def root(self) -> Leaf:
        """The question; it is answered at once where there is no thinking to spend."""
        return Leaf((), replace(self.start, answering=self.start.answering or self.budget.thinking < SMALLEST_BLOCK))

    # --- extending ------------------------------------------------------------------------------------------------

    async def extend(self, leaf: Leaf, child: int, seed: int, *, think_on: bool = False) -> Leaf:
        """The `child`-th candidate of what follows a leaf; one that the sampler could not make has an error."""
        limit = Limit(max(0, self.budget.thinking - leaf.thinking), self.budget.answer)
        path, asked = (*leaf.path, child), replace(leaf.prefix, think_on=True) if think_on else leaf.prefix
        how = self.sampling
        drawn = Sampling(how.temperature, how.top_p, seed, how.top_k, how.min_p)
        try:
            (extension,) = await self.sampler.extend(asked, limit, [drawn])
        except SamplerError as err:
            self.leaves[path] = Leaf(path, leaf.prefix, asked=asked, thinking=leaf.thinking, error=err)
            return self.leaves[path]
        if self.needs_ratings and self.rater is None and extension.rating is None and extension.before is None:
            raise unrated(self.name)
        self.leaves[path] = self._grown(leaf, path, asked, extension)
        return self.leaves[path]

    def _grown(self, leaf: Leaf, path: Path, asked: Prefix, extension: Extension) -> Leaf:
        """A leaf with one more extension, which must answer next once its thinking is over or used up."""
        rating = extension.rating if extension.block else leaf.rating or extension.before
        rating = None if self.rater else rating
        if extension.answer is not None:
            return Leaf(path, leaf.prefix, extension, asked, leaf.thinking, rating)
        thinking = leaf.thinking + spent(extension).thinking
        blocks = leaf.prefix.blocks if extension.block is None else (*leaf.prefix.blocks, extension.block)
        over = extension.block is None or extension.last or self.budget.thinking - thinking < SMALLEST_BLOCK
        answering = over or len(blocks) >= self.budget.depth
        start = self.start
        prefix = Prefix(start.messages, start.effort, blocks, leaf.prefix.answering or answering)
        return Leaf(path, prefix, extension, asked, thinking, rating)

    async def branch(self, leaf: Leaf, count: int, first: int = 0) -> list[Leaf]:
        """Candidates of what follows a leaf, a single one where the answer must come; without lost and broken ones."""
        numbers = range(first, first + (1 if leaf.prefix.answering else count))
        seeds = ((child, seed_for(self.sampling.seed, *leaf.path, child)) for child in numbers)
        made = await together(self.extend(leaf, child, seed) for child, seed in seeds)
        return [one for one in made if one.error is None and (one.answered or not one.done)]

    async def chain(self, leaf: Leaf, child: int, seed: int, *, alone: bool = False) -> Leaf:
        """Grow one branch to its answer, or to where it was lost; extension k draws from ``seed_for(seed, k)``.

        Where it is `alone`, nothing but it can be kept.
        """
        extended = 0
        while not leaf.done and leaf.error is None:
            leaf = await self.extend(leaf, 0 if extended else child, seed_for(seed, extended))
            extended += 1
            if alone:
                self.narrow([leaf])
        return leaf

    async def chains(self, numbers: Iterable[int]) -> list[Leaf]:
        """Whole chains from the question; number i is what a single chain of the seed ``seed_for(seed, i)`` is.

        Any of several can still be chosen until the last one has ended: none of their blocks is certain before.
        """
        root, seed, alone = self.root, self.sampling.seed, self.budget.samples == 1
        return await together(self.chain(root, i, seed_for(seed, i), alone=alone) for i in numbers)

    async def rated_chains(self, numbers: Iterable[int], *, whole: bool = False) -> None:
        """Whole chains with the ratings of their ends, or of all their blocks."""
        grown = [leaf for leaf in await self.chains(numbers) if leaf.answered]
        parts = [leaf.path[:size] for leaf in grown for size in range(1, len(leaf.path))] if whole else []
        await self.rated([self.leaves[path] for path in (*parts, *(leaf.path for leaf in grown))])

    # --- rating ---------------------------------------------------------------------------------------------------

    async def rated(self, leaves: Sequence[Leaf]) -> list[Leaf]:
        """The leaves with their ratings; those that the rater could not rate are lost.

        An answer has the rating of its thought, and equal states have one rating, the first one's.
        """
        missing: dict[State, Prefix] = {}
        errors: dict[State, SamplerError] = {}
        for leaf in leaves:
            at = state(leaf.prefix.blocks)
            if at in self.ratings or at in missing:
                continue
            if leaf.rating and self.rater is None:
                errors |= self._note({at: leaf.rating})
            else:
                missing[at] = replace(self.start, blocks=leaf.prefix.blocks, answering=False)
        errors |= await self._ask(missing)
        found = [(leaf, state(leaf.prefix.blocks)) for leaf in leaves]
        for leaf, at in found:
            self.leaves[leaf.path] = replace(leaf, rating=self.ratings.get(at), error=errors.get(at))
        return [self.leaves[leaf.path] for leaf, at in found if at not in errors]

    async def _ask(self, missing: Mapping[State, Prefix]) -> dict[State, SamplerError]:
        """Have states rated, all at once; where that fails, each by itself, and the errors of those that still do."""
        if not missing:
            return {}
        if self.rater is None:
            raise unrated(self.name)
        try:
            found = await self.rater.rate(list(missing.values()))
        except SamplerError as err:
            if len(missing) == 1:
                return dict.fromkeys(missing, err)
            alone = await together(self._ask({at: prefix}) for at, prefix in missing.items())
            return {at: error for errors in alone for at, error in errors.items()}
        return self._note(dict(zip(missing, found, strict=True)))

    def _note(self, found: Mapping[State, Rating]) -> dict[State, SamplerError]:
        """Remember ratings; the errors of those that are none."""
        right = {at: one for at, one in found.items() if 0 <= one.value <= 1 and 0 <= one.validity <= 1}
        self.ratings |= right
        return {
            at: SamplerError(f"{one} is no rating: both lie in [0, 1]") for at, one in found.items() - right.items()
        }

    def merged(self, leaves: Sequence[Leaf]) -> list[Leaf]:
        """Of leaves in equal states, and of equal answers to them, only the first, which stands for all of them."""
        first: dict[tuple[State, bool, str | None], Leaf] = {}
        for leaf in leaves:
            twin = first.setdefault((state(leaf.prefix.blocks), leaf.prefix.answering, leaf.answer), leaf)
            if twin is not leaf:
                self.leaves[leaf.path] = replace(leaf, same_as=twin.path)
        return [leaf for leaf in leaves if self.leaves[leaf.path].same_as is None]

    # --- what is certain ------------------------------------------------------------------------------------------

    def narrow(self, leaves: Iterable[Leaf]) -> None:
        """Only these, and what grows from them, can still be kept: a sampler that follows is told what they share."""
        if self._follower is None:
            return
        able = list(leaves)
        if not any(leaf.answered for leaf in able):  # then one that was passed over may be all that is left, see _kept
            able += [leaf for leaf in self.leaves.values() if leaf.done and leaf.error is None]
        columns = zip(*(leaf.prefix.blocks for leaf in able), strict=False)
        shared = takewhile(lambda column: all(block == column[0] for block in column), columns)
        self._follower.certain(tuple(column[0] for column in shared))

    # --- what it comes to -----------------------------------------------------------------------------------------

    def finish(self, chosen: Leaf | None, visits: Mapping[Path, int] | None = None) -> Completion:
        """The completion that ends in a leaf; without one, a broken answer, or the error by which all were lost."""
        kept = {chosen.path[:size] for size in range(1, len(chosen.path) + 1)} if chosen else set[Path]()
        at = sorted(self.leaves).index(chosen.path) if chosen else None
        return self._kept(self.tree(visits, kept), at)

    def finished_chains(self) -> list[Chain]:
        """The chains so far, as votes see them."""
        return chains_of(self.tree())

    def elected(self, vote: Vote, key: Key) -> Completion:
        """The completion that a vote over whole chains chooses."""
        return self._kept(tree := self.tree(), elected(tree, vote, self.sampling.seed, key))

    def tree(self, visits: Mapping[Path, int] | None = None, kept: Collection[Path] = ()) -> Tree:
        """All leaves in the order of their paths, as a tree of which these are kept."""
        found = self._sorted()
        ids = {leaf.path: number for number, leaf in enumerate(found)}
        more = _More(ids, visits or {}, kept)
        return Tree(
            search=self.name,
            messages=self.start.messages,
            effort=self.start.effort,
            nodes=tuple(_node(leaf, cost, more) for leaf, cost in zip(found, _costs(found), strict=True)),
        )

    def _sorted(self) -> list[Leaf]:
        return [self.leaves[path] for path in sorted(self.leaves)]

    def _kept(self, tree: Tree, chosen: int | None) -> Completion:
        if chosen is None:
            chosen = next((node.id for node in tree.nodes if node.answer is not None and not node.lost), None)
        if chosen is not None:
            return completion(tree, chosen)
        errors = [leaf.error for leaf in self._sorted() if leaf.error]
        if len(errors) == 1 or (errors and all(isinstance(err, ContextError) for err in errors)):
            raise errors[0]  # one prompt, so all of them say the same
        kind = UpstreamError if all(isinstance(err, UpstreamError) for err in errors) else SamplerError
        raise kind(f"all {len(errors)} candidates of {self.name} were lost, the first one: {errors[0]}")


class _More(NamedTuple):
    """What a leaf does not know of itself."""

    ids: Mapping[Path, int]
    visits: Mapping[Path, int]
    kept: Collection[Path]


def _node(leaf: Leaf, cost: Tokens, more: _More) -> Node:
    extension, ids = leaf.extension, more.ids
    return Node(
        id=ids[leaf.path],
        parent=ids.get(leaf.path[:-1]),
        block=extension.block if extension else None,
        answer=extension.answer if extension else None,
        ended=extension.ended if extension else None,
        rating=leaf.rating,
        tokens=cost,
        same_as=ids[leaf.same_as] if leaf.same_as else None,
        kept=leaf.path in more.kept,
        visits=more.visits.get(leaf.path, 0),
        lost=str(leaf.error) if leaf.error else "",
    )


def completion(tree: Tree, chosen: int) -> Completion:
    """What a tree comes to where the branch that ends in a node is kept."""
    path: list[Node] = []
    at: int | None = chosen
    while at is not None:
        path.append(tree.nodes[at])
        at = tree.nodes[at].parent
    kept = {node.id for node in path}
    blocks = tuple(node.block for node in reversed(path) if node.block)
    last = tree.nodes[chosen]
    assert last.answer is not None and last.ended is not None
    nodes = tuple(node if node.kept is (node.id in kept) else replace(node, kept=not node.kept) for node in tree.nodes)
    return Completion(blocks, last.answer, last.ended, counted(nodes), tree=replace(tree, nodes=nodes))


def counted(nodes: Sequence[Node]) -> Tokens:
    """The counts of a tree's nodes, of which some are kept."""
    prompt = next((node.tokens.prompt for node in nodes if node.tokens.prompt), 0)
    thinking = answer = discarded = cached = 0
    for node in nodes:
        cached += node.tokens.cached
        if node.kept:
            thinking, answer = thinking + node.tokens.thinking, answer + node.tokens.answer
        else:
            discarded += node.tokens.kept
    return Tokens(prompt, thinking, answer, discarded, cached)


def spent(extension: Extension) -> Tokens:
    """What an extension cost, by the server's count or by ours."""
    if extension.spent is not None:
        return extension.spent
    prompt, generated = len(extension.segment.context), len(extension.segment.generated)
    return Tokens(prompt, answer=generated) if extension.answer is not None else Tokens(prompt, thinking=generated)


def state(blocks: Thought) -> State:
    """What folding leaves of closed blocks; a paragraph does not fold, so it stays as it is."""
    return tuple((b.headline, b.summary) if b.headline or b.summary else (b.thoughts,) for b in blocks)


def unrated(name: str) -> ConfigError:
    """The error of a search that needs ratings where nobody gives them."""
    return ConfigError(
        f"{name} needs ratings, and this model has no reward head: train one with `ponder train reward`, or choose "
        "the search majority"
    )


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; where one fails, or the whole is cancelled, the others are cancelled too."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _costs(leaves: Sequence[Leaf]) -> list[Tokens]:
    """What each extension cost, in the order of paths: `cached` of a context is what it begins with of any before."""
    known: list[tuple[int, ...]] = []
    """Contexts with what was written after them, sorted: the longest common beginning is a neighbour's."""
    asked: set[Prefix] = set()
    costs: list[Tokens] = []
    for leaf in leaves:
        if leaf.extension is None or leaf.asked is None:
            costs.append(Tokens())
            continue
        cost, segment = spent(leaf.extension), leaf.extension.segment
        if segment.context:
            at = bisect_left(known, segment.context)
            cached = _common(segment.context, known[at - 1]) if at else 0
            cached = max(cached, _common(segment.context, known[at]) if at < len(known) else 0)
            whole = segment.context + segment.generated
            known.insert(bisect_left(known, whole, at), whole)
        else:
            cached = cost.prompt if leaf.asked in asked else 0
            asked.add(leaf.asked)
        costs.append(Tokens(cost.prompt, cost.thinking, cost.answer, cached=cached))
    return costs


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many first ids are the same, by halving: slices compare fast."""
    return bisect_left(range(min(len(one), len(other))), True, key=lambda at: one[: at + 1] != other[: at + 1])
