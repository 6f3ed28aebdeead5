"""The encoder's products and what stands between them, beside numpy's own."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")

from retrievers.colbert.kernels import products, transformer
from retrievers.colbert.kernels.products import (
    GROUP,
    ROWS,
    ByteWeights,
    FloatWeights,
    Registers,
    byte_product,
    float_product,
)
from retrievers.colbert.kernels.vectors.forms import PAIRS, PORTABLE, VNNI, is_here

Floats = NDArray[np.float32]
FORMS = [Registers(4, PORTABLE), Registers(8, PAIRS), Registers(8, VNNI), Registers(16, VNNI)]


@pytest.fixture(params=FORMS, ids=str)
def form(request, monkeypatch) -> Iterator[Registers]:
    """Every form that this processor can run."""
    width, step = request.param
    names = {(4, PORTABLE): "plain", (8, PAIRS): "avx2", (8, VNNI): "avxvnni", (16, VNNI): "avx512"}
    if not is_here(names[width, step]):
        pytest.skip("this processor has no such registers")
    for module in (products, transformer):
        if hasattr(module, "registers"):
            monkeypatch.setattr(module, "registers", lambda: request.param)
    return request.param


def numbers(shape: tuple[int, ...], seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * rng.choice([0.01, 1, 30], shape[-1])).astype(np.float32)


def bytes_of(rows: Floats) -> tuple[NDArray[np.uint8], Floats]:
    deep = -(-rows.shape[1] // GROUP)
    codes, scales = np.zeros((len(rows), deep * GROUP), np.uint8), np.zeros((len(rows), deep), np.float32)
    transformer.as_bytes(rows, rows.shape[1], codes, scales)
    return codes, scales


@given(depth=st.integers(1, 200), columns=st.integers(1, 70), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_float_product_is_numpys(depth, columns, seed):
    rows, weight, bias = numbers((2 * ROWS, depth), seed), numbers((columns, depth), seed + 1), numbers((columns,), seed + 2)
    weights = FloatWeights(weight, bias)
    out = np.empty((len(rows), weights.bias.size), np.float32)
    float_product(rows, weights, out)
    wanted = rows.astype(np.float64) @ weight.T.astype(np.float64) + bias
    size = np.abs(rows).astype(np.float64) @ np.abs(weight.T) + np.abs(bias)
    assert (np.abs(out[:, :columns] - wanted) <= 1e-6 * depth**0.5 * size + 1e-30).all()
    assert not out[:, columns:].any()


def by_groups(codes: NDArray[np.uint8], scales: Floats, weights: ByteWeights) -> Floats:
    """The twin of `byte_product`: the same sums in the same order, in numpy."""
    signed = codes.reshape(len(codes), -1, GROUP).astype(np.int64) - (products.LEVELS + 1)
    panels, groups = weights.worth.shape[:2]
    out = np.repeat(weights.bias.reshape(1, -1), len(codes), axis=0)
    for group in range(groups):
        matrix = weights.panels[:, group].transpose(0, 2, 1, 3).reshape(panels * 32, GROUP).astype(np.int64)
        worth = weights.worth[:, group].reshape(-1)
        out += (signed[:, group] @ matrix.T).astype(np.float32) * worth * scales[:, group, None]
    return out


@given(depth=st.integers(1, 200), columns=st.integers(1, 70), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_byte_product_is_its_twin(depth, columns, seed):
    codes, scales = bytes_of(numbers((2 * ROWS, depth), seed))
    weights = ByteWeights(numbers((columns, depth), seed + 1), numbers((columns,), seed + 2))
    out = np.empty((len(codes), weights.bias.size), np.float32)
    byte_product(codes, scales, weights, out)
    assert np.array_equal(out, by_groups(codes, scales, weights))


def test_every_form_gives_the_same_bits(form):
    rows, weight, bias = numbers((2 * ROWS, 150), 5), numbers((45, 150), 6), numbers((45,), 7)
    codes, scales = bytes_of(rows)
    inexact, exact = FloatWeights(weight, bias), ByteWeights(weight, bias)
    found = [np.empty((len(rows), 64), np.float32) for _ in range(2)]
    float_product(rows, inexact, found[0])
    byte_product(codes, scales, exact, found[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "registers", lambda: FORMS[0])
        wanted = [np.empty_like(part) for part in found]
        float_product(rows, inexact, wanted[0])
        byte_product(codes, scales, exact, wanted[1])
    assert [part.tobytes() for part in found] == [part.tobytes() for part in wanted]


def test_largest_bytes_do_not_overflow(form):
    """Two products of bytes are added in 16 bits where the processor has no better: 127 * 127 * 2 fits."""
    weights = ByteWeights(np.ones((32, 256), np.float32), None)
    codes, scales = np.full((ROWS, 256), 127, np.uint8), np.ones((ROWS, 4), np.float32)
    out = np.empty((ROWS, 32), np.float32)
    byte_product(codes, scales, weights, out)
    assert np.array_equal(out, by_groups(codes, scales, weights))


def test_bytes_are_off_by_half_a_step():
    rows = numbers((ROWS, 100), 3)
    rows[1] = 0
    codes, scales = bytes_of(rows)
    signed = codes[:, :100].astype(np.float32) - (products.LEVELS + 1)
    worth = np.repeat(scales, GROUP, axis=1)[:, :100]
    assert (np.abs(signed * worth - rows) <= 0.501 * worth).all() and (codes[:, 100:] == products.LEVELS + 1).all()


# the twins of what is done with rows: each step rounded to float32 once, in the same order ---------------------------

COUNTS = [1, 15, 16, 17, 64, 83, 130, 384]


def in_sixteen(x: Floats) -> np.float32:
    """Return a sum of 16 lanes, and then of these in pairs."""
    sums = np.zeros(16, np.float32)
    for first in range(0, len(x), 16):
        sums[: len(x[first : first + 16])] += x[first : first + 16]
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    return sums[0]


def exponential(x: Floats) -> Floats:
    F, whole = np.float32, np.rint(np.maximum(x, np.float32(-87)) * np.float32(1.4426950408889634))
    rest = (np.maximum(x, F(-87)) - whole * F(0.693359375)) - whole * F(-2.12194440e-4)
    found = np.full_like(x, F(1 / 720))
    for below in (120, 24, 6, 2):
        found = found * rest + F(1 / below)
    found = (found * rest * rest + rest) + F(1)
    return (found.view(np.int32) + (whole.astype(np.int32) << 23)).view(np.float32)


@pytest.mark.parametrize("count", COUNTS)
def test_gelu_is_its_twin(count):
    x, F = numbers((3, count), count), np.float32
    far = x * F(0.7071067811865476)
    t = F(1) / (F(1) + F(0.3275911) * np.abs(far))
    tail = np.full_like(x, F(1.061405429))
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = tail * t + F(factor)
    half = F(0.5) * x
    wanted = half + np.abs(half) - np.abs(half) * (tail * t * exponential(-far * far))
    transformer.gelu(x)
    assert x.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("count", COUNTS)
def test_layernorm_is_its_twin(count):
    F, share = np.float32, np.float32(1) / np.float32(count)
    hidden, added = numbers((3, count), count), numbers((3, count), count + 1)
    weight, bias = numbers((count,), 2), numbers((count,), 3)
    wanted = np.empty_like(hidden)
    for row, x in enumerate(hidden + added):
        off = x - in_sixteen(x) * share
        scale = F(1) / np.sqrt(in_sixteen(off * off) * share + F(1e-12))
        wanted[row] = off * scale * weight + bias
    transformer.add_and_norm(hidden, added, weight, bias, F(1e-12))
    assert hidden.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("count", COUNTS)
def test_bytes_of_rows_are_their_twins(count):
    rows = numbers((3, count), count)
    rows[1, : min(count, 64)] = 0
    codes, scales = bytes_of(rows)
    parts = np.zeros((3, codes.shape[1]), np.float32)
    parts[:, :count] = rows
    parts = parts.reshape(3, -1, GROUP)
    top = np.abs(parts).max(2)
    with np.errstate(divide="ignore"):
        inverse = np.where(top > 1e-30, np.float32(63) / top, np.float32(0))
    wanted = (np.rint(parts * inverse[..., None]) + 64).astype(np.uint8)
    assert (scales == top / np.float32(63)).all() and (codes == wanted.reshape(3, -1)).all()


def test_gelu_is_within_a_millionth():
    from math import erf

    x = np.concatenate([np.linspace(-12, 12, 4001), [0, -0.0, 1e-30, 80, -80]]).astype(np.float32)[None]
    found = x.copy()
    transformer.gelu(found)
    wanted = [0.5 * float(value) * (1 + erf(float(value) / 2**0.5)) for value in x[0]]
    np.testing.assert_allclose(found[0], wanted, atol=1e-6, rtol=1e-6)


def test_layernorm_is_numpys():
    hidden, added, weight, bias = numbers((3, 77), 0), numbers((3, 77), 1), numbers((77,), 2), numbers((77,), 3)
    total = (hidden + added).astype(np.float64)
    wanted = (total - total.mean(1, keepdims=True)) / np.sqrt(total.var(1, keepdims=True) + 1e-12) * weight + bias
    transformer.add_and_norm(hidden, added, weight, bias, np.float32(1e-12))
    np.testing.assert_allclose(hidden, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", [4, 12, 32, 40, 64])
@pytest.mark.parametrize(("length", "seen"), [(1, 1), (5, 2), (33, 33), (70, 41)])
def test_attention_is_numpys(form, head, length, seen):
    heads, first = 2, 4
    wide = head * heads
    qkv = np.zeros((first + length + 2 * ROWS, 3 * wide), np.float32)
    qkv[: first + length] = np.random.default_rng(head + length).standard_normal((first + length, 3 * wide))
    q, k, v = qkv[first : first + length].reshape(length, 3, heads, head).astype(np.float64).transpose(1, 2, 0, 3)
    scores = np.exp(q @ k[:, :seen].transpose(0, 2, 1) * head**-0.5)
    wanted = ((scores / scores.sum(2, keepdims=True)) @ v[:, :seen]).transpose(1, 0, 2).reshape(length, wide)
    room, width, step = transformer.Room(length, head), *form
    out = np.full((len(qkv), wide), 7, np.float32)
    scale = np.float32(head**-0.5)
    for _ in range(2):  # what is left in the buffers by one text has no part in the next
        transformer.float_attention(head, width)(qkv, first, length, seen, heads, scale, *room.floats(), out)
        np.testing.assert_allclose(out[first : first + length], wanted, atol=1e-5)
        transformer.byte_attention(head, width, step)(qkv, first, length, seen, heads, scale, *room.bytes(), out)
        np.testing.assert_allclose(out[first : first + length], wanted, atol=0.05)
        assert (out[:first] == 7).all() and (out[first + length :] == 7).all()


def test_lengths_of_vectors_are_one():
    rows = numbers((3, 50), 1)
    rows[1] = 0
    out = np.empty((3, 50), np.float32)
    transformer.units(rows, out)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), [1, 0, 1], atol=1e-6)
