"""What an encoder does with one row of float32, as vector code: LayerNorm, GELU, softmax, bytes.

Sixteen numbers at a time, which LLVM puts into as many registers as they need. No two steps are fused and every sum
has one order (`ordered`), so all processors give the same bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrievers.colbert.kernels.ordered import SIDE
from retrievers.colbert.kernels.vectors.llvm import (
    F32,
    I8,
    I32,
    I64,
    V16F32,
    V16I8,
    V16I32,
    Builder,
    Value,
    call,
    larger,
    literals,
    load,
    part,
    spread,
    store,
)

LANES = 64  # in exp and what is made of it: many steps one after the other, so more numbers than one register holds
F = np.float32
LOWEST, LOG2E, LN2_HIGH, LN2_LOW = F(-87), F(1.4426950408889634), F(0.693359375), F(-2.12194440e-4)
ROUND = 12582912  # 1.5 * 2**23: adding it to a small float32 rounds that to a whole number, the low bits of the sum
FACTORIALS = tuple(F(1 / x) for x in (720, 120, 24, 6, 2))  # of exp's series
# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: erf to 1.5e-7
ERF_STEP, ERF = F(0.3275911), tuple(F(x) for x in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
SQRT_HALF = F(0.7071067811865476)
TINY = F(1e-30)  # what is smaller is 0 in bytes
SHARES = 16383  # a share of attention as a whole number of 14 bits

ZERO = ir.Constant(I64, 0)
ONE = ir.Constant(I64, 1)


def _same(value: Any, lanes: int = SIDE) -> Value:
    return ir.Constant(ir.VectorType(F32, lanes), [float(value)] * lanes)


def _whole(value: int, lanes: int = SIDE) -> Value:
    return ir.Constant(ir.VectorType(I32, lanes), [value] * lanes)


def _bits(b: Builder, x: Value) -> Value:
    return b.bitcast(x, ir.VectorType(I32, x.type.count))


def _size(b: Builder, x: Value) -> Value:
    """Return numbers without their signs, as bits: of such floats the larger has the larger bits."""
    return b.and_(_bits(b, x), _whole(0x7FFFFFFF, x.type.count))


def _times(b: Builder, x: Value, factor: Any) -> Value:
    return b.fmul(x, _same(factor, x.type.count))


def _plus(b: Builder, x: Value, number: Any) -> Value:
    return b.fadd(x, _same(number, x.type.count))


def _series(b: Builder, x: Value, factors: tuple[Any, ...]) -> Value:
    """Return ((f0 * x + f1) * x + f2) and so on."""
    sums = _same(factors[0], x.type.count)
    for factor in factors[1:]:
        sums = _plus(b, b.fmul(sums, x), factor)
    return sums


def _above(b: Builder, x: Value, other: Value) -> Value:
    return b.select(b.fcmp_ordered(">", x, other), x, other)


def _exponential(b: Builder, x: Value) -> Value:
    """Return exp of numbers that are none above 0."""
    lanes = x.type.count
    x = _above(b, x, _same(LOWEST, lanes))
    rounded = _plus(b, _times(b, x, LOG2E), ROUND)
    power = b.fsub(rounded, _same(ROUND, lanes))
    rest = b.fsub(b.fsub(x, _times(b, power, LN2_HIGH)), _times(b, power, LN2_LOW))
    found = b.fmul(b.fmul(_series(b, rest, FACTORIALS), rest), rest)
    bits = _bits(b, _plus(b, b.fadd(found, rest), 1))
    return b.bitcast(b.add(bits, b.shl(_bits(b, rounded), _whole(23, lanes))), x.type)


def _gelu(b: Builder, x: Value) -> Value:
    """Return x * (1 + erf(x / sqrt(2))) / 2."""
    one = _same(1, x.type.count)
    far = _times(b, x, SQRT_HALF)
    power = _exponential(b, b.fmul(b.fneg(far), far))
    t = b.fdiv(one, b.fadd(one, _times(b, b.bitcast(_size(b, far), x.type), ERF_STEP)))
    tail = b.fmul(b.fmul(_series(b, t, ERF), t), power)  # 1 - erf(|x| / sqrt(2))
    half = _times(b, x, 0.5)
    size = b.bitcast(_size(b, half), x.type)
    return b.fsub(b.fadd(half, size), b.fmul(size, tail))


def _in_pairs(b: Builder, sums: Value) -> Value:
    """Return the sum of 16 numbers, in the order of `ordered.in_pairs`."""
    width = SIDE
    while width > 1:
        width //= 2
        sums = b.fadd(part(b, sums, list(range(width))), part(b, sums, list(range(width, 2 * width))))
    return b.extract_element(sums, ir.Constant(I32, 0))


def _most(b: Builder, numbers: Value) -> Value:
    """Return the largest of 16 whole numbers."""
    width = SIDE
    while width > 1:
        width //= 2
        numbers = larger(b, part(b, numbers, list(range(width))), part(b, numbers, list(range(width, 2 * width))))
    return b.extract_element(numbers, ir.Constant(I32, 0))


class _Span:
    """Some numbers of a row from one on, or the fewer that are left of sixteen at its end."""

    def __init__(self, b: Builder, first: Value, lanes: int = SIDE, left: Value | None = None) -> None:
        self.b, self.first, self.lanes, self.left = b, first, lanes, left

    def _at(self, address: Value, kind: Any) -> Value:
        return self.b.add(address, self.b.mul(self.first, ir.Constant(I64, 1 if kind == I8 else 4)))

    def get(self, address: Value) -> Value:
        """Return the numbers of a row of float32; zeros behind its end."""
        if self.left is None:
            return load(self.b, self._at(address, F32), ir.VectorType(F32, self.lanes))
        room = cgutils.alloca_once(self.b, V16F32)
        self.b.store(_same(0), room)
        to = self.b.ptrtoint(room, I64)
        self._copy(self._at(address, F32), to, F32)
        return load(self.b, to, V16F32)

    def put(self, value: Value, address: Value) -> None:
        """Write 16 numbers, float32 or bytes, and none behind the row's end."""
        if self.left is None:
            store(self.b, value, self._at(address, value.type.element))
            return
        room = cgutils.alloca_once(self.b, value.type)
        self.b.store(value, room)
        self._copy(self.b.ptrtoint(room, I64), self._at(address, value.type.element), value.type.element)

    def only(self, value: Value) -> Value:
        """Return the numbers, with zeros behind the row's end."""
        if self.left is None:
            return value
        lanes = ir.Constant(V16I32, list(range(SIDE)))
        inside = self.b.icmp_signed("<", lanes, spread(self.b, self.b.trunc(self.left, I32), V16I32))
        return self.b.select(inside, value, ir.Constant(value.type, [0] * SIDE))

    def _copy(self, source: Value, target: Value, kind: Any) -> None:
        with cgutils.for_range_slice(self.b, ZERO, self.left, ONE, I64) as (k, _):
            offset = self.b.mul(k, ir.Constant(I64, 1 if kind == I8 else 4))
            store(self.b, load(self.b, source, kind, offset), target, offset)


