"""Files that could not be written: a full disk is told in a sentence, and what was there before stays."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ponder.errors import StorageError


@contextmanager
def saving(path: Path, part: Path | None = None) -> Generator[None]:
    """Raises StorageError where what is written inside fails; `part`, which would have become `path`, is removed then,
    so that it takes no room."""
    try:
        yield
    except (OSError, SafetensorError) as err:
        if part is not None and part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif part is not None:
            part.unlink(missing_ok=True)
        why = (isinstance(err, OSError) and err.strerror) or str(err).splitlines()[0]
        raise StorageError(
            f"{path} cannot be written ({why}): free some space or make it writable, and give the same command again; "
            "what was saved before is intact"
        ) from err
