"""The stages of `reference`, compiled: 512-bit dot products of bytes where the processor has them, else plain loops.

Every function frees the interpreter's lock, so threads share the work of a
batch. The processor decides which form runs; LOTTE_KERNELS asks for less:
"plain" loops, or "vectors" without matrix registers (AMX).
"""

from retrievers.colbert.kernels.candidates import best, gather, interact, leading_maxsim, promises
from retrievers.colbert.kernels.centroids import CellScores, Scratch, cell_scores, nearest
from retrievers.colbert.kernels.compile import explicit
from retrievers.colbert.kernels.decode import decode, maxsim_of, maxsims
from retrievers.colbert.kernels.encode import as_bytes, lists, residuals, sums
from retrievers.colbert.kernels.maxsim import Close, quick_maxsim, tokens_in

__all__ = [
    "CellScores", "Close", "Scratch", "as_bytes", "best", "cell_scores", "decode", "explicit", "gather", "interact",
    "leading_maxsim", "lists", "maxsim_of", "maxsims", "nearest", "promises", "quick_maxsim", "residuals", "sums",
    "tokens_in",
]  # fmt: skip
