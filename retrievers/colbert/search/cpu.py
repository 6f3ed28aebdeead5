"""Three ways to ask an index: the paper's, a pruned one for speed, and all of it.

`paper` (Santhanam et al. 2022, section 3.5): the documents in the best cells
of each query token; if they are too many, those whose tokens in these cells
promise most; all of these in full. `pruned`: the same cells promise by
themselves which documents are looked at, first by cells alone (PLAID's
centroid interaction), then by the tokens that the cells say are best, then in
full. `exact`: every document in full.

The answer to a query depends on the query, k and the settings, and on nothing
that was asked before.

Legend  Q query tokens  H dimensions  C candidate documents
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.index.folder import ColbertIndex
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import Bytes, Codec, Floats, Integers, Query, Segment, quantised
from retrievers.colbert.search.config import SearchConfig

Everyone = Callable[[], list[NDArray[np.int32]] | None]  # each segment's rows that can be found, if these are few
AT_ONCE = 1 << 11  # tokens that an exact search decodes at once: with 100 queries, 26 MB of products


class Found(NamedTuple):
    """The best documents of a query, best first; of equals the smaller row."""

    rows: NDArray[np.int64]
    scores: Floats


def search(
    index: ColbertIndex, queries: Sequence[Floats], *, k: int, config: SearchConfig, threads: int = 1,
    allowed: Bytes | None = None,
) -> list[Found]:  # fmt: skip
    """Answer queries, each (Q, H) float32 with rows of length 1.

    allowed  (D,) uint8: 0 for a document that is not to be found; None: all are
    threads  share the queries of a batch; one query alone takes one of them

    Raises  ValueError for a query of another width than the index, or with a number that is not finite
    """
    settled = config.settled(k, index.num_documents)
    mask = _mask(index.alive, allowed)
    asked = [_asked(index.codec, query) for query in queries]
    if settled.algorithm == "exact":
        return _exact(index, asked, k, mask)
    ask = _paper if settled.algorithm == "paper" else _pruned
    everyone = cache(partial(_everyone, index, mask, settled.candidates))

    def answer(query: Query) -> Found:
        try:
            scratches = index.scratches.pop()
        except IndexError:
            scratches = [cpu.Scratch(segment.num_documents) for segment in index.segments]
        found = ask(index, query, k, settled, mask, everyone, scratches)
        index.scratches.append(scratches)  # not after a stop midway, which leaves them in disorder
        return found

    if threads == 1 or len(asked) == 1:
        return [answer(query) for query in asked]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(answer, asked))


def _asked(codec: Codec, vectors_QH: Floats) -> Query:
    query = quantised(vectors_QH)
    if query.vectors.shape[1] != codec.dim:
        raise ValueError(f"a query has {query.vectors.shape[1]} dimensions, and the index {codec.dim}")
    return query


def _mask(alive: Bytes | None, allowed: Bytes | None) -> Bytes | None:
    if alive is None or allowed is None:
        return allowed if alive is None else alive
    return alive & allowed


def _part(mask: Bytes | None, base: int, segment: Segment) -> Bytes | None:
    return None if mask is None else mask[base : base + segment.num_documents]


def _everyone(index: ColbertIndex, mask: Bytes | None, most: int) -> list[NDArray[np.int32]] | None:
    """Return each segment's rows that can be found, or None if they are more than so many."""
    parts = zip(index.bases, index.segments, strict=True)
    rows = [_findable(segment, _part(mask, base, segment)).astype(np.int32) for base, segment in parts]
    return rows if sum(map(len, rows)) <= most else None


def _candidates(
    index: ColbertIndex, query: Query, k: int, probe: int, mask: Bytes | None, everyone: Everyone,
    scratches: list[cpu.Scratch],
) -> tuple[cpu.CellScores, list[NDArray[np.int32]]]:  # fmt: skip
    """Return the cell scores, and each segment's rows in the probed cells.

    If these are fewer than k: all that can be found, where no stage would have to choose among them; else those in
    more cells.
    """
    while True:
        scores = cpu.cell_scores(index.codec, query, probe, scratches[0])
        found = []
        for base, segment, scratch in zip(index.bases, index.segments, scratches, strict=True):
            allowed = _part(mask, base, segment)
            found.append(cpu.gather(segment.lists, segment.list_starts, scores.cells, allowed, scratch))
        if sum(map(len, found)) >= k or probe >= index.codec.num_centroids:
            return scores, found
        if (rows := everyone()) is not None:
            return scores, rows
        probe = min(4 * probe, index.codec.num_centroids)


