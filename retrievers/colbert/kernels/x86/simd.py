"""The inner steps of `cpu` as vector code: 512-bit integer dot products (AVX-512 VNNI), written as LLVM by numba.

No compiler is needed where this runs. All is integers until a token's score is
known, or until it is decoded: unsigned bytes (levels of the residual, or a centroid shifted
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

from retrievers.colbert.kernels.arrays import LANES

ROWS = 4  # document tokens, or centroids, at the least, that share one reading of the query
MANY = 8  # better: four rows have eight sums at work, and the instruction takes ten at a time to be busy
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


def load(b: Builder, address: Value, vector: Any, offset: Any = 0) -> Value:
    """Return what stands `offset` bytes behind an address, wherever that is."""
    value = b.load(_at(b, address, vector, offset))
    value.align = 1
    return value


def store(b: Builder, value: Value, address: Value, offset: Any = 0) -> None:
    """Write a value `offset` bytes behind an address."""
    b.store(value, _at(b, address, value.type, offset)).align = 1


def spread(b: Builder, scalar: Value, vector: Any) -> Value:
    """Return a vector that has the scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count))


def _index(b: Builder, number: Value) -> Value:
    """Return an unsigned number as 64 bits."""
    return number if number.type == I64 else b.zext(number, I64)


def clipped_id(b: Builder, number: Value, last: Value) -> Value:
    """Return a centroid's number as 64 bits; a damaged file reads the last centroid, and not somebody else's memory."""
    number = _index(b, number)
    return b.select(b.icmp_unsigned(">", number, last), last, number)


def larger(b: Builder, x: Value, y: Value) -> Value:
    """Return the larger numbers of two vectors of signed integers."""
    name = f"llvm.smax.v{x.type.count}i{x.type.element.width}"
    return b.call(b.module.declare_intrinsic(name, (), ir.FunctionType(x.type, [x.type] * 2)), [x, y])


def _dots(b: Builder, rows: list[Value], groups: list[int], query: Value, sums: list[list[Value]]) -> list[list[Value]]:
    """Add to `sums[row][half]` the dot products of unsigned rows with all lanes of the query.

    rows    addresses; four bytes at `groups[g]` meet the query's group g
    query   address of (H / 4, 32, 4) signed bytes
    """
    product = b.module.declare_intrinsic(*VNNI)
    sums = [list(row) for row in sums]
    for group, offset in enumerate(groups):
        lanes = [load(b, query, V16I32, (group * 2 + half) * 64) for half in HALVES]
        for row, address in enumerate(rows):
            four = spread(b, load(b, address, I32, offset), V16I32)
            for half in HALVES:
                sums[row][half] = b.call(product, [sums[row][half], four, lanes[half]])
    return sums


def literals(*args: Any) -> list[int] | None:
    """Return the numbers that numba knows while it compiles; None if it does not know them all."""
    if all(isinstance(a, types.IntegerLiteral) for a in args):
        return [a.literal_value for a in args]
    return None


@intrinsic(prefer_literal=True)
def copy(typingctx: Any, source: Any, target: Any, size: Any) -> Any:
    """Copy `size` bytes from an address to an address."""
    if (known := literals(size)) is None:
        return None
    (num_bytes,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        for start in range(0, num_bytes, 64):
            piece = ir.VectorType(I8, min(64, num_bytes - start))
            store(b, load(b, args[0], piece, start), args[1], start)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, size), codegen


