"""The stages of `reference` that read residuals, compiled: documents scored by bytes, and the last few in float32.

Nothing is copied but a tile of 16 tokens at a time, so the arrays of an index
may lie in mapped files that are larger than memory.

Legend  as in `reference`
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.codec import COARSE, LANES, UNIT, Bytes, Codec, Floats, Integers, Query
from retrievers.colbert.kernels import amx, simd
from retrievers.colbert.kernels.amx import TILE
from retrievers.colbert.kernels.cpu_cells import CONFIG, Listed, compiled, explicit, grouped, tiled
from retrievers.colbert.kernels.reference import unpack

AHEAD = 8  # documents whose leading tokens are asked for before the first of them is scored
MOST_LEADING = 1 << 16  # tokens of a document among which leaders are looked for: their places fit 16 bits
UNITS_COARSE = np.array([2**COARSE, 1], np.float32)
LOWEST = np.float32(-3.4e38)
quick = nb.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})  # sums in any order
NOT_LISTED = Listed(np.empty(0, np.int64), np.empty(0, np.int64))  # all tokens of a document


class Steps(NamedTuple):
    """What the compiled functions need of a codec and a query beside the arrays of an index."""

    query: NDArray[np.int8]  # (B, H / 4, 32, 4) for vector code, (B, 32, H) for plain loops
    levels: Bytes  # (64,): 16 levels, four times over
    inverse_lengths: Floats  # (256,)
    units: Floats  # (2,): the worth of a step of a cell score, and of a step of levels . query

    @classmethod
    def of(cls, codec: Codec, query: Query) -> "Steps":
        levels = np.zeros(16, np.uint8)
        levels[: len(codec.levels)] = codec.levels
        units = np.array([UNIT, query.step * codec.level_step], np.float32)
        lanes = grouped(query.lanes, _plane_order(codec)) if _explicit_for(codec) else query.lanes
        return cls(lanes, np.tile(levels, 4), codec.inverse_lengths, units)


def _explicit_for(codec: Codec) -> bool:
    return explicit() and codec.dim * codec.bits % 32 == 0 and codec.dim * codec.bits >= 128


def _plane_order(codec: Codec) -> Integers:
    """Return the dimensions in the order in which unpacking lays them out: first codes of all bytes, then second ..."""
    per_byte = 8 // codec.bits
    return np.arange(codec.dim).reshape(-1, per_byte).T.ravel()


@cache
def _explicit(dim: int, bits: int, cell_bytes: int, who: int, tiles: int) -> Callable[..., None]:
    """Return the vector code for a shape; with `who` = 1, it says which token was best too.

    tiles  whether dot products are made in matrix registers
    """
    width = dim * bits // 8

    @compiled
    def run(
        query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
        scores: Any, rows: Any, listed: Any, list_starts: Any, out: Any, winners: Any, config: Any,
    ) -> None:  # fmt: skip
        best = np.empty((2, LANES), np.float32)  # the scores, and the bits of int32: whose they are
        whose = best[1].view(np.int32)
        packed, unpacked = np.empty(TILE * width + 64, np.uint8), np.zeros(TILE * dim + 64, np.uint8)
        some_cells, some_lengths = np.empty(TILE, cells.dtype), np.empty(TILE, np.uint8)
        dots = np.empty((TILE, LANES), np.int32)
        safe = residuals.size - 64  # unpacking reads 64 bytes at a time, and must not pass the end of a mapped file
        last, some = scores.shape[1] - 1, len(list_starts) > 0
        if tiles:
            amx.begin(config.ctypes.data)
        for block in range(len(query)):
            query_at = query.ctypes.data + block * LANES * dim
            scores_at = scores.ctypes.data + block * scores.shape[1] * 2 * LANES
            if tiles:
                amx.hold(query_at, dim)
            for i in range(len(rows)):
                best[0] = LOWEST
                start, stop = starts[rows[i]], starts[rows[i] + 1]
                if some:
                    start, stop = list_starts[i], list_starts[i + 1]
                    if i + 2 < len(list_starts):
                        for place in range(stop, list_starts[i + 2]):
                            simd.prefetch(residuals.ctypes.data + listed[place] * width, width)
                elif i + 1 < len(rows):
                    ahead = starts[rows[i + 1]]
                    tokens = starts[rows[i + 1] + 1] - ahead
                    simd.prefetch(cells.ctypes.data + ahead * cell_bytes, tokens * cell_bytes)
                    simd.prefetch(lengths.ctypes.data + ahead, tokens)
                    simd.prefetch(residuals.ctypes.data + ahead * width, tokens * width)
                in_place = not some and stop - start >= simd.ROWS and stop * width < safe
                at = start
                while at < stop:
                    if in_place:
                        at = min(at, stop - simd.ROWS)  # some are seen twice: a maximum does not mind
                        count = min(TILE, stop - at)
                        source = residuals.ctypes.data + at * width
                        cells_at, lengths_at = cells.ctypes.data + at * cell_bytes, lengths.ctypes.data + at
                    else:
                        count = min(TILE, stop - at)
                        for place in range(max(count, simd.ROWS)):
                            token = at + min(place, count - 1)  # the last one again, until there are four
                            if some:
                                token = listed[token]
                            some_cells[place], some_lengths[place] = cells[token], lengths[token]
                            simd.copy(
                                residuals.ctypes.data + token * width, packed.ctypes.data + place * width, width
                            )
                        source = packed.ctypes.data
                        cells_at, lengths_at = some_cells.ctypes.data, some_lengths.ctypes.data
                    rest = max(count, simd.ROWS)
                    simd.unpack(source, rest * width, levels.ctypes.data, unpacked.ctypes.data, bits, width)
                    if tiles:
                        amx.dots(unpacked.ctypes.data, dots.ctypes.data, dim)
                        simd.take_best(
                            dots.ctypes.data, count, cells_at, scores_at, lengths_at, table.ctypes.data,
                            units.ctypes.data, best.ctypes.data, at - start, last, cell_bytes, who,
                        )  # fmt: skip
                    else:
                        for first in range(0, rest, simd.ROWS):
                            four = min(first, rest - simd.ROWS)
                            simd.tokens_scores(
                                unpacked.ctypes.data + four * dim, query_at, cells_at + four * cell_bytes, scores_at,
                                lengths_at + four, table.ctypes.data, units.ctypes.data, best.ctypes.data,
                                at + four - start, last, dim, cell_bytes, who,
                            )  # fmt: skip
                    at += count
                if start < stop:
                    score = simd.total(best.ctypes.data)
                    out[i] = score if block == 0 else out[i] + score
                    if who:
                        for lane in range(LANES):
                            winners[i, block * LANES + lane] = start + whose[lane]
        if tiles:
            amx.end()

    return run


@compiled
def _portable(
    query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
    scores: Any, rows: Any, listed: Any, list_starts: Any, out: Any, winners: Any, config: Any,
) -> None:  # fmt: skip
    """Do the same in plain loops, for any shape."""
    blocks, _, dim = query.shape
    per_byte = dim // residuals.shape[1]
    bits = 8 // per_byte
    best, row = np.empty((blocks, LANES), np.float32), np.empty(dim, np.int16)
    for i in range(len(rows)):
        best[:] = LOWEST
        start, stop = starts[rows[i]], starts[rows[i] + 1]
        if len(list_starts):
            start, stop = list_starts[i], list_starts[i + 1]
        for at in range(start, stop):
            token = listed[at] if len(list_starts) else at
            cell = min(np.int64(cells[token]), scores.shape[1] - 1)
            for byte in range(residuals.shape[1]):
                packed = residuals[token, byte]
                for field in range(per_byte):
                    row[byte * per_byte + field] = levels[(packed >> (8 - bits * (field + 1))) & (2**bits - 1)]
            for block in range(blocks):
                for lane in range(LANES):
                    dot = np.int32(0)
                    for d in range(dim):
                        dot += np.int32(row[d]) * np.int32(query[block, lane, d])
                    near = np.float32(scores[block, cell, lane]) * units[0]
                    score = (near + np.float32(dot) * units[1]) * table[lengths[token]]
                    if score > best[block, lane]:
                        best[block, lane] = score
                        if len(winners):
                            winners[i, block * LANES + lane] = token
        if start < stop:
            out[i] = best.sum()


def quick_maxsim(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, starts_D: Integers,
    scores_BKL: NDArray[np.int16], rows_C: NDArray[np.int32], listed: Listed | None = None,
    winners_CQ: NDArray[np.int64] | None = None,
) -> Floats:  # fmt: skip
    """Return what `reference.quick_maxsim` returns.

    winners_CQ  (C, B * 32), if given, takes the token that answers each query token best; -1 stays for no token

    Raises  ValueError for winners of listed tokens
    """
    if listed is not None and winners_CQ is not None:
        raise ValueError("winners are those of whole documents, not of listed tokens")
    out = np.full(len(rows_C), -np.inf, np.float32)
    run = _portable
    if _explicit_for(codec):
        who = int(winners_CQ is not None)
        run = _explicit(codec.dim, codec.bits, cells_N.itemsize, who, tiled(codec.dim))
    winners = np.empty((0, 0), np.int64) if winners_CQ is None else winners_CQ
    arrays = (cells_N, residuals_NP, lengths_N, starts_D)
    run(*Steps.of(codec, query), *arrays, scores_BKL, rows_C, *(listed or NOT_LISTED), out, winners, CONFIG)
    return out


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
                    simd.leading(cells.ctypes.data + start * cell_bytes, size, at, last, found_at, tops_at, cell_bytes)
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
                    score += simd.total(scales.ctypes.data)
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
            best, leader = -(2**7) - 1, start
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
    if _explicit_for(codec):
        lanes = np.ascontiguousarray(lanes[:, :, _plane_order(codec)])
        run = _leading_explicit(codec.dim, codec.bits, cells_N.itemsize)
    _, levels, lengths, units = Steps.of(codec, query)
    arrays = (cells_N, residuals_NP, lengths_N, starts_D)
    run(lanes, levels, lengths, units * UNITS_COARSE, *arrays, coarse_BKL, rows_C, query.count, out)
    return out


def _byte_values(codec: Codec) -> Floats:
    """Return what each byte of a packed residual stands for, (256, 8 / bits)."""
    every = np.arange(256, dtype=np.uint8)[:, None]
    return codec.weights[unpack(every, bits=codec.bits)]


@quick
def _decoded(
    values: Any, per_byte: int, shifted: Any, step: Any, exact: Any, cell: int, packed: Any, out: Any
) -> np.float32:
    """Write a token's numbers before they are scaled to length 1, and return what to scale them by."""
    for byte in range(len(packed)):
        for field in range(per_byte):
            out[byte * per_byte + field] = values[packed[byte], field]
    if len(exact):
        for d in range(len(out)):
            out[d] += exact[cell, d]
    else:
        for d in range(len(out)):
            out[d] += (np.float32(shifted[cell, d]) - np.float32(128)) * step
    square = np.float32(0)
    for d in range(len(out)):
        square += out[d] * out[d]
    return np.float32(1) / max(np.sqrt(square), np.float32(1e-12))


