"""Two threads on one pass: what few rows wait for is weights that come from memory, and two cores fetch twice as fast.

The thread that was asked for the pass never waits for the other to begin. It offers each of the pass's turns (a layer,
or the logits) to a helper that is there by then, and computes alone what nobody shares; so a helper that starts late,
or never, costs nothing. Within a shared turn the two meet before either reads what the other has written. Whoever waits
looks again and again, which is what such short waits allow, and lets other threads have the core now and then. A helper
stays for the next pass if it comes soon: waking a thread takes a tenth of a pass.

Where other programs want the cores, one of the two may lose its core in the middle of a turn, and the other waits for a
thousand times as long as a turn takes. That is counted, and whoever asks for passes then goes alone for a while.
"""

import sys
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ponder.engine.native.compiling import INTEGER, NOTHING, emitted, kernel
from ponder.engine.native.products import ROWS
from ponder.engine.native.vectors import I32, I64, at

ALONE, FIRST, SECOND = range(3)
"""Who computes a turn: one thread, or which of two."""
PLACES = 6
STATE, TURN, STEP, START, MET, STALLS = range(PLACES)
"""Of what two threads share, each on a line of memory of its own: what the helper is at; how many turns were offered,
and of the last one the layer and its first lane; how often somebody came to a meeting; how often the first one has
waited there for long."""
APART = 8
"""Numbers from one of them to the next."""
GONE = -1
"""In place of the turns: the helper is sent away, for it would spin on the core that the next one needs."""
AWAY, THERE, TAKEN = range(3)
"""A helper has not come or has gone; waits; has a turn."""
PATIENCE = 20_000
"""Looks until another thread may have the core: some 10 microseconds."""
LONG = 10 * PATIENCE
"""Looks that no meeting takes where both threads have a core."""
STAY = 40 * PATIENCE
"""Looks until a helper goes: what a step does between two passes takes less."""


def _pointer(b: Any, shared: Any, place: Any) -> Any:
    return b.gep(b.inttoptr(shared, I64.as_pointer()), [b.mul(place, at(APART))])


@emitted(INTEGER, INTEGER, INTEGER)
def look(b: Any, shared: Any, place: Any) -> Any:
    """What stands there; what was written before it was told can be read from then on."""
    return b.load_atomic(_pointer(b, shared, place), "acquire", 8)


@emitted(NOTHING, INTEGER, INTEGER, INTEGER)
def tell(b: Any, shared: Any, place: Any, value: Any) -> None:
    """Write there, after all that was written before."""
    b.store_atomic(value, _pointer(b, shared, place), "release", 8)


@emitted(INTEGER, INTEGER, INTEGER)
def more(b: Any, shared: Any, place: Any) -> Any:
    """Add one there; returns what it comes to."""
    return b.add(b.atomic_rmw("add", _pointer(b, shared, place), at(1), "acq_rel"), at(1))


@emitted(INTEGER, INTEGER, INTEGER, INTEGER, INTEGER)
def swap(b: Any, shared: Any, place: Any, old: Any, new: Any) -> Any:
    """Put the new in the place of the old; 1 where the old stood there, 0 where something else stands."""
    done = b.cmpxchg(_pointer(b, shared, place), old, new, "acq_rel", "acquire")
    return b.zext(b.extract_value(done, 1), I64)


@emitted(NOTHING)
def breathe(b: Any) -> None:
    """Let another thread have the core."""
    if sys.platform != "win32":
        b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(I32, []), "sched_yield"), [])


@kernel
def meet(shared: int, side: int) -> None:
    """Wait for the other one, where there is one."""
    if side != ALONE:
        count = more(shared, MET)
        wanted, looks = count + count % 2, 0
        while look(shared, MET) < wanted:
            looks += 1
            if looks % PATIENCE == 0:
                breathe()
                if looks == LONG and side == FIRST:
                    more(shared, STALLS)


@kernel
def part_again(shared: int, side: int) -> None:
    """The last meeting of a turn, after which the next one may be offered."""
    if side == SECOND:
        tell(shared, STATE, THERE)
    meet(shared, side)


@kernel
def offer(shared: int, step: int, start: int) -> int:
    """Offer a turn to a helper that is there; who computes it."""
    if shared == 0 or not swap(shared, STATE, THERE, TAKEN):
        return ALONE
    tell(shared, STEP, step)
    tell(shared, START, start)
    more(shared, TURN)
    return FIRST


@kernel
def wait(shared: int, turns: int) -> bool:
    """A helper that knows of so many turns waits for the next one; False where it is sent away, or none comes for
    long, and it goes."""
    looks = 0
    while look(shared, TURN) == turns:
        looks += 1
        if looks % PATIENCE == 0:
            breathe()
            if looks >= STAY and swap(shared, STATE, THERE, AWAY):
                return False
    return look(shared, TURN) != GONE


@kernel
def first_of(rows: int, side: int) -> int:
    """The first of so many rows of a product that this side computes."""
    return (rows // ROWS + 1) // 2 * ROWS if side == SECOND else 0


@kernel
def last_of(rows: int, side: int) -> int:
    """The row behind the last one that this side computes."""
    return (rows // ROWS + 1) // 2 * ROWS if side == FIRST else rows
