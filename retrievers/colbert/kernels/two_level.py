"""Nearest centroids by two levels, compiled: the nearest centres of groups of centroids, then the centroids of these.

All is whole numbers, so the centroids that are found are the same in every form, on any number of threads, and
wherever a batch of points begins; `reference.nearest_in_groups` says which they are.

Legend  as in `reference`; G groups
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import LANES, Bytes, Groups, Reach
from retrievers.colbert.kernels.compile import CONFIG, compiled, explicit, tiled
from retrievers.colbert.kernels.vectors import amx, simd, simd_centroids
from retrievers.colbert.kernels.vectors.amx import TILE
from retrievers.colbert.kernels.vectors.simd_dots import MANY, dots, grouped

LEAST = np.iinfo(np.int32).min
POINTS = 1 << 14  # that are sorted by group at once: their bytes, and what is known of them, stay in the caches


class _Lanes(NamedTuple):
    """The centroids of all groups, 32 side by side, as dot products take them; a group begins a block of its own."""

    blocks: Bytes  # (B, bytes of a block): see `simd_dots.grouped`
    start: NDArray[np.int32]  # (B, 32): 31 less the lane, and what makes up for points that are 128 too large, 32 times
    centroid_ids: NDArray[np.int32]  # (B, 32)
    of_group: NDArray[np.int64]  # (G + 1,): where each group's blocks start


class TwoLevel:
    """Centroids that are looked for in the groups that `reference.nearest_in_groups` looks into."""

    def __init__(self, centroids_KH: Bytes, groups: Groups, reach: Reach) -> None:
        self._centroids, self._groups = centroids_KH, groups
        self._reach = reach._replace(groups=min(reach.groups, len(groups.centres)))
        self._by_vectors = explicit() and centroids_KH.shape[1] % 4 == 0
        if self._by_vectors:
            self._centres = _filled_up(groups.centres, TILE)
            self._lanes = _lanes(centroids_KH, groups)

    def nearest(self, points_NH: NDArray[np.int8]) -> NDArray[np.int32]:
        """Return what `reference.nearest_in_groups` returns."""
        one = self._by_dots if self._by_vectors else self._by_product
        parts = [one(points_NH[first : first + POINTS]) for first in range(0, len(points_NH), POINTS)]
        return np.concatenate([np.empty(0, np.int32), *parts])

    def _by_dots(self, points_NH: NDArray[np.int8]) -> NDArray[np.int32]:
        (count, dim), groups = points_NH.shape, self._groups
        blocks = grouped(_filled_up(points_NH, LANES).reshape(-1, LANES, dim))
        tops = np.full((len(blocks), self._reach.groups, LANES), LEAST, np.int32)
        tiles = tiled(dim)
        step = TILE if tiles else MANY
        run = _nearest_groups(dim, tiles, step, self._reach.groups)
        run(blocks, self._centres, len(groups.centres), groups.bits, groups.drop, tops, CONFIG)
        starts, chosen = np.zeros(len(groups.centres) + 1, np.int64), np.empty(count * self._reach.groups, np.int32)
        _sort_by_group(points_NH, tops, groups.bits, groups.drop, self._reach.share, starts, chosen)
        best, centroid_ids = np.full(count, LEAST, np.int32), np.zeros(count, np.int32)
        unsigned = points_NH.view(np.uint8) ^ 128
        _nearest_members(dim, tiles, step)(unsigned, self._lanes, starts, chosen, best, centroid_ids, CONFIG)
        return centroid_ids

    def _by_product(self, points_NH: NDArray[np.int8]) -> NDArray[np.int32]:
        """Return the same by matrix products, group by group."""
        groups, points = self._groups, points_NH.astype(np.float32)
        dots_NG = (points @ (groups.centres.astype(np.float32) - 128).T).astype(np.int32)
        order, reached = groups.order(dots_NG, self._reach)
        point, group = np.repeat(np.arange(len(points)), reached.sum(axis=1)), order[reached]
        best, centroid_ids = np.full(len(points), -np.inf, np.float32), np.zeros(len(points), np.int32)
        by_group = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[by_group], np.arange(len(groups.centres) + 1))
        for number in range(len(groups.centres)):
            members = groups.members[groups.starts[number] : groups.starts[number + 1]]
            some = point[by_group[ends[number] : ends[number + 1]]]
            if len(members) and len(some):
                found = points[some] @ (self._centroids[members].astype(np.float32) - 128).T
                place = found.argmax(axis=1)
                top, ids = found[np.arange(len(some)), place], members[place]
                better = (top > best[some]) | ((top == best[some]) & (ids < centroid_ids[some]))
                best[some[better]], centroid_ids[some[better]] = top[better], ids[better]
        return centroid_ids


def _filled_up(rows: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Return rows, and rows of zeros behind them up to a multiple of a number."""
    out = np.zeros((-(-len(rows) // multiple) * multiple, rows.shape[1]), rows.dtype)
    out[: len(rows)] = rows
    return out


def _lanes(centroids_KH: Bytes, groups: Groups) -> _Lanes:
    sizes = np.diff(groups.starts)
    of_group = np.concatenate([[0], np.cumsum(-(-sizes // LANES))])
    places = np.arange(len(groups.members)) + np.repeat(of_group[:-1] * LANES - groups.starts[:-1], sizes)
    signed = (centroids_KH[groups.members] ^ 128).view(np.int8)
    lanes = np.zeros((of_group[-1] * LANES, signed.shape[1]), np.int8)
    start, centroid_ids = np.full(len(lanes), LEAST, np.int32), np.zeros(len(lanes), np.int32)
    lanes[places], centroid_ids[places] = signed, groups.members
    start[places] = LANES - 1 - places % LANES - LANES * 128 * signed.sum(axis=1, dtype=np.int32)
    blocks = grouped(lanes.reshape(-1, LANES, lanes.shape[1]))
    return _Lanes(blocks, start.reshape(-1, LANES), centroid_ids.reshape(-1, LANES), of_group)


@cache
def _nearest_groups(dim: int, tiles: int, step: int, probe: int) -> Callable[..., None]:
    @compiled
    def run(points: Any, centres: Any, count: Any, bits: Any, drop: Any, tops: Any, config: Any) -> None:
        products = np.empty((step, LANES), np.int32)
        if tiles:
            amx.begin(config.ctypes.data)
        for block in range(len(points)):
            points_at = points.ctypes.data + block * points.strides[0]
            tops_at = tops.ctypes.data + block * tops.strides[0]
            if tiles:
                amx.hold(points_at, dim)
            for first in range(0, count, step):
                rows_at = centres.ctypes.data + first * dim
                if tiles:
                    amx.dots(rows_at, products.ctypes.data, dim)
                else:
                    dots(rows_at, points_at, products.ctypes.data, step, dim)
                rows = min(step, count - first)
                simd_centroids.largest_few(products.ctypes.data, rows, first, tops_at, bits, drop, probe)
        if tiles:
            amx.end()

    return run


@compiled
def _sort_by_group(points: Any, tops: Any, bits: int, drop: int, share: int, starts: Any, chosen: Any) -> None:
    """Write which points look into each group, ascending, and where those of each group start.

    tops  of 32 points at once, falling: see `simd_centroids.largest_few`, with products that are 128 times the sum of
          the point too large
    """
    last, reached = 2**bits - 1, np.empty(len(points), np.int32)  # how many groups a point looks into
    for point in range(len(points)):
        block, lane, total = point // LANES, point % LANES, 0
        for d in range(points.shape[1]):
            total += points[point, d]
        more = total * 128 >> drop
        least = ((tops[block, 0, lane] >> bits) - more) * share
        places = 1
        while places < tops.shape[1] and (not share or ((tops[block, places, lane] >> bits) - more) * 256 >= least):
            places += 1
        reached[point] = places
        for place in range(places):
            starts[last - (tops[block, place, lane] & last) + 1] += 1
    for group in range(1, len(starts)):
        starts[group] += starts[group - 1]
    at = starts.copy()
    for point in range(len(points)):
        for place in range(reached[point]):
            group = last - (tops[point // LANES, place, point % LANES] & last)
            chosen[at[group]] = point
            at[group] += 1


@cache
def _nearest_members(dim: int, tiles: int, step: int) -> Callable[..., None]:
    @compiled
    def run(points: Any, lanes: Any, starts: Any, chosen: Any, best: Any, centroid_ids: Any, config: Any) -> None:
        blocks, start, ids, of_group = lanes
        most = 0
        for group in range(len(starts) - 1):
            most = max(most, starts[group + 1] - starts[group])
        rows = np.zeros((most + step, dim), np.uint8)
        products, tops = np.empty((step, LANES), np.int32), np.empty(step, np.int32)
        if tiles:
            amx.begin(config.ctypes.data)
        for group in range(len(starts) - 1):
            some = chosen[starts[group] : starts[group + 1]]
            for i in range(len(some)):
                simd.copy(points.ctypes.data + some[i] * dim, rows.ctypes.data + i * dim, dim)
            for block in range(of_group[group], of_group[group + 1]):
                lanes_at = blocks.ctypes.data + block * blocks.strides[0]
                if tiles:
                    amx.hold(lanes_at, dim)
                for first in range(0, len(some), step):
                    rows_at = rows.ctypes.data + first * dim
                    if tiles:
                        amx.dots(rows_at, products.ctypes.data, dim)
                    else:
                        dots(rows_at, lanes_at, products.ctypes.data, step, dim)
                    start_at = start.ctypes.data + 4 * LANES * block
                    simd_centroids.largest_lanes(products.ctypes.data, step, start_at, tops.ctypes.data)
                    for i in range(min(step, len(some) - first)):
                        point, top = some[first + i], tops[i] >> 5
                        number = ids[block, LANES - 1 - (tops[i] & (LANES - 1))]
                        if top > best[point] or (top == best[point] and number < centroid_ids[point]):
                            best[point] = top
                            centroid_ids[point] = number
        if tiles:
            amx.end()
        rows[0, 0] = products[0, 0]  # numba frees an array behind the last line that names it

    return run
