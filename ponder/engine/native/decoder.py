"""The decoder of compiled kernels: tells them where everything stands."""

import contextlib
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ponder.engine.decoder import Drawn, missing
from ponder.engine.grammar import AT, PLACES, Grammar
from ponder.engine.kv_cache import Slots
from ponder.engine.native import drawing, pair, passes
from ponder.engine.native.compiling import LANES
from ponder.engine.native.products import FLOAT
from ponder.engine.rows import Rows
from ponder.engine.spans import Span
from ponder.errors import SamplerError
from ponder.model.network import Network
from ponder.text.format import Place

POSITIONS = 256
"""By so many the table of cosines and sines grows."""
SHARE = LANES // 2
"""Lanes by which threads share them out: a product of fewer costs as much."""
WORTH_A_HELPER = 2**19
"""Weights of a network whose passes two threads share where their lanes are too few to be shared out."""
REST, LONGEST_REST, WELL = 8, 8192, 256
"""Passes that are made alone after one in which a helper was waited for in vain: twice as many where fewer than WELL
shared passes went well before it, up to the longest."""
MARKS = [AT[place] for place in (Place.BETWEEN, Place.ANSWER, Place.SUMMARY, Place.DONE)]
LAYER = (
    "input_layernorm.weight",
    "self_attn.qkv_proj.weight",
    "self_attn.qkv_proj.bias",
    "self_attn.q_norm.weight",
    "self_attn.k_norm.weight",
    "self_attn.o_proj.weight",
    "post_attention_layernorm.weight",
    "mlp.gate_up_proj.weight",
    "mlp.down_proj.weight",
)
"""A layer's weights, in the order of `passes.PARTS`."""
_THEIRS = (passes.THEIR_KEYS, passes.THEIR_VALUES, passes.THEIR_LAYER, passes.THEIR_HEAD)


