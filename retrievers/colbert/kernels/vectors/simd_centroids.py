"""The inner steps of `cpu` that look at centroids, as vector code: centroid scores, the largest, centroid interaction.

Legend  as in `simd`
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrievers.colbert.kernels.arrays import COARSE, LANES
from retrievers.colbert.kernels.vectors.llvm import (
    F32,
    HALVES,
    I16,
    I32,
    I64,
    V16F32,
    V16I8,
    V16I16,
    V16I32,
    V32I8,
    V32I16,
    Builder,
    Value,
    call,
    clipped_id,
    larger,
    literals,
    load,
    smaller,
    spread,
    store,
)


@intrinsic
def steps(typingctx: Any, dots: Any, count: Any, start: Any, unit: Any, out: Any, coarse: Any, floors: Any) -> Any:
    """Turn dot products of centroids with a query into centroid scores; return a bit for each row that passes a floor.

    dots    address of (count, 32) int32; start  address of 32 int32 to add to them
    unit    address of a float32: int16 steps for a step of a dot product
    out     address of (count, 32) int16; coarse  address of (count, 32) int8; floors  address of 32 int16
    """

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        dots_at, count_v, start_at, unit_at, out_at, coarse_at, floors_at = args
        first = [load(b, start_at, V16I32, 64 * half) for half in HALVES]
        step = spread(b, load(b, unit_at, F32), V16F32)
        floor = [load(b, floors_at, V16I16, 32 * half) for half in HALVES]
        passed = cgutils.alloca_once_value(b, ir.Constant(I64, 0))
        rint = b.module.declare_intrinsic("llvm.rint.v16f32", (), ir.FunctionType(V16F32, [V16F32]))
        limits = [ir.Constant(V16F32, [limit] * 16) for limit in (32767.0, -32768.0)]
        byte_limits = [ir.Constant(V16I16, [limit] * 16) for limit in (127, -128)]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        with cgutils.for_range_slice(b, zero, count_v, one, I64) as (row, _):
            at, any_above = b.mul(row, ir.Constant(I64, 4 * LANES)), ir.Constant(I16, 0)
            for half in HALVES:
                dot = b.add(load(b, dots_at, V16I32, b.add(at, ir.Constant(I64, 64 * half))), first[half])
                scaled = b.call(rint, [b.fmul(b.sitofp(dot, V16F32), step)])
                for limit, beyond in zip(limits, (">", "<"), strict=True):
                    scaled = b.select(b.fcmp_ordered(beyond, scaled, limit), limit, scaled)
                score = b.trunc(b.fptosi(scaled, V16I32), V16I16)
                store(b, score, out_at, b.add(b.lshr(at, one), ir.Constant(I64, 32 * half)))
                byte = b.ashr(score, ir.Constant(V16I16, [COARSE] * 16))
                for limit, beyond in zip(byte_limits, (">", "<"), strict=True):
                    byte = b.select(b.icmp_signed(beyond, byte, limit), limit, byte)
                byte_at = b.add(b.lshr(at, ir.Constant(I64, 2)), ir.Constant(I64, 16 * half))
                store(b, b.trunc(byte, V16I8), coarse_at, byte_at)
                any_above = b.or_(any_above, b.bitcast(b.icmp_signed(">", score, floor[half]), I16))
            above = b.zext(b.icmp_unsigned("!=", any_above, ir.Constant(I16, 0)), I64)
            b.store(b.or_(b.load(passed), b.shl(above, row)), passed)
        return b.load(passed)

    return types.int64(*[types.intp] * 7), codegen


@intrinsic
def count_ones(typingctx: Any, word: Any) -> Any:
    """Return how many bits of 64 are 1; any processor has it."""
    return types.int64(types.uint64), lambda context, b, signature, args: b.ctpop(args[0])


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Return how many bits of 64 are 0 below the lowest 1; any processor has it."""
    return types.int64(types.uint64), lambda context, b, signature, args: b.cttz(args[0], ir.Constant(ir.IntType(1), 0))


@intrinsic
def largest(typingctx: Any, dots: Any, count: Any, first: Any, best: Any, centroid_id: Any) -> Any:
    """Raise `best` to the largest of the dot products of 32 points, `centroid` to whose it is; the first of equals.

    dots        address of (count, 32) int32, of centroids from number `first` on
    best, centroid  addresses of 32 int32
    """

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        dots_at, count_v, first_v, best_at, ids_at = args
        tops = [cgutils.alloca_once_value(b, load(b, best_at, V16I32, 64 * half)) for half in HALVES]
        ids = [cgutils.alloca_once_value(b, load(b, ids_at, V16I32, 64 * half)) for half in HALVES]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        with cgutils.for_range_slice(b, zero, count_v, one, I64) as (row, _):
            number = spread(b, b.trunc(b.add(first_v, row), I32), V16I32)
            at = b.mul(row, ir.Constant(I64, 4 * LANES))
            for half in HALVES:
                dot = load(b, dots_at, V16I32, b.add(at, ir.Constant(I64, 64 * half)))
                above = b.icmp_signed(">", dot, b.load(tops[half]))
                b.store(b.select(above, dot, b.load(tops[half])), tops[half])
                b.store(b.select(above, number, b.load(ids[half])), ids[half])
        for half in HALVES:
            store(b, b.load(tops[half]), best_at, 64 * half)
            store(b, b.load(ids[half]), ids_at, 64 * half)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen


