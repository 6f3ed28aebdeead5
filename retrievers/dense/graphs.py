"""FAISS's approximate indexes: HNSW and IVF. Their results are scored again exactly."""

from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import extras
from lotte.errors import CorruptFileError, MismatchError, reason
from retrievers.index_meta import AGAIN

GRAPHS = ("hnsw", "ivf")
BLOCK = 1 << 16  # vectors that FAISS is given at a time
SAMPLE = 256  # vectors for each list of IVF that its centres are made from

Floats = NDArray[np.float32]


def write(
    kind: str, folder: Path, vectors: NDArray[Any], *, m: int, ef_construction: int, lists: int, threads: int
) -> None:
    """Write what a search by `kind` needs. FAISS holds a copy of all vectors in memory while it is made, and after.

    m                neighbours of a vector in the graph of HNSW
    ef_construction  neighbours that are looked at for these
    lists            of IVF; 0: four times the root of the vectors
    """
    faiss = extras.package("faiss", f"search={kind}")
    faiss.omp_set_num_threads(threads)
    count, dim = vectors.shape
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = ef_construction
    else:
        lists = num_lists(count, lists)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1  # or it writes a warning for each small collection
        if count:
            some = np.linspace(0, count - 1, min(count, SAMPLE * lists)).astype(np.int64)
            index.train(np.ascontiguousarray(vectors[some], dtype=np.float32))
    for first in range(0, count, BLOCK):
        index.add(np.ascontiguousarray(vectors[first : first + BLOCK], dtype=np.float32))
    faiss.write_index(index, str(folder / f"{kind}.faiss"))


def num_lists(count: int, lists: int) -> int:
    """Return how many lists an IVF of so many vectors has. `lists` as `write` takes it."""
    return max(1, min(count, lists or round(4 * sqrt(count))))


class Graph:
    """A FAISS index that is searched for near rows."""

    def __init__(self, kind: str, folder: Path, shape: tuple[int, ...], *, ef: int, probe: int, threads: int) -> None:
        faiss, path = extras.package("faiss", f"search={kind}"), folder / f"{kind}.faiss"
        if not path.exists():
            raise MismatchError(f"{folder} was built without search={kind}: build it again with -o search={kind}")
        try:
            self._index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise CorruptFileError(f"{path} is not an index that FAISS can read ({reason(error)}); {AGAIN}") from None
        if (self._index.ntotal, self._index.d) != shape:
            raise CorruptFileError(f"{path} has {self._index.ntotal:,} vectors of {self._index.d} numbers; {AGAIN}")
        self._kind, self._ef, self._threads, self._faiss = kind, ef, threads, faiss
        if kind == "ivf":
            if probe > self._index.nlist:
                raise MismatchError(f"probe is {probe}, and {folder} has {self._index.nlist} lists")
            self._index.nprobe = probe or min(32, self._index.nlist)

    def rows(self, queries_QH: Floats, k: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows that were found for each query, in no order."""
        if not self._index.ntotal:
            yield from (np.zeros(0, dtype=np.int64) for _ in queries_QH)
            return
        if self._kind == "hnsw":
            self._index.hnsw.efSearch = max(self._ef, k)
        self._faiss.omp_set_num_threads(self._threads)
        _, found = self._index.search(np.ascontiguousarray(queries_QH), min(k, self._index.ntotal))
        yield from (np.sort(rows[rows >= 0]) for rows in found)

    def facts(self) -> dict[str, Any]:
        """Return the settings in force."""
        return {"ef": self._ef} if self._kind == "hnsw" else {"probe": self._index.nprobe, "lists": self._index.nlist}
