# pyright: basic, reportMissingImports=false
# llama_cpp lives in this peer's environment alone.
"""llama.cpp: many sequences in one `llama_decode`, cached prefixes kept and copied, its own C samplers."""

import sys
from collections.abc import Sequence
from ctypes import POINTER, c_int8, c_int32, cast
from pathlib import Path

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as low

from benchmarks.peers.convert import convert
from benchmarks.peers.protocol import Ids, Order, serve

# Measured with 512 contexts, one thread: 32 slots 4,260 tokens/s, 64 4,410, 128 4,140, 256 4,440. A stream a slot
# (2,450 with 64 contexts) beats a cache for all (2,110); f16 keys and values, the default, beat f32 by a sixth.
SLOTS = 64
BATCH = 2048
Address = int  # what ctypes makes of a pointer
QUIET = low.llama_log_callback(lambda level, text, data: None)


class Batch:
    """Room for BATCH tokens, each in one sequence, in llama.cpp's layout."""

    def __init__(self) -> None:
        self.token, self.position, self.slot = (np.zeros(BATCH, np.int32) for _ in range(3))
        self.wanted = np.zeros(BATCH, np.int8)
        self._ones = np.ones(BATCH, np.int32)
        pointers = (POINTER(c_int32) * (BATCH + 1))()
        for index in range(BATCH):
            pointers[index] = cast(self.slot.ctypes.data + 4 * index, POINTER(c_int32))
        self._pointers = pointers
        self.size = 0

    def add(self, ids: Sequence[int], start: int, slot: int) -> int:
        """Append a sequence's next tokens; returns where in the batch the last one, whose logits are wanted, lies."""
        at = slice(self.size, self.size + len(ids))
        self.token[at], self.position[at], self.slot[at] = ids, np.arange(start, start + len(ids)), slot
        self.wanted[at] = 0
        self.size = at.stop
        self.wanted[self.size - 1] = 1
        return self.size - 1

    def view(self) -> low.llama_batch:
        """The filled part as llama.cpp's struct."""
        batch = low.llama_batch()
        batch.n_tokens = self.size
        batch.token = cast(self.token.ctypes.data, POINTER(c_int32))
        batch.pos = cast(self.position.ctypes.data, POINTER(c_int32))
        batch.n_seq_id = cast(self._ones.ctypes.data, POINTER(c_int32))
        batch.seq_id = self._pointers
        batch.logits = cast(self.wanted.ctypes.data, POINTER(c_int8))
        return batch


class Row:
    """A context on its way through a slot."""

    def __init__(self, index: int, context: Ids) -> None:
        self.index, self.context = index, context
        self.written: Ids = []
        self.known = 0
        """How many tokens of context and written its slot has read."""

    def next(self) -> Ids:
        """The tokens to read before the next one can be drawn."""
        return self.written[-1:] or self.context[self.known :]


class Memory:
    """llama.cpp's context: a stream of keys and values a slot, and which tokens each one holds."""

    def __init__(self, model: Address, length: int, threads: int) -> None:
        params = low.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = SLOTS * length, SLOTS, False
        params.n_batch = BATCH
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = low.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = low.llama_init_from_model(model, params)
        self.cells = low.llama_get_memory(self.context)
        self.length = length
        self.held = np.full((SLOTS, length), -1, np.int32)

    def longest(self, context: Ids, free: Sequence[int]) -> tuple[int, int]:
        """The slot that holds most of the context's beginning, a free one if it can be, and how many tokens it holds.

        The last token never counts: it must be read for its logits.
        """
        differs = np.ones((SLOTS, len(context)), bool)
        differs[:, :-1] = self.held[:, : len(context) - 1] != np.array(context[:-1], np.int32)
        lengths = differs.argmax(1)
        favoured = 2 * lengths
        favoured[free] += 1
        best = int(favoured.argmax())
        return best, int(lengths[best])

    def copy(self, source: int, slot: int, length: int) -> None:
        """Make `slot` hold the first `length` tokens of `source`, which may be the same."""
        if source != slot:
            low.llama_memory_seq_rm(self.cells, slot, -1, -1)
            low.llama_memory_seq_cp(self.cells, source, slot, -1, -1)
            self.held[slot] = self.held[source]
        low.llama_memory_seq_rm(self.cells, slot, length, -1)
        self.held[slot, length:] = -1

    def hold(self, slot: int, ids: Ids) -> None:
        """Note that `slot` has read these tokens and no others."""
        self.held[slot, : len(ids)] = ids
        self.held[slot, len(ids) :] = -1

    def clear(self) -> None:
        low.llama_memory_clear(self.cells, False)
        self.held[:] = -1

    def close(self) -> None:
        low.llama_free(self.context)


