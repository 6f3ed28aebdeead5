"""The late-interaction engine: token vectors, compressed and searched by MaxSim.

From the lowest layer up: `kernels` (arithmetic), `model` (text to vectors), `index` (a folder on disk), `search`, and
`retriever` on top. This module is the Python API; it is imported on first use, because it needs numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrievers.colbert.index.build import Arrays as Arrays
    from retrievers.colbert.index.codec import CodecConfig as CodecConfig
    from retrievers.colbert.index.folder import ColbertIndex as ColbertIndex
    from retrievers.colbert.index.folder import open_index as open_index
    from retrievers.colbert.model.encoder import Encoder as Encoder
    from retrievers.colbert.retriever import LateInteraction as LateInteraction
    from retrievers.colbert.retriever import build_index as build_index
    from retrievers.colbert.search.config import SearchConfig as SearchConfig

_MODULES = {
    "Arrays": "index.build",
    "CodecConfig": "index.codec",
    "ColbertIndex": "index.folder",
    "Encoder": "model.encoder",
    "LateInteraction": "retriever",
    "SearchConfig": "search.config",
    "build_index": "retriever",
    "open_index": "index.folder",
}
__all__ = sorted(_MODULES)  # and `search`, of the folder that bears its name
_MOVED = ("bert", "checkpoint", "config", "encoder", "tokens")  # modules that stand in `model` now


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return import_module(f"{__name__}.model.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
