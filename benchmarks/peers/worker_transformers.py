"""transformers: `generate` over padded batches, or its continuous batching over pages, as ``argv`` says."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from benchmarks.peers.protocol import Ids, Order, serve

# Measured with 512 contexts of 59 tokens, one thread, tokens a CPU second: all at once 1,400; sorted by length in
# batches of 128 2,500, of 64 3,300, of 32 3,100. With 64 contexts: in one batch 1,750, of 32 2,290.
BATCH = 32
# The same for continuous batching: 8 requests at a time 1,700, 16 2,500, 24 2,600, 32 2,200, 64 1,500; pages of 32 or
# 256 tokens, the default, are slower. Compiling had not ended after 150 seconds.
PAGES: dict[str, Any] = {"max_requests_per_batch": 24, "page_size": 16, "num_blocks": 2048, "max_batch_tokens": 512}


class Padded:
    """`generate` over left-padded batches of like lengths."""

    name, version = "transformers generate", transformers.__version__

    def __init__(self, model: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.pad: int = self.model.config.pad_token_id or 0

    def prepare(self, order: Order) -> None:
        """Nothing is made once."""

    def generate(self, order: Order) -> list[Ids]:
        """The continuation of every context."""
        torch.manual_seed(order.seed)
        written: list[Ids] = [[] for _ in order.contexts]
        for places in batches(order.contexts):
            for place, ids in zip(places, self._batch([order.contexts[place] for place in places], order), strict=True):
                written[place] = ids
        return written

    def score(self, contexts: Sequence[Ids]) -> None:
        """The hidden states of every context, as a reward model would have to make them: no vocabulary head."""
        for places in batches(contexts):
            ids, real = padded([contexts[place] for place in places], self.pad)
            with torch.inference_mode():
                self.model.model(input_ids=ids, attention_mask=real, use_cache=False)

    def forget(self) -> None:
        """Nothing is kept between orders."""

    def _batch(self, contexts: Sequence[Ids], order: Order) -> list[Ids]:
        ids, real = padded(contexts, self.pad)
        with torch.inference_mode():
            out = self.model.generate(input_ids=ids, attention_mask=real, generation_config=drawing(order, self.pad))
        return [until_stop(row, order.stops) for row in out[:, ids.shape[1] :].tolist()]


class Continuous:
    """Continuous batching: a manager that runs for as long as orders have the same settings."""

    name, version = "transformers continuous batching", transformers.__version__

    def __init__(self, model: Path, threads: int) -> None:
        self.padded = Padded(model, threads)
        self.manager: Any = None
        self.order: Order | None = None

    def prepare(self, order: Order) -> None:
        """A manager with the order's settings, running."""
        if self.order is None or settings(order) != settings(self.order):
            self.order = order
            self.forget()

    def generate(self, order: Order) -> list[Ids]:
        """The continuation of every context."""
        return self._finish(order.contexts, order.most)

    def score(self, contexts: Sequence[Ids]) -> None:
        """As `Padded.score`."""
        self.padded.score(contexts)

    def forget(self) -> None:
        """Replace the manager, whose pages go with it; the seed is that of the first order."""
        if self.manager is not None:
            self.manager.stop(block=True)
            self.manager.destroy()
        if self.order is not None:
            pages = ContinuousBatchingConfig(**PAGES, seed=self.order.seed)
            self.manager = self.padded.model.init_continuous_batching(drawing(self.order, self.padded.pad), pages)
            self.manager.start()
            # The manager makes its pages with the first request, which is not the next order's to pay for.
            self._finish([[self.padded.pad]], most=1)

    def _finish(self, contexts: Sequence[Ids], most: int) -> list[Ids]:
        requests = self.manager.add_requests(list(contexts), max_new_tokens=most)
        places = {request: place for place, request in enumerate(requests)}
        written: list[Ids] = [[] for _ in places]
        for _ in places:
            result = self.manager.get_result()
            if result is None or result.error:
                raise RuntimeError(result.error if result else "the continuous batching manager stopped")
            written[places[result.request_id]] = list(result.generated_tokens)
        return written


def settings(order: Order) -> tuple[object, ...]:
    """What a manager is made for: an order that differs in these needs another."""
    return tuple(order.stops), order.most, order.temperature


def batches(contexts: Sequence[Ids]) -> list[list[int]]:
    """The places of contexts of like lengths, BATCH at a time."""
    by_length = sorted(range(len(contexts)), key=lambda place: len(contexts[place]))
    return [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]


def padded(contexts: Sequence[Ids], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids padded on the left, and which of them are real; both (contexts, width)."""
    width = max(map(len, contexts))
    ids = torch.tensor([[pad] * (width - len(context)) + context for context in contexts])
    return ids, torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context in contexts])


def drawing(order: Order, pad: int) -> GenerationConfig:
    """An order's settings in transformers' words."""
    sampled = {"do_sample": True, "temperature": order.temperature, "top_k": 0, "top_p": 1.0}
    how = sampled if order.temperature else {"do_sample": False}
    return GenerationConfig(max_new_tokens=order.most, eos_token_id=list(order.stops), pad_token_id=pad, **how)


def until_stop(ids: Ids, stops: Sequence[int]) -> Ids:
    """What was written, without the padding that follows the first stop."""
    ends = [place for place, token in enumerate(ids) if token in stops]
    return ids[: ends[0] + 1] if ends else ids


if __name__ == "__main__":
    serve({"generate": Padded, "continuous": Continuous}[sys.argv[3]])
