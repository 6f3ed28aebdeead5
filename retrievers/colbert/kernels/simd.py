"""The inner steps of `cpu` as vector code: 512-bit integer dot products (AVX-512 VNNI), written as LLVM by numba.

No compiler is needed where this runs. Everything is integers until a token's
score is known: unsigned bytes (levels of the residual, or a centroid shifted
by 128) times signed bytes (a query, 32 tokens side by side). `usable()` says
whether this processor has the instructions; where it has not, `cpu` takes its
portable loops, which are these functions' twins.

Legend  H dimensions  P bytes of a packed residual  lanes: 32 query tokens, two registers of 16
"""

from functools import cache
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrievers.colbert.codec import COARSE, LANES

ROWS = 4  # document tokens, or centroids, that share one reading of the query
NEEDS = ("avx512f", "avx512bw", "avx512vl", "avx512vnni")

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
V64I8, V32I8, V16I8, V16I16, V32I16, V16I32, V16F32 = (
    ir.VectorType(t, n) for t, n in ((I8, 64), (I8, 32), (I8, 16), (I16, 16), (I16, 32), (I32, 16), (F32, 16))
)
HALVES = (0, 1)
VNNI = ("llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(V16I32, [V16I32] * 3))  # four products of bytes a lane

Builder = Any  # llvmlite has no types
Value = Any


@cache
def usable() -> bool:
    """Return whether this processor has the instructions."""
    return all(features().get(need, False) for need in NEEDS)


@cache
def features() -> dict[str, bool]:
    """Return what this processor can do; nothing, where LLVM cannot tell."""
    try:
        return dict(binding.get_host_cpu_features())
    except RuntimeError:
        return {}


def _at(b: Builder, address: Value, vector: Any, offset: Any = 0) -> Value:
    """Return a pointer to `vector`, `offset` bytes behind an address (an integer)."""
    offset = offset if isinstance(offset, ir.Value) else ir.Constant(I64, offset)
    return b.inttoptr(b.add(address, offset), vector.as_pointer())


def _load(b: Builder, address: Value, vector: Any, offset: Any = 0) -> Value:
    value = b.load(_at(b, address, vector, offset))
    value.align = 1
    return value


def _store(b: Builder, value: Value, address: Value, offset: Any = 0) -> None:
    b.store(value, _at(b, address, value.type, offset)).align = 1


def _spread(b: Builder, scalar: Value, vector: Any) -> Value:
    """Return a vector that has the scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count))


def _index(b: Builder, number: Value) -> Value:
    """Return an unsigned number as 64 bits."""
    return number if number.type == I64 else b.zext(number, I64)


def _cell(b: Builder, number: Value, last: Value) -> Value:
    """Return a cell's number as 64 bits; a damaged file reads the last cell, and not somebody else's memory."""
    number = _index(b, number)
    return b.select(b.icmp_unsigned(">", number, last), last, number)


def _fetch(b: Builder, address: Value, offset: Value, near: int) -> None:
    """Ask for a line of memory; `near` is 3 for the first cache, 2 for the second."""
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    fetch = b.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
    b.call(fetch, [_at(b, address, I8, offset), *(ir.Constant(I32, number) for number in (0, near, 1))])


def _larger(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _dots(b: Builder, rows: list[Value], groups: list[int], query: Value, sums: list[list[Value]]) -> list[list[Value]]:
    """Add to `sums[row][half]` the dot products of unsigned rows with all lanes of the query.

    rows    addresses; four bytes at `groups[g]` meet the query's group g
    query   address of (H / 4, 32, 4) signed bytes
    """
    product = b.module.declare_intrinsic(*VNNI)
    sums = [list(row) for row in sums]
    for group, offset in enumerate(groups):
        lanes = [_load(b, query, V16I32, (group * 2 + half) * 64) for half in HALVES]
        for row, address in enumerate(rows):
            four = _spread(b, _load(b, address, I32, offset), V16I32)
            for half in HALVES:
                sums[row][half] = b.call(product, [sums[row][half], four, lanes[half]])
    return sums


def _literals(*args: Any) -> list[int] | None:
    if all(isinstance(a, types.IntegerLiteral) for a in args):
        return [a.literal_value for a in args]
    return None


@intrinsic(prefer_literal=True)
def copy(typingctx: Any, source: Any, target: Any, size: Any) -> Any:
    """Copy `size` bytes from an address to an address."""
    if (known := _literals(size)) is None:
        return None
    (num_bytes,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        for start in range(0, num_bytes, 64):
            piece = ir.VectorType(I8, min(64, num_bytes - start))
            _store(b, _load(b, args[0], piece, start), args[1], start)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, size), codegen


@intrinsic
def total(typingctx: Any, numbers: Any) -> Any:
    """Return the sum of the 32 float32 at an address, added up pair by pair."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        low, high = (_load(b, args[0], V16F32, 64 * half) for half in HALVES)
        some, width = b.fadd(low, high), 16
        while width > 1:
            width //= 2
            halves = (ir.Constant(ir.VectorType(I32, width), list(range(at, at + width))) for at in (0, width))
            some = b.fadd(*(b.shuffle_vector(some, ir.Constant(some.type, ir.Undefined), half) for half in halves))
        return b.extract_element(some, ir.Constant(I32, 0))

    return types.float32(types.intp), codegen


@intrinsic(prefer_literal=True)
def unpack(typingctx: Any, packed: Any, count: Any, table: Any, out: Any, bits: Any, width: Any) -> Any:
    """Turn packed residuals into rows of levels: the first codes of all bytes, then the second ones, ...

    packed  address of `count` bytes, `width` for each token, the first code in the high bits; 64 are read at a time
    table   address of 64 bytes: 16 levels, four times over
    out     address of rows of width * 8 / bits bytes
    """
    if (known := _literals(bits, width)) is None:
        return None
    num_bits, row_bytes = known
    fields = 8 // num_bits
    together = 64 // row_bytes if 64 % row_bytes == 0 else 1  # tokens whose bytes a register holds
    piece = row_bytes if together > 1 else min(64, row_bytes)
    # where in a token's bytes a register reads: a last one that would pass their end starts earlier
    offsets = [0] if together > 1 else sorted({min(at, row_bytes - piece) for at in range(0, row_bytes, piece)})

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        packed_at, count_v, table_at, out_at = args[:4]
        shuffle = b.module.declare_intrinsic("llvm.x86.avx512.pshuf.b.512", (), ir.FunctionType(V64I8, [V64I8] * 2))
        levels = _load(b, table_at, V64I8)
        mask = ir.Constant(V64I8, [2**num_bits - 1] * 64)
        step = ir.Constant(I64, together * row_bytes)
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), count_v, step, I64) as (i, _):
            row_at = b.add(out_at, b.mul(i, ir.Constant(I64, fields)))
            for start in offsets:
                codes = b.bitcast(_load(b, packed_at, V64I8, b.add(i, ir.Constant(I64, start))), V32I16)
                for field in range(fields):
                    shift = 8 - num_bits * (field + 1)
                    moved = b.lshr(codes, ir.Constant(V32I16, [shift] * 32)) if shift else codes
                    found = b.call(shuffle, [levels, b.and_(b.bitcast(moved, V64I8), mask)])
                    for token in range(together):
                        bytes_of = [token * row_bytes + byte for byte in range(piece)]
                        lanes = ir.Constant(ir.VectorType(I32, piece), bytes_of)
                        part = b.shuffle_vector(found, ir.Constant(V64I8, ir.Undefined), lanes)
                        offset = token * row_bytes * fields + field * row_bytes + start
                        _store(b, part, row_at, offset)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp, bits, width), codegen


