"""Packages that only some commands need, and the extra of the distribution that brings each."""

from importlib import import_module
from typing import Any

from lotte.errors import UnavailableError

EXTRAS = {  # name that is imported -> extra in pyproject.toml
    "datasets": "data",
    "faiss": "dense",
    "huggingface_hub": "colbert",
    "lancedb": "lancedb",
    "llvmlite": "colbert",
    "matplotlib": "plot",
    "numba": "colbert",
    "onnx": "onnx",
    "pandas": "frames",
    "plotly": "board",
    "qdrant_client": "qdrant",
    "ray": "ray",
    "regex": "data",
    "safetensors": "colbert",
    "sentence_transformers": "dense",
    "tokenizers": "colbert",
    "torch": "train",
    "transformers": "train",
    "yaml": "board",
}


def lacking(package: str, what: str) -> UnavailableError:
    """Return the error for a package that is not installed.

    >>> print(lacking("numba", "colbertv2"))
    colbertv2 needs numba, which is not installed: pip install 'lotte-bench[colbert]'
    """
    return UnavailableError(f"{what} needs {package}, which is not installed: {hint(package)}")


def hint(package: str) -> str:
    """Return the command that brings a package."""
    return f"pip install 'lotte-bench[{EXTRAS[package]}]'"


def package(name: str, what: str) -> Any:
    """Import a package, or a module in it, that `what` needs. Raises UnavailableError where it cannot be imported."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise lacking(of(error) or name.partition(".")[0], what) from None
    except ImportError as error:  # it is there, and does not fit this machine
        raise UnavailableError(f"{what} needs {name}, which cannot be imported here: {error}") from None


def of(error: ModuleNotFoundError) -> str | None:
    """Return the package of an extra that an import did not find, or None if it is none of them."""
    name = (error.name or "").partition(".")[0]
    return name if name in EXTRAS else None
