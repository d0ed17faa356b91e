"""Continuous batching: rows join and leave at every step, and all of them decode one token a step.

A job is one context and n samplings of what follows it. Its context is read once, whatever n is, and a prompt that was
read before is not read again. A job with many samples takes turns with the others for free rows. Memory stays within
a budget: a row that has no room waits, and those behind it with it, so that no size starves; where the rows outgrow the
budget the youngest one begins again later.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ponder.engine.decoder import Decoder, decoder_for
from ponder.engine.grammar import Grammar
from ponder.engine.jobs import Job, Written, call
from ponder.engine.kv_cache import GROWTH, Slots, columns_of
from ponder.engine.reader import Known, Read, Reader
from ponder.engine.rows import Begun, Rows
from ponder.engine.spans import cut, token_bytes
from ponder.errors import SamplerError
from ponder.model.heads import Head
from ponder.model.network import Causal
from ponder.model.sizes import Sizes
from ponder.types import Surprise

COMPACT = 0.75
"""Free rows are taken out of the batch once no more than this share is in use, where nobody waits for them."""
SPARE = 0.25
"""Where free rows and columns are not computed, there are at least this share more of them once they do not suffice:
growing copies all that the rows hold."""
SORT_EVERY = 128
"""Steps after which the rows are arranged again. Where they are sorted by length, the shortest context takes the first
free slot between, and a chain's next context is about as long as its last one, so that they stay nearly sorted."""
SORTED_ROWS = 64
"""Fewer rows are not worth sorting."""
MOST_ROWS, MOST_CUDA_ROWS = 512, 4096
"""Most rows that decode in one batch unless told otherwise; the latter on CUDA, where many take little more time."""
MOST_BYTES = 2**31
"""Memory for caches: half of it for rows (growing holds half as much again for a moment), an eighth for remembered
prompts, and the rest for what is being read. Weights, and what a pass works with, are not in it."""


class _Owner(NamedTuple):
    job: Job
    sample: int
    number: int
    """Rows are numbered as they begin."""
    before: tuple[float, float] | None


class _Joining(NamedTuple):
    job: Job
    sample: int
    shares: bool
    """Whether its prompt stands apart, for other rows too."""


