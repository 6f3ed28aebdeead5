"""What the vector code is written with: types of LLVM, and how it reads and writes memory.

Registers of 512 bits are what most of it speaks of; LLVM makes two or four of them where a processor's are narrower.
"""

from typing import Any

from llvmlite import ir
from numba import types

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
V64I8, V32I8, V16I8, V16I16, V32I16, V16I32, V16F32 = (
    ir.VectorType(t, n) for t, n in ((I8, 64), (I8, 32), (I8, 16), (I16, 16), (I16, 32), (I32, 16), (F32, 16))
)
HALVES = (0, 1)

Builder = Any  # llvmlite has no types
Value = Any


def pointer(b: Builder, address: Value, vector: Any, offset: Any = 0) -> Value:
    """Return a pointer to `vector`, `offset` bytes behind an address (an integer)."""
    offset = offset if isinstance(offset, ir.Value) else ir.Constant(I64, offset)
    return b.inttoptr(b.add(address, offset), vector.as_pointer())


def load(b: Builder, address: Value, vector: Any, offset: Any = 0) -> Value:
    """Return what stands `offset` bytes behind an address, wherever that is."""
    value = b.load(pointer(b, address, vector, offset))
    value.align = 1
    return value


def store(b: Builder, value: Value, address: Value, offset: Any = 0) -> None:
    """Write a value `offset` bytes behind an address."""
    b.store(value, pointer(b, address, value.type, offset)).align = 1


def spread(b: Builder, scalar: Value, vector: Any) -> Value:
    """Return a vector that has the scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count))


def unsigned(b: Builder, number: Value) -> Value:
    """Return an unsigned number as 64 bits."""
    return number if number.type == I64 else b.zext(number, I64)


def clipped_id(b: Builder, number: Value, last: Value) -> Value:
    """Return a centroid's number as 64 bits; a damaged file reads the last centroid, and not somebody else's memory."""
    number = unsigned(b, number)
    return b.select(b.icmp_unsigned(">", number, last), last, number)


def larger(b: Builder, x: Value, y: Value) -> Value:
    """Return the larger numbers of two vectors of signed integers."""
    return call(b, f"llvm.smax.v{x.type.count}i{x.type.element.width}", x.type, x, y)


def smaller(b: Builder, x: Value, y: Value) -> Value:
    """Return the smaller numbers of two vectors of signed integers."""
    return call(b, f"llvm.smin.v{x.type.count}i{x.type.element.width}", x.type, x, y)


def literals(*args: Any) -> list[int] | None:
    """Return the numbers that numba knows while it compiles; None if it does not know them all."""
    if all(isinstance(a, types.IntegerLiteral) for a in args):
        return [a.literal_value for a in args]
    return None


def call(b: Builder, name: str, result: Any, *args: Value) -> Value:
    """Return what an intrinsic function of LLVM returns."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return b.call(b.module.declare_intrinsic(name, (), kind), args)


def part(b: Builder, vector: Value, lanes: list[int]) -> Value:
    """Return some lanes of a vector, as a vector."""
    undefined = ir.Constant(vector.type, ir.Undefined)
    return b.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def joined(b: Builder, parts: list[Value]) -> Value:
    """Return vectors of one type, two or four of them, end to end."""
    while len(parts) > 1:
        width = 2 * parts[0].type.count
        lanes = ir.Constant(ir.VectorType(I32, width), list(range(width)))
        parts = [b.shuffle_vector(*pair, lanes) for pair in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
