"""Makes an environment of its own for each peer: ``python -m benchmarks.peers.setup [NAME…]``; none named means all."""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.peers.client import ENVIRONMENTS, python_of
from ponder.errors import ConfigError, PonderError

HERE = Path(__file__).parent
# llama.cpp alone, without its image models; one file at a time, and gently: it may share the machine with a training.
BUILD = {"CMAKE_ARGS": "-DLLAVA_BUILD=OFF", "CMAKE_BUILD_PARALLEL_LEVEL": "1"}
GENTLY = 10


def names() -> list[str]:
    """Every environment there is a list of packages for."""
    return sorted(path.stem for path in HERE.glob("*.txt"))


def install(name: str) -> None:
    """Make the environment, or bring it up to date with its list of packages."""
    if name not in names():
        raise ConfigError(f"there is no peer environment {name!r}: choose from {', '.join(names())}")
    packages, place = HERE / f"{name}.txt", ENVIRONMENTS / name
    installed = place / "installed.txt"
    if installed.exists() and installed.read_text(encoding="utf-8") == packages.read_text(encoding="utf-8"):
        return
    _run([sys.executable, "-m", "venv", str(place)])
    _run([str(python_of(name)), "-m", "pip", "install", "--quiet", "--requirement", str(packages)])
    installed.write_text(packages.read_text(encoding="utf-8"), encoding="utf-8")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, env=os.environ | BUILD, preexec_fn=lambda: os.nice(GENTLY))
    if done.returncode:
        raise PonderError(f"`{' '.join(command)}` failed; its last lines say why")


def main() -> None:
    """Install the named peers, or all; one that fails does not keep the others from being installed."""
    console = Console()
    failed = False
    for name in sys.argv[1:] or names():
        try:
            install(name)
            console.print(f"{name}: installed in {ENVIRONMENTS.name}/{name}")
        except PonderError as error:
            failed = True
            console.print(f"{name}: {error}")
    sys.exit(2 if failed else 0)


if __name__ == "__main__":
    main()
