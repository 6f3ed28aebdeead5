"""What building needs, compiled: sums of clusters, residuals as codes, and inverted lists.

Legend  as in `reference`
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import Bytes, Codec, Encoded, Floats, Integers
from retrievers.colbert.kernels.compile import compiled, inlined


@partial(compiled, fastmath={"nnan", "nsz"})  # a maximum in any order
def _as_bytes(vectors: Any, out: Any) -> None:
    for i in range(len(vectors)):
        top = np.float32(1e-12)
        for d in range(vectors.shape[1]):
            top = max(top, abs(vectors[i, d]))
        scale = np.float32(127) / top
        for d in range(vectors.shape[1]):
            out[i, d] = np.int8(np.rint(vectors[i, d] * scale))


def as_bytes(vectors_NH: Floats) -> NDArray[np.int8]:
    """Return what `reference.as_bytes` returns."""
    out = np.empty(vectors_NH.shape, np.int8)
    _as_bytes(vectors_NH, out)
    return out


@compiled
def _sums(points: Any, centroid_ids: Any, out: Any, counts: Any) -> None:
    for i in range(len(points)):
        centroid = centroid_ids[i]
        counts[centroid] += 1
        for d in range(points.shape[1]):
            out[centroid, d] += points[i, d]


def sums(
    points_NH: NDArray[np.int8], centroid_ids_N: NDArray[np.int32], num_centroids: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sum of the points of every centroid, (K, H), and how many they are, (K,)."""
    out = np.zeros((num_centroids, points_NH.shape[1]), np.int64)
    counts = np.zeros(num_centroids, np.int64)
    _sums(points_NH, centroid_ids_N, out, counts)
    return out, counts


class _CodecArrays(NamedTuple):
    """What encoding needs of a codec."""

    shifted: Bytes
    step: np.float32
    exact: Floats  # (0, 0), or the centroids of others
    cutoffs: Floats
    weights: Floats
    inverse_lengths: Floats


@inlined
def _pack(codes: Any, bits: int, packed: Any) -> None:
    per_byte = 8 // bits
    for byte in range(len(packed)):
        whole = 0
        for field in range(per_byte):
            whole = whole << bits | codes[byte * per_byte + field]
        packed[byte] = whole


@compiled
def _residuals(vectors: Any, centroid_ids: Any, codec: Any, bits: int, packed: Any, lengths: Any) -> None:
    shifted, step, exact, cutoffs, weights, inverse_lengths = codec
    dim, low, high = vectors.shape[1], inverse_lengths[0], inverse_lengths[-1]
    near, numbers = np.empty(dim, np.float32), np.empty(dim, np.float32)
    codes = np.empty(dim, np.uint8)
    for token in range(len(vectors)):  # in loops that become vector code, but for the sum, whose order makes its bits
        centroid = centroid_ids[token]
        if len(exact):
            near[:] = exact[centroid]
        else:
            for d in range(dim):
                near[d] = (np.float32(shifted[centroid, d]) - np.float32(128)) * step
        codes[:], numbers[:] = 0, weights[0]
        for i in range(len(cutoffs)):
            cutoff, weight = cutoffs[i], weights[i + 1]
            for d in range(dim):
                above = vectors[token, d] - near[d] > cutoff
                codes[d] += above
                numbers[d] = weight if above else numbers[d]
        for d in range(dim):
            numbers[d] = (near[d] + numbers[d]) * (near[d] + numbers[d])
        square = np.float32(0)
        for d in range(dim):
            square += numbers[d]
        _pack(codes, bits, packed[token])
        inverse = np.float32(1) / max(np.sqrt(square), np.float32(1e-12))
        place = (inverse - low) / max(high - low, np.float32(1e-12)) * np.float32(255)
        lengths[token] = np.uint8(min(max(np.rint(place), np.float32(0)), np.float32(255)))


def residuals(codec: Codec, vectors_NH: Floats, centroid_ids_N: NDArray[np.int32]) -> Encoded:
    """Return tokens as they are stored, given their centroids: the codes that `codec.cutoffs` ask for."""
    packed = np.empty((len(vectors_NH), codec.dim * codec.bits // 8), np.uint8)
    lengths = np.empty(len(vectors_NH), np.uint8)
    exact = np.zeros((0, 0), np.float32) if codec.exact is None else codec.exact
    tables = _CodecArrays(
        codec.shifted, np.float32(codec.step), exact, codec.cutoffs, codec.weights, codec.inverse_lengths
    )
    vectors = np.ascontiguousarray(vectors_NH, np.float32)
    _residuals(vectors, centroid_ids_N, tables, codec.bits, packed, lengths)
    return Encoded(centroid_ids_N.astype(codec.id_type), packed, lengths)


@compiled
def _list_sizes(centroid_ids: Any, starts: Any, last: Any, sizes: Any) -> None:
    for row in range(len(starts) - 1):
        for token in range(starts[row], starts[row + 1]):
            centroid = centroid_ids[token]
            if last[centroid] != row:
                delta = row - last[centroid] - 1
                sizes[centroid] += 1
                while delta > 127:
                    delta >>= 7
                    sizes[centroid] += 1
                last[centroid] = row


@compiled
def _list_bytes(centroid_ids: Any, starts: Any, last: Any, at: Any, stream: Any) -> None:
    for row in range(len(starts) - 1):
        for token in range(starts[row], starts[row + 1]):
            centroid = centroid_ids[token]
            if last[centroid] != row:
                delta = row - last[centroid] - 1
                while delta > 127:
                    stream[at[centroid]] = np.uint8(delta & 127 | 128)
                    at[centroid] += 1
                    delta >>= 7
                stream[at[centroid]] = np.uint8(delta)
                at[centroid] += 1
                last[centroid] = row


def lists(centroid_ids_N: Integers, starts_D: Integers, num_centroids: int, stream: Any) -> Integers:
    """Write the rows of every centroid, ascending, once each, as differences of 7 bits a byte; return their starts.

    stream   a function that makes the array of bytes to write to, given its size
    returns  (K + 1,) int64

    Two passes over the tokens and a number for each centroid are all it takes, however large the index is.
    """
    sizes = np.zeros(num_centroids + 1, np.int64)
    _list_sizes(centroid_ids_N, starts_D, np.full(num_centroids, -1, np.int64), sizes[1:])
    list_starts = np.cumsum(sizes)
    last, at = np.full(num_centroids, -1, np.int64), list_starts[:-1].copy()
    _list_bytes(centroid_ids_N, starts_D, last, at, stream(int(list_starts[-1])))
    return list_starts