@dataclass(eq=False)
class Scheduler:
    """One network's batch of rows, and the jobs that wait for a row."""

    network: Causal
    grammar: Grammar
    most_rows: int = MOST_ROWS
    most_bytes: int = MOST_BYTES
    head: Head | None = None
    native: bool = True
    """Whether compiled kernels compute where they can."""
    before_pass: Callable[[], None] = lambda: None
    """Called before all rows go through the network, which leaves the interpreter to other threads."""
    decoder: Decoder = field(init=False)
    evicted: int = 0
    """Rows that had to begin again for want of memory."""
    _waiting: deque[Job] = field(default_factory=deque[Job])
    _owners: list[_Owner | None] = field(default_factory=list[_Owner | None])
    """By slot; None for a free one."""
    _begun: int = 0
    _unsorted: int = 0
    """Steps since the rows were sorted."""

    def __post_init__(self) -> None:
        shape = self.network.shape
        first = next(self.network.parameters())
        self._device, each = first.device, token_bytes(shape, first.dtype)
        self.decoder = decoder_for(self.network, self.native)
        self._slots, self._rows = Slots(shape, self._device, first.dtype), Rows.none(self._device)
        self._reader = Reader(self.network, self.decoder, self.head, self.most_bytes // 8)
        self._room = self.most_bytes // 2 // each
        """Tokens of all rows and their prompts together, unused columns included."""
        self._wanted: Counter[tuple[int, ...]] = Counter()
        """Samples of each prompt that decode or wait."""
        if self.most_bytes < (least := least_bytes(shape, first.dtype)):
            raise SamplerError(
                f"a memory budget of {self.most_bytes:,} bytes does not hold one row of "
                f"{shape.max_position_embeddings:,} tokens: give it at least {least:,}"
            )
        self._logits = torch.zeros(0, shape.vocab_size, device=self._device)

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._waiting) or any(self._owners)

    @property
    def decoding(self) -> int:
        """Rows that decode for somebody."""
        return len(self._owners) - self._owners.count(None)

    @property
    def idle(self) -> bool:
        """Whether nothing waits or decodes, and nothing is held for anybody who did."""
        return not (self.busy or self._wanted or self._slots.prompts.users or any(self._slots.spots))

    @property
    def bytes(self) -> int:
        """Memory that the rows' caches and the remembered prompts take."""
        each = token_bytes(self.network.shape, self._slots.keys.dtype)
        return self._slots.tokens * each + self._reader.bytes

    @property
    def read_tokens(self) -> int:
        """Context tokens that had to be computed so far; the others were known."""
        return self._reader.read_tokens

    def refresh(self) -> None:
        """Another process has changed the weights: what was read with the old ones is not to be used again."""
        self._reader.forget()

    def submit(self, job: Job) -> None:
        """Put a job in the queue."""
        self._waiting.append(job)
        self._wanted[job.prompt] += len(job.samplings)

    def cancel(self, job: Job) -> None:
        """Forget a job; its rows are free from the next step on."""
        job.cancelled = True

    @torch.inference_mode()
    def step(self) -> None:
        """Give free rows to waiting jobs, and decode one token for every row."""
        with self.decoder.alone():
            self._step()

    def _step(self) -> None:
        self._drop_cancelled()
        self._admit()
        self._arrange()
        if not any(self._owners):
            return
        tokens, ended = self.decoder.draw(self._rows, self._logits, self.grammar)
        over = sorted({*ended, *self._tell(tokens)})
        if self.head is None:  # otherwise the last token, too, must go through the network
            self._finish(over, None)
            over = []
        if any(self._owners):
            self._decode(tokens, over)

    # --- rows that join and leave ---------------------------------------------------------------------------------

    def _drop_cancelled(self) -> None:
        if any(job.cancelled for job in self._waiting):
            for job in self._waiting:
                self._forget(job.prompt, len(job.pending) if job.cancelled else 0)
                if job.cancelled:
                    self._reader.give_up(job.context)
            self._waiting = deque(job for job in self._waiting if not job.cancelled)
        gone = [slot for slot, owner in enumerate(self._owners) if owner and owner.job.cancelled]
        self._free(gone)
        if gone and not self.decoding:
            self._keep([])

    def _free(self, slots: list[int]) -> None:
        if not slots:
            return
        for slot in slots:
            if owner := self._owners[slot]:
                self._forget(owner.job.prompt, 1)
            self._owners[slot] = None
        self._rows.free(slots)
        self._slots.free(slots)

    def _forget(self, prompt: tuple[int, ...], samples: int) -> None:
        self._wanted[prompt] -= samples
        if not self._wanted[prompt]:
            del self._wanted[prompt]

    def _admit(self) -> None:
        """Seat waiting samples, each job in its turn, while there are rows, memory, and time to read."""
        if not self._waiting:
            return
        if self._reader.refresh():
            self._slots.prompts.forget()
        joining: list[_Joining] = []
        contexts = dict[tuple[int, ...], Known]()
        used, tokens = self.decoding, 1
        prompts, grown = set[tuple[int, ...]](), 0
        while self._waiting:
            job = self._waiting[0]
            if used + len(joining) >= self.most_rows:
                break
            rows = max(used + len(joining) + 1, len(self._owners))
            shares = job.shared > 0 and self._wanted[job.prompt] > 1
            new = shares and job.prompt not in prompts
            with_it = self._slots.prompts.growth(prompts | {job.prompt}) if new else grown
            own = max(tokens, len(job.context) + 1 - shares * job.shared)
            if shares and not (used or joining) and not self._fits(rows, own, with_it):
                # Where memory is short, a prompt that stands apart, with its shelf, may not fit where a plain row does.
                shares, with_it, own = False, 0, len(job.context) + 1
            if not self._fits(rows, own, with_it):
                if joining or not self._trim():
                    break
                continue
            known = contexts | {job.context: Known(job.shared, job.after)}
            if joining and max(map(len, known)) * len(known) > self._reader.at_once:
                break
            if not joining and self._reader.begin(job.context, known[job.context]):
                return
            contexts, tokens, grown = known, own, with_it
            prompts |= {job.prompt} if shares else set()
            self._waiting.popleft()
            joining.append(_Joining(job, job.pending.popleft(), shares))
            if job.pending:
                self._waiting.append(job)
        if not joining:
            return
        self._seat(joining, self._reader.read(contexts))

    def _fits(self, rows: int, tokens: int, grown: int) -> bool:
        """Whether there is room for so many rows of so many own tokens, where the prompts grow by so many."""
        return rows * self._slots.columns_for(tokens) + self._slots.prompts.tokens + grown <= self._room

    def _seat(self, joining: list[_Joining], read: Mapping[tuple[int, ...], Read]) -> None:
        slots = [slot for slot, owner in enumerate(self._owners) if owner is None]
        own = {one: len(one.job.context) - one.shares * one.job.shared for one in joining}
        if more := max(0, len(joining) - len(slots)):
            more = self._growth(more, max(own.values()) + 1)
            slots += range(len(self._owners), len(self._owners) + more)
            self._owners += [None] * more
            self._rows.extend(more)
            self._logits = torch.cat((self._logits, self._logits.new_zeros(more, self._logits.shape[1])))
        slots, joining = slots[: len(joining)], sorted(joining, key=lambda one: own[one])
        hidden = torch.stack([read[one.job.context].hidden for one in joining])
        ratings = self._reader.rate(hidden, [one.job.surprises for one in joining])
        self._slots.reserve(len(self._owners), max(own.values()) + 1)
        self._rows.seat(slots, [Begun(one.job.place, one.job.limit, one.job.samplings[one.sample]) for one in joining])
        paid = set[tuple[int, ...]]()
        for slot, (job, sample, shares), rating in zip(slots, joining, ratings, strict=True):
            (spans, logits, _, known), behind = read[job.context], job.shared if shares else 0
            if job.known is None:  # of jobs that join with the same context, one has it computed
                job.known = len(job.context) if job.context in paid else known
            paid.add(job.context)
            prompt = self._slots.prompts.join(job.prompt, cut(spans, 0, behind)) if shares else None
            self._slots.put(slot, *cut(spans, behind), prompt=prompt, behind=behind)
            self._logits[slot] = logits
            self._owners[slot] = _Owner(job, sample, self._begun, rating)
            self._begun += 1

    def _growth(self, more: int, tokens: int) -> int:
        """By how many rows to grow where so many are missing, for at least so many tokens in each."""
        if self.decoder.dense:
            return more
        waiting = more + sum(len(job.pending) for job in self._waiting)  # they would have it grow again at once
        wanted = min(max(waiting, int(SPARE * len(self._owners))), self.most_rows - len(self._owners))
        return wanted if self._fits(len(self._owners) + wanted, tokens, 0) else more

    @property
    def _full(self) -> bool:
        """Whether the longest row needs more columns for its next token."""
        return int(self._slots.lengths.max()) >= self._slots.columns

    def _spare_columns(self) -> None:
        """Where more columns are needed, make some more than that."""
        more = self._slots.columns + int(SPARE * self._slots.columns)
        if self._full and self._fits(len(self._owners), more, 0):
            self._slots.reserve(len(self._owners), more)

    def _trim(self) -> bool:
        """Give up free rows and unused columns; False where there are none."""
        used = [slot for slot, owner in enumerate(self._owners) if owner]
        before = len(self._owners), self._slots.columns
        if len(used) == before[0] and self._slots.columns_of(used) == before[1]:
            return False
        self._keep(used)
        return True

    def _arrange(self) -> None:
        """Take out free rows and unused columns; where the decoder computes all rows together, at once where nobody
        waits for them, and sort many rows by length now and then."""
        used = [slot for slot, owner in enumerate(self._owners) if owner]
        idle = not self._waiting and len(used) <= COMPACT * len(self._owners)
        self._unsorted += 1
        due = self._unsorted >= SORT_EVERY
        if idle and used and not self.decoder.dense:
            due = due or self._full  # before free rows are copied into more columns
        if self.decoder.dense:
            wanted = idle or (due and len(used) >= SORTED_ROWS)
        else:
            wanted = due and (idle or 2 * self._slots.columns_of(used) <= self._slots.columns)
        if wanted:
            lengths = self._slots.lengths.tolist()
            self._keep(sorted(used, key=lambda slot: lengths[slot]))
        if wanted or due:
            self._unsorted = 0

    def _keep(self, slots: list[int]) -> None:
        kept = torch.tensor(slots, dtype=torch.long, device=self._device)
        self._slots.keep(kept)
        self._rows.keep(kept)
        self._logits = self._logits[kept]
        self._owners = [self._owners[slot] for slot in slots]

    def _make_room(self, over: Collection[int]) -> list[int] | None:
        """Before a step that outgrows the memory: the youngest rows go back to the queue; the slots that stay.

        Rows that are over stay for their last step: they would not end at the same place again.
        """
        most = self._slots.columns + GROWTH  # where it suffices, no device need be asked for the longest row
        if len(self._owners) * most + self._slots.prompts.tokens <= self._room:
            return None
        longest = int(self._slots.lengths.max()) + 1
        if len(self._owners) * self._slots.columns_for(longest) + self._slots.prompts.tokens <= self._room:
            return None
        rows = {slot: owner for slot, owner in enumerate(self._owners) if owner}
        young = sorted((slot for slot in rows if slot not in over), key=lambda slot: rows[slot].number)
        while young and len(rows) > 1 and self._slots.tokens_with(list(rows)) > self._room:
            owner = rows.pop(young.pop())
            owner.job.pending.appendleft(owner.sample)
            if owner.job not in self._waiting:
                self._waiting.appendleft(owner.job)
            self.evicted += 1
        return list(rows)

    # --- one step -------------------------------------------------------------------------------------------------

    def _tell(self, tokens: Tensor) -> list[int]:
        """Tell the listeners; returns the slots that they want to end."""
        heard = [(slot, owner) for slot, owner in enumerate(self._owners) if owner and owner.job.hear]
        ended: list[int] = []
        if heard:
            values, drawn = torch.stack((tokens, self._rows.drawn)).tolist()
            for slot, owner in heard:
                job, sample = owner.job, owner.sample
                if drawn[slot] > job.heard[sample]:
                    assert job.hear
                    job.heard[sample] = drawn[slot]
                    ended += [slot] if call(job, partial(job.hear, sample, values[slot])) else []
        return ended

    def _finish(self, slots: list[int], hidden: Tensor | None) -> None:
        """Free these rows and hand over what they wrote, rated after its last token (n, hidden)."""
        if not slots:
            return
        owners, texts = [self._owners[slot] for slot in slots], self._rows.read(slots)
        surprises = [Surprise.of(logprobs) for _, logprobs in texts]
        past = [owner.job.surprises if owner else () for owner in owners]
        chains = [(*before, own) for before, own in zip(past, surprises, strict=True)]
        ratings = [None] * len(slots) if hidden is None else self._reader.rate(hidden, chains)
        self._free(slots)
        broken = False
        for owner, (tokens, logprobs), surprise, rating in zip(owners, texts, surprises, ratings, strict=True):
            assert owner
            if damaged := _damaged(logprobs, (*(owner.before or ()), *(rating or ()))):
                owner.job.cancelled = True
                owner.job.failed(SamplerError(f"{damaged} is not finite: its weights are damaged"))
                broken = True
                continue
            written = Written(owner.job, owner.sample, tokens, logprobs, surprise, owner.before, rating)
            call(owner.job, partial(owner.job.done, written))
        if broken:
            self._slots.clean()

    def _decode(self, tokens: Tensor, over: list[int]) -> None:
        """One token of every row through the network; rows that are over are rated and leave."""
        stay = self._make_room(over)
        if stay is not None:
            tokens = tokens[torch.tensor(stay, device=self._device)]
            over = [at for at, slot in enumerate(stay) if slot in set(over)]
            self._keep(stay)
        if not self.decoder.dense:
            self._spare_columns()
        self.before_pass()
        hidden, self._logits = self.decoder.decode(tokens, self._slots, self._rows.active)
        self._slots.lengths += self._rows.active
        if over:
            self._finish(over, hidden[torch.tensor(over, device=self._device)])


def _damaged(logprobs: Sequence[float], ratings: Sequence[float]) -> str | None:
    """Whose output holds infinities or what is no number."""
    if not all(map(math.isfinite, logprobs)):
        return "the network's output"
    return None if all(map(math.isfinite, ratings)) else "the head's rating"


def least_bytes(shape: Sizes, dtype: torch.dtype = torch.float32) -> int:
    """The memory budget in which one row of a network may fill its window."""
    return 2 * token_bytes(shape, dtype) * columns_of(shape.max_position_embeddings)
