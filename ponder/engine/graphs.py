"""The decoder for CUDA: steps of a few fixed sizes in memory that stays, each captured once as a graph and replayed.

A step of a small network is hundreds of operations of a few microseconds, and a processor that starts them one by one
takes longer than the device does. A graph of all of them is started at once. It always reads and writes the same
places, so whatever changes from step to step stands there: what rows are at, their caches, the prompts they share, and
their logits. Sizes are rounded up, so that a few graphs serve all of them. A scheduler's `Slots` and `Rows` are views
of that memory; where they have been made anew, because rows joined, left or moved, they are copied there first.

What is captured is one function over tensors: a test on a CPU runs that, or a tape of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, finalize

import torch
from torch import Tensor

from ponder.engine.decoder import Drawn, TorchDecoder
from ponder.engine.grammar import AT, Grammar
from ponder.engine.kv_cache import GROWTH, Slots, Standing, columns_of
from ponder.engine.prompts import Look, Shelf
from ponder.engine.rows import WRITTEN, Rows
from ponder.engine.sampling import Work, draw_with, work_of
from ponder.engine.spans import Span
from ponder.errors import SamplerError
from ponder.model.network import Network
from ponder.model.sizes import Shape
from ponder.text.format import Place

LEAST_ROWS = 64
"""Rows that there is memory for at first."""
ROW_STEPS, COLUMN_STEPS = 2, 4
"""Sizes of graphs between one power of two and the next: what is computed in vain is at most half, and a quarter."""
MOST_GRAPHS = 96
"""The one not used for longest goes first."""
Body = Callable[[], None]
Capture = Callable[[Body, Sequence[Tensor]], Body]
"""Makes of a function over fixed tensors one that does the same again and again; the tensors that it changes by more
than writing results are as before then."""


def rounded(size: int, steps: int) -> int:
    """The next of the sizes that there are graphs for: powers of two, and so many steps from one to the next."""
    step = max(1, (1 << (size - 1).bit_length()) // (2 * steps))
    return -(-size // step) * step


def uncaptured(body: Body, state: Sequence[Tensor]) -> Body:
    """A `Capture` that captures nothing: on a CPU there is nothing to gain."""
    return body


@dataclass(eq=False)
class CudaGraphs:
    """A `Capture` by CUDA; all graphs work in the same memory, for never two of them run at once."""

    pool: Any = None
    stream: Any = None

    def __call__(self, body: Body, state: Sequence[Tensor]) -> Body:
        """See `Capture`; raises SamplerError where something cannot be captured."""
        before, graph = [one.clone() for one in state], torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        self.stream = self.stream or torch.cuda.Stream()  # always the same one: each keeps memory of its own
        try:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):  # libraries make what they work with in their first call
                body()
            torch.cuda.current_stream().wait_stream(self.stream)
            # Other threads may go on using the device meanwhile.
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                body()
        except RuntimeError as err:
            raise SamplerError(
                f"a step could not be captured as a CUDA graph ({_reason(err)}): if memory is short, allow "
                "fewer rows or a smaller budget; otherwise sample without graphs (native=False), or with --device cpu"
            ) from err
        for one, value in zip(state, before, strict=True):
            one.copy_(value)
        return graph.replay


def _reason(err: BaseException) -> str:
    """The first thing that went wrong: what CUDA says at the end of a capture follows from it."""
    while err.__context__:
        err = err.__context__
    return str(err).split("\n", 1)[0] or type(err).__name__


@dataclass(eq=False)
class Stage:
    """The memory that graphs work in, and the graphs; sizes only grow, and with memory that is replaced its graphs
    go."""

    shape: Shape
    device: torch.device
    dtype: torch.dtype
    capture: Capture

    def __post_init__(self) -> None:
        self.rows = Rows.none(self.device)
        self.shelves = dict[int, _Table]()
        """By their columns."""
        self.grammar: Grammar | None = None
        self._cache: list[Tensor] = []
        """Keys and values of all rows, flat: laid out anew for each size of a graph."""
        self._weights: tuple[int, ...] = ()
        self._graphs = OrderedDict[Hashable, Body]()
        self.reserve(LEAST_ROWS)

    def run(self, name: Hashable, make: Callable[[], Body], state: Sequence[Tensor] = ()) -> None:
        """Run the graph of that name, captured now where there is none."""
        if name not in self._graphs:
            self._graphs[name] = self.capture(make(), state)
            if len(self._graphs) > MOST_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(name)
        self._graphs[name]()

    def reserve(self, rows: int) -> None:
        """Have memory for so many rows."""
        if rows <= len(self.rows.place):
            return
        size, device = rounded(rows, 1), self.device
        self._graphs.clear()
        self.rows.extend(size - len(self.rows.place))
        self.tokens, self.lengths, self.behind = torch.zeros(3, size, dtype=torch.long, device=device)
        self.over = torch.zeros(size, dtype=torch.bool, device=device)
        self.hidden = torch.zeros(size, self.shape.hidden_size, dtype=self.dtype, device=device)
        self.logits = torch.zeros(size, self.shape.vocab_size, device=device)
        for table in self.shelves.values():
            table.seat(size)

    def widen(self, tokens: int) -> None:
        """Have room for a record of so many tokens of each row."""
        more = WRITTEN * rounded(-(-tokens // WRITTEN), 1) - self.rows.written.shape[1]
        if more > 0:
            self._graphs.clear()
            for name in ("written", "logprobs"):
                held: Tensor = getattr(self.rows, name)
                setattr(self.rows, name, torch.cat((held, held.new_zeros(len(held), more)), dim=1))

    def holds(self, keys: Tensor) -> bool:
        """Whether keys stand in the memory of all rows."""
        return bool(self._cache) and keys.data_ptr() == self._cache[0].data_ptr()

    def lay(self, rows: int, columns: int) -> list[Tensor]:
        """Keys and values (L, S, K, T, D), in the same place each time, with whatever stands there."""
        size = (self.shape.num_hidden_layers, rows, self.shape.num_key_value_heads, columns, self.shape.head_dim)
        count = torch.Size(size).numel()
        if not self._cache or len(self._cache[0]) < count:
            self._graphs.clear()
            self._cache.clear()
            whole = rounded(count, COLUMN_STEPS)
            self._cache += (torch.zeros(whole, dtype=self.dtype, device=self.device) for _ in range(2))
        return [flat[:count].view(size) for flat in self._cache]

    def table(self, given: Shelf) -> "_Table":
        """Where graphs find a shelf's prompts; it is moved there if it is not yet."""
        columns = given.keys.shape[3]
        table = self.shelves.get(columns)
        if table is None or table.shelf.room < given.room:
            self._graphs.clear()
            size = list(given.keys.shape)
            size[1] = rounded(given.room, 1)
            table = self.shelves[columns] = _Table(Shelf(given.keys.new_zeros(size), given.values.new_zeros(size)))
            table.seat(len(self.tokens))
        if given.keys.data_ptr() != table.shelf.keys.data_ptr():
            for name in ("keys", "values"):
                whole: Tensor = getattr(table.shelf, name)
                whole.zero_()  # what is not finite must not meet a mask
                whole[:, : given.room] = getattr(given, name)
                setattr(given, name, whole[:, : given.room])
        return table

    def learn(self, grammar: Grammar) -> Grammar:
        """A grammar's tables, where graphs find them."""
        if self.grammar is None or self.grammar.allowed.shape != grammar.allowed.shape:
            self._graphs.clear()
            self.grammar = Grammar(*(getattr(grammar, one.name).clone() for one in fields(Grammar)))
        else:
            for one in fields(Grammar):
                getattr(self.grammar, one.name).copy_(getattr(grammar, one.name))
        return self.grammar

    def check(self, weights: Sequence[Tensor]) -> None:
        """Weights that have moved are read where they are now; raises SamplerError for others than there were."""
        if strange := next((one.dtype for one in weights if one.dtype != self.dtype), None):
            raise SamplerError(f"the network was changed under the sampler: weights are {strange}; make a new sampler")
        addresses = tuple(one.data_ptr() for one in weights)
        if addresses != self._weights:
            self._graphs.clear()
            self._weights = addresses


