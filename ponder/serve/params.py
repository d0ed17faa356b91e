"""Parameters that a request gives: which are honoured, which have no effect here, and what `--strict` says of those."""

from collections.abc import Mapping
from typing import Any

from ponder.serve.refusal import Refusal, invalid, unsupported
from ponder.serve.wire import Body, ChatBody, ResponsesBody

_BOTH = {"model", "reasoning", "temperature", "top_p", "seed", "stream", "stream_options"}
HONOURED: Mapping[type[Body], set[str]] = {
    ChatBody: _BOTH
    | {"messages", "reasoning_effort", "max_completion_tokens", "max_tokens", "n", "stop", "thinking"}
    | {"chat_template_kwargs", "logprobs", "top_logprobs", "response_format"},
    ResponsesBody: _BOTH
    | {"input", "instructions", "max_output_tokens", "metadata", "previous_response_id", "store", "background"}
    | {"top_logprobs"},
}
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("auto", "none"),
    "parallel_tool_calls": (True, False),
    "service_tier": ("auto", "default"),
    "truncation": ("disabled",),
    "store": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "include": ([],),
    "reasoning.context": ("auto", "current_turn"),
    "reasoning.mode": ("standard",),
}
"""Values that ask for what is done anyway."""
_TAGS = ("metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier")
HARMLESS = frozenset({*_TAGS, "store", "include", "truncation"})
"""What o1 took, too, and what changes no answer: not even `--strict` refuses it."""
DEFAULTS: Mapping[str, float] = {"temperature": 1, "top_p": 1, "n": 1, "frequency_penalty": 0, "presence_penalty": 0}
"""What o1 took in no other value."""
RAW = "reasoning.content"
"""In `include`: asks for raw thoughts."""
TREE = "ponder.tree"
"""In `include`: asks for the search's tree, live and at the end."""
SEALED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
REFUSED = ("logprobs", "top_logprobs")
"""What o1 refused, and we do."""


def ignored(body: Body, *, raw: bool) -> tuple[str, ...]:
    """The names of the parameters that have no effect; `raw` says whether raw thoughts may be shown."""
    given = {name: getattr(body, name) for name in body.model_fields_set} | (body.model_extra or {})
    if body.reasoning:
        given |= {f"reasoning.{name}": value for name, value in (body.reasoning.model_extra or {}).items()}
    found = {name for name, value in given.items() if value is not None and value not in NEUTRAL.get(name, ())}
    found -= HONOURED[type(body)]
    if isinstance(body, ResponsesBody):
        more = {**((body.text.model_extra or {}) if body.text else {})}
        found -= {"text"} if all(value in NEUTRAL.get(name, ()) for name, value in more.items()) else set()
        done = {SEALED, LOGPROBS, TREE, *([RAW] if raw else [])}
        found -= {"include"} if set(body.include or ()) <= done else set()
    return tuple(sorted(found))


def check_strictly(body: Body, names: tuple[str, ...]) -> None:
    """Refuse what o1 refused, in its words."""
    given = {name: getattr(body, name) for name in body.model_fields_set} | (body.model_extra or {})
    if given.get("max_tokens") is not None:
        error = unsupported("max_tokens")
        raise Refusal(400, error.message + " Use 'max_completion_tokens' instead.", error.param, error.code)
    for name, default in DEFAULTS.items():
        if (value := given.get(name)) is not None and value != default:
            raise invalid(
                f"Unsupported value: '{name}' does not support {_short(value)} with this model. "
                f"Only the default ({default:g}) value is supported.",
                name,
                "unsupported_value",
            )
    for name in (*names, *(name for name in REFUSED if given.get(name))):
        if name not in HARMLESS:
            raise unsupported(name)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:40]
