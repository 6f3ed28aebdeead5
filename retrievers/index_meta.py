"""What `meta.json` of an index says, read as data: every value has its type, and a name is a name in that folder.

Anybody may have written it. So nothing is imported, called or followed because
the file says so; `registry` decides what it may name.

An index knows its own bytes: `files` has the sha256 of each file, `sizes` how
long it is, and `digest` covers `meta.json` itself. An index from before
that has no `digest`, and still opens. Opening checks `sums`, the CRC-32 of the
small files: this takes a third of the time of a sha256.
"""

import os
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from lotte import artifact, lock
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, shown
from lotte.parsing import json_of

META = artifact.META
FORMAT = 1  # raised when a key changes meaning
LOCK = lock.NAME
PLAN = "plan.json"  # of a build that is not finished: what it is to become
SMALL = 1 << 14  # bytes of a file that is read whenever the index is opened
MISSING = artifact.MISSING
AGAIN = "copy the index again, or build it again"

_OURS = re.compile(  # what an index of ours may have, whether it names it or not
    r"(cells|residuals|lengths|starts|lists|list_starts|kept)\.\d+\.npy|chunks\.\d+\.jsonl|doc_ids(\.\d+)?\.txt"
    r"|texts\.jsonl|(centroids|exact|places|words|word_starts|posting_(starts|rows|weights)|tokens|token_starts|vectors)\.npy|(codec|model)\.json"
    r"|(hnsw|ivf)\.faiss|meta\.json|\.lock|plan\.json|\..+\.partial-\d+"
)
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")  # of a file, in the folder itself
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEPT = re.compile(r"kept\.\d+\.npy")
_TEXT, _NUMBER = (str, type(None)), (int, float)
_SOURCE: dict[str, Any] = {"path": str, "sha256": (_SHA256, re.compile("")), "size": int, "mtime_ns": int}
_PART: dict[str, Any] = {
    "number": int, "documents": int, "tokens": int, "distance": _NUMBER, "doc_ids": _NAME, "paths": [str]
}  # fmt: skip
_SHAPE: dict[str, Any] = {
    "recipe": {"retriever": str, "options": {}},
    "corpus": {"sha256": _TEXT, "path": _TEXT, "documents": int},
    "counts": {},
}
_MORE: dict[str, Any] = {  # what not every index has
    "digest": _SHA256,
    "files": {"*": _SHA256},
    "sizes": {"*": int},
    "sums": {},
    "segments": [_PART],
    "deleted": (_KEPT, type(None)),
    "model": {},
    "sources": [_SOURCE],
    "parts": {"*": _SHA256},
}


def is_index(path: Path) -> bool:
    """Return whether a folder's `meta.json` is that of an index."""
    meta = artifact.meta(path)
    return meta is not None and "recipe" in meta and "corpus" in meta


def is_ours(name: str) -> bool:
    """Return whether a file of that name is one that an index of ours may have."""
    return _OURS.fullmatch(name) is not None


def read(path: Path) -> dict[str, Any]:
    """Return what an index says of itself, whoever made it.

    Raises  UnavailableError if no whole index is there, MismatchError if it is of another format,
            CorruptFileError for bytes that were not written, or a value that cannot be
    """
    artifact.recover(path)
    try:
        text = (path / META).read_bytes()
        meta = json_of(text, path / META)
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; {AGAIN}") from None
    except (FileNotFoundError, NotADirectoryError):
        meta = None
    if not isinstance(meta, dict) or "recipe" not in meta or "corpus" not in meta:
        raise UnavailableError(f"{path} is not an index, or an incomplete one. Build it with `lotte index`.")
    if meta.get("format") != FORMAT:
        raise MismatchError(
            f"{path} has format {shown(meta.get('format'), 20)}, this is {FORMAT}. Build it again with `lotte index`."
        )
    if ("digest" in meta or "sizes" in meta) and not artifact.is_sealed(text, meta.get("digest")):
        raise CorruptFileError(f"{path / META} differs from what was written; {AGAIN}")
    _check(path / META, meta, _SHAPE | {key: shape for key, shape in _MORE.items() if key in meta}, "")
    if ("digest" in meta or "sizes" in meta) and not {"files", "sizes"} <= meta.keys():
        raise CorruptFileError(f"{path / META}: expected files with their sha256, and sizes; {AGAIN}")
    for key in ("files", "sizes", "sums", "parts"):
        for name in meta.get(key, ()):
            if not _NAME.fullmatch(name):
                raise CorruptFileError(
                    f"{path / META}: {key} names {shown(name)}, which is not a file of the index; {AGAIN}"
                )
    return meta


