"""The stages of `reference`, compiled: 512-bit dot products of bytes where the processor has them, else plain loops.

Every function frees the interpreter's lock, so threads share the work of a
batch. The processor decides which form runs; LOTTE_KERNELS asks for less:
"plain" loops, or "vectors" without matrix registers (AMX).
"""

from retrievers.colbert.kernels.cpu_build import as_bytes, lists, residuals, sums
from retrievers.colbert.kernels.cpu_cells import CellScores, Scratch, cell_scores, explicit, nearest
from retrievers.colbert.kernels.cpu_decode import decode, maxsim_of, maxsims
from retrievers.colbert.kernels.cpu_rows import best, gather, interact, leading_maxsim, promises
from retrievers.colbert.kernels.cpu_tokens import Close, quick_maxsim, tokens_in

__all__ = [
    "CellScores", "Close", "Scratch", "as_bytes", "best", "cell_scores", "decode", "explicit", "gather", "interact",
    "leading_maxsim", "lists", "maxsim_of", "maxsims", "nearest", "promises", "quick_maxsim", "residuals", "sums",
    "tokens_in",
]  # fmt: skip
