"""Continuous batching: rows join and leave at every step, and all of them decode one token a step.

A job is one context and n samplings of what follows it. Its context is read once, whatever n is, and a prompt that was
read before is not read again. A job with many samples takes turns with the others for free rows.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ponder.engine.grammar import AT, Grammar
from ponder.engine.kv_cache import Reading, Slots, Span, Store, empty_span
from ponder.engine.sampling import draw
from ponder.interfaces import Limit, Sampling
from ponder.model.network import Network
from ponder.text.format import Place

READ_AT_ONCE = 8192
"""Most context tokens of one step and of one pass, padding included, so that reading does not hold up the decoding; a
single longer context has a step of its own."""
COMPACT = 0.75
"""With nobody waiting, free rows are taken out of the batch once no more than this share is in use."""
MOST_ROWS = 256
"""Most rows that decode in one batch."""
STORE_BYTES = 2**28
WRITTEN = 256
"""Tokens by which the record of what is written grows."""


@dataclass(eq=False)
class Job:
    """A context and what to sample after it."""

    context: tuple[int, ...]
    shared: int
    """So many of its first tokens, the prompt, are worth remembering for other jobs."""
    answering: bool
    limit: Limit
    samplings: Sequence[Sampling]
    done: "Callable[[Written], None]"
    """Called for each sample once it is complete."""
    failed: Callable[[Exception], None]
    """Called once where `done` or `hear` raises; the job is cancelled then, and no other suffers."""
    hear: Callable[[int, int], None] | None = None
    """Called with a sample's number and each of its tokens."""
    cancelled: bool = False
    started: int = 0
    """Samples that have got a row."""
    read: tuple[tuple[Span, ...], Tensor] | None = None
    """The context's cache, and the logits (V,) of what comes first."""


