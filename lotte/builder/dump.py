"""One community's dump: the tables in a `.7z`, or in a folder, as streams of bytes.

Nothing is unpacked to disk and nothing is held: a table is a few blocks in
flight. An archive is read once, front to back, by a thread of its own (its
decompression runs outside of Python's lock), so tables come in the order in
which it holds them; one packed by bzip2, as Stack Exchange's are, is
decompressed by several threads (`bzip2.py`). Whether a dump is an archive or a
folder makes no difference to anybody else: both build the same bytes.
"""

import hashlib
import queue
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lotte.builder import bzip2, method
from lotte.errors import CorruptFileError, UnavailableError
from lotte.paths import inside
from lotte.processors import num_processors

BLOCK = 1 << 18  # larger ones are slower: they are mapped and unmapped each time
READ = ("Posts.xml", "Users.xml")  # what every build reads
_IN_FLIGHT = 64  # blocks between the thread that decompresses and the one that reads
_THREADS = 4  # that decompress, at most: more than a reader keeps up with
_BZIP2 = b"\x04\x02\x02"  # the method's number in a .7z
_PACKED = 1 << 20  # bytes read of an archive at once

Advance = Callable[[int], None]  # told how many bytes of the dump on disk have been used up


@dataclass(frozen=True)
class Dump:
    """One community: `site` is its host, `path` the archive or the folder."""

    site: str
    path: Path
    tables: dict[str, int] = field(compare=False)  # name -> bytes, decompressed

    @property
    def size(self) -> int:
        """Bytes on disk, as a measure of how long it will take."""
        if self.path.is_dir():
            return sum(self.tables[name] for name in READ if name in self.tables)
        return self.path.stat().st_size

    def stamp(self) -> list[Any]:
        """What changes when the files change: paths, sizes and times. It costs no reading."""
        files = [self.path / name for name in sorted(self.tables)] if self.path.is_dir() else [self.path]
        return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]

    def identity(self, names: Sequence[str], advance: Advance) -> dict[str, dict[str, Any]]:
        """Return size and sha256 of these tables, the same for a folder and an archive, by reading them."""
        identities = {}
        for name, blocks in self.read(names, advance):
            hashed = Hashed(blocks)
            for _ in hashed:
                pass
            identities[name] = hashed.identity()
        return identities

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Give each wanted table that is there and its blocks, which must be used before the next one."""
        if self.path.is_dir():
            for name in names:
                if name in self.tables:
                    yield name, _blocks(self.path / name, advance)
        else:
            yield from _Archive(self.path, [name for name in names if name in self.tables]).read(advance)


class Hashed:
    """Blocks passed on as they come, and afterwards what identifies all of them."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._sha256, self._size = blocks, hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self._sha256.update(block)
            self._size += len(block)
            yield block

    def identity(self) -> dict[str, Any]:
        """Return their size in bytes and sha256."""
        return {"bytes": self._size, "sha256": self._sha256.hexdigest()}


def find(dumps: Path, names: Sequence[str]) -> Dump | None:
    """Return the dump of a community under one of its names (the first is the one it goes by).

    Raises  CorruptFileError if the archive cannot be read, or holds a path that climbs out of it
    """
    for name in names:
        folder = inside(dumps, name, "community")
        if (folder / "Posts.xml").is_file():
            files = sorted(file for file in folder.glob("*.xml") if file.is_file())
            return Dump(names[0], folder, {file.name: file.stat().st_size for file in files})
        archive = folder.with_name(f"{folder.name}.7z")
        if archive.is_file():
            return Dump(names[0], archive, _listed(archive))
    return None


def _blocks(path: Path, advance: Advance) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            advance(len(block))
            yield block


def _listed(path: Path) -> dict[str, int]:
    import py7zr

    method.check_header(path)
    with _reading(path), py7zr.SevenZipFile(path) as archive:
        if streams := archive.header.main_streams:
            method.check(path, (coder["method"] for folder in streams.unpackinfo.folders for coder in folder.coders))
        if archive.needs_password():
            raise CorruptFileError(f"{path}: is locked with a password; a dump is not. Fetch it again.")
        members = archive.list()
    tables: dict[str, int] = {}
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise CorruptFileError(
                f"{path}: holds {member.filename!r}, a path that climbs out of the archive. "
                "No dump does; it is refused."
            )
        if member.is_directory or not name.name.endswith(".xml"):
            continue
        if name.name in tables:
            raise CorruptFileError(f"{path}: holds {name.name} more than once; one archive is one community")
        tables[name.name] = member.uncompressed
    if "Posts.xml" not in tables:
        raise CorruptFileError(f"{path}: holds no Posts.xml, but {sorted(tables) or 'nothing'}; is it a dump?")
    return tables


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged archive makes its reader stumble over into one line."""
    try:
        yield
    except (CorruptFileError, UnavailableError, _Stopped):
        raise
    except MemoryError as error:
        raise CorruptFileError(f"{path}: asks for more memory than there is here, or is damaged") from error
    except Exception as error:
        what = str(error) or type(error).__name__
        raise CorruptFileError(
            f"{path}: the archive is cut or damaged ({type(error).__name__}: {what[:120]}). Fetch it again."
        ) from error


class _Stopped(Exception):
    """The reader went away; the thread that decompresses stops at its next block."""


class _Archive:
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
                advance(self.path.stat().st_size - self._position)  # the tables behind the last one wanted
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
                with _reading(self.path):
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
        while not self.stopped.is_set():
            try:
                return self.queue.put(item, timeout=0.1)
            except queue.Full:
                continue
        raise _Stopped

    def _decompress(self, file: Any) -> None:
        try:
            import py7zr

            with py7zr.SevenZipFile(file) as archive:
                names = archive.getnames()
                last = max(at for at, name in enumerate(names) if PurePosixPath(name).name in self.wanted)
                # all of them up to the last one wanted: they must be decompressed anyway, and so progress shows
                if (threads := _threads()) > 1 and (parts := _of_bzip2(archive)):
                    for part in parts:
                        if part.read(file, names[last], self.put, threads):
                            break
                else:
                    archive.extract(targets=names[: last + 1], factory=_members(self.put))
            self.put(None)
        except _Stopped:
            pass
        except BaseException as error:
            with suppress(_Stopped):
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
            return Member(PurePosixPath(filename).name)

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
                name, left, total = PurePosixPath(member.filename).name, member.uncompressed, 0
                while left:
                    if not rest:
                        rest = memoryview(next(blocks, b""))
                    if not rest:
                        raise EOFError(f"{name} ends {left:,} bytes too early")
                    block, rest = bytes(rest[: min(left, BLOCK)]), rest[min(left, BLOCK) :]
                    left, total = left - len(block), zlib.crc32(block, total)
                    put((name, block))
                if member.crc32 is not None and total != member.crc32:
                    raise ValueError(f"{name} has another check sum than the archive says")
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
