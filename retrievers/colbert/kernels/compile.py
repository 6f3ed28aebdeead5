"""How kernels are compiled and kept, and which form of them this processor runs.

Which form runs is said by `vectors.forms`: matrix registers (AMX), registers of 512, 256 or 128 bits, or plain loops.
"""

import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba as nb

from retrievers.colbert.kernels.vectors import amx
from retrievers.colbert.kernels.vectors.amx import TILE
from retrievers.colbert.kernels.vectors.forms import form, limit_compiler

limit_compiler()
CONFIG = amx.config()


@cache
def sources(folder: Path) -> bytes:
    """Return a hash of all code in a folder of kernels."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).digest()


SOURCES = sources(Path(__file__).parent)


@cache
def _say_once() -> None:
    print(
        "no folder for compiled code may be written, so every process compiles what it calls, for some ten seconds; "
        "name a folder of your own with NUMBA_CACHE_DIR",
        file=sys.stderr,
    )


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function, once for all processes until one of the sources changes.

    Numba looks at the file of the function alone, and most of what is compiled here is written elsewhere. And it never
    finds again what closes over another compiled function, which has another name in every process. So both are said
    here: what the sources are, and what a function closes over. Where numba may write nowhere, as in an image that is
    read-only, every process compiles what it calls.
    """
    try:
        made = nb.njit(function, nogil=True, cache=True, **options)
    except RuntimeError:  # "no locator available"
        _say_once()
        return nb.njit(function, nogil=True, **options)
    if kept := getattr(getattr(made, "_cache", None), "_cache_file", None):  # none, where numba may not write
        path = Path(function.__code__.co_filename)
        folder = next((folder for folder in path.parents if folder.name == "kernels"), path.parent)
        kept._source_stamp = sources(folder)
        key = hashlib.sha256(repr(_identity(function)).encode()).hexdigest()
        kept._load_index = _empty_if_unreadable(kept._load_index)
        made._cache._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), form(), key)
    return made


def _empty_if_unreadable(load: Callable[[], Any]) -> Callable[[], Any]:
    """Let the index of what is kept be read as empty where it names a class that there is no more.

    Numba unpickles it before it looks whether the sources have changed since.
    """

    def loaded() -> Any:
        try:
            return load()
        except Exception:  # an unpickler raises nearly anything
            return {}

    return loaded


def _identity(value: Any) -> Any:
    """Return what a function, or something it closes over, is in every process.

    Raises  TypeError for anything but numbers, names and functions: a kernel must not close over an array
    """
    function = getattr(value, "py_func", value)
    if hasattr(function, "__closure__"):
        cells = function.__closure__ or ()
        return function.__module__, function.__qualname__, [_identity(cell.cell_contents) for cell in cells]
    if isinstance(value, tuple):
        return [_identity(part) for part in value]
    if value is not None and not isinstance(value, int | float | str):
        raise TypeError(f"a kernel closes over {type(value).__name__}; give it as an argument")
    return value


def inlined(function: Callable[..., Any]) -> Any:
    """Make a function part of each kernel that calls it: it is compiled there, and nowhere else."""
    return nb.njit(function, inline="always")


def explicit() -> bool:
    """Return whether vector code is used, of whatever form."""
    return form().name != "plain"


def tiled(dim: int, rows: int = TILE) -> int:
    """Return whether dot products with so many rows are made in matrix registers."""
    return int(form().name == "amx" and dim in amx.DIMS and rows % TILE == 0)
