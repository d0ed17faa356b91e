# pyright: basic, reportMissingImports=false
# trl lives in this peer's environment alone.
"""TRL: how GRPOTrainer writes its rollouts, with no reward and no training step."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.peers.protocol import Ids, Order, serve

# Measured with 64 and 512 contexts, one thread: 64 at a time 1,750 and 2,100 tokens a CPU second, 32 1,560 and 2,110.
BATCH = 64


class Rollout:
    """GRPOTrainer, held at its generation."""

    name, version = "TRL GRPO rollout", trl.__version__

    def __init__(self, model: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        settings = trl.GRPOConfig(
            output_dir=str(Path(sys.prefix) / "rollouts"),
            per_device_train_batch_size=BATCH,
            num_generations=8,
            use_cpu=True,
            bf16=False,  # float32 as all peers
            report_to=[],
        )
        self.trainer = trl.GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=settings,
            train_dataset=Dataset.from_list([{"prompt": "1"}] * BATCH),
            processing_class=AutoTokenizer.from_pretrained(model),
        )

    def prepare(self, order: Order) -> None:
        """Nothing is made once."""

    def generate(self, order: Order) -> list[Ids]:
        """The continuation of every context, in batches as they come: TRL keeps the groups of a prompt together."""
        torch.manual_seed(order.seed)
        self._settle(order)
        written: list[Ids] = []
        for start in range(0, len(order.contexts), BATCH):
            batch = list(order.contexts[start : start + BATCH])
            written += self.trainer._generate_single_turn(batch, None, {}, num_generations=1)[0]
        return written

    def score(self, contexts: Sequence[Ids]) -> None:
        """Not offered: the transformers worker measures it."""
        raise NotImplementedError("TRL does not score here")

    def forget(self) -> None:
        """Nothing is kept between orders."""

    def _settle(self, order: Order) -> None:
        """TRL makes these once, from its own settings; an order replaces what differs."""
        ours = {
            "max_new_tokens": order.most,
            "eos_token_id": list(order.stops),
            "do_sample": order.temperature > 0,
            "temperature": order.temperature or 1.0,
        }
        self.trainer.generation_kwargs |= ours
        self.trainer.generation_config.update(**ours)
        self.trainer.eos_token_ids = list(order.stops)


if __name__ == "__main__":
    serve(Rollout)
