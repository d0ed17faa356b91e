"""`llm`: chats and responses, streamed and not, and a conversation that goes on."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

name, url = os.environ["PONDER_MODEL_NAME"], os.environ["PONDER_URL"]
with tempfile.TemporaryDirectory() as folder:
    models = "".join(
        f"- model_id: {kind}\n  model_name: {name}\n  api_base: {url}\n  reasoning: true\n  responses: {flag}\n"
        for kind, flag in (("chat", "false"), ("responses", "true"))
    )
    (Path(folder) / "extra-openai-models.yaml").write_text(models)
    env = os.environ | {"LLM_USER_PATH": folder, "OPENAI_API_KEY": "any"}

    def ask(*words: str) -> str:
        command = [sys.executable, "-m", "llm", *words]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        ).stdout

    for kind in ("chat", "responses"):
        assert ask("-m", kind, "What is 123 * 45?").strip()
        assert ask("-m", kind, "--no-stream", "What is 123 * 45?").strip()
        assert ask("-m", kind, "-c", "And * 2?").strip()
