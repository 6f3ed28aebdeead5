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

from retrievers.colbert.kernels.arrays import LANES, UNIT, Bytes, Codec, Floats, Integers, Query, SearchContext, Segment
from retrievers.colbert.kernels.compile import CONFIG, compiled, explicit, inlined, tiled
from retrievers.colbert.kernels.maxsim_portable import LOWEST, longest, portable_maxsim
from retrievers.colbert.kernels.vectors import amx, simd, simd_scores
from retrievers.colbert.kernels.vectors.amx import TILE
from retrievers.colbert.kernels.vectors.forms import form
from retrievers.colbert.kernels.vectors.simd_dots import MANY, ROWS, dots, grouped

Lanes = Bytes | NDArray[np.int8]  # of `simd_dots.grouped`; (B, 32, H) for plain loops and for a token at a time
FUSED, TILES, LOOPS = range(3)  # with the scores, in registers of 512 bits; in matrix registers; in narrower ones


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
    def of(cls, segment: Segment, context: SearchContext, rows_C: NDArray[np.int32]) -> "Close":
        """Return room for the tokens of some documents."""
        starts = np.zeros(len(rows_C) + 1, np.int64)
        np.cumsum(segment.starts[rows_C + 1] - segment.starts[rows_C], out=starts[1:])
        masks = np.empty((starts[-1], len(context.query.lanes)), np.uint32)
        return cls(masks, starts, context.query.doubts(context.codec))


NO_CLOSE_TOKENS = Close(np.empty((0, 0), np.uint32), np.empty(0, np.int64), np.empty((0, 0), np.float32))


class KernelTables(NamedTuple):
    """What the compiled functions need of a codec and a query beside the arrays of an index."""

    query: Lanes
    levels: Bytes  # (64,): 16 levels, four times over
    inverse_lengths: Floats  # (256,)
    units: Floats  # (2,): the worth of a step of a centroid score, and of a step of levels . query
    tiles: Bytes  # (64,): how matrix registers are laid out

    @classmethod
    def of(cls, codec: Codec, query: Query, lanes: Lanes) -> "KernelTables":
        levels = np.zeros(16, np.uint8)
        levels[: len(codec.levels)] = codec.levels
        units = np.array([UNIT, query.step * codec.level_step], np.float32)
        return cls(lanes, np.tile(levels, 4), codec.inverse_lengths, units, CONFIG)


def explicit_for(codec: Codec) -> bool:
    """Return whether vector code takes residuals of this shape."""
    return explicit() and codec.dim * codec.bits % 32 == 0 and codec.dim * codec.bits >= 128


