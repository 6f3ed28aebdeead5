"""Which documents are worth scoring in full, compiled: those in the probed centroids, and three looks at them.

What the probed centroids promise, then what all of a document's centroids say
(centroid interaction), then the tokens that its centroids say are best.

Legend  as in `reference`
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import COARSE, LANES, Bytes, Floats, Integers, SearchContext, Segment
from retrievers.colbert.kernels.centroids import Scratch
from retrievers.colbert.kernels.compile import compiled, explicit, inlined
from retrievers.colbert.kernels.maxsim import KernelTables, explicit_for, plane_order
from retrievers.colbert.kernels.vectors import simd, simd_centroids, simd_scores
from retrievers.colbert.kernels.vectors.simd_dots import dot

AHEAD = 8  # documents whose leading tokens are asked for before the first of them is scored
MOST_TOKENS = 1 << 16  # tokens of a document among which leaders are looked for: their places fit 16 bits
COARSE_UNITS = np.array([2**COARSE, 1], np.float32)

# in the probed centroids --------------------------------------------------------------------------------------------


@compiled
def _next(stream: Any, at: Any, stop: Any) -> Any:
    """Return the difference that is written at a place of a list, and the place behind it, which is no further."""
    byte = stream[at]
    at += 1
    delta, shift = np.int64(byte & 127), 7
    while byte & 128 and at < stop:
        byte = stream[at]
        at += 1
        delta |= np.int64(byte & 127) << shift
        shift += 7
    return delta, at


@compiled
def _gather(inverted: Any, centroid_ids: Any, num_rows: int, marks: Any) -> Any:
    stream, list_starts = inverted.stream, inverted.starts
    for centroid_id in centroid_ids:
        at, stop = list_starts[centroid_id], list_starts[centroid_id + 1]
        row = np.int64(-1)
        while at < stop:
            delta, at = _next(stream, at, stop)
            row += delta + 1
            if not 0 <= row < num_rows:
                break  # of a damaged file
            marks[row >> 6] |= np.uint64(1) << np.uint64(row & 63)
    found = 0
    for word in marks:
        found += simd_centroids.count_ones(word)
    rows = np.empty(found, np.int32)
    found = 0
    for place in range(len(marks)):
        word = marks[place]
        marks[place] = 0
        while word:
            rows[found] = 64 * place + simd_centroids.trailing_zeros(word)
            found += 1
            word &= word - np.uint64(1)
    return rows


def gather(segment: Segment, context: SearchContext, allowed_D: Bytes | None, scratch: Scratch) -> NDArray[np.int32]:
    """Return the rows that `reference.gather` returns, of those that are allowed."""
    probed = np.unique(context.scores.probed)
    rows: NDArray[np.int32] = _gather(segment.inverted, probed, len(scratch.seen), scratch.marks)
    return rows if allowed_D is None else rows[allowed_D[rows] > 0]


@compiled
def _probe_gains(inverted: Any, probed: Any, gains: Any, stamp: int, gains_of_rows: Any, seen: Any, rows: Any) -> None:
    stream, list_starts = inverted.stream, inverted.starts
    for row in rows:
        gains_of_rows[row] = 0
    for token in range(probed.shape[0]):
        for probe in range(probed.shape[1]):
            centroid_id, gain = probed[token, probe], gains[token, probe]
            at, stop = list_starts[centroid_id], list_starts[centroid_id + 1]
            row = np.int64(-1)
            while at < stop:
                delta, at = _next(stream, at, stop)
                row += delta + 1
                if not 0 <= row < len(seen):
                    break  # of a damaged file
                if seen[row] != stamp + token:
                    seen[row] = stamp + token
                    gains_of_rows[row] += gain


def probe_gains(
    segment: Segment, context: SearchContext, rows_C: NDArray[np.int32], scratch: Scratch
) -> NDArray[np.int32]:
    """Return what `reference.gather` says that the probed centroids give, of rows that `gather` found."""
    fine, probed_QP = context.scores.fine, context.scores.probed
    if scratch.stamp > 2**31 - 2 * len(probed_QP) - 1:
        scratch.seen[:] = 0
        scratch.stamp = 1
    tokens = np.arange(len(probed_QP))[:, None]
    values = fine[tokens // LANES, probed_QP, tokens % LANES].astype(np.int32)
    gains = values - values[:, -1:]
    _probe_gains(segment.inverted, probed_QP, gains, scratch.stamp, scratch.gains, scratch.seen, rows_C)
    scratch.stamp += len(probed_QP)
    return scratch.gains[rows_C]


def best(rows_C: NDArray[np.int32], values_C: Integers, count: int) -> NDArray[np.int32]:
    """Return the rows of the `count` largest values, ascending; of equals the smaller row. Values fit 32 bits."""
    if count >= len(rows_C):
        return np.sort(rows_C)
    keys = (values_C.astype(np.int64) << 32) - rows_C
    kept = np.partition(keys, len(keys) - count)[len(keys) - count :]
    return np.sort((-kept & 0xFFFFFFFF).astype(np.int32))  # the low half of minus a row, back again


# centroid interaction -------------------------------------------------------------------------------------------


@cache
def _interaction_explicit(id_bytes: int) -> Callable[..., None]:
    @compiled
    def run(tokens: Any, coarse: Any, rows: Any, out: Any) -> None:
        last, starts, ids_at = coarse.shape[1] - 1, tokens.starts, np.int64(tokens.centroid_ids.ctypes.data)
        for i in range(len(rows)):
            start, stop = starts[rows[i]], starts[rows[i] + 1]
            if i + 4 < len(rows):
                ahead, end = starts[rows[i + 4]], starts[rows[i + 4] + 1]
                simd.prefetch(ids_at + ahead * id_bytes, (end - ahead) * id_bytes)
            if start < stop:
                total, of_document = np.int64(0), ids_at + start * id_bytes
                for block in range(coarse.shape[0]):
                    at = coarse.ctypes.data + block * coarse.shape[1] * LANES
                    total += simd_centroids.centroids_maxsim(of_document, stop - start, at, last, id_bytes)
                out[i] = total

    return run


@compiled
def _interaction_portable(tokens: Any, coarse: Any, rows: Any, out: Any) -> None:
    top = np.empty(LANES, np.int8)
    for i in range(len(rows)):
        start, stop = tokens.starts[rows[i]], tokens.starts[rows[i] + 1]
        if start < stop:
            total = np.int64(0)
            for block in range(coarse.shape[0]):
                top[:] = -(2**7)
                for token in range(start, stop):
                    of_centroid = coarse[block, min(np.int64(tokens.centroid_ids[token]), coarse.shape[1] - 1)]
                    for lane in range(LANES):
                        top[lane] = max(top[lane], of_centroid[lane])
                for lane in range(LANES):
                    total += np.int64(top[lane])
            out[i] = total


def centroid_interaction(segment: Segment, context: SearchContext, rows_C: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return what `reference.centroid_interaction` returns."""
    out = np.full(len(rows_C), np.iinfo(np.int64).min // 2, np.int64)
    run = _interaction_explicit(segment.centroid_ids.itemsize) if explicit() else _interaction_portable
    run(segment.tokens, context.scores.coarse, rows_C, out)
    return out


# one token for each query token ------------------------------------------------------------------------------------


@cache
def _best_tokens(dim: int, bits: int, id_bytes: int) -> Callable[..., None]:
    """Return code that writes for all lanes which of a document's tokens has the best coarse score, and that score."""
    width = dim * bits // 8

    @inlined
    def run(tokens: Any, coarse: Any, row: Any, count: Any, places: Any, tops: Any) -> None:
        start, last = tokens.starts[row], coarse.shape[1] - 1
        size = min(tokens.starts[row + 1] - start, MOST_TOKENS)
        ids_at = tokens.centroid_ids.ctypes.data + start * id_bytes
        for block in range(len(coarse) if size else 0):
            coarse_at = coarse.ctypes.data + block * coarse.shape[1] * LANES
            places_at, tops_at = places[block].ctypes.data, tops[block].ctypes.data
            simd_centroids.best_tokens(ids_at, size, coarse_at, last, places_at, tops_at, id_bytes)
            for lane in range(min(LANES, count - LANES * block)):
                simd.prefetch(tokens.residuals.ctypes.data + (start + places[block, lane]) * width, width)

    return run


@cache
def _score_of_best(dim: int, bits: int) -> Callable[..., Any]:
    """Return code that adds up the scores of those tokens, each with the query token that it is the best for."""
    width = dim * bits // 8

    @inlined
    def run(tables: Any, tokens: Any, start: Any, count: Any, places: Any, tops: Any, room: Any) -> Any:
        score = np.float32(0)
        for block in range(len(tables.query)):
            lanes = min(LANES, count - LANES * block)
            for lane in range(lanes):  # unpacked for each that it is best for: sooner than telling them apart
                source = tokens.residuals.ctypes.data + (start + places[block, lane]) * width
                simd.copy(source, room.packed.ctypes.data + lane * width, width)
            unpacked_at = room.unpacked.ctypes.data
            simd.unpack(room.packed.ctypes.data, lanes * width, tables.levels.ctypes.data, unpacked_at, bits, width)
            room.scales[lanes:] = 0
            for lane in range(lanes):
                room.dots[lane] = dot(unpacked_at + lane * dim, tables.query[block, lane].ctypes.data, dim)
                room.scales[lane] = tables.inverse_lengths[tokens.lengths[start + places[block, lane]]]
            for lane in range(LANES):
                near = (np.float32(tops[block, lane]) + np.float32(0.5)) * tables.units[0]
                room.scales[lane] *= near + room.dots[lane] * tables.units[1]
            score += simd_scores.total(room.scales.ctypes.data)
        return score

    return run


class _DocumentRoom(NamedTuple):
    """What is written for each document."""

    packed: Bytes
    unpacked: Bytes
    dots: Floats
    scales: Floats


@cache
def _one_token_explicit(dim: int, bits: int, id_bytes: int) -> Callable[..., None]:
    width = dim * bits // 8
    find, score = _best_tokens(dim, bits, id_bytes), _score_of_best(dim, bits)

    @compiled
    def run(tables: Any, tokens: Any, coarse: Any, rows: Any, count: int, out: Any) -> None:
        places = np.empty((AHEAD, len(tables.query), LANES), np.uint16)
        tops = np.empty((AHEAD, len(tables.query), LANES), np.int8)
        room = _DocumentRoom(
            np.empty(LANES * width + 64, np.uint8),
            np.empty(LANES * dim + 64, np.uint8),
            np.zeros(LANES, np.float32),
            np.zeros(LANES, np.float32),
        )
        for first in range(0, len(rows), AHEAD):
            group = min(AHEAD, len(rows) - first)
            for i in range(group):
                if first + i + AHEAD < len(rows):
                    start, stop = tokens.starts[rows[first + i + AHEAD]], tokens.starts[rows[first + i + AHEAD] + 1]
                    simd.prefetch(tokens.centroid_ids.ctypes.data + start * id_bytes, (stop - start) * id_bytes)
                    simd.prefetch(tokens.lengths.ctypes.data + start, stop - start)
                find(tokens, coarse, rows[first + i], count, places[i], tops[i])
            for i in range(group):
                start = tokens.starts[rows[first + i]]
                if start < tokens.starts[rows[first + i] + 1]:
                    out[first + i] = score(tables, tokens, start, count, places[i], tops[i], room)

    return run


@compiled
def _one_token_portable(tables: Any, tokens: Any, coarse: Any, rows: Any, count: int, out: Any) -> None:
    """Do the same in plain loops, for any shape."""
    dim = tables.query.shape[2]
    per_byte, last = dim // tokens.residuals.shape[1], coarse.shape[1] - 1
    bits = 8 // per_byte
    for i in range(len(rows)):
        start = tokens.starts[rows[i]]
        size = min(tokens.starts[rows[i] + 1] - start, MOST_TOKENS)
        total = np.float32(0)
        for number in range(count if size else 0):
            block, lane = number // LANES, number % LANES
            best, best_token = np.int64(-(2**7) - 1), start
            for token in range(start, start + size):
                score = np.int64(coarse[block, min(np.int64(tokens.centroid_ids[token]), last), lane])
                if score > best:
                    best, best_token = score, token
            dot = np.int32(0)
            for d in range(dim):
                code = tokens.residuals[best_token, d // per_byte] >> (8 - bits * (d % per_byte + 1)) & (2**bits - 1)
                dot += np.int32(tables.levels[code]) * np.int32(tables.query[block, lane, d])
            near = (np.float32(best) + np.float32(0.5)) * tables.units[0]
            total += (near + np.float32(dot) * tables.units[1]) * tables.inverse_lengths[tokens.lengths[best_token]]
        if size:
            out[i] = total


def one_token_maxsim(segment: Segment, context: SearchContext, rows_C: NDArray[np.int32]) -> Floats:
    """Return what `reference.one_token_maxsim` returns."""
    codec, lanes, run = context.codec, context.query.lanes, _one_token_portable
    if explicit_for(codec):
        lanes = np.ascontiguousarray(lanes[:, :, plane_order(codec.dim, codec.bits)])
        run = _one_token_explicit(codec.dim, codec.bits, segment.centroid_ids.itemsize)
    out = np.full(len(rows_C), -np.inf, np.float32)
    tables = KernelTables.of(codec, context.query, lanes)
    tables = tables._replace(units=tables.units * COARSE_UNITS)
    run(tables, segment.tokens, context.scores.coarse, rows_C, context.query.count, out)
    return out
