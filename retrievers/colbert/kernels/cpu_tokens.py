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
from retrievers.colbert.kernels import amx, simd
from retrievers.colbert.kernels.amx import TILE
from retrievers.colbert.kernels.cpu_cells import CONFIG, compiled, explicit, grouped, tiled
from retrievers.colbert.kernels.reference import unpack

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
    return explicit() and codec.dim * codec.bits % 32 == 0 and codec.dim * codec.bits >= 128


def _plane_order(codec: Codec) -> Integers:
    """Return the dimensions in the order in which unpacking lays them out: first codes of all bytes, then second ..."""
    per_byte = 8 // codec.bits
    return np.arange(codec.dim).reshape(-1, per_byte).T.ravel()


@compiled
def _next_four(
    cells: Any, lengths: Any, wanted: Any, at: int, stop: int, tokens: Any, four_cells: Any, four_lengths: Any
) -> tuple[int, int]:
    """List the next tokens to score, four at most, and the last of them again until there are four.

    returns  how many they are, and where to go on
    """
    count = 0
    while at < stop and count < simd.ROWS:
        if not len(wanted) or wanted[min(np.int64(cells[at]), len(wanted) - 1)]:
            tokens[count] = at
            count += 1
        at += 1
    for i in range(simd.ROWS if count else 0):
        tokens[i] = tokens[min(i, count - 1)]
        four_cells[i], four_lengths[i] = cells[tokens[i]], lengths[tokens[i]]
    return count, at


@cache
def _explicit(dim: int, bits: int, who: int, tiles: int) -> Callable[..., None]:
    """Return the vector code for a shape; with `who` = 1, it says which token was best too.

    tiles  whether dot products are made in matrix registers
    """
    width = dim * bits // 8

    @compiled
    def run(
        query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
        scores: Any, rows: Any, wanted: Any, out: Any, winners: Any, config: Any,
    ) -> None:  # fmt: skip
        best = np.empty((2, LANES), np.float32)  # the scores, and the bits of int32: whose they are
        whose = best[1].view(np.int32)
        packed, unpacked = np.empty(simd.ROWS * width + 64, np.uint8), np.zeros(TILE * dim + 64, np.uint8)
        four_tokens, four_lengths = np.empty(simd.ROWS, np.int64), np.empty(simd.ROWS, np.uint8)
        four_cells = np.empty(simd.ROWS, cells.dtype)
        dots = np.empty((TILE, LANES), np.int32)
        safe = residuals.size - 64  # unpacking reads 64 bytes at a time, and must not pass the end of a mapped file
        last = scores.shape[1] - 1
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
                at, some = start, False
                if i + 1 < len(rows) and not len(wanted):
                    ahead = starts[rows[i + 1]]
                    tokens = starts[rows[i + 1] + 1] - ahead
                    simd.prefetch(cells.ctypes.data + ahead * cells.itemsize, tokens * cells.itemsize)
                    simd.prefetch(lengths.ctypes.data + ahead, tokens)
                    simd.prefetch(residuals.ctypes.data + ahead * width, tokens * width)
                while at < stop:
                    some_left = stop - at >= simd.ROWS or (stop - start >= simd.ROWS and not len(wanted))
                    if not len(wanted) and some_left and stop * width < safe:
                        at = min(at, stop - simd.ROWS)  # some are seen twice: a maximum does not mind
                        count = min(TILE, stop - at)
                        source = residuals.ctypes.data + at * width
                        simd.unpack(source, count * width, levels.ctypes.data, unpacked.ctypes.data, bits, width)
                        if tiles:
                            amx.dots(unpacked.ctypes.data, dots.ctypes.data, dim)
                            simd.take_best(
                                dots.ctypes.data, count, cells, at, scores_at, lengths.ctypes.data + at,
                                table.ctypes.data, units.ctypes.data, best.ctypes.data, at - start, last, who,
                            )  # fmt: skip
                        else:
                            for first in range(0, count, simd.ROWS):
                                four = min(first, count - simd.ROWS)
                                simd.tokens_scores(
                                    unpacked.ctypes.data + four * dim, query_at, cells, at + four, scores_at,
                                    lengths.ctypes.data + at + four, table.ctypes.data, units.ctypes.data,
                                    best.ctypes.data, at + four - start, last, dim, who,
                                )  # fmt: skip
                        at += count
                        some = True
                        continue
                    count, at = _next_four(cells, lengths, wanted, at, stop, four_tokens, four_cells, four_lengths)
                    if not count:
                        break
                    for t in range(simd.ROWS):
                        for byte in range(width):
                            packed[t * width + byte] = residuals[four_tokens[t], byte]
                    size = simd.ROWS * width
                    simd.unpack(packed.ctypes.data, size, levels.ctypes.data, unpacked.ctypes.data, bits, width)
                    before = best[0].copy()
                    simd.tokens_scores(
                        unpacked.ctypes.data, query_at, four_cells, 0, scores_at, four_lengths.ctypes.data,
                        table.ctypes.data, units.ctypes.data, best.ctypes.data, 0, last, dim, who,
                    )  # fmt: skip
                    if who:
                        for lane in range(LANES):
                            if best[0, lane] > before[lane]:
                                whose[lane] = four_tokens[whose[lane]] - start
                    some = True
                if some:
                    out[i] = best[0].sum() if block == 0 else out[i] + best[0].sum()
                    if who:
                        for lane in range(LANES):
                            winners[i, block * LANES + lane] = start + whose[lane]
        if tiles:
            amx.end()

    return run


@compiled
def _portable(
    query: Any, levels: Any, table: Any, units: Any, cells: Any, residuals: Any, lengths: Any, starts: Any,
    scores: Any, rows: Any, wanted: Any, out: Any, winners: Any, config: Any,
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
    run = _portable
    if _explicit_for(codec):
        run = _explicit(codec.dim, codec.bits, int(winners_CQ is not None), tiled(codec.dim))
    winners = np.empty((0, 0), np.int64) if winners_CQ is None else winners_CQ
    wanted = EMPTY_MASK if wanted_K is None else wanted_K
    arrays = (cells_N, residuals_NP, lengths_N, starts_D)
    run(*Steps.of(codec, query), *arrays, scores_BKL, rows_C, wanted, out, winners, CONFIG)
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
