"""Centroids from a sample of tokens: spherical k-means in whole numbers, so every machine finds the same ones.

Points and centroids are bytes while the clusters form. Dot products and sums
of bytes are exact in any order, so neither the number of threads nor the kind
of processor can move a point to another cluster.

Legend  N points  K centroids  H dimensions
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotte.progress import Progress
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import Bytes

SHARE = 1 << 14  # points that a thread takes at once
FEW = 8  # points for a centroid, below which an iteration takes no part of them


class Centroids(NamedTuple):
    shifted: Bytes  # (K, H): a centroid is (shifted - 128) * step
    step: float


def nearest(
    points_NH: NDArray[np.int8],
    centroids_KH: Bytes,
    *,
    threads: int,
    gpu: str | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int32]:
    """Return for every point the centroid with the largest dot product, the first of equals.

    threads  share the points, unless a GPU is named, in torch's words, which then takes them all
    """
    if gpu:
        from retrievers.colbert.kernels import gpu as kernels

        return np.asarray(kernels.nearest(kernels.moved(points_NH, gpu), centroids_KH).cpu())

    def share(first: int) -> NDArray[np.int32]:
        centroid_ids = cpu.nearest(points_NH[first : first + SHARE], centroids_KH)
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
) -> Centroids:
    """Return centroids of length 1, to the precision of a byte.

    points_NH      vectors of length 1 in bytes, all with the same step; at least one
    num_centroids  of points, if there are fewer
    seed           of the points that are taken for the first centroids, and for those that are left empty
    threads, gpu   as in `nearest`; the centroids are the same wherever they were found

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
    with Progress(sum(map(len, parts)), "tokens", "k-means") as progress:
        for part_NH in map(np.ascontiguousarray, parts):
            if gpu:
                sums, counts = _clusters_on_gpu(part_NH, centroids.shifted, gpu, progress)
            else:
                centroid_ids = nearest(part_NH, centroids.shifted, threads=threads, progress=progress)
                sums, counts = cpu.sums(part_NH, centroid_ids, num_centroids)
            empty = np.flatnonzero(counts == 0)
            sums[empty] = points_NH[random.choice(len(points_NH), len(empty), replace=False)]
            centroids = _rounded(sums)
    return centroids


def _stride(left: int, points: int, centroids: int) -> int:
    """Return 4, 2 or 1: an iteration that has others behind it takes a fourth of the points, or half of them.

    left  iterations that are still to come

    The last two take all, and none fewer than FEW for a centroid: where centroids are random still, a part of the
    points moves them as far (retrievers/LOG.md).
    """
    return max(1, min(1 << max(0, left - 1), 4, points // (FEW * centroids)))


def _clusters_on_gpu(
    points_NH: NDArray[np.int8], centroids_KH: Bytes, gpu: str, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `cpu.sums` returns, of the points nearest to each centroid; a part of them is there at once."""
    from retrievers.colbert.kernels import gpu as kernels

    sums, counts = np.zeros(centroids_KH.shape, np.int64), np.zeros(len(centroids_KH), np.int64)
    for first in range(0, len(points_NH), kernels.POINTS):
        points = kernels.moved(points_NH[first : first + kernels.POINTS], gpu)
        of_part = kernels.sums(points, kernels.nearest(points, centroids_KH), len(centroids_KH))
        sums, counts = sums + of_part[0].cpu().numpy(), counts + of_part[1].cpu().numpy()
        progress.advance(len(points))
    return sums, counts


def _rounded(sums_KH: NDArray[np.int64]) -> Centroids:
    """Return sums scaled to length 1, as shifted bytes.

    The length is the root of a whole number that Python adds up exactly where 64 bits would not do.
    """
    squares = (sums_KH.astype(object) ** 2).sum(axis=1) if np.abs(sums_KH).max() > 2**27 else (sums_KH**2).sum(axis=1)
    lengths = np.sqrt(np.maximum(squares.astype(np.float64), 1.0))[:, None]
    unit_KH = sums_KH / lengths
    step = float(np.abs(unit_KH).max()) / 127 or 1.0
    return Centroids((np.rint(unit_KH / step) + 128).astype(np.uint8), step)
