"""What is counted for operators, in Prometheus' form."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ponder.serve.worker import Done, Event, Folded

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Meter:
    """One server's numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ponder_requests", "Replies, by path and status.", ("path", "status"), registry=self.registry
        )
        self._tokens = Counter("ponder_tokens", "Tokens, by what they were.", ("kind",), registry=self.registry)
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
        self.thinking = Gauge("ponder_thinking", "Requests that are thought about now.", registry=self.registry)

    def replied(self, path: str, status: int, seconds: float) -> None:
        """A request is over."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    async def watch(self, events: AsyncGenerator[tuple[int, Event]]) -> AsyncGenerator[tuple[int, Event]]:
        """The same events, counted; closes them."""
        start, shown, prompts = time.monotonic(), False, 0
        async with aclosing(events):
            async for number, event in events:
                if isinstance(event, Folded) and not shown:
                    shown = True
                    self._summary.observe(time.monotonic() - start)
                if isinstance(event, Done):
                    tokens = event.completion.tokens
                    prompts += 1
                    counts = {"prompt": tokens.prompt if prompts == 1 else 0, "thinking": tokens.thinking}
                    counts |= {"answer": tokens.answer, "discarded": tokens.discarded}
                    for kind, count in counts.items():
                        self._tokens.labels(kind).inc(count)
                yield number, event

    def text(self) -> bytes:
        """All numbers, as Prometheus reads them."""
        return generate_latest(self.registry)
