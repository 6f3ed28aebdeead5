"""FAISS's IVFPQ over the token vectors of a collection: the first stage of ColBERT v1's search end to end.

A token is assigned to its nearest partition; its residual is cut into s sub-vectors, stored as one byte each. A query
token probes its `nprobe` nearest partitions and retrieves the `depth` nearest tokens there; the candidates are the
documents of all tokens retrieved by all query tokens. FAISS uses L2, whatever the second stage uses: over vectors of
length 1 the order by L2 is the order by cosine.

The files are plain arrays: FAISS's own file is not read, because FAISS reads it without checks. The same vectors
give the same files on one machine: one thread trains, so the number of threads does not matter. A collection with fewer
vectors than 39 for each partition, or than 256 in all, which FAISS cannot train, gets fewer partitions or shorter
codes, which is reported.

Legend  N tokens  H numbers in a vector  P partitions  s parts of a vector  B bytes of a code
Source  Khattab & Zaharia 2020, arXiv:2004.12832, section 3.6; FAISS 1.15, faiss/IndexIVFPQ.h
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import extras
from lotte.errors import CorruptFileError, MismatchError
from retrievers.arrays import mapped, spans
from retrievers.colbert.kernels.arrays import Floats, Integers
from retrievers.index_meta import AGAIN

CENTRES, CODEBOOK, CODES, IDS, ENDS = "centres.npy", "codebook.npy", "codes.npy", "token_ids.npy", "partitions.npy"
FILES = (CENTRES, CODEBOOK, CODES, IDS, ENDS)
WANTED = "colbert's search end to end"
LEAST = 39  # vectors for a partition, below which FAISS warns that it trains on too few
BITS = 8  # of a part's code
MOST = 256  # vectors for each partition, and for each of 256 codes: more is not looked at in training
AT_ONCE = 1 << 17  # vectors that are added at once


@dataclass(frozen=True)
class Shape:
    """What an IVFPQ index has: partitions, parts of a vector, bits of a part's code."""

    partitions: int
    parts: int
    bits: int

    @classmethod
    def fitting(cls, vectors: int, partitions: int, parts: int) -> "Shape":
        """Return the requested shape, reduced to what so many vectors can train."""
        bits = min(BITS, max(1, vectors.bit_length() - 1))
        return cls(max(1, min(partitions, vectors // LEAST)), parts, bits)


def package() -> Any:
    """Return FAISS. Raises UnavailableError without it."""
    return extras.package("faiss", WANTED)


def require_parts(dim: int, parts: int) -> None:
    """Raise MismatchError for vectors that cannot be cut into so many parts."""
    if dim % parts:
        fits = [count for count in range(1, min(dim, 64) + 1) if dim % count == 0]
        raise MismatchError(
            f"sub_vectors={parts} does not divide the {dim} numbers of a vector; take one of "
            f"{', '.join(map(str, fits))}"
        )


def write(folder: Path, vectors_NH: NDArray[Any], shape: Shape, seed: int, say: Callable[[str], None]) -> None:
    """Train on a sample of the vectors, code them all, and leave both in a folder."""
    count, dim = vectors_NH.shape
    index = _empty(dim, shape)
    rows = np.arange(count)
    if count > (most := MOST * max(shape.partitions, 1 << BITS)):
        rows = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
        say(f"training {shape.partitions:,} partitions on {most:,} of {count:,} vectors")
    index.cp.seed = index.pq.cp.seed = seed + 1  # FAISS takes 0 for no seed
    with _threads(1):  # so that no sum depends on how many there are
        index.train(_floats(vectors_NH[rows]))
    for first in range(0, count, AT_ONCE):
        index.add(_floats(vectors_NH[first : first + AT_ONCE]))
    faiss, lists = package(), index.invlists
    sizes = np.array([lists.list_size(number) for number in range(shape.partitions)], np.int64)
    ids = [faiss.rev_swig_ptr(lists.get_ids(number), size) for number, size in enumerate(sizes.tolist()) if size]
    codes = [
        faiss.rev_swig_ptr(lists.get_codes(number), size * index.code_size).reshape(size, -1)
        for number, size in enumerate(sizes.tolist())
        if size
    ]
    np.save(folder / CENTRES, index.quantizer.reconstruct_n(0, shape.partitions))
    np.save(folder / CODEBOOK, faiss.vector_to_array(index.pq.centroids).reshape(shape.parts, 1 << shape.bits, -1))
    np.save(folder / CODES, np.concatenate(codes))
    np.save(folder / IDS, np.concatenate(ids))
    np.save(folder / ENDS, np.concatenate([[0], np.cumsum(sizes)]))


class TokenIndex:
    """An index that `write` left, as FAISS searches it."""

    def __init__(self, folder: Path, shape: Shape, *, dim: int, tokens: int) -> None:
        """Raise CorruptFileError for files that are not of this shape, UnavailableError without FAISS."""
        faiss, parts = package(), (shape.parts, 1 << shape.bits, dim // shape.parts)
        centres = mapped(folder / CENTRES, np.float32, shape.partitions, dim)
        codebook = mapped(folder / CODEBOOK, np.float32, *parts)
        codes = mapped(folder / CODES, np.uint8, tokens, -(-shape.parts * shape.bits // 8))
        ids, ends = mapped(folder / IDS, np.int64, tokens), mapped(folder / ENDS, np.int64, shape.partitions + 1)
        spans(folder / ENDS, ends, tokens)
        if (np.diff(ends) < 0).any() or not 0 <= ids.min(initial=0) <= ids.max(initial=0) < max(tokens, 1):
            raise CorruptFileError(f"{folder}: a partition lists tokens that do not exist; {AGAIN}")
        self._index = _empty(dim, shape)  # of sizes that the files have
        self._index.quantizer.add(np.array(centres))
        faiss.copy_array_to_vector(np.array(codebook).reshape(-1), self._index.pq.centroids)
        for number, (begin, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
            if end > begin:
                some_ids, some_codes = np.array(ids[begin:end]), np.array(codes[begin:end])
                self._index.invlists.add_entries(
                    number, end - begin, faiss.swig_ptr(some_ids), faiss.swig_ptr(some_codes)
                )
        self._index.ntotal, self._index.is_trained = tokens, True
        self._index.precompute_table()

    def nearest(self, query_NH: Floats, *, nprobe: int, depth: int, threads: int) -> Integers:
        """Return (N, depth), the numbers of the tokens that are nearest to each vector; -1 where there are no more."""
        self._index.nprobe = nprobe
        with _threads(threads):
            _, ids = self._index.search(_floats(query_NH), depth)
        found: Integers = ids
        return found


def _empty(dim: int, shape: Shape) -> Any:
    faiss = package()
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, shape.partitions, shape.parts, shape.bits)
    for clustering in (index.cp, index.pq.cp):
        clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, MOST
    return index


@contextmanager
def _threads(count: int) -> Iterator[None]:
    faiss = package()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _floats(vectors: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(vectors, np.float32)
