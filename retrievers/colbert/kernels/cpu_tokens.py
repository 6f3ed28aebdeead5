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

from retrievers.colbert.codec import LANES, UNIT, Bytes, Codec, Floats, Integers, Query
from retrievers.colbert.kernels import simd
from retrievers.colbert.kernels.cpu_cells import compiled, explicit, grouped
from retrievers.colbert.kernels.reference import unpack

TILE = 32  # document tokens that are unpacked at once
LOWEST = np.float32(-3.4e38)
quick = nb.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})  # sums in any order
EMPTY_MASK = np.zeros(0, np.bool_)


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
    return explicit() and codec.dim * codec.bits % 32 == 0


def _plane_order(codec: Codec) -> Integers:
    """Return the dimensions in the order in which unpacking lays them out: first codes of all bytes, then second ..."""
    per_byte = 8 // codec.bits
    return np.arange(codec.dim).reshape(-1, per_byte).T.ravel()


@compiled
def _next_tile(cells: Any, lengths: Any, wanted: Any, at: int, stop: int, tile: Any) -> tuple[int, int]:
    """Fill a tile with the next tokens to score, at most 16, and the last of them again until there are four.

    returns  how many they are, and where to go on
    """
    tokens, tile_cells, tile_lengths = tile
    count = 0
    while at < stop and count < TILE:
        if not len(wanted) or wanted[min(np.int64(cells[at]), len(wanted) - 1)]:
            tokens[count] = at
            count += 1
        at += 1
    for i in range(max(count, simd.ROWS) if count else 0):
        tokens[i] = tokens[min(i, count - 1)]
        tile_cells[i] = cells[tokens[i]]
        tile_lengths[i] = lengths[tokens[i]]
    return count, at


@cache
def _explicit(dim: int, bits: int, who: int) -> Callable[..., None]:
    """Return the vector code for a shape; with `who` = 1, it says which token was best too."""
    width, planes = dim * bits // 8, 8 // bits
    stride = TILE * width + 64

    @compiled
    def run(
        query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
        scores: Any, rows: Any, wanted: Any, out: Any, winners: Any,
    ) -> None:  # fmt: skip
        best = np.empty((len(query), 2, LANES), np.float32)  # the scores, and the bits of int32: whose they are
        packed, unpacked = np.empty(stride, np.uint8), np.empty(planes * stride, np.uint8)
        tile = np.empty(TILE, np.int64), np.empty(TILE, cells.dtype), np.empty(TILE, np.uint8)
        tokens, tile_cells, tile_lengths = tile
        safe = residuals.size - stride  # unpacking reads 64 bytes at a time, and must not pass the end of a mapped file
        last = scores.shape[1] - 1
        for i in range(len(rows)):
            best[:, 0] = LOWEST
            some = False
            start, stop = starts[rows[i]], starts[rows[i] + 1]
            at = start
            while at < stop:
                if not len(wanted) and stop - start >= simd.ROWS and stop * width < safe:
                    at = min(at, stop - simd.ROWS)  # some are seen twice: a maximum does not mind
                    count = min(TILE, stop - at)
                    source = residuals.ctypes.data + at * width
                    simd.unpack(source, count * width, levels.ctypes.data, unpacked.ctypes.data, bits, stride)
                    for first in range(0, count, simd.ROWS):
                        four = min(first, count - simd.ROWS)
                        for block in range(len(query)):
                            simd.tokens_scores(
                                unpacked.ctypes.data + four * width, query.ctypes.data + block * LANES * dim, cells,
                                at + four, scores.ctypes.data + block * scores.shape[1] * 2 * LANES,
                                lengths.ctypes.data + at + four, table.ctypes.data, units.ctypes.data,
                                best.ctypes.data + block * 8 * LANES, at + four - start, last, width, planes, stride,
                                who,
                            )  # fmt: skip
                    at += count
                else:
                    count, at = _next_tile(cells, lengths, wanted, at, stop, tile)
                    if not count:
                        break
                    for t in range(max(count, simd.ROWS)):
                        for byte in range(width):
                            packed[t * width + byte] = residuals[tokens[t], byte]
                    size = max(count, simd.ROWS) * width
                    simd.unpack(packed.ctypes.data, size, levels.ctypes.data, unpacked.ctypes.data, bits, stride)
                    for first in range(0, count, simd.ROWS):
                        four = max(0, min(first, count - simd.ROWS))
                        for block in range(len(query)):
                            simd.tokens_scores(
                                unpacked.ctypes.data + four * width, query.ctypes.data + block * LANES * dim,
                                tile_cells, four, scores.ctypes.data + block * scores.shape[1] * 2 * LANES,
                                tile_lengths.ctypes.data + four, table.ctypes.data, units.ctypes.data,
                                best.ctypes.data + block * 8 * LANES, tokens[four] - start, last, width, planes,
                                stride, who,
                            )  # fmt: skip
                some = True
            if some:
                out[i] = best[:, 0].sum()
                if who:
                    whose = best.view(np.int32)
                    for block in range(len(query)):
                        for lane in range(LANES):
                            token = start + whose[block, 1, lane]
                            winners[i, block * LANES + lane] = min(token, stop - 1)  # the last may have stood for four

    return run


@compiled
def _portable(
    query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
    scores: Any, rows: Any, wanted: Any, out: Any, winners: Any,
) -> None:  # fmt: skip
    """Do the same in plain loops, for any shape."""
    blocks, _, dim = query.shape
    per_byte = dim // residuals.shape[1]
    bits = 8 // per_byte
    best, row = np.empty((blocks, LANES), np.float32), np.empty(dim, np.int16)
    for i in range(len(rows)):
        best[:] = LOWEST
        some = False
        for token in range(starts[rows[i]], starts[rows[i] + 1]):
            cell = min(np.int64(cells[token]), scores.shape[1] - 1)
            if len(wanted) and not wanted[cell]:
                continue
            some = True
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
        if some:
            out[i] = best.sum()


def quick_maxsim(
    codec: Codec, query: Query, cells_N: Integers, residuals_NP: Bytes, lengths_N: Bytes, starts_D: Integers,
    scores_BKL: NDArray[np.int16], rows_C: NDArray[np.int32], wanted_K: NDArray[np.bool_] | None = None,
    winners_CQ: NDArray[np.int64] | None = None,
) -> Floats:  # fmt: skip
    """Return what `reference.quick_maxsim` returns.

    winners_CQ  (C, B * 32), if given, takes the token that answers each query token best; -1 stays for no token
    """
    out = np.full(len(rows_C), -np.inf, np.float32)
    run = _explicit(codec.dim, codec.bits, int(winners_CQ is not None)) if _explicit_for(codec) else _portable
    winners = np.empty((0, 0), np.int64) if winners_CQ is None else winners_CQ
    wanted = EMPTY_MASK if wanted_K is None else wanted_K
    arrays = (cells_N, residuals_NP, lengths_N, starts_D)
    run(*Steps.of(codec, query), *arrays, scores_BKL, rows_C, wanted, out, winners)
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
