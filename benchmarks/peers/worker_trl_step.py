# pyright: basic, reportMissingImports=false
# trl lives in this peer's environment alone.
"""TRL's GRPOTrainer, a whole step an order: sampling, rewards, backward pass, optimiser; and its loss on a given batch.

``argv``: model, threads, and settings as JSON. Then an order a line, an answer a line. Orders `loss` come before the
first `step`: from then on the trainer's own loop runs, and waits for an order before each of its steps.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.generation import LogitsProcessor, LogitsProcessorList
from trl.trainer.utils import pad


class Lengths(LogitsProcessor):
    """Ends each row after the number of tokens that it was ordered to have: no earlier, no later."""

    def __init__(self, end: int) -> None:
        self.end, self.prompt, self.lengths = end, 0, torch.zeros(0, dtype=torch.long)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        written = input_ids.shape[1] - self.prompt
        scores[:, self.end] = -torch.inf
        last = self.lengths == written + 1
        scores[last] = -torch.inf
        scores[last, self.end] = 0.0
        return scores


class Steps(TrainerCallback):
    """Waits for an order before a step, and answers after it."""

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.began = worker, 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.worker.hear_step()
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        took = time.perf_counter() - self.began
        self.worker.say(seconds=took, sampling=self.worker.sampling, tokens=self.worker.tokens)


class Worker:
    """The trainer, its orders and its answers."""

    def __init__(self, model: Path, threads: int, settings: dict[str, Any], answers: Any) -> None:
        torch.set_num_threads(threads)
        self.answers = answers
        self.settings, self.rewards, self.sampling, self.tokens = settings, list[float](), 0.0, 0
        P, G, micro = settings["prompts"], settings["samples"], settings["micro"]
        tokenizer = AutoTokenizer.from_pretrained(model)
        network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        assert len(P) * G % micro == 0
        config = trl.GRPOConfig(
            output_dir=str(Path(sys.prefix) / "steps"),
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=len(P) * G // micro,
            num_generations=G,
            max_completion_length=settings["most"],
            max_steps=settings["steps"],
            learning_rate=settings["learning_rate"],
            temperature=1.0,
            beta=0.0,
            loss_type="dr_grpo",
            scale_rewards="none",
            epsilon=0.2,
            epsilon_high=0.28,
            shuffle_dataset=False,
            gradient_checkpointing=False,  # faster; memory is compared without it
            use_cpu=True,
            bf16=False,
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        )
        self.trainer = trl.GRPOTrainer(
            model=network,
            reward_funcs=lambda completions, **_: self.rewards,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in P]),
            processing_class=tokenizer,
            callbacks=[Steps(self)],
        )
        self.lengths = Lengths(settings["end"])
        self.trainer.eos_token_ids = [settings["end"]]
        generate = network.generate

        def ordered(**given: Any) -> Any:
            start = time.perf_counter()
            self.lengths.prompt = given["input_ids"].shape[1]
            written = generate(**given, logits_processor=LogitsProcessorList([self.lengths]))
            self.sampling = time.perf_counter() - start
            self.tokens = int((written[:, self.lengths.prompt :] != tokenizer.pad_token_id).sum())
            return written

        network.generate = ordered

    def say(self, **answer: Any) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()

    def hear_step(self) -> None:
        """The next step's lengths and rewards, row by row."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        order = json.loads(line)
        self.lengths.lengths, self.rewards = torch.tensor(order["lengths"]), order["rewards"]

    def serve(self) -> None:
        """Answer orders until the first step's, then train."""
        self.say(ready=True, name="TRL GRPOTrainer", version=trl.__version__)
        for line in sys.stdin:
            order = json.loads(line)
            if order.pop("do") == "train":
                self.trainer.train()
                return
            self.say(**self.loss(**order))

    def loss(
        self,
        prompts: list[Any],
        completions: list[Any],
        old: list[Any],
        advantages: list[float],
        kind: str,
        length: int,
    ) -> dict[str, float]:
        """Loss and norm of its gradient on a batch."""
        trainer = self.trainer
        trainer.loss_type, trainer.max_completion_length = kind, length
        model = trainer.model.eval()
        texts = [torch.tensor(ids) for ids in completions]
        inputs = {
            "prompt_ids": pad([torch.tensor(ids) for ids in prompts], 0, padding_side="left"),
            "prompt_mask": pad([torch.ones(len(ids), dtype=torch.long) for ids in prompts], 0, padding_side="left"),
            "completion_ids": pad(texts, 0),
            "completion_mask": pad([torch.ones_like(one) for one in texts], 0),
            "old_per_token_logps": pad([torch.tensor(one) for one in old], 0.0),
            "advantages": torch.tensor(advantages),
            "num_items_in_batch": torch.tensor(float(sum(map(len, texts)))),
        }
        model.zero_grad()
        value = trainer._compute_loss(model, inputs)
        value.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        model.zero_grad()
        model.train()
        trainer.loss_type, trainer.max_completion_length = "dr_grpo", self.settings["most"]
        return {"loss": value.item(), "norm": norm.item()}


if __name__ == "__main__":
    # Libraries print to stdout as they please: it becomes stderr, and the answers keep the original to themselves.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Worker(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), out).serve()
