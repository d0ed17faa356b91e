"""What a request of either API comes to: a conversation, and how long and how to think about it."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ponder.errors import ConfigError
from ponder.search.tree import SMALLEST_BLOCK
from ponder.seeds import seed_for
from ponder.serve import params
from ponder.serve.events import Done
from ponder.serve.forms import Form, form_of
from ponder.serve.models import Model, Models
from ponder.serve.params import LOGPROBS, RAW, SEALED
from ponder.serve.refusal import Refusal, invalid, unsupported
from ponder.serve.settings import Settings
from ponder.serve.turns import Said, chat_said, response_said, whole_text
from ponder.serve.wire import Body, ChatBody, ResponsesBody
from ponder.text.effort import AUTO, Budget, effort_named, smallest_effort, within
from ponder.think import Request
from ponder.types import Effort, Ended, Message


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request to think."""

    model: Model
    """Who answers."""
    messages: tuple[Message, ...]
    effort: Effort
    budget: Budget
    capped: bool
    """Whether it is a number of tokens of the client's own that bounds the thinking."""
    search: str
    temperature: float
    top_p: float
    seed: int | None
    choices: int = 1
    stop: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    summaries: bool = True
    raw: bool = False
    """Whether raw thoughts are shown."""
    tree: bool = False
    """Whether the search's tree is told."""
    form: Form | None = None
    """Of the answer; None for plain text."""
    likely: int | None = None
    """How many of the likeliest tokens to tell at each place of the answer; None for not even its own."""
    sealed: bool = False
    """Whether the thought is given to the client, sealed."""
    removed: tuple[str, ...] = ()
    """Reasoning items of earlier turns that were left out."""
    items: tuple[Mapping[str, Any], ...] = ()
    """Of a response, its own input, as it is kept."""
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def thinks(self) -> bool:
        """Whether there is anything to think with."""
        return self.search != "direct" and self.budget.thinking >= SMALLEST_BLOCK

    def requests(self) -> list[Request]:
        """One for each choice; where the client names no seed, its id does."""
        seed = seed_for("serve", self.id) if self.seed is None else self.seed
        first = Request(self.messages, self.effort, self.temperature, self.top_p, seed, self.budget, self.search)
        return [first, *(replace(first, seed=seed_for(seed, "choice", i)) for i in range(1, self.choices))]

    def cut(self, done: Done) -> bool:
        """Whether tokens ran out: the answer's, or those for thinking, where the client gave their number.

        An effort names no number: how long it thinks is ours to say, and an answer at its end is what was asked for.
        Clients read `length` as a reply that is broken off (OpenAI's own raises an error where it parses JSON), so that
        at low efforts most of them would refuse most answers.
        """
        return done.completion.ended is Ended.CUT_OFF or (self.capped and done.forced)


async def chat_ask(body: ChatBody, settings: Settings, models: Models) -> Ask:
    """A chat completion's; raises Refusal where it cannot be answered."""
    ignored = _checked(body, settings, models)
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    for text in stop:
        whole_text(text, "stop")
    if "" in stop:
        raise invalid("An empty text in 'stop' would end every answer before it begins.", "stop")
    said = chat_said(body)
    form, top = form_of(body.response_format, "response_format"), body.top_logprobs or 0
    if top and not body.logprobs:
        raise invalid("'top_logprobs' needs 'logprobs': true.", "top_logprobs")
    how = await _how(body, models, said, body.max_completion_tokens or body.max_tokens)
    return Ask(
        **how,
        **_told(body, how["model"], form, (*ignored, *said.removed), top if body.logprobs else None),
        choices=body.n or 1,
        stop=stop,
        summaries=not (body.reasoning and body.reasoning.exclude),
    )


