"""Changes to an index: documents are added and deleted, and the remaining ones are rewritten from time to time.

Added documents form a new segment, coded with the existing codec; deleted ones are marked in a list. A change takes
effect when the new `meta.json` is written, which happens last; until then the old one is valid.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lotte import Corpus, artifact
from lotte.dataset import corpus_sha256
from lotte.errors import MismatchError, shown
from lotte.terminal import say
from retrievers import index_folder, index_meta
from retrievers.colbert.index import codec as codecs
from retrievers.colbert.index import folder as folders
from retrievers.colbert.index import segment as segments
from retrievers.colbert.index.build import CHUNK, VectorSource, fill
from retrievers.colbert.index.meta import IndexMeta
from retrievers.colbert.index.segment import SegmentWriter
from retrievers.colbert.kernels.arrays import Encoded
from retrievers.index_meta import LOCK, META

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

GONE_SHARE = 0.25  # of documents that are deleted, above which a change rewrites what is left
MOST_SEGMENTS = 8  # each costs a query its own pass over the inverted lists
DRIFT = 1.15  # added tokens this much farther from their centroids than the first documents: build again


@dataclass(frozen=True)
class Addition:
    """Documents to be put into an index, and who encodes them."""

    corpus: Corpus
    source: Callable[[IndexMeta], VectorSource]  # of their vectors; MismatchError if another model made the index
    threads: int
    gpu: str | None = None


def change(path: Path, recipe: "DataclassInstance", *, delete: Sequence[str], add: Addition | None) -> None:
    """Take documents out of the index at `path` and put others in: both or neither, whenever this is stopped.

    recipe  that made the index

    Raises  MismatchError, and changes nothing, if a document to delete is not there, or one to add is
    """
    added = "" if add is None else corpus_sha256(add.corpus)
    with index_folder.exclusive_lock(path):
        folder = index_folder.open_checked(path, recipe)
        before, doc_ids = IndexMeta.parse(folder.meta, path / META), list(folder.doc_ids)
        request = artifact.digest([sorted(delete), added])
        if delete and added and before.changed == request:
            say(f"{path} already has this change; nothing to do")  # a command that was stopped at its end
            return
        alive = folders.open_arrays(path, before).alive
        rows = {doc_id: row for row, doc_id in enumerate(doc_ids) if alive is None or alive[row]}
        if absent := [doc_id for doc_id in delete if doc_id not in rows]:
            raise MismatchError(f"document {shown(absent[0])} is not in {path}; nothing was deleted")
        meta = before
        if delete:
            meta = _without(path, meta, [rows.pop(doc_id) for doc_id in dict.fromkeys(delete)])
            meta = meta.of_changed_corpus("delete", sorted(delete))
        if add is not None:
            meta = _with(path, meta, add, rows).of_changed_corpus("add", added)
            sources = index_folder.sources(folder.meta) + index_folder.source_of(add.corpus, added)
            meta = replace(meta, sources=tuple(sources))
            doc_ids += add.corpus.doc_ids
        if _wants_compaction(meta):
            say("rewriting the index without the deleted documents")
            meta = _compacted(path, meta, doc_ids)
        tokens = sum(part.tokens for part in meta.segments)
        _commit(path, before, replace(meta, counts=replace(meta.counts, tokens=tokens), changed=request))


def _without(folder: Path, meta: IndexMeta, rows: Sequence[int]) -> IndexMeta:
    """Write which documents are left; return the meta that says so."""
    alive = folders.alive(folder, meta).copy()
    alive[list(rows)] = 0
    generation = 1 + int((meta.deleted or "kept.0000.npy").split(".")[1])
    name = f"kept.{generation:04}.npy"
    np.save(folder / name, alive)
    return replace(meta, deleted=name, counts=replace(meta.counts, deleted=int(len(alive) - alive.sum())))


def _with(folder: Path, meta: IndexMeta, add: Addition, there: Container[str]) -> IndexMeta:
    """Write further documents as a segment of their own; return the meta that counts it in."""
    if twice := next((doc_id for doc_id in index_folder.check_ids(add.corpus) if doc_id in there), None):
        raise MismatchError(f"document {twice!r} is in {folder} already; --delete it first, or use another id")
    source = add.source(meta)
    writer = _writer(folder, meta)
    fill(writer, source, None, threads=add.threads, gpu=add.gpu)
    origin = getattr(add.corpus, "path", None)
    part = writer.meta(_write_doc_ids(writer, add.corpus.doc_ids), [str(origin.resolve())] if origin else [])
    meta = replace(meta, segments=(*meta.segments, part))
    if (farther := drift(meta)) > DRIFT:
        say(
            f"the added documents are {farther - 1:.0%} farther from their centroids than the first documents: "
            "search quality drops; rebuild the index from all documents when possible"
        )
    return meta


def drift(meta: IndexMeta) -> float:
    """Return how far from their centroids the added tokens are, as a multiple of the first ones' distance."""
    first, *added = meta.segments
    tokens = sum(part.tokens for part in added)
    if not tokens or not first.distance:
        return 1.0
    return sum(part.tokens * part.distance for part in added) / tokens / first.distance


