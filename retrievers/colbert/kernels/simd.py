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

LANES = 32  # query tokens that are scored at once
ROWS = 4  # document tokens, or centroids, that share one reading of the query
NEEDS = ("avx512f", "avx512bw", "avx512vl", "avx512vnni")

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
V64I8, V16I16, V32I16, V16I32, V16F32 = (
    ir.VectorType(t, n) for t, n in ((I8, 64), (I16, 16), (I16, 32), (I32, 16), (F32, 16))
)
HALVES = (0, 1)

Builder = Any  # llvmlite has no types
Value = Any


@cache
def usable() -> bool:
    """Return whether this processor has the instructions."""
    features = binding.get_host_cpu_features()
    return all(features.get(need, False) for need in NEEDS)


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


def _larger(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _dots(b: Builder, rows: list[Value], groups: list[int], query: Value, sums: list[list[Value]]) -> list[list[Value]]:
    """Add to `sums[row][half]` the dot products of unsigned rows with all lanes of the query.

    rows    addresses; four bytes at `groups[g]` meet the query's group g
    query   address of (H / 4, 32, 4) signed bytes
    """
    kind = ir.FunctionType(V16I32, [V16I32] * 3)
    dot = b.module.declare_intrinsic("llvm.x86.avx512.vpdpbusd.512", (), kind)
    sums = [list(row) for row in sums]
    for group, offset in enumerate(groups):
        lanes = [_load(b, query, V16I32, (group * 2 + half) * 64) for half in HALVES]
        for row, address in enumerate(rows):
            four = _spread(b, _load(b, address, I32, offset), V16I32)
            for half in HALVES:
                sums[row][half] = b.call(dot, [sums[row][half], four, lanes[half]])
    return sums


def _literals(*args: Any) -> list[int] | None:
    if all(isinstance(a, types.IntegerLiteral) for a in args):
        return [a.literal_value for a in args]
    return None


@intrinsic(prefer_literal=True)
def unpack(typingctx: Any, packed: Any, count: Any, table: Any, out: Any, bits: Any, stride: Any) -> Any:
    """Turn packed codes into levels: `count` bytes become 8 / bits planes of bytes, `stride` bytes apart.

    packed  address of bytes, the first code in the high bits; 64 are read at a time
    table   address of 64 bytes: 16 levels, four times over
    """
    if (known := _literals(bits, stride)) is None:
        return None
    num_bits, plane = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        packed_at, count_v, table_at, out_at = args[:4]
        shuffle = b.module.declare_intrinsic("llvm.x86.avx512.pshuf.b.512", (), ir.FunctionType(V64I8, [V64I8] * 2))
        levels = _load(b, table_at, V64I8)
        mask = ir.Constant(V64I8, [2**num_bits - 1] * 64)
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), count_v, ir.Constant(I64, 64), I64) as (i, _):
            codes = b.bitcast(_load(b, packed_at, V64I8, i), V32I16)
            for field in range(8 // num_bits):
                shift = 8 - num_bits * (field + 1)
                moved = b.lshr(codes, ir.Constant(V32I16, [shift] * 32)) if shift else codes
                code = b.and_(b.bitcast(moved, V64I8), mask)
                _store(b, b.call(shuffle, [levels, code]), out_at, b.add(i, ir.Constant(I64, field * plane)))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp, bits, stride), codegen


