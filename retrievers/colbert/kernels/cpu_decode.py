"""Codes back to vectors, compiled, and the scores that a search prints: MaxSim over decoded vectors in float32.

Legend  as in `reference`
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.codec import Bytes, Codec, Floats, Integers, Query
from retrievers.colbert.kernels import simd
from retrievers.colbert.kernels.cpu_cells import compiled, explicit
from retrievers.colbert.kernels.reference import unpack

quick = partial(compiled, fastmath={"reassoc", "contract", "nsz"})  # sums in any order


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


@quick
def _decoded(values: Any, centroid: Any, step: Any, packed: Any, out: Any) -> np.float32:
    """Write a token's numbers before they are scaled to length 1, and return the sum of their squares."""
    per_byte = values.shape[1]
    for byte in range(len(packed)):
        for field in range(per_byte):
            out[byte * per_byte + field] = values[packed[byte], field]
    square = np.float32(0)
    for d in range(len(out)):
        out[d] += centroid[d] if step == 0 else (np.float32(centroid[d]) - np.float32(128)) * step
        square += out[d] * out[d]
    return square


@cache
def _scores_of_winners(dim: int, bits: int, floats: int, with_vectors: int) -> Callable[..., None]:
    @quick
    def run(
        vectors: Any, values: Any, weights: Any, centroids: Any, step: Any, cells: Any, residuals: Any, winners: Any,
        out: Any,
    ) -> None:  # fmt: skip
        decoded, scales = np.empty(vectors.shape, np.float32), np.empty(len(vectors), np.float32)
        tokens = np.empty(len(vectors), np.int64)
        for i in range(len(winners)):
            if winners[i, 0] < 0:
                continue
            total, found = np.float32(0), 0
            for q in range(len(vectors)):
                token, same = winners[i, q], 0
                while same < found and tokens[same] != token:  # one token often answers several
                    same += 1
                if same == found:
                    tokens[found] = token
                    found += 1
                    cell = min(np.int64(cells[token]), len(centroids) - 1)
                    if with_vectors:
                        square = simd.decoded(
                            residuals[token].ctypes.data, weights.ctypes.data, centroids[cell].ctypes.data, step,
                            decoded[same].ctypes.data, dim, bits, floats,
                        )  # fmt: skip
                    else:
                        square = _decoded(values, centroids[cell], step, residuals[token], decoded[same])
                    scales[same] = np.float32(1) / max(np.sqrt(square), np.float32(1e-12))
                dot = np.float32(0)
                for d in range(vectors.shape[1]):
                    dot += decoded[same, d] * vectors[q, d]
                total += dot * scales[same]
            out[i] = total

    return run


def maxsim_of(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, winners_CQ: NDArray[np.int64]
) -> Floats:
    """Return the scores of documents in float32, (C,), given which token answers each query token; -inf for none.

    Where two tokens are nearly equal the bytes may take the other one: the score is then less than
    `reference.full_maxsim` says, by as little as the two differ.
    """
    out = np.full(len(winners_CQ), -np.inf, np.float32)
    run = _scores_of_winners(*_decoding_for(codec))
    run(query.vectors, *Tables.of(codec), cells_N, residuals_NP, winners_CQ, out)
    return out


@cache
def _decode(dim: int, bits: int, floats: int, with_vectors: int) -> Callable[..., None]:
    @quick
    def run(
        values: Any, weights: Any, centroids: Any, step: Any, cells: Any, residuals: Any, out: Any
    ) -> None:  # fmt: skip
        for token in range(len(cells)):
            cell = min(np.int64(cells[token]), len(centroids) - 1)
            if with_vectors:
                square = simd.decoded(
                    residuals[token].ctypes.data, weights.ctypes.data, centroids[cell].ctypes.data, step,
                    out[token].ctypes.data, dim, bits, floats,
                )  # fmt: skip
            else:
                square = _decoded(values, centroids[cell], step, residuals[token], out[token])
            scale = np.float32(1) / max(np.sqrt(square), np.float32(1e-12))
            for d in range(out.shape[1]):
                out[token, d] *= scale

    return run


def decode(codec: Codec, cells_N: Integers, residuals_NP: Bytes) -> Floats:
    """Return what `reference.decode` returns."""
    out = np.empty((len(cells_N), codec.dim), np.float32)
    _decode(*_decoding_for(codec))(*Tables.of(codec), cells_N, residuals_NP, out)
    return out


@quick
def _maxsims(sims: Any, starts: Any, query_starts: Any, out: Any) -> None:
    best = np.empty(sims.shape[1], np.float32)
    for document in range(len(starts) - 1):
        best[:] = -np.inf
        for token in range(starts[document], starts[document + 1]):
            for q in range(len(best)):
                best[q] = max(best[q], sims[token, q])
        for query in range(len(query_starts) - 1):
            out[query, document] = best[query_starts[query] : query_starts[query + 1]].sum()


def maxsims(sims_NQ: Floats, starts_D: Integers, starts_B: Integers) -> Floats:
    """Return what `reference.maxsims` returns."""
    out = np.empty((len(starts_B) - 1, len(starts_D) - 1), np.float32)
    _maxsims(sims_NQ, starts_D, starts_B, out)
    return out
