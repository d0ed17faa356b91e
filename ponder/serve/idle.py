"""Connections that nothing is asked on: whoever sends half a request, or none, does not hold one for ever.

uvicorn waits for the next request on a connection for so long, but for the rest of one without end, and it waits as
long for a client to take what was sent before the connection was to be closed.
"""

import asyncio
import time
from typing import Any, NamedTuple

import uvicorn

LOOK_SECONDS = 1.0


class _State(NamedTuple):
    """What a connection has been doing since."""

    cycle: Any
    """The request that was answered last; None before the first one."""
    closing: bool
    since: float


async def close_idle(server: uvicorn.Server, seconds: float) -> None:
    """Close the connections on which no request has been whole for so long; drop those that do not end."""
    states: dict[Any, _State] = {}
    while True:
        now, before, states = time.monotonic(), states, {}
        connections: set[Any] = set(server.server_state.connections)
        for one in connections:
            cycle, closing = getattr(one, "cycle", None), bool(one.transport.is_closing())
            answering = cycle is not None and not cycle.response_complete
            if not closing and (answering or one.transport.get_write_buffer_size()):
                continue
            state = before.get(one)
            if state is None or state.cycle is not cycle or state.closing is not closing:
                state = _State(cycle, closing, now)
            states[one] = state
            if now - state.since >= seconds:
                (one.transport.abort if closing else one.transport.close)()
        await asyncio.sleep(min(LOOK_SECONDS, seconds / 4))
