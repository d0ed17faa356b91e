"""Real clients against a real server, each in an environment of its own: ``python tests/clients/run.py [NAME …]``.

Environments are kept in `.clients/`. A client is a line in CLIENTS and a script beside this file, which reads the
server's address from PONDER_URL and fails where something is not as it should be.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".clients"
PONDER = (sys.executable, "-c", "from ponder.cli import main; raise SystemExit(main())")


@dataclass(frozen=True)
class Client:
    """What to install and what to run."""

    packages: tuple[str, ...]
    script: str


CLIENTS = {
    "openai": Client(("openai>=3,<4",), "openai_python.py"),
    "openai-previous": Client(("openai>=2,<3",), "openai_python.py"),
    "llm": Client(("llm",), "llm_cli.py"),
    "litellm": Client(("litellm",), "litellm_python.py"),
    "inspect": Client(("inspect_ai", "openai"), "inspect_python.py"),
    "lm-eval": Client(("lm_eval[api]",), "lm_eval_cli.py"),
    "openai-node": Client(("openai",), "openai_node.mjs"),
    "ai-sdk": Client(("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible"), "ai_sdk.mjs"),
}


def command(name: str, client: Client) -> list[str]:
    """Set the client's environment up; returns what runs its script."""
    folder, script = ENVIRONMENTS / name, HERE / client.script
    ready = folder / "ready"
    if client.script.endswith(".mjs"):
        if not ready.exists():
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), *client.packages], check=True)
        shutil.copy(script, folder / script.name)  # node looks for packages beside the script
        ready.touch()
        return ["node", str(folder / script.name)]
    if not ready.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(folder / "bin/pip"), "install", "--quiet", *client.packages], check=True)
        ready.touch()
    return [str(folder / "bin/python"), str(script)]


def main() -> None:
    """Run the clients that were named, or all; those that cannot be installed here are said to be left out."""
    names = sys.argv[1:] or list(CLIENTS)
    serve = [*PONDER, "serve", "--port", "0", "--device", "cpu"]
    server = subprocess.Popen(serve, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    failed: list[str] = []
    try:
        said = ""
        while not (found := re.search(r"http://[\d.:]+", said)):
            said = server.stderr.readline()
            assert server.poll() is None, said
        time.sleep(1)
        environment = os.environ | {"PONDER_URL": found[0] + "/v1", "PONDER_MODEL_NAME": "ponder-mini"}
        environment.pop("PYTHONPATH", None)
        for name in names:
            if CLIENTS[name].script.endswith(".mjs") and not shutil.which("npm"):
                print(f"{name}: left out, there is no npm here")
                continue
            outcome = subprocess.run(command(name, CLIENTS[name]), env=environment, timeout=600)
            print(f"{name}: {'fine' if outcome.returncode == 0 else 'FAILED'}", flush=True)
            failed += [name] if outcome.returncode else []
    finally:
        server.terminate()
        server.wait()
    raise SystemExit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
