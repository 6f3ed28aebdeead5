"""The judge: every stage of the engine as plainly as NumPy can say it, in the same integers where those are integers.

`cpu` and `gpu` have of these functions what they need; tests/retrievers/test_kernels.py
and test_gpu.py hold them together. Nothing here is fast or clever.

Legend  N tokens  D documents  K centroids  H dimensions  P bytes of a packed residual  Q query tokens
        B blocks of 32 query tokens  C candidate documents
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import (
    COARSE,
    LANES,
    UNIT,
    Bytes,
    CentroidScores,
    Codec,
    Floats,
    Groups,
    Integers,
    Query,
    Reach,
    SearchContext,
    Segment,
)


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


def nearest_in_groups(
    points_NH: NDArray[np.int8], centroids_KH: Bytes, groups: Groups, reach: Reach
) -> NDArray[np.int32]:
    """Return what `nearest` returns of the centroids of some groups: of those whose centres are near, `Groups.order`.

    Where a point looks into all groups it is `nearest`.
    """
    points = points_NH.astype(np.float32)
    order, reached = groups.order((points @ (groups.centres.astype(np.float32) - 128).T).astype(np.int32), reach)
    group_K = np.empty(len(centroids_KH), np.int64)
    group_K[groups.members] = np.repeat(np.arange(len(groups.centres)), np.diff(groups.starts))
    seen_NK = ((order[:, :, None] == group_K) & reached[:, :, None]).any(axis=1)
    dots_NK = points @ (centroids_KH.astype(np.float32) - 128).T
    return np.where(seen_NK, dots_NK, -np.inf).argmax(axis=1).astype(np.int32)


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


def decode(codec: Codec, centroid_ids_N: Integers, residuals_NP: Bytes) -> Floats:
    """Return the vectors that codes stand for, (N, H) float32, rows of length 1."""
    vectors_NH = codec.centroids[centroid_ids_N] + codec.weights[unpack(residuals_NP, bits=codec.bits)]
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


def centroid_scores(codec: Codec, query: Query) -> NDArray[np.int16]:
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
    """Return centroid scores in steps that are 2 ** COARSE times as large, rounded down, from -128 to 127."""
    return np.clip(scores_BKL >> COARSE, -128, 127).astype(np.int8)


def best_centroids(scores_BKL: NDArray[np.int16], count: int, probe: int) -> NDArray[np.int32]:
    """Return for every query token its `probe` best centroids, best first, the lower number of equals: (Q, probe)."""
    of_token_QK = scores_BKL.transpose(0, 2, 1).reshape(-1, scores_BKL.shape[1])[:count]
    return np.argsort(-of_token_QK.astype(np.int32), axis=1, kind="stable")[:, :probe].astype(np.int32)


def context(codec: Codec, query: Query, probe: int) -> SearchContext:
    """Return a query with its centroid scores and, for each of its tokens, the `probe` best centroids."""
    fine = centroid_scores(codec, query)
    return SearchContext(codec, query, CentroidScores(fine, coarse(fine), best_centroids(fine, query.count, probe)))


def rows_of_centroids(segment: Segment, num_centroids: int) -> list[NDArray[np.int64]]:
    """Return for each centroid the documents that have a token of it, ascending."""
    row_N = np.repeat(np.arange(segment.num_documents), np.diff(segment.starts))
    return [np.unique(row_N[segment.centroid_ids == centroid]) for centroid in range(num_centroids)]


def gather(segment: Segment, context: SearchContext) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the rows that have a probed centroid, and what these centroids give them, in steps of UNIT.

    A query token adds to a row the score of its best probed centroid that the row has, less that of its worst probed
    centroid: what a row without any of them could reach at most. Rows come ascending.
    """
    lists, fine = rows_of_centroids(segment, context.codec.num_centroids), context.scores.fine
    gains: dict[int, int] = {}
    for token, centroid_ids in enumerate(context.scores.probed):
        of_token = fine[token // LANES, :, token % LANES].astype(int)
        best: dict[int, int] = {}
        for centroid_id in centroid_ids:
            for row in lists[centroid_id]:
                best.setdefault(int(row), of_token[centroid_id] - of_token[centroid_ids[-1]])
        for row, gain in best.items():
            gains[row] = gains.get(row, 0) + gain
    rows = sorted(gains)
    return np.array(rows, np.int32), np.array([gains[row] for row in rows], np.int32)


def centroid_interaction(segment: Segment, context: SearchContext, rows_C: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the sum over query tokens of a document's best coarse centroid score, (C,): MaxSim without residuals.

    Source  PLAID, arXiv:2205.09707, section 4.2, "centroid interaction"
    """
    totals = np.full(len(rows_C), np.iinfo(np.int64).min // 2, np.int64)
    for i, row in enumerate(rows_C):
        centroid_ids = segment.centroid_ids[segment.starts[row] : segment.starts[row + 1]]
        if len(centroid_ids):
            totals[i] = context.scores.coarse[:, centroid_ids].max(axis=1).astype(np.int64).sum()
    return totals


def tokens_in(segment: Segment, wanted_K: NDArray[np.bool_], rows_C: NDArray[np.int32]) -> list[NDArray[np.int64]]:
    """Return for each document the tokens whose centroid is wanted, ascending."""
    starts = segment.starts
    return [
        starts[row] + np.flatnonzero(wanted_K[segment.centroid_ids[starts[row] : starts[row + 1]]]) for row in rows_C
    ]


def token_scores(
    segment: Segment, context: SearchContext, tokens: Any, scores_BKL: NDArray[Any] | None = None
) -> Floats:
    """Return the score of some tokens of a segment with every query token, (N, Q) float32, by the byte arithmetic.

    scores_BKL  in place of the fine centroid scores, in steps of UNIT
    """
    codec, query = context.codec, context.query
    scores_BKL = context.scores.fine if scores_BKL is None else scores_BKL
    centroid_ids_N = segment.centroid_ids[tokens]
    levels_NH = codec.levels[unpack(segment.residuals[tokens], bits=codec.bits)].astype(np.float32)
    lanes_QH = query.lanes.reshape(-1, codec.dim)[: query.count].astype(np.float32)
    near_NQ = scores_BKL[:, centroid_ids_N].transpose(1, 0, 2).reshape(len(centroid_ids_N), -1)[:, : query.count]
    sums_NQ = near_NQ * np.float32(UNIT) + (levels_NH @ lanes_QH.T) * np.float32(query.step * codec.level_step)
    return sums_NQ.astype(np.float32) * codec.inverse_lengths[segment.lengths[tokens]][:, None]


def quantized_maxsim(
    segment: Segment,
    context: SearchContext,
    rows_C: NDArray[np.int32],
    listed: Sequence[NDArray[np.int64]] | None = None,
) -> Floats:
    """Return MaxSim by the byte arithmetic, (C,) float32; over the listed tokens of each document, if those are given.

    Over some tokens it is a lower bound: with those of the probed centroids, the paper's. Over no token it is -inf.

    Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.5
    """
    out = np.full(len(rows_C), -np.inf, np.float32)
    for i, row in enumerate(rows_C):
        tokens = np.arange(segment.starts[row], segment.starts[row + 1]) if listed is None else listed[i]
        if len(tokens):
            out[i] = token_scores(segment, context, tokens).max(axis=0).sum()
    return out


def close_tokens(segment: Segment, context: SearchContext, rows_C: NDArray[np.int32]) -> list[NDArray[np.bool_]]:
    """Return for each document which tokens may answer which query tokens best, (tokens, Q): the bytes cannot tell."""
    doubts_Q = context.query.doubts(context.codec).reshape(-1)[: context.query.count]
    close = []
    for row in rows_C:
        tokens = slice(segment.starts[row], segment.starts[row + 1])
        if tokens.start == tokens.stop:
            close.append(np.zeros((0, context.query.count), np.bool_))
            continue
        scores_NQ = token_scores(segment, context, tokens)
        close.append(scores_NQ >= scores_NQ.max(axis=0) - doubts_Q)
    return close


def one_token_maxsim(segment: Segment, context: SearchContext, rows_C: NDArray[np.int32]) -> Floats:
    """Return MaxSim by coarse centroid scores and bytes, each query token looking at one document token only, (C,).

    It is the token whose coarse centroid score is best for it, the first of equals, among the first 65,536. A document
    without tokens has -inf.
    """
    count, coarse_BKL = context.query.count, context.scores.coarse
    scores_BKL = ((coarse_BKL.astype(np.float32) + np.float32(0.5)) * np.float32(2**COARSE)).astype(np.float32)
    out = np.full(len(rows_C), -np.inf, np.float32)
    for i, row in enumerate(rows_C):
        tokens = np.arange(segment.starts[row], min(segment.starts[row + 1], segment.starts[row] + 2**16))
        if len(tokens):
            near_NQ = coarse_BKL[:, segment.centroid_ids[tokens]].transpose(1, 0, 2).reshape(len(tokens), -1)[:, :count]
            scores_NQ = token_scores(segment, context, tokens, scores_BKL)
            out[i] = scores_NQ[near_NQ.argmax(axis=0), np.arange(count)].sum()
    return out


def exact_maxsim(segment: Segment, context: SearchContext, rows_C: NDArray[np.int32]) -> Floats:
    """Return MaxSim over decoded vectors in float32, (C,); -inf for a document without tokens."""
    out = np.full(len(rows_C), -np.inf, np.float32)
    for i, row in enumerate(rows_C):
        tokens = slice(segment.starts[row], segment.starts[row + 1])
        vectors = decode(context.codec, segment.centroid_ids[tokens], segment.residuals[tokens])
        out[i] = maxsim(context.query.vectors, vectors, np.array([0, len(vectors)]))[0]
    return out


def ward(distances_TT: NDArray[np.float64], count: int) -> list[list[int]]:
    """Return `count` clusters of tokens: of all pairs the nearest is merged, again and again, by Ward's rule.

    Source  Ward 1963, "Hierarchical grouping to optimize an objective function"; Lance and Williams 1967
    """
    clusters = [[token] for token in range(len(distances_TT))]
    far = distances_TT.astype(np.float64)
    np.fill_diagonal(far, np.inf)
    while len(clusters) > count:
        one, two = sorted(np.unravel_index(far.argmin(), far.shape))
        sizes = np.array([len(cluster) for cluster in clusters])
        square = (
            (sizes + sizes[one]) * far[one] ** 2 + (sizes + sizes[two]) * far[two] ** 2 - sizes * far[one, two] ** 2
        )
        far[one] = far[:, one] = np.sqrt(square / (sizes + sizes[one] + sizes[two]))
        far[one, one] = np.inf
        clusters[one] = sorted(clusters[one] + clusters.pop(two))
        far = np.delete(np.delete(far, two, 0), two, 1)
    return sorted(clusters)
