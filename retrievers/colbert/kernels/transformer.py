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
from retrievers.colbert.kernels.products import COLUMNS, GROUP, LEVELS, ROWS, byte_tile, count_tile, float_tile

Floats = NDArray[np.float32]

F = np.float32
ZERO, ONE, HALF = F(0), F(1), F(0.5)
LOWEST, LOG2E, LN2_HIGH, LN2_LOW = F(-87), F(1.4426950408889634), F(0.693359375), F(-2.12194440e-4)
ROUND = F(12582912)  # 1.5 * 2**23: adding it and taking it away rounds to a whole number
FACTORIALS = tuple(F(1 / x) for x in (720, 120, 24, 6, 2))  # of exp's series
# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: erf to 1.5e-7
ERF_STEP, ERF = F(0.3275911), tuple(F(x) for x in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
SQRT_HALF = F(0.7071067811865476)
TINY = F(1e-30)  # what is smaller is 0 in bytes
SHARES = 16383  # a share of attention as a whole number of 14 bits
P0, P1, P2, P3, P4 = FACTORIALS
E0, E1, E2, E3, E4 = ERF


@numeric
def exponentials(numbers: Any, powers: Any, count: Any) -> None:
    """Replace `count` numbers, none above 0, by their exponentials; `powers` is room for as many int32."""
    for j in range(count):
        x = numbers[j] if numbers[j] > LOWEST else LOWEST
        n = (x * LOG2E + ROUND) - ROUND
        r = (x - n * LN2_HIGH) - n * LN2_LOW
        numbers[j] = (((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r * r + r) + ONE
        powers[j] = np.int32(n)
    bits = numbers.view(np.int32)
    for j in range(count):
        bits[j] += powers[j] << 23


@numeric
def gelu(rows: Any) -> None:
    """Replace each x of (R, K) by x * (1 + erf(x / sqrt(2))) / 2."""
    width = rows.shape[1]
    inner, powers = np.empty(width, np.float32), np.empty(width, np.int32)
    for row in range(len(rows)):
        line = rows[row]
        for j in range(width):
            x = line[j] * SQRT_HALF
            inner[j] = -x * x
        exponentials(inner, powers, width)
        for j in range(width):
            t = ONE / (ONE + ERF_STEP * abs(line[j] * SQRT_HALF))
            tail = ((((E0 * t + E1) * t + E2) * t + E3) * t + E4) * t * inner[j]  # 1 - erf(|x| / sqrt(2))
            half = HALF * line[j]
            line[j] = half + abs(half) - abs(half) * tail


@numeric
def add_and_norm(hidden: Any, added: Any, weight: Any, bias: Any, epsilon: Any) -> None:
    """Replace each row of `hidden` (R, I) by LayerNorm(row + row of `added`)."""
    width = hidden.shape[1]
    sums, squares = np.empty(SIDE, np.float32), np.empty(width, np.float32)
    share = ONE / F(width)
    for row in range(len(hidden)):
        line, other = hidden[row], added[row]
        for j in range(width):
            line[j] += other[j]
        mean = total(line, sums, width) * share
        for j in range(width):
            line[j] -= mean
            squares[j] = line[j] * line[j]
        scale = ONE / np.sqrt(total(squares, sums, width) * share + epsilon)
        for j in range(width):
            line[j] = line[j] * scale * weight[j] + bias[j]


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
def largest(numbers: Any, count: Any, room: Any) -> Any:
    """Return the largest of `count` numbers; `room` is for one."""
    bits, top = numbers.view(np.int32), np.int32(-0x80000000)
    for j in range(count):  # integers in the order of the floats, because their largest is quick to find
        top = max(top, bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    room.view(np.int32)[0] = top ^ ((top >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return room[0]


@numeric
def _size(numbers: Any, size: Any) -> Any:
    """Return the largest number without its sign; `size` is room for one."""
    bits, top = numbers.view(np.int32), np.int32(0)
    for j in range(len(numbers)):  # of floats without a sign the larger has the larger bits, and integers are quick
        top = max(top, bits[j] & np.int32(0x7FFFFFFF))
    size.view(np.int32)[0] = top
    return size[0]


@numeric
def _code(x: Any) -> Any:
    """Return a small float32 rounded to a whole number."""
    return np.int32((x + ROUND) - ROUND)


@numeric
def as_bytes(rows: Any, width: Any, out: Any, scales: Any) -> None:
    """Write the rows' first `width` numbers as bytes -63..63, stored 64 too high, with a scale for each 64 of them."""
    room = np.empty(1, np.float32)
    for row in range(len(rows)):
        for group in range(scales.shape[1]):
            first = group * GROUP
            last = min(first + GROUP, width)
            part, codes = rows[row, first:last], out[row, first : first + GROUP]
            top = _size(part, room)
            scales[row, group] = top / F(LEVELS)
            inverse = F(LEVELS) / top if top > TINY else ZERO
            for j in range(last - first):
                codes[j] = np.uint8(_code(part[j] * inverse) + (LEVELS + 1))
            for j in range(last - first, GROUP):
                codes[j] = LEVELS + 1


# attention ------------------------------------------------------------------------------------------------------


class Room:
    """What attention needs beside its numbers, for texts of at most so many tokens and heads of so many numbers."""

    def __init__(self, length: int, head: int) -> None:
        panels, wide = -(-length // COLUMNS), -(-head // COLUMNS)
        deep, long = -(-head // 4) * 4, -(-length // 4) * 4
        self.zeros = np.zeros(COLUMNS, np.float32)
        self.scores = np.zeros((ROWS, panels * COLUMNS), np.float32)
        self.powers = np.empty(panels * COLUMNS, np.int32)
        self.mixed = np.empty((ROWS, wide * COLUMNS), np.float32)
        self.keys = np.zeros((panels, head, COLUMNS), np.float32)
        self.values = np.zeros((wide, long, COLUMNS), np.float32)
        # the same in bytes
        self.key_bytes = np.zeros((panels, deep // 4, COLUMNS, 4), np.int8)
        self.key_worth = np.zeros((panels, COLUMNS), np.float32)
        self.key_offsets = np.zeros((panels, COLUMNS), np.int32)
        self.value_bytes = np.zeros((wide, long // 4, COLUMNS, 4), np.int8)
        self.value_worth = np.zeros(wide * COLUMNS, np.float32)
        self.query_bytes = np.zeros((ROWS, deep), np.uint8)
        self.query_scales = np.zeros((ROWS, 1), np.float32)
        self.shares = np.zeros((2, ROWS, long), np.uint8)  # the high seven bits, and the low ones
        self.counts = np.zeros((2, wide, ROWS, COLUMNS), np.int32)

    def floats(self) -> tuple[Any, ...]:
        return self.zeros, self.keys, self.values, self.scores, self.powers, self.mixed

    def bytes(self) -> tuple[Any, ...]:
        return (
            self.zeros, self.key_bytes, self.key_worth, self.key_offsets, self.value_bytes, self.value_worth,
            self.query_bytes, self.query_scales, self.scores, self.powers, self.shares, self.counts,
        )  # fmt: skip


@cache
def float_attention(head: int, width: int) -> Callable[..., None]:
    """Return the attention of one text with itself, in float32.

    qkv    (N, 3 * I): queries, keys, values; rows first..first + length are the text's, of which `seen` are looked at
    scale  of the scores; out  (N, I)
    """
    wide = -(-head // COLUMNS)

    @numeric
    def run(
        qkv: Any, first: Any, length: Any, seen: Any, heads: Any, scale: Any, zeros: Any, keys: Any, values: Any,
        scores: Any, powers: Any, mixed: Any, out: Any,
    ) -> None:  # fmt: skip
        sums, room, panels = np.empty(SIDE, np.float32), np.empty(1, np.float32), (seen + COLUMNS - 1) // COLUMNS
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
                        source, qkv.strides[0], keys.ctypes.data + panel * keys.strides[0], zeros.ctypes.data,
                        scores.ctypes.data + 4 * COLUMNS * panel, scores.strides[0], head, ROWS, width,
                    )  # fmt: skip
                for i in range(ROWS):
                    line = scores[i]
                    top = largest(line, seen, room)
                    for j in range(seen):
                        line[j] -= top
                    exponentials(line, powers, seen)
                    share = ONE / total(line, sums, seen)
                    for j in range(seen):
                        line[j] *= share
                for panel in range(wide):
                    float_tile(
                        scores.ctypes.data, scores.strides[0], values.ctypes.data + panel * values.strides[0],
                        zeros.ctypes.data, mixed.ctypes.data + 4 * COLUMNS * panel, mixed.strides[0], seen, ROWS, width,
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
        qkv: Any, first: Any, length: Any, seen: Any, heads: Any, scale: Any, zeros: Any, keys: Any, key_worth: Any,
        key_offsets: Any, values: Any, value_worth: Any, queries: Any, query_scales: Any, scores: Any, powers: Any,
        shares: Any, counts: Any, out: Any,
    ) -> None:  # fmt: skip
        room = np.empty(1, np.float32)
        panels, fours = (seen + COLUMNS - 1) // COLUMNS, (seen + 3) // 4
        codes, tops = np.empty(head, np.int32), np.empty(head, np.float32)
        shares[:, :, seen : 4 * fours] = 0
        for h in range(heads):
            at = h * head
            tops[:] = ZERO
            for key in range(seen):
                v = qkv[first + key, (2 * heads + h) * head :]
                for d in range(head):
                    x = abs(v[d])
                    tops[d] = x if x > tops[d] else tops[d]
            for d in range(head):
                value_worth[d] = tops[d] / F(127)
                tops[d] = F(127) / tops[d] if tops[d] > TINY else ZERO
            for key in range(seen):
                begin = (heads + h) * head
                k, v = qkv[first + key, begin : begin + head], qkv[first + key, begin + heads * head :]
                panel, column = key // COLUMNS, key % COLUMNS
                top = _size(k, room)
                key_worth[panel, column] = top / F(127)
                inverse = F(127) / top if top > TINY else ZERO
                for d in range(head):
                    codes[d] = _code(k[d] * inverse)
                whole = np.int32(0)
                for d in range(head):
                    keys[panel, d // 4, column, d % 4] = codes[d]
                    whole += codes[d]
                key_offsets[panel, column] = -(LEVELS + 1) * whole
                for d in range(head):
                    codes[d] = _code(v[d] * tops[d])
                for d in range(head):
                    values[d // COLUMNS, key // 4, d % COLUMNS, key % 4] = codes[d]
            for row in range(0, length, ROWS):
                for i in range(ROWS):
                    q = qkv[first + row + i, at : at + head]
                    top = _size(q, room)
                    query_scales[i, 0] = top / F(LEVELS) * scale
                    inverse = F(LEVELS) / top if top > TINY else ZERO
                    for d in range(head):
                        queries[i, d] = np.uint8(_code(q[d] * inverse) + (LEVELS + 1))
                for panel in range(panels):
                    byte_tile(
                        queries.ctypes.data, queries.strides[0], query_scales.ctypes.data, 4,
                        keys.ctypes.data + panel * keys.strides[0],
                        key_worth.ctypes.data + panel * key_worth.strides[0],
                        key_offsets.ctypes.data + panel * key_offsets.strides[0], zeros.ctypes.data,
                        scores.ctypes.data + 4 * COLUMNS * panel, scores.strides[0], 1, ROWS, steps, width, step,
                    )  # fmt: skip
                for i in range(ROWS):
                    line, high, low = scores[i], shares[0, i], shares[1, i]
                    top = largest(line, seen, room)
                    for j in range(seen):
                        line[j] -= top
                    exponentials(line, powers, seen)
                    whole = np.int32(0)
                    for j in range(seen):
                        share = _code(line[j] * F(SHARES))
                        whole += share
                        high[j] = np.uint8(share >> 7)
                        low[j] = np.uint8(share & 127)
                    query_scales[i, 0] = ONE / F(whole)
                for plane in range(2):
                    for panel in range(wide):
                        count_tile(
                            shares.ctypes.data + plane * shares.strides[0], shares.strides[1],
                            values.ctypes.data + panel * values.strides[0],
                            counts.ctypes.data + plane * counts.strides[0] + panel * counts.strides[1],
                            fours, ROWS, width, step,
                        )  # fmt: skip
                for i in range(min(ROWS, length - row)):
                    for d in range(head):
                        panel, column = d // COLUMNS, d % COLUMNS
                        count = counts[0, panel, i, column] * np.int32(128) + counts[1, panel, i, column]
                        out[first + row + i, at + d] = F(count) * value_worth[d] * query_scales[i, 0]

    return run
