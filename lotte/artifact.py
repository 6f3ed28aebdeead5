"""A file or folder that is complete or absent, whatever interrupts its writing.

Everything is written under a temporary name beside the target and renamed at
the end; in a folder `meta.json` is written last. So if the target exists, it is
complete, and the remains of a killed process are never mistaken for a result:
they are removed when the step runs again. A folder replaces another in one
step: the old one is removed after the new one has its name.
"""

import ctypes
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lotte.errors import CorruptFileError, LotteError, shown
from lotte.parsing import json_file, json_object, json_of
from lotte.paths import why_not

META = "meta.json"
MISSING = "missing"
_DIGEST = '"digest": "{}"'
_PARTIAL, _ASIDE = ".partial", ".replaced"
_HERE, _EXCHANGE = -100, 2  # of Linux: AT_FDCWD, and RENAME_EXCHANGE
_BLOCK = 1 << 20


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: Any) -> str:
    """Return JSON with one spelling for one value: keys sorted, no blanks, UTF-8, no NaN.

    >>> canonical({"b": 1, "a": ["é", 0.5]})
    '{"a":["é",0.5],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def readable(value: Any, *, ascii: bool = False, nan: bool = False, indent: int = 1, sort: bool = True) -> str:
    """Return JSON to be read by people and compared line by line: indented, keys sorted, one line end at the end.

    ascii  whether every other character is escaped, so that an unpaired surrogate can be written too
    nan    whether NaN and infinities are written, which are not JSON
    sort   whether keys are sorted; else they are in the order they have, for a file that another program lays out so

    Raises  ValueError for NaN or an infinity, unless `nan`
    """
    return json.dumps(value, indent=indent, sort_keys=sort, ensure_ascii=ascii, allow_nan=nan) + "\n"


def json_line(value: Any, *, ascii: bool = True) -> str:
    """Return a value as a line of a file of JSON lines.

    >>> json_line({"qid": 1, "text": "é"}, ascii=False)
    '{"qid": 1, "text": "é"}\\n'
    """
    return json.dumps(value, ensure_ascii=ascii) + "\n"


def write_json(path: Path, value: Any) -> Path:
    """Write a value as `readable` JSON into a file that is complete or absent."""
    return write_whole(path, readable(value))


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file that is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    part = path.with_name(f".{path.name}{_PARTIAL}-{os.getpid()}")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        return part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Give a whole file a second name; where the disk knows no links, a copy that is complete or absent."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        part = target.with_name(f".{target.name}{_PARTIAL}")
        try:
            shutil.copyfile(source, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


class Writer:
    """A file that appears under its name when all of it is written, and then knows its size and sha256."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.closed = False
        self._sha256 = hashlib.sha256()
        self._part = path.with_name(f".{path.name}{_PARTIAL}-{os.getpid()}")  # a step may be made twice at a time

    @property
    def sha256(self) -> str:
        """Return the hash of what was written, in hexadecimal."""
        return self._sha256.hexdigest()

    def __enter__(self) -> "Writer":
        sweep(self.path.parent, self.path.name)
        self._file = self._part.open("wb", buffering=_BLOCK)
        return self

    def write(self, content: bytes | memoryview) -> int:
        """Write bytes after those before. Returns how many."""
        self._sha256.update(content)
        self.size += len(content)
        return self._file.write(content)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.closed = True
        try:
            self._file.close()
            if kind is None:
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)


def sealed(meta: Mapping[str, Any]) -> bytes:
    """Return what a `meta.json` holds that covers itself: `digest` is the sha256 of its bytes without the digest."""
    text = readable({**meta, "digest": ""}, ascii=True, nan=True)
    own = hashlib.sha256(text.encode()).hexdigest()
    return text.replace(_DIGEST.format(""), _DIGEST.format(own), 1).encode()


def is_sealed(text: bytes, digest: Any) -> bool:
    """Return whether a `meta.json` that says this digest has the bytes that were written."""
    if not isinstance(digest, str) or not digest.isalnum():
        return False
    whole = text.replace(_DIGEST.format(digest).encode(), _DIGEST.format("").encode(), 1)
    return hashlib.sha256(whole).hexdigest() == digest


def covered(
    folder: Path, known: Mapping[str, str] | None = None, names: Collection[str] | None = None
) -> dict[str, Any]:
    """Return what `meta.json` says of the files beside it: `files`, the sha256 of each, and `sizes`.

    known  name -> sha256, of files that are not read again
    names  the files; None: all that are there
    """
    known = known or {}
    if names is None:
        names = [path.name for path in folder.iterdir() if path.name != META]
    return {
        "files": {name: known.get(name) or sha256(folder / name) for name in sorted(names)},
        "sizes": {name: (folder / name).stat().st_size for name in sorted(names)},
    }


def unlike(path: Path, size: int | None, sha256_: str, *, deep: bool = True) -> str:
    """Return in what way a file is not the one that was written; "" if it is.

    deep  whether all of it is read, else its size is looked at
    """
    try:
        actual_size = path.stat().st_size
        if size is not None and actual_size != size:
            return f"{actual_size:,} bytes, where {size:,} were written"
        return "not what was written" if deep and sha256(path) != sha256_ else ""
    except (FileNotFoundError, NotADirectoryError):
        return MISSING