@cache
def plane_order(dim: int, bits: int) -> Integers:
    """Return the dimensions in the order in which unpacking lays them out: first codes of all bytes, then second ..."""
    return np.arange(dim).reshape(-1, 8 // bits).T.ravel()


# of vectors: a document's tokens, 16 at a time, meet a block of 32 query tokens ------------------------------------


class _Block(NamedTuple):
    """A block of the query: addresses."""

    lanes: int
    scores: int  # of its centroids
    last: int  # the largest centroid number there is


class _TileAddresses(NamedTuple):
    """Addresses of tables, and of what is written for each tile."""

    levels: int
    lengths: int
    units: int
    best: int  # 32 float32
    kept: int  # of a document: (tokens, 32) float32, in the cache when it is read again
    unpacked: int
    dots: int


class _Copies(NamedTuple):
    """Tokens that do not lie side by side, or too near the end of a file."""

    residuals: Bytes
    centroid_ids: Integers
    lengths: Bytes


class _Tile(NamedTuple):
    """Up to 16 tokens side by side: addresses."""

    residuals: Any  # as int64
    centroid_ids: Any
    lengths: Any
    size: int


@cache
def _tile_dots(dim: int) -> Callable[..., None]:
    """Return code that writes the dot products of the rows of a tile, four at a time."""

    @inlined
    def run(rows: Any, block: Any, room: Any) -> None:
        first = 0
        while first < rows:
            first = min(first, rows - ROWS)
            dots(room.unpacked + first * dim, block.lanes, room.dots + first * 4 * LANES, ROWS, dim)
            first += ROWS

    return run


@cache
def _tile_scores(dim: int, bits: int, id_bytes: int, keep: int, way: int) -> Callable[..., None]:
    """Return code that raises the best scores of a block to those of a tile; with `keep` = 1 it writes them all."""
    width, tile_dots = dim * bits // 8, _tile_dots(dim)

    @inlined
    def run(tile: Any, block: Any, room: Any, kept: Any) -> None:
        rows = max(tile.size, ROWS)
        simd.unpack(tile.residuals, rows * width, room.levels, room.unpacked, bits, width)
        first = 0
        if way != FUSED:
            if way == TILES:
                amx.dots(room.unpacked, room.dots, dim)
            else:
                tile_dots(rows, block, room)
            of_tokens = (
                room.dots, tile.size, tile.centroid_ids, block.scores, tile.lengths, room.lengths, room.units,
                room.best, kept, block.last,
            )  # fmt: skip
            simd.take_best(of_tokens, id_bytes, keep)
            return
        while first < rows:  # duplicated on purpose: the number of rows must be known when this is compiled
            if rows - first >= MANY:
                of_rows = (
                    room.unpacked + first * dim, block.lanes, tile.centroid_ids + first * id_bytes, block.scores,
                    tile.lengths + first, room.lengths, room.units, room.best, kept + first * 4 * LANES, block.last,
                )  # fmt: skip
                simd.tokens_scores(of_rows, MANY, dim, id_bytes, keep)
                first += MANY
            else:
                first = min(first, rows - ROWS)
                of_rows = (
                    room.unpacked + first * dim, block.lanes, tile.centroid_ids + first * id_bytes, block.scores,
                    tile.lengths + first, room.lengths, room.units, room.best, kept + first * 4 * LANES, block.last,
                )  # fmt: skip
                simd.tokens_scores(of_rows, ROWS, dim, id_bytes, keep)
                first += ROWS

    return run


@cache
def _copied(width: int) -> Callable[..., Any]:
    """Return code that makes a tile of the tokens at [at, stop), or of those listed there, from copies of them."""

    @inlined
    def run(tokens: Any, listed: Any, at: Any, stop: Any, copies: Any) -> Any:
        count = min(TILE, stop - at)
        for place in range(max(count, ROWS)):
            token = at + min(place, count - 1)  # the last one again, until there are four
            if len(listed):
                token = listed[token]
            copies.centroid_ids[place], copies.lengths[place] = tokens.centroid_ids[token], tokens.lengths[token]
            source = tokens.residuals.ctypes.data + token * width
            simd.copy(source, copies.residuals.ctypes.data + place * width, width)
        return _Tile(
            np.int64(copies.residuals.ctypes.data), np.int64(copies.centroid_ids.ctypes.data),
            np.int64(copies.lengths.ctypes.data), count,
        )  # fmt: skip

    return run


@inlined
def _in_place(tokens: Any, at: Any, stop: Any) -> Any:
    """Return the tile of the tokens at [at, stop), where they lie: four at least, and 64 bytes more behind the last."""
    width, id_bytes = tokens.residuals.shape[1], tokens.centroid_ids.itemsize
    return _Tile(
        tokens.residuals.ctypes.data + at * width, tokens.centroid_ids.ctypes.data + at * id_bytes,
        tokens.lengths.ctypes.data + at, min(TILE, stop - at),
    )  # fmt: skip


@cache
def _document(dim: int, bits: int, id_bytes: int, keep: int, way: int) -> Callable[..., None]:
    """Return code that raises the best scores of a block to those of the tokens at [start, stop), or listed there."""
    width = dim * bits // 8
    score, copied = _tile_scores(dim, bits, id_bytes, keep, way), _copied(width)

    @inlined
    def run(tokens: Any, listed: Any, start: Any, stop: Any, block: Any, room: Any, copies: Any) -> None:
        safe = tokens.residuals.size - 64  # unpacking reads 64 bytes, and must not pass the end of a mapped file
        in_place, at = len(listed) == 0 and stop - start >= ROWS and stop * width < safe, start
        while at < stop:
            if in_place:
                at = min(at, stop - ROWS)  # some are seen twice: a maximum does not mind
                tile = _in_place(tokens, at, stop)
            else:
                tile = copied(tokens, listed, at, stop, copies)
            score(tile, block, room, room.kept + (at - start) * 4 * LANES * keep)
            at += tile.size

    return run


@inlined
def _prefetch(tokens: Any, start: Any, stop: Any) -> None:
    """Ask for tokens that lie side by side."""
    width, id_bytes = tokens.residuals.shape[1], tokens.centroid_ids.itemsize
    simd.prefetch(tokens.centroid_ids.ctypes.data + start * id_bytes, (stop - start) * id_bytes)
    simd.prefetch(tokens.lengths.ctypes.data + start, stop - start)
    simd.prefetch(tokens.residuals.ctypes.data + start * width, (stop - start) * width)


@inlined
def _prefetch_listed(tokens: Any, listed: Any, start: Any, stop: Any) -> None:
    width = tokens.residuals.shape[1]
    for place in range(start, stop):
        simd.prefetch(tokens.residuals.ctypes.data + listed[place] * width, width)


@cache
def _explicit(dim: int, bits: int, id_bytes: int, keep: int, way: int) -> Callable[..., None]:
    """Return the vector code for a shape; with `keep` = 1, it says which tokens are close to the best too.

    way  how dot products are made: FUSED, TILES or LOOPS
    """
    width, score_document = dim * bits // 8, _document(dim, bits, id_bytes, keep, way)

    @compiled
    def run(tables: Any, tokens: Any, scores: Any, rows: Any, listed: Any, out: Any, close: Any) -> None:
        best, floors = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
        kept = np.empty(((longest(tokens, rows) if keep else 0) + TILE, LANES), np.float32)
        copies = _Copies(
            np.empty(TILE * width + 64, np.uint8), np.empty(TILE, tokens.centroid_ids.dtype), np.empty(TILE, np.uint8)
        )
        unpacked, products = np.zeros(TILE * dim + 64, np.uint8), np.empty((TILE, LANES), np.int32)
        room = _TileAddresses(
            tables.levels.ctypes.data, tables.inverse_lengths.ctypes.data, tables.units.ctypes.data, best.ctypes.data,
            kept.ctypes.data, unpacked.ctypes.data, products.ctypes.data,
        )  # fmt: skip
        some, num_blocks = len(listed.starts) > 0, len(tables.query)
        if way == TILES:
            amx.begin(tables.tiles.ctypes.data)
        for number in range(num_blocks):
            lanes_at = tables.query.ctypes.data + number * tables.query.strides[0]
            scores_at = scores.ctypes.data + number * scores.shape[1] * 2 * LANES
            block = _Block(lanes_at, scores_at, scores.shape[1] - 1)
            if way == TILES:
                amx.hold(lanes_at, dim)
            for i in range(len(rows)):
                best[:] = LOWEST
                start, stop = tokens.starts[rows[i]], tokens.starts[rows[i] + 1]
                if some:
                    start, stop = listed.starts[i], listed.starts[i + 1]
                    if i + 1 < len(rows):
                        _prefetch_listed(tokens, listed.tokens, stop, listed.starts[i + 2])
                elif i + 1 < len(rows):
                    _prefetch(tokens, tokens.starts[rows[i + 1]], tokens.starts[rows[i + 1] + 1])
                if start == stop:
                    continue
                score_document(tokens, listed.tokens, start, stop, block, room, copies)
                score = simd_scores.total(best.ctypes.data)
                out[i] = score if number == 0 else out[i] + score
                if keep:
                    for lane in range(LANES):
                        floors[lane] = best[lane] - close.doubts[number, lane]
                    masks_at = close.masks.ctypes.data + 4 * (close.starts[i] * num_blocks + number)
                    simd_scores.close(kept.ctypes.data, stop - start, floors.ctypes.data, masks_at, 4 * num_blocks)
        if way == TILES:
            amx.end()
        # numba frees an array after its last use by name: until here they are used by their addresses in `room` alone
        kept[0, 0], unpacked[0], products[0, 0] = 0, 0, 0

    return run


def quantized_maxsim(
    segment: Segment, context: SearchContext, rows_C: NDArray[np.int32], listed: Listed | None = None,
    close: Close | None = None,
) -> Floats:  # fmt: skip
    """Return what `reference.quantized_maxsim` returns.

    close  if given, takes what `reference.close_tokens` returns

    Raises  ValueError for the close ones of listed tokens
    """
    if listed is not None and close is not None:
        raise ValueError("the close tokens are those of whole documents, not of listed ones")
    codec, run = context.codec, portable_maxsim
    lanes: Lanes = context.query.lanes
    if explicit_for(codec):
        lanes = grouped(context.query.lanes, plane_order(codec.dim, codec.bits))
        id_bytes, keep = segment.centroid_ids.itemsize, int(close is not None)
        way = TILES if tiled(codec.dim) else FUSED if form().width == 16 else LOOPS
        run = _explicit(codec.dim, codec.bits, id_bytes, keep, way)
    out = np.full(len(rows_C), -np.inf, np.float32)
    tables = KernelTables.of(codec, context.query, lanes)
    run(tables, segment.tokens, context.scores.fine, rows_C, listed or NOT_LISTED, out, close or NO_CLOSE_TOKENS)
    return out


@compiled
def _tokens_in(all_tokens: Any, rows: Any, wanted: Any, tokens: Any, ends: Any) -> None:
    found = 0
    for i in range(len(rows)):
        for token in range(all_tokens.starts[rows[i]], all_tokens.starts[rows[i] + 1]):
            if wanted[min(np.int64(all_tokens.centroid_ids[token]), len(wanted) - 1)]:
                if len(tokens):
                    tokens[found] = token
                found += 1
        ends[i + 1] = found


def tokens_in(segment: Segment, wanted_K: NDArray[np.bool_], rows_C: NDArray[np.int32]) -> Listed:
    """List the tokens that `reference.tokens_in` returns."""
    starts = np.zeros(len(rows_C) + 1, np.int64)
    _tokens_in(segment.tokens, rows_C, wanted_K, np.empty(0, np.int64), starts)
    tokens = np.empty(starts[-1], np.int64)
    _tokens_in(segment.tokens, rows_C, wanted_K, tokens, starts)
    return Listed(tokens, starts)
