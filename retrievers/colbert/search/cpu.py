"""Three search algorithms: the paper's, a pruned one for speed, and an exhaustive one.

Which documents are scored in full:

paper   those in the best centroids of each query token; of more than `candidates`, those whose tokens there score best
pruned  of the same documents the `candidates` with the largest gains from the probed centroids, of these the `refined`
        with the best centroid interaction, of these the `full` with the best one-token MaxSim
exact   all

The result of a query depends on the query, k and the settings only, not on earlier queries.

Legend  Q query tokens  H dimensions  C candidate documents
Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.5; PLAID, arXiv:2205.09707
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.index.folder import ColbertIndex
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import Bytes, Codec, Floats, Query, SearchContext, Segment, quantised
from retrievers.colbert.search.config import SearchConfig

AT_ONCE = 1 << 11  # tokens that an exact search decodes at once: with 100 queries, 26 MB of products


class TopK(NamedTuple):
    """The best documents of a query, best first; of equals the smaller row."""

    rows: NDArray[np.int64]
    scores: Floats


def search(
    index: ColbertIndex,
    queries: Sequence[Floats],
    *,
    k: int,
    config: SearchConfig,
    threads: int = 1,
    allowed: Bytes | None = None,
) -> list[TopK]:
    """Answer queries, each (Q, H) float32 with rows of length 1.

    allowed  (D,) uint8: 0 for a document that is not to be found; None: all are
    threads  share the queries of a batch; one query alone takes one of them

    Raises  ValueError for a query of another width than the index, or with a number that is not finite
    """
    settled = config.settled(k, index.num_documents)
    in_bytes = [query_of(index.codec, query) for query in queries]
    searcher = _Searcher(index, k, settled, findable(index.alive, allowed))
    if settled.algorithm == "exact":
        return searcher.exact(in_bytes)
    if threads == 1 or len(in_bytes) == 1:
        return [searcher.answer(query) for query in in_bytes]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(searcher.answer, in_bytes))


def query_of(codec: Codec, vectors_QH: Floats) -> Query:
    """Return a query in bytes. Raises ValueError for one of another width than the index, or that is not finite."""
    query = quantised(vectors_QH)
    if query.vectors.shape[1] != codec.dim:
        raise ValueError(f"a query has {query.vectors.shape[1]} dimensions, and the index {codec.dim}")
    return query


def findable(alive: Bytes | None, allowed: Bytes | None) -> Bytes | None:
    """Return which documents may be found, (D,): those that were not deleted and are allowed; None for all."""
    if alive is None or allowed is None:
        return allowed if alive is None else alive
    return alive & allowed


@dataclass(frozen=True, eq=False)
class _Searcher:
    """A batch of queries: an index, and how it is asked."""

    index: ColbertIndex
    k: int
    config: SearchConfig  # settled
    mask: Bytes | None  # (D,): 0 for a document that is not to be found

    def answer(self, query: Query) -> TopK:
        try:
            scratches = self.index.scratches.pop()
        except IndexError:
            scratches = [cpu.Scratch(segment.num_documents) for segment in self.index.segments]
        context, candidates = self._candidates(query, scratches)
        few = self._few_of_paper if self.config.algorithm == "paper" else self._few_of_pruned
        parts = zip(self._segments(), candidates, scratches, strict=True)
        best = [
            _in_full(segment, context, few(segment, context, rows, scratch), self.k, base)
            for (base, segment, _), rows, scratch in parts
        ]
        self.index.scratches.append(scratches)  # not after a stop midway, which leaves them in disorder
        return _merged(best, self.k)

    def _segments(self) -> Iterator[tuple[int, Segment, Bytes | None]]:
        """Yield for each segment its first row, itself, and its part of the mask."""
        for base, segment in zip(self.index.bases, self.index.segments, strict=True):
            yield base, segment, None if self.mask is None else self.mask[base : base + segment.num_documents]

    @cached_property
    def _all_rows(self) -> list[NDArray[np.int32]] | None:
        """Return each segment's rows that can be found, or None if they are more than a search keeps."""
        rows = [_findable_rows(segment, mask).astype(np.int32) for _, segment, mask in self._segments()]
        return rows if sum(map(len, rows)) <= self.config.candidates else None

    def _candidates(self, query: Query, scratches: list[cpu.Scratch]) -> tuple[SearchContext, list[NDArray[np.int32]]]:
        """Return the centroid scores of a query, and each segment's rows in the probed centroids.

        If these are fewer than k: all that can be found, where no stage would have to choose among them; else those
        in more centroids.
        """
        codec, probe = self.index.codec, self.config.probe
        while True:
            context = SearchContext(codec, query, cpu.centroid_scores(codec, query, probe, scratches[0]))
            parts = zip(self._segments(), scratches, strict=True)
            rows = [cpu.gather(segment, context, mask, scratch) for (_, segment, mask), scratch in parts]
            if sum(map(len, rows)) >= self.k or probe >= codec.num_centroids:
                return context, rows
            if self._all_rows is not None:
                return context, self._all_rows
            probe = min(4 * probe, codec.num_centroids)

    def _few_of_paper(
        self, segment: Segment, context: SearchContext, rows: NDArray[np.int32], scratch: cpu.Scratch
    ) -> NDArray[np.int32]:
        """Return the rows that are worth scoring in full: by MaxSim of their tokens in the probed centroids."""
        if len(rows) <= self.config.candidates:
            return rows
        wanted = np.zeros(context.codec.num_centroids, np.bool_)
        wanted[context.scores.probed] = True
        bounds = cpu.quantized_maxsim(segment, context, rows, cpu.tokens_in(segment, wanted, rows))
        return cpu.best(rows, _steps(bounds), self.config.candidates)

    def _few_of_pruned(
        self, segment: Segment, context: SearchContext, rows: NDArray[np.int32], scratch: cpu.Scratch
    ) -> NDArray[np.int32]:
        """Return the rows that are worth scoring in full: three stages, each dearer than the one before."""
        config = self.config
        if len(rows) > config.candidates:
            rows = cpu.best(rows, cpu.probe_gains(segment, context, rows, scratch), config.candidates)
        if len(rows) > config.refined:
            rows = cpu.best(rows, cpu.centroid_interaction(segment, context, rows), config.refined)
        if len(rows) > config.full:
            rows = cpu.best(rows, _steps(cpu.one_token_maxsim(segment, context, rows)), config.full)
        return rows

    def exact(self, queries: list[Query]) -> list[TopK]:
        """Score every document with every query in float32: decode a block of documents once, and multiply."""
        all_QH = np.concatenate([query.vectors for query in queries])
        ends = np.cumsum([query.count for query in queries])
        best = [TopK(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        for base, segment, mask in self._segments():
            for rows in _blocks(segment, mask):
                scores_BD = _all_scores(self.index.codec, segment, rows, all_QH, ends)
                best = [
                    _merged([top, TopK(rows + base, scores)], self.k)
                    for top, scores in zip(best, scores_BD, strict=True)
                ]
        return best


def _steps(scores: Floats) -> NDArray[np.int64]:
    """Return scores as whole numbers of 32 bits, fine enough to choose candidates by."""
    return (scores * np.float32(2**20)).astype(np.int64)


def _in_full(segment: Segment, context: SearchContext, rows: NDArray[np.int32], k: int, base: int) -> TopK:
    """Score documents by bytes, and again in float32 those that may be among the best, with the tokens that may be."""
    close = cpu.Close.of(segment, context, rows)
    by_bytes = cpu.quantized_maxsim(segment, context, rows, None, close)
    best = np.arange(len(rows))
    if k < len(rows):
        doubt = close.doubts.max() * context.query.count**0.5  # the errors of a query's tokens add up as chance does
        best = np.flatnonzero(by_bytes >= np.partition(by_bytes, len(rows) - k)[len(rows) - k] - doubt)
    exact = cpu.exact_maxsim(segment, context, rows[best], close, best)
    return _ordered(rows[best].astype(np.int64) + base, exact, k)


def _ordered(rows: NDArray[np.int64], scores: Floats, k: int) -> TopK:
    order = np.lexsort((rows, -scores))[:k]
    order = order[np.isfinite(scores[order])]
    return TopK(rows[order], scores[order])


def _merged(parts: list[TopK], k: int) -> TopK:
    if len(parts) == 1:
        return parts[0]
    return _ordered(np.concatenate([part.rows for part in parts]), np.concatenate([part.scores for part in parts]), k)


def _findable_rows(segment: Segment, mask: Bytes | None) -> NDArray[np.int64]:
    """Return the rows that have a token and are allowed."""
    has_token = np.diff(segment.starts) > 0
    return np.flatnonzero(has_token if mask is None else has_token & (mask > 0))


def _blocks(segment: Segment, mask: Bytes | None) -> list[NDArray[np.int64]]:
    """Return rows with tokens, in runs that are decoded at once."""
    rows = _findable_rows(segment, mask)
    if not len(rows):
        return []
    block = np.cumsum(segment.starts[rows + 1] - segment.starts[rows]) // AT_ONCE
    return np.split(rows, np.flatnonzero(np.diff(block)) + 1)


def _all_scores(
    codec: Codec, segment: Segment, rows: NDArray[np.int64], all_QH: Floats, ends: NDArray[np.int64]
) -> Floats:
    """Return the scores of some documents with all queries, (B, D)."""
    if not len(rows):
        return np.zeros((len(ends), 0), np.float32)
    if (np.diff(rows) == 1).all():
        tokens: slice | NDArray[np.int64] = slice(segment.starts[rows[0]], segment.starts[rows[-1] + 1])
    else:
        tokens = np.concatenate([np.arange(segment.starts[row], segment.starts[row + 1]) for row in rows])
    vectors = cpu.decode(codec, segment.centroid_ids[tokens], segment.residuals[tokens])
    starts = np.concatenate([[0], np.cumsum(segment.starts[rows + 1] - segment.starts[rows])])
    return cpu.maxsims(vectors @ all_QH.T, starts, np.concatenate([[0], ends]))
