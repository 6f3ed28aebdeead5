"""What a transformer does between its matrix products, compiled: attention, LayerNorm, GELU, bytes of rows.

Every sum of floats has one order (`ordered`), exp and erf are polynomials, and nothing else is rounded but by the
standard's rules: all processors give the same bits.

Legend
  N tokens of all texts    I width of a hidden state    L tokens of a text    D width of a head
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.ordered import SIDE, numeric, total
from retrievers.colbert.kernels.products import COLUMNS, GROUP, LEVELS, ROWS, byte_tile, float_tile, share_tile
from retrievers.colbert.kernels.vectors.rows import (
    LANES,
    TINY,
    codes_of,
    gelu_of,
    key_words,
    norm_of,
    shares_of,
    size_of,
    softmax_of,
    values_bytes,
    values_worth,
)

Floats = NDArray[np.float32]

F = np.float32
ONE, ZERO = F(1), F(0)
MIDDLE = LEVELS + 1  # how 0 is stored
FAR_BELOW = F(-3e38)  # a score of what is no token: its share is 0


@numeric
def gelu(rows: Any) -> None:
    """Replace each x of (R, K) by x * (1 + erf(x / sqrt(2))) / 2."""
    for row in range(len(rows)):
        gelu_of(rows.ctypes.data + row * rows.strides[0], rows.shape[1])


@numeric
def add_and_norm(hidden: Any, added: Any, weight: Any, bias: Any, epsilon: Any) -> None:
    """Replace each row of `hidden` (R, I) by LayerNorm(row + row of `added`)."""
    width = hidden.shape[1]
    for row in range(len(hidden)):
        norm_of(
            hidden.ctypes.data + row * hidden.strides[0], added.ctypes.data + row * added.strides[0],
            weight.ctypes.data, bias.ctypes.data, width, ONE / F(width), F(epsilon),
        )  # fmt: skip


@numeric
def units(rows: Any, out: Any) -> None:
    """Write each row of (R, H) with length 1; a row of zeros stays one."""
    width = out.shape[1]
    sums, squares = np.empty(SIDE, np.float32), np.empty(width, np.float32)
    for row in range(len(out)):
        for j in range(width):
            squares[j] = rows[row, j] * rows[row, j]
        length = max(np.sqrt(total(squares, sums, width)), F(1e-12))
        for j in range(width):
            out[row, j] = rows[row, j] / length


@numeric
def _stored(numbers: Any, count: Any, out: Any) -> Any:
    """Write `count` numbers as bytes -63..63, stored 64 too high. Returns what a step of them is worth."""
    top = size_of(numbers, count)
    codes_of(numbers, count, F(LEVELS) / top if top > TINY else ZERO, out, MIDDLE)
    return top / F(LEVELS)


@numeric
def as_bytes(rows: Any, width: Any, out: Any, scales: Any) -> None:
    """Write the rows' first `width` numbers as bytes -63..63, stored 64 too high, with a scale for each 64 of them."""
    groups = width // GROUP
    for row in range(len(rows)):
        numbers, target = rows.ctypes.data + row * rows.strides[0], out.ctypes.data + row * out.strides[0]
        for group in range(groups):
            scales[row, group] = _stored(numbers + 4 * GROUP * group, GROUP, target + GROUP * group)
        if groups * GROUP < width:
            first = groups * GROUP
            scales[row, groups] = _stored(numbers + 4 * first, width - first, target + first)
            out[row, width : first + GROUP] = MIDDLE


# attention ------------------------------------------------------------------------------------------------------


