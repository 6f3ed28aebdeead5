"""One vector a passage, on disk, and the k passages of a collection with the largest dot product: all are looked at.

A product is one chain of fused steps, so equal passages have equal scores, on every processor and however many threads
work, and ties have the order of a run. What is held is a block of the collection, and each query's best so far.

Legend  D passages  H numbers in a vector  B queries
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus
from lotte.progress import Progress
from retrievers.arrays import mapped
from retrievers.colbert.index.segment import HEADER, NumberFile
from retrievers.colbert.kernels.arrays import Floats
from retrievers.colbert.kernels.products import COLUMNS, ROWS, FloatWeights, float_product
from retrievers.topk import Numbers, topk

if TYPE_CHECKING:
    from retrievers.colbert.model.tct import TctEncoder

VECTORS = "vectors.npy"
CHUNK = 4096  # passages that are encoded at once; a build that is stopped goes on behind its last whole chunk
BLOCK = 8192  # passages that are scored at once
PART = 512  # of these, multiplied while they are near

Found = tuple[NDArray[np.int64], Floats]  # rows and scores, best first


def write(folder: Path, encoder: "TctEncoder", corpus: Corpus) -> None:
    """Leave the vectors of a collection in a folder, from where a stopped build left them."""
    path = folder / VECTORS
    row = 4 * encoder.dim
    done = max(0, path.stat().st_size - HEADER) // (CHUNK * row) * CHUNK if path.exists() else 0
    done = min(done, len(corpus))
    vectors = NumberFile(path, np.float32, encoder.dim)
    vectors.truncate(done)
    with Progress(len(corpus), "documents", "encoding", done=done) as progress:
        for first in range(done, len(corpus), CHUNK):
            texts = [corpus[place].text for place in range(first, min(first + CHUNK, len(corpus)))]
            vectors.append(encoder.docs(texts).vectors)
            vectors.fsync()
            progress.advance(len(texts))
    vectors.close(len(corpus))


@dataclass(frozen=True)
class PassageVectors:
    """The vectors of a collection, where they lie."""

    vectors: NDArray[Any]  # (D, H) float32
    place: Numbers  # (D,): of two passages with one score the one of the larger place is better

    @classmethod
    def open(cls, folder: Path, place: Numbers) -> "PassageVectors":
        """Map what `write` left. Raises CorruptFileError if it is something else."""
        return cls(mapped(folder / VECTORS, np.float32, len(place), None), place)

    def best(self, query_BH: Floats, k: int, *, threads: int) -> list[Found]:
        """Return the k best passages of each query."""
        weights = FloatWeights(query_BH, None)
        best: list[Found] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(query_BH)

        def scored(first: int) -> Floats:
            return self._scores(weights, first)

        with ThreadPoolExecutor(threads) as pool:
            firsts = range(0, len(self.vectors), BLOCK)
            for first, score_DB in zip(firsts, _ahead(pool, scored, firsts, threads), strict=True):
                best = [self._merged(kept, score_DB[:, number], first, k) for number, kept in enumerate(best)]
        return best

    def _scores(self, weights: FloatWeights, first: int) -> Floats:
        block = self.vectors[first : first + BLOCK]
        rows = block
        if len(block) % ROWS:
            rows = np.zeros((-(-len(block) // ROWS) * ROWS, block.shape[1]), np.float32)
            rows[: len(block)] = block
        out = np.empty((len(rows), COLUMNS * len(weights.panels)), np.float32)
        for begin in range(0, len(rows), PART):
            float_product(rows[begin : begin + PART], weights, out[begin : begin + PART])
        return out[: len(block), : weights.columns]

    def _merged(self, kept: Found, score_D: Floats, first: int, k: int) -> Found:
        rows, scores = kept
        new = np.arange(len(score_D)) if len(rows) < k else np.flatnonzero(score_D >= scores[-1])
        rows, scores = np.concatenate([rows, first + new]), np.concatenate([scores, score_D[new]])
        chosen = topk(scores, self.place[rows], k)
        return rows[chosen], scores[chosen]


def _ahead(pool: ThreadPoolExecutor, work: Callable[[int], Floats], firsts: range, threads: int) -> Iterator[Floats]:
    """Yield what is made of each, in order; no more are held than there are threads, and one."""
    waiting = [pool.submit(work, first) for first in firsts[: threads + 1]]
    for number in range(len(firsts)):
        yield waiting.pop(0).result()
        if number + threads + 1 < len(firsts):
            waiting.append(pool.submit(work, firsts[number + threads + 1]))
