"""A function of the user's own, by file and name: called in a worker's process, where it may do what it likes."""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any


def call(file: str, function: str, *arguments: Any) -> Any:
    """What the file's function returns for these arguments."""
    return _found(file, function)(*arguments)


def check(file: str, function: str) -> bool:
    """Whether it is there and can be called; raises what its file raises."""
    return callable(_found(file, function))


@lru_cache
def _found(file: str, function: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)
