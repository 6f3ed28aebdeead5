"""The judge: every stage of the engine as plainly as NumPy can say it, in the same integers where those are integers.

`cpu` and `gpu` have of these functions what they need; tests/test_kernels.py
and test_gpu.py hold them together. Nothing here is fast or clever.

Legend  N tokens  D documents  K centroids  H dimensions  P bytes of a packed residual  Q query tokens
        B blocks of 32 query tokens  C candidate documents
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import COARSE, LANES, UNIT, Bytes, Codec, Floats, Integers, Query


def as_bytes(vectors_NH: Floats) -> NDArray[np.int8]:
    """Return vectors as signed bytes, each with a step of its own: which centroid is nearest does not depend on it."""
    top_N = np.abs(vectors_NH).max(axis=1, keepdims=True)
    return np.rint(vectors_NH * (np.float32(127) / np.maximum(top_N, np.float32(1e-12)))).astype(np.int8)


def nearest(points_NH: NDArray[np.int8], centroids_KH: Bytes) -> NDArray[np.int32]:
    """Return for every point the centroid with the largest dot product; the first of equals.

    points_NH     int8; centroids_KH  uint8, shifted by 128
    returns       (N,) int32

    Products of bytes stay below 2 ** 24 up to 1,000 dimensions: a float32 matrix product has them exactly,
    in whatever order a machine adds them up.
    """
    dots_NK = points_NH.astype(np.float32) @ (centroids_KH.astype(np.float32) - 128).T
    return dots_NK.argmax(axis=1).astype(np.int32)


def pack(codes_NH: Bytes, *, bits: int) -> Bytes:
    """Pack codes below 2 ** bits into bytes, the first code in the high bits.

    >>> pack(np.array([[1, 2, 3, 0]], np.uint8), bits=2).item() == 0b01_10_11_00
    True
    """
    fields = codes_NH.reshape(len(codes_NH), codes_NH.shape[1] * bits // 8, 8 // bits).astype(np.uint8)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return np.bitwise_or.reduce(fields << shifts, axis=2)


def unpack(packed_NP: Bytes, *, bits: int) -> Bytes:
    """Return the codes that `pack` packed, (N, H) uint8."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return ((packed_NP[:, :, None] >> shifts) & (2**bits - 1)).reshape(len(packed_NP), packed_NP.shape[1] * 8 // bits)


def decode(codec: Codec, cells_N: Integers, residuals_NP: Bytes) -> Floats:
    """Return the vectors that codes stand for, (N, H) float32, rows of length 1."""
    vectors_NH = codec.centroids[cells_N] + codec.weights[unpack(residuals_NP, bits=codec.bits)]
    return vectors_NH / np.maximum(np.linalg.norm(vectors_NH, axis=1, keepdims=True), np.float32(1e-12))


def maxsim(query_QH: Floats, vectors_NH: Floats, starts_D: Integers) -> Floats:
    """Return the sum over query tokens of the best dot product with a document's tokens; -inf for no tokens.

    starts_D  (D + 1,): document d has the rows starts[d] to starts[d + 1]
    returns   (D,) float32
    """
    sims_NQ = vectors_NH @ query_QH.T
    scores_D = np.full(len(starts_D) - 1, -np.inf, np.float32)
    for d, (start, stop) in enumerate(pairwise(starts_D.tolist())):
        if stop > start:
            scores_D[d] = sims_NQ[start:stop].max(axis=0).sum()
    return scores_D


def maxsims(sims_NQ: Floats, starts_D: Integers, starts_B: Integers) -> Floats:
    """Return MaxSim of several queries, (B, D), from the products of all their tokens with those of some documents.

    starts_B  (B + 1,): query b has the columns starts[b] to starts[b + 1]
    """
    best_DQ = [sims_NQ[start:stop].max(axis=0, initial=-np.inf) for start, stop in pairwise(starts_D.tolist())]
    return np.array([[best[start:stop].sum() for best in best_DQ] for start, stop in pairwise(starts_B.tolist())])