def _over(b: Builder, count: Value, visit: Callable[[_Span], None], lanes: int = SIDE) -> None:
    """Write the code that visits a row of so many numbers: so many at a time, then sixteen, then what is left."""
    first = ZERO
    for step in sorted({lanes, SIDE}, reverse=True):
        end = b.and_(count, ir.Constant(I64, -step))
        with cgutils.for_range_slice(b, first, end, ir.Constant(I64, step), I64) as (at, _):
            visit(_Span(b, at, step))
        first = end
    left = b.sub(count, first)
    with b.if_then(b.icmp_signed(">", left, ZERO)):
        visit(_Span(b, first, SIDE, left))


def _kept(b: Builder, value: Value) -> Value:
    return cgutils.alloca_once_value(b, value)


@intrinsic
def size_of(typingctx: Any, numbers: Any, count: Any) -> Any:
    """Return the largest of `count` numbers without its sign."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        top = _kept(b, _whole(0))
        _over(b, args[1], lambda block: b.store(larger(b, b.load(top), _size(b, block.get(args[0]))), top))
        return b.bitcast(_most(b, b.load(top)), F32)

    return types.float32(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def codes_of(typingctx: Any, numbers: Any, count: Any, inverse: Any, out: Any, above: Any) -> Any:
    """Write `count` bytes: numbers * inverse, rounded, and what is stored `above` them."""
    if (known := literals(above)) is None:
        return None

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        inverse = spread(b, args[2], V16F32)

        def visit(block: _Span) -> None:
            rounded = b.fadd(b.fmul(block.get(args[0]), inverse), _same(ROUND + known[0]))
            block.put(b.trunc(b.bitcast(rounded, V16I32), V16I8), args[3])

        _over(b, args[1], visit)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float32, types.intp, above), codegen


@intrinsic
def gelu_of(typingctx: Any, numbers: Any, count: Any) -> Any:
    """Replace each x of `count` numbers by x * (1 + erf(x / sqrt(2))) / 2."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        _over(b, args[1], lambda block: block.put(_gelu(b, block.get(args[0])), args[0]), LANES)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def norm_of(typingctx: Any, row: Any, added: Any, weight: Any, bias: Any, count: Any, share: Any, epsilon: Any) -> Any:
    """Replace a row by LayerNorm(row + added); share  1 / count."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        row, added, weight, bias, count, share, epsilon = args
        sums, squares = _kept(b, _same(0)), _kept(b, _same(0))

        def add(block: _Span) -> None:
            both = b.fadd(block.get(row), block.get(added))
            b.store(b.fadd(b.load(sums), both), sums)
            block.put(both, row)

        def square(block: _Span) -> None:
            off = b.fsub(block.get(row), mean)
            b.store(b.fadd(b.load(squares), block.only(b.fmul(off, off))), squares)
            block.put(off, row)

        def scaled(block: _Span) -> None:
            found = b.fmul(b.fmul(block.get(row), scale), block.get(weight))
            block.put(b.fadd(found, block.get(bias)), row)

        _over(b, count, add)
        mean = spread(b, b.fmul(_in_pairs(b, b.load(sums)), share), V16F32)
        _over(b, count, square)
        spread_out = b.fadd(b.fmul(_in_pairs(b, b.load(squares)), share), epsilon)
        root = call(b, "llvm.sqrt.f32", F32, spread_out)
        scale = spread(b, b.fdiv(ir.Constant(F32, 1.0), root), V16F32)
        _over(b, count, scaled)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5, types.float32, types.float32), codegen


# attention ------------------------------------------------------------------------------------------------------


def _tops(b: Builder, rows: list[Value], blocks: Value, lanes: int) -> list[Value]:
    """Return the largest of blocks of so many numbers of each row, in every lane."""
    kind = ir.VectorType(F32, lanes)
    tops = [_kept(b, load(b, row, kind)) for row in rows]
    with cgutils.for_range_slice(b, ONE, blocks, ONE, I64) as (k, _):
        for row, top in zip(rows, tops, strict=True):
            b.store(_above(b, load(b, row, kind, b.mul(k, ir.Constant(I64, 4 * lanes))), b.load(top)), top)
    found, width = [b.load(top) for top in tops], lanes
    while width > 1:
        width //= 2
        halves = list(range(width)), list(range(width, 2 * width))
        found = [_above(b, *(part(b, top, half) for half in halves)) for top in found]
    return [spread(b, b.extract_element(top, ir.Constant(I32, 0)), kind) for top in found]


@intrinsic
def softmax_of(typingctx: Any, scores: Any, count: Any) -> Any:
    """Replace `count` numbers by their softmax; what stands behind them, up to a whole block of 16, is far below."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        scores, count = args
        blocks = b.ashr(b.add(count, ir.Constant(I64, SIDE - 1)), ir.Constant(I64, 4))
        (top,), sums = _tops(b, [scores], blocks, SIDE), _kept(b, _same(0))

        def power(block: _Span) -> None:
            found = _exponential(b, b.fsub(block.get(scores), top))
            b.store(b.fadd(b.load(sums), block.only(found)), sums)
            block.put(found, scores)

        _over(b, count, power)
        share = spread(b, b.fdiv(ir.Constant(F32, 1.0), _in_pairs(b, b.load(sums))), V16F32)
        _over(b, count, lambda block: block.put(b.fmul(block.get(scores), share), scores))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def shares_of(
    typingctx: Any, scores: Any, stride: Any, blocks: Any, high: Any, row_stride: Any, plane_stride: Any, scales: Any,
    rows: Any,
) -> Any:  # fmt: skip
    """Write the softmax of `rows` rows as whole numbers of 14 bits, and for each row what one of them is worth.

    scores  blocks of LANES float32; high  address of the high seven bits, a plane further come the low ones
    """
    if (known := literals(rows)) is None:
        return None
    n = LANES
    octets = ir.VectorType(I8, n)

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        scores, stride, blocks, high, row_stride, plane_stride, scales = args[:7]
        lines = [b.add(scores, b.mul(stride, ir.Constant(I64, row))) for row in range(known[0])]
        for row, (line, top) in enumerate(zip(lines, _tops(b, lines, blocks, n), strict=True)):
            sums, target = _kept(b, _whole(0, n)), b.add(high, b.mul(row_stride, ir.Constant(I64, row)))
            with cgutils.for_range_slice(b, ZERO, blocks, ONE, I64) as (k, _):
                powers = _exponential(b, b.fsub(load(b, line, top.type, b.mul(k, ir.Constant(I64, 4 * n))), top))
                rounded = _bits(b, _plus(b, _times(b, powers, SHARES), ROUND))
                share, at = b.and_(rounded, _whole(SHARES, n)), b.mul(k, ir.Constant(I64, n))
                b.store(b.add(b.load(sums), share), sums)
                store(b, b.trunc(b.lshr(share, _whole(7, n)), octets), target, at)
                store(b, b.trunc(b.and_(share, _whole(127, n)), octets), target, b.add(plane_stride, at))
            count = call(b, f"llvm.vector.reduce.add.v{n}i32", I32, b.load(sums))
            store(b, b.fdiv(ir.Constant(F32, 1.0), b.sitofp(count, F32)), scales, 4 * row)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 7, rows), codegen


