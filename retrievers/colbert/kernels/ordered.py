"""Sums of float32 in one order on every processor: 16 side by side, then those in pairs.

The compiler turns the 16 into registers of whatever width there is, and the bits of the sum stay the same.
"""

from functools import partial
from typing import Any

import numpy as np

from retrievers.colbert.kernels.compile import compiled

numeric = partial(compiled, error_model="numpy")  # a division by zero is no error, and so no branch

SIDE = 16


@numeric
def in_pairs(sums: Any) -> Any:
    """Return the sum of 16 numbers, which are overwritten."""
    width = SIDE
    while width > 1:
        width //= 2
        for lane in range(width):
            sums[lane] += sums[lane + width]
    return sums[0]


@numeric
def total(numbers: Any, sums: Any, count: Any) -> Any:
    """Return the sum of the first `count` numbers; `sums` is room for 16."""
    sums[:] = np.float32(0)
    whole = count - count % SIDE
    for first in range(0, whole, SIDE):
        for lane in range(SIDE):
            sums[lane] += numbers[first + lane]
    for j in range(whole, count):
        sums[j - whole] += numbers[j]
    return in_pairs(sums)


@numeric
def dot(a: Any, b: Any, sums: Any) -> Any:
    """Return the dot product of two rows; `sums` is room for 16."""
    sums[:] = np.float32(0)
    whole = len(a) - len(a) % SIDE
    for first in range(0, whole, SIDE):
        for lane in range(SIDE):
            sums[lane] += a[first + lane] * b[first + lane]
    for j in range(whole, len(a)):
        sums[j - whole] += a[j] * b[j]
    return in_pairs(sums)