@cache
def _scores_of_winners(per_byte: int) -> Callable[..., None]:
    @quick
    def run(
        vectors: Any,
        values: Any,
        shifted: Any,
        step: Any,
        exact: Any,
        cells: Any,
        residuals: Any,
        winners: Any,
        out: Any,
    ) -> None:
        decoded, scales = np.empty(vectors.shape, np.float32), np.empty(len(vectors), np.float32)
        for i in range(len(winners)):
            if winners[i, 0] < 0:
                continue
            total = np.float32(0)
            for q in range(len(vectors)):
                token = winners[i, q]
                same = q
                for other in range(q):  # one token often answers several
                    if winners[i, other] == token:
                        same = other
                        break
                if same == q:
                    cell = min(np.int64(cells[token]), len(shifted) - 1)
                    scales[q] = _decoded(values, per_byte, shifted, step, exact, cell, residuals[token], decoded[q])
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
    exact = np.zeros((0, 0), np.float32) if codec.exact is None else codec.exact
    _scores_of_winners(8 // codec.bits)(
        query.vectors, _byte_values(codec), codec.shifted, np.float32(codec.step), exact, cells_N, residuals_NP,
        winners_CQ, out,
    )  # fmt: skip
    return out


@cache
def _decode(per_byte: int) -> Callable[..., None]:
    @quick
    def run(values: Any, shifted: Any, step: Any, exact: Any, cells: Any, residuals: Any, out: Any) -> None:
        for token in range(len(cells)):
            cell = min(np.int64(cells[token]), len(shifted) - 1)
            scale = _decoded(values, per_byte, shifted, step, exact, cell, residuals[token], out[token])
            for d in range(out.shape[1]):
                out[token, d] *= scale

    return run


def decode(codec: Codec, cells_N: Integers, residuals_NP: Bytes) -> Floats:
    """Return what `reference.decode` returns."""
    out = np.empty((len(cells_N), codec.dim), np.float32)
    exact = np.zeros((0, 0), np.float32) if codec.exact is None else codec.exact
    _decode(8 // codec.bits)(
        _byte_values(codec), codec.shifted, np.float32(codec.step), exact, cells_N, residuals_NP, out
    )
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