def cell_scores(codec: Codec, query: Query) -> NDArray[np.int16]:
    """Return centroids times query in steps of UNIT, with the least weight of the residual added, (B, K, 32) int16.

    The least weight is the same for all documents, and without it the residual is made of levels, all 0 or more.
    """
    shifted_KH = codec.shifted.astype(np.float32) - 128
    scores = np.empty((len(query.lanes), codec.num_centroids, LANES), np.int16)
    for block, lanes in enumerate(query.lanes):
        dots_KL = shifted_KH @ lanes.astype(np.float32).T + query.least(codec)[block].astype(np.float32)
        steps = np.float32(query.step * codec.step / UNIT)
        scores[block] = np.clip(np.rint(dots_KL * steps), -32768, 32767)
    return scores


def coarse(scores_BKL: NDArray[np.int16]) -> NDArray[np.int8]:
    """Return cell scores in steps that are 2 ** COARSE times as large, rounded down, from -128 to 127."""
    return np.clip(scores_BKL >> COARSE, -128, 127).astype(np.int8)


def best_cells(scores_BKL: NDArray[np.int16], count: int, probe: int) -> NDArray[np.int32]:
    """Return for every query token its `probe` best cells, best first, the lower number of equals: (Q, probe)."""
    of_token_QK = scores_BKL.transpose(0, 2, 1).reshape(-1, scores_BKL.shape[1])[:count]
    return np.argsort(-of_token_QK.astype(np.int32), axis=1, kind="stable")[:, :probe].astype(np.int32)


