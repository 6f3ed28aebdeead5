"""Codes back to vectors, compiled, and the scores that a search prints: MaxSim over decoded vectors in float32.

Legend  as in `reference`
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import LANES, Bytes, Codec, Floats, Integers, SearchContext, Segment
from retrievers.colbert.kernels.compile import explicit, inlined
from retrievers.colbert.kernels.maxsim import Close
from retrievers.colbert.kernels.ordered import SIDE, dot, numeric, total
from retrievers.colbert.kernels.reference import unpack
from retrievers.colbert.kernels.vectors import simd_centroids, simd_scores


class Tables(NamedTuple):
    """What decoding needs of a codec."""

    values: Floats  # (256, 8 / bits): what a byte of a residual stands for
    weights: Floats  # (16,): what a code stands for, filled up with 0
    centroids: Bytes | Floats  # (K, H), of which bytes are shifted by 128 and each worth a step
    step: np.float32  # 0 says that centroids are float32

    @classmethod
    def of(cls, codec: Codec) -> "Tables":
        every, weights = np.arange(256, dtype=np.uint8)[:, None], np.zeros(16, np.float32)
        weights[: len(codec.weights)] = codec.weights
        centroids = codec.shifted if codec.exact is None else codec.exact
        step = np.float32(codec.step if codec.exact is None else 0)
        return cls(codec.weights[unpack(every, bits=codec.bits)], weights, centroids, step)


def _decoding_for(codec: Codec) -> tuple[int, int, int, int]:
    """Return what code that decodes is made for."""
    return codec.dim, codec.bits, int(codec.exact is not None), int(explicit() and codec.dim % 16 == 0)


@numeric
def _decoded(values: Any, centroid: Any, step: Any, packed: Any, out: Any) -> None:
    """Write a token's numbers before they are scaled to length 1."""
    per_byte = values.shape[1]
    for byte in range(len(packed)):
        for field in range(per_byte):
            out[byte * per_byte + field] = values[packed[byte], field]
    for d in range(len(out)):
        out[d] += centroid[d] if step == 0 else (np.float32(centroid[d]) - np.float32(128)) * step


@cache
def _product(dim: int) -> Callable[..., Any]:
    """Return the dot product of two rows of `dim` numbers, in the order of `ordered.dot`."""

    if dim % SIDE:
        return dot

    @numeric
    def run(a: Any, b: Any, sums: Any) -> Any:
        return simd_scores.dot(a.ctypes.data, b.ctypes.data, dim)

    return run


@cache
def _decoded_token(dim: int, bits: int, floats: int, with_vectors: int) -> Callable[..., Any]:
    """Return code that writes a token's numbers before they are scaled to length 1, and returns what scales them."""
    product, width, row_bytes = _product(dim), dim * bits // 8, dim * (4 if floats else 1)

    @inlined
    def run(tables: Any, centroid_ids: Any, residuals: Any, token: Any, out: Any, sums: Any) -> Any:
        centroid_id: Any = min(np.int64(centroid_ids[token]), len(tables.centroids) - 1)
        if with_vectors:
            square = simd_scores.decoded(
                residuals.ctypes.data + token * width,
                tables.weights.ctypes.data,
                tables.centroids.ctypes.data + centroid_id * row_bytes,
                tables.step,
                out.ctypes.data,
                dim,
                bits,
                floats,
            )
        else:
            _decoded(tables.values, tables.centroids[centroid_id], tables.step, residuals[token], out)
            square = product(out, out, sums)
        return np.float32(1) / max(np.sqrt(square), np.float32(1e-12))

    return run


@cache
def _scores_of_close(dim: int, bits: int, floats: int, with_vectors: int) -> Callable[..., None]:
    product, decoded_token = _product(dim), _decoded_token(dim, bits, floats, with_vectors)

    @numeric
    def run(vectors: Any, tables: Any, tokens: Any, rows: Any, places: Any, close: Any, out: Any) -> None:
        decoded, best = np.empty(dim, np.float32), np.empty(len(vectors), np.float32)
        sums, masks, lengths = np.empty(SIDE, np.float32), close.masks, tokens.lengths
        for i in range(len(rows)):
            start, stop, first = tokens.starts[rows[i]], tokens.starts[rows[i] + 1], close.starts[places[i]]
            if start == stop:
                continue
            unsure = 0  # of a length that no byte stands for, the bytes say nothing
            for token in range(start, stop):
                unsure += (lengths[token] == 0) | (lengths[token] == 255)
            best[:] = -np.inf
            for block in range(masks.shape[1]):
                for token in range(start, stop):
                    mask = masks[first + token - start, block]
                    if unsure:
                        mask = np.uint32(2**32 - 1)
                    if not mask:
                        continue
                    scale = decoded_token(tables, tokens.centroid_ids, tokens.residuals, token, decoded, sums)
                    while mask:
                        q = LANES * block + simd_centroids.trailing_zeros(mask)
                        mask &= mask - np.uint32(1)
                        if q >= len(vectors):
                            break
                        best[q] = max(best[q], product(decoded, vectors[q], sums) * scale)
            out[i] = total(best, sums, len(best))

    return run


def exact_maxsim(
    segment: Segment, context: SearchContext, rows_C: NDArray[np.int32], close: Close, places_C: Integers
) -> Floats:
    """Return what `reference.exact_maxsim` returns, looking at those tokens only that may be the best.

    close     of more documents, by `quantized_maxsim`; places_C  where these stand among them
    """
    codec, out = context.codec, np.full(len(rows_C), -np.inf, np.float32)
    run = _scores_of_close(*_decoding_for(codec))
    run(context.query.vectors, Tables.of(codec), segment.tokens, rows_C, places_C, close, out)
    return out


@cache
def _decode(dim: int, bits: int, floats: int, with_vectors: int) -> Callable[..., None]:
    decoded_token = _decoded_token(dim, bits, floats, with_vectors)

    @numeric
    def run(tables: Any, centroid_ids: Any, residuals: Any, out: Any) -> None:
        sums = np.empty(SIDE, np.float32)
        for token in range(len(centroid_ids)):
            scale = decoded_token(tables, centroid_ids, residuals, token, out[token], sums)
            for d in range(out.shape[1]):
                out[token, d] *= scale

    return run


def decode(codec: Codec, centroid_ids_N: Integers, residuals_NP: Bytes) -> Floats:
    """Return what `reference.decode` returns."""
    out = np.empty((len(centroid_ids_N), codec.dim), np.float32)
    _decode(*_decoding_for(codec))(Tables.of(codec), centroid_ids_N, np.ascontiguousarray(residuals_NP), out)
    return out


@numeric
def _maxsims(sims: Any, starts: Any, query_starts: Any, out: Any) -> None:
    best, sums = np.empty(sims.shape[1], np.float32), np.empty(SIDE, np.float32)
    for document in range(len(starts) - 1):
        best[:] = -np.inf
        for token in range(starts[document], starts[document + 1]):
            for q in range(len(best)):
                best[q] = max(best[q], sims[token, q])
        for query in range(len(query_starts) - 1):
            own = best[query_starts[query] : query_starts[query + 1]]
            out[query, document] = total(own, sums, len(own))


def maxsims(sims_NQ: Floats, starts_D: Integers, starts_B: Integers) -> Floats:
    """Return what `reference.maxsims` returns."""
    out = np.empty((len(starts_B) - 1, len(starts_D) - 1), np.float32)
    _maxsims(sims_NQ, starts_D, starts_B, out)
    return out
