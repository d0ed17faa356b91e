"""A reply that says no, in the shape that every OpenAI client reads."""

import logging
from dataclasses import dataclass
from typing import Any

from ponder.errors import ConfigError, ContextError, PonderError, ProblemError, UpstreamError

log = logging.getLogger("ponder.serve")


@dataclass(eq=False)
class Refusal(Exception):
    """Raised anywhere below the API; `status` is HTTP's, `code` and `param` are OpenAI's."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None
    """Seconds after which the same request may be sent again."""
    limit: str = ""
    """What was used up, for the numbers."""

    @property
    def type(self) -> str:
        """OpenAI's word for the kind of error."""
        if self.status >= 500:
            return "server_error"
        return "requests" if self.status == 429 else "invalid_request_error"

    @property
    def headers(self) -> dict[str, str]:
        """What goes with it."""
        retry = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        return retry | ({"www-authenticate": "Bearer"} if self.status == 401 else {})

    def to_json(self) -> dict[str, Any]:
        """The whole body."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, code: str | None = "invalid_value") -> Refusal:
    """A 400."""
    return Refusal(400, message, param, code)


def unsupported(param: str) -> Refusal:
    """A parameter that cannot be honoured, in o1's own words."""
    return invalid(
        f"Unsupported parameter: '{param}' is not supported with this model.", param, "unsupported_parameter"
    )


def refusal_of(error: Exception) -> Refusal:
    """What a client is told of an error; one of our own making is logged, and its text stays here."""
    match error:
        case Refusal():
            return error
        case ContextError():
            told = f"This model's maximum context length is exceeded: {error}"  # LiteLLM knows it by these words
            return invalid(told, code="context_length_exceeded")
        case ProblemError() | ConfigError():
            return invalid(str(error))
        case UpstreamError():
            log.error("the server upstream failed: %s", error)
            message = "The upstream server that this model runs on could not be reached, or failed: ask again later."
            return Refusal(502, message, code="upstream_error")
        case PonderError():
            log.error("the model could not answer: %s", error)  # it may name machines that clients need not know
            return Refusal(500, "The model could not answer; the server's log says why.", code="model_error")
        case _:
            log.exception("a request failed", exc_info=error)
            return Refusal(500, "The server failed; its log has more under this request's id.", code="internal_error")
