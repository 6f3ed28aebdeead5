"""The blocks of a bzip2 stream, decoded in parallel, because decompression limits the speed of reading a dump.

A bzip2 stream is blocks of at most 900 kB that know nothing of each other, but
they begin at any bit and nothing lists them. Each begins with the same 48 bits,
so they are found by those, cut out, and given a header and a footer,
which makes each a complete small stream for Python's own `bz2`, which releases
the interpreter lock.

The 48 bits may stand in a block by chance (once in some 35 TB), and a
file may be damaged. Then, and if anything else is unexpected, the plain decoder
takes over from the first byte not yet returned: `plain` defines the content of
a stream, and reports its errors.

Source  the format: its head, the marks of a block and of the end, and the check sums, as in bzip2 1.0.8 (compress.c)
"""

import bz2
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

Chunks: TypeAlias = Iterator[bytes]

_BEGIN, _END = 0x314159265359, 0x177245385090  # the marks of a block and of a stream's end, 48 bits each
_MARK, _SUM, _HEAD = 48, 32, 32  # bits
_LONGEST = 1_200_000  # bytes of a packed block, more than there can be: 900 kB that packing made longer


class _Odd(Exception):
    """Not what was expected; the plain way takes over."""


def plain(source: Callable[[], Chunks]) -> Chunks:
    """Give what a file of one or several bzip2 streams holds, as `bz2` reads it.

    Raises  OSError for a damaged stream, EOFError for one that ends too early
    """
    decoder, fed = bz2.BZ2Decompressor(), False
    for chunk in source():
        while chunk:
            if decoder.eof:
                decoder = bz2.BZ2Decompressor()
            if block := decoder.decompress(chunk):
                yield block
            chunk, fed = decoder.unused_data, True
    if fed and not decoder.eof:
        raise EOFError("the bzip2 stream ends too early")


def decompress(source: Callable[[], Chunks], *, threads: int) -> Generator[bytes, None, None]:
    """Same as `plain`, with so many blocks decoded at a time.

    source  gives the file's bytes from the beginning, each time it is called
    """
    given = 0
    if threads > 1:
        try:
            for block in _side_by_side(source(), threads):
                yield block
                given += len(block)
            return
        except _Odd:
            pass
    for block in plain(source):
        if given < len(block):
            yield block[given:]
        given = max(0, given - len(block))


def _side_by_side(chunks: Chunks, threads: int) -> Chunks:
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for piece in _pieces(chunks):
                waiting.append(pool.submit(bz2.decompress, piece))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except (OSError, ValueError, EOFError):  # of bz2: a block that is none, or damaged
            raise _Odd from None
        finally:
            for future in waiting:
                future.cancel()


def _pieces(chunks: Chunks) -> Iterator[bytes]:
    """Give each block as a stream of its own, and hold the streams' own check sums against theirs."""
    data, total, begin = b"", 0, -1  # `begin` is the bit where the block in hand begins
    seen = 0  # bytes of `data` in which a mark was looked for
    is_over = False
    while not is_over:
        chunk = next(chunks, None)
        is_over = chunk is None
        data += chunk or b""
        marks = _marks(data, max(0, seen - 6))
        seen = len(data)
        for mark in marks:
            if mark <= begin:
                continue  # the end of what was looked at is looked at again
            if begin < 0:
                _require_head(data, mark)
            else:
                end, is_last = _end_of(data, begin, mark - _HEAD) if _is_head(data, mark) else (mark, False)
                total = _rolled(total, _sum_of(data, begin))
                yield _stream(data, begin, end)
                if is_last:
                    total = _require_sum(data, end, total)
            begin = mark
        if begin < 0 and 8 * len(data) >= _HEAD + _MARK:  # the first mark would have been seen
            raise _Odd
        if begin >= 0 and not is_over:
            gone = begin // 8 - _HEAD // 8  # a head may stand before a mark
            if len(data) - gone > _LONGEST + (1 << 22):
                raise _Odd
            data, begin, seen = data[gone:], begin - 8 * gone, seen - gone
    if begin < 0:
        raise _Odd
    end, is_last = _end_of(data, begin, 8 * len(data))
    if not is_last:
        raise _Odd
    total = _rolled(total, _sum_of(data, begin))
    yield _stream(data, begin, end)
    _require_sum(data, end, total)


def _marks(data: bytes, start: int) -> list[int]:
    """Return the bits at which the mark of a block stands, in order, from a byte on."""
    marks = []
    for shift in range(8):
        # the mark begins `shift` bits into a byte, so these of its bytes are whole ones
        whole = (_BEGIN >> shift) & ((1 << 40) - 1) if shift else _BEGIN
        needle = whole.to_bytes(5 if shift else 6, "big")
        at = data.find(needle, start)
        while at >= 0:
            bit = 8 * at - (8 - shift if shift else 0)
            if bit >= 0 and bit + _MARK <= 8 * len(data) and _bits(data, bit, _MARK) == _BEGIN:
                marks.append(bit)
            at = data.find(needle, at + 1)
    return sorted(marks)


def _bits(data: bytes, bit: int, count: int) -> int:
    first, last = bit // 8, (bit + count + 7) // 8
    return (int.from_bytes(data[first:last], "big") >> (8 * last - bit - count)) & ((1 << count) - 1)


def _is_head(data: bytes, mark: int) -> bool:
    """Whether a stream begins in front of this mark: "BZh" and a digit."""
    at = mark // 8 - 4
    return mark % 8 == 0 and at >= 0 and data[at : at + 3] == b"BZh" and data[at + 3] in b"123456789"


def _require_head(data: bytes, mark: int) -> None:
    if mark != _HEAD or not _is_head(data, mark):
        raise _Odd


def _end_of(data: bytes, begin: int, over: int) -> tuple[int, bool]:
    """Return the bit at which a block ends whose stream is over at a bit, less at most seven that fill a byte."""
    for filled in range(8):
        end = over - filled - _SUM - _MARK
        if end > begin and _bits(data, end, _MARK) == _END:
            return end, True
    return over + _HEAD, False  # it looked like a head, and was part of a block


def _sum_of(data: bytes, begin: int) -> int:
    return _bits(data, begin + _MARK, _SUM)


def _rolled(total: int, of_block: int) -> int:
    return (((total << 1) | (total >> 31)) & 0xFFFFFFFF) ^ of_block


def _require_sum(data: bytes, end: int, total: int) -> int:
    """Raise _Odd if a stream's check sum is another; return that of the next one's beginning."""
    if _bits(data, end + _MARK, _SUM) != total:
        raise _Odd
    return 0


def _stream(data: bytes, begin: int, end: int) -> bytes:
    """Return a block with a head and a foot: the sum of a stream of one block is that of the block."""
    bits = end - begin
    value = (((_bits(data, begin, bits) << _MARK) | _END) << _SUM) | _sum_of(data, begin)
    bits += _MARK + _SUM
    spare = -bits % 8
    return b"BZh9" + (value << spare).to_bytes((bits + spare) // 8, "big")
