"""The stages of `reference` that look at centroids only, compiled: the nearest ones, and their scores with a query.

Legend  as in `reference`
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import COARSE, LANES, UNIT, Bytes, CentroidScores, Codec, Floats, Query
from retrievers.colbert.kernels.compile import CONFIG, compiled, explicit, tiled
from retrievers.colbert.kernels.vectors import amx, simd_centroids
from retrievers.colbert.kernels.vectors.amx import TILE
from retrievers.colbert.kernels.vectors.simd_dots import MANY, ROWS, dots, grouped

# nearest centroids ----------------------------------------------------------------------------------------------


def _together(rows: int, tiles: int) -> int:
    """Return how many centroids are multiplied at once."""
    return TILE if tiles else ROWS if rows % MANY else MANY


@cache
def _nearest(dim: int, tiles: int, step: int) -> Callable[..., None]:
    @compiled
    def run(points: Any, centroids: Any, best: Any, centroid_ids: Any, config: Any) -> None:
        products = np.empty((step, LANES), np.int32)
        if tiles:
            amx.begin(config.ctypes.data)
        for block in range(len(points)):
            query_at = points.ctypes.data + block * points.strides[0]
            if tiles:
                amx.hold(query_at, dim)
            for first in range(0, len(centroids), step):
                rows_at = centroids.ctypes.data + first * dim
                if tiles:
                    amx.dots(rows_at, products.ctypes.data, dim)
                else:
                    dots(rows_at, query_at, products.ctypes.data, step, dim)
                offset = 4 * LANES * block
                ids_at = centroid_ids.ctypes.data + offset
                simd_centroids.largest(products.ctypes.data, step, first, best.ctypes.data + offset, ids_at)
        if tiles:
            amx.end()

    return run


def nearest(points_NH: NDArray[np.int8], centroids_KH: Bytes) -> NDArray[np.int32]:
    """Return what `reference.nearest` returns."""
    dim, rows = points_NH.shape[1], len(centroids_KH)
    if not explicit() or dim % 4 or rows % ROWS or not centroids_KH.flags.c_contiguous:
        return _nearest_by_product(points_NH, centroids_KH)
    padded = np.zeros((-(-len(points_NH) // LANES) * LANES, dim), np.int8)
    padded[: len(points_NH)] = points_NH
    blocks = grouped(padded.reshape(-1, LANES, dim))
    best = np.full(len(padded), np.iinfo(np.int32).min, np.int32)
    centroid_ids = np.zeros(len(padded), np.int32)
    tiles = tiled(dim, rows)
    _nearest(dim, tiles, _together(rows, tiles))(blocks, centroids_KH, best, centroid_ids, CONFIG)
    return centroid_ids[: len(points_NH)]


def _nearest_by_product(points_NH: NDArray[np.int8], centroids_KH: Bytes) -> NDArray[np.int32]:
    """Return the same by matrix products of a block of points and a block of centroids that fit the cache."""
    out = np.empty(len(points_NH), np.int32)
    for first in range(0, len(points_NH), 1024):
        points = points_NH[first : first + 1024].astype(np.float32)
        best = np.full(len(points), -np.inf, np.float32)
        centroid_ids = np.zeros(len(points), np.int32)
        for start in range(0, len(centroids_KH), 2048):
            dots = points @ (centroids_KH[start : start + 2048].astype(np.float32) - 128).T
            place = dots.argmax(axis=1)
            top = dots[np.arange(len(points)), place]
            centroid_ids[top > best] = place[top > best] + start
            np.maximum(best, top, out=best)
        out[first : first + 1024] = centroid_ids
    return out


# centroids times query, and the centroids to probe ------------------------------------------------------------------


@compiled
def _insert(values: Any, centroid_ids: Any, value: int, centroid_id: int) -> None:
    """Put a value into a short list that is sorted from large to small; it goes behind its equals."""
    place = len(values) - 1
    while place > 0 and values[place - 1] < value:
        values[place] = values[place - 1]
        centroid_ids[place] = centroid_ids[place - 1]
        place -= 1
    values[place] = value
    centroid_ids[place] = centroid_id


class _QueryTables(NamedTuple):
    query: Bytes  # (B, bytes of a block): see `simd_dots.grouped`
    start: NDArray[np.int32]  # (B, 32): what is added to every dot product
    unit: Floats  # (1,): steps of UNIT for a step of a dot product
    tiles: Bytes  # (64,): how matrix registers are laid out


@cache
def _centroid_scores(dim: int, tiles: int, step: int) -> Callable[..., None]:
    @compiled
    def run(centroids: Any, tables: Any, out: Any, coarse: Any, values: Any, ids: Any) -> None:
        query, start, unit, probe = tables.query, tables.start, tables.unit, values.shape[2]
        floors = np.empty(LANES, np.int16)
        products = np.empty((step, LANES), np.int32)
        if tiles:
            amx.begin(tables.tiles.ctypes.data)
        for block in range(len(query)):
            query_at = query.ctypes.data + block * query.strides[0]
            if tiles:
                amx.hold(query_at, dim)
            floors[:] = -(2**15)
            for first in range(0, len(centroids), step):
                rows_at = centroids.ctypes.data + first * dim
                if tiles:
                    amx.dots(rows_at, products.ctypes.data, dim)
                else:
                    dots(rows_at, query_at, products.ctypes.data, step, dim)
                place = LANES * (block * len(centroids) + first)
                passed = simd_centroids.steps(
                    products.ctypes.data, step, start.ctypes.data + 4 * LANES * block, unit.ctypes.data,
                    out.ctypes.data + 2 * place, coarse.ctypes.data + place, floors.ctypes.data,
                )  # fmt: skip
                if not passed and first >= probe:
                    continue
                for row in range(first, first + step):
                    if passed >> (row - first) & 1 or row < probe:
                        for lane in range(LANES):
                            if out[block, row, lane] > floors[lane] or row < probe:
                                _insert(values[block, lane], ids[block, lane], out[block, row, lane], row)
                                floors[lane] = max(values[block, lane, probe - 1], -(2**15))
        if tiles:
            amx.end()

    return run


def centroid_scores(codec: Codec, query: Query, probe: int, scratch: "Scratch | None" = None) -> CentroidScores:
    """Return what `reference.centroid_scores`, `coarse` and `best_centroids` return, in one pass over the centroids.

    scratch  has room for the scores, which the next query then writes over
    """
    probe = min(probe, codec.num_centroids)
    if probe**2 > 4 * codec.num_centroids:  # to sort all of them is sooner than to keep so many in order
        best = centroid_scores(codec, query, 1, scratch)
        return best._replace(probed=_sorted_centroids(best.fine, query.count, probe))
    shape = (len(query.lanes), codec.num_centroids, LANES)
    out, coarse = (Scratch(0) if scratch is None else scratch).scores(shape)
    unit = np.float32(query.step * codec.step / UNIT)
    values = np.full((len(out), LANES, probe), -(2**31), np.int32)
    centroid_ids = np.zeros((len(out), LANES, probe), np.int32)
    if explicit() and codec.dim % 4 == 0 and codec.num_centroids % ROWS == 0:
        start = query.least(codec) - 128 * query.lanes.sum(axis=2, dtype=np.int32)
        tables = _QueryTables(grouped(query.lanes), start, np.array([unit]), CONFIG)
        tiles = tiled(codec.dim, codec.num_centroids)
        run = _centroid_scores(codec.dim, tiles, _together(codec.num_centroids, tiles))
        run(codec.shifted, tables, out, coarse, values, centroid_ids)
    else:
        _scores_by_product(codec, query, unit, out)
        np.clip(out >> COARSE, -128, 127, out=coarse, casting="unsafe")
        _best_centroids(out, values, centroid_ids)
    return CentroidScores(out, coarse, centroid_ids.reshape(-1, probe)[: query.count])


def _sorted_centroids(scores: NDArray[np.int16], count: int, probe: int) -> NDArray[np.int32]:
    centroid_ids = np.empty((count, probe), np.int32)
    for token in range(count):
        # the complement turns the order round and cannot overflow; two bytes are sorted by their digits
        falling = ~scores[token // LANES, :, token % LANES]
        centroid_ids[token] = np.argsort(falling, kind="stable")[:probe]
    return centroid_ids


def _scores_by_product(codec: Codec, query: Query, unit: np.float32, out: NDArray[np.int16]) -> None:
    least = query.least(codec)
    for block, lanes in enumerate(query.lanes.astype(np.float32)):
        for first in range(0, codec.num_centroids, 4096):
            shifted = codec.shifted[first : first + 4096].astype(np.float32) - 128
            dots = (shifted @ lanes.T + least[block].astype(np.float32)) * unit
            out[block, first : first + 4096] = np.clip(np.rint(dots), -32768, 32767)


@compiled
def _best_centroids(scores: Any, values: Any, ids: Any) -> None:
    last = values.shape[2] - 1
    for block in range(scores.shape[0]):
        for centroid in range(scores.shape[1]):
            for lane in range(LANES):
                if scores[block, centroid, lane] > values[block, lane, last]:
                    _insert(values[block, lane], ids[block, lane], scores[block, centroid, lane], centroid)


class Scratch:
    """What a search writes into, for each thread that searches: new memory costs a fault a page."""

    def __init__(self, num_rows: int) -> None:
        self.marks = np.zeros(num_rows // 64 + 1, np.uint64)  # a bit for each row; all 0 between two queries
        self.gains = np.empty(num_rows, np.int32)
        self.seen = np.zeros(num_rows, np.int32)  # the number of the query token that last saw a row
        self.stamp = 1
        self._fine, self._coarse = np.empty(0, np.int16), np.empty(0, np.int8)

    def scores(self, shape: tuple[int, int, int]) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
        size = shape[0] * shape[1] * shape[2]
        if len(self._fine) < size:
            self._fine, self._coarse = np.empty(size, np.int16), np.empty(size, np.int8)
        return self._fine[:size].reshape(shape), self._coarse[:size].reshape(shape)