def _raise(
    b: Builder, args: dict[str, Value], cell_bytes: int, row: Value, sums: list[Value], tops: list[Value],
    whose: list[Value],
) -> tuple[list[Value], list[Value]]:  # fmt: skip
    """Return the best scores, and whose they are, after the token `row`: its cell score and its sums."""
    number = _load(b, args["cells"], ir.IntType(8 * cell_bytes), b.mul(row, ir.Constant(I64, cell_bytes)))
    cell = _cell(b, number, args["last"])
    length = _index(b, _load(b, args["lengths"], I8, row))
    scale = _spread(b, _load(b, args["table"], F32, b.mul(length, ir.Constant(I64, 4))), V16F32)
    near_unit, rest_unit = (_spread(b, _load(b, args["unit"], F32, 4 * i), V16F32) for i in range(2))
    tops, whose = list(tops), list(whose)
    for half in HALVES:
        offset = b.add(b.mul(cell, ir.Constant(I64, 2 * LANES)), ir.Constant(I64, 32 * half))
        near = b.sitofp(b.sext(_load(b, args["scores"], V16I16, offset), V16I32), V16F32)
        rest = b.fmul(b.sitofp(sums[half], V16F32), rest_unit)
        score = b.fmul(b.fadd(b.fmul(near, near_unit), rest), scale)
        above = b.fcmp_ordered(">", score, tops[half])
        tops[half] = b.select(above, score, tops[half])
        if whose:
            token = _spread(b, b.trunc(b.add(args["number"], row), I32), V16I32)
            whose[half] = b.select(above, token, whose[half])
    return tops, whose


