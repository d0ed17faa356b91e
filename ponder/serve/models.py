"""The models of one server, and who answers a request that leaves that open.

``model: auto`` asks the fast model's own head, before anything is thought: where it expects to be right, it answers;
else the main model does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from ponder.reward.route import Router
from ponder.search import ONE_CHAIN
from ponder.serve.refusal import Refusal, invalid
from ponder.serve.settings import Price
from ponder.serve.worker import Worker
from ponder.text.effort import AUTO, BUDGETS, Budget, Plan, effort_named
from ponder.types import Effort, Message

if TYPE_CHECKING:
    from ponder.engine.chances import Chances


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that is served, and how it spends efforts."""

    name: str
    """The name that clients use."""
    worker: Worker
    direct: bool = False
    """Whether it was taught to answer without thinking."""
    plans: Mapping[Effort, Plan] = field(default_factory=dict[Effort, Plan])
    """Those that are missing are one chain."""
    budgets: Mapping[Effort, Budget] = field(default_factory=lambda: BUDGETS)
    temperature: float | None = None
    """Where a request gives none; else each plan's own."""
    router: Router | None = None
    """What chooses in place of effort ``auto``."""
    unrouted: str = ""
    """Why nothing can, in a sentence."""
    price: Price | None = None
    """None where no costs are told."""
    chances: "Chances | None" = None
    """What reads how likely its answers' tokens were; None where nothing can."""

    @property
    def effort(self) -> Effort:
        """Where a request names none."""
        return Effort.NONE if self.direct else Effort.MEDIUM

    @property
    def efforts(self) -> list[str]:
        """The names that a request may give."""
        own = [Effort.NONE] if self.direct else list(Effort)
        return [*map(str, own), *([AUTO] if self.router else [])]

    def spent(self, effort: Effort, temperature: float | None) -> tuple[str, Budget, float]:
        """The search that an effort means, its budget, and the temperature where a request gives that one.

        At temperature 0 all samples of a search would be the same, so that it is one chain.
        """
        plan, budget = self.plans.get(effort, Plan()), self.budgets[effort]
        own = self.temperature if self.temperature is not None else plan.temperature or 0.0
        temperature = own if temperature is None else temperature
        if temperature == 0 and plan.search not in ONE_CHAIN:
            return "single", replace(budget, samples=1, width=1), temperature
        return plan.search, budget, temperature


class Chosen(NamedTuple):
    """Who answers, and with what effort."""

    model: Model
    effort: Effort


@dataclass(frozen=True)
class Models:
    """All models of a server."""

    main: Model
    fast: Model | None = None

    @property
    def all(self) -> Sequence[Model]:
        """The main one first."""
        return [self.main, self.fast] if self.fast else [self.main]

    @property
    def unrouted(self) -> str:
        """Why ``model: auto`` cannot be answered, in a sentence; empty where it can."""
        first = self.fast or self.main
        return "" if first.router else first.unrouted or f"{first.name} does not choose efforts: name a model"

    @property
    def names(self) -> list[str]:
        """The names that a request may give."""
        return [model.name for model in self.all] + ([] if self.unrouted else [AUTO])

    def check(self, name: str) -> None:
        """Refuse the name of a model that there is not."""
        if name == AUTO and self.unrouted:
            raise invalid(f"Invalid value: 'auto'. {self.unrouted}.", "model")
        if name not in self.names:
            there = " and ".join(map(repr, self.names))
            raise Refusal(404, f"The model {name!r} does not exist: there is {there}.", "model", "model_not_found")

    async def choose(self, name: str, effort: str | None, messages: tuple[Message, ...], param: str) -> Chosen:
        """Who answers these messages; `effort` is a name, ``auto``, or None where the request leaves it open.

        Raises Refusal where nothing can choose; `param` is what the request called the effort.
        """
        self.check(name)
        if name != AUTO:
            model = next(model for model in self.all if model.name == name)
            return await _by_effort(model, effort, messages, param)
        if self.fast is None:
            return await _by_effort(self.main, effort or AUTO, messages, param)
        assert self.fast.router
        named = None if effort in (None, AUTO) else effort_named(effort)
        enough = await self.fast.worker.do(self.fast.router.enough(messages, named))
        if enough:
            return Chosen(self.fast, enough)
        open_ = AUTO if self.main.router else None
        return await _by_effort(self.main, named or open_, messages, param)


async def _by_effort(model: Model, effort: str | None, messages: tuple[Message, ...], param: str) -> Chosen:
    if effort != AUTO:
        return Chosen(model, model.effort if effort is None else effort_named(effort))
    if model.router is None:
        why = model.unrouted or f"{model.name} does not choose efforts: name one of {', '.join(Effort)}"
        raise invalid(f"Invalid value: 'auto'. {why}.", param)
    (chosen,) = await model.worker.do(model.router.choose([messages]))
    return Chosen(model, chosen)
