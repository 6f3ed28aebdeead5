"""What the lexical systems do with every letter and every posting, compiled by numba. Each has a plain twin in Python.

They are imported where the work is worth it: numba takes half a second.
"""

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def kernels(name: str) -> ModuleType | None:
    """Return a module of kernels, or None where numba is not installed, or does not fit this machine."""
    try:
        return import_module(f"retrievers.kernels.{name}")
    except ImportError:
        return None
