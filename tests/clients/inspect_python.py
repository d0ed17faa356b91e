"""Inspect: an evaluation of one sample, with its reasoning and its tokens."""

import os
import tempfile

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes

os.environ |= {"PONDER_API_KEY": "any", "PONDER_BASE_URL": os.environ["PONDER_URL"]}
task = Task(dataset=[Sample("What is 123 * 45?", target="5535")], scorer=includes())
with tempfile.TemporaryDirectory() as folder:
    (log,) = eval(task, model=f"openai-api/ponder/{os.environ['PONDER_MODEL_NAME']}", log_dir=folder, display="none")
assert log.status == "success", log.error
(usage,) = log.stats.model_usage.values()
assert usage.reasoning_tokens and usage.output_tokens > usage.reasoning_tokens
assert any(part.type == "reasoning" for part in log.samples[0].output.choices[0].message.content)