@intrinsic(prefer_literal=True)
def tokens_scores(
    typingctx: Any, levels: Any, query: Any, cells: Any, scores: Any, lengths: Any, table: Any, unit: Any, best: Any,
    number: Any, last: Any, dim: Any, cell_bytes: Any, who: Any,
) -> Any:  # fmt: skip
    """Raise `best` to the scores of four document tokens: (cell score + levels . query) * inverse length.

    levels  address of (4, H) unsigned bytes
    query   address of (H / 4, 32, 4) signed bytes, in the order of the levels
    cells   address of the four tokens' cells, of `cell_bytes` each
    scores  address of (K, 32) int16: centroids times query
    lengths address of the four tokens' bytes; table  address of 256 float32: what they stand for
    unit    address of 2 float32: the worth of a step of `scores`, and of a step of `levels . query`
    best    address of 32 float32; with who = 1, 32 int32 follow that say whose score it is, counted from `number`
    last    the largest cell number there is
    """
    if (known := _literals(dim, cell_bytes, who)) is None:
        return None
    num_dims, num_bytes, with_who = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        names = ("levels", "query", "cells", "scores", "lengths", "table", "unit", "best", "number", "last")
        given = dict(zip(names, args, strict=False))
        zero = ir.Constant(V16I32, [0] * 16)
        rows = [b.add(given["levels"], ir.Constant(I64, r * num_dims)) for r in range(ROWS)]
        sums = _dots(b, rows, list(range(0, num_dims, 4)), given["query"], [[zero, zero] for _ in range(ROWS)])
        tops = [_load(b, given["best"], V16F32, 64 * half) for half in HALVES]
        whose = [_load(b, given["best"], V16I32, 128 + 64 * half) for half in HALVES] if with_who else []
        for r in range(ROWS):
            tops, whose = _raise(b, given, num_bytes, ir.Constant(I64, r), sums[r], tops, whose)
        for half in HALVES:
            _store(b, tops[half], given["best"], 64 * half)
            if with_who:
                _store(b, whose[half], given["best"], 128 + 64 * half)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 10, dim, cell_bytes, who), codegen


