"""The arrays of an index on disk: files of numbers that grow by chunks while they are built, and open by mapping.

A segment is some documents, coded and listed; its files never change once it
is whole. What a killed build leaves is cut back to the last chunk that its
journal knows, so no chunk is made twice.

    centroids.NNNN.npy       (N,)      number of each token's centroid
    residuals.NNNN.npy   (N, P)    packed codes
    lengths.NNNN.npy     (N,)      what to scale each decoded token by
    starts.NNNN.npy      (D + 1,)  where each document's tokens start
    lists.NNNN.npy       bytes     the rows of each centroid, as differences
    list_starts.NNNN.npy (K + 1,)  where each centroid's rows start
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import artifact
from lotte.errors import CorruptFileError
from lotte.jsonl import integer, parsed, string
from retrievers.arrays import mapped, rises
from retrievers.colbert.index.meta import SegmentMeta
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import Codec, Encoded, Integers, Segment

HEADER = 128  # bytes before the numbers of a .npy file of ours; numpy reads any length
NAMES = ("cells", "residuals", "lengths", "starts", "lists", "list_starts")


def file(folder: Path, name: str, number: int) -> Path:
    """Return the path of an array of a segment."""
    return folder / f"{name}.{number:04}.npy"


def files(number: int) -> list[str]:
    """Return the names of a segment's files, its journal among them."""
    return [*(f"{name}.{number:04}.npy" for name in NAMES), _journal(Path(), number).name]


def open_segment(folder: Path, number: int, codec: Codec) -> Segment:
    """Map a segment's files.

    Raises  CorruptFileError if one is missing, or its shape is not the shape the others ask for
    """

    def column(name: str, kind: Any, *shape: int | None) -> Any:
        return mapped(file(folder, name, number), kind, *shape)

    centroid_ids = column("cells", codec.id_type, None)
    tokens, width = len(centroid_ids), codec.dim * codec.bits // 8
    segment = Segment(
        centroid_ids,
        column("residuals", np.uint8, tokens, width),
        column("lengths", np.uint8, tokens),
        column("starts", np.int64, None),
        column("lists", np.uint8, None),
        column("list_starts", np.int64, codec.num_centroids + 1),
    )
    rises(file(folder, "starts", number), segment.starts, tokens)
    rises(file(folder, "list_starts", number), segment.list_starts, len(segment.lists))
    return segment


class NumberFile:
    """A .npy file to which rows are appended."""

    def __init__(self, path: Path, kind: Any, width: int | None = None) -> None:
        self.path, self.kind, self.width = path, np.dtype(kind), width
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._row = self.kind.itemsize * (width or 1)

    def truncate(self, rows: int) -> None:
        """Keep the first rows, and go on after them; rows that were never written are 0."""
        self._file.truncate(HEADER + rows * self._row)
        self._file.seek(0)
        self._file.write(_header(self.kind, (rows,) if self.width is None else (rows, self.width)))
        self._file.seek(0, os.SEEK_END)

    def append(self, rows: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows, self.kind).data)

    def fsync(self) -> None:
        """Have the system write what it holds, so that it outlives a machine that stops."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, rows: int) -> None:
        self.truncate(rows)
        self.fsync()
        self._file.close()


def _header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the first bytes of a .npy file, version 1.0, filled up to HEADER.

    Source  numpy.lib.format
    """
    text = f"{{'descr': {kind.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    fixed = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return fixed + text.encode().ljust(HEADER - 11) + b"\n"