def _wants_compaction(meta: IndexMeta) -> bool:
    return (meta.counts.deleted or 0) > GONE_SHARE * meta.documents or len(meta.segments) > MOST_SEGMENTS


def _compacted(folder: Path, meta: IndexMeta, doc_ids: Sequence[str]) -> IndexMeta:
    """Rewrite what is left as one segment, codes as they are; return the meta that counts it alone.

    doc_ids  of all rows
    """
    index = folders.open_arrays(folder, meta)
    writer = _writer(folder, meta)
    left: list[str] = []
    for base, segment, part in zip(index.bases, index.segments, meta.segments, strict=True):
        rows = np.arange(segment.num_documents)
        if index.alive is not None:
            rows = np.flatnonzero(index.alive[base : base + segment.num_documents])
        for first in range(0, len(rows), CHUNK):
            some = rows[first : first + CHUNK]
            tokens = np.concatenate([np.arange(segment.starts[row], segment.starts[row + 1]) for row in some])
            encoded = Encoded(segment.centroid_ids[tokens], segment.residuals[tokens], segment.lengths[tokens])
            writer.append(encoded, segment.starts[some + 1] - segment.starts[some], part.distance)
            left += [doc_ids[base + row] for row in some.tolist()]
    writer.finish()
    paths = dict.fromkeys(path for part in meta.segments for path in part.paths)
    whole = replace(writer.meta(_write_doc_ids(writer, left), paths), distance=meta.segments[0].distance)
    return replace(meta, segments=(whole,), deleted=None, counts=replace(meta.counts, deleted=0))


def _writer(folder: Path, meta: IndexMeta) -> SegmentWriter:
    """Return the writer of a further segment. What a killed change left under its number is removed."""
    number = meta.next_number
    for name in (*segments.files(number), _doc_ids_name(number)):
        (folder / name).unlink(missing_ok=True)
    return SegmentWriter(folder, number, codecs.load(folder))


def _doc_ids_name(number: int) -> str:
    return f"doc_ids.{number:04}.txt"


def _write_doc_ids(writer: SegmentWriter, doc_ids: Sequence[str]) -> str:
    """Write the ids of a segment; return the file's name."""
    name = _doc_ids_name(writer.number)
    index_folder.write_doc_ids(writer.folder / name, doc_ids)
    return name


def _commit(folder: Path, before: IndexMeta, meta: IndexMeta) -> None:
    """Make a changed meta the one that counts, and remove the files that were of the index and are not any more.

    before  the meta that counted until now
    """
    wanted = folders.names(meta)
    index_meta.write(folder, {**meta.json(), **index_meta.covered(folder, wanted, before.json())})
    for path in folder.iterdir():
        if index_meta.is_ours(path.name) and path.name not in wanted | {META, LOCK}:
            path.unlink()