def write(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write `meta.json`, which from then on says what the folder is: files that it does not name are not part of it."""
    artifact.write_whole(folder / META, artifact.sealed(meta))


def covered(folder: Path, names: Collection[str] = (), known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return `files`, `sizes` and `sums` of an index.

    names  what it may have; nothing: all that is in the folder
    known  a meta of the same folder: a file it has is not read again, as no file changes once it is whole
    """
    entries = [path for path in folder.iterdir() if path.name not in (META, LOCK, PLAN)]
    there = [path.name for path in entries if path.is_file() and (not names or path.name in names)]
    made = artifact.covered(folder, known["files"] if known and known.get("sizes") else {}, there)
    small = [name for name, size in made["sizes"].items() if size <= SMALL]
    made["sums"] = {name: zlib.crc32((folder / name).read_bytes()) for name in small}
    if parts := {path.name: artifact.sha256(path / META) for path in entries if is_index(path)}:
        made["parts"] = parts  # whole indexes, each of which knows its own files
    return made


def check_small(path: Path, meta: Mapping[str, Any]) -> None:
    """Look whether files are as long as they were written, and small ones what was written; of all the rest, `damaged`.

    Raises  CorruptFileError with the name of the first that is not
    """
    files, sums, folder = meta.get("files", {}), meta.get("sums", {}), f"{path}{os.sep}"
    for name, size in meta.get("sizes", {}).items():
        if _as_written(folder + name, size, sums.get(name)):
            continue
        # an index that was made before it had sums is held to its hashes
        if problem := artifact.unlike(path / name, size, files.get(name, ""), deep=size <= SMALL):
            what = " is missing from the index" if problem == MISSING else f": {problem}"
            raise CorruptFileError(f"{path / name}{what}; {AGAIN}")


def _as_written(path: str, size: int, sum_: Any) -> bool:
    try:
        if size > SMALL:
            return os.stat(path).st_size == size
        if sum_ is None:
            return False
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # open() takes twice as long
        try:
            return len(content := os.read(file, size + 1)) == size and zlib.crc32(content) == sum_
        finally:
            os.close(file)
    except OSError:
        return False


def damaged(path: Path, meta: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Read all of an index; yield name and what is wrong, for every file that is not what was written."""
    if "files" in meta or "sizes" in meta:
        # what a killed change left of its own is read by nobody, and the next change removes it
        parts = meta.get("parts", {})
        yield from artifact.damaged(path, is_ours=lambda name: is_ours(name) or name in parts)
        for name, sha256 in parts.items():
            if problem := artifact.unlike(path / name / META, None, sha256):
                yield f"{name}/{META}", problem
            else:
                yield from ((f"{name}/{file}", problem) for file, problem in damaged(path / name, read(path / name)))


def _check(where: Path, value: Any, shape: Any, key: str) -> None:
    """Raise CorruptFileError if a value has not the shape it must have."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            _refuse(where, key, value)
        for name, inner in shape.items():
            for found in value if name == "*" else [name]:
                _check(where, value.get(found), inner, f"{key}.{found}".lstrip("."))
    elif isinstance(shape, list):
        if not isinstance(value, list):
            _refuse(where, key, value)
        for one in value:
            _check(where, one, shape[0], key)
    elif not any(_is(value, kind) for kind in (shape if isinstance(shape, tuple) else (shape,))):
        _refuse(where, key, value)


def _is(value: Any, kind: Any) -> bool:
    if isinstance(kind, re.Pattern):
        return isinstance(value, str) and kind.fullmatch(value) is not None
    return type(value) is kind and (kind is not int or 0 <= value < 2**63)


def _refuse(where: Path, key: str, value: Any) -> NoReturn:
    raise CorruptFileError(f"{where}: {key} cannot be {shown(value, 60)}; {AGAIN}")