def gather(
    lists: Sequence[Integers], cells_QP: NDArray[np.int32], scores_BKL: NDArray[np.int16]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the rows in the probed cells, and what those cells promise, in steps of `scores`.

    A query token adds to a row the score of its best probed cell that has the row, less that of its worst probed
    cell: what a row without any of them could reach at most. Rows come ascending.
    """
    promise: dict[int, int] = {}
    for token, cells in enumerate(cells_QP):
        of_token = scores_BKL[token // LANES, :, token % LANES].astype(int)
        best: dict[int, int] = {}
        for cell in cells:
            for row in lists[cell]:
                best.setdefault(int(row), of_token[cell] - of_token[cells[-1]])
        for row, gain in best.items():
            promise[row] = promise.get(row, 0) + gain
    rows = sorted(promise)
    return np.array(rows, np.int32), np.array([promise[row] for row in rows], np.int32)


def interact(
    cells_N: Integers, starts_D: Integers, coarse_BKL: NDArray[np.int8], rows_C: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return the sum over query tokens of a document's best cell score, in coarse steps: MaxSim without residuals.

    Source  PLAID, arXiv:2205.09707, section 4.2, "centroid interaction"
    """
    totals = np.full(len(rows_C), np.iinfo(np.int64).min // 2, np.int64)
    for i, row in enumerate(rows_C):
        cells = cells_N[starts_D[row] : starts_D[row + 1]]
        if len(cells):
            totals[i] = coarse_BKL[:, cells].max(axis=1).astype(np.int64).sum()
    return totals


def tokens_in(
    cells_N: Integers, starts_D: Integers, wanted_K: NDArray[np.bool_], rows_C: NDArray[np.int32]
) -> list[NDArray[np.int64]]:
    """Return for each document the tokens that are in wanted cells, ascending."""
    return [starts_D[row] + np.flatnonzero(wanted_K[cells_N[starts_D[row] : starts_D[row + 1]]]) for row in rows_C]


def token_scores(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, scores_BKL: NDArray[Any]
) -> Floats:
    """Return the score of every document token with every query token, (N, Q) float32, by the byte arithmetic."""
    levels_NH = codec.levels[unpack(residuals_NP, bits=codec.bits)].astype(np.float32)
    lanes_QH = query.lanes.reshape(-1, codec.dim)[: query.count].astype(np.float32)
    near_NQ = scores_BKL[:, cells_N].transpose(1, 0, 2).reshape(len(cells_N), -1)[:, : query.count]
    sums_NQ = near_NQ * np.float32(UNIT) + (levels_NH @ lanes_QH.T) * np.float32(query.step * codec.level_step)
    return sums_NQ.astype(np.float32) * codec.inverse_lengths[lengths_N][:, None]


def quick_maxsim(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, starts_D: Integers,
    scores_BKL: NDArray[np.int16], rows_C: NDArray[np.int32], listed: Sequence[NDArray[np.int64]] | None = None,
) -> Floats:  # fmt: skip
    """Return MaxSim by the byte arithmetic, (C,) float32; over the listed tokens of each document, if those are given.

    Over some tokens it is a lower bound: with those in the probed cells, the paper's. Over no token it is -inf.

    Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.5
    """
    out = np.full(len(rows_C), -np.inf, np.float32)
    for i, row in enumerate(rows_C):
        tokens = np.arange(starts_D[row], starts_D[row + 1]) if listed is None else listed[i]
        if len(tokens):
            scores = token_scores(codec, query, cells_N[tokens], residuals_NP[tokens], lengths_N[tokens], scores_BKL)
            out[i] = scores.max(axis=0).sum()
    return out


def close_tokens(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, starts_D: Integers,
    scores_BKL: NDArray[np.int16], rows_C: NDArray[np.int32],
) -> list[NDArray[np.bool_]]:  # fmt: skip
    """Return for each document which tokens may answer which query tokens best, (tokens, Q): the bytes cannot tell."""
    doubts_Q = query.doubts(codec).reshape(-1)[: query.count]
    found = []
    for row in rows_C:
        some = slice(starts_D[row], starts_D[row + 1])
        if some.start == some.stop:
            found.append(np.zeros((0, query.count), np.bool_))
            continue
        scores_NQ = token_scores(codec, query, cells_N[some], residuals_NP[some], lengths_N[some], scores_BKL)
        found.append(scores_NQ >= scores_NQ.max(axis=0) - doubts_Q)
    return found


def leading_maxsim(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, starts_D: Integers,
    coarse_BKL: NDArray[np.int8], rows_C: NDArray[np.int32],
) -> Floats:  # fmt: skip
    """Return MaxSim by coarse cell scores and bytes where a query token looks at one document token only, (C,) float32.

    It is the token whose coarse cell score is best for it, the first of equals, among the first 65,536. A document
    without tokens has -inf.
    """
    scores_BKL = ((coarse_BKL.astype(np.float32) + np.float32(0.5)) * np.float32(2**COARSE)).astype(np.float32)
    out = np.full(len(rows_C), -np.inf, np.float32)
    for i, row in enumerate(rows_C):
        tokens = np.arange(starts_D[row], min(starts_D[row + 1], starts_D[row] + 2**16))
        if len(tokens):
            of_cells_NQ = coarse_BKL[:, cells_N[tokens]].transpose(1, 0, 2).reshape(len(tokens), -1)[:, : query.count]
            scores = token_scores(codec, query, cells_N[tokens], residuals_NP[tokens], lengths_N[tokens], scores_BKL)
            out[i] = scores[of_cells_NQ.argmax(axis=0), np.arange(query.count)].sum()
    return out


def full_maxsim(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, starts_D: Integers, rows_C: NDArray[np.int32]
) -> Floats:
    """Return MaxSim over decoded vectors in float32, (C,); -inf for a document without tokens."""
    out = np.full(len(rows_C), -np.inf, np.float32)
    for i, row in enumerate(rows_C):
        tokens = slice(starts_D[row], starts_D[row + 1])
        vectors = decode(codec, cells_N[tokens], residuals_NP[tokens])
        out[i] = maxsim(query.vectors, vectors, np.array([0, len(vectors)]))[0]
    return out
