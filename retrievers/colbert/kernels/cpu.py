"""The stages of `reference`, compiled: dot products of bytes in the widest registers there are, else plain loops.

Every function frees the interpreter's lock, so threads share the work of a
batch. The processor decides which form runs, or LOTTE_KERNELS: see `vectors.forms`.
"""

from retrievers.colbert.kernels.candidates import best, centroid_interaction, gather, one_token_maxsim, probe_gains
from retrievers.colbert.kernels.centroids import Scratch, centroid_scores, nearest
from retrievers.colbert.kernels.compile import explicit
from retrievers.colbert.kernels.decode import decode, exact_maxsim, maxsims
from retrievers.colbert.kernels.encode import as_bytes, lists, residuals, sums
from retrievers.colbert.kernels.maxsim import Close, quantized_maxsim, tokens_in
from retrievers.colbert.kernels.two_level import TwoLevel

__all__ = [
    "Close",
    "Scratch",
    "TwoLevel",
    "as_bytes",
    "best",
    "centroid_interaction",
    "centroid_scores",
    "decode",
    "exact_maxsim",
    "explicit",
    "gather",
    "lists",
    "maxsims",
    "nearest",
    "one_token_maxsim",
    "probe_gains",
    "quantized_maxsim",
    "residuals",
    "sums",
    "tokens_in",
]
