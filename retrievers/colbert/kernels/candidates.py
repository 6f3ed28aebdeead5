"""Which documents are worth scoring in full, compiled: those in the probed cells, and three looks at them.

What the probed cells promise, then what all of a document's cells say
(centroid interaction), then the tokens that its cells say are best.

Legend  as in `reference`
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import COARSE, LANES, Bytes, Codec, Floats, Integers, Query
from retrievers.colbert.kernels.centroids import Scratch
from retrievers.colbert.kernels.compile import compiled, explicit
from retrievers.colbert.kernels.maxsim import Steps, explicit_for, plane_order
from retrievers.colbert.kernels.x86 import simd, simd_cells, simd_scores

AHEAD = 8  # documents whose leading tokens are asked for before the first of them is scored
MOST_LEADING = 1 << 16  # tokens of a document among which leaders are looked for: their places fit 16 bits
COARSE_UNITS = np.array([2**COARSE, 1], np.float32)

# in the probed cells --------------------------------------------------------------------------------------------


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
def _gather(stream: Any, list_starts: Any, cells: Any, num_rows: int, marks: Any) -> Any:
    for cell in cells:
        at, stop = list_starts[cell], list_starts[cell + 1]
        row = np.int64(-1)
        while at < stop:
            delta, at = _next(stream, at, stop)
            row += delta + 1
            if not 0 <= row < num_rows:
                break  # of a damaged file
            marks[row >> 6] |= np.uint64(1) << np.uint64(row & 63)
    found = 0
    for word in marks:
        found += simd_cells.count_ones(word)
    rows = np.empty(found, np.int32)
    found = 0
    for place in range(len(marks)):
        word = marks[place]
        marks[place] = 0
        while word:
            rows[found] = 64 * place + simd_cells.trailing_zeros(word)
            found += 1
            word &= word - np.uint64(1)
    return rows


def gather(
    stream: Bytes, list_starts: Integers, cells_QP: NDArray[np.int32], allowed_D: Bytes | None, scratch: Scratch
) -> NDArray[np.int32]:
    """Return the rows that `reference.gather` returns, of those that are allowed."""
    rows: NDArray[np.int32] = _gather(stream, list_starts, np.unique(cells_QP), len(scratch.seen), scratch.marks)
    return rows if allowed_D is None else rows[allowed_D[rows] > 0]


@compiled
def _promises(
    stream: Any, list_starts: Any, cells: Any, gains: Any, stamp: int, promise: Any, seen: Any, rows: Any
) -> None:
    for row in rows:
        promise[row] = 0
    for token in range(cells.shape[0]):
        for probe in range(cells.shape[1]):
            cell, gain = cells[token, probe], gains[token, probe]
            at, stop = list_starts[cell], list_starts[cell + 1]
            row = np.int64(-1)
            while at < stop:
                delta, at = _next(stream, at, stop)
                row += delta + 1
                if not 0 <= row < len(seen):
                    break  # of a damaged file
                if seen[row] != stamp + token:
                    seen[row] = stamp + token
                    promise[row] += gain


def promises(
    stream: Bytes, list_starts: Integers, cells_QP: NDArray[np.int32], scores_BKL: NDArray[np.int16],
    rows_C: NDArray[np.int32], scratch: Scratch,
) -> NDArray[np.int32]:  # fmt: skip
    """Return what `reference.gather` says that the probed cells promise, of rows that `gather` found."""
    if scratch.stamp > 2**31 - 2 * len(cells_QP) - 1:
        scratch.seen[:] = 0
        scratch.stamp = 1
    tokens = np.arange(len(cells_QP))[:, None]
    values = scores_BKL[tokens // LANES, cells_QP, tokens % LANES].astype(np.int32)
    _promises(
        stream, list_starts, cells_QP, values - values[:, -1:], scratch.stamp, scratch.promise, scratch.seen, rows_C
    )
    scratch.stamp += len(cells_QP)
    return scratch.promise[rows_C]


def best(rows_C: NDArray[np.int32], values_C: Integers, count: int) -> NDArray[np.int32]:
    """Return the rows of the `count` largest values, ascending; of equals the smaller row. Values fit 32 bits."""
    if count >= len(rows_C):
        return np.sort(rows_C)
    keys = (values_C.astype(np.int64) << 32) - rows_C
    kept = np.partition(keys, len(keys) - count)[len(keys) - count :]
    return np.sort((-kept & 0xFFFFFFFF).astype(np.int32))  # the low half of minus a row, back again


# centroid interaction -------------------------------------------------------------------------------------------


@cache
def _interact_explicit(cell_bytes: int) -> Callable[..., None]:
    @compiled
    def run(cells: Any, starts: Any, scores: Any, rows: Any, out: Any) -> None:
        last = scores.shape[1] - 1
        for i in range(len(rows)):
            start, stop = starts[rows[i]], starts[rows[i] + 1]
            if i + 4 < len(rows):
                ahead, end = starts[rows[i + 4]], starts[rows[i + 4] + 1]
                simd.prefetch(cells.ctypes.data + ahead * cell_bytes, (end - ahead) * cell_bytes)
            if start < stop:
                total, of_document = np.int64(0), cells.ctypes.data + start * cell_bytes
                for block in range(scores.shape[0]):
                    at = scores.ctypes.data + block * scores.shape[1] * LANES
                    total += simd_cells.cells_maxsim(of_document, stop - start, at, last, cell_bytes)
                out[i] = total

    return run


@compiled
def _interact_portable(cells: Any, starts: Any, scores: Any, rows: Any, out: Any) -> None:
    top = np.empty(LANES, np.int8)
    for i in range(len(rows)):
        start, stop = starts[rows[i]], starts[rows[i] + 1]
        if start < stop:
            total = np.int64(0)
            for block in range(scores.shape[0]):
                top[:] = -(2**7)
                for token in range(start, stop):
                    of_cell = scores[block, min(np.int64(cells[token]), scores.shape[1] - 1)]
                    for lane in range(LANES):
                        top[lane] = max(top[lane], of_cell[lane])
                for lane in range(LANES):
                    total += np.int64(top[lane])
            out[i] = total


def interact(
    cells_N: Integers, starts_D: Integers, coarse_BKL: NDArray[np.int8], rows_C: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return what `reference.interact` returns."""
    out = np.full(len(rows_C), np.iinfo(np.int64).min // 2, np.int64)
    run = _interact_explicit(cells_N.itemsize) if explicit() else _interact_portable
    run(cells_N, starts_D, coarse_BKL, rows_C, out)
    return out


# by the tokens that cells say are best --------------------------------------------------------------------------


@cache
def _leading_explicit(dim: int, bits: int, cell_bytes: int) -> Callable[..., None]:
    width = dim * bits // 8

    @compiled
    def run(
        query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
        coarse: Any, rows: Any, count: int, out: Any,
    ) -> None:  # fmt: skip
        places = np.empty((AHEAD, len(query), LANES), np.uint16)
        tops = np.empty((AHEAD, len(query), LANES), np.int8)
        packed, unpacked = np.empty(LANES * width + 64, np.uint8), np.empty(LANES * dim + 64, np.uint8)
        dots, scales = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
        last = coarse.shape[1] - 1
        for first in range(0, len(rows), AHEAD):
            group = min(AHEAD, len(rows) - first)
            for i in range(group):
                start = starts[rows[first + i]]
                size = min(starts[rows[first + i] + 1] - start, MOST_LEADING)
                if first + i + AHEAD < len(rows):
                    then = rows[first + i + AHEAD]
                    tokens = starts[then + 1] - starts[then]
                    simd.prefetch(cells.ctypes.data + starts[then] * cell_bytes, tokens * cell_bytes)
                    simd.prefetch(lengths.ctypes.data + starts[then], tokens)
                for block in range(len(query) if size else 0):
                    at = coarse.ctypes.data + block * coarse.shape[1] * LANES
                    found_at, tops_at = places[i, block].ctypes.data, tops[i, block].ctypes.data
                    of_document = cells.ctypes.data + start * cell_bytes
                    simd_cells.leading(of_document, size, at, last, found_at, tops_at, cell_bytes)
                    for lane in range(min(LANES, count - LANES * block)):
                        simd.prefetch(residuals.ctypes.data + (start + places[i, block, lane]) * width, width)
            for i in range(group):
                start = starts[rows[first + i]]
                if start == starts[rows[first + i] + 1]:
                    continue
                score = np.float32(0)
                for block in range(len(query)):
                    lanes = min(LANES, count - LANES * block)
                    for lane in range(lanes):  # unpacked for each that it leads: sooner than telling them apart
                        source = residuals.ctypes.data + (start + places[i, block, lane]) * width
                        simd.copy(source, packed.ctypes.data + lane * width, width)
                    size = lanes * width
                    simd.unpack(packed.ctypes.data, size, levels.ctypes.data, unpacked.ctypes.data, bits, width)
                    scales[lanes:] = 0
                    for lane in range(lanes):
                        levels_at = unpacked.ctypes.data + lane * dim
                        dots[lane] = simd.dot(levels_at, query[block, lane].ctypes.data, dim)
                        scales[lane] = table[lengths[start + places[i, block, lane]]]
                    for lane in range(LANES):
                        near = (np.float32(tops[i, block, lane]) + np.float32(0.5)) * units[0]
                        scales[lane] *= near + dots[lane] * units[1]
                    score += simd_scores.total(scales.ctypes.data)
                out[first + i] = score

    return run


@compiled
def _leading_portable(
    query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any, coarse: Any,
    rows: Any, count: int, out: Any,
) -> None:  # fmt: skip
    """Do the same in plain loops, for any shape."""
    dim = query.shape[2]
    per_byte, last = dim // residuals.shape[1], coarse.shape[1] - 1
    bits = 8 // per_byte
    for i in range(len(rows)):
        start = starts[rows[i]]
        size = min(starts[rows[i] + 1] - start, MOST_LEADING)
        total = np.float32(0)
        for number in range(count if size else 0):
            block, lane = number // LANES, number % LANES
            best, leader = np.int64(-(2**7) - 1), start
            for token in range(start, start + size):
                score = np.int64(coarse[block, min(np.int64(cells[token]), last), lane])
                if score > best:
                    best, leader = score, token
            dot = np.int32(0)
            for d in range(dim):
                code = residuals[leader, d // per_byte] >> (8 - bits * (d % per_byte + 1)) & (2**bits - 1)
                dot += np.int32(levels[code]) * np.int32(query[block, lane, d])
            near = (np.float32(best) + np.float32(0.5)) * units[0]
            total += (near + np.float32(dot) * units[1]) * table[lengths[leader]]
        if size:
            out[i] = total


def leading_maxsim(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, starts_D: Integers,
    coarse_BKL: NDArray[np.int8], rows_C: NDArray[np.int32],
) -> Floats:  # fmt: skip
    """Return what `reference.leading_maxsim` returns."""
    out = np.full(len(rows_C), -np.inf, np.float32)
    lanes, run = query.lanes, _leading_portable
    if explicit_for(codec):
        lanes = np.ascontiguousarray(lanes[:, :, plane_order(codec.dim, codec.bits)])
        run = _leading_explicit(codec.dim, codec.bits, cells_N.itemsize)
    steps = Steps.of(codec, query, lanes)
    arrays = (cells_N, residuals_NP, lengths_N, starts_D)
    run(*steps._replace(units=steps.units * COARSE_UNITS), *arrays, coarse_BKL, rows_C, query.count, out)
    return out