class Room:
    """What attention needs beside its numbers, for texts of at most so many tokens and heads of so many numbers."""

    def __init__(self, length: int, head: int) -> None:
        panels, wide = -(-length // LANES) * LANES // COLUMNS, -(-head // COLUMNS)
        fours = -(-head // 4)
        self.edges = np.zeros((2, COLUMNS), np.float32)  # what scores begin with: zeros; of the last panel, see `_edge`
        self.scores = np.zeros((ROWS, panels * COLUMNS), np.float32)
        self.mixed = np.empty((ROWS, wide * COLUMNS), np.float32)
        self.keys = np.zeros((panels, head, COLUMNS), np.float32)
        self.values = np.zeros((wide, panels * COLUMNS, COLUMNS), np.float32)
        # the same in bytes, four of them to a number
        self.key_bytes = np.zeros((panels, -(-head // SIDE) * SIDE // 4, COLUMNS), np.int32)
        self.key_worth = np.zeros((panels, COLUMNS), np.float32)
        self.key_offsets = np.zeros((panels, COLUMNS), np.int32)
        self.value_bytes = np.zeros((wide, panels * COLUMNS // 4, COLUMNS), np.int32)
        self.value_worth = np.zeros((2, wide * COLUMNS), np.float32)  # and its inverse
        self.query_bytes = np.zeros((ROWS, 4 * fours), np.uint8)
        self.query_scales = np.zeros(ROWS, np.float32)
        self.shares = np.zeros((2, ROWS, panels * COLUMNS), np.uint8)  # the high seven bits, and the low ones

    def floats(self) -> tuple[Any, ...]:
        return self.edges, self.keys, self.values, self.scores, self.mixed

    def bytes(self) -> tuple[Any, ...]:
        return (
            self.edges, self.key_bytes, self.key_worth, self.key_offsets, self.value_bytes,
            self.value_worth, self.query_bytes, self.query_scales, self.scores, self.shares, self.mixed,
        )  # fmt: skip


@numeric
def _edge(edges: Any, seen: Any) -> Any:
    """Write what scores of the last panel begin with, far below where there is no token. Returns its first column."""
    first = (seen - 1) // COLUMNS * COLUMNS
    for column in range(COLUMNS):
        edges[1, column] = ZERO if first + column < seen else FAR_BELOW
    return first


@cache
def float_attention(head: int, width: int) -> Callable[..., None]:
    """Return the attention of one text with itself, in float32.

    qkv    (N, 3 * I): queries, keys, values; rows first..first + length are the text's, of which `seen` are looked at
    scale  of the scores; out  (N, I)
    """
    wide = -(-head // COLUMNS)

    @numeric
    def run(
        qkv: Any, first: Any, length: Any, seen: Any, heads: Any, scale: Any, edges: Any, keys: Any, values: Any,
        scores: Any, mixed: Any, out: Any,
    ) -> None:  # fmt: skip
        panels = (seen + COLUMNS - 1) // COLUMNS
        keys[panels - 1, :, seen - _edge(edges, seen) :] = ZERO
        for h in range(heads):
            at = h * head
            for key in range(seen):
                k, v = qkv[first + key, (heads + h) * head :], qkv[first + key, (2 * heads + h) * head :]
                for d in range(head):
                    keys[key // COLUMNS, d, key % COLUMNS] = k[d] * scale
                    values[d // COLUMNS, key, d % COLUMNS] = v[d]
            for row in range(0, length, ROWS):
                source = qkv.ctypes.data + (first + row) * qkv.strides[0] + 4 * at
                for panel in range(panels):
                    float_tile(
                        source, qkv.strides[0], keys.ctypes.data + panel * keys.strides[0],
                        edges.ctypes.data + (edges.strides[0] if panel == panels - 1 else 0),
                        scores.ctypes.data + 4 * COLUMNS * panel, scores.strides[0], head, ROWS, width,
                    )  # fmt: skip
                for i in range(ROWS):
                    softmax_of(scores.ctypes.data + i * scores.strides[0], seen)
                for panel in range(wide):
                    float_tile(
                        scores.ctypes.data, scores.strides[0], values.ctypes.data + panel * values.strides[0],
                        edges.ctypes.data, mixed.ctypes.data + 4 * COLUMNS * panel, mixed.strides[0], seen, ROWS, width,
                    )  # fmt: skip
                for i in range(min(ROWS, length - row)):
                    out[first + row + i, at : at + head] = mixed[i, :head]

    return run


@cache
def byte_attention(head: int, width: int, step: int) -> Callable[..., None]:
    """Return the same with queries and keys of bytes, values of bytes with a scale for each number of a head.

    Shares have 14 bits: with seven, what many tokens together weigh beside one large share would be lost.
    """
    wide, steps = -(-head // COLUMNS), -(-head // 4)

    @numeric
    def run(
        qkv: Any, first: Any, length: Any, seen: Any, heads: Any, scale: Any, edges: Any, keys: Any,
        key_worth: Any, key_offsets: Any, values: Any, value_worth: Any, queries: Any, query_scales: Any, scores: Any,
        shares: Any, mixed: Any, out: Any,
    ) -> None:  # fmt: skip
        panels, fours, stride = (seen + COLUMNS - 1) // COLUMNS, (seen + 3) // 4, qkv.strides[0]
        blocks = (seen + LANES - 1) // LANES
        key_worth[panels - 1, seen - _edge(edges, seen) :] = ZERO
        scores[:, panels * COLUMNS : blocks * LANES] = FAR_BELOW
        for h in range(heads):
            query_at = qkv.ctypes.data + first * stride + 4 * h * head
            key_at, value_at = query_at + 4 * heads * head, query_at + 8 * heads * head
            for d in range(0, head, SIDE):
                worth_at = value_worth.ctypes.data + 4 * d
                values_at = values.ctypes.data + d // COLUMNS * values.strides[0] + 4 * (d % COLUMNS)
                values_worth(value_at + 4 * d, stride, seen, worth_at, worth_at + value_worth.strides[0])
                values_bytes(
                    value_at + 4 * d, stride, fours, worth_at + value_worth.strides[0], values_at, values.strides[1]
                )
            for key in range(seen):
                panel, column = key // COLUMNS, key % COLUMNS
                top = size_of(key_at + key * stride, head)
                key_worth[panel, column] = top / F(127)
                whole = key_words(
                    key_at + key * stride, head, F(127) / top if top > TINY else ZERO,
                    keys.ctypes.data + panel * keys.strides[0] + 4 * column, 4 * COLUMNS,
                )  # fmt: skip
                key_offsets[panel, column] = -MIDDLE * whole
            for row in range(0, length, ROWS):
                for i in range(ROWS):
                    at = query_at + (row + i) * stride
                    query_scales[i] = _stored(at, head, queries.ctypes.data + i * queries.strides[0]) * scale
                for panel in range(panels):
                    byte_tile(
                        queries.ctypes.data, queries.strides[0], query_scales.ctypes.data, 4,
                        keys.ctypes.data + panel * keys.strides[0],
                        key_worth.ctypes.data + panel * key_worth.strides[0],
                        key_offsets.ctypes.data + panel * key_offsets.strides[0],
                        edges.ctypes.data + (edges.strides[0] if panel == panels - 1 else 0),
                        scores.ctypes.data + 4 * COLUMNS * panel, scores.strides[0], 1, ROWS, steps, width, step,
                    )  # fmt: skip
                shares_of(
                    scores.ctypes.data, scores.strides[0], blocks, shares.ctypes.data,
                    shares.strides[1], shares.strides[0], query_scales.ctypes.data, ROWS,
                )  # fmt: skip
                for panel in range(wide):
                    share_tile(
                        shares.ctypes.data, shares.strides[0], shares.strides[1],
                        values.ctypes.data + panel * values.strides[0], value_worth.ctypes.data + 4 * COLUMNS * panel,
                        query_scales.ctypes.data, mixed.ctypes.data + 4 * COLUMNS * panel, mixed.strides[0],
                        fours, ROWS, width, step,
                    )  # fmt: skip
                for i in range(min(ROWS, length - row)):
                    out[first + row + i, h * head : h * head + head] = mixed[i, :head]

    return run
