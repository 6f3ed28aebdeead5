"""Vectors nearest to a query, compiled: which rows may be among the best, and what their products are exactly.

A product by BLAS is rounded in an order that depends on the block. So it only says which rows may be among the best,
with a slack that is larger than any rounding; those are multiplied again in float64, and rounded once. So a score, and
which of two equal ones comes first, does not depend on blocks, threads or how many queries are asked at once.

A key is a score in its upper 32 bits, as a number that has the order of the float32, and a row or a place in its lower
ones: larger keys are better hits.
"""

from functools import partial
from typing import Any

import numba as nb
import numpy as np

from retrievers.colbert.kernels.compile import compiled, inlined
from retrievers.kernels import largest

GROUP = 64  # products that are held against the limit at once


@inlined
def _ordered(score: Any) -> Any:
    """Return a whole number for a float32 that has its order."""
    bits = np.float32(score).view(np.uint32)
    return nb.uint32(~bits) if bits >> nb.uint32(31) else nb.uint32(bits | nb.uint32(0x80000000))


@inlined
def _score(key: Any) -> Any:
    """Return the float32 of a key."""
    bits = nb.uint32(key >> nb.uint64(32))
    return np.uint32(bits ^ nb.uint32(0x80000000) if bits >> nb.uint32(31) else ~bits).view(np.float32)


@compiled
def _fewer(keys: Any, count: int, depth: int, slack: float) -> tuple[int, float]:
    """Keep the keys that may be among the best. Returns how many there are, and what the next must reach."""
    limit = nb.float64(_score(largest.select(keys, count, depth))) - slack
    kept = depth
    for one in range(depth, count):
        key = keys[one]
        if _score(key) >= limit:
            keys[kept] = key
            kept += 1
    return kept, limit


@compiled
def gather(products: Any, first: int, begin: Any, depth: int, slacks: Any, limits: Any, counts: Any, keys: Any) -> None:
    """Add the keys of rows of a block that may be among the best of each query.

    products  (queries, rows) of the block
    first     the row that the block begins with
    begin     where to begin in the block, for each query; afterwards where it stopped: at the end, or where all room
              for keys is taken by rows that may be among the best, which are to be multiplied exactly
    slacks    twice what rounding may make of a product, for each query
    limits    what a product must reach to be among the best; -inf at first
    counts    keys there are
    """
    rows, room = products.shape[1], keys.shape[1]
    for query in range(len(products)):
        ours, own, count, limit, row = products[query], keys[query], counts[query], limits[query], begin[query]
        while row < rows:
            last, hits = min(row + GROUP, rows), 1
            if last - row == GROUP:
                hits = 0
                for lane in range(GROUP):
                    hits += ours[row + lane] >= limit
            if hits == 0:
                row = last
                continue
            while row < last:
                if ours[row] >= limit:
                    if count == room:
                        if room > depth:
                            count, limit = _fewer(own, count, depth, slacks[query])
                        if count > room - room // 4:
                            break
                        if ours[row] < limit:
                            row += 1
                            continue
                    own[count] = nb.uint64(_ordered(ours[row])) << nb.uint64(32) | nb.uint64(first + row)
                    count += 1
                row += 1
            if row < last:
                break
        begin[query], counts[query], limits[query] = row, count, limit


@partial(compiled, fastmath=True)
def multiply(block: Any, queries: Any, products: Any) -> None:
    """Write the products of rows with a few queries, rounded in any order: BLAS takes thrice as long for one query."""
    for row in range(len(block)):
        ours = block[row]
        for query in range(len(queries)):
            asked, total = queries[query], np.float32(0)
            for at in range(len(asked)):
                total += ours[at] * asked[at]
            products[query, row] = total


@compiled
def exact(vectors: Any, rows: Any, query: Any, place: Any) -> Any:
    """Return a key for each row, with its exact product, rounded once, and its place."""
    keys = np.empty(len(rows), np.uint64)
    for one in range(len(rows)):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        ours, width = vectors[one], len(query)
        for at in range(0, width - 3, 4):
            a += nb.float64(ours[at]) * query[at]
            b += nb.float64(ours[at + 1]) * query[at + 1]
            c += nb.float64(ours[at + 2]) * query[at + 2]
            d += nb.float64(ours[at + 3]) * query[at + 3]
        for at in range(width - width % 4, width):
            a += nb.float64(ours[at]) * query[at]
        total = np.float32((a + b) + (c + d)) + np.float32(0)  # and no -0
        keys[one] = nb.uint64(_ordered(total)) << nb.uint64(32) | nb.uint64(place[rows[one]])
    return keys
