"""Dot products of rows of unsigned bytes with 32 query tokens side by side, in the form that this processor has.

A row is a document token's levels, or a centroid shifted by 128; a query is signed bytes. How four products become
part of a sum of 32 bits is the form's step (`forms`); the loops around it are the same for all.

Legend  as in `simd`
"""

from math import gcd
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import LANES, Bytes, Integers
from retrievers.colbert.kernels.vectors.forms import PAIRS, SDOT, USDOT, VNNI, form
from retrievers.colbert.kernels.vectors.llvm import (
    HALVES,
    I8,
    I16,
    I32,
    I64,
    V16I32,
    Builder,
    Value,
    call,
    literals,
    load,
    spread,
    store,
)

ROWS = 4  # rows, at the least, that share one reading of the query
MANY = 8  # better with 512 bits: four rows have eight sums at work, and the instruction takes ten at a time to be busy
UNROLLED = 4  # groups of dimensions in one turn of a loop
AT_ONCE = 16  # lanes whose sums of four rows fit in narrower registers


def grouped(lanes_BLH: NDArray[np.int8], order_H: Integers | None = None) -> Bytes:
    """Return bytes as `dots` wants them: a group of dimensions of a lane side by side, (B, bytes of a block).

    A group is four signed bytes, (H / 4, 32, 4); or two numbers of 16 bits, (H / 2, 32, 2), for PAIRS.

    order_H  of the dimensions; None: as they come
    """
    ordered = np.ascontiguousarray(lanes_BLH if order_H is None else lanes_BLH[:, :, order_H])
    if form().step == PAIRS:
        ordered = ordered.astype(np.int16)
    groups = np.ascontiguousarray(ordered.view(np.int32).transpose(0, 2, 1))  # moved as one number, which is sooner
    return groups.view(np.uint8).reshape(len(groups), groups.shape[1] * groups.shape[2] * 4)


def add_dots(b: Builder, sums: Value, row: Value, query: Value) -> Value:
    """Return sums + the dot products of a group of a row, in every lane, with the query's.

    row    a register of 32-bit numbers: four unsigned bytes each; two of 16 bits for PAIRS; signed ones for SDOT
    query  a register of 32-bit numbers: four signed bytes each, or two of 16 bits
    """
    numbers, width, step = sums.type, sums.type.count, form().step
    if step == VNNI:
        return call(b, f"llvm.x86.avx512.vpdpbusd.{32 * width}", numbers, sums, row, query)
    if step == PAIRS:
        pairs = ir.VectorType(I16, 2 * width)
        return b.add(sums, call(b, "llvm.x86.avx2.pmadd.wd", numbers, b.bitcast(row, pairs), b.bitcast(query, pairs)))
    octets = ir.VectorType(I8, 4 * width)
    name = {USDOT: "usdot", SDOT: "sdot"}[step]
    octets_of = (b.bitcast(value, octets) for value in (row, query))
    return call(b, f"llvm.aarch64.neon.{name}.v4i32.v16i8", numbers, sums, *octets_of)


def fused_dots(b: Builder, rows: list[Value], dim: int, query: Value) -> list[list[Value]]:
    """Return sums[row][half] of the dot products, in registers of 512 bits and without a loop.

    rows   addresses; query  address of (H / 4, 32, 4) signed bytes
    """
    zero = ir.Constant(V16I32, [0] * 16)
    sums = [[zero, zero] for _ in rows]
    for group, offset in enumerate(range(0, dim, 4)):
        lanes = [load(b, query, V16I32, (group * 2 + half) * 64) for half in HALVES]
        for row, address in enumerate(rows):
            four = spread(b, load(b, address, I32, offset), V16I32)
            for half in HALVES:
                sums[row][half] = call(b, "llvm.x86.avx512.vpdpbusd.512", V16I32, sums[row][half], four, lanes[half])
    return sums


@intrinsic(prefer_literal=True)
def dots(typingctx: Any, rows: Any, query: Any, out: Any, count: Any, dim: Any) -> Any:
    """Write the dot products of `count` rows with all lanes of a query.

    rows   address of (count, H) unsigned bytes; query  address of a block of `grouped`
    out    address of (count, 32) int32
    """
    if (known := literals(count, dim)) is None:
        return None
    num_rows, num_dims = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        rows_at, query_at, out_at = args[:3]
        if form().width == 16:
            some = [b.add(rows_at, ir.Constant(I64, r * num_dims)) for r in range(num_rows)]
            for r, halves in enumerate(fused_dots(b, some, num_dims, query_at)):
                for half in HALVES:
                    store(b, halves[half], out_at, 128 * r + 64 * half)
        else:
            _looped_dots(b, rows_at, query_at, out_at, num_rows, num_dims)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, count, dim), codegen


