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

SIDE = 16
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


def _same(value: Any) -> Value:
    return ir.Constant(V16F32, [float(value)] * SIDE)


def _whole(value: int) -> Value:
    return ir.Constant(V16I32, [value] * SIDE)


def _size(b: Builder, x: Value) -> Value:
    """Return numbers without their signs, as bits: of such floats the larger has the larger bits."""
    return b.and_(b.bitcast(x, V16I32), _whole(0x7FFFFFFF))


def _series(b: Builder, x: Value, factors: tuple[Any, ...]) -> Value:
    """Return ((f0 * x + f1) * x + f2) and so on."""
    sums = _same(factors[0])
    for factor in factors[1:]:
        sums = b.fadd(b.fmul(sums, x), _same(factor))
    return sums


def _above(b: Builder, x: Value, other: Value) -> Value:
    return b.select(b.fcmp_ordered(">", x, other), x, other)


def _exponential(b: Builder, x: Value) -> Value:
    """Return exp of numbers that are none above 0."""
    x = _above(b, x, _same(LOWEST))
    rounded = b.fadd(b.fmul(x, _same(LOG2E)), _same(ROUND))
    power = b.fsub(rounded, _same(ROUND))
    rest = b.fsub(b.fsub(x, b.fmul(power, _same(LN2_HIGH))), b.fmul(power, _same(LN2_LOW)))
    found = b.fmul(b.fmul(_series(b, rest, FACTORIALS), rest), rest)
    found = b.fadd(b.fadd(found, rest), _same(1))
    bits = b.add(b.bitcast(found, V16I32), b.shl(b.bitcast(rounded, V16I32), _whole(23)))
    return b.bitcast(bits, V16F32)


def _gelu(b: Builder, x: Value) -> Value:
    """Return x * (1 + erf(x / sqrt(2))) / 2."""
    far = b.fmul(x, _same(SQRT_HALF))
    power = _exponential(b, b.fmul(b.fneg(far), far))
    size = b.bitcast(_size(b, far), V16F32)
    t = b.fdiv(_same(1), b.fadd(_same(1), b.fmul(_same(ERF_STEP), size)))
    tail = b.fmul(b.fmul(_series(b, t, ERF), t), power)  # 1 - erf(|x| / sqrt(2))
    half = b.fmul(_same(0.5), x)
    size = b.bitcast(_size(b, half), V16F32)
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


