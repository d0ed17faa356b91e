"""lm-evaluation-harness: a generative task of our own, of one problem, over chats."""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from checks import GIVEN, run, same

(ASKED, THEN), (FIRST, SECOND) = GIVEN.questions, GIVEN.replies
TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: %s/problems.jsonl, shown: %s/shown.jsonl}}
test_split: test
fewshot_split: shown
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 2000}
metric_list: [{metric: exact_match}]
"""


def evaluated(problem, *words, shown=None, model=GIVEN.model, key=GIVEN.key):
    """How the command ended, and the one sample that it has logged."""
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in {"problems": problem, "shown": shown or problem}.items():
            question, answer = lines
            (Path(folder) / f"{name}.jsonl").write_text(json.dumps({"question": question, "answer": answer}))
        (Path(folder) / "sums.yaml").write_text(TASK % (folder, folder))
        given = f"base_url={GIVEN.url}/chat/completions,model={model},max_retries=1"
        command = [sys.executable, "-m", "lm_eval", "--model", "local-chat-completions", "--model_args", given]
        command += ["--tasks", "sums", "--include_path", folder, "--apply_chat_template", *words]
        command += ["--output_path", folder, "--log_samples"]
        environment = os.environ | {"OPENAI_API_KEY": key, "HF_HUB_OFFLINE": "1", "HF_HOME": folder}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        samples = [json.loads(file.read_text()) for file in Path(folder).rglob("samples_*.jsonl")]
    return done, samples[0] if samples else None


def right(problem, *words, **more):
    done, sample = evaluated(problem, *words, **more)
    assert done.returncode == 0 and sample, done.stdout + done.stderr
    same((sample["resps"], sample["exact_match"]), ([[problem[1]]], 1.0))


def chat():
    right((ASKED, FIRST.answer))


def errors():
    for how, word in (({"model": "nobody"}, "model_not_found"), ({"key": "wrong"}, "invalid_api_key")):
        done, sample = evaluated((ASKED, FIRST.answer), **how)
        assert done.returncode and not sample and word in done.stdout + done.stderr, done.stdout + done.stderr


def turns():
    more = ("--num_fewshot", "1", "--fewshot_as_multiturn", "true")
    right((THEN, SECOND.answer), *more, shown=(ASKED, FIRST.answer))


run(
    version("lm_eval"),
    chat=chat,
    streaming="it asks for whole replies only",
    summary="it reads the answer only",
    usage="it counts no tokens",
    errors=errors,
    turns=turns,
)