@intrinsic
def key_words(typingctx: Any, numbers: Any, count: Any, inverse: Any, out: Any, stride: Any) -> Any:
    """Write a key as bytes, four of them to a word, with `stride` bytes from word to word. Returns the bytes' sum."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        numbers, count, inverse, out, stride = args
        inverse, sums = spread(b, inverse, V16F32), _kept(b, _whole(0))

        def visit(block: _Span) -> None:
            rounded = b.fadd(b.fmul(block.get(numbers), inverse), _same(ROUND))
            whole = b.sub(_bits(b, rounded), b.bitcast(_same(ROUND), V16I32))
            b.store(b.add(b.load(sums), whole), sums)
            words = b.bitcast(b.trunc(whole, V16I8), ir.VectorType(I32, 4))
            for word in range(4):
                at = b.mul(b.add(b.ashr(block.first, ir.Constant(I64, 2)), ir.Constant(I64, word)), stride)
                store(b, b.extract_element(words, ir.Constant(I32, word)), out, at)

        _over(b, count, visit)
        return call(b, "llvm.vector.reduce.add.v16i32", I32, b.load(sums))

    return types.int32(types.intp, types.intp, types.float32, types.intp, types.intp), codegen


@intrinsic
def values_worth(typingctx: Any, values: Any, stride: Any, keys: Any, worth: Any, inverse: Any) -> Any:
    """Write what a step of a byte is worth in 16 columns of `keys` rows, and its inverse or 0."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        values, stride, keys, worth, inverse = args
        top = _kept(b, _whole(0))
        with cgutils.for_range_slice(b, ZERO, keys, ONE, I64) as (k, _):
            b.store(larger(b, b.load(top), _size(b, load(b, values, V16F32, b.mul(k, stride)))), top)
        found = b.bitcast(b.load(top), V16F32)
        store(b, b.fdiv(found, _same(127)), worth)
        some = b.fcmp_ordered(">", found, _same(TINY))
        store(b, b.select(some, b.fdiv(_same(127), found), _same(0)), inverse)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen


@intrinsic
def values_bytes(typingctx: Any, values: Any, stride: Any, fours: Any, inverse: Any, out: Any, step: Any) -> Any:
    """Write 16 columns of 4 * fours rows as bytes, four rows side by side; step  bytes from four rows to the next."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        values, stride, fours, inverse, out, step = args
        scale = load(b, inverse, V16F32)
        with cgutils.for_range_slice(b, ZERO, fours, ONE, I64) as (k, _):
            first, words = b.mul(b.mul(k, stride), ir.Constant(I64, 4)), _whole(0)
            for row in range(4):
                x = load(b, values, V16F32, b.add(first, b.mul(stride, ir.Constant(I64, row))))
                code = b.bitcast(b.fadd(b.fmul(x, scale), _same(ROUND)), V16I32)
                words = b.or_(words, b.shl(b.and_(code, _whole(255)), _whole(8 * row)))
            store(b, words, out, b.mul(k, step))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), codegen
