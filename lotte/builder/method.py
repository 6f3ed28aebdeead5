"""The compression method of a `.7z`, checked before anything is unpacked: only the methods of dumps are accepted.

A decoder must survive arbitrary bytes, and not all do: PPMd's decoder ends the
process on some. Stack Exchange uses LZMA, LZMA2 and BZip2; repacked dumps may
also use Deflate, or no compression.

An archive's header is usually compressed itself. Its first bytes name the
method, and are read here; py7zr reads the methods of the files from the
header, and calls `check` again.

Source  7zFormat.txt and Methods.txt of the LZMA SDK
"""

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from lotte.errors import CorruptFileError, UnavailableError

_READ = (b"\x00", b"\x21", b"\x03\x01\x01", b"\x04\x02\x02", b"\x04\x01\x08")  # copy, LZMA2, LZMA, BZip2, Deflate
_OTHERS = {
    b"\x03": "Delta", b"\x03\x03\x01\x03": "BCJ", b"\x03\x03\x01\x1b": "BCJ2", b"\x03\x04\x01": "PPMd",
    b"\x04\x01\x09": "Deflate64", b"\x04\xf7\x11\x01": "Zstandard", b"\x04\xf7\x11\x02": "Brotli",
    b"\x04\xf7\x11\x04": "LZ4",
}  # fmt: skip
_AES = b"\x06\xf1\x07\x01"
_SIGNATURE, _START = b"7z\xbc\xaf\x27\x1c", 32  # bytes in front of everything
_HEADER, _ENCODED, _PACK, _UNPACK, _FOLDER, _SIZE, _CRC = 0x01, 0x17, 0x06, 0x07, 0x0B, 0x09, 0x0A
_MOST = 1 << 10  # streams or methods of a header that is packed; there is one


def check(path: Path, methods: Iterable[bytes]) -> None:
    """Raise UnavailableError if a dump is packed by something else than dumps are."""
    for method in methods:
        if method == _AES:
            raise CorruptFileError(f"{path}: is encrypted with a password; dumps are not. Fetch it again.")
        if method not in _READ:
            name = _OTHERS.get(method, f"method {method.hex()}")
            raise UnavailableError(
                f"{path}: is compressed with {name}, which is not supported: dumps use LZMA, LZMA2, BZip2, "
                "Deflate, or no compression. Unpack it and pass the folder, or pack it again."
            )


def check_header(path: Path) -> None:
    """Same, for what the archive's header is packed by, which must be unpacked to know more.

    Raises  CorruptFileError if it is no .7z, or its header is damaged
    """
    with path.open("rb") as file:
        start = file.read(_START)
        offset, size = int.from_bytes(start[12:20], "little"), int.from_bytes(start[20:28], "little")
        if start[:6] != _SIGNATURE or len(start) < _START or _START + offset + size > os.fstat(file.fileno()).st_size:
            raise CorruptFileError(f"{path}: the archive is truncated or damaged, or is no .7z. Fetch it again.")
        file.seek(_START + offset)
        header = BytesIO(file.read(min(size, 1 << 20)))
    if header.read(1) == bytes([_ENCODED]):
        try:
            check(path, _methods(header))
        except _Damaged as error:
            raise CorruptFileError(f"{path}: the archive's header is damaged ({error}). Fetch it again.") from None


class _Damaged(Exception):
    pass


def _methods(header: BytesIO) -> list[bytes]:
    """Return the methods of the streams that a packed header is described by."""
    methods: list[bytes] = []
    if _byte(header) != _PACK:
        raise _Damaged("no packed streams")
    _number(header)
    streams = _number(header)
    while (kind := _byte(header)) != 0:
        if kind not in (_SIZE, _CRC) or streams > _MOST:
            raise _Damaged(f"unknown property {kind}")
        if kind == _SIZE:
            for _ in range(streams):
                _number(header)
        else:
            bits = "1" * streams if _byte(header) else "".join(f"{_byte(header):08b}" for _ in range(-(-streams // 8)))
            header.read(4 * bits[:streams].count("1"))
    if _byte(header) != _UNPACK or _byte(header) != _FOLDER:
        raise _Damaged("no methods")
    folders = _number(header)
    if _byte(header) != 0 or folders > _MOST:
        raise _Damaged("methods elsewhere")
    for _ in range(folders):
        methods += _folder(header)
    return methods


def _folder(header: BytesIO) -> list[bytes]:
    methods, inputs, outputs = [], 0, 0
    if (count := _number(header)) > _MOST:
        raise _Damaged("too many methods")
    for _ in range(count):
        flags = _byte(header)
        methods.append(header.read(flags & 15) or b"\x00")
        given, taken = (_number(header), _number(header)) if flags & 16 else (1, 1)
        inputs, outputs = inputs + given, outputs + taken
        if flags & 32:
            header.read(min(_number(header), 1 << 20))
    bonds = outputs - 1
    packed = inputs - bonds
    if not (0 <= bonds <= _MOST and 0 <= packed <= _MOST):
        raise _Damaged("too many streams")
    for _ in range(2 * bonds + (packed if packed > 1 else 0)):
        _number(header)
    return methods


def _byte(header: BytesIO) -> int:
    if not (byte := header.read(1)):
        raise _Damaged("it ends too early")
    return byte[0]


def _number(header: BytesIO) -> int:
    """Return a number as a .7z spells it: ones in front of the first byte count the bytes that follow."""
    first, more, mask = _byte(header), 0, 0x80
    while mask and first & mask:
        more, mask = more + 1, mask >> 1
    return int.from_bytes(header.read(more), "little") + ((first & (mask - 1 if mask else 0)) << 8 * more)
