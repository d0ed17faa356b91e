"""`llm`, as its users call it: chats and responses, streamed and not, and a conversation that goes on."""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from checks import GIVEN, counts, run, same

(ASKED, THEN), (FIRST, SECOND) = GIVEN.questions, GIVEN.replies
KINDS = ("chat", "responses")
MODEL = '- {{model_id: {0}, model_name: {1}, api_base: "{2}", api_key_name: ponder, reasoning: true, responses: {3}}}\n'


def llm(*words: str, key: str = GIVEN.key, wrong: bool = False) -> subprocess.CompletedProcess[str]:
    """Call it; `wrong` says that it must fail."""
    command = [sys.executable, "-m", "llm", *words, *(() if words[0] == "logs" else ("--key", key))]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode != 0) == wrong, f"{command}\n{done.stdout}{done.stderr}"
    return done


def logged() -> Any:
    """What it has kept of its last call."""
    return json.loads(llm("logs", "--json", "-n", "1").stdout)[0]


def chat() -> None:
    for kind in KINDS:
        same(llm("-m", kind, "--no-stream", ASKED).stdout.strip(), FIRST.answer)


def streaming() -> None:
    for kind in KINDS:
        done = llm("-m", kind, ASKED)
        same(done.stdout.strip(), FIRST.answer)
        if kind == "responses":
            same("".join(done.stderr.split()), "".join(FIRST.summary.split()))  # parts are put together bare
    assert logged()["response_json"]["status"] == "completed"


def summary() -> None:
    for more in ((), ("--no-stream",), ("-o", "reasoning_effort", "medium"), ("-o", "reasoning_summary", "auto")):
        llm("-m", "responses", *more, ASKED)
        same("".join(logged()["reasoning"].split()), "".join(FIRST.summary.split()))
    llm("-m", "responses", "-o", "reasoning_effort", "none", ASKED)
    assert not logged()["reasoning"]


def usage() -> None:
    for kind, details in zip(KINDS, ("completion_tokens_details", "output_tokens_details"), strict=True):
        for how in ((), ("--no-stream",)):
            llm("-m", kind, *how, ASKED)
            told = logged()
            reasoning = json.loads(told["token_details"])[details]["reasoning_tokens"]
            counts(told["input_tokens"], told["output_tokens"], reasoning, FIRST)


def errors() -> None:
    for kind in KINDS:
        for how in ((), ("--no-stream",)):
            assert "'nobody' does not exist" in llm("-m", f"{kind}-nobody", *how, ASKED, wrong=True).stderr
        assert "API key" in llm("-m", kind, ASKED, key="wrong", wrong=True).stderr
        assert "temperature" in llm("-m", kind, "-o", "temperature", "9", ASKED, wrong=True).stderr


def turns() -> None:
    for kind in KINDS:
        for how in ((), ("-o", "reasoning_effort", "medium")):  # with an effort, sealed thoughts are sent back
            llm("-m", kind, *how, ASKED)
            same(llm("-m", kind, *how, "-c", THEN).stdout.strip(), SECOND.answer)
            same(logged()["input_tokens"], SECOND.prompt)


with tempfile.TemporaryDirectory() as folder:
    names = {"": GIVEN.model, "-nobody": "nobody"}
    models = [(kind, more) for kind in KINDS for more in names]
    flags = {"chat": "false", "responses": "true"}
    lines = [MODEL.format(kind + more, names[more], GIVEN.url, flags[kind]) for kind, more in models]
    (Path(folder) / "extra-openai-models.yaml").write_text("".join(lines))
    ENVIRONMENT = os.environ | {"LLM_USER_PATH": folder}
    run(version("llm"), chat=chat, streaming=streaming, summary=summary, usage=usage, errors=errors, turns=turns)
