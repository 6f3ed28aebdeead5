"""Matrix products of an encoder, compiled: float32 with fused multiply-add, and bytes in groups with a scale each.

Both give the same bits on every processor. In float32 an output adds its
products in the order of the depth, one fused step each, whatever the width of
the registers. With bytes a group of 64 products is an integer, and the groups
are added in order. `reference_*` are the plain twins.

Legend
  R rows    K depth    N columns    P panels of 32 columns    G groups of 64 of the depth
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from retrievers.colbert.kernels.compile import compiled
from retrievers.colbert.kernels.vectors.forms import PAIRS, PORTABLE, VNNI, form
from retrievers.colbert.kernels.vectors.llvm import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    call,
    literals,
    load,
    spread,
    store,
)

COLUMNS, GROUP, STEPS = 32, 64, 16  # of a panel; of a scale; dot products of four bytes in a group
ROWS = 4  # buffers hold a multiple of so many rows
LEVELS = 63  # a byte of a row is -63..63, stored as 1..127: two products of bytes then fit in 16 bits

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Registers(NamedTuple):
    """How products are made on this processor."""

    width: int  # numbers of 32 bits in a register
    step: int  # how four products of bytes are added: see `forms`


def registers() -> Registers:
    """Return those of the form that runs."""
    return Registers(form().width, form().step)


def _add_dots(b: Builder, sums: Value, row: Value, column: Value, form: Registers) -> Value:
    """Return sums + the dot products of four unsigned bytes below 128 with four signed bytes, in each number."""
    numbers, shorts, octets = (ir.VectorType(t, form.width * n) for t, n in ((I32, 1), (I16, 2), (I8, 4)))
    if form.step == VNNI:
        return call(b, f"llvm.x86.avx512.vpdpbusd.{32 * form.width}", numbers, sums, row, column)
    if form.step == PAIRS:  # 127 * 127 * 2 fits in 16 bits
        products = call(b, "llvm.x86.avx2.pmadd.ub.sw", shorts, b.bitcast(row, octets), b.bitcast(column, octets))
        ones = ir.Constant(shorts, [1] * (2 * form.width))
        return b.add(sums, call(b, "llvm.x86.avx2.pmadd.wd", numbers, products, ones))
    if form.step != PORTABLE:  # NEON: bytes below 128 are signed ones as they are
        both = b.bitcast(row, octets), b.bitcast(column, octets)
        return call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", numbers, sums, *both)
    for byte in range(4):
        up, down, mask = (ir.Constant(numbers, [n] * form.width) for n in (24 - 8 * byte, 24, 255))
        low = b.and_(b.lshr(row, ir.Constant(numbers, [8 * byte] * form.width)), mask)
        sums = b.add(sums, b.mul(low, b.ashr(b.shl(column, up), down)))
    return sums


def _rows(b: Builder, first: Value, stride: Value, count: int) -> list[Value]:
    return [b.add(first, b.mul(stride, ir.Constant(I64, row))) for row in range(count)]


def _passes(width: int, registers: int = 2) -> list[list[int]]:
    """Return the columns at which the registers of a panel begin, so many registers at a time."""
    step = registers * width
    return [list(range(first, first + step, width)) for first in range(0, COLUMNS, step)]


@intrinsic(prefer_literal=True)
def float_tile(
    typingctx: Any, a: Any, a_stride: Any, panel: Any, bias: Any, out: Any, out_stride: Any, depth: Any, rows: Any,
    width: Any,
) -> Any:  # fmt: skip
    """Write bias + rows @ panel for `rows` rows and 32 columns.

    a       address of the first row, float32; a_stride, out_stride  bytes from row to row
    panel   address of (depth, 32) float32; bias  address of 32 float32; out  address of the first row
    width   numbers in a register
    """
    if (known := literals(rows, width)) is None:
        return None
    num_rows, num_lanes = known
    vector = ir.VectorType(F32, num_lanes)

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        a_at, a_step, panel_at, bias_at, out_at, out_step, depth_v = args[:7]
        fma = b.module.declare_intrinsic(f"llvm.fma.v{num_lanes}f32", (), ir.FunctionType(vector, [vector] * 3))
        sources, targets = _rows(b, a_at, a_step, num_rows), _rows(b, out_at, out_step, num_rows)
        for columns in _passes(num_lanes):
            starts = [load(b, bias_at, vector, 4 * column) for column in columns]
            sums = [[cgutils.alloca_once_value(b, start) for start in starts] for _ in sources]
            with cgutils.for_range_slice(b, ir.Constant(I64, 0), depth_v, ir.Constant(I64, 1), I64) as (k, _):
                at = b.add(panel_at, b.mul(k, ir.Constant(I64, 4 * COLUMNS)))
                weights = [load(b, at, vector, 4 * column) for column in columns]
                for source, row in zip(sources, sums, strict=True):
                    number = spread(b, load(b, source, F32, b.mul(k, ir.Constant(I64, 4))), vector)
                    for kept, weight in zip(row, weights, strict=True):
                        b.store(b.call(fma, [number, weight, b.load(kept)]), kept)
            for target, row in zip(targets, sums, strict=True):
                for column, kept in zip(columns, row, strict=True):
                    store(b, b.load(kept), target, 4 * column)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 7, rows, width), codegen


@intrinsic(prefer_literal=True)
def byte_tile(
    typingctx: Any, a: Any, a_stride: Any, scales: Any, scale_stride: Any, panel: Any, worth: Any, offsets: Any,
    bias: Any, out: Any, out_stride: Any, groups: Any, rows: Any, steps: Any, width: Any, step: Any,
) -> Any:  # fmt: skip
    """Write bias + the sum over groups of (bytes . panel + offset) * worth * scale, for `rows` rows and 32 columns.

    a        address of the first row's bytes; scales  of its float32 scales, one a group; both with bytes to the next
    panel    address of (groups, steps, 32, 4) signed bytes; worth  (groups, 32) float32; offsets  (groups, 32) int32
    steps    four bytes each, of a group; width, step  of `Registers`
    """
    if (known := literals(rows, steps, width, step)) is None:
        return None
    num_rows, num_steps, num_lanes, how = known
    form = Registers(num_lanes, how)
    whole, real = ir.VectorType(I32, num_lanes), ir.VectorType(F32, num_lanes)

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        a_at, a_step, scales_at, scale_step, panel_at, worth_at = args[:6]
        offsets_at, bias_at, out_at, out_step, groups_v = args[6:11]
        sources, targets = _rows(b, a_at, a_step, num_rows), _rows(b, out_at, out_step, num_rows)
        row_scales = _rows(b, scales_at, scale_step, num_rows)
        for columns in _passes(num_lanes):
            starts = [load(b, bias_at, real, 4 * column) for column in columns]
            kept = [[cgutils.alloca_once_value(b, start) for start in starts] for _ in sources]
            with cgutils.for_range_slice(b, ir.Constant(I64, 0), groups_v, ir.Constant(I64, 1), I64) as (g, _):
                line = b.mul(g, ir.Constant(I64, 4 * COLUMNS))
                at = b.add(panel_at, b.mul(line, ir.Constant(I64, num_steps)))
                byte_at = b.mul(g, ir.Constant(I64, 4 * num_steps))
                first = [load(b, b.add(offsets_at, line), whole, 4 * column) for column in columns]
                sums = [list(first) for _ in sources]
                for four in range(num_steps):
                    weights = [load(b, at, whole, 4 * (COLUMNS * four + column)) for column in columns]
                    for number, source in enumerate(sources):
                        octets = spread(b, load(b, source, I32, b.add(byte_at, ir.Constant(I64, 4 * four))), whole)
                        sums[number] = [
                            _add_dots(b, total, octets, weight, form)
                            for total, weight in zip(sums[number], weights, strict=True)
                        ]
                units = [load(b, b.add(worth_at, line), real, 4 * column) for column in columns]
                for number, address in enumerate(row_scales):
                    scale = spread(b, load(b, address, F32, b.mul(g, ir.Constant(I64, 4))), real)
                    for total, unit, target in zip(sums[number], units, kept[number], strict=True):
                        part = b.fmul(b.fmul(b.sitofp(total, real), unit), scale)
                        b.store(b.fadd(b.load(target), part), target)
            for target, row in zip(targets, kept, strict=True):
                for column, number in zip(columns, row, strict=True):
                    store(b, b.load(number), target, 4 * column)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 11, rows, steps, width, step), codegen


@intrinsic(prefer_literal=True)
def share_tile(
    typingctx: Any, shares: Any, plane_stride: Any, row_stride: Any, panel: Any, worth: Any, scales: Any, out: Any,
    out_stride: Any, steps: Any, rows: Any, width: Any, step: Any,
) -> Any:  # fmt: skip
    """Write (128 * high . panel + low . panel) * worth * scale for `rows` rows of shares of 14 bits and 32 columns.

    shares  address of the rows' high seven bits, a byte each; a plane further the low ones
    panel   address of (steps, 32, 4) signed bytes; worth  of 32 float32; scales  of a float32 for each row
    """
    if (known := literals(rows, width, step)) is None:
        return None
    num_rows, num_lanes, how = known
    whole, real, form = ir.VectorType(I32, num_lanes), ir.VectorType(F32, num_lanes), Registers(num_lanes, how)

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        shares_at, plane, stride, panel_at, worth_at, scales_at, out_at, out_step, steps_v = args[:9]
        sources = [*_rows(b, shares_at, stride, num_rows), *_rows(b, b.add(shares_at, plane), stride, num_rows)]
        zero = ir.Constant(whole, [0] * num_lanes)
        for columns in _passes(num_lanes, 2 if num_lanes != 8 else 1):  # AVX2 has 16 registers, others have 32
            sums = [[cgutils.alloca_once_value(b, zero) for _ in columns] for _ in sources]
            with cgutils.for_range_slice(b, ir.Constant(I64, 0), steps_v, ir.Constant(I64, 1), I64) as (k, _):
                at = b.add(panel_at, b.mul(k, ir.Constant(I64, 4 * COLUMNS)))
                weights = [load(b, at, whole, 4 * column) for column in columns]
                for source, row in zip(sources, sums, strict=True):
                    four = spread(b, load(b, source, I32, b.mul(k, ir.Constant(I64, 4))), whole)
                    for kept, weight in zip(row, weights, strict=True):
                        b.store(_add_dots(b, b.load(kept), four, weight, form), kept)
            for number, target in enumerate(_rows(b, out_at, out_step, num_rows)):
                scale = spread(b, load(b, scales_at, F32, 4 * number), real)
                for column, high, low in zip(columns, sums[number], sums[num_rows + number], strict=True):
                    count = b.add(b.shl(b.load(high), ir.Constant(whole, [7] * num_lanes)), b.load(low))
                    part = b.fmul(b.fmul(b.sitofp(count, real), load(b, worth_at, real, 4 * column)), scale)
                    store(b, part, target, 4 * column)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 9, rows, width, step), codegen


class FloatWeights:
    """A matrix (N, K) and its bias as `float_product` wants them.

    Attributes
      panels  (P, K, 32) float32: columns side by side, the last panel filled with zeros
      bias    (P, 32) float32
    """

    def __init__(self, weight_NK: Floats, bias_N: Floats | None) -> None:
        self.columns, self.depth = weight_NK.shape
        wide = -(-self.columns // COLUMNS) * COLUMNS
        filled = np.zeros((wide, self.depth), np.float32)
        filled[: self.columns] = weight_NK
        self.panels = np.ascontiguousarray(filled.reshape(-1, COLUMNS, self.depth).transpose(0, 2, 1))
        self.bias = np.zeros((len(self.panels), COLUMNS), np.float32)
        if bias_N is not None:
            self.bias.reshape(-1)[: self.columns] = bias_N


class ByteWeights:
    """A matrix (N, K) and its bias as `byte_product` wants them: bytes, with a scale for each 64 of a column's depth.

    Attributes
      panels   (P, G, 16, 32, 4) int8: four of the depth side by side; zeros where there is nothing
      worth    (P, G, 32) float32: what a step of a byte is worth
      offsets  (P, G, 32) int32: what makes good that the bytes of rows are stored 64 too high
      bias     (P, 32) float32
    """

    def __init__(self, weight_NK: Floats, bias_N: Floats | None) -> None:
        self.columns, self.depth = weight_NK.shape
        wide, deep = -(-self.columns // COLUMNS) * COLUMNS, -(-self.depth // GROUP) * GROUP
        filled = np.zeros((wide, deep), np.float32)
        filled[: self.columns, : self.depth] = weight_NK
        codes_NGW, worth_NG = _as_bytes(filled.reshape(wide, -1, GROUP), 127)
        panels = codes_NGW.reshape(-1, COLUMNS, deep // GROUP, STEPS, 4)
        self.panels = np.ascontiguousarray(panels.transpose(0, 2, 3, 1, 4))
        self.worth = np.ascontiguousarray(worth_NG.reshape(-1, COLUMNS, deep // GROUP).transpose(0, 2, 1))
        self.offsets = -(LEVELS + 1) * self.panels.sum(axis=(2, 4), dtype=np.int32)
        self.bias = np.zeros((len(self.panels), COLUMNS), np.float32)
        if bias_N is not None:
            self.bias.reshape(-1)[: self.columns] = bias_N


def _as_bytes(parts: Floats, levels: int) -> tuple[NDArray[np.int8], Floats]:
    """Return each last axis as bytes -levels..levels, and what a step of them is worth."""
    largest = np.abs(parts).max(axis=-1)
    worth = (largest / np.float32(levels)).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.where(worth[..., None] > 0, np.rint(parts / worth[..., None]), 0)
    return codes.clip(-levels, levels).astype(np.int8), worth


@cache
def _float_product(width: int) -> Callable[..., None]:
    @compiled
    def run(rows: Any, panels: Any, bias: Any, out: Any) -> None:
        for panel in range(len(panels)):
            panel_at = panels.ctypes.data + panel * panels.strides[0]
            bias_at = bias.ctypes.data + panel * bias.strides[0]
            for row in range(0, len(rows), ROWS):
                row_at = rows.ctypes.data + row * rows.strides[0]
                out_at = out.ctypes.data + row * out.strides[0] + 4 * COLUMNS * panel
                float_tile(
                    row_at, rows.strides[0], panel_at, bias_at, out_at, out.strides[0], panels.shape[1], ROWS, width
                )

    return run


def float_product(rows: Floats, weights: FloatWeights, out: Floats) -> None:
    """Write rows @ weights + bias into `out`.

    rows  (R, K), 4 divides R; out  (R, 32 * P)
    """
    _float_product(registers().width)(rows, weights.panels, weights.bias, out)


@cache
def _byte_product(width: int, step: int) -> Callable[..., None]:
    @compiled
    def run(rows: Any, scales: Any, panels: Any, worth: Any, offsets: Any, bias: Any, out: Any) -> None:
        for panel in range(len(panels)):
            panel_at = panels.ctypes.data + panel * panels.strides[0]
            bias_at = bias.ctypes.data + panel * bias.strides[0]
            worth_at = worth.ctypes.data + panel * worth.strides[0]
            offsets_at = offsets.ctypes.data + panel * offsets.strides[0]
            for row in range(0, len(rows), ROWS):
                byte_tile(
                    rows.ctypes.data + row * rows.strides[0], rows.strides[0],
                    scales.ctypes.data + row * scales.strides[0], scales.strides[0], panel_at, worth_at, offsets_at,
                    bias_at, out.ctypes.data + row * out.strides[0] + 4 * COLUMNS * panel, out.strides[0],
                    panels.shape[1], ROWS, STEPS, width, step,
                )  # fmt: skip

    return run


def byte_product(rows: Bytes, scales: Floats, weights: ByteWeights, out: Floats) -> None:
    """Write rows @ weights + bias into `out`.

    rows  (R, 64 * G) bytes, 64 too high; scales  (R, G); 4 divides R; out  (R, 32 * P)
    """
    _byte_product(*registers())(rows, scales, weights.panels, weights.worth, weights.offsets, weights.bias, out)
