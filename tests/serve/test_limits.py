"""What each key may use."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from ponder.serve.keys import Keys
from ponder.serve.limits import Limits, Quota
from ponder.serve.refusal import Refusal

if TYPE_CHECKING:
    from ponder.types import Tokens
    from tests.serve.conftest import Live, Serve, Stepped

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
KEYS = Keys(tuple(hashlib.sha256(key).digest() for key in (b"ann", b"bob")))
ANN, BOB = ({"authorization": f"Bearer {name}"} for name in ("ann", "bob"))
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "2+2?"}],
    "input": "what is the sum of both",
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_buckets_fill_evenly_and_say_when_to_come_again() -> None:
    clock = Clock()
    limits = Limits(Quota(requests=2, tokens=600), clock)
    for _ in range(2):
        limits.enter("ann")
        limits.leave("ann")
    with pytest.raises(Refusal) as refused:
        limits.enter("ann")
    assert (refused.value.status, refused.value.retry_after, refused.value.limit) == (429, 30, "requests")
    limits.enter("bob")
    clock.now = 29.9
    with pytest.raises(Refusal):
        limits.enter("ann")
    clock.now = 30.1
    limits.enter("ann")
    limits.spend("ann", 1000)  # known only afterwards
    clock.now = 60.5
    with pytest.raises(Refusal, match="600 tokens a minute") as refused:
        limits.enter("ann")
    clock.now += refused.value.retry_after or 0
    limits.enter("ann")
    told = limits.headers("ann")
    assert told["x-ratelimit-limit-tokens"] == "600" and float(told["x-ratelimit-reset-tokens"][:-1]) > 50


def test_keys_are_limited_apart(serve: Serve) -> None:
    served = serve(keys=KEYS, quota=Quota(requests=2, tokens=100_000))
    for left in (1, 0):
        reply = served.ask(CHAT, BODY, headers=ANN)
        assert reply.status_code == 200 and reply.headers["x-ratelimit-remaining-requests"] == str(left)
        assert reply.headers["x-ratelimit-limit-tokens"] == "100000"
    reply = served.ask(RESPONSES, BODY, headers=ANN)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 25 <= int(reply.headers["retry-after"]) <= 30 and reply.headers["x-ratelimit-remaining-requests"] == "0"
    assert served.ask(CHAT, BODY, headers=BOB).status_code == 200
    assert served.get("/v1/models", headers=ANN).status_code == 200, "only thinking is limited"
    assert 'ponder_limited_total{limit="requests"} 1.0' in served.get("/metrics", headers=ANN).text


def test_tokens_are_counted_as_they_are_used(serve: Serve) -> None:
    served = serve(quota=Quota(tokens=1000))
    usage = served.chat().json()["usage"]["total_tokens"]
    assert 100 < usage < 1000
    left = int(served.chat().headers["x-ratelimit-remaining-tokens"])
    assert 1000 - usage - 1 <= left <= 1000 - usage + 20  # told as it began
    while (reply := served.chat()).status_code == 200:
        pass
    assert reply.status_code == 429 and "tokens a minute" in reply.json()["error"]["message"]
    assert 1 <= int(reply.headers["retry-after"]) <= 60


def test_one_key_has_so_many_requests_at_once(serve: Serve, stepped: Stepped, live: Live) -> None:
    client = live(serve(keys=KEYS, quota=Quota(at_once=1), sampler=stepped))
    id_ = client.post(RESPONSES, json=BODY | {"background": True}, headers=ANN).json()["id"]
    reply = client.post(CHAT, json=BODY, headers=ANN)
    assert reply.status_code == 429 and "at once" in reply.json()["error"]["message"]
    assert reply.headers["retry-after"] == "1"
    client.post(f"{RESPONSES}/{id_}/cancel", headers=ANN)
    stepped.go(3)
    assert client.post(CHAT, json=BODY, headers=ANN).status_code == 200


def test_who_leaves_has_paid_for_what_was_used(serve: Serve, stepped: Stepped) -> None:
    served = serve(quota=Quota(tokens=1000), sampler=stepped)
    stepped.go(1)

    async def main() -> None:
        from ponder.serve.gate import Gate

        assert isinstance(served.app, Gate)
        events = served.worker.events  # the first block is written, then the client leaves
        heard: list[Tokens] = []
        from ponder.think import Request
        from ponder.types import Message

        told = events([Request((Message("user", "2+2?"),))], spend=heard.append)
        async for _, event in told:
            if type(event).__name__ == "Folded":
                break
        await told.aclose()
        assert len(heard) == 1 and heard[0].prompt > 0 and heard[0].thinking > 60

    asyncio.run(main())
