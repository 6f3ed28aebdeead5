"""The folder of an index: how it is written, complete or not at all, and which retriever wrote it.

`meta.json` is written last and holds the retriever with its options, so nobody
searches an index that is incomplete, or built with other settings than expected.
"""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus, LotteError, artifact, ids
from lotte.collection import RowIds
from lotte.dataset import corpus_sha256
from lotte.errors import CorruptFileError, MismatchError, named, reason, shown, writing
from lotte.lock import exclusive_lock
from retrievers import index_meta
from retrievers.index_meta import AGAIN, FORMAT, LOCK, PLAN, is_index
from retrievers.options import NAME, SEARCH_TIME, SPOKEN, build_options, goes_by, recipe_of, spelled

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DOC_IDS = "doc_ids.txt"
FORMER = {
    "ASKING": "SEARCH_TIME",
    "alone": "exclusive_lock",
    "called": "spelled",
    "making": "write_index",
    "making_on": "resume_index",
    "opened": "open_checked",
}  # former names, which a user's own retriever may still use
__all__ = [
    "DOC_IDS", "FORMAT", "NAME", "SEARCH_TIME", "SPOKEN", "exclusive_lock", "is_index", "recipe_of", "spelled",
]  # fmt: skip

if not TYPE_CHECKING:  # a type checker would take every name for one of this module's

    def __getattr__(name: str) -> Any:
        if name not in FORMER:
            raise AttributeError(f"module {__name__} has no {name!r}")
        warnings.warn(f"index_folder.{name} is called {FORMER[name]} now", DeprecationWarning, stacklevel=2)
        return globals()[FORMER[name]]


@dataclass(frozen=True)
class IndexFolder:
    path: Path
    meta: Mapping[str, Any]
    doc_ids: Sequence[str]


class History(NamedTuple):
    """What a changed index says beside what a new one does."""

    sources: Sequence[Mapping[str, Any]]  # where its documents are, as `sources` returns them
    said: Mapping[str, Any]  # goes into meta.json
    check: Callable[[], None]  # raises if the index that is replaced is another one by now


