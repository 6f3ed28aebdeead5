"""Sixteen rows of bytes times a query of 32 tokens at once, in the matrix registers of newer Intel processors (AMX).

A matrix register is a tile of 16 rows of 64 bytes. The query lies in tiles for
as long as it is asked; rows go through two more, and their dot products come
back as int32. The system hands the registers out to a process that asks.

Source  Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

TILE = 16  # rows of a tile
DIMS = (64, 128)  # whose query fits into the eight tiles beside rows and results
SUMS, ROWS, QUERY = 0, 2, 4  # numbers of the first tile of each kind

I8, I64 = ir.IntType(8), ir.IntType(64)
POINTER, NOTHING = I8.as_pointer(), ir.VoidType()

Builder = Any  # llvmlite has no types


def config() -> NDArray[np.uint8]:
    """Return the 64 bytes that say how large the tiles are: all of them 16 rows of 64 bytes."""
    numbers = np.zeros(64, np.uint8)
    numbers[0] = 1  # the only palette there is
    numbers[16:32:2] = 64
    numbers[48:56] = TILE
    return numbers


def _call(b: Builder, name: str, *args: Any) -> None:
    kind = ir.FunctionType(NOTHING, [arg.type for arg in args])
    b.call(b.module.declare_intrinsic(f"llvm.x86.{name}", (), kind), args)


def _tile(number: int) -> Any:
    return ir.Constant(I8, number)


def _stride(size: int) -> Any:
    return ir.Constant(I64, size)


def _at(b: Builder, address: Any, offset: int) -> Any:
    return b.inttoptr(b.add(address, ir.Constant(I64, offset)), POINTER)


@intrinsic
def begin(typingctx: Any, config: Any) -> Any:
    """Take the tiles; `config` is the address of its 64 bytes. What begins must `end` in the same function."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Any:
        _call(b, "ldtilecfg", _at(b, args[0], 0))
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def end(typingctx: Any) -> Any:
    """Give the tiles back."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Any:
        _call(b, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic(prefer_literal=True)
def hold(typingctx: Any, query: Any, dim: Any) -> Any:
    """Put a query into tiles: `query` is the address of (H / 4, 32, 4) signed bytes."""
    if not isinstance(dim, types.IntegerLiteral) or dim.literal_value not in DIMS:
        return None
    parts = dim.literal_value // 64

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Any:
        for part in range(parts):
            for half in range(2):
                source = _at(b, args[0], part * TILE * 128 + half * 64)
                _call(b, "tileloadd64", _tile(QUERY + 2 * part + half), source, _stride(128))
        return context.get_dummy_value()

    return types.void(types.intp, dim), codegen


@intrinsic(prefer_literal=True)
def dots(typingctx: Any, rows: Any, out: Any, dim: Any) -> Any:
    """Write the dot products of 16 rows with the query in the tiles.

    rows  address of (16, H) unsigned bytes; out  address of (16, 32) int32
    """
    if not isinstance(dim, types.IntegerLiteral) or dim.literal_value not in DIMS:
        return None
    num_dims = dim.literal_value

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Any:
        for half in range(2):
            _call(b, "tilezero", _tile(SUMS + half))
        for part in range(num_dims // 64):
            _call(b, "tileloadd64", _tile(ROWS + part), _at(b, args[0], 64 * part), _stride(num_dims))
        for part in range(num_dims // 64):
            for half in range(2):
                _call(b, "tdpbusd", _tile(SUMS + half), _tile(ROWS + part), _tile(QUERY + 2 * part + half))
        for half in range(2):
            _call(b, "tilestored64", _tile(SUMS + half), _at(b, args[1], 64 * half), _stride(128))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, dim), codegen
