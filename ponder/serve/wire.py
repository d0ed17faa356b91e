"""The bodies of requests, as the two APIs name their fields; what is not named here is kept, to be told as ignored."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=2**31)]
Text = Annotated[str, Field(max_length=512)]
STOPS, CHOICES, TURNS = 16, 16, 4096
"""Most stop texts, choices, and turns of one request."""


class Open(BaseModel):
    """Takes fields that it does not know."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class Part(Open):
    """One part of a message."""

    type: str
    text: str | None = None
    refusal: str | None = None


class Turn(Open):
    """One message of a chat."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None


class Item(Open):
    """One input item of a response: a message, or what an earlier reply held."""

    type: str = "message"
    id: str | None = None
    role: Literal["developer", "system", "user", "assistant"] | None = None
    content: str | list[Part] | None = None
    encrypted_content: str | None = None


class Reasoning(Open):
    """How to think; `max_tokens` and `enabled` are other servers' fields."""

    effort: str | None = None
    summary: str | None = None
    max_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = None
    enabled: bool | None = None
    exclude: bool | None = None
    """Whether to keep the summaries back, too."""


class Thinking(Open):
    """How to think, as other clients say it."""

    type: str
    budget_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = None


class Template(Open):
    """How to think, as other servers' templates call it."""

    enable_thinking: bool | None = None


class JsonSchema(Open):
    """A schema for answers."""

    name: Annotated[str, Field(max_length=64)] | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class Format(JsonSchema):
    """The form of an answer: chats have the schema in a field of its own, responses beside the type."""

    type: str = "text"
    json_schema: JsonSchema | None = None


class TextSettings(Open):
    """The form of a response's answer."""

    format: Format | None = None


class StreamOptions(Open):
    """What a stream carries."""

    include_usage: bool | None = None


class Body(Open):
    """What both APIs have."""

    model: Text
    reasoning: Reasoning | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream_options: StreamOptions | None = None
    metadata: Annotated[dict[Annotated[str, Field(max_length=64)], Text], Field(max_length=16)] | None = None


class ChatBody(Body):
    """The body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=TURNS)]
    reasoning_effort: str | None = None
    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    n: Annotated[int, Field(ge=1, le=CHOICES)] | None = None
    logprobs: bool | None = None
    stop: str | Annotated[list[str], Field(max_length=STOPS)] | None = None
    thinking: Thinking | None = None
    chat_template_kwargs: Template | None = None
    response_format: Format | None = None


class ResponsesBody(Body):
    """The body of ``POST /v1/responses``."""

    input: str | Annotated[list[Item], Field(min_length=1, max_length=TURNS)]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    text: TextSettings | None = None
    include: Annotated[list[str], Field(max_length=16)] | None = None
    previous_response_id: Annotated[str, Field(max_length=64)] | None = None
    store: bool | None = None
    background: bool | None = None


class Told(BaseModel):
    """What an error says."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """Every reply with a status of 400 and above."""

    error: Told