@intrinsic(prefer_literal=True)
def unpack(typingctx: Any, packed: Any, count: Any, table: Any, out: Any, bits: Any, width: Any) -> Any:
    """Turn packed residuals into rows of levels: the first codes of all bytes, then the second ones, ...

    packed  address of `count` bytes, `width` for each token, the first code in the high bits; 64 are read at a time
    table   address of 64 bytes: 16 levels, four times over
    out     address of rows of width * 8 / bits bytes
    """
    if (known := literals(bits, width)) is None:
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
        levels = load(b, table_at, V64I8)
        mask = ir.Constant(V64I8, [2**num_bits - 1] * 64)
        step = ir.Constant(I64, together * row_bytes)
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), count_v, step, I64) as (i, _):
            row_at = b.add(out_at, b.mul(i, ir.Constant(I64, fields)))
            for start in offsets:
                codes = b.bitcast(load(b, packed_at, V64I8, b.add(i, ir.Constant(I64, start))), V32I16)
                for field in range(fields):
                    shift = 8 - num_bits * (field + 1)
                    moved = b.lshr(codes, ir.Constant(V32I16, [shift] * 32)) if shift else codes
                    found = b.call(shuffle, [levels, b.and_(b.bitcast(moved, V64I8), mask)])
                    for token in range(together):
                        bytes_of = [token * row_bytes + byte for byte in range(piece)]
                        lanes = ir.Constant(ir.VectorType(I32, piece), bytes_of)
                        part = b.shuffle_vector(found, ir.Constant(V64I8, ir.Undefined), lanes)
                        offset = token * row_bytes * fields + field * row_bytes + start
                        store(b, part, row_at, offset)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp, bits, width), codegen


def _raise(
    b: Builder, args: dict[str, Value], id_bytes: int, row: Value, sums: list[Value], tops: list[Value], keep: int
) -> list[Value]:
    """Return the best scores after the token `row`: its centroid score and its sums; keep its own if asked to."""
    number = load(b, args["centroid_ids"], ir.IntType(8 * id_bytes), b.mul(row, ir.Constant(I64, id_bytes)))
    centroid_id = clipped_id(b, number, args["last"])
    length = _index(b, load(b, args["lengths"], I8, row))
    scale = spread(b, load(b, args["table"], F32, b.mul(length, ir.Constant(I64, 4))), V16F32)
    near_unit, rest_unit = (spread(b, load(b, args["unit"], F32, 4 * i), V16F32) for i in range(2))
    tops = list(tops)
    for half in HALVES:
        offset = b.add(b.mul(centroid_id, ir.Constant(I64, 2 * LANES)), ir.Constant(I64, 32 * half))
        near = b.sitofp(b.sext(load(b, args["scores"], V16I16, offset), V16I32), V16F32)
        rest = b.fmul(b.sitofp(sums[half], V16F32), rest_unit)
        score = b.fmul(b.fadd(b.fmul(near, near_unit), rest), scale)
        tops[half] = b.select(b.fcmp_ordered(">", score, tops[half]), score, tops[half])
        if keep:
            store(b, score, args["kept"], b.add(b.mul(row, ir.Constant(I64, 4 * LANES)), ir.Constant(I64, 64 * half)))
    return tops


@intrinsic(prefer_literal=True)
def tokens_scores(
    typingctx: Any, levels: Any, query: Any, centroid_ids: Any, scores: Any, lengths: Any, table: Any, unit: Any,
    best: Any, kept: Any, last: Any, count: Any, dim: Any, id_bytes: Any, keep: Any,
) -> Any:  # fmt: skip
    """Raise `best` to the scores of `count` document tokens: (centroid score + levels . query) * inverse length.

    levels  address of (count, H) unsigned bytes
    query   address of (H / 4, 32, 4) signed bytes, in the order of the levels
    centroid_ids  address of the tokens' centroids, of `id_bytes` each
    scores  address of (K, 32) int16: centroids times query
    lengths address of the tokens' bytes; table  address of 256 float32: what they stand for
    unit    address of 2 float32: the worth of a step of `scores`, and of a step of `levels . query`
    best    address of 32 float32; kept  with keep = 1, address of (count, 32) float32 for the scores of these tokens
    last    the largest centroid number there is
    """
    if (known := literals(count, dim, id_bytes, keep)) is None:
        return None
    num_rows, num_dims, num_bytes, to_keep = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        names = ("levels", "query", "centroid_ids", "scores", "lengths", "table", "unit", "best", "kept", "last")
        given = dict(zip(names, args, strict=False))
        zero = ir.Constant(V16I32, [0] * 16)
        rows = [b.add(given["levels"], ir.Constant(I64, r * num_dims)) for r in range(num_rows)]
        sums = _dots(b, rows, list(range(0, num_dims, 4)), given["query"], [[zero, zero] for _ in rows])
        tops = [load(b, given["best"], V16F32, 64 * half) for half in HALVES]
        for r in range(num_rows):
            tops = _raise(b, given, num_bytes, ir.Constant(I64, r), sums[r], tops, to_keep)
        for half in HALVES:
            store(b, tops[half], given["best"], 64 * half)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 10, count, dim, id_bytes, keep), codegen


