"""What a request cost: tokens by their ids, in each API's words, and dollars by the operator's prices.

Every token that was generated is counted, those of discarded branches too, because they were computed. A prompt is
counted once, whatever number of contexts it stood in; what the engine knew of it from other requests is told as cached.
"""

from collections.abc import Sequence
from typing import Any

from ponder.serve.events import Done
from ponder.serve.settings import Price
from ponder.types import Tokens


def total(dones: Sequence[Done]) -> Tokens:
    """The counts of all choices, with their common prompt once; `cached` is of that alone."""
    counts = [done.completion.tokens for done in dones]
    return Tokens(
        prompt=counts[0].prompt,
        thinking=sum(one.thinking for one in counts),
        answer=sum(one.answer for one in counts),
        discarded=sum(one.discarded for one in counts),
        cached=min(done.cached for done in dones),
    )


def dollars(tokens: Tokens, price: Price) -> str:
    """The cost, to the millionth."""
    cached = price.read if price.cached is None else price.cached
    read = (tokens.prompt - tokens.cached) * price.read + tokens.cached * cached
    return f"{(read + tokens.generated * price.written) / 1e6:.6f}"


def chat_usage(tokens: Tokens, price: Price | None) -> dict[str, Any]:
    """As chat completions tell it."""
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.generated,
        "total_tokens": tokens.prompt + tokens.generated,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.thinking + tokens.discarded,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    } | _cost(tokens, price)


def responses_usage(tokens: Tokens, price: Price | None) -> dict[str, Any]:
    """As responses tell it."""
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.generated,
        "output_tokens_details": {"reasoning_tokens": tokens.thinking + tokens.discarded},
        "total_tokens": tokens.prompt + tokens.generated,
    } | _cost(tokens, price)


def _cost(tokens: Tokens, price: Price | None) -> dict[str, Any]:
    return {"x_ponder_cost": dollars(tokens, price)} if price else {}