@dataclass(eq=False)
class _Table:
    """A shelf's prompts where graphs find them, and how rows look at them."""

    shelf: Shelf

    def __post_init__(self) -> None:
        _, room, self.heads, columns, _ = self.shelf.keys.shape
        self.mask = self.shelf.keys.new_zeros(room * self.heads, 1, columns)

    def seat(self, rows: int) -> None:
        """Have memory for so many rows."""
        self.at = torch.zeros(rows, dtype=torch.long, device=self.mask.device)
        self.inside = torch.zeros(rows, dtype=torch.bool, device=self.mask.device)

    def fill(self, look: Look) -> tuple[int, int]:
        """Write down how rows look; returns how many prompts, and how many rows of each, a graph must see.

        Rows without a prompt here sit at the first prompt's last place, where no other row does.
        """
        assert isinstance(look.rows, Tensor)
        count, most = rounded(look.count, 1), rounded(look.most + 1, 1)
        self.at.fill_(most - 1)
        self.at[look.rows] = look.at // look.most * most + look.at % look.most
        self.inside.zero_()
        self.inside[look.rows] = True
        self.mask.fill_(-torch.inf)
        self.mask[..., 0] = 0.0  # scores of what nobody looks at must be finite, too
        self.mask[: look.count * self.heads] = look.mask.to(self.mask.dtype)
        return count, most

    def look(self, rows: int, count: int, most: int) -> Look:
        """How so many rows look, for a graph."""
        mask, inside = self.mask[: count * self.heads], self.inside[:rows]
        return Look(self.shelf, count, slice(None), self.at[:rows], most, mask, inside)


