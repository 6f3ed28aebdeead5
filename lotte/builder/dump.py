"""One community's dump: its tables as streams of bytes, in whatever form somebody has them.

  <site>.7z, <site>.zip           all tables in one archive, as Stack Exchange ships a community
  <site>-Posts.7z, or .zip        one archive a table, as it ships Stack Overflow
  <site>/Posts.xml, or .xml.gz    a folder; the archives of a table may lie in it too

Nothing is unpacked to disk and nothing is held. Names of tables may be in
lower case. The form of a dump does not matter elsewhere: all forms build the same bytes.
"""

import gzip
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lotte.builder import seven_zip
from lotte.builder.table_names import BLOCK, is_table, reading, table_of, within
from lotte.errors import CorruptFileError, UnavailableError
from lotte.paths import inside

POSTS = "Posts.xml"
READ = (POSTS, "Users.xml")  # what every build reads
_ARCHIVES = (".7z", ".zip")
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}

Advance = Callable[[int], None]  # called with the bytes of the dump on disk that were read


@dataclass(frozen=True)
class DumpPart:
    """A file of a dump: a table, plain or packed, or an archive with one or all of them."""

    path: Path
    kind: Literal["", "gz", "7z", "zip"]
    tables: Mapping[str, int | None] = field(compare=False)  # name -> bytes, unpacked; None where that is not known

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Give each wanted table that is here and its blocks, which must be used before the next one."""
        wanted = [name for name in names if name in self.tables]
        if self.kind == "7z" and wanted:
            yield from seven_zip.SevenZip(self.path, wanted).read(advance)
        elif self.kind == "zip" and wanted:
            yield from _zipped(self.path, wanted, advance)
        else:
            for name in wanted:
                yield name, _unpacked(self.path, advance) if self.kind == "gz" else _blocks(self.path, advance)

    def where(self, name: str) -> Path:
        """Return what messages call a table: an archive is named like a folder, coffee.7z/Posts.xml."""
        return self.path / name if self.kind in ("7z", "zip") else self.path


@dataclass(frozen=True)
class Dump:
    """One community: `site` is its host, `path` the archive or the folder, or one of several archives.

    names  every host it is or was known by, its own first
    """

    site: str
    path: Path
    parts: tuple[DumpPart, ...] = field(compare=False)
    names: tuple[str, ...] = field(default=(), compare=False)

    @property
    def tables(self) -> dict[str, int | None]:
        """Name -> bytes, unpacked, of every table; None where that is not known."""
        return {name: size for part in self.parts for name, size in part.tables.items()}

    @property
    def size(self) -> int:
        """Bytes on disk, as a measure of how long it will take."""
        read = [part for part in self.parts if any(name in part.tables for name in READ)]
        return sum(part.path.stat().st_size for part in read)

    def stamp(self) -> list[Any]:
        """What changes when the files change: paths, sizes and times. It costs no reading."""
        files = [part.path for part in self.parts]
        return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]

    def identity(self, names: Sequence[str], advance: Advance) -> dict[str, dict[str, Any]]:
        """Return size and sha256 of these tables, the same for each form of a dump, by reading them."""
        identities = {}
        for name, blocks in self.read(names, advance):
            hashed = Hashed(blocks)
            for _ in hashed:
                pass
            identities[name] = hashed.identity()
        return identities

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Give each wanted table that is there and its blocks, which must be used before the next one."""
        for part in sorted(self.parts, key=lambda part: min((_place(names, name) for name in part.tables), default=0)):
            yield from part.read(names, advance)

    def where(self, name: str) -> Path:
        """Return what messages call a table."""
        return next((part.where(name) for part in self.parts if name in part.tables), self.path / name)


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


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

    Raises  CorruptFileError if an archive cannot be read, holds a path that leads out of it, or a table occurs twice
    """
    found = next(filter(None, (_named(dumps, names[0], name) for name in names)), None)
    return found and replace(found, names=tuple(names))


def _named(dumps: Path, site: str, name: str) -> Dump | None:
    """Return the dump of a community that lies under this name."""
    folder = inside(dumps, name, "community")
    if found := _in_folder(site, folder, name):
        return found
    for ending in _ARCHIVES:
        archive = folder.with_name(f"{folder.name}{ending}")
        if archive.is_file():
            return _whole(Dump(site, archive, (_archive(archive),)), archive)
    if parts := _archives_of_tables(dumps, name):
        return _whole(Dump(site, parts[0].path, tuple(parts)), parts[0].path)
    return None


def _in_folder(site: str, folder: Path, name: str) -> Dump | None:
    """Return the dump whose tables lie in a folder; None if its posts do not."""
    if not folder.is_dir():
        return None
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    plain = [DumpPart(file, "", {table_of(file.name): file.stat().st_size}) for file in files if _is_table(file.name)]
    there = {table for part in plain for table in part.tables}
    packed = [DumpPart(file, "gz", {table_of(file.stem): None}) for file in files if _is_packed(file)]
    parts = plain + [part for part in packed if not there & part.tables.keys()]
    there = {table for part in parts for table in part.tables}
    parts += [part for part in _archives_of_tables(folder, name) if not there & part.tables.keys()]
    dump = Dump(site, folder, tuple(parts))
    if POSTS not in dump.tables:
        return None
    return _whole(dump, folder)


def _is_table(name: str) -> bool:
    return name.lower().endswith(".xml")


def _is_packed(file: Path) -> bool:
    return file.suffix.lower() == ".gz" and _is_table(file.stem)


def _archives_of_tables(folder: Path, name: str) -> list[DumpPart]:
    """Return the archives of one table each, `<site>-Posts.7z`."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in _ARCHIVES and file.is_file()]
    return [_archive(file) for file in files if _of_table(file.stem, name)]


