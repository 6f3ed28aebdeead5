"""The vectors of a collection on disk: written a block at a time, so that a stopped build can resume.

Shapes
  N  documents      H  numbers in a vector
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_magic, write_array_header_1_0
from numpy.typing import NDArray

from lotte import Corpus
from lotte.errors import CorruptFileError, LotteError
from lotte.progress import Progress
from retrievers.arrays import npy
from retrievers.index_folder import IndexFolder
from retrievers.index_meta import AGAIN, META

VECTORS = "vectors.npy"
KINDS = ("float32", "float16")
CHUNK = 2048  # documents that are encoded together; a build that was stopped goes on with the next

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def write(folder: Path, corpus: Corpus, encode: Encode, kind: str, title: str) -> float:
    """Write a vector for each document, those alone that are not there yet. Returns the length of the longest.

    Raises  LotteError for a number that is too large for its kind
    """
    path = folder / VECTORS
    done = _done(path, len(corpus))
    with Progress(len(corpus), "passages", title, done=done) as progress:
        for first, texts in _chunks(corpus, done):
            made = encode(texts).astype(kind)
            if not np.isfinite(made).all():
                raise LotteError(f"a vector has a number too large for {kind}: build with -o vectors=float32")
            with path.open("ab") as file:
                if first == 0:
                    header = {"descr": made.dtype.str, "fortran_order": False, "shape": (len(corpus), made.shape[1])}
                    write_array_header_1_0(file, header)
                file.write(made.tobytes())
            progress.advance(len(texts))
    if not len(corpus):
        np.save(path, np.zeros((0, 1), dtype=kind))
    return _longest(npy(path))


def _chunks(corpus: Corpus, done: int) -> Iterator[tuple[int, list[str]]]:
    first, texts = done, []
    for row in range(done, len(corpus)):
        texts.append(corpus[row].text)
        if len(texts) == CHUNK:
            yield first, texts
            first, texts = row + 1, []
    if texts:
        yield first, texts


def _done(path: Path, count: int) -> int:
    """Return how many documents a stopped build left the vectors of, in whole chunks; the rest of its file is cut."""
    try:
        with path.open("r+b") as file:
            if read_magic(file) != (1, 0):
                raise ValueError
            shape, _, kind = read_array_header_1_0(file)
            begin, wide = file.tell(), shape[1] * kind.itemsize
            rows = (path.stat().st_size - begin) // wide
            done = int(rows if rows == count == shape[0] else rows // CHUNK * CHUNK)
            if shape[0] != count or done == 0:
                raise ValueError
            file.truncate(begin + done * wide)
            return done
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        path.unlink(missing_ok=True)
        return 0


def opened(path: Path, count: int) -> NDArray[Any]:
    """Return the vectors of an index, mapped. Raises CorruptFileError for what is no such file."""
    vectors = npy(path / VECTORS)
    if vectors.ndim != 2 or len(vectors) != count or vectors.dtype not in KINDS or not vectors.flags.c_contiguous:
        raise CorruptFileError(f"{path / VECTORS}: expected {count:,} vectors, found {vectors.dtype} {vectors.shape}")
    return np.asarray(vectors).view(np.ndarray)  # which compiled code knows; it is mapped as before


def longest(folder: IndexFolder) -> float:
    """Return the length of the longest vector, as an index says it. Raises CorruptFileError if it does not."""
    said = folder.meta.get("vectors")
    value = said.get("longest") if isinstance(said, dict) else None
    if isinstance(value, int | float) and 0 <= value < float("inf"):
        return float(value)
    raise CorruptFileError(f"{folder.path / META} does not describe its vectors; {AGAIN}")


def _longest(vectors: NDArray[Any]) -> float:
    blocks = (vectors[row : row + CHUNK].astype(np.float64) for row in range(0, len(vectors), CHUNK))
    return max((float(np.sqrt((block**2).sum(axis=1)).max()) for block in blocks), default=0.0)
