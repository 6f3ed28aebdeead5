"""An index folder as its readers and its writers see it: a codec, segments, and which documents are gone.

`meta.json` names the segments that count and is replaced as a whole, and no
file that a reader may have mapped is ever written to: who opened the index
before a change goes on with what it opened.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lotte.errors import CorruptFileError
from retrievers import index_meta
from retrievers.arrays import mapped
from retrievers.colbert.index import codec as codecs
from retrievers.colbert.index import segment as segments
from retrievers.colbert.index.build import Source, fill
from retrievers.colbert.index.segment import SegmentWriter
from retrievers.colbert.kernels.arrays import Bytes, Codec, Encoded, Segment
from retrievers.index_folder import write_doc_ids
from retrievers.index_meta import AGAIN, LOCK, META

GONE_SHARE = 0.25  # of documents that are deleted, above which a change rewrites what is left
MOST_SEGMENTS = 8  # each costs a query its own pass over the inverted lists
DRIFT = 1.15  # added tokens this much farther from their centroids than the first ones: build again


@dataclass(frozen=True, eq=False)
class ColbertIndex:
    """Mapped arrays. Rows run on from segment to segment."""

    codec: Codec
    segments: tuple[Segment, ...]
    kept: Bytes | None  # (D,): 0 for a document that was deleted; None if none was
    scratches: list[Any] = field(default_factory=list, repr=False)  # of threads that search, to be used again

    @property
    def num_documents(self) -> int:
        return sum(segment.num_documents for segment in self.segments)

    @property
    def num_tokens(self) -> int:
        return sum(segment.num_tokens for segment in self.segments)

    @property
    def bases(self) -> list[int]:
        """Return the first row of each segment."""
        return [0, *np.cumsum([segment.num_documents for segment in self.segments]).tolist()][:-1]


def open_index(folder: Path, meta: dict[str, Any]) -> ColbertIndex:
    """Map an index. Raises CorruptFileError if files are missing or do not fit together."""
    codec = codecs.load(folder)
    parts = tuple(segments.open_segment(folder, part["number"], codec) for part in meta["segments"])
    for part, segment in zip(meta["segments"], parts, strict=True):
        if part.get("documents", segment.num_documents) != segment.num_documents:
            raise CorruptFileError(
                f"{segments.file(folder, 'starts', part['number'])}: {segment.num_documents:,} documents, where "
                f"meta.json says {part['documents']:,}; {AGAIN}"
            )
    index = ColbertIndex(codec, parts, None)
    if (name := meta.get("deleted")) is None:
        return index
    kept = _kept(folder / name, index.num_documents)
    return ColbertIndex(codec, parts, kept)


def _kept(path: Path, documents: int) -> Bytes:
    """Return a byte for each document; those that were added after the file was written are kept."""
    kept = mapped(path, np.uint8, None)
    if len(kept) > documents:
        raise CorruptFileError(
            f"{path}: expected {documents:,} bytes at most, found {kept.dtype} {kept.shape}; build the index again"
        )
    return np.concatenate([kept, np.ones(documents - len(kept), np.uint8)])


def add(
    folder: Path, meta: dict[str, Any], source: Source, doc_ids: Sequence[str], origin: str | None, *, threads: int,
    gpu: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write further documents as a segment of their own; return the meta that counts it in.

    doc_ids  the user's own, none of them in the index
    origin   where their texts are
    """
    codec = codecs.load(folder)
    number = 1 + max(part["number"] for part in meta["segments"])
    _remove_segment(folder, number)  # what a killed change left: no meta names it
    writer = SegmentWriter(folder, number, codec)
    fill(writer, source, None, threads=threads, gpu=gpu)
    name = f"doc_ids.{number:04}.txt"
    write_doc_ids(folder / name, doc_ids)
    part = {
        "number": number, "documents": writer.documents, "tokens": writer.tokens, "distance": writer.distance,
        "doc_ids": name, "paths": [origin] if origin else [],
    }  # fmt: skip
    return {**meta, "segments": [*meta["segments"], part]}


def drift(meta: dict[str, Any]) -> float:
    """Return how far from their centroids the added tokens are, as a multiple of the first ones' distance."""
    first, *added = meta["segments"]
    tokens = sum(part["tokens"] for part in added)
    if not tokens or not first["distance"]:
        return 1.0
    return float(sum(part["tokens"] * part["distance"] for part in added) / tokens / first["distance"])


