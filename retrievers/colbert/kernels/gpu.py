"""The stages of `reference` on a GPU: Triton where a product and its maximum belong in one kernel, else torch.

Codes stay packed in memory; a kernel unpacks them in registers, and no token
is ever written out as numbers. Under TRITON_INTERPRET=1 the same kernels run
on a CPU, slowly. torch and triton are looked for at the first call.

Legend  N tokens  D documents  K centroids  H dimensions  P bytes of a packed residual  F codes in a byte
        B queries  Q query tokens, filled up to a power of two  C candidates of a query, filled up with row -1
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retrievers.colbert.kernels.arrays import COARSE, LANES, UNIT, Codec, Query, Segment
from retrievers.colbert.kernels.device import device as device
from retrievers.colbert.kernels.device import moved as moved
from retrievers.colbert.kernels.device import package as package
from retrievers.colbert.kernels.device import power_of_two as power_of_two

if TYPE_CHECKING:  # at run time `_kernel` puts `tl` here, where the kernels look for it
    import triton.language as tl
    from torch import Tensor

EMPTY = -(2**62)  # what `centroid_interaction` gives for no tokens, as in `reference`
LOW_HALF = 0xFFFFFFFF
POINTS = 1 << 22  # that are assigned or added up at once
TOGETHER = 128  # query tokens, of one or more queries, that meet an unpacked token


@cache
def _kernel(name: str) -> Any:
    """Return a kernel of this file, ready to be launched."""
    triton = package("triton")
    globals()["tl"] = package("triton.language")
    return triton.jit(globals()[name])


def _launch(name: str, grid: int, *args: Any, **options: Any) -> None:
    """Run a kernel where its first argument is: Triton by itself takes the first GPU, whatever it is given."""
    with package("torch").cuda.device(args[0].device) if args[0].is_cuda else nullcontext():
        _kernel(name)[(grid,)](*args, **options)


# nearest centroids ----------------------------------------------------------------------------------------------


def _nearest_kernel(
    points: tl.tensor, centroids: tl.tensor, centroid_ids: tl.tensor, num_points: tl.tensor, num_centroids: tl.tensor,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SHIFT: tl.constexpr,
) -> None:  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    h = tl.arange(0, BLOCK_H)
    lanes = tl.arange(0, BLOCK_K)
    here = (rows < num_points)[:, None] & (h < H)[None, :]
    point = tl.load(points + rows[:, None] * H + h[None, :], mask=here, other=0)
    best = tl.full([BLOCK_N], -(2**31), tl.int32)
    centroid_id = tl.zeros([BLOCK_N], tl.int32)
    for first in range(0, num_centroids, BLOCK_K):
        near = tl.load(centroids + (first + lanes)[None, :] * H + h[:, None], mask=(h < H)[:, None], other=0)
        dots = tl.dot(point, near, out_dtype=tl.int32)
        # the place goes into the low bits, the first highest: one maximum finds product and place
        top = tl.max((dots << SHIFT) + (BLOCK_K - 1 - lanes)[None, :], 1)
        better = (top >> SHIFT) > best
        best = tl.where(better, top >> SHIFT, best)
        centroid_id = tl.where(better, first + BLOCK_K - 1 - (top & (BLOCK_K - 1)), centroid_id)
    tl.store(centroid_ids + rows, centroid_id, mask=rows < num_points)


def nearest(points_NH: Any, centroids_KH: Any) -> Any:
    """Return what `reference.nearest` returns, where the points are: a tensor for a tensor, else an array.

    Raises  ValueError above 1,024 dimensions, where a product and its place do not fit 32 bits
    """
    torch = package("torch")
    where = points_NH.device if isinstance(points_NH, torch.Tensor) else device()
    num_points, dim = points_NH.shape
    if dim > 1024:
        raise ValueError(f"nearest on a GPU takes 1,024 dimensions at most, not {dim:,}")
    block_n, block_k, stages = (128, 128, 3) if dim <= 256 else (64, 64, 2)  # what fits 227 KB of shared memory
    centroids = torch.as_tensor(np.array(centroids_KH) if isinstance(centroids_KH, np.ndarray) else centroids_KH)
    centroids = (centroids.to(where) ^ 128).view(torch.int8)
    # filled up with the first centroid: its copies come later, so none of them is ever the first of equals
    centroids = torch.cat([centroids, centroids[:1].expand(-len(centroids) % block_k, -1)]).contiguous()
    centroid_ids = torch.empty(num_points, dtype=torch.int32, device=where)
    for first in range(0, num_points, POINTS):
        points = points_NH[first : first + POINTS]
        if not isinstance(points, torch.Tensor):
            points = torch.from_numpy(np.array(points)).to(where)
        _launch(
            "_nearest_kernel", -(-len(points) // block_n),
            points.contiguous(), centroids, centroid_ids[first : first + POINTS], len(points), len(centroids),
            H=dim, BLOCK_H=power_of_two(32, dim), BLOCK_N=block_n, BLOCK_K=block_k, SHIFT=block_k.bit_length() - 1,
            num_warps=4, num_stages=stages,
        )  # fmt: skip
    return centroid_ids if isinstance(points_NH, torch.Tensor) else centroid_ids.cpu().numpy()


def sums(points_NH: Tensor, centroid_ids_N: Tensor, num_centroids: int) -> tuple[Tensor, Tensor]:
    """Return what `cpu.sums` returns, of tensors: for k-means whose points stay on the GPU."""
    torch = package("torch")
    out = torch.zeros(num_centroids, points_NH.shape[1], dtype=torch.int64, device=points_NH.device)
    for first in range(0, len(points_NH), POINTS):  # so many bytes add up to less than 2 ** 31
        some = torch.zeros_like(out, dtype=torch.int32)
        out += some.index_add_(0, centroid_ids_N[first : first + POINTS], points_NH[first : first + POINTS].int())
    return out, torch.bincount(centroid_ids_N, minlength=num_centroids)


# an index on a device -------------------------------------------------------------------------------------------


class GpuCodec(NamedTuple):
    """A codec's tables. The numbers of a vector stand in the order of the packed fields, (F, P), not (P, F)."""

    shifted: Tensor  # (K, H) float32, whole numbers
    table: Tensor  # (K, F, P): centroids plus `offset`, in bytes as they lie on disk, or in float32
    weights: Tensor  # (2 ** bits,) float32, in steps of the table
    offset: float
    codec: Codec


