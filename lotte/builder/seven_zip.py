"""An archive of a dump, `.7z`: its tables as streams of bytes, in the order in which it holds them.

Nothing is unpacked to disk or held in memory: a table is a few blocks in
flight. An archive is read once, front to back, by its own thread (decompression
releases the interpreter lock); a bzip2 archive, as Stack Exchange publishes
them, is decompressed by several threads (`bzip2.py`).
"""

import queue
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotte.builder import bzip2, method
from lotte.builder.table_names import BLOCK, Stopped, reading, table_of, within
from lotte.errors import CorruptFileError
from lotte.processors import num_processors

_IN_FLIGHT = 64  # blocks between the thread that decompresses and the one that reads
_THREADS = 4  # that decompress, at most: more than a reader keeps up with
_BZIP2 = b"\x04\x02\x02"  # the method's number in a .7z
_PACKED = 1 << 20  # bytes read of an archive at once

Advance = Callable[[int], None]  # called with the bytes of the dump on disk that were read


def listed(path: Path) -> dict[str, int]:
    """Return the tables of an archive, and how many bytes each is, unpacked.

    Raises  CorruptFileError if it cannot be read, or holds a path that leads out of it or a table twice
    """
    import py7zr

    method.check_header(path)
    with reading(path), py7zr.SevenZipFile(path) as archive:
        if streams := archive.header.main_streams:
            method.check(path, (coder["method"] for folder in streams.unpackinfo.folders for coder in folder.coders))
        if archive.needs_password():
            raise CorruptFileError(f"{path}: is encrypted with a password; dumps are not. Fetch it again.")
        members = archive.list()
    return within(path, ((member.filename, member.uncompressed) for member in members if not member.is_directory))


class SevenZip:
    """A `.7z` read front to back by a thread, and handed on table by table.

    The queue carries ("Posts.xml", block), then None at the end or the error that ended it.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self.wanted = frozenset(names)
        self.queue: queue.Queue[tuple[str, bytes] | BaseException | None] = queue.Queue(_IN_FLIGHT)
        self.stopped = threading.Event()
        self._head: tuple[str, bytes] | None = None  # the first block of the table after the one in hand
        self._position = 0  # bytes of the archive that were used up

    def read(self, advance: Advance) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Give each wanted table and its blocks, which must be used before the next one."""
        with self.path.open("rb") as file:
            thread = threading.Thread(target=self._decompress, args=(file,), daemon=True)
            thread.start()
            try:
                self._head = self._next(file, advance)
                while self._head is not None:
                    blocks = self._table(self._head, file, advance)
                    yield self._head[0], blocks
                    for _ in blocks:  # what the reader left of it
                        pass
                advance(self.path.stat().st_size - self._position)  # the tables after the last one wanted
            finally:
                self.stopped.set()
                while thread.is_alive():
                    self._drain()
                    thread.join(0.01)

    def _table(self, head: tuple[str, bytes], file: Any, advance: Advance) -> Iterator[bytes]:
        item: tuple[str, bytes] | None = head
        while item is not None and item[0] == head[0]:
            yield item[1]
            item = self._next(file, advance)
        self._head = item

    def _next(self, file: Any, advance: Advance) -> tuple[str, bytes] | None:
        while True:
            item = self.queue.get()
            position = file.tell()
            advance(max(0, position - self._position))
            self._position = max(position, self._position)
            if isinstance(item, BaseException):
                with reading(self.path):
                    raise item
            if item is None or item[0] in self.wanted:
                return item

    def _drain(self) -> None:
        try:
            while True:
                self.queue.get_nowait()
        except queue.Empty:
            pass

    def put(self, item: tuple[str, bytes] | BaseException | None) -> None:
        """Hand on a block of a table, an error, or the end. Raises Stopped if nobody reads any more."""
        while not self.stopped.is_set():
            try:
                return self.queue.put(item, timeout=0.1)
            except queue.Full:
                continue
        raise Stopped

    def _decompress(self, file: Any) -> None:
        try:
            import py7zr

            with py7zr.SevenZipFile(file) as archive:
                names = archive.getnames()
                last = max(at for at, name in enumerate(names) if table_of(name) in self.wanted)
                # all of them up to the last one wanted: they must be decompressed anyway, and so progress shows
                if (threads := _threads()) > 1 and (parts := _of_bzip2(archive)):
                    for part in parts:
                        if part.read(file, names[last], self.put, threads):
                            break
                else:
                    archive.extract(targets=names[: last + 1], factory=_members(self.put))
            self.put(None)
        except Stopped:
            pass
        except BaseException as error:
            with suppress(Stopped):
                self.put(error)


def _members(put: Callable[[tuple[str, bytes]], None]) -> Any:
    """Return what py7zr hands the files of an archive to: each is put, block by block, under the name of its table."""
    from py7zr.io import Py7zIO, WriterFactory

    class Member(Py7zIO):
        def __init__(self, name: str) -> None:
            self.name, self.written = name, 0

        def write(self, s: bytes | bytearray) -> int:
            self.written += len(s)
            put((self.name, bytes(s)))
            return len(s)

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def flush(self) -> None:
            pass

        def size(self) -> int:
            return self.written

    class Members(WriterFactory):
        def create(self, filename: str) -> Py7zIO:
            return Member(table_of(filename))

    return Members()


@dataclass(frozen=True)
class _Bzip2:
    """Files of an archive that are packed one after another into one bzip2 stream."""

    begin: int  # bytes of the archive
    end: int
    members: Sequence[Any]  # py7zr.ArchiveFile, in their order

    def read(self, file: Any, last: str, put: Callable[[tuple[str, bytes]], None], threads: int) -> bool:
        """Put the blocks of each file, up to the one named `last`. Returns whether that was here."""

        def packed() -> Iterator[bytes]:
            file.seek(self.begin)
            while left := self.end - file.tell():
                if not (chunk := file.read(min(left, _PACKED))):
                    return
                yield chunk

        blocks = bzip2.decompress(packed, threads=threads)
        with closing(blocks):
            rest = memoryview(b"")
            for member in self.members:
                name, left, total = table_of(member.filename), member.uncompressed, 0
                while left:
                    if not rest:
                        rest = memoryview(next(blocks, b""))
                    if not rest:
                        raise EOFError(f"{name} ends {left:,} bytes too early")
                    block, rest = bytes(rest[: min(left, BLOCK)]), rest[min(left, BLOCK) :]
                    left, total = left - len(block), zlib.crc32(block, total)
                    put((name, block))
                if member.crc32 is not None and total != member.crc32:
                    raise ValueError(f"{name} does not have the checksum that the archive states")
                if member.filename == last:
                    return True
        return False


def _of_bzip2(archive: Any) -> list[_Bzip2]:
    """Return what an archive holds if all of it is packed by bzip2 and by nothing else; else nothing.

    archive  a py7zr.SevenZipFile; a version of it that keeps its header elsewhere reads the archive itself
    """
    try:
        streams = archive.header.main_streams
        begin, parts = archive.afterheader + streams.packinfo.packpos, []
        for folder, size in zip(streams.unpackinfo.folders, streams.packinfo.packsizes, strict=True):
            if [coder["method"] for coder in folder.coders] != [_BZIP2]:
                return []
            members = [file for file in archive.files if file.folder is folder and not file.emptystream]
            parts.append(_Bzip2(begin, begin + size, members))
            begin += size
        return parts
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def _threads() -> int:
    return min(_THREADS, num_processors())
