"""lm-evaluation-harness: a generative task of our own over chats."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: %s/sums.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 2000}
metric_list: [{metric: exact_match}]
"""
with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "sums.jsonl").write_text('{"question": "What is 123 * 45?", "answer": "5535"}\n')
    (Path(folder) / "sums.yaml").write_text(TASK % folder)
    given = f"base_url={os.environ['PONDER_URL']}/chat/completions,model={os.environ['PONDER_MODEL_NAME']}"
    words = ["--model", "local-chat-completions", "--model_args", given, "--tasks", "sums", "--include_path", folder]
    command = [sys.executable, "-m", "lm_eval", *words, "--apply_chat_template"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OPENAI_API_KEY": "any"})
    assert done.returncode == 0 and "exact_match" in done.stdout, done.stdout + done.stderr