async def responses_ask(
    body: ResponsesBody, settings: Settings, models: Models, earlier: Sequence[Mapping[str, Any]] = ()
) -> Ask:
    """A response's, behind the items of those it goes on from; raises Refusal where it cannot be answered."""
    ignored = _checked(body, settings, models)
    for name in ("conversation", "prompt"):
        if (body.model_extra or {}).get(name):
            raise Refusal(
                400,
                f"Unsupported parameter: '{name}' is not supported by this server: go on from a response by "
                "'previous_response_id', or send the whole conversation as 'input'.",
                name,
                "unsupported_parameter",
            )
    if body.background and body.store is False:
        raise invalid("'background' needs 'store': nobody could ask for the response.", "background")
    wanted = body.reasoning.summary if body.reasoning else None
    if wanted not in (None, "auto", "concise", "detailed", "none"):
        raise invalid(f"'reasoning.summary' is {wanted!r}: use auto, concise, detailed or none.", "reasoning.summary")
    id_ = secrets.token_hex(16)
    said = response_said(body, id_, earlier)
    form = form_of(body.text.format if body.text else None, "text.format")
    top, wanted_too = body.top_logprobs or 0, set(body.include or ())
    how = await _how(body, models, said, body.max_output_tokens)
    return Ask(
        **how,
        **_told(body, how["model"], form, ignored, top if LOGPROBS in wanted_too else None),
        sealed=SEALED in wanted_too,
        summaries=wanted != "none" and not (body.reasoning and body.reasoning.exclude),
        raw=settings.expose_thoughts and RAW in (body.include or ()),
        tree=params.TREE in (body.include or ()),
        removed=said.removed,
        items=said.items,
        id=id_,
    )


def _told(body: Body, model: Model, form: Form | None, ignored: tuple[str, ...], likely: int | None) -> dict[str, Any]:
    """The fields of an Ask that say how its answer is told."""
    if likely is not None and (form or model.chances is None):
        names = {"logprobs", "top_logprobs", "include"} & body.model_fields_set
        return {"form": form, "ignored": tuple(sorted({*ignored, *names}))}
    return {"form": form, "ignored": ignored, "likely": likely}


def _checked(body: Body, settings: Settings, models: Models) -> tuple[str, ...]:
    """The parameters without effect, of a request for a model that there is."""
    models.check(body.model)
    names = params.ignored(body, raw=settings.expose_thoughts)
    if settings.strict:
        params.check_strictly(body, names)
        if isinstance(body, ResponsesBody) and RAW in (body.include or ()) and not settings.expose_thoughts:
            raise unsupported(f"include[{RAW}]")
    return names


# Who thinks, and for how long


async def _how(body: Body, models: Models, said: Said, most: int | None) -> dict[str, Any]:
    """The fields of an Ask that say so; `most` is the client's limit on everything."""
    wanted, tokens = _effort(body)
    model, effort = await models.choose(body.model, wanted, said.messages, _effort_name(body))
    if model.direct and effort is not Effort.NONE:
        raise invalid(
            f"Unsupported value: {model.name} was taught to answer without thinking, so its only effort is 'none'.",
            _effort_name(body),
            "unsupported_value",
        )
    search, budget, temperature = model.spent(effort, body.temperature)
    if tokens is not None:
        budget = replace(budget, thinking=min(tokens, model.budgets[Effort.MAX].thinking))
    smaller = budget if most is None else within(budget, most)
    return {
        "model": model,
        "messages": said.messages,
        "effort": effort,
        "budget": smaller,
        "capped": search != "direct" and (bool(tokens) or smaller.thinking < budget.thinking),
        "search": search,
        "temperature": temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "seed": body.seed,
    }


def _effort(body: Body) -> tuple[str | None, int | None]:
    """The effort that a request asks for, by whatever name, and its own number of thinking tokens."""
    reasoning = body.reasoning
    thinking, template = (body.thinking, body.chat_template_kwargs) if isinstance(body, ChatBody) else (None, None)
    off = (
        (reasoning is not None and reasoning.enabled is False)
        or (thinking is not None and thinking.type == "disabled")
        or (template is not None and template.enable_thinking is False)
    )
    named = body.reasoning_effort if isinstance(body, ChatBody) else None
    named = named if named is not None else reasoning.effort if reasoning else None
    tokens = reasoning.max_tokens if reasoning else None
    tokens = tokens if tokens is not None else thinking.budget_tokens if thinking else None
    if named == AUTO:
        return AUTO, tokens
    if named is not None:
        try:
            return effort_named(named), tokens
        except ConfigError as err:
            raise invalid(f"Invalid value: {err}.", _effort_name(body)) from None
    if off:
        return Effort.NONE, None
    return (None if tokens is None else smallest_effort(tokens)), tokens


def _effort_name(body: Body) -> str:
    return "reasoning_effort" if isinstance(body, ChatBody) and body.reasoning_effort else "reasoning.effort"