@intrinsic(prefer_literal=True)
def take_best(
    typingctx: Any, dots: Any, count: Any, cells: Any, scores: Any, lengths: Any, table: Any, unit: Any, best: Any,
    number: Any, last: Any, cell_bytes: Any, who: Any,
) -> Any:  # fmt: skip
    """Do the second half of `tokens_scores` for tokens whose dot products are there: (count, 32) int32 at `dots`."""
    if (known := _literals(cell_bytes, who)) is None:
        return None
    num_bytes, with_who = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        names = ("dots", "count", "cells", "scores", "lengths", "table", "unit", "best", "number", "last")
        given = dict(zip(names, args, strict=False))
        tops = [cgutils.alloca_once_value(b, _load(b, given["best"], V16F32, 64 * half)) for half in HALVES]
        whose = [cgutils.alloca_once_value(b, _load(b, given["best"], V16I32, 128 + 64 * half)) for half in HALVES]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        with cgutils.for_range_slice(b, zero, given["count"], one, I64) as (row, _):
            at = b.mul(row, ir.Constant(I64, 4 * LANES))
            sums = [_load(b, given["dots"], V16I32, b.add(at, ir.Constant(I64, 64 * half))) for half in HALVES]
            now_tops, now_whose = [b.load(top) for top in tops], [b.load(one) for one in whose] if with_who else []
            now_tops, now_whose = _raise(b, given, num_bytes, row, sums, now_tops, now_whose)
            for kept, now in zip([*tops, *(whose if with_who else [])], [*now_tops, *now_whose], strict=True):
                b.store(now, kept)
        for half in HALVES:
            _store(b, b.load(tops[half]), given["best"], 64 * half)
            if with_who:
                _store(b, b.load(whose[half]), given["best"], 128 + 64 * half)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 10, cell_bytes, who), codegen


@intrinsic(prefer_literal=True)
def dots(typingctx: Any, rows: Any, query: Any, out: Any, dim: Any) -> Any:
    """Write the dot products of four rows with all lanes of a query.

    rows   address of (4, H) unsigned bytes; query  address of (H / 4, 32, 4) signed bytes
    out    address of (4, 32) int32
    """
    if (known := _literals(dim)) is None:
        return None
    (num_dims,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        rows_at, query_at, out_at = args[:3]
        zero = ir.Constant(V16I32, [0] * 16)
        four = [b.add(rows_at, ir.Constant(I64, r * num_dims)) for r in range(ROWS)]
        sums = _dots(b, four, list(range(0, num_dims, 4)), query_at, [[zero, zero] for _ in range(ROWS)])
        for r in range(ROWS):
            for half in HALVES:
                _store(b, sums[r][half], out_at, 128 * r + 64 * half)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, dim), codegen


