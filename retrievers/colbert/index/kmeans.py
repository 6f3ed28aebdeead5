"""Centroids from a sample of tokens: spherical k-means in integer arithmetic, so every machine finds the same ones.

Points and centroids are bytes while the clusters form. Dot products and sums
of bytes are exact in any order, so neither the number of threads nor the kind
of processor can move a point to another cluster.

The nearest centroid is found exactly, or by two levels: the same k-means puts
the centroids into groups; a point is compared with the centres of the groups,
and then only with the centroids of the best groups.

Legend  N points  K centroids  H dimensions
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lotte.progress import Progress
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import LANES, Bytes, Groups, Reach

SHARE = 1 << 14  # points that a thread takes at once
FEW = 8  # points for a centroid, below which an iteration takes no part of them
ASSIGNMENTS = ("auto", "exact", "two_level")
MANY_CENTROIDS = 1 << 14  # from which on "auto" takes two levels; below, a build takes seconds, and is as it was
MOST_DIMS, MOST_GROUPS = 1024, 4096  # of two levels: a product and whose it is then fit 32 bits
REACH = Reach(groups=16, share=154)  # retrievers/LOG.md
PROBED = 10  # groups that a point looks into on average
PASSES = 8  # of k-means over the centroids, that makes the groups

Find: TypeAlias = Callable[[NDArray[np.int8]], NDArray[np.int32]]


class Centroids(NamedTuple):
    shifted: Bytes  # (K, H): a centroid is (shifted - 128) * step
    step: float


def takes_two_levels(assignment: str, num_centroids: int, dim: int) -> bool:
    """Return whether nearest centroids are found by two levels.

    assignment  one of ASSIGNMENTS

    Raises  ValueError if two levels are requested by name and there are too many dimensions for them
    """
    if assignment == "two_level" and dim > MOST_DIMS:
        raise ValueError(f"assignment=two_level takes {MOST_DIMS:,} dimensions at most, not {dim:,}")
    enough = num_centroids >= MANY_CENTROIDS and dim <= MOST_DIMS
    return assignment == "two_level" or (assignment == "auto" and enough)


def num_groups(num_centroids: int) -> int:
    """Return into how many groups centroids are put: 3 roots of their number, a multiple of 16, at most 4,096."""
    return min(num_centroids, MOST_GROUPS, max(16, 16 * round(3 * num_centroids**0.5 / 16)))


def compared(num_centroids: int, two_level: bool) -> float:
    """Return with how many centroids a point is compared, or does work that takes as long."""
    groups = num_groups(num_centroids)
    by_two_levels = groups + PROBED * (num_centroids / groups + 3 * LANES)
    return min(num_centroids, by_two_levels) if two_level else num_centroids


def groups_of(centroids_KH: Bytes, *, threads: int = 1) -> Groups:
    """Put centroids into groups of those that are near each other: k-means over the centroids, the same every time."""
    points_KH = (centroids_KH ^ 128).view(np.int8)
    centres = kmeans(points_KH, num_groups(len(points_KH)), iterations=PASSES, seed=0, threads=threads).shifted
    group_K = nearest(points_KH, centres, threads=threads)
    members = np.argsort(group_K, kind="stable")
    starts = np.searchsorted(group_K[members], np.arange(len(centres) + 1))
    return Groups(centres, members.astype(np.int32), starts.astype(np.int64))


def finder(centroids_KH: Bytes, *, two_level: bool = False, threads: int = 1, gpu: str | None = None) -> Find:
    """Return what finds the nearest centroid of each of some points, (N, H) int8: the largest dot product.

    two_level  among those that `reference.nearest_in_groups` looks at; else among all. Of equals the first is found
    threads    make it ready; what is returned works on one, and may be called by several
    gpu        what torch calls a GPU that does the work; the centroids that are found are the same
    """
    if gpu:
        from retrievers.colbert.kernels import gpu as kernels

        find = _gpu_finder(centroids_KH, gpu, two_level=two_level, threads=threads)
        return lambda points_NH: np.asarray(find(kernels.moved(points_NH, gpu)).cpu())
    if two_level:
        return cpu.TwoLevel(centroids_KH, groups_of(centroids_KH, threads=threads), REACH).nearest
    return partial(cpu.nearest, centroids_KH=centroids_KH)


def _gpu_finder(centroids_KH: Bytes, gpu: str, *, two_level: bool, threads: int) -> Callable[[Any], Any]:
    """Return what `finder` returns, of tensors."""
    from retrievers.colbert.kernels import gpu as kernels
    from retrievers.colbert.kernels.gpu_two_level import GpuTwoLevel

    if two_level:
        return GpuTwoLevel(centroids_KH, groups_of(centroids_KH, threads=threads), REACH, gpu).nearest
    return partial(kernels.nearest, centroids_KH=centroids_KH)


def nearest(
    points_NH: NDArray[np.int8],
    centroids_KH: Bytes,
    *,
    threads: int,
    gpu: str | None = None,
    two_level: bool = False,
    progress: Progress | None = None,
) -> NDArray[np.int32]:
    """Return for every point the centroid that `finder` finds.

    threads  share the points, unless a GPU is named, in torch's words, which then takes them all
    """
    find = finder(centroids_KH, two_level=two_level, threads=threads, gpu=gpu)
    if gpu:
        return find(points_NH)

    def share(first: int) -> NDArray[np.int32]:
        centroid_ids = find(points_NH[first : first + SHARE])
        if progress:
            progress.advance(len(centroid_ids))
        return centroid_ids

    firsts = range(0, len(points_NH), SHARE)
    if threads == 1 or len(firsts) < 2:
        return np.concatenate([np.empty(0, np.int32), *map(share, firsts)])
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(share, firsts)))


def kmeans(
    points_NH: NDArray[np.int8],
    num_centroids: int,
    *,
    iterations: int,
    seed: int,
    threads: int = 1,
    gpu: str | None = None,
    two_level: bool = False,
) -> Centroids:
    """Return centroids of length 1, to the precision of a byte.

    points_NH      vectors of length 1 in bytes, all with the same step; at least one
    num_centroids  of points, if there are fewer
    seed           of the points that are taken for the first centroids, and for those that are left empty
    threads, gpu   as in `nearest`; the centroids are the same wherever they were found
    two_level      as in `finder`; other centroids than without it

    Raises  ValueError if there is no point or no centroid to find
    Source  Dhillon and Modha 2001, "Concept decompositions for large sparse text data using clustering"
    """
    num_centroids = min(num_centroids, len(points_NH))
    if num_centroids < 1:
        raise ValueError(f"no centroids can be found in {len(points_NH)} points")
    random = np.random.default_rng(seed)
    chosen = points_NH[np.sort(random.choice(len(points_NH), num_centroids, replace=False))]
    centroids = _rounded(chosen.astype(np.int64))
    parts = [points_NH[:: _stride(left, len(points_NH), num_centroids)] for left in range(iterations - 1, -1, -1)]
    how: Any = {"threads": threads, "two_level": two_level}
    with Progress(sum(map(len, parts)), "tokens", "k-means") as progress:
        for part_NH in map(np.ascontiguousarray, parts):
            if gpu:
                sums, counts = _clusters_on_gpu(part_NH, centroids.shifted, gpu, progress, **how)
            else:
                centroid_ids = nearest(part_NH, centroids.shifted, progress=progress, **how)
                sums, counts = cpu.sums(part_NH, centroid_ids, num_centroids)
            empty = np.flatnonzero(counts == 0)
            sums[empty] = points_NH[random.choice(len(points_NH), len(empty), replace=False)]
            centroids = _rounded(sums)
    return centroids


def _stride(left: int, points: int, centroids: int) -> int:
    """Return 4, 2 or 1: an iteration that has others after it takes a fourth of the points, or half of them.

    left  iterations that are still to come

    The last two take all, and none fewer than FEW for a centroid: where centroids are random still, a part of the
    points moves them as far (retrievers/LOG.md).
    """
    return max(1, min(1 << max(0, left - 1), 4, points // (FEW * centroids)))


def _clusters_on_gpu(
    points_NH: NDArray[np.int8], centroids_KH: Bytes, gpu: str, progress: Progress, **how: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `cpu.sums` returns, of the points nearest to each centroid; a part of them is there at once."""
    from retrievers.colbert.kernels import gpu as kernels

    find = _gpu_finder(centroids_KH, gpu, **how)
    sums, counts = np.zeros(centroids_KH.shape, np.int64), np.zeros(len(centroids_KH), np.int64)
    for first in range(0, len(points_NH), kernels.POINTS):
        points = kernels.moved(points_NH[first : first + kernels.POINTS], gpu)
        of_part = kernels.sums(points, find(points), len(centroids_KH))
        sums, counts = sums + of_part[0].cpu().numpy(), counts + of_part[1].cpu().numpy()
        progress.advance(len(points))
    return sums, counts


def _rounded(sums_KH: NDArray[np.int64]) -> Centroids:
    """Return sums scaled to length 1, as shifted bytes; some rows at a time, whose copies take next to no memory.

    The length is the root of a whole number that Python adds up exactly where 64 bits would not do.
    """

    def units() -> Iterator[tuple[slice, NDArray[np.float64]]]:
        for first in range(0, len(sums_KH), 1 << 12):
            sums = sums_KH[first : first + (1 << 12)]
            large = np.abs(sums).max() > 2**27
            squares = (sums.astype(object) ** 2).sum(axis=1) if large else (sums**2).sum(axis=1)
            lengths = np.sqrt(np.maximum(squares.astype(np.float64), 1.0))
            yield slice(first, first + len(sums)), sums / lengths[:, None]

    step = max(float(np.abs(unit).max()) for _, unit in units()) / 127 or 1.0
    shifted = np.empty(sums_KH.shape, np.uint8)
    for rows, unit in units():
        shifted[rows] = np.rint(unit / step) + 128
    return Centroids(shifted, step)
