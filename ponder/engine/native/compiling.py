"""How kernels are compiled: at their first call, for this machine's processor, and kept on disk.

numba keeps what it compiled beside the sources, or in the user's own cache where it may not write there. It compares
the file of the function that was called alone, so the sources of all kernels are part of an entry's name.
"""

import inspect
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from zlib import crc32

import numba
from llvmlite import binding
from numba.extending import intrinsic

try:
    import fcntl
except ImportError:  # on Windows, where processes that begin at once each compile
    fcntl = None

F = TypeVar("F", bound=Callable[..., Any])
LOG = logging.getLogger(__name__)
STAMP = crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
LANES = 16
"""Rows that are computed side by side: a number of each stands in one vector."""
WIDEST = LANES if binding.get_host_cpu_features().get("avx512f") else LANES // 2
"""Lanes of a product's vectors. What a lane comes to does not depend on it."""
INTEGER, REAL, DOUBLE, NOTHING = numba.int64, numba.float32, numba.float64, numba.void


def kernel(function: F) -> F:
    """A function that other kernels call."""
    # Products and sums may be fused, never reordered: a row's bits must not depend on where it stands.
    return cast(F, numba.njit(fastmath={"contract"}, error_model="numpy")(function))


def entry(function: F) -> F:
    """A kernel that Python calls, without holding the interpreter's lock."""
    function.__qualname__ = f"{function.__qualname__}_{STAMP:08x}"
    made: Any = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    try:
        made.enable_caching()
    except RuntimeError as err:
        LOG.warning("decoding is compiled anew in every process: %s", err)
    else:
        made.compile = partial(_alone, made.compile, Path(made.stats.cache_path))
    return cast(F, made)


def _alone(compile: Callable[[Any], Any], folder: Path, signature: Any) -> Any:
    """Compile, or load what is kept; who comes while another process compiles waits, and finds what it has kept."""
    if fcntl is None:
        return compile(signature)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "compiling.lock").open("w") as lock:  # a process that is killed gives it back
        fcntl.flock(lock, fcntl.LOCK_EX)
        return compile(signature)


def kept(made: Callable[..., Any]) -> bool:
    """Whether an entry was compiled before, here or in another process."""
    folder = Path(cast(Any, made).stats.cache_path or ".")
    return any(folder.glob(f"*_{STAMP:08x}-*.nbi"))


def emitted(result: Any, *kinds: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function of these types for kernels, given as what writes its instructions: (builder, arguments) to the result.

    Addresses are plain integers: so a kernel is compiled once, whatever the layout of the tensors.
    """

    def made(emit: Callable[..., Any]) -> Callable[..., Any]:
        def typed(_typing: Any, *_given: Any) -> Any:
            def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
                found = emit(builder, *arguments)
                return context.get_dummy_value() if result is NOTHING else found

            return result(*kinds), generate

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        names = ("typing", *(f"argument{number}" for number in range(len(kinds))))
        vars(typed)["__signature__"] = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        return cast(Callable[..., Any], intrinsic(typed))

    return made
