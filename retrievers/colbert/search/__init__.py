"""Three search algorithms, on a CPU or a GPU."""

from retrievers.colbert.search.config import SearchConfig
from retrievers.colbert.search.cpu import search

__all__ = ["SearchConfig", "search"]
