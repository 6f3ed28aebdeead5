"""The inner steps of `cpu` as vector code, written as LLVM by numba: no compiler is needed where this runs.

All is integers until a token's score is known, or until it is decoded: unsigned bytes (levels of the residual, or a
centroid shifted by 128) times signed bytes (a query, 32 tokens side by side). `forms.form()` says what this processor
has; where it has nothing of all that, `cpu` takes its portable loops, which are these functions' twins.

Legend  H dimensions  P bytes of a packed residual  lanes: 32 query tokens, two registers of 16
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrievers.colbert.kernels.arrays import LANES
from retrievers.colbert.kernels.vectors.forms import form
from retrievers.colbert.kernels.vectors.llvm import (
    F32,
    HALVES,
    I8,
    I16,
    I32,
    I64,
    V16F32,
    V16I16,
    V16I32,
    Builder,
    Value,
    call,
    clipped_id,
    literals,
    load,
    part,
    pointer,
    spread,
    store,
    unsigned,
)
from retrievers.colbert.kernels.vectors.simd_dots import fused_dots


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
    fields, register = 8 // num_bits, 4 * form().width  # bytes
    together = register // row_bytes if register % row_bytes == 0 else 1  # tokens whose bytes a register holds
    piece = row_bytes if together > 1 else min(register, row_bytes)
    # where in a token's bytes a register reads: a last one that would pass their end starts earlier
    offsets = [0] if together > 1 else sorted({min(at, row_bytes - piece) for at in range(0, row_bytes, piece)})
    octets, words = ir.VectorType(I8, register), ir.VectorType(I16, register // 2)

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        packed_at, count_v, table_at, out_at = args[:4]
        levels = load(b, table_at, octets)
        mask = ir.Constant(octets, [2**num_bits - 1] * register)
        step = ir.Constant(I64, together * row_bytes)
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), count_v, step, I64) as (i, _):
            row_at = b.add(out_at, b.mul(i, ir.Constant(I64, fields)))
            for start in offsets:
                codes = b.bitcast(load(b, packed_at, octets, b.add(i, ir.Constant(I64, start))), words)
                for field in range(fields):
                    shift = 8 - num_bits * (field + 1)
                    moved = b.lshr(codes, ir.Constant(words, [shift] * words.count)) if shift else codes
                    found = _looked_up(b, levels, b.and_(b.bitcast(moved, octets), mask))
                    for token in range(together):
                        of_token = part(b, found, list(range(token * row_bytes, token * row_bytes + piece)))
                        store(b, of_token, row_at, token * row_bytes * fields + field * row_bytes + start)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp, bits, width), codegen


def _looked_up(b: Builder, table: Value, places: Value) -> Value:
    """Return for each byte, below 16, what stands there in a table that every 16 bytes of a register have."""
    if places.type.count == 16:
        return call(b, "llvm.aarch64.neon.tbl1.v16i8", places.type, table, places)
    name = {64: "llvm.x86.avx512.pshuf.b.512", 32: "llvm.x86.avx2.pshuf.b"}[places.type.count]
    return call(b, name, places.type, table, places)


def _raise(
    b: Builder, args: dict[str, Value], id_bytes: int, row: Value, sums: list[Value], tops: list[Value], keep: int
) -> list[Value]:
    """Return the best scores after the token `row`: its centroid score and its sums; keep its own if asked to."""
    number = load(b, args["centroid_ids"], ir.IntType(8 * id_bytes), b.mul(row, ir.Constant(I64, id_bytes)))
    centroid_id = clipped_id(b, number, args["last"])
    length = unsigned(b, load(b, args["lengths"], I8, row))
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


def _named(context: Any, b: Builder, kinds: Any, values: Value, *first: str) -> dict[str, Value]:
    """Return the numbers of a tuple of tokens by their names, of which the first two differ."""
    names = (*first, "centroid_ids", "scores", "lengths", "table", "unit", "best", "kept", "last")
    numbers = zip(names, cgutils.unpack_tuple(b, values), kinds.types, strict=True)
    return {name: context.cast(b, value, kind, types.intp) for name, value, kind in numbers}


@intrinsic(prefer_literal=True)
def tokens_scores(typingctx: Any, of_tokens: Any, count: Any, dim: Any, id_bytes: Any, keep: Any) -> Any:
    """Raise `best` to the scores of `count` document tokens: (centroid score + levels . query) * inverse length.

    of_tokens, a tuple:
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
        given = _named(context, b, of_tokens, args[0], "levels", "query")
        rows = [b.add(given["levels"], ir.Constant(I64, r * num_dims)) for r in range(num_rows)]
        sums = fused_dots(b, rows, num_dims, given["query"])
        tops = [load(b, given["best"], V16F32, 64 * half) for half in HALVES]
        for r in range(num_rows):
            tops = _raise(b, given, num_bytes, ir.Constant(I64, r), sums[r], tops, to_keep)
        for half in HALVES:
            store(b, tops[half], given["best"], 64 * half)
        return context.get_dummy_value()

    return types.void(of_tokens, count, dim, id_bytes, keep), codegen


@intrinsic(prefer_literal=True)
def take_best(typingctx: Any, of_tokens: Any, id_bytes: Any, keep: Any) -> Any:
    """Do the second half of `tokens_scores` for tokens whose dot products are there: (count, 32) int32 at `dots`.

    of_tokens  a tuple as there, but for `dots` and `count` in place of the first two
    """
    if (known := literals(id_bytes, keep)) is None:
        return None
    num_bytes, to_keep = known

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        given = _named(context, b, of_tokens, args[0], "dots", "count")
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

    return types.void(of_tokens, id_bytes, keep), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any, count: Any) -> Any:
    """Ask for `count` bytes to be near when they are read."""

    def codegen(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        fetch = b.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        how = [ir.Constant(I32, number) for number in (0, 2, 1)]  # to read, into the second cache, as data
        with cgutils.for_range_slice(b, ir.Constant(I64, 0), args[1], ir.Constant(I64, 64), I64) as (i, _):
            b.call(fetch, [pointer(b, args[0], I8, i), *how])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen
