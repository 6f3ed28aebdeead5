"""Build and read LoTTE: long-tail questions over Stack Exchange answers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lotte.collection import Collection
    from lotte.dataset import Corpus, Dataset, Doc, Docs, Qrels, Queries
    from lotte.errors import LotteError
    from lotte.reading import read
    from lotte.run import Hit, Run

__all__ = [
    "Collection", "Corpus", "Dataset", "Doc", "Docs", "Hit", "LotteError", "Qrels", "Queries", "Run", "read",
]  # fmt: skip

_FILES = {
    "collection": ["Collection"],
    "dataset": ["Corpus", "Dataset", "Doc", "Docs", "Qrels", "Queries"],
    "errors": ["LotteError"],
    "reading": ["read"],
    "run": ["Hit", "Run"],
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name on its first use: `lotte --help` must not wait for numpy."""
    if name not in _FILE_OF:
        raise AttributeError(f"module 'lotte' has no attribute {name!r}")
    return getattr(import_module(f"lotte.{_FILE_OF[name]}"), name)
