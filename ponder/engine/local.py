"""The local sampler: extends prefixes by a block or an answer each, on this machine's own weights.

Any number of extensions may be awaited at once; the scheduler decodes all of them in one batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ponder.engine.folding import Folding
from ponder.engine.form import Form
from ponder.engine.jobs import Job, Written
from ponder.engine.limits import check
from ponder.engine.paragraphs import Paragraphs
from ponder.engine.scheduler import MOST_BYTES, MOST_ROWS, Scheduler
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Hear, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint
from ponder.text.format import BLOCKS, DIALECTS, THINK_TAGS
from ponder.types import Segment

FORMS: dict[str, Callable[[Checkpoint], Form]] = {BLOCKS.name: Folding, THINK_TAGS.name: Paragraphs}


@dataclass(eq=False)
class LocalSampler:
    """A checkpoint that generates."""

    checkpoint: Checkpoint
    most_rows: int = MOST_ROWS
    most_bytes: int = MOST_BYTES
    """Memory for what was read and written; what has no room waits."""
    native: bool = True
    """Whether compiled kernels compute where they can: see `decoder_for`."""
    scheduler: Scheduler = field(init=False)
    _driver: "asyncio.Task[None] | None" = field(default=None, init=False)
    _asides: deque[Callable[[], None]] = field(default_factory=deque[Callable[[], None]], init=False)
    _open: "set[asyncio.Future[None]]" = field(default_factory=lambda: set[asyncio.Future[None]](), init=False)

    def __post_init__(self) -> None:
        self._form = FORMS[self.checkpoint.config.dialect](self.checkpoint)
        self.scheduler = self._fresh()

    def _fresh(self) -> Scheduler:
        network = self.checkpoint.network
        grammar = self._form.grammar(next(network.parameters()).device)
        limits = self.most_rows, self.most_bytes
        return Scheduler(network, grammar, *limits, self.checkpoint.head, self.native, self._do_asides)

    def aside(self, work: Callable[[], None]) -> None:
        """Have something done, in the loop that awaits extensions, that gives another thread work: just before the
        network computes, for that leaves the interpreter to it; at once where nothing is decoded."""
        self._asides.append(work)
        if not self.scheduler.busy:
            self._do_asides()

    def _do_asides(self) -> None:
        while self._asides:
            self._asides.popleft()()

    def refresh(self) -> None:
        """Forget what was read of prompts: a trainer in another process than this one has changed the weights."""
        self.scheduler.refresh()

    def context(self, prefix: Prefix) -> tuple[int, ...]:
        """The ids that the next block, or the answer, of a prefix is generated from."""
        return self._form.context(prefix).ids

    async def extend(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """One block or answer for each sampling.

        A block closes before its limit, and none is begun that could not; an answer that reaches its limit comes back
        CUT_OFF.
        """
        check(limit, samplings, DIALECTS[self.checkpoint.config.dialect])
        context = self._form.context(prefix)
        bounded = self._form.bounded(limit, context, prefix)
        if bounded is None:
            nothing = Segment(context.ids, (), ())
            return [Extension(None, None, None, nothing, last=True) for _ in samplings]
        found: dict[int, Extension] = {}
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(written: Written) -> None:
            found[written.sample] = self._form.extension(written, prefix, bounded)
            if len(found) == len(samplings) and not finished.done():
                finished.set_result(None)

        def failed(err: Exception) -> None:
            if not finished.done():
                finished.set_exception(err)

        ear = self._form.ear(prefix, bounded, hear)
        job = Job(
            context=context.ids,
            shared=context.shared,
            place=context.place,
            limit=bounded,
            samplings=samplings,
            done=done,
            failed=failed,
            hear=None if ear.deaf else ear.hear,
            after=context.after,
            surprises=[block.surprise for block in prefix.blocks],
        )
        self._open.add(finished)
        self.scheduler.submit(job)
        self._start()
        try:
            await finished
        finally:
            self._open.discard(finished)
            if len(found) < len(samplings):
                self.scheduler.cancel(job)
        return [found[sample] for sample in range(len(samplings))]

    def extend_now(
        self, prefix: Prefix, limit: Limit, samplings: Sequence[Sampling], hear: Hear | None = None
    ) -> list[Extension]:
        """What `extend` gives, for whoever runs no event loop: returns once it is there."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.extend(prefix, limit, samplings, hear))
        raise SamplerError("extend_now would stop the event loop that runs here: await extend instead")

    def _start(self) -> None:
        """See to it that somebody steps, in the loop that waits now."""
        loop = asyncio.get_running_loop()
        if self._driver is None or self._driver.done() or self._driver.get_loop() is not loop:
            if self._driver and self._driver.get_loop().is_running() and not self._driver.done():
                raise SamplerError("the sampler is in use by another thread's event loop: give each loop its own")
            self._driver = loop.create_task(self._drive())

    async def _drive(self) -> None:
        """Step while there is work; whoever has waited for a result may submit more between two steps."""
        try:
            while self.scheduler.busy:
                self.scheduler.step()
                self._do_asides()
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise  # the loop ends, and with it all who waited: nothing is wrong with the scheduler
        except BaseException as err:  # out of memory, a device that failed, Ctrl-C: whoever waits is told why
            self.scheduler = self._fresh()
            self._do_asides()
            for waiting in tuple(self._open):
                if not waiting.done():
                    waiting.set_exception(SamplerError(f"decoding failed: {err or type(err).__name__}"))
            if not isinstance(err, Exception):
                raise
