"""A pass through the network: any number of new tokens, each behind the keys and values of its own row.

Decoding is a pass of one token a row, reading a context one of all its new tokens in their order. A lane is one token;
a few of them at a time go through all layers, so that what is in work stays in the processor's cache.
"""

import math
from typing import Any

from ponder.engine.native.compiling import LANES, entry, kernel
from ponder.engine.native.pair import (
    GONE,
    SECOND,
    START,
    STATE,
    STEP,
    THERE,
    TURN,
    first_of,
    last_of,
    look,
    meet,
    offer,
    part_again,
    tell,
    wait,
)
from ponder.engine.native.products import FLOAT, fill, multiply, place
from ponder.engine.native.vectors import HALF, exponentials, gate, get, norm, put, rotate, scores, weighed

CHUNK = 128
"""Lanes that go through all layers together."""
SLICE = 1024
"""Rows of the vocabulary whose logits are in work at once."""
SLACK = LANES + HALF
"""Numbers that scores may take beyond the tokens of a row."""
COLUMNS = 14
(TOKEN, POSITION, KEYS, VALUES, OWN, LAYER, HEAD, THEIR_KEYS, THEIR_VALUES, BEHIND, THEIR_LAYER, THEIR_HEAD, LOGITS,
 HIDDEN) = range(COLUMNS)  # fmt: skip
"""Of a lane: its token and position; where its row's own keys and values stand, how many tokens of it come before, and
the bytes from one layer and one head to the next; the same of the prompt that it shares; where its logits and what the
trunk ends with are to be written, or 0."""
PARTS = 9
IN_NORM, QKV, QKV_BIAS, Q_NORM, K_NORM, OUT, POST_NORM, GATE_UP, DOWN = range(PARTS)
"""Addresses of a layer's weights; 0 for what an architecture does not have."""
_PAIR_SCORES, _ONE_SCORES = scores(2), scores(1)
_PAIR, _ONE = weighed(2, 4 * HALF), weighed(1, 4 * HALF)
_NARROW_PAIR, _NARROW = weighed(2, HALF), weighed(1, HALF)


def scratch_size(hidden: int, heads: int, kv_heads: int, dim: int, inner: int) -> int:
    """Numbers that a pass works with, apart from scores."""
    return CHUNK * (2 * hidden + (2 * heads + 2 * kv_heads + 1) * dim + 3 * inner + SLICE) + 2 * heads * dim


@kernel
def _gather(weights: int, apart: int, queries: int, values: int, dim: int, outputs: int, count: int, ahead: int):
    """Adds values times weights, for the queries of one key head."""
    query = 0
    while query < queries:
        pair = query + 1 < queries
        w, out, part = weights + FLOAT * apart * query, outputs + FLOAT * dim * query, 0
        while part < dim:
            wide = part + 4 * HALF <= dim
            v, o = values + FLOAT * part, out + FLOAT * part
            if pair and wide:
                _PAIR(w, apart, v, dim, o, count, ahead + FLOAT * part)
            elif pair:
                _NARROW_PAIR(w, apart, v, dim, o, count, ahead + FLOAT * part)
            elif wide:
                _ONE(w, apart, v, dim, o, count, ahead + FLOAT * part)
            else:
                _NARROW(w, apart, v, dim, o, count, ahead + FLOAT * part)
            part += 4 * HALF if wide else HALF
        query += 2 if pair else 1


@kernel
def _score(queries: int, keys: int, group: int, outputs: int, apart: int, dim: int, count: int, ahead: int):
    """The queries of one key head times its keys, two at a time: they wait for keys more than they compute."""
    for query in range(0, group, 2):
        q, out = queries + FLOAT * dim * query, outputs + FLOAT * apart * query
        if query + 1 < group:
            _PAIR_SCORES(q, keys, out, apart, dim, count, ahead)
        else:
            _ONE_SCORES(q, keys, out, apart, dim, count, ahead)


