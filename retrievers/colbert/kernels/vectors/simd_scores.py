"""The inner steps of `cpu` in float32, as vector code: sums, which tokens are close to the best, and decoding.

Legend  as in `simd`
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrievers.colbert.kernels.arrays import LANES
from retrievers.colbert.kernels.vectors.forms import form
from retrievers.colbert.kernels.vectors.llvm import (
    HALVES,
    I16,
    I32,
    I64,
    V16F32,
    V16I8,
    V16I32,
    Builder,
    Value,
    call,
    joined,
    literals,
    load,
    part,
    spread,
    store,
)


@intrinsic
def total(typingctx: Any, numbers: Any) -> Any:
    """Return the sum of the 32 float32 at an address, added up pair by pair."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        return _sum(b, b.fadd(*(load(b, args[0], V16F32, 64 * half) for half in HALVES)))

    return types.float32(types.intp), codegen


def _sum(b: Builder, numbers: Value) -> Value:
    """Return the sum of 16 float32, added up pair by pair."""
    width = 16
    while width > 1:
        width //= 2
        halves = (ir.Constant(ir.VectorType(I32, width), list(range(at, at + width))) for at in (0, width))
        numbers = b.fadd(*(b.shuffle_vector(numbers, ir.Constant(numbers.type, ir.Undefined), half) for half in halves))
    return b.extract_element(numbers, ir.Constant(I32, 0))


@intrinsic(prefer_literal=True)
def dot(typingctx: Any, a: Any, b: Any, dim: Any) -> Any:
    """Return the dot product of `dim` float32 at two addresses, in the order of `ordered.dot`; 16 divides dim."""
    if (known := literals(dim)) is None or known[0] % 16:
        return None
    (num_dims,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        sums = ir.Constant(V16F32, [0.0] * 16)
        for group in range(num_dims // 16):
            numbers = [load(b, address, V16F32, 64 * group) for address in args[:2]]
            sums = b.fadd(sums, b.fmul(*numbers))
        return _sum(b, sums)

    return types.float32(types.intp, types.intp, dim), codegen


@intrinsic
def close(typingctx: Any, kept: Any, count: Any, floors: Any, out: Any, step: Any) -> Any:
    """Write for every token a bit for each lane whose floor its score reaches.

    kept   address of (count, 32) float32; floors  address of 32 float32
    out    address of uint32, `step` bytes from one token to the next
    """

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        kept_at, count_v, floors_at, out_at, step_v = args
        floor = [load(b, floors_at, V16F32, 64 * half) for half in HALVES]
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), count_v, ir.Constant(I64, 1), I64) as (row, _):
            at = b.mul(row, ir.Constant(I64, 4 * LANES))
            score = [load(b, kept_at, V16F32, b.add(at, ir.Constant(I64, 64 * half))) for half in HALVES]
            low, high = (b.bitcast(b.fcmp_ordered(">=", s, f), I16) for s, f in zip(score, floor, strict=True))
            bits = b.or_(b.zext(low, I32), b.shl(b.zext(high, I32), ir.Constant(I32, 16)))
            store(b, bits, b.add(out_at, b.mul(row, step_v)))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen


def _picked(b: Builder, table: Value, places: Value, bits: int) -> Value:
    """Return for each of 16 places, numbers of so many bits, what stands there in a table of 16 float32."""
    if form().width == 16:
        return call(b, "llvm.x86.avx512.permvar.sf.512", V16F32, table, places)
    low, high = (list(range(at, at + 8)) for at in (0, 8))
    if form().width == 8:
        tables = [part(b, table, half) for half in ([low, high] if bits == 4 else [low])]
        halves = []
        for numbers in (part(b, places, half) for half in (low, high)):
            found = [call(b, "llvm.x86.avx2.permps", eight.type, eight, numbers) for eight in tables]
            above = b.icmp_unsigned(">", numbers, ir.Constant(numbers.type, [7] * 8))
            halves.append(b.select(above, found[-1], found[0]) if bits == 4 else found[0])
        return joined(b, halves)
    found = table  # lane by lane: NEON finds bytes in a table, and no numbers
    for lane in range(16):
        number = b.extract_element(places, ir.Constant(I32, lane))
        found = b.insert_element(found, b.extract_element(table, number), ir.Constant(I32, lane))
    return found


@intrinsic(prefer_literal=True)
def decoded(
    typingctx: Any, packed: Any, weights: Any, centroid: Any, step: Any, out: Any, dim: Any, bits: Any, floats: Any
) -> Any:  # fmt: skip
    """Write a token's numbers before they are scaled to length 1, and return the sum of their squares.

    packed    address of the codes, the first in the high bits
    weights   address of 16 float32: what a code stands for
    centroid  address of `dim` bytes, shifted by 128, each worth `step`; with floats = 1 of float32
    out       address of `dim` float32; 16 divides dim
    """
    if (known := literals(dim, bits, floats)) is None or known[0] % 16:
        return None
    num_dims, num_bits, in_floats = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        packed_at, weights_at, centroid_at, step_v, out_at = args[:5]
        table, step = load(b, weights_at, V16F32), spread(b, step_v, V16F32)
        mask, middle = ir.Constant(V16I32, [2**num_bits - 1] * 16), ir.Constant(V16F32, [128.0] * 16)
        size = 2 * num_bits  # bytes of 16 codes, of which a lane of 32 bits holds as many as fit
        lane_bits = min(32, 8 * size)
        word = ir.VectorType(ir.IntType(lane_bits), 8 * size // lane_bits)
        firsts = [lane * num_bits for lane in range(16)]  # bits before a lane's code
        words = ir.Constant(ir.VectorType(I32, 16), [first // lane_bits for first in firsts])
        within = [first % lane_bits for first in firsts]
        shifts = ir.Constant(V16I32, [first // 8 * 8 + 8 - num_bits - first % 8 for first in within])
        squares = ir.Constant(V16F32, [0.0] * 16)
        for group in range(num_dims // 16):
            codes = b.shuffle_vector(load(b, packed_at, word, group * size), ir.Constant(word, ir.Undefined), words)
            codes = codes if lane_bits == 32 else b.zext(codes, V16I32)
            weight = _picked(b, table, b.and_(b.lshr(codes, shifts), mask), num_bits)
            if in_floats:
                near = load(b, centroid_at, V16F32, 64 * group)
            else:
                bytes_of = b.uitofp(load(b, centroid_at, V16I8, 16 * group), V16F32)
                near = b.fmul(b.fsub(bytes_of, middle), step)
            number = b.fadd(near, weight)
            store(b, number, out_at, 64 * group)
            squares = b.fadd(squares, b.fmul(number, number))
        return _sum(b, squares)

    return types.float32(types.intp, types.intp, types.intp, types.float32, types.intp, dim, bits, floats), codegen
