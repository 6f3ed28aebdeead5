"""Fusion of several rankings of the same queries into one.

A function takes what each run says of one query, doc_id -> score, best first,
and a weight for each run; it returns doc_id -> score of all that one of them
has. `Run.of` puts these in order, ties and all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from lotte import Run

Scored: TypeAlias = Mapping[str, float]  # doc_id -> score, best first
Document = TypeVar("Document", int, str)  # what a document is called
RRF_K = 60  # ranks are added to it before they divide: as the paper sets it


def add_scores(lists: Sequence[Mapping[Document, float]], weights: Sequence[float]) -> dict[Document, float]:
    """Add scores as they are, each run's by its weight; who is missing in a run has the least score of that run.

    Source  Lin et al. 2020, arXiv:2010.11386, equation 7, where the sparse run has the weight alpha and the dense one 1
    """
    total: dict[Document, float] = dict.fromkeys((doc_id for scores in lists for doc_id in scores), 0.0)
    least = [min(scores.values(), default=0.0) for scores in lists]
    for doc_id in total:
        total[doc_id] = sum(
            weight * scores.get(doc_id, low) for scores, low, weight in zip(lists, least, weights, strict=True)
        )
    return total


def reciprocal_ranks(lists: Sequence[Scored], weights: Sequence[float]) -> dict[str, float]:
    """Add 1 / (60 + rank) over the runs that have a document, each by its weight.

    Source  Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank
            learning methods", SIGIR
    """
    total: dict[str, float] = {}
    for scores, weight in zip(lists, weights, strict=True):
        for rank, doc_id in enumerate(scores, start=1):
            total[doc_id] = total.get(doc_id, 0.0) + weight / (RRF_K + rank)
    return total


def convex(lists: Sequence[Scored], weights: Sequence[float]) -> dict[str, float]:
    """Add scores that are scaled from 0, a run's least, to 1, its best; weights are shares of 1; a missing one is 0.

    Where all scores of a run are equal they are 1.

    Source  Bruch, Gai and Ingber 2023, "An analysis of fusion functions for hybrid retrieval", arXiv:2210.11934
    """
    total: dict[str, float] = {}
    for scores, weight in zip(lists, weights, strict=True):
        low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
        for doc_id, score in scores.items():
            scaled = (score - low) / (high - low) if high > low else 1.0
            total[doc_id] = total.get(doc_id, 0.0) + weight / sum(weights) * scaled
    return total


METHODS: Mapping[str, Callable[[Sequence[Scored], Sequence[float]], dict[str, float]]] = {
    "rrf": reciprocal_ranks,
    "convex": convex,
    "scores": add_scores,
}


def fuse(
    runs: Sequence[Run], method: str, weights: Sequence[float], *, k: int,
    own_weights: Mapping[str, Sequence[float]] | None = None,
) -> Run:  # fmt: skip
    """Return one run of several over the same queries, at most k deep.

    method       of METHODS
    weights      one for each run
    own_weights  of the queries that have others, by query_id
    """
    own_weights = own_weights or {}
    joined = {}
    for query_id in runs[0].hits:
        lists = [dict(run.hits[query_id]) for run in runs]
        joined[query_id] = METHODS[method](lists, own_weights.get(query_id, weights))
    return Run.of(joined, depth=k)
