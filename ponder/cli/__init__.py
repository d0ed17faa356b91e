"""The command line: `ponder think`, `chat`, `tasks`, `train`, `eval`, `demo` and `doctor`."""

from ponder.cli.app import main

__all__ = ["main"]
