"""Extraction of a .tar, .zip or .gz into one folder and nowhere else.

A name that leads out of the folder, a link, a device, or more bytes than
such an archive plausibly holds: the archive is refused, and the error names the
entry.
"""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from lotte.errors import CorruptFileError

MEMBERS = 100_000
_BLOCK = 1 << 20
_HONEST = 40  # times its own size that a text archive grows, at the very most
_SMALL = 1 << 30  # bytes that any archive may hold
_OF_FORMATS = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
_DAMAGED = (*_OF_FORMATS, EOFError, NotImplementedError)  # what reading a damaged archive may raise


def unpack(
    path: Path, kind: Literal["gz", "tar", "zip"], folder: Path, *, strip: int = 0, limit: int | None = None
) -> None:
    """Unpack into a folder, which is made.

    kind   "gz" is one file, which loses its .gz; "tar" may be packed by gzip, bzip2 or xz
    strip  leading folders of each name that are dropped; what has no more than them is left out
    limit  bytes that it may hold in all; else as many as such an archive honestly may

    Raises  CorruptFileError for an archive that is damaged, leads out of its folder, has links, or holds too much
    """
    folder.mkdir(parents=True, exist_ok=True)
    allowance = Allowance(path, limit)
    try:
        if kind == "gz":
            with gzip.open(path) as packed:
                allowance.take(packed, folder / path.name.removesuffix(".gz"))
        elif kind == "tar":
            _untar(path, folder, strip, allowance)
        else:
            _unzip(path, folder, strip, allowance)
    except _DAMAGED as error:
        raise CorruptFileError(f"{path}: the archive is damaged ({error}); remove it and fetch it again") from None


class Allowance:
    """How many bytes and files an archive may still bring."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self._limit = limit if limit is not None else max(_SMALL, _HONEST * path.stat().st_size)
        self._path, self._left, self._members = path, self._limit, 0

    def take(self, source: IO[bytes] | gzip.GzipFile, target: Path) -> None:
        """Copy a member into a new file."""
        self._members += 1
        if self._members > MEMBERS:
            raise CorruptFileError(f"{self._path} holds more than {MEMBERS:,} files; it is not what was published")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            self.copy(source, file)

    def copy(self, source: IO[bytes] | gzip.GzipFile, file: IO[bytes]) -> None:
        """Copy bytes, a piece at a time."""
        while block := source.read(_BLOCK):
            self._left -= len(block)
            if self._left < 0:
                raise CorruptFileError(f"{self._path} unpacks to more than {self._limit:,} bytes; it is refused")
            file.write(block)


def _untar(path: Path, folder: Path, strip: int, allowance: Allowance) -> None:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            target = _target(path, member.name, folder, strip)
            if member.isdir():
                continue
            if not member.isfile():
                raise CorruptFileError(f"{path}: {member.name!r} is a link or a device; the archive is refused")
            if target is not None and (source := archive.extractfile(member)) is not None:
                _once(path, member.name, target)
                allowance.take(source, target)


def _unzip(path: Path, folder: Path, strip: int, allowance: Allowance) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            target = _target(path, member.filename, folder, strip)
            if member.is_dir():
                continue
            mode = stat.S_IFMT(member.external_attr >> 16)
            if mode and mode != stat.S_IFREG:
                raise CorruptFileError(f"{path}: {member.filename!r} is a link or a device; the archive is refused")
            if member.flag_bits & 1:
                raise CorruptFileError(f"{path}: {member.filename!r} is encrypted; the archive is refused")
            if target is not None:
                _once(path, member.filename, target)
                with archive.open(member) as source:
                    allowance.take(source, target)


def _once(path: Path, name: str, target: Path) -> None:
    if target.exists():
        raise CorruptFileError(f"{path}: {name!r} is in it twice; the archive is refused")


def _target(path: Path, name: str, folder: Path, strip: int) -> Path | None:
    """Return where a member goes; None for one to leave out. Raises CorruptFileError if that is outside."""
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise CorruptFileError(f"{path}: {name!r} leads out of the archive's folder; the archive is refused")
    if "__MACOSX" in parts or parts[-1:] == (".DS_Store",) or (parts and parts[-1].startswith("._")):
        return None  # what a Mac adds
    kept = parts[strip:]
    return folder.joinpath(*kept) if kept else None
