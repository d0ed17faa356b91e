"""The command line: `ponder think`, `chat`, `tasks`, `train`, `runs`, `eval`, `report`, `serve`, `demo` and `doctor`.

A command's function may be longer than others: each option is declared in its signature, which is where typer reads it.
"""

from ponder.cli.app import main

__all__ = ["main"]