@intrinsic(prefer_literal=True)
def largest_few(typingctx: Any, dots: Any, count: Any, first: Any, tops: Any, bits: Any, drop: Any, keep: Any) -> Any:
    """Put the dot products of 32 points, with their places, among the `keep` largest of each; the first of equals.

    dots   address of (count, 32) int32, of rows from number `first` on, all below 2 ** bits
    tops   address of (keep, 32) int32, falling: (dot >> drop) << bits, and 2 ** bits - 1 less the row's number
    """
    if (known := literals(keep)) is None:
        return None
    (num_kept,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        dots_at, count_v, first_v, tops_at, bits_v, drop_v, _ = args
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        up, down = (spread(b, b.trunc(number, I32), V16I32) for number in (bits_v, drop_v))
        last = b.sub(b.sub(b.shl(one, bits_v), one), first_v)
        for half in HALVES:
            places = [128 * place + 64 * half for place in range(num_kept)]
            tops = [cgutils.alloca_once_value(b, load(b, tops_at, V16I32, place)) for place in places]
            with cgutils.for_range_slice(b, zero, count_v, one, I64) as (row, _):
                at = b.add(b.mul(row, ir.Constant(I64, 4 * LANES)), ir.Constant(I64, 64 * half))
                key = b.shl(b.ashr(load(b, dots_at, V16I32, at), down), up)
                key = b.add(key, spread(b, b.trunc(b.sub(last, row), I32), V16I32))
                for top in tops:
                    before = b.load(top)
                    b.store(larger(b, before, key), top)
                    key = smaller(b, before, key)
            for top, place in zip(tops, places, strict=True):
                store(b, b.load(top), tops_at, place)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6, keep), codegen


@intrinsic
def largest_lanes(typingctx: Any, dots: Any, count: Any, start: Any, out: Any) -> Any:
    """Write for each row the largest of its 32 dot products: 32 times the product, and a number that says whose it is.

    dots   address of (count, 32) int32
    start  address of 32 int32 to add to 32 times the products of each row
    out    address of (count,) int32
    """

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        dots_at, count_v, start_at, out_at = args
        starts = [load(b, start_at, V16I32, 64 * half) for half in HALVES]
        five = ir.Constant(V16I32, [5] * 16)
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), count_v, ir.Constant(I64, 1), I64) as (row, _):
            at = b.mul(row, ir.Constant(I64, 4 * LANES))
            dots = [load(b, dots_at, V16I32, b.add(at, ir.Constant(I64, 64 * half))) for half in HALVES]
            keys = [b.add(b.shl(dot, five), start) for dot, start in zip(dots, starts, strict=True)]
            top = call(b, "llvm.vector.reduce.smax.v16i32", I32, larger(b, *keys))
            store(b, top, out_at, b.mul(row, ir.Constant(I64, 4)))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), codegen


@intrinsic(prefer_literal=True)
def centroids_maxsim(typingctx: Any, centroid_ids: Any, count: Any, scores: Any, last: Any, id_bytes: Any) -> Any:
    """Return the sum over lanes of the best of a document's centroid scores: centroid interaction, in int8 steps.

    centroid_ids  address of `count` of them, at least one, of `id_bytes` each
    scores  address of (K, 32) int8
    last    the largest centroid number there is
    """
    if (known := literals(id_bytes)) is None:
        return None
    (num_bytes,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        ids_at, count_v, scores_at, last = args[:4]
        best = cgutils.alloca_once_value(b, ir.Constant(V32I8, [-(2**7)] * LANES))
        with cgutils.for_range(b, count_v) as loop:
            score = _centroid_score(b, ids_at, loop.index, num_bytes, last, scores_at)
            b.store(larger(b, score, b.load(best)), best)
        wide = b.sext(b.load(best), ir.VectorType(I32, LANES))
        add = b.module.declare_intrinsic("llvm.vector.reduce.add.v32i32", (), ir.FunctionType(I32, [wide.type]))
        return b.sext(b.call(add, [wide]), I64)

    return types.int64(*[types.intp] * 4, id_bytes), codegen


@intrinsic(prefer_literal=True)
def best_tokens(
    typingctx: Any, centroid_ids: Any, count: Any, scores: Any, last: Any, out: Any, tops: Any, id_bytes: Any
) -> Any:  # fmt: skip
    """Write for every lane which of a document's tokens has the best centroid score, the first of equals.

    centroid_ids  address of `count` of them, from one to 65,536, of `id_bytes` each
    scores  address of (K, 32) int8
    out     address of 32 uint16: places among the centroids; tops  address of 32 int8: the scores there
    """
    if (known := literals(id_bytes)) is None:
        return None
    (num_bytes,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        ids_at, count_v, scores_at, last, out_at, tops_at = args[:6]
        first, one = _centroid_score(b, ids_at, ir.Constant(I64, 0), num_bytes, last, scores_at), ir.Constant(I64, 1)
        best = cgutils.alloca_once_value(b, first)
        argmax, place = (cgutils.alloca_once_value(b, ir.Constant(V32I16, [0] * LANES)) for _ in range(2))
        with cgutils.for_range_slice(b, one, count_v, one, I64) as (row, _):
            score, top = _centroid_score(b, ids_at, row, num_bytes, last, scores_at), b.load(best)
            b.store(b.add(b.load(place), ir.Constant(V32I16, [1] * LANES)), place)
            above = b.icmp_signed(">", score, top)
            b.store(b.select(above, b.load(place), b.load(argmax)), argmax)
            b.store(larger(b, score, top), best)  # not by `above`: it would wait for the comparison
        store(b, b.load(argmax), out_at)
        store(b, b.load(best), tops_at)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6, id_bytes), codegen


def _centroid_score(b: Builder, centroid_ids: Value, row: Value, id_bytes: int, last: Value, scores: Value) -> Value:
    """Return the coarse scores of a token's centroid with all lanes."""
    number = load(b, centroid_ids, ir.IntType(8 * id_bytes), b.mul(row, ir.Constant(I64, id_bytes)))
    return load(b, scores, V32I8, b.mul(clipped_id(b, number, last), ir.Constant(I64, LANES)))