class GpuSegment(NamedTuple):
    centroid_ids: Tensor  # (N,) uint16 or int32
    residuals: Tensor  # (N, P) uint8
    starts: Tensor  # (D + 1,) int64
    rows: Tensor  # int32: the documents of each centroid, ascending
    row_starts: Tensor  # (K + 1,) int64
    num_documents: int


def tables(codec: Codec, where: str) -> GpuCodec:
    """Return a codec on a device. Raises ValueError if 16 does not divide its dimensions."""
    if codec.dim % 16:
        raise ValueError(f"search on a GPU takes dimensions that 16 divides, not {codec.dim}")
    table, weights, offset = np.asarray(codec.shifted), codec.weights / np.float32(codec.step), 128.0
    if codec.exact is not None:
        table, weights, offset = np.asarray(codec.exact, np.float32), codec.weights, 0.0
    shifted = np.asarray(codec.shifted, np.float32) - np.float32(128)
    fields = np.ascontiguousarray(table.reshape(len(table), -1, 8 // codec.bits).transpose(0, 2, 1))
    return GpuCodec(moved(shifted, where), moved(fields, where), moved(weights, where), offset, codec)


def segment(part: Segment, codec: Codec, where: str) -> GpuSegment:
    """Return a segment on a device."""
    centroid_ids, starts = moved(part.centroid_ids, where), moved(part.starts, where)
    lists = _lists(centroid_ids, starts, codec.num_centroids)
    return GpuSegment(centroid_ids, moved(part.residuals, where), starts, *lists, part.num_documents)


def _lists(centroid_ids_N: Tensor, starts_D: Tensor, num_centroids: int) -> tuple[Tensor, Tensor]:
    """Return the documents of each centroid, as the inverted lists on disk have them.

    Made again from the centroids: a GPU sorts them sooner than it could follow bytes that depend on the bytes before.
    """
    torch = package("torch")
    documents = max(1, len(starts_D) - 1)
    row_N = torch.repeat_interleave(torch.arange(len(starts_D) - 1, device=centroid_ids_N.device), starts_D.diff())
    keys = torch.unique(centroid_ids_N.long().mul_(documents).add_(row_N))
    row_starts = torch.searchsorted(keys, torch.arange(num_centroids + 1, device=keys.device) * documents)
    return keys.remainder_(documents).int(), row_starts


class QueryBatch(NamedTuple):
    """Some queries, filled up to one length with tokens of 0."""

    vectors: Tensor  # (B, Q, H) float32
    lanes: Tensor  # (B, Q, H) float32: the same as whole numbers
    least: Tensor  # (B, Q) float32
    steps: Tensor  # (B,) float32: what a product is worth in steps of UNIT
    counts: Tensor  # (B,) int32: tokens


def batch(codec: GpuCodec, queries: Sequence[Query]) -> QueryBatch:
    """Return queries on the codec's device."""
    longest = power_of_two(LANES, max(query.count for query in queries))
    shape = (len(queries), longest, codec.codec.dim)
    vectors, lanes, least = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
    for i, query in enumerate(queries):
        vectors[i, : query.count] = query.vectors
        lanes[i, : query.count] = query.lanes.reshape(-1, shape[2])[: query.count]
        least[i, : query.count] = query.least(codec.codec).ravel()[: query.count]
    steps = np.array([query.step * codec.codec.step / UNIT for query in queries], np.float32)
    counts = np.array([query.count for query in queries], np.int32)
    where = codec.weights.device
    return QueryBatch(*(moved(array, where) for array in (vectors, lanes, least, steps, counts)))


# centroids ----------------------------------------------------------------------------------------------------------


def centroid_scores(codec: GpuCodec, asked: QueryBatch) -> Tensor:
    """Return what `reference.centroid_scores` returns, (B, K, Q) int16, to the last bit.

    The numbers are whole and of 8 bits, and their sums below 2 ** 24: exact in TF32 too, where torch is set to it.
    """
    torch = package("torch")
    dots_BKQ = torch.matmul(codec.shifted, asked.lanes.transpose(1, 2)).add_(asked.least[:, None])
    out: Tensor = dots_BKQ.mul_(asked.steps[:, None, None]).round_().clamp_(-32768, 32767).to(torch.int16)
    return out


def coarse(scores: Tensor) -> Tensor:
    """Return what `reference.coarse` returns."""
    return (scores >> COARSE).clamp_(-128, 127).to(package("torch").int8)


def best(rows: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the rows of the largest values of the last axis, best first, the smaller row of equals; and the values."""
    torch = package("torch")
    floats = values.is_floating_point()
    order = _ordered_bits(values.view(torch.int32)) if floats else values.long().clamp(min=1 - 2**31)
    keys = (order.long() << 32) - rows
    kept = keys.topk(min(count, keys.shape[-1])).values
    low = -kept & LOW_HALF
    rows = torch.where(low == LOW_HALF, -1, low)
    order = (kept + rows) >> 32
    return rows, _ordered_bits(order.int()).view(torch.float32) if floats else order


def _ordered_bits(bits: Tensor) -> Tensor:
    """Return the bits of float32 as integers of the same order; or those integers as the bits again."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _interaction_kernel(
    out: tl.tensor, scores: tl.tensor, rows: tl.tensor, centroid_ids: tl.tensor, starts: tl.tensor, num_rows: tl.tensor,
    num_centroids: tl.tensor, QUERY: tl.constexpr, TOKENS: tl.constexpr, LEAST: tl.constexpr, NOTHING: tl.constexpr,
) -> None:  # fmt: skip
    pair = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + pair)
    start = tl.load(starts + row, mask=row >= 0, other=0)
    stop = tl.load(starts + row + 1, mask=row >= 0, other=0)
    lanes = tl.arange(0, QUERY)
    top = tl.full([QUERY], LEAST, tl.int32)
    for at in range(start, stop, TOKENS):
        tokens = at + tl.arange(0, TOKENS)
        here = tokens < stop
        place = tl.load(centroid_ids + tokens, mask=here, other=0).to(tl.int64) + pair // num_rows * num_centroids
        score = tl.load(scores + place[:, None] * QUERY + lanes[None, :], mask=here[:, None], other=LEAST)
        top = tl.maximum(top, tl.max(score.to(tl.int32), 0))
    tl.store(out + pair, tl.where(start < stop, tl.sum(top, 0).to(tl.int64), NOTHING))


def centroid_interaction(segment: GpuSegment, scores_BKQ: Tensor, rows_BC: Tensor) -> Tensor:
    """Return what `reference.centroid_interaction` returns, (B, C) int64, of int8 (coarse) or int16 (fine) scores."""
    torch = package("torch")
    least, warps = torch.iinfo(scores_BKQ.dtype).min, min(8, max(1, scores_BKQ.shape[2] // 32))
    out: Tensor = torch.empty(rows_BC.shape, dtype=torch.int64, device=rows_BC.device)
    if out.numel():
        _launch(
            "_interaction_kernel", out.numel(), out, scores_BKQ, rows_BC.contiguous(), segment.centroid_ids,
            segment.starts, rows_BC.shape[1], scores_BKQ.shape[1], QUERY=scores_BKQ.shape[2], TOKENS=32, LEAST=least,
            NOTHING=EMPTY, num_warps=warps,
        )  # fmt: skip
    return out


# in full --------------------------------------------------------------------------------------------------------


def _maxsim_kernel(
    out: tl.tensor, queries: tl.tensor, counts: tl.tensor, rows: tl.tensor, centroid_ids: tl.tensor,
    residuals: tl.tensor, starts: tl.tensor, table: tl.tensor, weights: tl.tensor, wanted: tl.tensor,
    offset: tl.tensor, num_rows: tl.tensor, num_queries: tl.tensor, num_centroids: tl.tensor, groups: tl.tensor,
    PAIRS: tl.constexpr, WANTED: tl.constexpr, BITS: tl.constexpr, P: tl.constexpr, BLOCK_P: tl.constexpr,
    QUERY: tl.constexpr, GROUP: tl.constexpr, TOKENS: tl.constexpr,
) -> None:  # fmt: skip
    place = tl.program_id(0).to(tl.int64) // groups
    first = tl.program_id(0) % groups * GROUP  # of the queries that are answered at once
    row = tl.load(rows + place)
    if PAIRS:
        first = (place // num_rows).to(tl.int32)
    start = tl.load(starts + row, mask=row >= 0, other=0)
    stop = tl.load(starts + row + 1, mask=row >= 0, other=0)
    FIELDS: tl.constexpr = 8 // BITS
    lanes = first * QUERY + tl.arange(0, GROUP * QUERY)
    p = tl.arange(0, BLOCK_P)
    top = tl.full([GROUP * QUERY], float("-inf"), tl.float32)
    for at in range(start, stop, TOKENS):
        tokens = at + tl.arange(0, TOKENS)
        alive = tokens < stop
        here = alive[:, None] & (p < P)[None, :]
        centroid_id = tl.load(centroid_ids + tokens, mask=alive, other=0).to(tl.int32)
        packed = tl.load(residuals + tokens[:, None] * P + p[None, :], mask=here, other=0).to(tl.int32)
        dots = tl.zeros([TOKENS, GROUP * QUERY], tl.float32)
        squares = tl.zeros([TOKENS, BLOCK_P], tl.float32)
        for field in tl.static_range(FIELDS):
            code = (packed >> (8 - BITS * (field + 1))) & (2**BITS - 1)
            if BITS == 1:
                number = tl.where(code > 0, tl.load(weights + 1), tl.load(weights))
            elif BITS == 2:
                high = tl.where(code > 2, tl.load(weights + 3), tl.load(weights + 2))
                number = tl.where(code > 1, high, tl.where(code > 0, tl.load(weights + 1), tl.load(weights)))
            else:
                number = tl.load(weights + code)
            near = tl.load(table + centroid_id[:, None] * (FIELDS * P) + (field * P + p)[None, :], mask=here, other=0)
            number += near.to(tl.float32) - offset
            if BLOCK_P > P:
                number = tl.where(here, number, 0.0)
            squares += number * number
            query = tl.load(queries + lanes[None, :] * (FIELDS * BLOCK_P) + (field * BLOCK_P + p)[:, None])
            dots = tl.dot(number.to(query.dtype), query, dots, input_precision="ieee")
        dots *= (1 / tl.maximum(tl.sqrt(tl.sum(squares, 1)), 1e-12))[:, None]
        if WANTED:
            alive = alive & (tl.load(wanted + first.to(tl.int64) * num_centroids + centroid_id) > 0)
        top = tl.maximum(top, tl.max(tl.where(alive[:, None], dots, float("-inf")), 0))
    which = first + tl.arange(0, GROUP)
    count = tl.load(counts + which)
    seen = tl.arange(0, QUERY)[None, :] < count[:, None]
    score = tl.sum(tl.where(seen, tl.reshape(top, [GROUP, QUERY]), 0.0), 1)
    if PAIRS:
        tl.store(out + place + tl.arange(0, GROUP), score)
    else:
        tl.store(out + which.to(tl.int64) * num_rows + place, score, mask=which < num_queries)


def exact_maxsim(
    codec: GpuCodec, part: GpuSegment, vectors_BQH: Tensor, counts_B: Tensor, rows: Tensor,
    wanted_BK: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return what `reference.exact_maxsim` returns for each query, (B, C) float32; -inf for row -1 too.

    vectors_BQH  float16, bfloat16 or float32: what products are made in; sums and lengths are of float32
    rows         (B, C): some for each query; or (C,): the same for all, read once for several queries
    wanted_BK    uint8: only tokens of these centroids count; with rows for each query

    Raises  ValueError if `rows` are not that
    """
    torch = package("torch")
    num_queries, num_tokens, dim = vectors_BQH.shape
    pairs, bits, num_rows = rows.ndim == 2, codec.codec.bits, rows.shape[-1]
    if (pairs and len(rows) != num_queries) or (wanted_BK is not None and not pairs):
        raise ValueError(
            f"rows are (B, C), or (C,) without wanted centroids; for {num_queries} queries not {tuple(rows.shape)}"
        )
    if num_tokens > TOGETHER:  # more would not fit the registers, and the sum over query tokens is one of such sums
        rest = (counts_B - TOGETHER).clamp(min=0)
        begin = exact_maxsim(codec, part, vectors_BQH[:, :TOGETHER], counts_B, rows, wanted_BK)
        return begin + exact_maxsim(codec, part, vectors_BQH[:, TOGETHER:], rest, rows, wanted_BK)
    out: Tensor = torch.empty(num_queries, num_rows, dtype=torch.float32, device=rows.device)
    if not out.numel():
        return out
    fields, width, query = 8 // bits, dim * bits // 8, power_of_two(16, num_tokens)
    group = 1 if pairs else min(TOGETHER // query, power_of_two(1, num_queries))
    groups = 1 if pairs else -(-num_queries // group)
    block = power_of_two(16, width)
    # the numbers of a query in the order of the packed fields: the codes of one field meet them in one product
    filled = num_queries if pairs else groups * group
    queries = torch.zeros(filled, query, fields, block, dtype=vectors_BQH.dtype, device=out.device)
    queries[:num_queries, :num_tokens, :, :width] = vectors_BQH.reshape(*vectors_BQH.shape[:2], width, fields).mT
    counts = torch.nn.functional.pad(counts_B, (0, filled - num_queries))
    _launch(
        "_maxsim_kernel", num_rows * (num_queries if pairs else groups),
        out, queries, counts, rows.contiguous(), part.centroid_ids, part.residuals, part.starts, codec.table,
        codec.weights, rows if wanted_BK is None else wanted_BK, codec.offset, num_rows, num_queries,
        len(codec.table), groups, PAIRS=pairs, WANTED=wanted_BK is not None, BITS=bits, P=width, BLOCK_P=block,
        QUERY=query, GROUP=group, TOKENS=64, num_warps=4,
    )  # fmt: skip
    return out