@intrinsic
def steps(typingctx: Any, dots: Any, count: Any, start: Any, unit: Any, out: Any, coarse: Any, floors: Any) -> Any:
    """Turn dot products of centroids with a query into cell scores; return a bit for each row that passes a floor.

    dots    address of (count, 32) int32; start  address of 32 int32 to add to them
    unit    address of a float32: int16 steps for a step of a dot product
    out     address of (count, 32) int16; coarse  address of (count, 32) int8; floors  address of 32 int16
    """

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        dots_at, count_v, start_at, unit_at, out_at, coarse_at, floors_at = args
        first = [_load(b, start_at, V16I32, 64 * half) for half in HALVES]
        step = _spread(b, _load(b, unit_at, F32), V16F32)
        floor = [_load(b, floors_at, V16I16, 32 * half) for half in HALVES]
        passed = cgutils.alloca_once_value(b, ir.Constant(I64, 0))
        rint = b.module.declare_intrinsic("llvm.rint.v16f32", (), ir.FunctionType(V16F32, [V16F32]))
        limits = [ir.Constant(V16F32, [limit] * 16) for limit in (32767.0, -32768.0)]
        byte_limits = [ir.Constant(V16I16, [limit] * 16) for limit in (127, -128)]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        with cgutils.for_range_slice(b, zero, count_v, one, I64) as (row, _):
            at, any_above = b.mul(row, ir.Constant(I64, 4 * LANES)), ir.Constant(I16, 0)
            for half in HALVES:
                dot = b.add(_load(b, dots_at, V16I32, b.add(at, ir.Constant(I64, 64 * half))), first[half])
                scaled = b.call(rint, [b.fmul(b.sitofp(dot, V16F32), step)])
                for limit, beyond in zip(limits, (">", "<"), strict=True):
                    scaled = b.select(b.fcmp_ordered(beyond, scaled, limit), limit, scaled)
                score = b.trunc(b.fptosi(scaled, V16I32), V16I16)
                _store(b, score, out_at, b.add(b.lshr(at, one), ir.Constant(I64, 32 * half)))
                byte = b.ashr(score, ir.Constant(V16I16, [COARSE] * 16))
                for limit, beyond in zip(byte_limits, (">", "<"), strict=True):
                    byte = b.select(b.icmp_signed(beyond, byte, limit), limit, byte)
                byte_at = b.add(b.lshr(at, ir.Constant(I64, 2)), ir.Constant(I64, 16 * half))
                _store(b, b.trunc(byte, V16I8), coarse_at, byte_at)
                any_above = b.or_(any_above, b.bitcast(b.icmp_signed(">", score, floor[half]), I16))
            above = b.zext(b.icmp_unsigned("!=", any_above, ir.Constant(I16, 0)), I64)
            b.store(b.or_(b.load(passed), b.shl(above, row)), passed)
        return b.load(passed)

    return types.int64(*[types.intp] * 7), codegen


