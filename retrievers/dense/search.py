"""The rows of a matrix with the largest dot products with a query, by exhaustive search in bounded memory.

A block of rows is multiplied with many queries at once by BLAS, or by a GPU, and the few rows that may be among the
best are multiplied again exactly (`kernels.nearest`). So every device and batch size gives the same scores, to the
last bit, and the same order of ties.

Shapes
  N  rows      H  numbers in a vector      Q  queries      R  rows of a block      K  hits
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import extras
from retrievers.kernels import kernels
from retrievers.topk import Numbers, Scores, topk

QUERIES = 256  # searched at once
BLOCK = 1 << 23  # bytes of the products of a block
ROWS = 1 << 13  # of a block at least, and of one that is turned into float32 at most
MARGIN = 2.0**-24  # how much rounding makes of each step of a product
FEW = 16  # queries up to which our own products are sooner there than those of BLAS
FOR_GPU = 32  # queries from which on a matrix is worth sending to a GPU

Floats = NDArray[np.float32]
Found = tuple[NDArray[np.int64], Scores]  # rows and scores, best first


class ExactSearch:
    """A matrix that is searched for its nearest rows.

    vectors  (N, H) float32 or float16, mapped or not
    place    of each row; of two rows with one score the larger place is better
    longest  no row is longer
    gpu      what torch calls the GPU that multiplies; "": the processors do
    """

    def __init__(self, vectors: NDArray[Any], place: Numbers, longest: float, *, threads: int, gpu: str = "") -> None:
        self._vectors, self._longest, self._threads, self._gpu = vectors, longest, threads, gpu
        self._place = np.ascontiguousarray(place, dtype=np.int64)
        self._row_of = np.empty(len(place), dtype=np.int64)
        self._row_of[self._place] = np.arange(len(place))

    def found(self, queries_QH: Floats, k: int) -> Iterator[Found]:
        """Yield rows and scores of each query, best first. Raises ValueError for a vector that is too large."""
        depth = min(k, len(self._vectors))
        nearest = kernels("nearest")
        for first in range(0, len(queries_QH), QUERIES):
            some_QH = np.ascontiguousarray(queries_QH[first : first + QUERIES], dtype=np.float32)
            self._require_finite(some_QH)
            if depth < 1:
                yield from ((np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in some_QH)
            elif nearest is None:
                yield from (self.plainly(query, depth) for query in some_QH)
            elif self._gpu and len(some_QH) >= FOR_GPU:
                yield from _OnGpu(self, nearest, some_QH, depth).found()
            else:
                yield from _OnProcessors(self, nearest, some_QH, depth).found()

    def plainly(self, query_H: Floats, k: int) -> Found:
        """Return what `found` does for one query. Slow and simple: the reference."""
        scores = np.concatenate(
            [
                (self._vectors[row : row + ROWS].astype(np.float64) @ query_H.astype(np.float64)).astype(np.float32)
                for row in range(0, len(self._vectors), ROWS)
            ]
            or [np.zeros(0, np.float32)]
        )
        rows = topk(scores, self._place, k)
        return rows, scores[rows]

    def scored(self, rows: NDArray[np.int64], query_H: Floats, k: int) -> Found:
        """Return the k best of some rows, with their exact scores."""
        nearest = kernels("nearest")
        if nearest is None:
            scores = (self._vectors[rows].astype(np.float64) @ query_H.astype(np.float64)).astype(np.float32)
            order = topk(scores, self._place[rows], k)
            return rows[order], scores[order]
        keys = nearest.exact(self._vectors[rows].astype(np.float32, copy=False), rows, query_H, self._place)
        return self.from_keys(keys, k)

    def from_keys(self, keys: NDArray[np.uint64], k: int) -> Found:
        """Return rows and scores of the k largest keys with places."""
        if len(keys) > k:
            keys = np.partition(keys, len(keys) - k)[len(keys) - k :]
        keys = np.sort(keys)[::-1]
        return self._row_of[(keys & np.uint64(0xFFFFFFFF)).astype(np.int64)], scores_of(keys)

    def blocks(self, rows: int) -> Iterator[tuple[int, Floats]]:
        """Yield the matrix in blocks of so many rows, each with its first row."""
        buffer = None if self._vectors.dtype == np.float32 else np.empty((rows, self._vectors.shape[1]), np.float32)
        for first in range(0, len(self._vectors), rows):
            block = self._vectors[first : first + rows]
            if buffer is not None:
                buffer[: len(block)] = block
                block = buffer[: len(block)]
            yield first, block

    def slacks(self, queries_QH: Floats) -> NDArray[np.float64]:
        """Return what rounding may make of the difference of two products with each query."""
        lengths_Q: NDArray[np.float64] = np.linalg.norm(queries_QH.astype(np.float64), axis=1)
        slacks_Q: NDArray[np.float64] = 2 * (queries_QH.shape[1] + 2) * MARGIN * lengths_Q * self._longest
        return slacks_Q

    def _require_finite(self, queries_QH: Floats) -> None:
        largest = float(np.abs(queries_QH).max(initial=0)) * queries_QH.shape[1] * self._longest
        if not isfinite(largest) or largest > float(np.finfo(np.float32).max):
            raise ValueError("a query's vector is too large, or holds a value that is not a number")


class _OnProcessors:
    """Some queries, searched with BLAS and compiled code."""

    def __init__(self, search: ExactSearch, nearest: ModuleType, queries_QH: Floats, depth: int) -> None:
        self._search, self._nearest, self._queries, self._depth = search, nearest, queries_QH, depth
        count = len(queries_QH)
        self._slacks, self._limits = search.slacks(queries_QH), np.full(count, -np.inf)
        self._counts = np.zeros(count, dtype=np.int64)
        room = min(len(search._vectors), max(4 * depth, depth + 512))
        self._keys = np.empty((count, max(room, 1)), dtype=np.uint64)

    def found(self) -> Iterator[Found]:
        count, threads = len(self._queries), self._search._threads
        rows = max(ROWS, BLOCK // (4 * count))
        if self._search._vectors.dtype != np.float32:
            rows = ROWS
        rows = min(rows, len(self._search._vectors))
        products_QR = np.empty((count, rows), dtype=np.float32)
        step = -(-count // threads) if count >= 2 * threads else count
        parts = [slice(first, first + step) for first in range(0, count, step)]
        with ThreadPoolExecutor(threads) as pool:
            for first, block in self._search.blocks(rows):
                out = products_QR[:, : len(block)]
                if len(block) < rows:
                    out = np.empty((count, len(block)), dtype=np.float32)
                self._multiply(block, out, pool)
                if len(parts) == 1:
                    self._gather(parts[0], out, first)
                else:
                    list(pool.map(lambda part, out=out, first=first: self._gather(part, out, first), parts))
            yield from pool.map(self._best, range(count))

    def _multiply(self, block_RH: Floats, products_QR: Floats, pool: ThreadPoolExecutor) -> None:
        if len(self._queries) > FEW:
            np.matmul(self._queries, block_RH.T, out=products_QR)
            return
        step = max(1, -(-len(block_RH) // self._search._threads))
        parts = [slice(first, first + step) for first in range(0, len(block_RH), step)]
        list(pool.map(lambda p: self._nearest.multiply(block_RH[p], self._queries, products_QR[:, p]), parts))

    def _gather(self, part: slice, products_QR: Floats, first: int) -> None:
        """Note which rows of a block may be among the best of some queries."""
        begin = np.zeros(len(self._counts[part]), dtype=np.int64)
        while True:
            args = self._slacks[part], self._limits[part], self._counts[part], self._keys[part]
            self._nearest.gather(products_QR[part], first, begin, self._depth, *args)
            if (begin == products_QR.shape[1]).all():
                return
            for query in np.flatnonzero(begin < products_QR.shape[1]).tolist():
                self._make_room(part.start + query)

    def _make_room(self, query: int) -> None:
        """Keep the best rows alone, where too many are nearly as good: only exact products tell them apart."""
        rows, scores = self._best(query)
        self._keys[query, : len(rows)] = _keys_of(scores) << np.uint64(32) | rows.astype(np.uint64)
        self._counts[query], self._limits[query] = len(rows), float(scores[-1]) - self._slacks[query]

    def _best(self, query: int) -> Found:
        keys = self._keys[query, : self._counts[query]]
        if len(keys) > self._depth:
            least = scores_of(np.partition(keys, len(keys) - self._depth)[len(keys) - self._depth :][:1])[0]
            keys = keys[scores_of(keys) >= least - self._slacks[query]]
        rows = np.sort((keys & np.uint64(0xFFFFFFFF)).astype(np.int64))
        return self._search.scored(rows, self._queries[query], self._depth)


class _OnGpu:
    """Some queries, searched on a GPU: more rows than needed by rounded products, and these multiplied exactly."""

    SPARE = 64  # rows more than are wanted, of which most are nearly as good as the last

    def __init__(self, search: ExactSearch, nearest: ModuleType, queries_QH: Floats, depth: int) -> None:
        self._search, self._nearest, self._queries, self._depth = search, nearest, queries_QH, depth

    def found(self) -> Iterator[Found]:
        torch = extras.package("torch", "a search on a GPU")
        device, wide = self._search._gpu, min(self._depth + self.SPARE, len(self._search._vectors))
        queries = torch.from_numpy(self._queries).to(device)
        scores = torch.empty((len(self._queries), 0), device=device)
        rows = torch.empty((len(self._queries), 0), dtype=torch.int64, device=device)
        for first, block in self._search.blocks(max(ROWS, BLOCK // len(self._queries))):
            products = queries @ torch.from_numpy(np.array(block)).to(device).T
            some, places = products.topk(min(wide, products.shape[1]), dim=1)
            scores, rows = torch.cat([scores, some], dim=1), torch.cat([rows, places + first], dim=1)
            scores, order = scores.topk(min(wide, scores.shape[1]), dim=1)
            rows = rows.gather(1, order)
        least = scores[:, -1].cpu().numpy()
        slacks, whole = self._search.slacks(self._queries), wide == len(self._search._vectors)
        for query, ours in enumerate(rows.cpu().numpy()):
            best = self._search.scored(np.sort(ours), self._queries[query], self._depth)
            if whole or best[1][-1] - slacks[query] > least[query]:
                yield best
            else:  # more rows are nearly as good than were taken
                alone = self._queries[query : query + 1]
                yield from _OnProcessors(self._search, self._nearest, alone, self._depth).found()


def _keys_of(scores: Scores) -> NDArray[np.uint64]:
    """Return whole numbers that have the order of float32 numbers."""
    bits = np.ascontiguousarray(scores).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000)).astype(np.uint64)


def scores_of(keys: NDArray[np.uint64]) -> Scores:
    """Return the scores of keys."""
    bits = (keys >> np.uint64(32)).astype(np.uint32)
    return np.where(bits >> 31, bits ^ np.uint32(0x80000000), ~bits).astype(np.uint32).view(np.float32)
