"""The former name of `retrievers.colbert.index.codec`, for scripts that were written for it."""

from retrievers.colbert.index.codec import CodecConfig

__all__ = ["CodecConfig"]