def damaged(path: Path, *, is_ours: Callable[[str], bool] = lambda name: False) -> Iterator[tuple[str, str]]:
    """Read all of a folder whose `meta.json` has `files`; yield name and what is wrong, for each file that is not
    what was written, or is none of its files.

    is_ours  whether a file may be there that is not listed

    Raises  CorruptFileError if `meta.json` is not an object, or lists no files
    """
    text = (path / META).read_bytes()
    meta = json_of(text, path / META)
    files = meta.get("files") if isinstance(meta, dict) else None
    if not isinstance(files, dict) or {*map(type, files.values())} - {str} or any(map(why_not, files)):
        raise CorruptFileError(f"{path / META} does not list its files with their sha256, found {shown(files)}")
    known = "digest" in meta or "sizes" in meta  # what was made before it had them is looked at as far as it goes
    sizes = meta.get("sizes") if isinstance(meta.get("sizes"), dict) else {}
    if known and not is_sealed(text, meta.get("digest")):
        yield META, "not what was written"
    for name, recorded in files.items():
        if problem := unlike(path / name, sizes.get(name), recorded):
            yield name, problem
    for name in sorted({file.name for file in path.iterdir()} - files.keys() - {META}) if known else ():
        if not name.startswith(".") and not is_ours(name):
            yield name, "not one of its files"


def whole(path: Path) -> dict[str, Any]:
    """Return the `meta.json` of a folder that is all that was written, as far as it says what was.

    Raises  CorruptFileError with the name of the first file that is not
    """
    meta = json_object(path / META)
    for name, problem in damaged(path) if "files" in meta or "sizes" in meta else ():
        raise CorruptFileError(f"{path / name}: {problem}")
    return meta


@contextmanager
def folder(path: Path, meta: Mapping[str, Any], *, seal: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well it stands at `path`, `meta.json` in it.

    If the block fails nothing is left. A folder already at `path` is replaced.

    seal  whether `meta.json` gets the hashes of all files, and covers itself: see `damaged`
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    settle(path)
    part = path.with_name(f".{path.name}{_PARTIAL}-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        if seal:
            (part / META).write_bytes(sealed({**meta, **covered(part)}))
        else:
            (part / META).write_text(readable(dict(meta), nan=True), encoding="utf-8")
        put(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def put(whole: Path, path: Path) -> None:
    """Move a whole folder to `path`; a folder that stands there is removed afterwards.

    Whenever this is killed, the old folder or the new one stands at `path`, or `recover` brings the old one back.
    """
    if not path.exists():
        whole.replace(path)
        return
    old = path.with_name(f".{path.name}{_PARTIAL}-{os.getpid()}")
    if _exchange(whole, path):
        if whole != old:
            whole.replace(old)
    else:  # a file system that cannot exchange two names
        aside = path.with_name(f".{path.name}{_ASIDE}")
        path.replace(aside)
        whole.replace(path)
        aside.replace(old)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Give each of two names what the other one stood for, at once; return whether the system could."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0)


def recover(path: Path) -> None:
    """Bring back a folder that a killed `put` moved aside, where the new one does not stand yet."""
    aside = path.parent / f".{path.name}{_ASIDE}"
    if aside.exists() and not path.exists():
        aside.replace(path)


def settle(path: Path) -> None:
    """Bring back what a killed process moved aside of `path`, and remove what killed processes were writing there."""
    recover(path)
    shutil.rmtree(path.parent / f".{path.name}{_ASIDE}", ignore_errors=True)
    sweep(path.parent, path.name)


def is_left_over(path: Path) -> bool:
    """Whether this is the unfinished work of a process that is no more."""
    name, partial, pid = path.name.rpartition(f"{_PARTIAL}-")
    return bool(partial) and name.startswith(".") and not _alive(pid)


def final_name(name: str) -> str:
    """Return the name of the file that a process writes, or wrote, under this one.

    >>> final_name(".a.tsv.partial-17"), final_name("a.tsv")
    ('a.tsv', 'a.tsv')
    """
    begin, partial, pid = name.rpartition(_PARTIAL)
    return begin.removeprefix(".") if partial and (not pid or pid.removeprefix("-").isdigit()) else name


def sweep(folder: Path, name: str = "*") -> None:
    """Remove what processes that are no more left of the file or folder of this name; "*": of any."""
    for left in folder.glob(f".{name if name == '*' else glob.escape(name)}{_PARTIAL}-*"):
        if not is_left_over(left):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def meta(path: Path) -> dict[str, Any] | None:
    """Return the record that was given to `folder` for this folder, or None if it is not complete."""
    try:
        record = json_file(path / META)
    except (OSError, LotteError):
        return None
    return record if isinstance(record, dict) else None


def _alive(pid: str) -> bool:
    """Whether a process of that number runs here, so that its unfinished work is left to it."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
