"""An index folder as its readers see it: a codec, segments, and which documents are deleted.

`meta.json` names the segments that count and is replaced as a whole, and no file that a reader may have mapped is
ever modified: a process that opened the index before a change keeps using the files it opened.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lotte import artifact
from lotte.errors import CorruptFileError
from retrievers import index_meta
from retrievers.arrays import mapped
from retrievers.colbert.index import codec as codecs
from retrievers.colbert.index import segment as segments
from retrievers.colbert.index.meta import IndexMeta
from retrievers.colbert.kernels.arrays import Bytes, Codec, Segment
from retrievers.index_meta import AGAIN, META

Opened = TypeVar("Opened")


@dataclass(frozen=True, eq=False)
class ColbertIndex:
    """Mapped arrays. Rows run on from segment to segment."""

    codec: Codec
    segments: tuple[Segment, ...]
    alive: Bytes | None  # (D,): 0 for a document that was deleted; None if none was
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


def open_index(path: Path | str) -> ColbertIndex:
    """Open the index at `path`: files are mapped, and of the large ones nothing is read but what a search looks at.

    Raises  UnavailableError if no whole index is there, MismatchError if it is of another format,
            CorruptFileError if files are missing, do not fit together, or are not what was written
    """

    path = Path(path)

    def opened() -> ColbertIndex:
        found = index_meta.read(path)
        index_meta.check_small(path, found)
        return open_arrays(path, IndexMeta.parse(found, path / META))

    return at_rest(path, opened)


def at_rest(path: Path, opened: Callable[[], Opened]) -> Opened:
    """Return what was opened, opening again where a writer has put other files in their place meanwhile."""
    while True:
        meta = artifact.meta(path)
        try:
            return opened()
        except CorruptFileError:
            if artifact.meta(path) == meta:
                raise


def open_arrays(folder: Path, meta: IndexMeta) -> ColbertIndex:
    """Map an index. Raises CorruptFileError if files are missing or do not fit together."""
    codec = codecs.load(folder)
    parts = tuple(segments.open_segment(folder, part.number, codec) for part in meta.segments)
    for part, segment in zip(meta.segments, parts, strict=True):
        if part.documents != segment.num_documents:
            raise CorruptFileError(
                f"{segments.file(folder, 'starts', part.number)}: {segment.num_documents:,} documents, where "
                f"meta.json says {part.documents:,}; {AGAIN}"
            )
    return ColbertIndex(codec, parts, None if meta.deleted is None else alive(folder, meta))


def alive(folder: Path, meta: IndexMeta) -> Bytes:
    """Return a byte for each document, 0 for one that was deleted; one added after the file was written is alive."""
    if meta.deleted is None:
        return np.ones(meta.documents, np.uint8)
    path = folder / meta.deleted
    kept = mapped(path, np.uint8, None)
    if len(kept) > meta.documents:
        raise CorruptFileError(
            f"{path}: expected {meta.documents:,} bytes at most, found {kept.dtype} {kept.shape}; build the index again"
        )
    return np.concatenate([kept, np.ones(meta.documents - len(kept), np.uint8)])


def names(meta: IndexMeta) -> set[str]:
    """Return the files that an index may have: those of the codec, of its segments, and the list of who is gone."""
    files = {codecs.CENTROIDS, codecs.TABLES, codecs.EXACT, meta.deleted or ""}
    for part in meta.segments:
        files |= {*segments.files(part.number), part.doc_ids}
    return files


def verify(folder: Path) -> Iterator[str]:
    """Read all of an index; yield a line for everything that is not as it was written."""
    found = index_meta.read(folder)
    hashed = dict(index_meta.damaged(folder, found))
    chunks: dict[str, list[str]] = {}
    if hashed or not found.get("sizes"):  # the journals say which documents; of an old index they are all there is
        for part in IndexMeta.parse(found, folder / META).segments:
            for name, problem in segments.verify(folder, part.number):
                chunks.setdefault(name, []).append(problem)
    for name in dict.fromkeys([*chunks, *hashed]):
        yield from (f"{name}: {problem}" for problem in chunks.get(name) or [hashed[name]])
