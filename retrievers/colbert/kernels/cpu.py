"""The stages of `reference`, compiled: 512-bit dot products of bytes where the processor has them, else plain loops.

Every function frees the interpreter's lock, so threads share the work of a
batch. The processor decides which form runs; LOTTE_KERNELS asks for less:
"plain" loops, or "vectors" without matrix registers (AMX).
"""

from retrievers.colbert.kernels.cpu_build import lists, residuals, sums
from retrievers.colbert.kernels.cpu_cells import (
    CellScores,
    Listed,
    Scratch,
    best,
    cell_scores,
    explicit,
    gather,
    interact,
    nearest,
    tokens_in,
)  # fmt: skip
from retrievers.colbert.kernels.cpu_tokens import decode, leading_maxsim, maxsim_of, maxsims, quick_maxsim

__all__ = [
    "CellScores", "Listed", "Scratch", "best", "cell_scores", "decode", "explicit", "gather", "interact",
    "leading_maxsim", "lists", "maxsim_of", "maxsims", "nearest", "quick_maxsim", "residuals", "sums", "tokens_in",
]  # fmt: skip