def delete(folder: Path, meta: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Write which documents are left; return the meta that says so."""
    documents = sum(part["documents"] for part in meta["segments"])
    kept = (
        np.ones(documents, np.uint8)
        if meta.get("deleted") is None
        else _kept(folder / meta["deleted"], documents).copy()
    )
    kept[list(rows)] = 0
    generation = 1 + int((meta.get("deleted") or "kept.0000.npy").split(".")[1])
    name = f"kept.{generation:04}.npy"
    np.save(folder / name, kept)
    return {**meta, "deleted": name, "counts": {**meta["counts"], "deleted": int(documents - kept.sum())}}


def wants_compaction(meta: dict[str, Any]) -> bool:
    documents = sum(part["documents"] for part in meta["segments"])
    return meta["counts"].get("deleted", 0) > GONE_SHARE * documents or len(meta["segments"]) > MOST_SEGMENTS


def compact(folder: Path, meta: dict[str, Any], doc_ids: Sequence[str]) -> dict[str, Any]:
    """Rewrite what is left as one segment, codes as they are; return the meta that counts it alone.

    doc_ids  of all rows
    """
    index = open_index(folder, meta)
    number = 1 + max(part["number"] for part in meta["segments"])
    _remove_segment(folder, number)
    writer = SegmentWriter(folder, number, index.codec)
    left: list[str] = []
    distances = [part["distance"] for part in meta["segments"]]
    for base, segment, distance in zip(index.bases, index.segments, distances, strict=True):
        rows = np.arange(segment.num_documents)
        if index.kept is not None:
            rows = np.flatnonzero(index.kept[base : base + segment.num_documents])
        for first in range(0, len(rows), 4096):
            some = rows[first : first + 4096]
            tokens = np.concatenate([np.arange(segment.starts[row], segment.starts[row + 1]) for row in some])
            encoded = Encoded(segment.cells[tokens], segment.residuals[tokens], segment.lengths[tokens])
            writer.append(encoded, segment.starts[some + 1] - segment.starts[some], distance)
            left += [doc_ids[base + row] for row in some.tolist()]
    writer.finish()
    name = f"doc_ids.{number:04}.txt"
    write_doc_ids(folder / name, left)
    part = {
        "number": number, "documents": writer.documents, "tokens": writer.tokens, "distance": distances[0],
        "doc_ids": name, "paths": list(dict.fromkeys(path for part in meta["segments"] for path in part["paths"])),
    }  # fmt: skip
    return {
        **meta,
        "segments": [part],
        "deleted": None,
        "counts": {**meta["counts"], "tokens": writer.tokens, "deleted": 0},
    }


def names(meta: dict[str, Any]) -> set[str]:
    """Return the files that an index may have: those of the codec, of its segments, and the list of who is gone."""
    found = {codecs.CENTROIDS, codecs.TABLES, codecs.EXACT, meta.get("deleted") or ""}
    for part in meta["segments"]:
        number = f"{part['number']:04}"
        found |= {f"{name}.{number}.npy" for name in segments.NAMES} | {f"chunks.{number}.jsonl", part["doc_ids"]}
    return found


def commit(folder: Path, before: dict[str, Any], meta: dict[str, Any]) -> None:
    """Make a changed meta the one that counts, and remove the files that were of the index and are not any more.

    before  the meta that counted until now
    """
    index_meta.write(folder, {**meta, **index_meta.covered(folder, names(meta), before)})
    for path in folder.iterdir():
        if index_meta.is_ours(path.name) and path.name not in names(meta) | {META, LOCK}:
            path.unlink()


def _remove_segment(folder: Path, number: int) -> None:
    for name in segments.NAMES:
        segments.file(folder, name, number).unlink(missing_ok=True)
    for name in (f"chunks.{number:04}.jsonl", f"doc_ids.{number:04}.txt"):
        (folder / name).unlink(missing_ok=True)


def damaged(folder: Path, meta: dict[str, Any]) -> Iterator[str]:
    """Read all of an index; yield a line for everything that is not as it was written."""
    hashed = dict(index_meta.damaged(folder, meta))
    chunks: dict[str, list[str]] = {}
    if hashed or not meta.get("sizes"):  # the journals say which documents; of an old index they are all there is
        for part in meta["segments"]:
            for name, problem in segments.damaged(folder, part["number"]):
                chunks.setdefault(name, []).append(problem)
    for name in dict.fromkeys([*chunks, *hashed]):
        yield from (f"{name}: {problem}" for problem in chunks.get(name) or [hashed[name]])