@kernel
def _attend(lanes: Any, at: int, layer: int, heads: int, kv_heads: int, dim: int, query: int, found: int, work: int,
            apart: int):  # fmt: skip
    """Attention of one lane: from `query` to `found`, (heads, dim) each, by way of scores, `apart` numbers a head.

    Meanwhile the keys and values of the next lane are brought near.
    """
    lane, after, group = lanes[at], lanes[min(at + 1, len(lanes) - 1)], heads // kv_heads
    behind, own = lane[BEHIND], lane[OWN] + 1
    total = behind + own
    for number in range(heads * dim):
        put(found, number, 0.0)
    for head in range(kv_heads):
        theirs = layer * lane[THEIR_LAYER] + head * lane[THEIR_HEAD]
        ours = layer * lane[LAYER] + head * lane[HEAD]
        q, o = query + FLOAT * head * group * dim, found + FLOAT * head * group * dim
        _score(q, lane[THEIR_KEYS] + theirs, group, work, apart, dim, behind, after[THEIR_KEYS] + theirs)
        _score(q, lane[KEYS] + ours, group, work + FLOAT * behind, apart, dim, own, after[KEYS] + ours)
        for one in range(group):
            row = work + FLOAT * apart * one
            for number in range(total, total + LANES):
                put(row, number, -math.inf)
            put(row, apart - 1, exponentials(row, (total + LANES - 1) // LANES * LANES))
        _gather(work, apart, group, lane[THEIR_VALUES] + theirs, dim, o, behind, after[THEIR_VALUES] + theirs)
        _gather(work + FLOAT * behind, apart, group, lane[VALUES] + ours, dim, o, own, after[VALUES] + ours)
        for one in range(group):
            share = 1 / get(work, apart * (one + 1) - 1)
            for number in range(one * dim, (one + 1) * dim):
                put(o, number, get(o, number) * share)


@kernel
def _keep(lane: Any, layer: int, keys: int, values: int, kv_heads: int, dim: int):
    """Writes a lane's new keys and values to its row."""
    for head in range(kv_heads):
        offset = layer * lane[LAYER] + head * lane[HEAD] + FLOAT * lane[OWN] * dim
        for number in range(dim):
            put(lane[KEYS] + offset, number, get(keys, LANES * (head * dim + number)))
            put(lane[VALUES] + offset, number, get(values, LANES * (head * dim + number)))


@kernel
def _attention(lanes: Any, layer: int, part: Any, sizes: Any, eps: float, turns: int, qkv: int, out: int, work: int,
               scratch: int, apart: int):  # fmt: skip
    """From queries, keys and values to what the heads found, for all lanes."""
    heads, kv_heads, dim = sizes[1], sizes[2], sizes[3]
    count, all_heads = len(lanes), heads + 2 * kv_heads
    for block in range((count + LANES - 1) // LANES):
        for head in range(heads + kv_heads):
            at = qkv + FLOAT * LANES * dim * (all_heads * block + head)
            if part[Q_NORM]:
                norm(at, part[Q_NORM] if head < heads else part[K_NORM], at, dim, eps)
            rotate(at, turns + FLOAT * LANES * dim * block, dim // 2)
    for lane in range(count):
        at = place(qkv, all_heads * dim, lane)
        keys = at + FLOAT * LANES * heads * dim
        _keep(lanes[lane], layer, keys, keys + FLOAT * LANES * kv_heads * dim, kv_heads, dim)
    query, found, scale = scratch, scratch + FLOAT * heads * dim, dim**-0.5
    for lane in range(count):
        at = place(qkv, all_heads * dim, lane)
        for number in range(heads * dim):
            put(query, number, get(at, LANES * number) * scale)
        _attend(lanes, lane, layer, heads, kv_heads, dim, query, found, work, apart)
        at = place(out, heads * dim, lane)
        for number in range(heads * dim):
            put(at, LANES * number, get(found, number))


@kernel
def _norms(x: int, weight: int, out: int, hidden: int, lanes: int, eps: float):
    for block in range((lanes + LANES - 1) // LANES):
        offset = FLOAT * LANES * hidden * block
        norm(x + offset, weight, out + offset, hidden, eps)


@kernel
def _begin(lanes: Any, embedding: int, hidden: int, x: int, dim: int, table: int, turns: int):
    """Every lane's embedding, and the cosines and sines of its position."""
    for lane in range(len(lanes)):
        at, row = place(x, hidden, lane), hidden * lanes[lane, TOKEN]
        for number in range(hidden):
            put(at, LANES * number, get(embedding, row + number))
        at, row = place(turns, dim, lane), dim * lanes[lane, POSITION]
        for number in range(dim):
            put(at, LANES * number, get(table, row + number))


@kernel
def _pick(lanes: Any, hidden: int, x: int, picked: int):
    """Puts what the trunk ends with, of the lanes that ask for logits, side by side."""
    asked = 0
    for lane in range(len(lanes)):
        if lanes[lane, LOGITS]:
            at, to = place(x, hidden, lane), place(picked, hidden, asked)
            for number in range(hidden):
                value = get(at, LANES * number)
                put(to, LANES * number, value)
                put(lanes[lane, HIDDEN], number, value)
            asked += 1


@kernel
def _hand_out(lanes: Any, rows: int, out: int, start: int):
    """Writes logits `start` to `start + rows` to the lanes that ask for them."""
    number = 0
    for lane in range(len(lanes)):
        if lanes[lane, LOGITS]:
            at = place(out, rows, number)
            for row in range(rows):
                put(lanes[lane, LOGITS], start + row, get(at, LANES * row))
            number += 1


@kernel
def _product(weight: int, rows: int, count: int, inputs: int, outputs: int, lanes: int, bias: int, side: int):
    """This side's rows of a product, from a bias or from nothing."""
    first, last = first_of(rows, side), last_of(rows, side)
    fill(outputs, rows, lanes, bias, first, last)
    multiply(weight, rows, count, inputs, outputs, lanes, first, last)


@kernel
def _layer(lanes: Any, layer: int, part: Any, sizes: Any, eps: float, scratch: int, mine: int, work: int, apart: int,
           side: int, shared: int):  # fmt: skip
    """One layer, or this side's part of it."""
    hidden, heads, kv_heads, dim, inner = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    x, _, qkv, found, turns, both, act, _, single = _rooms(sizes, scratch)
    count, rows = len(lanes), (heads + 2 * kv_heads) * dim
    _norms(x, part[IN_NORM], mine, hidden, count, eps)
    _product(part[QKV], rows, hidden, mine, qkv, count, part[QKV_BIAS], side)
    meet(shared, side)
    if side != SECOND:  # of few rows it takes little time
        _attention(lanes, layer, part, sizes, eps, turns, qkv, found, work, single, apart)
    meet(shared, side)
    multiply(part[OUT], hidden, heads * dim, found, x, count, first_of(hidden, side), last_of(hidden, side))
    meet(shared, side)
    _norms(x, part[POST_NORM], mine, hidden, count, eps)
    first, last = first_of(inner, side), last_of(inner, side)
    for start in (0, inner):
        fill(both, 2 * inner, count, 0, start + first, start + last)
        multiply(part[GATE_UP], 2 * inner, hidden, mine, both, count, start + first, start + last)
    for block in range((count + LANES - 1) // LANES):
        gates = both + FLOAT * LANES * (2 * inner * block + first)
        gate(gates, gates + FLOAT * LANES * inner, act + FLOAT * LANES * (inner * block + first), last - first)
    meet(shared, side)
    multiply(part[DOWN], hidden, inner, act, x, count, first_of(hidden, side), last_of(hidden, side))
    part_again(shared, side)


@kernel
def _logits(lanes: Any, ends: Any, sizes: Any, eps: float, scratch: int, mine: int, side: int, shared: int):
    """What the trunk ends with, and the logits, of the lanes that ask for them."""
    hidden, vocabulary = sizes[0], sizes[5]
    x, picked, _, _, _, _, _, out, _ = _rooms(sizes, scratch)
    if side != SECOND:
        _norms(x, ends[1], mine, hidden, len(lanes), eps)
        _pick(lanes, hidden, mine, picked)
    asked = 0
    for lane in range(len(lanes)):
        asked += 1 if lanes[lane, LOGITS] else 0
    for start in range(0, vocabulary, SLICE):
        rows = min(SLICE, vocabulary - start)
        meet(shared, side)
        _product(ends[2] + FLOAT * hidden * start, rows, hidden, picked, out, asked, 0, side)
        if start + SLICE < vocabulary:
            meet(shared, side)
        else:
            part_again(shared, side)
        if side != SECOND:
            _hand_out(lanes, rows, out, start)


@kernel
def _rooms(sizes: Any, scratch: int) -> tuple[int, int, int, int, int, int, int, int, int]:
    """Where in the room for `scratch_size` numbers what stands that both sides use, of a chunk of lanes."""
    hidden, heads, kv_heads, dim, inner = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    unit = FLOAT * CHUNK
    picked = scratch + unit * hidden
    qkv = picked + unit * hidden
    found = qkv + unit * (heads + 2 * kv_heads) * dim
    turns = found + unit * heads * dim
    both = turns + unit * dim
    act = both + unit * 2 * inner
    out = act + unit * inner
    return scratch, picked, qkv, found, turns, both, act, out, out + unit * SLICE


@entry
def run(lanes: Any, layers: Any, ends: Any, sizes: Any, eps: float, table: int, scratch: int, mine: int, work: int,
        apart: int, shared: int):  # fmt: skip
    """All lanes (n, COLUMNS) through the network.

    `layers` (L, PARTS) and `ends` (embedding, last norm, head) are addresses of weights; `sizes` hidden size, heads,
    heads of keys, their size, inner size, vocabulary; `table` (positions, dim) the cosines and sines, half of a row
    each; `scratch` room for `scratch_size` numbers, `mine` for a chunk's hidden states, `work` for `apart` scores of
    each query of a key head; `shared` what a helper reads, or 0 (`pair.py`).
    """
    for start in range(0, len(lanes), CHUNK):
        chunk = lanes[start : start + CHUNK]
        x, _, _, _, turns, _, _, _, _ = _rooms(sizes, scratch)
        _begin(chunk, ends[0], sizes[0], x, sizes[3], table, turns)
        for layer in range(len(layers)):
            side = offer(shared, layer, start)
            _layer(chunk, layer, layers[layer], sizes, eps, scratch, mine, work, apart, side, shared)
        side = offer(shared, len(layers), start)
        _logits(chunk, ends, sizes, eps, scratch, mine, side, shared)


@entry
def help(lanes: Any, layers: Any, ends: Any, sizes: Any, eps: float, scratch: int, mine: int, shared: Any):
    """Share in the turns of passes that another thread runs with the same lanes, weights, `scratch` and `shared`, until
    none comes for long; `mine` is its own."""
    at = shared.ctypes.data
    turns = look(at, TURN)
    tell(at, STATE, THERE)
    while turns != GONE and wait(at, turns):
        turns += 1
        step, start = look(at, STEP), look(at, START)
        chunk = lanes[start : start + CHUNK]
        if step < len(layers):
            _layer(chunk, step, layers[step], sizes, eps, scratch, mine, 0, 0, SECOND, at)
        else:
            _logits(chunk, ends, sizes, eps, scratch, mine, SECOND, at)