@contextmanager
def write_index(
    path: Path, recipe: "DataclassInstance", corpus: Corpus, history: History | None = None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give an empty folder and a dict for counts; when the block ends well, the index stands at `path`, else nothing.

    history  of an index that is changed; None: its documents are those of one collection

    Raises  MismatchError if something stands there that is not an index; UnavailableError if another process is at it
    """
    with placing(path, "") as (folder, meta):
        if history:
            history.check()  # what else would change it waits for the lock by now
        counts: dict[str, Any] = {}
        start = perf_counter()
        check_ids(corpus)
        origin = source_of(corpus, "")
        yield folder, counts
        sha256 = corpus_sha256(corpus)
        meta |= _finished(folder, recipe, corpus, sha256, counts, origin, perf_counter() - start)
        if history:
            first = history.sources[0]["path"] if history.sources else None
            meta |= {**history.said, "sources": list(history.sources), "corpus": {**meta["corpus"], "path": first}}


@contextmanager
def resume_index(
    path: Path, recipe: "DataclassInstance", corpus: Corpus, shards: int = 0
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Do the same for work of hours: what a stopped build of the same index left is in the folder.

    The dict takes what goes into meta.json; `counts` is a key of it. It is full already if the build was stopped when
    all was done but for moving the folder to `path`.

    shards  parts that the index is to have; 0: it is one whole

    Raises  as `write_index` does
    """
    check_ids(corpus)
    origin = source_of(corpus, "")
    sha256 = corpus_sha256(corpus)
    what = {"recipe": build_options(recipe_of(recipe), recipe), "corpus": sha256, "format": FORMAT}
    plan = artifact.canonical(what | ({"shards": shards} if shards else {}))
    start = perf_counter()
    with placing(path, plan) as (folder, meta):
        done = bool(meta)
        yield folder, meta
        if not done:
            meta |= _finished(folder, recipe, corpus, sha256, meta["counts"], origin, perf_counter() - start)


@contextmanager
def placing(path: Path, plan: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give a folder beside `path` and a dict; when the block ends well, it is at `path`, the dict in its meta.json.

    plan  says what is made; what a stopped process left of the same is kept then, and a block that fails leaves what it
          has. "" is not a plan: the folder is empty, and is removed if the block fails

    Raises  as `write_index` does
    """
    path = _free(path.resolve())
    folder = path.with_name(f".{path.name}.unfinished")
    with writing(path.parent):
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder):
            artifact.settle(path)
            if not plan or not (folder / PLAN).is_file() or (folder / PLAN).read_text(encoding="utf-8") != plan:
                _clear(folder)  # of another recipe or another corpus
                artifact.write_whole(folder / PLAN, plan)
            meta = index_meta.read(folder) if is_index(folder) else {}
            try:
                yield folder, meta
                if not is_index(folder):
                    index_meta.write(folder, {**meta, **index_meta.covered(folder)})
                with exclusive_lock(_free(path)) if path.exists() else nullcontext():
                    artifact.put(folder, path)
                (path / PLAN).unlink()  # not before: it is what a stopped run knows its own work by
            finally:
                if not plan:
                    shutil.rmtree(folder, ignore_errors=True)


def _clear(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()


def _free(path: Path) -> Path:
    """Return a place where an index may be put. Raises MismatchError if anything stands there that we did not make."""
    artifact.recover(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return path
    if not is_index(path):
        raise MismatchError(f"{path} exists and is not an index; choose a folder that is empty or new")
    meta = artifact.meta(path) or {}
    files, parts = meta.get("files") or (), meta.get("parts") or ()
    for entry in sorted(path.iterdir()):
        if entry.name in parts and is_index(entry):
            continue
        if not entry.is_file() or not (entry.name in files or index_meta.is_ours(entry.name)):
            raise MismatchError(
                f"{path} has {named(entry.name)}, which is not part of the index; move it, or choose another folder"
            )
    return path


def source_of(corpus: Corpus, sha256: str) -> list[dict[str, Any]]:
    """Return where the texts are and what the file is like now, so that a later change is noticed; [] if nowhere."""
    if (path := getattr(corpus, "path", None)) is None or not path.is_file():
        return []
    stat = path.stat()
    return [{"path": str(path.resolve()), "sha256": sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}]


def sources(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where the texts of an index were, the latest last: path and sha256, size and time of the file.

    An index that was made before this was written says it of its first collection at the most, and without a time.
    """
    if "sources" in meta:
        return list(meta["sources"])
    parts = meta.get("segments", ())
    changed = meta.get("deleted") or [part["number"] for part in parts] not in ([], [0])
    paths = [meta["corpus"]["path"], *(path for part in parts for path in part["paths"])]
    sha256s = {meta["corpus"]["path"]: None if changed else meta["corpus"]["sha256"]}
    paths = [path for path in dict.fromkeys(paths) if path]
    return [{"path": path, "sha256": sha256s.get(path) or "", "size": 0, "mtime_ns": 0} for path in paths]


def _finished(
    folder: Path, recipe: "DataclassInstance", corpus: Corpus, sha256: str, counts: Mapping[str, Any],
    origin: Sequence[Mapping[str, Any]], seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """Write the ids; return what meta.json says."""
    if (doc_ids := corpus.doc_ids) != RowIds(len(corpus)):
        write_doc_ids(folder / DOC_IDS, doc_ids)
    source = getattr(corpus, "path", None)
    return {
        "format": FORMAT,
        "recipe": recipe_of(recipe),
        "corpus": {"sha256": sha256, "path": str(source.resolve()) if source else None, "documents": len(corpus)},
        "counts": counts,
        "sources": [{**one, "sha256": sha256} for one in origin],
        "seconds": round(seconds, 3),
        "bytes": size_of(folder),
    }


def size_of(folder: Path) -> int:
    """Return the bytes of an index that is being made."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != PLAN)


def check_ids(corpus: Corpus) -> Sequence[str]:
    """Return the ids of documents, each of which names one. Raises as `fit_ids` does."""
    return fit_ids(corpus.doc_ids, str(getattr(corpus, "path", None) or "the collection"))


def fit_ids(doc_ids: Sequence[str], where: str) -> Sequence[str]:
    """Return ids as they came.

    Raises  CorruptFileError for one that a ranking cannot hold, MismatchError for one of two documents,
            TypeError for one that is not text
    """
    if isinstance(doc_ids, RowIds):
        return doc_ids
    for doc_id in doc_ids:
        if not isinstance(doc_id, str):
            raise TypeError(f"{where}: expected ids as texts, found {shown(doc_id)}")
        ids.checked(doc_id, "document", where)
    if len(set(doc_ids)) < len(doc_ids):
        (twice, count), *_ = Counter(doc_ids).most_common(1)
        raise MismatchError(f"{where}: {count:,} documents have the id {shown(twice)}; an id names one document")
    return doc_ids


def write_doc_ids(path: Path, doc_ids: Sequence[str]) -> None:
    """Write an index's ids, one a line, whole or not at all."""
    artifact.write_whole(path, "".join(f"{doc_id}\n" for doc_id in doc_ids))


def described(path: Path) -> IndexFolder:
    """Return what a folder says of itself, without its ids: who made it. Raises as `index_meta.read` does."""
    return IndexFolder(path, index_meta.read(path), ())


def read(path: Path) -> IndexFolder:
    """Open a folder whoever made it. Raises as `index_meta.read` does, and CorruptFileError for damaged files."""
    return _with_ids(described(path))


def _with_ids(folder: IndexFolder) -> IndexFolder:
    path, meta = folder.path, folder.meta
    index_meta.check_small(path, meta)
    parts = meta.get("segments") or [{"documents": meta["corpus"]["documents"], "doc_ids": DOC_IDS}]
    # a first list is not written where ids are the numbers of the rows
    listed = DOC_IDS in meta["files"] if "sizes" in meta else (path / DOC_IDS).is_file()
    doc_ids = [
        _doc_ids(path / part["doc_ids"], part["documents"])
        if listed or part["doc_ids"] != DOC_IDS
        else RowIds(part["documents"])
        for part in parts
    ]
    return IndexFolder(path, meta, doc_ids[0] if len(doc_ids) == 1 else [doc_id for part in doc_ids for doc_id in part])


def _doc_ids(path: Path, documents: int) -> Sequence[str]:
    try:
        doc_ids = path.read_bytes().decode().split("\n")[:-1]  # and at no other line break, which an id may have
    except FileNotFoundError:
        raise CorruptFileError(f"{path} is missing from the index; {AGAIN}") from None
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path}: not UTF-8 at byte {error.start}; {AGAIN}") from None
    if len(doc_ids) != documents:
        raise CorruptFileError(
            f"{path}:{len(doc_ids)}: {len(doc_ids):,} ids for {documents:,} documents; build the index again"
        )
    return doc_ids


def open_checked(index: Path | IndexFolder, recipe: "DataclassInstance") -> IndexFolder:
    """Open a folder that this recipe made, the one at a path or one that is `described` already.

    Raises  as `read` does, and MismatchError, with both recipes, if another recipe made it
    """
    folder = _with_ids(index if isinstance(index, IndexFolder) else described(index))
    request, made_by = build_options(recipe_of(recipe), recipe), build_options(folder.meta["recipe"], recipe)
    if made_by["options"] != request["options"] or not goes_by(recipe, made_by["retriever"]):
        made_from = str(folder.meta["corpus"]["sha256"])[:8]
        raise MismatchError(
            f"{folder.path} was built by {spelled(made_by)} from corpus {made_from}; you asked for {spelled(request)}. "
            "Build it again with `lotte index`, or search with its own options."
        )
    return folder


class AbsentDocumentError(MismatchError):
    """A requested document that the index does not have."""

    def __init__(self, doc_id: str) -> None:
        super().__init__(f"document {shown(doc_id)} is not in the index")
        self.doc_id = doc_id


def rows_among(rows: Mapping[str, int], doc_ids: Collection[str]) -> NDArray[np.int64]:
    """Return the rows of some documents. Raises AbsentDocumentError for an id that the index has not."""
    for doc_id in doc_ids:
        if doc_id not in rows:
            raise AbsentDocumentError(doc_id)
    return np.array(sorted(rows[doc_id] for doc_id in set(doc_ids)), dtype=np.int64)


@contextmanager
def using(path: Path) -> Iterator[None]:
    """Turn what damaged arrays make of a calculation into one line. No array is read beyond its end: NumPy looks."""
    try:
        yield
    except LotteError:
        raise
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        raise CorruptFileError(
            f"{path}: the index is damaged ({reason(error)}); `lotte check {path}` says where, or build it again"
        ) from error
