"""What an index gives to another program: documents some at a time, with ids, texts and vectors.

Memory is that of one block, however large the index is. Documents that were deleted are left out, so that a
document's place among those that are given, its `row`, has no gaps.

Legend  N tokens  D documents  H dimensions  P bytes of a packed residual
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lotte.errors import UnavailableError
from retrievers import index_folder
from retrievers.colbert.index import folder as folders
from retrievers.colbert.index.meta import IndexMeta
from retrievers.colbert.kernels.arrays import Bytes, Codec, Floats, Integers, Segment
from retrievers.dense import vectors as dense_vectors
from retrievers.index_folder import IndexFolder
from retrievers.index_meta import META
from retrievers.texts import IndexTexts

TOKENS = 1 << 16  # of a block, at most, but for a document that has more: 32 MB of float32 at 128 dimensions
DOCUMENTS = 1 << 12  # of a block, at most


class DocBlock(NamedTuple):
    """Some documents, with a vector for every token, or one each."""

    row: int  # of the first
    doc_ids: list[str]
    texts: list[str] | None  # None where the collection is gone
    vectors: Floats  # (N, H), rows of length 1 if there is one for every token
    starts: NDArray[np.int64]  # (D + 1,): document d has the vectors starts[d] to starts[d + 1]

    def of(self, place: int) -> Floats:
        """Return the vectors of one of the documents."""
        return self.vectors[self.starts[place] : self.starts[place + 1]]


class ExportSource(Protocol):
    """An index, as the writers of other programs' files read it."""

    @property
    def num_documents(self) -> int: ...
    @property
    def num_vectors(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def has_texts(self) -> bool: ...
    @property
    def one_each(self) -> bool:
        """Whether a document has one vector, not one for every token."""
        ...

    def blocks(self) -> Iterator[DocBlock]:
        """Give all documents, some at a time."""
        ...


class CodeBlock(NamedTuple):
    """The tokens of some documents, as they are stored."""

    doc_ids: list[str]
    lengths: NDArray[np.int64]  # (D,)
    centroid_ids: Integers  # (N,)
    residuals: Bytes  # (N, P)


@dataclass(frozen=True)
class LateSource:
    """An index of late interaction."""

    folder: IndexFolder
    arrays: folders.ColbertIndex
    model: str  # that made the vectors
    texts: IndexTexts
    one_each = False

    @property
    def codec(self) -> Codec:
        return self.arrays.codec

    @property
    def dim(self) -> int:
        return self.codec.dim

    @property
    def has_texts(self) -> bool:
        return not self.texts.is_gone

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each document has."""
        parts = [part.starts[rows + 1] - part.starts[rows] for _, part, rows in self._parts()]
        return np.concatenate([np.empty(0, np.int64), *parts])

    @property
    def num_documents(self) -> int:
        return len(self.lengths)

    @property
    def num_vectors(self) -> int:
        return int(self.lengths.sum())

    def codes(self) -> Iterator[CodeBlock]:
        """Give all documents, some at a time, with their tokens as they are stored."""
        for base, part, rows in self._parts():
            places = _tokens(part.starts, rows)
            lengths = part.starts[rows + 1] - part.starts[rows]
            doc_ids = [self.folder.doc_ids[base + row] for row in rows.tolist()]
            yield CodeBlock(doc_ids, lengths, part.centroid_ids[places], part.residuals[places])

    def blocks(self) -> Iterator[DocBlock]:
        from retrievers.colbert.kernels import cpu

        row = 0
        for coded in self.codes():
            vectors = cpu.decode(self.codec, coded.centroid_ids, coded.residuals)
            starts = np.concatenate([[0], np.cumsum(coded.lengths)])
            yield DocBlock(row, coded.doc_ids, _texts(self.texts, coded.doc_ids), vectors, starts)
            row += len(coded.doc_ids)

    def _parts(self) -> Iterator[tuple[int, Segment, NDArray[np.int64]]]:
        """Give the documents that are not deleted: first row of a segment, the segment, rows in it."""
        alive = self.arrays.alive
        for base, segment in zip(self.arrays.bases, self.arrays.segments, strict=True):
            first = 0
            while first < segment.num_documents:
                reached = int(np.searchsorted(segment.starts, segment.starts[first] + TOKENS, "right")) - 1
                last = max(first + 1, min(reached, first + DOCUMENTS))
                rows = np.arange(first, last)
                yield base, segment, rows if alive is None else rows[alive[base + rows] != 0]
                first = last


@dataclass(frozen=True)
class DenseSource:
    """An index of one vector a document."""

    folder: IndexFolder
    vectors: NDArray[Any]
    texts: IndexTexts
    one_each = True

    @property
    def num_documents(self) -> int:
        return len(self.vectors)

    @property
    def num_vectors(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def has_texts(self) -> bool:
        return not self.texts.is_gone

    def blocks(self) -> Iterator[DocBlock]:
        for row in range(0, len(self.vectors), DOCUMENTS):
            vectors = self.vectors[row : row + DOCUMENTS].astype(np.float32)
            doc_ids = list(self.folder.doc_ids[row : row + len(vectors)])
            yield DocBlock(row, doc_ids, _texts(self.texts, doc_ids), vectors, np.arange(len(vectors) + 1))


def open_source(path: Path, say: Callable[[str], None]) -> "LateSource | DenseSource":
    """Open an index to be written as others read it. Raises UnavailableError if it has no vectors."""

    def opened() -> LateSource | DenseSource:
        folder = index_folder.read(path)
        if folder.meta.get("segments"):
            meta = IndexMeta.parse(folder.meta, path / META)
            model = str((meta.model or {}).get("id") or meta.recipe["options"].get("checkpoint") or "")
            return LateSource(folder, folders.open_arrays(path, meta), model, IndexTexts(folder, say))
        if (path / dense_vectors.VECTORS).is_file():
            return DenseSource(folder, dense_vectors.opened(path, len(folder.doc_ids)), IndexTexts(folder, say))
        parts = "".join(f"; {path / name} may" for name in sorted(folder.meta.get("parts") or ())[:1])
        raise UnavailableError(
            f"{path} is an index of {folder.meta['recipe']['retriever']}, which keeps no vectors; what can be exported "
            f"is an index of late interaction (colbertv2) to every engine, and one of a vector a passage (dense) to "
            f"parquet{parts}"
        )

    return folders.at_rest(path, opened)


def _texts(texts: IndexTexts, doc_ids: Sequence[str]) -> list[str] | None:
    return None if texts.is_gone else [texts[doc_id] for doc_id in doc_ids]


def _tokens(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> "NDArray[np.int64] | slice":
    """Return the tokens of some documents: a slice where they lie side by side, which copies nothing."""
    if not len(rows):
        return slice(0, 0)
    if rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(starts[rows[0]]), int(starts[rows[-1] + 1]))
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])
