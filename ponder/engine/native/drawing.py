"""Drawing the rows' next tokens, and moving them on: what `sampling.draw` and `rows.Rows` do, row by row.

A row without a free choice, or that takes the likeliest, costs a look at its logits; only where unlikely tokens are
cut are they sorted.
"""

import math
from typing import Any

import numpy as np

from ponder.engine.native.compiling import LANES, entry, kernel
from ponder.engine.native.products import FLOAT
from ponder.engine.native.vectors import (
    block_total,
    double_exponentials,
    exponentials,
    get,
    get_whole,
    put,
    put_whole,
)

STATE = 15
(PLACE, LEFT, ANSWER_LIMIT, SEED, DRAWN, TEMPERATURE, TOP_P, TOP_K, MIN_P, WRITTEN, LOGPROBS, LOGITS, ALLOWED, LEADS,
 CLOSING) = range(STATE)  # fmt: skip
"""Addresses of what rows are at, of their logits, and of the grammar's tables."""
BETWEEN, ANSWER, SUMMARY, DONE, PLACES, ROOM = range(6)
"""The numbers of the places that matter here, how many places there are, and for how many tokens a row's record has
room."""
_GOLDEN, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@kernel
def uniform(seed: int, counter: int) -> float:
    """See `sampling.uniforms`."""
    x = np.uint64(seed) + np.uint64(counter + 1) * _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    x = x ^ (x >> np.uint64(31))
    return (np.float64(x >> np.uint64(11)) + 0.5) * 2.0**-53


@kernel
def _cut(chances: Any, total: float, top_p: float, top_k: int, min_p: float) -> None:
    """See `sampling._cut`."""
    chances /= total
    order = np.argsort(-chances, kind="mergesort")
    most, before = chances[order[0]], 0.0
    for rank in range(len(order)):
        chance = chances[order[rank]]
        before += chance
        gone = (top_p < 1 and before - chance >= top_p) or (0 < top_k <= rank) or chance < min_p * most
        if gone and rank > 0:
            chances[order[rank]] = 0.0


@kernel
def _chosen(chances: Any, address: int, vocabulary: int, share: float) -> int:
    """The first token at which so large a share of all chances is reached: blocks first, then within one."""
    whole = 0.0
    for start in range(0, len(chances), LANES):
        whole += block_total(address, start)
    target, before, begin = share * whole, 0.0, 0
    while begin + LANES < len(chances):
        more = block_total(address, begin)
        if before + more >= target:
            break
        before += more
        begin += LANES
    found = begin
    for token in range(begin, min(begin + LANES, vocabulary)):
        if chances[token] > 0.0:
            found = token
            before += chances[token]
            if before >= target:
                break
    return found


@kernel
def _draw(row: int, state: Any, marks: Any, vocabulary: int, masked: Any, chances: Any, at: int, double_at: int) -> int:
    """A row's next token, written down with its log-probability among the allowed ones."""
    place, drawn = get_whole(state[PLACE], row), get_whole(state[DRAWN], row)
    last = get_whole(state[LEFT], row) <= get_whole(state[CLOSING], place)
    allowed = state[ALLOWED] + FLOAT * vocabulary * (place + marks[PLACES] * last)
    logits, best, most = state[LOGITS] + FLOAT * vocabulary * row, 0, np.float32(-math.inf)
    masked[vocabulary:] = -math.inf
    for one in range(vocabulary):
        value = get(logits, one) + get(allowed, one)
        masked[one] = value
        if value > most:
            best, most = one, value
    token, temperature, total = best, get(state[TEMPERATURE], row), 0.0
    if temperature > 0:
        heat = np.float64(max(temperature, np.float32(1e-6)))
        for one in range(len(masked)):
            chances[one] = masked[one]
        if heat != 1:
            chances /= heat
        total = double_exponentials(double_at, len(chances))
        top_p, top_k, min_p = get(state[TOP_P], row), get_whole(state[TOP_K], row), get(state[MIN_P], row)
        if top_p < 1 or top_k > 0 or min_p > 0:
            _cut(chances, total, top_p, top_k, min_p)
        token = _chosen(chances, double_at, vocabulary, uniform(get_whole(state[SEED], row), drawn))
    value = masked[token]
    if temperature != 1:  # otherwise the sum is known
        total = np.float64(exponentials(at, len(masked)))
    chance = value - most - math.log(total)
    put_whole(state[WRITTEN], row * marks[ROOM] + drawn, token)
    put(state[LOGPROBS], row * marks[ROOM] + drawn, chance)
    return token


@kernel
def _advance(row: int, token: int, state: Any, marks: Any, vocabulary: int) -> bool:
    """Moves a row on by its token; whether it closed a block, answered, or has no tokens left."""
    before = get_whole(state[PLACE], row)
    place = get_whole(state[LEADS], vocabulary * before + token)
    begun = before == marks[BETWEEN] and place == marks[ANSWER]
    left = (get_whole(state[ANSWER_LIMIT], row) if begun else get_whole(state[LEFT], row)) - 1
    closed = place == marks[BETWEEN] and before == marks[SUMMARY]
    over = closed or place == marks[DONE] or left <= 0
    put_whole(state[PLACE], row, marks[ANSWER] if over else place)
    put_whole(state[LEFT], row, left)
    put_whole(state[DRAWN], row, get_whole(state[DRAWN], row) + 1)
    return over


@entry
def step(rows: Any, state: Any, marks: Any, vocabulary: int, masked: Any, chances: Any, at: int, double_at: int,
         tokens: Any, over: Any) -> int:  # fmt: skip
    """One token for each of these rows into `tokens` (S,); the rows that are over into `over`, how many is returned.

    `masked` and `chances` are room for a row of the vocabulary, at these addresses, of single and double precision.
    """
    count = 0
    for row in rows:
        token = _draw(row, state, marks, vocabulary, masked, chances, at, double_at)
        tokens[row] = token
        if _advance(row, token, state, marks, vocabulary):
            over[count] = row
            count += 1
    return count