@intrinsic
def larger(typingctx: Any, dots: Any, count: Any, first: Any, best: Any, cell: Any) -> Any:
    """Raise `best` to the largest of the dot products of 32 points, `cell` to whose it is; the first of equals.

    dots        address of (count, 32) int32, of centroids from number `first` on
    best, cell  addresses of 32 int32
    """

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        dots_at, count_v, first_v, best_at, cell_at = args
        tops = [cgutils.alloca_once_value(b, _load(b, best_at, V16I32, 64 * half)) for half in HALVES]
        ids = [cgutils.alloca_once_value(b, _load(b, cell_at, V16I32, 64 * half)) for half in HALVES]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        with cgutils.for_range_slice(b, zero, count_v, one, I64) as (row, _):
            number = _spread(b, b.trunc(b.add(first_v, row), I32), V16I32)
            at = b.mul(row, ir.Constant(I64, 4 * LANES))
            for half in HALVES:
                dot = _load(b, dots_at, V16I32, b.add(at, ir.Constant(I64, 64 * half)))
                above = b.icmp_signed(">", dot, b.load(tops[half]))
                b.store(b.select(above, dot, b.load(tops[half])), tops[half])
                b.store(b.select(above, number, b.load(ids[half])), ids[half])
        for half in HALVES:
            _store(b, b.load(tops[half]), best_at, 64 * half)
            _store(b, b.load(ids[half]), cell_at, 64 * half)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any, count: Any) -> Any:
    """Ask for `count` bytes to be near when they are read."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), args[1], ir.Constant(I64, 64), I64) as (i, _):
            _fetch(b, args[0], i, near=2)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def cells_maxsim(typingctx: Any, cells: Any, count: Any, scores: Any, last: Any, cell_bytes: Any) -> Any:
    """Return the sum over lanes of the best of a document's cell scores: centroid interaction, in int8 steps.

    cells   address of `count` cells, at least one, of `cell_bytes` each
    scores  address of (K, 32) int8
    last    the largest cell number there is
    """
    if (known := _literals(cell_bytes)) is None:
        return None
    (num_bytes,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        cells_at, count_v, scores_at, last = args[:4]
        best = cgutils.alloca_once_value(b, ir.Constant(V32I8, [-(2**7)] * LANES))
        with cgutils.for_range(b, count_v) as loop:
            score = _cell_score(b, cells_at, loop.index, num_bytes, last, scores_at)
            b.store(_larger(b, score, b.load(best)), best)
        wide = b.sext(b.load(best), ir.VectorType(I32, LANES))
        add = b.module.declare_intrinsic("llvm.vector.reduce.add.v32i32", (), ir.FunctionType(I32, [wide.type]))
        return b.sext(b.call(add, [wide]), I64)

    return types.int64(*[types.intp] * 4, cell_bytes), codegen


@intrinsic(prefer_literal=True)
def leading(
    typingctx: Any, cells: Any, count: Any, scores: Any, last: Any, out: Any, tops: Any, cell_bytes: Any
) -> Any:  # fmt: skip
    """Write for every lane which of a document's tokens has the best cell score, the first of equals.

    cells   address of `count` cells, from one to 65,536, of `cell_bytes` each
    scores  address of (K, 32) int8
    out     address of 32 uint16: places among the cells; tops  address of 32 int8: the scores there
    """
    if (known := _literals(cell_bytes)) is None:
        return None
    (num_bytes,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        cells_at, count_v, scores_at, last, out_at, tops_at = args[:6]
        first, one = _cell_score(b, cells_at, ir.Constant(I64, 0), num_bytes, last, scores_at), ir.Constant(I64, 1)
        larger = b.module.declare_intrinsic("llvm.smax.v32i8", (), ir.FunctionType(V32I8, [V32I8] * 2))
        best = cgutils.alloca_once_value(b, first)
        whose, place = (cgutils.alloca_once_value(b, ir.Constant(V32I16, [0] * LANES)) for _ in range(2))
        with cgutils.for_range_slice(b, one, count_v, one, I64) as (row, _):
            score, top = _cell_score(b, cells_at, row, num_bytes, last, scores_at), b.load(best)
            b.store(b.add(b.load(place), ir.Constant(V32I16, [1] * LANES)), place)
            above = b.icmp_signed(">", score, top)
            b.store(b.select(above, b.load(place), b.load(whose)), whose)
            b.store(b.call(larger, [score, top]), best)  # said so, or it waits for the comparison
        _store(b, b.load(whose), out_at)
        _store(b, b.load(best), tops_at)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6, cell_bytes), codegen


def _cell_score(b: Builder, cells: Value, row: Value, cell_bytes: int, last: Value, scores: Value) -> Value:
    """Return the coarse scores of a token's cell with all lanes."""
    number = _load(b, cells, ir.IntType(8 * cell_bytes), b.mul(row, ir.Constant(I64, cell_bytes)))
    return _load(b, scores, V32I8, b.mul(_cell(b, number, last), ir.Constant(I64, LANES)))


@intrinsic(prefer_literal=True)
def dot(typingctx: Any, levels: Any, lane: Any, dim: Any) -> Any:
    """Return the dot product of `dim` unsigned bytes and as many signed ones, at two addresses."""
    if (known := _literals(dim)) is None:
        return None
    (num_dims,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        product = b.module.declare_intrinsic(*VNNI)
        sums = ir.Constant(V16I32, [0] * 16)
        for start in range(0, num_dims, 64):
            size = min(64, num_dims - start)
            piece = ir.VectorType(I8, size)
            lanes = ir.Constant(ir.VectorType(I32, 64), [min(byte, size) for byte in range(64)])  # then zeros
            both = (_load(b, address, piece, start) for address in args[:2])
            filled = (b.shuffle_vector(some, ir.Constant(piece, [0] * size), lanes) for some in both)
            sums = b.call(product, [sums, *(b.bitcast(some, V16I32) for some in filled)])
        add = b.module.declare_intrinsic("llvm.vector.reduce.add.v16i32", (), ir.FunctionType(I32, [V16I32]))
        return b.call(add, [sums])

    return types.int32(types.intp, types.intp, dim), codegen
