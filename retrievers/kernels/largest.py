"""The largest of many numbers, compiled: the k largest keys, and which sums of a window may be among the k largest.

A window is read in blocks of 256, a block in 16 groups: every 16th number of it, so that groups are vectors.
"""

from typing import Any

import numba as nb

from retrievers.colbert.kernels.compile import compiled

BLOCK = 256
LANES = 16  # groups of a block
STEPS = 1 << 12  # of a histogram


@compiled
def select(keys: Any, count: int, k: int) -> Any:
    """Put the k largest of `count` keys in front. Returns the least of these."""
    low, high = 0, count - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    least = keys[0]
    for one in range(1, k):
        least = min(least, keys[one])
    return least


@compiled
def group(bits: Any, size: int, maxima: Any) -> int:
    """Write the largest of every group of a window. Returns how many groups there are."""
    for block in range(0, size, BLOCK):
        ours, groups = bits[block : block + BLOCK], maxima[block // LANES : block // LANES + LANES]
        for lane in range(LANES):
            most = ours[lane]  # kept in `groups`, it would not become vector code
            for row in range(1, BLOCK // LANES):
                most = max(most, ours[row * LANES + lane])
            groups[lane] = most
    return (size + BLOCK - 1) // BLOCK * LANES


@compiled
def reached(maxima: Any, groups: int, k: int, histogram: Any) -> int:
    """Return a number that k groups reach, and so k documents do, nearly as large as it may be; 1 at least.

    What is less than a sixteenth of the largest is not told apart, nor what differs by a thousandth.
    """
    most = nb.int64(maxima[0])
    for group in range(1, groups):
        most = max(most, nb.int64(maxima[group]))
    shift = nb.int64(13 if maxima.itemsize == 4 else 42)  # of bits; four times 2 ** 10 of such steps are a factor of 16
    low = most - (nb.int64(STEPS - 1) << shift)
    histogram[:] = 0
    for group in range(groups):
        if maxima[group] >= low:
            histogram[(nb.int64(maxima[group]) - low) >> shift] += 1
    step, count = STEPS - 1, histogram[STEPS - 1]
    while step > 0 and count < k:
        step -= 1
        count += histogram[step]
    return max(low + (step << shift), 1) if count >= k else 1


@compiled
def reaching(bits: Any, maxima: Any, groups: int, limit: int, found: Any) -> int:
    """Write which documents of a window reach the limit, block by block. Returns how many.

    Nothing is chosen by a branch, which would be guessed wrong a thousand times.
    """
    some, count = 0, 0
    for group in range(groups):
        found[len(found) - 1 - some] = group
        some += maxima[group] >= limit
    for one in range(some):
        group = found[len(found) - 1 - one]
        first = group // LANES * BLOCK + group % LANES
        for document in range(first, first + BLOCK, LANES):
            found[count] = document
            count += bits[document] >= limit
    return count