@dataclass(eq=False)
class _Alone:
    """The decoders of this process that are at a step: a Python thread that begins meanwhile finds torch with one
    thread, and would take that for its usual number."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    most: int = 1


_alone = _Alone()


@dataclass(eq=False)
class Company:
    """Whether other programs leave this process two cores: found out by trying."""

    rest: int = 0
    """Passes that are still made alone."""
    last_rest: int = 0
    well: int = 0
    """Shared passes since the last one that stalled."""

    def wanted(self) -> bool:
        """Whether the next pass is for two."""
        self.rest -= self.rest > 0
        return not self.rest

    def told(self, stalled: bool) -> None:
        """How a shared pass went."""
        if not stalled:
            self.well += 1
            return
        again = self.last_rest and self.well < WELL
        self.rest = self.last_rest = min(2 * self.last_rest, LONGEST_REST) if again else REST
        self.well = 0


_company = Company()


@dataclass(eq=False)
class NativeDecoder:
    """One of our networks on a CPU, in float32; the weights are read where the trainer changes them."""

    network: Network
    why: str = "compiled kernels: our own network, float32, on a CPU"
    dense: bool = False

    def __post_init__(self) -> None:
        shape, named = self.network.shape, dict(self.network.named_parameters())
        layers = [f"model.layers.{layer}.{part}" for layer in range(shape.num_hidden_layers) for part in LAYER]
        embedding = "model.embed_tokens.weight"
        head = embedding if shape.tie_word_embeddings else "lm_head.weight"
        self._weights = [named.get(name) for name in (*layers, embedding, "model.norm.weight", head)]
        """Layer by layer, then embedding, last norm and head; None for what an architecture does not have."""
        self._addresses = list[int]()
        heads, kv_heads, dim = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
        size = (shape.hidden_size, heads, kv_heads, dim, shape.intermediate_size)
        self._sizes = np.array([*size, shape.vocab_size])
        self._work, self._mine = passes.scratch_size(*size), passes.CHUNK * shape.hidden_size
        self._group = heads // kv_heads
        self._worth_a_helper = sum(one.numel() for one in named.values()) >= WORTH_A_HELPER
        self._rooms, self._threads = list[_Room](), ThreadPoolExecutor(thread_name_prefix="decoder")
        self._helper: _Helper | None = None
        self._helped = 0
        """Turns that earlier helpers have shared."""
        self._most: int | None = None
        """Threads that there are for kernels while torch has one."""
        self._standing: tuple[Slots | None, int, int] = (None, 0, 0)
        """For which slots, at how many changes, and where, the lanes were laid out."""
        self._table = torch.zeros(0, dim)
        self._hidden, self._logits = torch.zeros(0, shape.hidden_size), torch.zeros(0, shape.vocab_size)
        padded = -(-shape.vocab_size // LANES) * LANES
        self._masked, self._chances = np.zeros(padded, np.float32), np.zeros(padded)

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """See `Decoder`: a thread of OpenMP's that has done its part of one of torch's operations spins for some 10
        ms, on the core that these kernels' second thread needs."""
        with _alone.lock:
            _alone.most = _alone.most if _alone.inside else torch.get_num_threads()
            _alone.inside += 1
            self._most = _alone.most
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self._most)
            self._most = None
            with _alone.lock:
                _alone.inside -= 1

    def read(self, known: Sequence[Span], new: Sequence[Sequence[int]]) -> tuple[list[Span], Tensor, Tensor]:
        """See `Decoder`: a lane for each new token."""
        shape, counts = self.network.shape, [len(ids) for ids in new]
        hidden, logits = torch.empty(len(new), shape.hidden_size), torch.empty(len(new), shape.vocab_size)
        lanes, spans, start = np.zeros((sum(counts), passes.COLUMNS), np.int64), list[Span](), 0
        size = shape.num_hidden_layers, shape.num_key_value_heads
        for row, (behind, ids) in enumerate(zip(known, new, strict=True)):
            span = Span(*torch.empty(2, *size, len(ids), shape.head_dim))
            part, steps = lanes[start : start + len(ids)], np.arange(len(ids))
            part[:, passes.TOKEN], part[:, passes.OWN] = ids, steps
            part[:, passes.POSITION], part[:, passes.BEHIND] = behind.tokens + steps, behind.tokens
            part[:, [passes.KEYS, passes.VALUES, passes.LAYER, passes.HEAD]] = _place(span.keys, span.values)
            part[:, _THEIRS] = _place(behind.keys, behind.values)
            part[-1, passes.HIDDEN], part[-1, passes.LOGITS] = hidden[row].data_ptr(), logits[row].data_ptr()
            spans.append(span)
            start += len(ids)
        self.run(lanes)
        return spans, hidden, logits

    def decode(self, tokens: Tensor, slots: Slots, active: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder`: a lane for each active row."""
        slots.grow()
        standing = slots, slots.changes, slots.keys.data_ptr()
        if self._standing != standing:
            self._lanes, self._standing = self._lanes_of(slots, active), standing
        rows, lanes = self._lanes
        lanes[:, passes.TOKEN], lanes[:, passes.OWN] = tokens.numpy()[rows], slots.lengths.numpy()[rows]
        lanes[:, passes.POSITION] = lanes[:, passes.BEHIND] + lanes[:, passes.OWN]
        self.run(lanes)
        return self._hidden[: len(tokens)], self._logits[: len(tokens)]

    def _lanes_of(self, slots: Slots, active: Tensor) -> tuple[Any, Any]:
        """The active rows and their lanes, which hold until a row joins, leaves or moves."""
        if slots.rows > len(self._logits):
            self._hidden = torch.zeros(slots.rows, self._hidden.shape[1])
            self._logits = torch.zeros(slots.rows, self._logits.shape[1])
        shelves = {
            columns: (_place(*shelf), FLOAT * shelf[0].stride(1)) for columns, shelf in slots.prompts.shelves.items()
        }
        theirs = np.zeros((slots.rows, len(_THEIRS)), np.int64)
        for row, spot in enumerate(slots.spots):
            if spot:
                (keys, values, *steps), apart = shelves[spot.columns]
                theirs[row] = keys + apart * spot.number, values + apart * spot.number, *steps
        rows = np.flatnonzero(active.numpy())
        # Rows of one prompt follow one another, so that it is read from a near cache.
        rows = rows[np.argsort(theirs[rows, 0], kind="stable")]
        lanes = np.zeros((len(rows), passes.COLUMNS), np.int64)
        keys, values, layer, head = _place(slots.keys, slots.values)
        apart = FLOAT * slots.keys.stride(1)
        lanes[:, passes.KEYS], lanes[:, passes.VALUES] = keys + apart * rows, values + apart * rows
        lanes[:, passes.LAYER], lanes[:, passes.HEAD] = layer, head
        lanes[:, passes.BEHIND], lanes[:, _THEIRS] = slots.behind.numpy()[rows], theirs[rows]
        lanes[:, passes.HIDDEN] = self._hidden.data_ptr() + FLOAT * self._hidden.shape[1] * rows
        lanes[:, passes.LOGITS] = self._logits.data_ptr() + FLOAT * self._logits.shape[1] * rows
        return rows, lanes

    def draw(self, rows: Rows, logits: Tensor, grammar: Grammar) -> Drawn:
        """See `Decoder`; free rows draw nothing."""
        rows.make_room()
        held = (rows.place, rows.left, rows.answer_limit, rows.seeds, rows.drawn, rows.temperatures, rows.top_ps)
        held += (rows.top_ks, rows.min_ps, rows.written, rows.logprobs)
        held += (logits, grammar.allowed, grammar.leads, grammar.closing)
        active = np.flatnonzero(rows.active.numpy())
        tokens, over = torch.zeros(len(rows.place), dtype=torch.long), np.zeros(len(active), np.int64)
        state = np.array([tensor.data_ptr() for tensor in held])
        marks = np.array([*MARKS, len(PLACES), rows.written.shape[1]])
        masked, chances = self._masked, self._chances
        places = masked.ctypes.data, chances.ctypes.data
        count = drawing.step(active, state, marks, logits.shape[1], masked, chances, *places, tokens.numpy(), over)
        return Drawn(tokens, over[:count].tolist())

    def run(self, lanes: Any) -> None:
        """All lanes through the network, shared out among threads where there are enough of them."""
        tokens, half = int(lanes[:, passes.POSITION].max()) + 1, self.network.shape.head_dim // 2
        if tokens > len(self._table):
            positions = torch.arange(-(-tokens // POSITIONS) * POSITIONS)
            cos, sin = (turn[0, :, 0] for turn in self.network.turn(positions[None]))
            self._table = torch.cat((cos[:, :half], sin[:, half:]), dim=1)
        most = self._most or torch.get_num_threads()
        parts = _parts(lanes[:, passes.KEYS], min(most, -(-len(lanes) // SHARE)))
        while len(self._rooms) < max(2, len(parts)):
            self._rooms.append(_Room(torch.zeros(self._work), torch.zeros(self._mine), torch.zeros(self._group, 0)))
        layers, ends, eps = *self._where(), self.network.shape.rms_norm_eps
        if len(parts) == 1 and most > 1 and self._worth_a_helper and _company.wanted():
            self._run_by_two(lanes, layers, ends, eps)
            return
        works = [
            (lanes[part], layers, ends, self._sizes, eps, self._table.data_ptr(), *room.places(len(self._table)), 0)
            for part, room in zip(parts, self._rooms, strict=False)
        ]
        others = [self._threads.submit(passes.run, *work) for work in works[1:]]
        passes.run(*works[0])
        for other in others:
            other.result()

    def _run_by_two(self, lanes: Any, layers: Any, ends: Any, eps: float) -> None:
        """All lanes through the network, and a helper shares in each product as soon as it is awake."""
        first, second = (room.places(len(self._table)) for room in self._rooms[:2])
        given, helper = (lanes, layers, ends), self._helper
        if helper and helper.future.done():
            helper.future.result()
        if helper is None or helper.future.done() or not all(map(is_, helper.given, given)):
            if helper:
                self._helped += self._turns(helper)
                helper.shared[pair.TURN * pair.APART] = pair.GONE
            shared = np.zeros(pair.PLACES * pair.APART, np.int64)
            future = self._threads.submit(passes.help, *given, self._sizes, eps, first[0], second[1], shared)
            self._helper = helper = _Helper(future, given, shared)
        passes.run(*given, self._sizes, eps, self._table.data_ptr(), *first, helper.shared.ctypes.data)
        stalls = int(helper.shared[pair.STALLS * pair.APART])
        _company.told(stalls > helper.stalls)
        helper.stalls = stalls

    @property
    def helped(self) -> int:
        """Turns of passes that helpers have shared."""
        return self._helped + (self._turns(self._helper) if self._helper else 0)

    @staticmethod
    def _turns(helper: "_Helper") -> int:
        return int(helper.shared[pair.TURN * pair.APART])

    def _where(self) -> tuple[Any, Any]:
        """The addresses of the layers' weights, and of the others; they change where weights move to shared memory."""
        addresses = [0 if weight is None else weight.data_ptr() for weight in self._weights]
        if addresses != self._addresses:
            if reason := missing(self.network):
                raise SamplerError(f"the network was changed under the sampler: {reason}; make a new sampler")
            self._addresses, found = addresses, np.array(addresses)
            self._found = found[:-3].reshape(-1, passes.PARTS), found[-3:]
        return self._found


@dataclass
class _Helper:
    """A thread that shares in passes of these lanes and weights, while it stays."""

    future: "Future[None]"
    given: tuple[Any, Any, Any]
    shared: Any
    stalls: int = 0
    """Meetings so far that it was late for."""


@dataclass
class _Room:
    """What one thread works with."""

    scratch: Tensor
    mine: Tensor
    scores: Tensor

    def places(self, tokens: int) -> tuple[int, int, int, int]:
        """Their addresses, and the scores of one query, for rows of at most so many tokens."""
        if self.scores.shape[1] < tokens + passes.SLACK:
            self.scores = torch.zeros(len(self.scores), tokens + passes.SLACK)
        return self.scratch.data_ptr(), self.mine.data_ptr(), self.scores.data_ptr(), self.scores.shape[1]


def _parts(keys: Any, most: int) -> list[slice]:
    """At most so many parts of lanes with these keys, of like sizes; lanes of one row stay together."""
    cuts = [0]
    for number in range(1, most):
        cut = max(cuts[-1] + 1, round(len(keys) * number / most / SHARE) * SHARE)
        while cut < len(keys) and keys[cut] == keys[cut - 1]:
            cut += 1
        cuts += [cut] if cut < len(keys) else []
    return [slice(*pair) for pair in zip(cuts, [*cuts[1:], len(keys)], strict=True)]


def _place(keys: Tensor, values: Tensor) -> tuple[int, int, int, int]:
    """Addresses of keys and values (L, …, K, t, D), and bytes from one layer and one head to the next; both are laid
    out alike."""
    assert keys.stride()[-2:] == (keys.shape[-1], 1) and keys.stride() == values.stride()
    return keys.data_ptr(), values.data_ptr(), FLOAT * keys.stride(0), FLOAT * keys.stride(-3)
