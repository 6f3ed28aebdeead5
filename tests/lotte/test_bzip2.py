"""Blocks decoded side by side give what `bz2` gives, and what is wrong is as wrong as there."""

import bz2
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte.builder import bzip2


def source(data: bytes, size: int = 1 << 20):
    return lambda: (data[begin : begin + size] for begin in range(0, len(data), size))


def read(data: bytes, size: int = 1 << 20) -> bytes:
    return b"".join(bzip2.decompress(source(data, size), threads=2))


def texts(seed: int, size: int, kind: str) -> bytes:
    drawn = random.Random(seed)
    if kind == "text":
        return b"".join(drawn.choice([b"<row ", b'Id="', b"lorem ipsum\n", b"&lt;p&gt;"]) for _ in range(size // 7))
    return bytes(size) if kind == "zeros" else drawn.randbytes(size)


@pytest.fixture
def never_plain(monkeypatch):
    def refuse(source):
        raise AssertionError("the plain way was taken")

    monkeypatch.setattr(bzip2, "plain", refuse)


@given(
    st.integers(0, 99), st.integers(1, 400_000), st.sampled_from(["text", "zeros", "random"]), st.integers(1, 9),
    st.integers(200, 200_000),
)  # fmt: skip
def test_any_stream_is_read_as_the_plain_way_reads_it(seed, size, kind, level, chunk):
    raw = texts(seed, size, kind)
    packed = bz2.compress(raw, level)
    assert read(packed, chunk) == b"".join(bzip2.plain(source(packed, chunk))) == raw


@pytest.mark.parametrize("kind", ["text", "random", "zeros"])
@pytest.mark.parametrize("chunk", [1000, 1 << 20])
def test_many_blocks_at_any_bit_are_found(never_plain, kind, chunk):
    raw = texts(1, 2_000_000, kind)
    assert read(bz2.compress(raw, 1), chunk) == raw


def test_streams_one_after_another_are_one(never_plain):
    parts = [texts(seed, 250_000, "text") for seed in range(3)]
    packed = b"".join(bz2.compress(part, level) for part, level in zip(parts, (1, 9, 2), strict=True))
    assert read(packed) == b"".join(parts)


def test_what_looks_like_a_mark_is_none(monkeypatch):
    """A chance mark cuts a block in two; the plain way goes on from where the good blocks ended."""
    raw = texts(1, 900_000, "text")
    packed = bz2.compress(raw, 1)
    found = bzip2._marks(packed, 0)
    monkeypatch.setattr(bzip2, "_marks", lambda data, start: sorted([*found, found[3] + 5001]) if start == 0 else [])
    assert read(packed) == raw


def test_an_empty_stream_and_no_stream():
    assert read(bz2.compress(b"")) == b""
    assert read(b"") == b""
    assert read(bz2.compress(b"a") + bz2.compress(b"")) == b"a"


@given(st.integers(0, 10**9), st.sampled_from(["cut", "flip"]))
def test_damage_is_what_the_plain_way_calls_it(place, how):
    packed = bytearray(bz2.compress(texts(1, 300_000, "random"), 1))
    place %= len(packed)
    if how == "cut":
        del packed[place:]
    else:
        packed[place] ^= 1 << (place % 8)
    wanted: tuple[type[Exception] | None, bytes] = (None, b"")
    try:
        wanted = (None, b"".join(bzip2.plain(source(bytes(packed)))))
    except (OSError, EOFError) as error:
        wanted = (type(error), b"")
    if wanted[0] is None:
        assert read(bytes(packed)) == wanted[1]
    else:
        with pytest.raises(wanted[0]):
            read(bytes(packed))


def test_one_thread_is_the_plain_way(monkeypatch):
    monkeypatch.setattr(bzip2, "_side_by_side", lambda *_: pytest.fail("not with one thread"))
    packed = bz2.compress(b"abc" * 1000)
    assert b"".join(bzip2.decompress(source(packed), threads=1)) == b"abc" * 1000