class Wave:
    """One order on its way: slots 0, 1, … are busy without gaps, since llama.cpp reads only neighbours together."""

    def __init__(self, order: Order, memory: Memory, batch: Batch) -> None:
        self.memory, self.batch = memory, batch
        self.stops, self.most = frozenset(order.stops), order.most
        self.waiting = [Row(index, context) for index, context in enumerate(order.contexts)]
        self.rows: list[Row | None] = [None] * min(SLOTS, len(self.waiting))
        self.written: list[Ids] = [[] for _ in self.waiting]

    def run(self, sampler: Address) -> list[Ids]:
        while self._admit():
            self._step(sampler)
        return self.written

    def _admit(self) -> bool:
        """Give free slots to waiting contexts and close the gaps left over; whether there is anything to read."""
        free = [slot for slot, row in enumerate(self.rows) if row is None]
        reading: set[tuple[int, ...]] = set()
        room = BATCH - len(self.rows)
        later: list[Row] = []
        for place, row in enumerate(self.waiting):
            key = tuple(row.context)
            if not free or room < len(key):
                later += self.waiting[place:]
                break
            if key in reading:  # elsewhere in this very step: in the next it can be copied
                later.append(row)
                continue
            source, row.known = self.memory.longest(row.context, free)
            slot = source if source in free else free[0]
            free.remove(slot)
            self.memory.copy(source, slot, row.known)
            self.rows[slot] = row
            room -= len(key) - row.known
            if row.known < len(key) - 1:
                reading.add(key)
        self.waiting = later
        self._pack()
        return bool(self.rows)

    def _pack(self) -> None:
        while None in self.rows:
            last = self.rows.pop()
            if last is not None:
                slot = self.rows.index(None)
                self.memory.copy(len(self.rows), slot, last.known)
                self.rows[slot] = last

    def _step(self, sampler: Address) -> None:
        """Read what every row has to read next, in one `llama_decode`, and draw a token for each."""
        rows = [row for row in self.rows if row]
        self.batch.size = 0
        places = [self.batch.add(row.next(), row.known, slot) for slot, row in enumerate(rows)]
        if low.llama_decode(self.memory.context, self.batch.view()):
            raise RuntimeError("llama_decode failed")
        for slot, row in enumerate(rows):
            if not row.written:
                self.memory.hold(slot, row.context)
            row.known = len(row.context) + len(row.written)
            row.written.append(token := low.llama_sampler_sample(sampler, self.memory.context, places[slot]))
            if token in self.stops or len(row.written) == self.most:
                self.memory.hold(slot, row.context + row.written[:-1])
                self.written[row.index] = row.written
                self.rows[slot] = None


class Llama:
    """llama.cpp behind the worker."""

    name, version = "llama.cpp by llama-cpp-python", llama_cpp.__version__

    def __init__(self, model: Path, threads: int) -> None:
        low.llama_log_set(QUIET, None)
        low.llama_backend_init()
        converted = convert(model, Path(sys.prefix) / f"{model.name}.gguf")
        self.model = low.llama_model_load_from_file(str(converted).encode(), low.llama_model_default_params())
        self.threads, self.batch = threads, Batch()
        self.memory = Memory(self.model, 256, threads)

    def prepare(self, order: Order) -> None:
        """Slots that are long enough."""
        longest = max(map(len, order.contexts)) + order.most
        if longest > BATCH - SLOTS:
            raise ValueError(f"{longest} tokens are more than one batch takes: raise BATCH")
        if longest > self.memory.length:
            self.memory.close()
            self.memory = Memory(self.model, -(-longest // 256) * 256, self.threads)

    def generate(self, order: Order) -> list[Ids]:
        """The continuation of every context."""
        sampler = _sampler(order)
        written = Wave(order, self.memory, self.batch).run(sampler)
        low.llama_sampler_free(sampler)
        return written

    def forget(self) -> None:
        """Drop every cached prompt."""
        self.memory.clear()

    def score(self, contexts: Sequence[Ids]) -> None:
        """Not offered: the benchmark's reward model is of transformers."""
        raise NotImplementedError("llama.cpp does not score here")


def _sampler(order: Order) -> Address:
    chain = low.llama_sampler_chain_init(low.llama_sampler_chain_default_params())
    if order.temperature:
        low.llama_sampler_chain_add(chain, low.llama_sampler_init_temp(order.temperature))
        low.llama_sampler_chain_add(chain, low.llama_sampler_init_dist(order.seed))
    else:
        low.llama_sampler_chain_add(chain, low.llama_sampler_init_greedy())
    return chain


if __name__ == "__main__":
    serve(Llama)
