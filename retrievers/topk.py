"""The k best of an array of scores, ties and all.

The order is a run's order (lotte/run.py): by score, then by doc_id, both
descending. It holds at the cut-off as well: of the documents that share the
last score, those with the larger ids are kept. Rows stand for documents here, so
the order of the ids comes as an array of places.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lotte import Hit
from lotte.collection import RowIds
from lotte.ranking import no_garbage

Scores: TypeAlias = NDArray[np.float32]
Numbers: TypeAlias = NDArray[np.int64] | NDArray[np.int32]


def places(doc_ids: Sequence[str]) -> NDArray[np.int32]:
    """Return the place of each row when rows are sorted by doc_id, ascending."""
    if isinstance(doc_ids, RowIds):  # digits sort as bytes: no need for millions of strings
        by_id = np.argsort(np.arange(len(doc_ids)).astype(np.bytes_), kind="stable")
    else:
        by_id = np.array(sorted(range(len(doc_ids)), key=doc_ids.__getitem__), dtype=np.int64)
    place = np.empty(len(doc_ids), dtype=np.int32)
    place[by_id] = np.arange(len(doc_ids), dtype=np.int32)
    return place


def topk_reference(scores: Scores, place: Numbers, k: int) -> list[int]:
    """Return the rows of the k best, best first. Slow and simple: the reference for `topk`."""
    rows = range(len(scores))
    return sorted(rows, key=lambda row: (scores[row], place[row]), reverse=True)[:k]


def topk(scores: Scores, place: Numbers, k: int) -> NDArray[np.int64]:
    """Same contract as `topk_reference`: one partition of all scores, one sort of k.

    place  of each row, all different; of two rows with one score the larger place is better

    Raises  ValueError for a score that is not finite, which has no place in an order
    """
    if len(scores) and not np.isfinite(scores.max() - scores.min()):
        raise ValueError("a score is not finite")
    rows: NDArray[np.int64] = np.arange(len(scores))
    if 0 < k < len(scores):
        last = np.partition(scores, len(scores) - k)[len(scores) - k]
        above, level = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
        wanted = k - len(above)
        rows = np.concatenate([above, level[np.argpartition(place[level], -wanted)[-wanted:]]])
    return rows[np.lexsort((place[rows], scores[rows]))[::-1]][: max(k, 0)]


def best(scores: Scores, place: Numbers, k: int) -> tuple[NDArray[np.int64], Scores]:
    """Return row and score of the k best of the documents that scored at all, best first; a score of 0 is not a hit."""
    found = np.flatnonzero(scores)
    rows = found[topk(scores[found], place[found], k)]
    return rows, scores[rows]


class FoundHits(Mapping[str, tuple[Hit, ...]]):
    """query_id -> hits, created on first use: until then, a hit is 8 bytes and costs no time.

    They are made all at once, because the garbage collector would walk over them again and again.

    found  rows and scores of each query, best first
    """

    def __init__(self, found: Mapping[str, tuple[NDArray[Any], Scores]], doc_ids: Sequence[str]) -> None:
        self._found, self._doc_ids = found, doc_ids

    @cached_property
    def _hits(self) -> dict[str, tuple[Hit, ...]]:
        id_of = str if isinstance(self._doc_ids, RowIds) else self._doc_ids.__getitem__
        with no_garbage():
            return {
                query_id: tuple(map(_hit, zip(map(id_of, rows.tolist()), scores.tolist(), strict=True)))
                for query_id, (rows, scores) in self._found.items()
            }

    def __getitem__(self, query_id: str) -> tuple[Hit, ...]:
        return self._hits[query_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(self._hits)


_hit = partial(tuple.__new__, Hit)  # which a call of Hit does, three times as fast