def _paper(
    index: ColbertIndex, query: Query, k: int, config: SearchConfig, mask: Bytes | None, everyone: Everyone,
    scratches: list[cpu.Scratch],
) -> Found:  # fmt: skip
    scores, parts = _candidates(index, query, k, config.probe, mask, everyone, scratches)
    wanted = np.zeros(index.codec.num_centroids, np.bool_)
    wanted[scores.cells] = True
    found = []
    for base, segment, rows in zip(index.bases, index.segments, parts, strict=True):
        if len(rows) > config.candidates:
            listed = cpu.tokens_in(segment.cells, segment.starts, wanted, rows)
            bounds = cpu.quick_maxsim(index.codec, query, *_arrays(segment), scores.fine, rows, listed)
            rows = cpu.best(rows, _steps(bounds), config.candidates)
        found.append(_in_full(index.codec, query, segment, scores.fine, rows, k, base))
    return _merged(found, k)


def _pruned(
    index: ColbertIndex, query: Query, k: int, config: SearchConfig, mask: Bytes | None, everyone: Everyone,
    scratches: list[cpu.Scratch],
) -> Found:  # fmt: skip
    scores, parts = _candidates(index, query, k, config.probe, mask, everyone, scratches)
    found = []
    for base, segment, rows, scratch in zip(index.bases, index.segments, parts, scratches, strict=True):
        if len(rows) > config.candidates:
            lists = (segment.lists, segment.list_starts)
            rows = cpu.best(rows, cpu.promises(*lists, scores.cells, scores.fine, rows, scratch), config.candidates)
        if len(rows) > config.refined:
            rows = cpu.best(rows, cpu.interact(segment.cells, segment.starts, scores.coarse, rows), config.refined)
        if len(rows) > config.full:
            close = cpu.leading_maxsim(index.codec, query, *_arrays(segment), scores.coarse, rows)
            rows = cpu.best(rows, _steps(close), config.full)
        found.append(_in_full(index.codec, query, segment, scores.fine, rows, k, base))
    return _merged(found, k)


def _arrays(segment: Segment) -> tuple[Integers, Bytes, Bytes, NDArray[np.int64]]:
    return segment.cells, segment.residuals, segment.lengths, segment.starts


def _steps(scores: Floats) -> NDArray[np.int64]:
    """Return scores as whole numbers of 32 bits, fine enough to choose candidates by."""
    return (scores * np.float32(2**20)).astype(np.int64)


def _in_full(
    codec: Codec, query: Query, segment: Segment, scores: NDArray[np.int16], rows: NDArray[np.int32], k: int, base: int
) -> Found:
    """Score documents by bytes, and again in float32 those that may be among the best, with the tokens that may be."""
    close = cpu.Close.of(codec, query, segment.starts, rows)
    quick = cpu.quick_maxsim(codec, query, *_arrays(segment), scores, rows, None, close)
    best = np.arange(len(rows))
    if k < len(rows):
        doubt = close.doubts.max() * query.count**0.5  # the errors of the query's tokens add up as chance does
        best = np.flatnonzero(quick >= np.partition(quick, len(rows) - k)[len(rows) - k] - doubt)
    exact = cpu.maxsim_of(codec, query, *_arrays(segment), rows[best], close, best)
    return _ordered(rows[best].astype(np.int64) + base, exact, k)


def _ordered(rows: NDArray[np.int64], scores: Floats, k: int) -> Found:
    order = np.lexsort((rows, -scores))[:k]
    order = order[np.isfinite(scores[order])]
    return Found(rows[order], scores[order])


def _merged(found: list[Found], k: int) -> Found:
    if len(found) == 1:
        return found[0]
    return _ordered(np.concatenate([one.rows for one in found]), np.concatenate([one.scores for one in found]), k)


def _exact(index: ColbertIndex, queries: list[Query], k: int, mask: Bytes | None) -> list[Found]:
    """Score every document with every query in float32: decode a block of documents once, and multiply."""
    all_QH = np.concatenate([query.vectors for query in queries])
    ends = np.cumsum([query.count for query in queries])
    best = [Found(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    for base, segment in zip(index.bases, index.segments, strict=True):
        part = _part(mask, base, segment)
        for rows in _blocks(segment, part):
            scores_BD = _all_scores(index.codec, segment, rows, all_QH, ends)
            for i, scores in enumerate(scores_BD):
                best[i] = _ordered(
                    np.concatenate([best[i].rows, rows + base]), np.concatenate([best[i].scores, scores]), k
                )
    return best


def _findable(segment: Segment, mask: Bytes | None) -> NDArray[np.int64]:
    """Return the rows that have a token and are allowed."""
    has_token = np.diff(segment.starts) > 0
    return np.flatnonzero(has_token if mask is None else has_token & (mask > 0))


def _blocks(segment: Segment, mask: Bytes | None) -> list[NDArray[np.int64]]:
    """Return rows with tokens, in runs that are decoded at once."""
    rows = _findable(segment, mask)
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
    vectors = cpu.decode(codec, segment.cells[tokens], segment.residuals[tokens])
    starts = np.concatenate([[0], np.cumsum(segment.starts[rows + 1] - segment.starts[rows])])
    return cpu.maxsims(vectors @ all_QH.T, starts, np.concatenate([[0], ends]))
