"""MaxSim by bytes, compiled: of all tokens of a document, or of those that a list names.

Nothing is copied but a tile of 16 tokens at a time, so the arrays of an index
may lie in mapped files that are larger than memory.

Legend  as in `reference`
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import LANES, UNIT, Bytes, Codec, Floats, Integers, Query
from retrievers.colbert.kernels.centroids import grouped
from retrievers.colbert.kernels.compile import CONFIG, compiled, explicit, tiled
from retrievers.colbert.kernels.x86 import amx, simd, simd_scores
from retrievers.colbert.kernels.x86.amx import TILE
from retrievers.colbert.kernels.x86.simd import MANY, ROWS

LOWEST = np.float32(-3.4e38)


class Listed(NamedTuple):
    """Some tokens of some documents: those of document c are at [starts[c], starts[c + 1])."""

    tokens: NDArray[np.int64]
    starts: NDArray[np.int64]  # (C + 1,)


NOT_LISTED = Listed(np.empty(0, np.int64), np.empty(0, np.int64))  # all tokens of a document


class Close(NamedTuple):
    """Which tokens of documents may answer a query token best: bytes tell them from the best by less than they err."""

    masks: NDArray[np.uint32]  # (T, B): a bit for each lane; the tokens of the documents, end to end
    starts: NDArray[np.int64]  # (C + 1,)
    doubts: Floats  # (B, 32): how far below the best a score may be that is the best

    @classmethod
    def of(cls, codec: Codec, query: Query, starts_D: Integers, rows_C: NDArray[np.int32]) -> "Close":
        """Return room for the tokens of some documents."""
        starts = np.zeros(len(rows_C) + 1, np.int64)
        np.cumsum(starts_D[rows_C + 1] - starts_D[rows_C], out=starts[1:])
        return cls(np.empty((starts[-1], len(query.lanes)), np.uint32), starts, query.doubts(codec))


NOBODY = Close(np.empty((0, 0), np.uint32), np.empty(0, np.int64), np.empty((0, 0), np.float32))


class Steps(NamedTuple):
    """What the compiled functions need of a codec and a query beside the arrays of an index."""

    query: NDArray[np.int8]  # (B, H / 4, 32, 4), or (B, 32, H) for plain loops and for a query token at a time
    levels: Bytes  # (64,): 16 levels, four times over
    inverse_lengths: Floats  # (256,)
    units: Floats  # (2,): the worth of a step of a cell score, and of a step of levels . query

    @classmethod
    def of(cls, codec: Codec, query: Query, lanes: NDArray[np.int8]) -> "Steps":
        levels = np.zeros(16, np.uint8)
        levels[: len(codec.levels)] = codec.levels
        units = np.array([UNIT, query.step * codec.level_step], np.float32)
        return cls(lanes, np.tile(levels, 4), codec.inverse_lengths, units)


def explicit_for(codec: Codec) -> bool:
    """Return whether vector code takes residuals of this shape."""
    return explicit() and codec.dim * codec.bits % 32 == 0 and codec.dim * codec.bits >= 128


@cache
def plane_order(dim: int, bits: int) -> Integers:
    """Return the dimensions in the order in which unpacking lays them out: first codes of all bytes, then second ..."""
    return np.arange(dim).reshape(-1, 8 // bits).T.ravel()


@cache
def _explicit(dim: int, bits: int, cell_bytes: int, keep: int, tiles: int) -> Callable[..., None]:
    """Return the vector code for a shape; with `keep` = 1, it says which tokens are close to the best too.

    tiles  whether dot products are made in matrix registers
    """
    width = dim * bits // 8

    @compiled
    def run(
        query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
        scores: Any, rows: Any, listed: Any, list_starts: Any, out: Any, masks: Any, mask_starts: Any, doubts: Any,
        config: Any,
    ) -> None:  # fmt: skip
        best, floors = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
        longest = 0
        if keep:
            for row in rows:
                longest = max(longest, starts[row + 1] - starts[row])
        kept = np.empty((longest + TILE, LANES), np.float32)  # of a document: in the cache when it is read again
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
                best[:] = LOWEST
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
                in_place = not some and stop - start >= ROWS and stop * width < safe
                at = start
                while at < stop:
                    if in_place:
                        at = min(at, stop - ROWS)  # some are seen twice: a maximum does not mind
                        count = min(TILE, stop - at)
                        source = residuals.ctypes.data + at * width
                        cells_at, lengths_at = cells.ctypes.data + at * cell_bytes, lengths.ctypes.data + at
                    else:
                        count = min(TILE, stop - at)
                        for place in range(max(count, ROWS)):
                            token = at + min(place, count - 1)  # the last one again, until there are four
                            if some:
                                token = listed[token]
                            some_cells[place], some_lengths[place] = cells[token], lengths[token]
                            simd.copy(
                                residuals.ctypes.data + token * width, packed.ctypes.data + place * width, width
                            )
                        source = np.int64(packed.ctypes.data)
                        cells_at, lengths_at = np.int64(some_cells.ctypes.data), np.int64(some_lengths.ctypes.data)
                    rest, kept_at = max(count, ROWS), kept.ctypes.data + (at - start) * 4 * LANES * keep
                    simd.unpack(source, rest * width, levels.ctypes.data, unpacked.ctypes.data, bits, width)
                    if tiles:
                        amx.dots(unpacked.ctypes.data, dots.ctypes.data, dim)
                        simd.take_best(
                            dots.ctypes.data, count, cells_at, scores_at, lengths_at, table.ctypes.data,
                            units.ctypes.data, best.ctypes.data, kept_at, last, cell_bytes, keep,
                        )  # fmt: skip
                    else:
                        first = 0
                        while first < rest:  # said twice, because what is compiled has to know the number of rows
                            if rest - first >= MANY:
                                simd.tokens_scores(
                                    unpacked.ctypes.data + first * dim, query_at, cells_at + first * cell_bytes,
                                    scores_at, lengths_at + first, table.ctypes.data, units.ctypes.data,
                                    best.ctypes.data, kept_at + first * 4 * LANES, last, MANY, dim, cell_bytes, keep,
                                )  # fmt: skip
                                first += MANY
                            else:
                                first = min(first, rest - ROWS)
                                simd.tokens_scores(
                                    unpacked.ctypes.data + first * dim, query_at, cells_at + first * cell_bytes,
                                    scores_at, lengths_at + first, table.ctypes.data, units.ctypes.data,
                                    best.ctypes.data, kept_at + first * 4 * LANES, last, ROWS, dim, cell_bytes, keep,
                                )  # fmt: skip
                                first += ROWS
                    at += count
                if start < stop:
                    score = simd_scores.total(best.ctypes.data)
                    out[i] = score if block == 0 else out[i] + score
                    if keep:
                        for lane in range(LANES):
                            floors[lane] = best[lane] - doubts[block, lane]
                        masks_at = masks.ctypes.data + 4 * (mask_starts[i] * len(query) + block)
                        simd_scores.close(kept.ctypes.data, stop - start, floors.ctypes.data, masks_at, 4 * len(query))
        if tiles:
            amx.end()

    return run


@compiled
def _portable(
    query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
    scores: Any, rows: Any, listed: Any, list_starts: Any, out: Any, masks: Any, mask_starts: Any, doubts: Any,
    config: Any,
) -> None:  # fmt: skip
    """Do the same in plain loops, for any shape."""
    blocks, _, dim = query.shape
    per_byte = dim // residuals.shape[1]
    bits = 8 // per_byte
    best, row, longest = np.empty((blocks, LANES), np.float32), np.empty(dim, np.int16), 0
    if len(mask_starts):
        for one in rows:
            longest = max(longest, starts[one + 1] - starts[one])
    kept = np.empty((longest, blocks, LANES), np.float32)
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
                    best[block, lane] = max(best[block, lane], score)
                    if len(mask_starts):
                        kept[at - start, block, lane] = score
        if start < stop:
            out[i] = best.sum()
        for at in range(stop - start if len(mask_starts) else 0):
            for block in range(blocks):
                mask = np.uint32(0)
                for lane in range(LANES):
                    if kept[at, block, lane] >= best[block, lane] - doubts[block, lane]:
                        mask |= np.uint32(1) << np.uint32(lane)
                masks[mask_starts[i] + at, block] = mask


def quick_maxsim(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, starts_D: Integers,
    scores_BKL: NDArray[np.int16], rows_C: NDArray[np.int32], listed: Listed | None = None,
    close: Close | None = None,
) -> Floats:  # fmt: skip
    """Return what `reference.quick_maxsim` returns.

    close  if given, takes what `reference.close_tokens` returns

    Raises  ValueError for the close ones of listed tokens
    """
    if listed is not None and close is not None:
        raise ValueError("the close tokens are those of whole documents, not of listed ones")
    out = np.full(len(rows_C), -np.inf, np.float32)
    lanes, run = query.lanes, _portable
    if explicit_for(codec):
        lanes = grouped(lanes, plane_order(codec.dim, codec.bits))
        run = _explicit(codec.dim, codec.bits, cells_N.itemsize, int(close is not None), tiled(codec.dim))
    arrays = (cells_N, residuals_NP, lengths_N, starts_D)
    steps = Steps.of(codec, query, lanes)
    run(*steps, *arrays, scores_BKL, rows_C, *(listed or NOT_LISTED), out, *(close or NOBODY), CONFIG)
    return out


@compiled
def _tokens_in(cells: Any, starts: Any, rows: Any, wanted: Any, tokens: Any, ends: Any) -> None:
    found = 0
    for i in range(len(rows)):
        for token in range(starts[rows[i]], starts[rows[i] + 1]):
            if wanted[min(np.int64(cells[token]), len(wanted) - 1)]:
                if len(tokens):
                    tokens[found] = token
                found += 1
        ends[i + 1] = found


def tokens_in(
    cells_N: Integers, starts_D: Integers, wanted_K: NDArray[np.bool_], rows_C: NDArray[np.int32]
) -> Listed:  # fmt: skip
    """List the tokens that `reference.tokens_in` returns."""
    starts = np.zeros(len(rows_C) + 1, np.int64)
    _tokens_in(cells_N, starts_D, rows_C, wanted_K, np.empty(0, np.int64), starts)
    tokens = np.empty(starts[-1], np.int64)
    _tokens_in(cells_N, starts_D, rows_C, wanted_K, tokens, starts)
    return Listed(tokens, starts)
