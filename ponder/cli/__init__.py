"""The command line: `ponder think`, `chat`, `tasks`, `train`, `eval`, `report`, `demo` and `doctor`."""

from ponder.cli.app import main

__all__ = ["main"]
