"""The former name of `retrievers.colbert.index.build`, for scripts that were written for it."""

from retrievers.colbert.index.build import Arrays, build

__all__ = ["Arrays", "build"]