class Written(NamedTuple):
    """One sample of a job."""

    job: Job
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(eq=False)
class _Rows:
    """Per slot, what sampling needs to know; the first axis of every tensor is the slots."""

    place: Tensor
    left: Tensor
    answer_limit: Tensor
    seeds: Tensor
    drawn: Tensor
    temperatures: Tensor
    top_ps: Tensor
    active: Tensor
    written: Tensor
    """(S, tokens)"""
    logprobs: Tensor

    @classmethod
    def none(cls, device: torch.device) -> "_Rows":
        def zeros(*size: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        real = torch.float32
        return cls(
            place=zeros(0),
            left=zeros(0),
            answer_limit=zeros(0),
            seeds=zeros(0),
            drawn=zeros(0),
            temperatures=zeros(0, dtype=real),
            top_ps=zeros(0, dtype=real),
            active=zeros(0, dtype=torch.bool),
            written=zeros(0, WRITTEN),
            logprobs=zeros(0, WRITTEN, dtype=real),
        )

    def keep(self, slots: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[slots])

    def extend(self, rows: int) -> None:
        """Room for more rows."""
        for name, value in vars(self).items():
            more = torch.zeros(rows, *value.shape[1:], dtype=value.dtype, device=value.device)
            setattr(self, name, torch.cat((value, more)))

    def lengthen(self) -> None:
        """Room for more tokens."""
        for name in ("written", "logprobs"):
            value = getattr(self, name)
            setattr(self, name, torch.cat((value, torch.zeros_like(value[:, :WRITTEN])), dim=1))


@dataclass(eq=False)
class Scheduler:
    """One network's batch of rows, and the jobs that wait for a row."""

    network: Network
    grammar: Grammar
    most_rows: int
    read_tokens: int = 0
    """Context tokens that had to be computed so far; the others were known."""
    _waiting: deque[Job] = field(default_factory=deque[Job])
    _owners: list[tuple[Job, int] | None] = field(default_factory=list[tuple[Job, int] | None])
    """By slot, the job and which of its samples; None for a free slot."""

    def __post_init__(self) -> None:
        self._device = next(self.network.parameters()).device
        self._slots = Slots(self.network.shape, self._device)
        self._store = Store(STORE_BYTES)
        self._version = -1
        self._rows = _Rows.none(self._device)
        self._logits = torch.zeros(0, self.network.shape.vocab_size, device=self._device)

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._waiting) or any(self._owners)

    def submit(self, job: Job) -> None:
        """Put a job in the queue."""
        self._waiting.append(job)

    def cancel(self, job: Job) -> None:
        """Forget a job; its rows are free from the next step on."""
        job.cancelled = True

    @torch.inference_mode()
    def step(self) -> None:
        """Give free rows to waiting jobs, and decode one token for every row."""
        self._drop_cancelled()
        self._admit()
        self._compact()
        if not any(self._owners):
            return
        tokens = self._draw()
        finished = self._advance(tokens)
        for written in finished:
            _call(written.job, partial(written.job.done, written))
        if any(self._owners):
            self._decode(tokens)

    # --- rows that join and leave ---------------------------------------------------------------------------------

    def _drop_cancelled(self) -> None:
        if any(job.cancelled for job in self._waiting):
            self._waiting = deque(job for job in self._waiting if not job.cancelled)
        self._free([slot for slot, owner in enumerate(self._owners) if owner and owner[0].cancelled])

    def _free(self, slots: list[int]) -> None:
        if not slots:
            return
        for slot in slots:
            self._owners[slot] = None
        at = torch.tensor(slots, device=self._device)
        self._rows.active[at] = False
        self._rows.temperatures[at] = 0.0
        self._slots.lengths[at] = 0

    def _admit(self) -> None:
        room = self.most_rows - sum(owner is not None for owner in self._owners)
        joining: list[tuple[Job, int]] = []
        reading: dict[Job, None] = {}
        while self._waiting and len(joining) < room:
            job = self._waiting[0]
            if job.read is None and job not in reading:
                widest = max(len(one.context) for one in (job, *reading))
                if reading and widest * (len(reading) + 1) > READ_AT_ONCE:
                    break
                reading[job] = None
            self._waiting.popleft()
            joining.append((job, job.started))
            job.started += 1
            if job.started < len(job.samplings):
                self._waiting.append(job)
        if not joining:
            return
        self._read(list(reading))
        free = [slot for slot, owner in enumerate(self._owners) if owner is None]
        if more := max(0, len(joining) - len(free)):
            free += range(len(self._owners), len(self._owners) + more)
            self._owners += [None] * more
            self._rows.extend(more)
            self._logits = torch.cat((self._logits, self._logits.new_zeros(more, self._logits.shape[1])))
        self._slots.reserve(len(self._owners), max(len(job.context) for job, _ in joining) + 1)
        self._seat(free[: len(joining)], joining)

    def _seat(self, slots: list[int], joining: list[tuple[Job, int]]) -> None:
        rows, samplings = self._rows, [job.samplings[sample] for job, sample in joining]
        at = torch.tensor(slots, device=self._device)

        def fill(target: Tensor, values: Sequence[float]) -> None:
            target[at] = torch.tensor(values, dtype=target.dtype, device=self._device)

        answering = [job.answering for job, _ in joining]
        fill(rows.place, [AT[Place.ANSWER if now else Place.BETWEEN] for now in answering])
        fill(rows.left, [job.limit.answer if job.answering else job.limit.thinking for job, _ in joining])
        fill(rows.answer_limit, [job.limit.answer for job, _ in joining])
        fill(rows.seeds, [(one.seed + 2**63) % 2**64 - 2**63 for one in samplings])
        fill(rows.temperatures, [one.temperature for one in samplings])
        fill(rows.top_ps, [one.top_p for one in samplings])
        rows.drawn[at], rows.active[at] = 0, True
        for slot, (job, sample) in zip(slots, joining, strict=True):
            assert job.read
            spans, first = job.read
            self._slots.put(slot, *spans)
            self._logits[slot] = first
            self._owners[slot] = (job, sample)
            if sample == len(job.samplings) - 1:
                job.read = None

    def _read(self, jobs: list[Job]) -> None:
        """Compute the caches of contexts, each once, behind what is known of their prompts."""
        version = sum(parameter._version for parameter in self.network.parameters())
        if version != self._version:  # the trainer has changed the weights in place
            self._store.clear()
            self._version = version
        contexts = {job.context: job.shared for job in jobs}
        known = [self._known(context[:shared], len(context) - 1) for context, shared in contexts.items()]
        parts = [(span, context[span.tokens :]) for span, context in zip(known, contexts, strict=True)]
        read: dict[tuple[int, ...], tuple[tuple[Span, Span], Tensor]] = {}
        for (context, shared), before, (span, logits) in zip(
            contexts.items(), known, self._compute(parts), strict=True
        ):
            read[context] = (before, span), logits
            if before.tokens < shared - 1:
                self._store.keep(context[:shared], span.first(shared))
        for job in jobs:
            job.read = read[job.context]

    def _known(self, prompt: tuple[int, ...], most: int) -> Span:
        """What the store has of a prompt, at most so many tokens: the last one of a context is always read."""
        found = self._store.find(prompt) if prompt else None
        return found.first(most) if found else empty_span(self.network.shape, self._device)

    def _compute(self, parts: list[tuple[Span, tuple[int, ...]]]) -> list[tuple[Span, Tensor]]:
        """For tokens behind known spans, their spans and the logits after the last one."""
        found: dict[int, tuple[Span, Tensor]] = {}
        sizes = [span.tokens + len(ids) for span, ids in parts]
        order = sorted(range(len(parts)), key=lambda index: sizes[index])
        while order:
            group = order[-max(1, READ_AT_ONCE // sizes[order[-1]]) :]
            del order[-len(group) :]
            known, new = zip(*(parts[index] for index in group), strict=True)
            width = max(map(len, new))
            reading = Reading(known, [len(ids) for ids in new])
            ids = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in new], device=self._device)
            hidden = self.network.hidden(ids, reading.positions, reading)
            last = hidden[torch.arange(len(group)), torch.tensor(reading.new) - 1]
            self.read_tokens += sum(reading.new)
            found |= zip(group, zip(reading.spans(), self.network.logits(last).float(), strict=True), strict=True)
        return [found[index] for index in range(len(parts))]

    def _compact(self) -> None:
        used = [slot for slot, owner in enumerate(self._owners) if owner]
        if self._waiting or len(used) > COMPACT * len(self._owners):
            return
        kept = torch.tensor(used, dtype=torch.long, device=self._device)
        self._slots.keep(kept)
        self._rows.keep(kept)
        self._logits = self._logits[kept]
        self._owners = [self._owners[slot] for slot in used]

    # --- one step -------------------------------------------------------------------------------------------------

    def _draw(self) -> Tensor:
        rows = self._rows
        logits = self._logits + self.grammar.allowed[rows.place]
        tokens = draw(logits, rows.temperatures, rows.top_ps, rows.seeds, rows.drawn)
        chosen = logits.log_softmax(dim=-1).gather(1, tokens[:, None]).squeeze(1)
        if int(rows.drawn.max()) >= rows.written.shape[1]:
            rows.lengthen()
        at = torch.arange(len(tokens), device=self._device)
        rows.written[at, rows.drawn], rows.logprobs[at, rows.drawn] = tokens, chosen
        return tokens

    def _advance(self, tokens: Tensor) -> list[Written]:
        """Move every row on by its token; returns what has finished, its rows already free."""
        rows = self._rows
        before, rows.place = rows.place, self.grammar.leads[rows.place, tokens]
        begun = (before == AT[Place.BETWEEN]) & (rows.place == AT[Place.ANSWER])
        rows.drawn = rows.drawn + rows.active
        rows.left = torch.where(begun, rows.answer_limit, rows.left) - 1
        closed = (rows.place == AT[Place.BETWEEN]) & (before == AT[Place.SUMMARY])
        over = (rows.active & (closed | (rows.place == AT[Place.DONE]) | (rows.left <= 0))).nonzero().squeeze(1)
        # A free row writes on, unheard: in an answer anything may follow.
        rows.place = rows.place.masked_fill(~rows.active, AT[Place.ANSWER]).index_fill(0, over, AT[Place.ANSWER])
        self._tell(tokens)
        slots = over.tolist()
        counts, ids, logprobs = (x[over].tolist() for x in (rows.drawn, rows.written, rows.logprobs))
        finished: list[Written] = []
        for at, slot in enumerate(slots):
            owner, count = self._owners[slot], counts[at]
            assert owner
            job, sample = owner
            finished.append(Written(job, sample, tuple(ids[at][:count]), tuple(logprobs[at][:count])))
        self._free(slots)
        return finished

    def _tell(self, tokens: Tensor) -> None:
        heard = [(slot, *owner) for slot, owner in enumerate(self._owners) if owner and owner[0].hear]
        if heard:
            values = tokens.tolist()
            for slot, job, sample in heard:
                assert job.hear
                _call(job, partial(job.hear, sample, values[slot]))

    def _decode(self, tokens: Tensor) -> None:
        self._slots.prepare()
        hidden = self.network.hidden(tokens[:, None], self._slots.lengths[:, None], self._slots)
        self._slots.lengths += self._rows.active
        self._logits = self.network.logits(hidden[:, -1]).float()


def _call(job: Job, tell: Callable[[], None]) -> None:
    """Tell a job's owner something; where that fails, it is this job's failure alone."""
    if job.cancelled:
        return
    try:
        tell()
    except Exception as err:  # whatever a listener does must not stop the others' decoding
        job.cancelled = True
        job.failed(err)