def _of_table(stem: str, name: str) -> bool:
    """Whether a name is a community's and a table's: "stackoverflow.com-Posts"."""
    site, _, table = stem.rpartition("-")
    return site.lower() == name and is_table(f"{table}.xml")


def _whole(dump: Dump, path: Path) -> Dump:
    """Return a dump that has posts, and each table once. Raises CorruptFileError for another."""
    names = [name for part in dump.parts for name in part.tables]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CorruptFileError(f"{path}: {twice[0]} occurs more than once; keep one of them")
    if POSTS not in names:
        raise CorruptFileError(f"{path}: holds no {POSTS}, but {sorted(names) or 'nothing'}; is it a dump?")
    return dump


def _archive(path: Path) -> DumpPart:
    if path.suffix == ".7z":
        return DumpPart(path, "7z", seven_zip.listed(path))
    with reading(path), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    tables = within(path, ((member.filename, member.file_size) for member in members))
    for member in members:
        if member.flag_bits & 1:
            raise CorruptFileError(f"{path}: is encrypted with a password; dumps are not. Fetch it again.")
        if member.compress_type not in _ZIP_METHODS:
            raise UnavailableError(
                f"{path}: is compressed with method {member.compress_type}, which is not supported. Unpack it and pass "
                "the folder, or pack it again."
            )
    return DumpPart(path, "zip", tables)


def _zipped(path: Path, wanted: Sequence[str], advance: Advance) -> Iterator[tuple[str, Iterator[bytes]]]:
    with reading(path), zipfile.ZipFile(path) as archive:
        members = {table_of(member.filename): member for member in archive.infolist() if not member.is_dir()}
    for name in wanted:
        yield name, _member(path, members[name], advance)


def _member(path: Path, member: zipfile.ZipInfo, advance: Advance) -> Iterator[bytes]:
    with reading(path), zipfile.ZipFile(path) as archive, archive.open(member) as file:
        while block := file.read(BLOCK):
            advance(len(block) * member.compress_size // max(1, member.file_size))
            yield block


def _unpacked(path: Path, advance: Advance) -> Iterator[bytes]:
    used = 0
    with reading(path), path.open("rb") as raw, gzip.open(raw) as file:
        while block := file.read(BLOCK):
            position = raw.tell()
            advance(position - used)
            used = position
            yield block


def _blocks(path: Path, advance: Advance) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            advance(len(block))
            yield block