_idle: "WeakKeyDictionary[Network, list[Stage]]" = WeakKeyDictionary()
"""The stages that no decoder uses: graphs outlive a sampler, and serve the next one of the same network."""


class GraphDecoder:
    """One of our networks in steps of fixed sizes; it serves one scheduler's slots and rows."""

    def __init__(self, network: Network, capture: Capture | None = None) -> None:
        """Captures by CUDA unless told otherwise."""
        first = next(network.parameters())
        self.network, self._plain = network, TorchDecoder(network, "")
        self._parameters = tuple(network.parameters())
        self.dense = True
        self.why = f"CUDA graphs: our own network, {str(first.dtype).removeprefix('torch.')}"
        idle = [] if capture else _idle.setdefault(network, [])
        if idle and (idle[-1].device, idle[-1].dtype) != (first.device, first.dtype):
            idle.clear()
        self._stage = idle.pop() if idle else Stage(network.shape, first.device, first.dtype, capture or CudaGraphs())
        finalize(self, idle.append, self._stage)
        self._slots: Slots | None = None
        self._grammar: Grammar | None = None
        self._laid = 0, 0
        """Rows and columns of the caches as they are laid out."""
        self._looks = tuple[tuple[int, int, int], ...]()
        """Columns, prompts, and rows of each prompt of the shelves that rows look at."""
        self._passed, self._drew = -1, -1
        """At how many changes of the slots it was last asked what a pass, and what a draw, needs."""
        self._longest, self._drawn, self._work = 0, 0, Work(True, True)
        """Tokens of the longest row, and of the longest record, or more; and what all rows together need."""

    def alone(self) -> AbstractContextManager[None]:
        """See `Decoder`: the device computes, whatever threads there are."""
        return nullcontext()

    def read(self, known: Sequence[Span], new: Sequence[Sequence[int]]) -> tuple[list[Span], Tensor, Tensor]:
        """See `Decoder`: operation by operation, for hardly two readings are of one size, and they are large."""
        return self._plain.read(known, new)

    # --- drawing --------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def draw(self, rows: Rows, logits: Tensor, grammar: Grammar) -> Drawn:
        """See `Decoder`; free rows draw in vain. Which rows are over is all that is copied from the device, unless
        rows have joined or moved."""
        stage, count = self._stage, len(rows.place)
        stage.reserve(count)
        if self._grammar is not grammar:
            stage.learn(grammar)
            self._grammar = grammar
        moved = self._take_rows(rows)
        if logits.data_ptr() != stage.logits.data_ptr():
            stage.logits[:count].copy_(logits)
        if moved or self._slots is None or self._drew != self._slots.changes:
            needs = work_of(rows.temperatures, rows.top_ps, rows.top_ks, rows.min_ps)
            warm, cut, self._drawn = torch.cat((needs.long(), rows.drawn.max()[None])).tolist()
            self._work, self._drew = Work(bool(warm), bool(cut)), self._slots.changes if self._slots else -1
        if self._drawn >= stage.rows.written.shape[1]:
            stage.widen(self._drawn + 1)
            self._take_rows(rows)
        self._drawn += 1
        size, work = rounded(count, ROW_STEPS), self._work
        held = Rows(**{name: value[:size] for name, value in vars(stage.rows).items()})
        stage.run(("draw", size, work), partial(_drawing, stage, held, work), (held.place, held.left, held.drawn))
        return Drawn(stage.tokens[:count], stage.over[:count].cpu().nonzero().squeeze(1).tolist())

    def _take_rows(self, rows: Rows) -> bool:
        """Have rows stand in the stage; whether they did not."""
        stage, count = self._stage, len(rows.place)
        stage.widen(rows.written.shape[1])
        names = [name for name, value in vars(rows).items() if value.data_ptr() != getattr(stage.rows, name).data_ptr()]
        for name in names:
            whole, value = getattr(stage.rows, name), getattr(rows, name)
            whole.zero_()
            (whole[:count] if value.dim() == 1 else whole[:count, : value.shape[1]]).copy_(value)
            setattr(rows, name, whole[:count])
        if names:
            stage.rows.place[count:] = AT[Place.ANSWER]
        return bool(names)

    # --- one more token -------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(self, tokens: Tensor, slots: Slots, active: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder`; free rows are computed in vain."""
        stage, count = self._stage, slots.rows
        stage.reserve(count)
        self._take_slots(slots)
        if tokens.data_ptr() != stage.tokens.data_ptr():
            stage.tokens[:count].copy_(tokens)
        stage.run(("pass", *self._laid, self._looks), partial(_passing, stage, self.network, self._whole, self._looks))
        self._longest += 1
        return stage.hidden[:count], stage.logits[:count]

    def _take_slots(self, slots: Slots) -> None:
        """Have slots stand in the stage, with room for one more token of each row."""
        stage, count = self._stage, slots.rows
        changed = slots is not self._slots or slots.changes != self._passed
        for name in ("lengths", "behind"):
            whole, value = getattr(stage, name), getattr(slots, name)
            if value.data_ptr() != whole.data_ptr():
                whole.zero_()
                whole[:count].copy_(value)
                setattr(slots, name, whole[:count])
                changed = True
        if changed or columns_of(self._longest + 1) > slots.columns:
            self._longest = int(slots.lengths.max())
        self._take_caches(slots)
        if changed:
            looks = [(look.shelf.keys.shape[3], look) for look in slots.prompts.looks(slots.spots)]
            self._looks = tuple(sorted((columns, *stage.table(look.shelf).fill(look)) for columns, look in looks))
            stage.check(self._parameters)
        self._slots, self._passed = slots, slots.changes

    def _take_caches(self, slots: Slots) -> None:
        stage, count, columns = self._stage, slots.rows, max(slots.columns, columns_of(self._longest + 1))
        laid = rounded(count, ROW_STEPS), GROWTH * rounded(columns // GROWTH, COLUMN_STEPS)
        if not stage.holds(slots.keys) or laid != self._laid:
            before = slots.keys, slots.values
            if stage.holds(slots.keys):
                before = slots.keys.clone(), slots.values.clone()
            self._laid, self._whole = laid, stage.lay(*laid)
            for whole, part in zip(self._whole, before, strict=True):
                whole.zero_()  # what is not finite must not meet a mask
                whole[:, :count, :, : part.shape[3]] = part
        elif columns == slots.columns:
            return
        slots.keys, slots.values = (whole[:, :count, :, :columns] for whole in self._whole)


def _drawing(stage: Stage, rows: Rows, work: Work) -> Body:
    """What draws the next token of every row, and moves it on."""
    count, grammar = len(rows.place), stage.grammar
    assert grammar
    logits, kept, over = stage.logits[:count], stage.tokens[:count], stage.over[:count]
    by = partial(draw_with, work=work)

    def body() -> None:
        tokens = rows.draw(logits, grammar, by)
        over.copy_(rows.advance(tokens, grammar))
        kept.copy_(tokens)

    return body


def _passing(stage: Stage, network: Network, caches: Sequence[Tensor], looks: Sequence[tuple[int, int, int]]) -> Body:
    """What takes the last token of every row through the network."""
    _, count, heads, columns, _ = caches[0].shape
    keys, values = (one.flatten(1, 2) for one in caches)
    tokens, lengths, behind = stage.tokens[:count, None], stage.lengths[:count, None], stage.behind[:count, None]
    last, logits = stage.hidden[:count], stage.logits[:count]
    prompts = [stage.shelves[width].look(count, many, most) for width, many, most in looks]

    def body() -> None:
        beyond = torch.arange(columns, device=lengths.device) > lengths
        mask = torch.zeros(beyond.shape, dtype=keys.dtype, device=keys.device).masked_fill(beyond, -torch.inf)
        mask = mask[:, None].expand(-1, heads, -1).reshape(count * heads, 1, columns)
        at = torch.arange(count * heads, device=lengths.device), lengths.expand(-1, heads).reshape(-1)
        standing = Standing(keys, values, at, [(slice(None), columns, mask)], prompts)
        hidden = network.hidden(tokens, behind + lengths, standing)[:, -1]
        last.copy_(hidden)
        logits.copy_(network.logits(hidden))

    return body