def _looped_dots(b: Builder, rows: Value, query: Value, out: Value, count: int, dim: int) -> None:
    """Do the same in registers of fewer bits: four rows and some of the lanes at a time, which fill them."""
    width, step = form().width, form().step
    group = 2 if step == PAIRS else 4  # dimensions
    bytes_of_row = dim
    if step == PAIRS:
        rows, bytes_of_row = _widened(b, rows, count, dim), 2 * dim
    unrolled = gcd(UNROLLED, dim // group)
    numbers = ir.VectorType(I32, width)
    for first in range(0, LANES, AT_ONCE):
        for row in range(0, count, ROWS):
            some = [b.add(rows, ir.Constant(I64, r * bytes_of_row)) for r in range(row, min(row + ROWS, count))]
            pieces = range(first, first + AT_ONCE, width)
            starts = [_start(b, query, piece, dim, numbers) for piece in pieces]
            sums = [[cgutils.alloca_once_value(b, start) for start in starts] for _ in some]
            turn = ir.Constant(I64, unrolled)
            with cgutils.for_range_slice(b, ir.Constant(I64, 0), ir.Constant(I64, dim // group), turn, I64) as (g, _):
                query_at = b.add(query, b.mul(g, ir.Constant(I64, 4 * LANES)))
                offset = b.mul(g, ir.Constant(I64, 4))
                for k in range(unrolled):
                    lanes = [load(b, query_at, numbers, 4 * (LANES * k + piece)) for piece in pieces]
                    for address, kept in zip(some, sums, strict=True):
                        number = load(b, address, I32, b.add(offset, ir.Constant(I64, 4 * k)))
                        if step == SDOT:  # an unsigned byte less 128 is a signed one
                            number = b.xor(number, ir.Constant(I32, 0x80808080))
                        four = spread(b, number, numbers)
                        for target, lane in zip(kept, lanes, strict=True):
                            b.store(add_dots(b, b.load(target), four, lane), target)
            for r, kept in enumerate(sums):
                for piece, target in zip(pieces, kept, strict=True):
                    store(b, b.load(target), out, 4 * (LANES * (row + r) + piece))


def _start(b: Builder, query: Value, piece: int, dim: int, numbers: Any) -> Value:
    """Return what sums begin with: 0; or 128 times the sums of the query, which SDOT takes 128 too little of."""
    zero = ir.Constant(numbers, [0] * numbers.count)
    if form().step != SDOT:
        return zero
    sums = cgutils.alloca_once_value(b, zero)
    ones = ir.Constant(numbers, [0x01010101] * numbers.count)
    with cgutils.for_range(b, ir.Constant(I64, dim // 4)) as loop:
        at = b.add(query, b.mul(loop.index, ir.Constant(I64, 4 * LANES)))
        b.store(add_dots(b, b.load(sums), ones, load(b, at, numbers, 4 * piece)), sums)
    return b.shl(b.load(sums), ir.Constant(numbers, [7] * numbers.count))


def _widened(b: Builder, rows: Value, count: int, dim: int) -> Value:
    """Return the address of the same rows in 16 bits."""
    room = cgutils.alloca_once(b, I16, count * dim)
    address, at_once = b.ptrtoint(room, I64), gcd(dim, 16)
    octets, words = (ir.VectorType(kind, at_once) for kind in (I8, I16))
    with cgutils.for_range_slice(
        b, ir.Constant(I64, 0), ir.Constant(I64, count * dim), ir.Constant(I64, at_once), I64
    ) as (at, _):
        wide = b.zext(load(b, rows, octets, at), words)
        store(b, wide, address, b.shl(at, ir.Constant(I64, 1)))
    return address


@intrinsic(prefer_literal=True)
def dot(typingctx: Any, levels: Any, lane: Any, dim: Any) -> Any:
    """Return the dot product of `dim` unsigned bytes and as many signed ones, at two addresses."""
    if (known := literals(dim)) is None:
        return None
    (num_dims,) = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        width, step = form().width, form().step
        numbers = ir.VectorType(I32, width)
        sums = ir.Constant(numbers, [0] * width)
        size = 2 * width if step == PAIRS else 4 * width if step in (VNNI, USDOT) else width
        for start in range(0, num_dims, size):
            row, lanes = (_filled(b, address, start, min(size, num_dims - start), size) for address in args[:2])
            if step == PAIRS:
                words = ir.VectorType(I16, size)
                row, lanes = b.zext(row, words), b.sext(lanes, words)
            elif step == SDOT:
                sums = b.add(sums, b.mul(b.zext(row, numbers), b.sext(lanes, numbers)))
                continue
            sums = add_dots(b, sums, b.bitcast(row, numbers), b.bitcast(lanes, numbers))
        return call(b, f"llvm.vector.reduce.add.v{width}i32", I32, sums)

    return types.int32(types.intp, types.intp, dim), codegen


def _filled(b: Builder, address: Value, start: int, size: int, width: int) -> Value:
    """Return `size` bytes of those at an address, filled up to `width` with zeros."""
    piece = ir.VectorType(I8, size)
    lanes = ir.Constant(ir.VectorType(I32, width), [min(byte, size) for byte in range(width)])
    return b.shuffle_vector(load(b, address, piece, start), ir.Constant(piece, [0] * size), lanes)