class _Block:
    """Sixteen numbers of a row from one on, or the fewer that are left at its end."""

    def __init__(self, b: Builder, first: Value, left: Value | None = None) -> None:
        self.b, self.first, self.left = b, first, left

    def _at(self, address: Value, vector: Any) -> Value:
        return self.b.add(address, self.b.mul(self.first, ir.Constant(I64, 1 if vector == V16I8 else 4)))

    def get(self, address: Value) -> Value:
        """Return the numbers of a row of float32; zeros behind its end."""
        if self.left is None:
            return load(self.b, self._at(address, V16F32), V16F32)
        room = cgutils.alloca_once(self.b, V16F32)
        self.b.store(_same(0), room)
        to = self.b.ptrtoint(room, I64)
        self._copy(self._at(address, V16F32), to, F32)
        return load(self.b, to, V16F32)

    def put(self, value: Value, address: Value) -> None:
        """Write 16 numbers, float32 or bytes, and none behind the row's end."""
        if self.left is None:
            store(self.b, value, self._at(address, value.type))
            return
        room = cgutils.alloca_once(self.b, value.type)
        self.b.store(value, room)
        self._copy(self.b.ptrtoint(room, I64), self._at(address, value.type), value.type.element)

    def only(self, value: Value) -> Value:
        """Return the numbers, with zeros behind the row's end."""
        if self.left is None:
            return value
        lanes = ir.Constant(V16I32, list(range(SIDE)))
        inside = self.b.icmp_signed("<", lanes, spread(self.b, self.b.trunc(self.left, I32), V16I32))
        return self.b.select(inside, value, ir.Constant(value.type, [0] * SIDE))

    def _copy(self, source: Value, target: Value, kind: Any) -> None:
        with cgutils.for_range_slice(self.b, ZERO, self.left, ONE, I64) as (k, _):
            offset = self.b.mul(k, ir.Constant(I64, kind.width // 8 if kind == I8 else 4))
            store(self.b, load(self.b, source, kind, offset), target, offset)


def _over(b: Builder, count: Value, visit: Callable[[_Block], None]) -> None:
    """Write the code that visits a row of so many numbers, sixteen at a time and then what is left."""
    with cgutils.for_range_slice(b, ZERO, b.ashr(count, ir.Constant(I64, 4)), ONE, I64) as (k, _):
        visit(_Block(b, b.mul(k, ir.Constant(I64, SIDE))))
    left = b.and_(count, ir.Constant(I64, SIDE - 1))
    with b.if_then(b.icmp_signed(">", left, ZERO)):
        visit(_Block(b, b.sub(count, left), left))


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

        def visit(block: _Block) -> None:
            rounded = b.fadd(b.fmul(block.get(args[0]), inverse), _same(ROUND + known[0]))
            block.put(b.trunc(b.bitcast(rounded, V16I32), V16I8), args[3])

        _over(b, args[1], visit)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float32, types.intp, above), codegen


@intrinsic
def gelu_of(typingctx: Any, numbers: Any, count: Any) -> Any:
    """Replace each x of `count` numbers by x * (1 + erf(x / sqrt(2))) / 2."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        _over(b, args[1], lambda block: block.put(_gelu(b, block.get(args[0])), args[0]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def norm_of(
    typingctx: Any, row: Any, added: Any, weight: Any, bias: Any, count: Any, share: Any, epsilon: Any
) -> Any:
    """Replace a row by LayerNorm(row + added); share  1 / count."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        row, added, weight, bias, count, share, epsilon = args
        sums, squares = _kept(b, _same(0)), _kept(b, _same(0))

        def add(block: _Block) -> None:
            both = b.fadd(block.get(row), block.get(added))
            b.store(b.fadd(b.load(sums), both), sums)
            block.put(both, row)

        def square(block: _Block) -> None:
            off = b.fsub(block.get(row), mean)
            b.store(b.fadd(b.load(squares), block.only(b.fmul(off, off))), squares)
            block.put(off, row)

        def scaled(block: _Block) -> None:
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


def _top(b: Builder, scores: Value, blocks: Value) -> Value:
    """Return the largest of blocks of 16 numbers, in each lane."""
    top = _kept(b, load(b, scores, V16F32))
    with cgutils.for_range_slice(b, ONE, blocks, ONE, I64) as (k, _):
        b.store(_above(b, load(b, scores, V16F32, b.mul(k, ir.Constant(I64, 64))), b.load(top)), top)
    found, width = b.load(top), SIDE
    while width > 1:
        width //= 2
        found = _above(b, part(b, found, list(range(width))), part(b, found, list(range(width, 2 * width))))
    return spread(b, b.extract_element(found, ir.Constant(I32, 0)), V16F32)


@intrinsic
def softmax_of(typingctx: Any, scores: Any, count: Any) -> Any:
    """Replace `count` numbers by their softmax; what stands behind them, up to a whole block of 16, is far below."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        scores, count = args
        blocks = b.ashr(b.add(count, ir.Constant(I64, SIDE - 1)), ir.Constant(I64, 4))
        top, sums = _top(b, scores, blocks), _kept(b, _same(0))

        def power(block: _Block) -> None:
            found = _exponential(b, b.fsub(block.get(scores), top))
            b.store(b.fadd(b.load(sums), block.only(found)), sums)
            block.put(found, scores)

        _over(b, count, power)
        share = spread(b, b.fdiv(ir.Constant(F32, 1.0), _in_pairs(b, b.load(sums))), V16F32)
        _over(b, count, lambda block: block.put(b.fmul(block.get(scores), share), scores))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def shares_of(typingctx: Any, scores: Any, blocks: Any, high: Any, low: Any) -> Any:
    """Write the softmax of blocks of 16 numbers as whole numbers of 14 bits: the high seven, and the low ones.

    Returns their sum.
    """

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        scores, blocks, high, low = args
        top, sums = _top(b, scores, blocks), _kept(b, _whole(0))
        with cgutils.for_range_slice(b, ZERO, blocks, ONE, I64) as (k, _):
            powers = _exponential(b, b.fsub(load(b, scores, V16F32, b.mul(k, ir.Constant(I64, 64))), top))
            rounded = b.bitcast(b.fadd(b.fmul(powers, _same(SHARES)), _same(ROUND)), V16I32)
            share, at = b.and_(rounded, _whole(SHARES)), b.mul(k, ir.Constant(I64, SIDE))
            b.store(b.add(b.load(sums), share), sums)
            store(b, b.trunc(b.lshr(share, _whole(7)), V16I8), high, at)
            store(b, b.trunc(b.and_(share, _whole(127)), V16I8), low, at)
        return call(b, "llvm.vector.reduce.add.v16i32", I32, b.load(sums))

    return types.int32(*[types.intp] * 4), codegen


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
