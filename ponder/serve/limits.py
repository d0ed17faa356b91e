"""What each key may use: requests and tokens a minute, and requests at once.

A bucket of a minute's worth fills evenly and is emptied by what was really used. Tokens are known only afterwards, so a
request may empty it below nothing; the next one then waits.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ponder.serve.refusal import Refusal

OWNERS = 10_000
"""Keys whose buckets are remembered; whoever has not asked for longest begins with a full one again."""


@dataclass(frozen=True)
class Quota:
    """One key's; None for no limit."""

    requests: int | None = None
    """A minute."""
    tokens: int | None = None
    """A minute, read and written."""
    at_once: int | None = None


@dataclass
class _Bucket:
    """What is left of a minute's worth."""

    size: int
    left: float
    filled: float

    def fill(self, now: float) -> None:
        self.left = min(self.size, self.left + (now - self.filled) * self.size / 60)
        self.filled = now

    def wait(self, wanted: float) -> float:
        """Seconds until there is so much."""
        return max(0.0, (wanted - self.left) * 60 / self.size)

    def headers(self, kind: str) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{kind}": str(self.size),
            f"x-ratelimit-remaining-{kind}": str(max(0, math.floor(self.left))),
            f"x-ratelimit-reset-{kind}": f"{self.wait(self.size):.3f}s",
        }


@dataclass
class _Account:
    requests: _Bucket | None
    tokens: _Bucket | None
    open: int = 0


@dataclass(eq=False)
class Limits:
    """All keys' accounts."""

    quota: Quota
    clock: Callable[[], float] = time.monotonic
    _accounts: dict[str, _Account] = field(default_factory=dict[str, _Account])

    def enter(self, owner: str) -> None:
        """One more request begins; raises a Refusal that says what is used up and when to come again."""
        account, quota = self._account(owner), self.quota
        if quota.at_once is not None and account.open >= quota.at_once:
            raise _used_up(f"{quota.at_once} requests at once", "concurrency", 1.0)
        if account.requests and (wait := account.requests.wait(1)):
            raise _used_up(f"{quota.requests} requests a minute", "requests", wait)
        if account.tokens and (wait := account.tokens.wait(1)):
            raise _used_up(f"{quota.tokens} tokens a minute", "tokens", wait)
        if account.requests:
            account.requests.left -= 1
        account.open += 1

    def leave(self, owner: str) -> None:
        """It has ended."""
        self._account(owner).open -= 1

    def spend(self, owner: str, tokens: int) -> None:
        """So many tokens were read or written for it."""
        if bucket := self._account(owner).tokens:
            bucket.left -= tokens

    def headers(self, owner: str) -> dict[str, str]:
        """What is left, in OpenAI's words."""
        account = self._account(owner)
        told = account.requests.headers("requests") if account.requests else {}
        return told | (account.tokens.headers("tokens") if account.tokens else {})

    def _account(self, owner: str) -> _Account:
        now, account = self.clock(), self._accounts.pop(owner, None)
        if account is None:
            requests, tokens = self.quota.requests, self.quota.tokens
            account = _Account(
                requests=None if requests is None else _Bucket(requests, requests, now),
                tokens=None if tokens is None else _Bucket(tokens, tokens, now),
            )
        self._accounts[owner] = account  # the last one is who asked last
        for bucket in (account.requests, account.tokens):
            if bucket:
                bucket.fill(now)
        if len(self._accounts) > OWNERS and (oldest := next(iter(self._accounts))) and not self._accounts[oldest].open:
            del self._accounts[oldest]
        return account


def _used_up(what: str, limit: str, wait: float) -> Refusal:
    return Refusal(
        429,
        f"Rate limit reached for this key: {what}. Try again in {math.ceil(wait)} s.",
        code="rate_limit_exceeded",
        retry_after=max(1, math.ceil(wait)),
        limit=limit,
    )
