"""Archives of methods that dumps are not packed by: refused by name, before a decoder is started."""

import struct
import zlib

import py7zr
import pytest

from lotte.builder import dump, method
from lotte.errors import CorruptFileError, LotteError, UnavailableError

SITE = "cheese.example.com"
PPMD, ZSTD, AES, LZMA, UNKNOWN = b"\x03\x04\x01", b"\x04\xf7\x11\x01", b"\x06\xf1\x07\x01", b"\x03\x01\x01", b"\x7f\x01"


def streams(methods: list[bytes], *, sums: bool = False) -> bytes:
    """Packed streams of 4 bytes, and the methods that unpack one of them."""
    coders = b"".join(bytes([len(one)]) + one for one in methods)
    bonds = b"".join(bytes([at + 1, at]) for at in range(len(methods) - 1))
    packed = b"\x06\x00\x01\x09\x04" + (b"\x0a\x01" + bytes(4) if sums else b"") + b"\x00"
    sizes = b"\x0c" + b"\x04" * len(methods)
    return packed + b"\x07\x0b\x01\x00" + bytes([len(methods)]) + coders + bonds + sizes + b"\x00\x00"


def archive(path, header: bytes):
    """A .7z of four bytes that are nothing, with this header."""
    start = struct.pack("<QQL", 4, len(header), zlib.crc32(header))
    path.write_bytes(b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<L", zlib.crc32(start)) + start + b"none" + header)
    return path


def plain(methods: list[bytes]) -> bytes:
    name = b"\x00" + "Posts.xml\0".encode("utf-16-le")
    return b"\x01\x04" + streams(methods)[:-1] + b"\x08\x00\x00\x05\x01\x11" + bytes([len(name)]) + name + b"\x00\x00"


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize(
    ("one", "name"), [(PPMD, "PPMd"), (ZSTD, "Zstandard"), (UNKNOWN, "method 7f01"), (b"\x04\x01\x09", "Deflate64")]
)
def test_a_header_packed_by_another_method_is_refused_by_its_name(one, name, sums, tmp_path):
    path = archive(tmp_path / f"{SITE}.7z", b"\x17" + streams([one], sums=sums))
    with pytest.raises(UnavailableError) as raised:
        dump.find(tmp_path, [SITE])
    assert str(raised.value) == (
        f"{path}: is compressed with {name}, which is not supported: dumps use LZMA, LZMA2, BZip2, Deflate, or no "
        "compression. Unpack it and pass the folder, or pack it again."
    )


@pytest.mark.parametrize("methods", [[PPMD], [LZMA, PPMD], [PPMD, LZMA]])
def test_files_packed_by_another_method_are_refused(methods, tmp_path):
    archive(tmp_path / f"{SITE}.7z", plain(methods))
    with pytest.raises(UnavailableError, match="is compressed with PPMd, which is not supported"):
        dump.find(tmp_path, [SITE])


def test_a_header_that_is_locked_is_called_so(tmp_path):
    archive(tmp_path / f"{SITE}.7z", b"\x17" + streams([AES, LZMA]))
    with pytest.raises(CorruptFileError, match="is encrypted with a password"):
        dump.find(tmp_path, [SITE])


@pytest.mark.parametrize("filters", [[py7zr.FILTER_ZSTD], [py7zr.FILTER_X86, py7zr.FILTER_LZMA2]])
def test_what_py7zr_itself_packs_otherwise_is_refused(filters, tmp_path):
    with py7zr.SevenZipFile(tmp_path / f"{SITE}.7z", "w", filters=[{"id": one} for one in filters]) as file:
        file.writestr("<posts/>", "Posts.xml")
    with pytest.raises(UnavailableError, match="which is not supported"):
        dump.find(tmp_path, [SITE])


def test_deflate_is_read(tmp_path):
    with py7zr.SevenZipFile(tmp_path / f"{SITE}.7z", "w", filters=[{"id": py7zr.FILTER_DEFLATE}]) as file:
        file.writestr("<posts/>", "Posts.xml")
    found = dump.find(tmp_path, [SITE])
    assert {name: b"".join(blocks) for name, blocks in found.read(["Posts.xml"], lambda used: None)} == {"Posts.xml": b"<posts/>"}


def test_a_header_cut_anywhere_is_one_line(tmp_path):
    header = b"\x17" + streams([LZMA, PPMD], sums=True)
    for end in range(1, len(header)):
        path = archive(tmp_path / f"{SITE}.7z", header[:end])
        with pytest.raises(LotteError):
            method.check_header(path)
            dump.find(tmp_path, [SITE])