@intrinsic(prefer_literal=True)
def take_best(
    typingctx: Any, dots: Any, count: Any, centroid_ids: Any, scores: Any, lengths: Any, table: Any, unit: Any,
    best: Any, kept: Any, last: Any, id_bytes: Any, keep: Any,
) -> Any:  # fmt: skip
    """Do the second half of `tokens_scores` for tokens whose dot products are there: (count, 32) int32 at `dots`."""
    if (known := literals(id_bytes, keep)) is None:
        return None
    num_bytes, to_keep = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        names = ("dots", "count", "centroid_ids", "scores", "lengths", "table", "unit", "best", "kept", "last")
        given = dict(zip(names, args, strict=False))
        tops = [cgutils.alloca_once_value(b, load(b, given["best"], V16F32, 64 * half)) for half in HALVES]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        with cgutils.for_range_slice(b, zero, given["count"], one, I64) as (row, _):
            at = b.mul(row, ir.Constant(I64, 4 * LANES))
            sums = [load(b, given["dots"], V16I32, b.add(at, ir.Constant(I64, 64 * half))) for half in HALVES]
            now = _raise(b, given, num_bytes, row, sums, [b.load(top) for top in tops], to_keep)
            for top, value in zip(tops, now, strict=True):
                b.store(value, top)
        for half in HALVES:
            store(b, b.load(tops[half]), given["best"], 64 * half)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 10, id_bytes, keep), codegen


@intrinsic(prefer_literal=True)
def dots(typingctx: Any, rows: Any, query: Any, out: Any, count: Any, dim: Any) -> Any:
    """Write the dot products of `count` rows with all lanes of a query.

    rows   address of (count, H) unsigned bytes; query  address of (H / 4, 32, 4) signed bytes
    out    address of (count, 32) int32
    """
    if (known := literals(count, dim)) is None:
        return None
    num_rows, num_dims = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        rows_at, query_at, out_at = args[:3]
        zero = ir.Constant(V16I32, [0] * 16)
        some = [b.add(rows_at, ir.Constant(I64, r * num_dims)) for r in range(num_rows)]
        sums = _dots(b, some, list(range(0, num_dims, 4)), query_at, [[zero, zero] for _ in some])
        for r in range(num_rows):
            for half in HALVES:
                store(b, sums[r][half], out_at, 128 * r + 64 * half)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, count, dim), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any, count: Any) -> Any:
    """Ask for `count` bytes to be near when they are read."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        fetch = b.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        how = [ir.Constant(I32, number) for number in (0, 2, 1)]  # to read, into the second cache, as data
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), args[1], ir.Constant(I64, 64), I64) as (i, _):
            b.call(fetch, [_at(b, args[0], I8, i), *how])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def dot(typingctx: Any, levels: Any, lane: Any, dim: Any) -> Any:
    """Return the dot product of `dim` unsigned bytes and as many signed ones, at two addresses."""
    if (known := literals(dim)) is None:
        return None
    (num_dims,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        product = b.module.declare_intrinsic(*VNNI)
        sums = ir.Constant(V16I32, [0] * 16)
        for start in range(0, num_dims, 64):
            size = min(64, num_dims - start)
            piece = ir.VectorType(I8, size)
            lanes = ir.Constant(ir.VectorType(I32, 64), [min(byte, size) for byte in range(64)])  # then zeros
            both = (load(b, address, piece, start) for address in args[:2])
            filled = (b.shuffle_vector(some, ir.Constant(piece, [0] * size), lanes) for some in both)
            sums = b.call(product, [sums, *(b.bitcast(some, V16I32) for some in filled)])
        add = b.module.declare_intrinsic("llvm.vector.reduce.add.v16i32", (), ir.FunctionType(I32, [V16I32]))
        return b.call(add, [sums])

    return types.int32(types.intp, types.intp, dim), codegen