class SegmentWriter:
    """Builds a segment chunk by chunk. Opened again after a stop, it resumes after its last whole chunk."""

    def __init__(self, folder: Path, number: int, codec: Codec) -> None:
        self.folder, self.number, self.codec = folder, number, codec
        self._journal = _journal(folder, number)
        self._columns = {
            "cells": NumberFile(file(folder, "cells", number), codec.id_type),
            "residuals": NumberFile(file(folder, "residuals", number), np.uint8, codec.dim * codec.bits // 8),
            "lengths": NumberFile(file(folder, "lengths", number), np.uint8),
            "starts": NumberFile(file(folder, "starts", number), np.int64),
        }
        chunks = list(_lines(self._journal))
        self.documents = sum(chunk["documents"] for chunk in chunks)
        self.tokens = sum(chunk["tokens"] for chunk in chunks)
        self._distances = [(chunk["tokens"], chunk["distance"]) for chunk in chunks]
        for name, column in self._columns.items():
            column.truncate(self.documents + 1 if name == "starts" else self.tokens)
        self._journal.write_text("".join(artifact.json_line(chunk) for chunk in chunks), encoding="utf-8")

    @property
    def distance(self) -> float:
        """Return how far tokens are from their centroids, on average over the chunks."""
        return sum(tokens * distance for tokens, distance in self._distances) / max(1, self.tokens)

    def meta(self, doc_ids: str, paths: Iterable[str]) -> SegmentMeta:
        """Return what meta.json says of the segment.

        doc_ids  name of the file with its documents' ids
        paths    where the texts were
        """
        return SegmentMeta(
            number=self.number,
            documents=self.documents,
            tokens=self.tokens,
            distance=self.distance,
            doc_ids=doc_ids,
            paths=tuple(paths),
        )

    def append(self, encoded: Encoded, lengths_D: Integers, distance: float) -> None:
        """Append a chunk of documents; when this returns, a kill does not lose it.

        distance  of its tokens from their centroids, on average
        """
        starts = self.tokens + np.cumsum(lengths_D, dtype=np.int64)
        parts = {
            "cells": encoded.centroid_ids_N,
            "residuals": encoded.residuals_NP,
            "lengths": encoded.lengths_N,
            "starts": starts,
        }
        tokens = len(encoded.centroid_ids_N)
        line: dict[str, Any] = {"documents": len(lengths_D), "tokens": tokens, "distance": distance}
        for name, rows in parts.items():
            column = self._columns[name]
            whole = np.ascontiguousarray(rows, column.kind)
            line[name] = hashlib.sha256(whole.data).hexdigest()
            column.append(whole)
            column.fsync()
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(artifact.json_line(line))
            journal.flush()
            os.fsync(journal.fileno())
        self.documents += len(lengths_D)
        self.tokens += tokens
        self._distances.append((tokens, distance))

    def finish(self) -> None:
        """Write the inverted lists; then the segment is whole."""
        for name, column in self._columns.items():
            column.close(self.documents + 1 if name == "starts" else self.tokens)
        centroid_ids = np.load(file(self.folder, "cells", self.number), mmap_mode="r")
        starts = np.load(file(self.folder, "starts", self.number), mmap_mode="r")

        def stream(size: int) -> NDArray[np.uint8]:
            path = file(self.folder, "lists", self.number)
            if not size:  # nothing can be mapped in an empty file
                np.save(path, np.empty(0, np.uint8))
                return np.empty(0, np.uint8)
            return np.lib.format.open_memmap(path, "w+", np.uint8, (size,))

        list_starts = cpu.lists(centroid_ids, starts, self.codec.num_centroids, stream)
        np.save(file(self.folder, "list_starts", self.number), list_starts)


def verify(folder: Path, number: int) -> Iterator[tuple[str, str]]:
    """Read every chunk of a segment; yield file and what is wrong, for each that is not what was written."""
    try:
        arrays = {name: mapped(file(folder, name, number)) for name in ("cells", "residuals", "lengths", "starts")}
        chunks = list(_lines(_journal(folder, number)))
    except CorruptFileError as error:
        yield f"segment {number}", str(error)
        return
    first = token = 0
    for chunk in chunks:
        last, end = first + chunk["documents"], token + chunk["tokens"]
        for name, array in arrays.items():
            rows = array[first + 1 : last + 1] if name == "starts" else array[token:end]
            if hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest() != chunk[name]:
                yield file(folder, name, number).name, f"documents {first:,} to {last - 1:,} are not what was written"
        first, token = last, end
    if (first, token) != (len(arrays["starts"]) - 1, len(arrays["cells"])):
        yield _journal(folder, number).name, f"has {first:,} documents of {len(arrays['starts']) - 1:,}"


def _journal(folder: Path, number: int) -> Path:
    return folder / f"chunks.{number:04}.jsonl"


def _lines(journal: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines that were written whole; a last one that a kill cut short counts for nothing."""
    if not journal.exists():
        return
    for number, line in enumerate(journal.read_bytes().split(b"\n")[:-1], start=1):
        where = f"{journal}:{number}"
        chunk = parsed(line, where)
        for count in ("documents", "tokens"):
            if integer(chunk.get(count), count, where) < 0:
                raise CorruptFileError(f"{where}: {count} cannot be {chunk[count]}")
        for name in ("cells", "residuals", "lengths", "starts"):
            string(chunk, name, where)
        if type(chunk.get("distance")) not in (int, float):
            raise CorruptFileError(f"{where}: distance must be a number, found {chunk.get('distance')!r}")
        yield chunk
