"""What is counted for operators, in Prometheus' form."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ponder.serve.ask import Ask
from ponder.serve.events import Done, Event, Folded, Told
from ponder.serve.settings import Price
from ponder.serve.usage import dollars, total
from ponder.types import Tokens

NOTHING = Tokens()
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(eq=False)
class Used:
    """The tokens of one request so far, for whoever counts them if it never comes to its end."""

    tokens: Tokens = NOTHING
    late: Callable[[Tokens], None] | None = None
    """Told of those that come when the rest has been counted: a thread's last word arrives after it was stopped."""

    def add(self, tokens: Tokens) -> None:
        """So many more."""
        if self.late:
            self.late(tokens)
        self.tokens += tokens


class Meter:
    """One server's numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ponder_requests", "Replies, by path and status.", ("path", "status"), registry=self.registry
        )
        self._tokens = Counter("ponder_tokens", "Tokens, by what they were.", ("model", "kind"), registry=self.registry)
        self._seconds = Histogram(
            "ponder_request_seconds",
            "From request to end of reply.",
            ("path",),
            registry=self.registry,
            buckets=SECONDS,
        )
        self._summary = Histogram(
            "ponder_first_summary_seconds", "From request to first summary.", registry=self.registry, buckets=SECONDS
        )
        self._answer = Histogram(
            "ponder_first_answer_seconds",
            "From request to first text of the answer.",
            registry=self.registry,
            buckets=SECONDS,
        )
        self._ended = Counter(
            "ponder_thoughts", "Thoughts, by how they ended.", ("model", "ended"), registry=self.registry
        )
        self._efforts = Counter(
            "ponder_efforts", "Requests, by who answered.", ("model", "effort"), registry=self.registry
        )
        self._dollars = Counter(
            "ponder_cost_dollars", "What requests cost, by the price table.", ("model",), registry=self.registry
        )
        self.limited = Counter(
            "ponder_limited",
            "Requests refused for the time being, by what was used up.",
            ("limit",),
            registry=self.registry,
        )
        self.restarts = Counter(
            "ponder_engine_restarts", "Engines that were stuck or had crashed.", ("model",), registry=self.registry
        )
        self.thinking = Gauge("ponder_thinking", "Requests that are thought about now.", registry=self.registry)

    def replied(self, path: str, status: int, seconds: float) -> None:
        """A request is over."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    async def watch(
        self, ask: Ask, events: AsyncGenerator[tuple[int, Event]], used: Used
    ) -> AsyncGenerator[tuple[int, Event]]:
        """The same events, counted; closes them. Of what broke off, the tokens are those that were `used`."""
        name, start, dones = ask.model.name, time.monotonic(), list[Done]()
        shown, spoken, how = False, False, "failed"
        self._efforts.labels(name, ask.effort).inc()
        try:
            async with aclosing(events):
                async for number, event in events:
                    if isinstance(event, Folded) and not shown:
                        shown = True
                        self._summary.observe(time.monotonic() - start)
                    if isinstance(event, Told) and event.text and not spoken:
                        spoken = True
                        self._answer.observe(time.monotonic() - start)
                    if isinstance(event, Done):
                        dones.append(event)
                        self._ended.labels(name, str(event.completion.ended)).inc()
                    yield number, event
        except (GeneratorExit, asyncio.CancelledError):
            how = "cancelled"
            raise
        finally:
            if len(dones) < ask.choices:
                self._ended.labels(name, how).inc()
                used.late = partial(self._spent, name, ask.model.price)
                used.late(used.tokens)
            elif dones:
                self._spent(name, ask.model.price, total(dones))

    def _spent(self, name: str, price: Price | None, tokens: Tokens) -> None:
        counts = {"prompt": tokens.prompt, "cached": tokens.cached, "thinking": tokens.thinking}
        for kind, count in (counts | {"answer": tokens.answer, "discarded": tokens.discarded}).items():
            self._tokens.labels(name, kind).inc(count)
        if price:
            self._dollars.labels(name).inc(float(dollars(tokens, price)))

    def text(self) -> bytes:
        """All numbers, as Prometheus reads them."""
        return generate_latest(self.registry)