@intrinsic(prefer_literal=True)
def tokens_scores(
    typingctx: Any, levels: Any, query: Any, cells: Any, start: Any, scores: Any, lengths: Any, table: Any, unit: Any,
    best: Any, number: Any, last: Any, width: Any, planes: Any, stride: Any, who: Any,
) -> Any:  # fmt: skip
    """Raise `best` to the scores of four document tokens: (cell score + levels . query) * inverse length.

    levels  address of the first token's bytes in the first plane; tokens are `width` apart, planes `stride`
    query   address of (H / 4, 32, 4) signed bytes, in the order of the planes
    cells   array; the four tokens' cells stand at `start`
    scores  address of (K, 32) int16: centroids times query
    lengths address of the four tokens' bytes; table  address of 256 float32: what they stand for
    unit    address of 2 float32: the worth of a step of `scores`, and of a step of `levels . query`
    best    address of 32 float32; with who = 1, 32 int32 follow that say whose score it is, counted from `number`
    last    the largest cell number there is
    """
    if (known := _literals(width, planes, stride, who)) is None or not isinstance(cells, types.Array):
        return None
    row_bytes, num_planes, plane, with_who = known
    groups = [field * plane + 4 * group for field in range(num_planes) for group in range(row_bytes // 4)]

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        levels_at, query_at, cells_v, start_v, scores_at, lengths_at, table_at, unit_at, best_at, first, last = args[
            :11
        ]
        array = context.make_array(signature.args[2])(context, b, cells_v)
        zero = ir.Constant(V16I32, [0] * 16)
        rows = [b.add(levels_at, ir.Constant(I64, r * row_bytes)) for r in range(ROWS)]
        sums = _dots(b, rows, groups, query_at, [[zero, zero] for _ in range(ROWS)])
        units = [_spread(b, _load(b, unit_at, F32, 4 * i), V16F32) for i in range(2)]
        tops = [_load(b, best_at, V16F32, 64 * half) for half in HALVES]
        whose = [_load(b, best_at, V16I32, 128 + 64 * half) for half in HALVES] if with_who else []
        for r in range(ROWS):
            cell = _cell(b, b.load(b.gep(array.data, [b.add(start_v, ir.Constant(I64, r))])), last)
            length = _index(b, _load(b, lengths_at, I8, r))
            scale = _spread(b, _load(b, table_at, F32, b.mul(length, ir.Constant(I64, 4))), V16F32)
            for half in HALVES:
                offset = b.add(b.mul(cell, ir.Constant(I64, 2 * LANES)), ir.Constant(I64, 32 * half))
                near = b.sitofp(b.sext(_load(b, scores_at, V16I16, offset), V16I32), V16F32)
                rest = b.fmul(b.sitofp(sums[r][half], V16F32), units[1])
                score = b.fmul(b.fadd(b.fmul(near, units[0]), rest), scale)
                above = b.fcmp_ordered(">", score, tops[half])
                tops[half] = b.select(above, score, tops[half])
                if with_who:
                    token = _spread(b, b.trunc(b.add(first, ir.Constant(I64, r)), I32), V16I32)
                    whose[half] = b.select(above, token, whose[half])
        for half in HALVES:
            _store(b, tops[half], best_at, 64 * half)
            if with_who:
                _store(b, whose[half], best_at, 128 + 64 * half)
        return context.get_dummy_value()

    args = [types.intp, types.intp, cells, types.intp, *[types.intp] * 7, width, planes, stride, who]
    return types.void(*args), codegen


@intrinsic(prefer_literal=True)
def centroids_scores(
    typingctx: Any, centroids: Any, query: Any, start: Any, unit: Any, out: Any, floors: Any, dim: Any
) -> Any:
    """Write the scores of four centroids with all lanes; return a bit for each that passes a floor.

    centroids  address of (4, H) unsigned bytes, the centroid shifted by 128
    start      address of 32 int32 that take the shift out again
    unit       address of a float32: int16 steps for a step of the dot product
    out        address of (4, 32) int16; floors  address of 32 int16
    """
    if (known := _literals(dim)) is None:
        return None
    (num_dims,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        centroids_at, query_at, start_at, unit_at, out_at, floors_at = args[:6]
        rows = [b.add(centroids_at, ir.Constant(I64, r * num_dims)) for r in range(ROWS)]
        first = [_load(b, start_at, V16I32, 64 * half) for half in HALVES]
        sums = _dots(b, rows, list(range(0, num_dims, 4)), query_at, [list(first) for _ in range(ROWS)])
        step = _spread(b, _load(b, unit_at, F32), V16F32)
        floor = [_load(b, floors_at, V16I16, 32 * half) for half in HALVES]
        passed = ir.Constant(I64, 0)
        rint = b.module.declare_intrinsic("llvm.rint.v16f32", (), ir.FunctionType(V16F32, [V16F32]))
        limits = [ir.Constant(V16F32, [limit] * 16) for limit in (32767.0, -32768.0)]
        for r in range(ROWS):
            any_above = ir.Constant(I16, 0)
            for half in HALVES:
                scaled = b.call(rint, [b.fmul(b.sitofp(sums[r][half], V16F32), step)])
                for limit, beyond in zip(limits, (">", "<"), strict=True):
                    scaled = b.select(b.fcmp_ordered(beyond, scaled, limit), limit, scaled)
                score = b.trunc(b.fptosi(scaled, V16I32), V16I16)
                _store(b, score, out_at, 64 * r + 32 * half)
                any_above = b.or_(any_above, b.bitcast(b.icmp_signed(">", score, floor[half]), I16))
            above = b.zext(b.icmp_unsigned("!=", any_above, ir.Constant(I16, 0)), I64)
            passed = b.or_(passed, b.shl(above, ir.Constant(I64, r)))
        return passed

    return types.int64(*[types.intp] * 6, dim), codegen


@intrinsic
def cells_maxsim(typingctx: Any, cells: Any, start: Any, stop: Any, scores: Any, last: Any) -> Any:
    """Return the sum over lanes of the best of a document's cell scores: centroid interaction, in int16 steps.

    cells  array; the document's tokens are [start, stop), at least one; scores  address of (K, 32) int16
    last   the largest cell number there is
    """
    if not isinstance(cells, types.Array):
        return None

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        cells_v, start_v, stop_v, scores_at, last = args
        array = context.make_array(signature.args[0])(context, b, cells_v)
        best = cgutils.alloca_once_value(b, ir.Constant(V32I16, [-(2**15)] * 32))
        with cgutils.for_range_slice(b, start_v, stop_v, ir.Constant(I64, 1), I64) as (i, _):
            cell = _cell(b, b.load(b.gep(array.data, [i])), last)
            score = _load(b, scores_at, V32I16, b.mul(cell, ir.Constant(I64, 2 * LANES)))
            b.store(_larger(b, score, b.load(best)), best)
        top = b.load(best)
        wide = b.sext(top, ir.VectorType(I32, LANES))
        add = b.module.declare_intrinsic("llvm.vector.reduce.add.v32i32", (), ir.FunctionType(I32, [wide.type]))
        return b.sext(b.call(add, [wide]), I64)

    return types.int64(cells, *[types.intp] * 4), codegen


@intrinsic(prefer_literal=True)
def nearest(typingctx: Any, points: Any, centroids: Any, count: Any, best: Any, cell: Any, dim: Any) -> Any:
    """Raise `best` to the largest dot product of 32 points with centroids, `cell` to whose it is; the first of equals.

    points     address of (H / 4, 32, 4) signed bytes; centroids  address of (count, H) unsigned ones, count % 4 == 0
    best, cell addresses of 32 int32
    """
    if (known := _literals(dim)) is None:
        return None
    (num_dims,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        points_at, centroids_at, count_v, best_at, cell_at = args[:5]
        zero = ir.Constant(V16I32, [0] * 16)
        tops = [cgutils.alloca_once_value(b, _load(b, best_at, V16I32, 64 * half)) for half in HALVES]
        ids = [cgutils.alloca_once_value(b, _load(b, cell_at, V16I32, 64 * half)) for half in HALVES]
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), count_v, ir.Constant(I64, ROWS), I64) as (i, _):
            base = b.add(centroids_at, b.mul(i, ir.Constant(I64, num_dims)))
            rows = [b.add(base, ir.Constant(I64, r * num_dims)) for r in range(ROWS)]
            sums = _dots(b, rows, list(range(0, num_dims, 4)), points_at, [[zero, zero] for _ in range(ROWS)])
            for r in range(ROWS):
                number = _spread(b, b.trunc(b.add(i, ir.Constant(I64, r)), I32), V16I32)
                for half in HALVES:
                    above = b.icmp_signed(">", sums[r][half], b.load(tops[half]))
                    b.store(b.select(above, sums[r][half], b.load(tops[half])), tops[half])
                    b.store(b.select(above, number, b.load(ids[half])), ids[half])
        for half in HALVES:
            _store(b, b.load(tops[half]), best_at, 64 * half)
            _store(b, b.load(ids[half]), cell_at, 64 * half)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5, dim), codegen
