"""The weights of a fusion, tuned on judged queries: those of a grid with the best nDCG@10, cross-validated.

The queries are split into folds. Each fold is measured with the weights that are best on the others, which estimates
the quality on new queries; a searched query that was tuned on is ranked with the weights of its own fold, which were
tuned without it. All other queries get the weights that are best on all tuning queries.

For scores as they are the grid is of shares too: a share is divided by how far the scores of a run are apart, and the
last run has the weight 1, as in the paper's equation 7.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import product
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import Dataset, Queries, Run, reading
from lotte.errors import LotteError, MismatchError
from retrievers.fusion import METHODS

CUT = 10  # of the nDCG
FOLDS = 5
MOST = 1000  # questions that are looked at, drawn by a seed
STEPS = {2: 50, 3: 20}  # into which the whole is cut for so many runs
FEWER_STEPS = 10  # for more runs


@dataclass(frozen=True)
class TunedWeights:
    """What was chosen, and on what."""

    weights: Sequence[float]  # best on all questions
    of_text: Mapping[str, Sequence[float]]  # text of a question -> weights that it had no part in
    facts: Mapping[str, Any]  # for the record

    def of(self, query: str) -> Sequence[float]:
        """Return the weights by which a query is answered."""
        return self.of_text.get(query, self.weights)


def read(path: Path, doc_ids: Sequence[str]) -> Dataset:
    """Return the one judged set of questions in a folder, those questions that have an answer among the documents.

    Raises  LotteError if there are several, MismatchError if too few questions have an answer
    """
    found = reading.read(path)
    if len(found) != 1:
        raise LotteError(f"train={path} holds {len(found)} sets of questions; name one, as in train=FOLDER/search")
    (data,) = found
    known = set(doc_ids)
    queries = {
        query_id: text
        for query_id, text in data.queries.items()
        if any(grade > 0 and doc_id in known for doc_id, grade in data.qrels.get(query_id, {}).items())
    }
    if len(queries) < FOLDS:
        raise MismatchError(
            f"train={path}: {len(queries)} of {len(data.queries):,} queries have a relevant document among those that "
            f"are searched, and weights are tuned on {FOLDS} or more; does it belong to another collection?"
        )
    chosen = list(queries)
    if len(chosen) > MOST:
        chosen = [chosen[row] for row in sorted(np.random.default_rng(0).permutation(len(chosen))[:MOST].tolist())]
    return Dataset(
        name=data.name, corpus=data.corpus, queries={query_id: queries[query_id] for query_id in chosen},
        qrels=data.qrels, measure=data.measure,
    )  # fmt: skip


def tune(data: Dataset, ask: Callable[[Queries], Sequence[Run]], method: str) -> TunedWeights:
    """Return the best weights for the rankings of some judged questions.

    ask     returns the rankings of questions, one of each system
    method  of METHODS
    """
    runs, ids = ask(data.queries), list(data.queries)
    grid = [_as_weights(shares, runs, method) for shares in _shares(len(runs))]
    value_GQ = np.empty((len(grid), len(ids)))
    for column, query_id in enumerate(ids):
        lists = [dict(run.hits[query_id]) for run in runs]
        for row, weights in enumerate(grid):
            value_GQ[row, column] = ndcg(METHODS[method](lists, weights), data.qrels[query_id])
    fold_Q = np.random.default_rng(0).permutation(len(ids)) % FOLDS
    best = [_best(value_GQ[:, fold_Q != fold]) for fold in range(FOLDS)]
    held_out = [value_GQ[best[fold], column] for column, fold in enumerate(fold_Q.tolist())]
    chosen = grid[_best(value_GQ)]
    facts = {
        "data": data.name, "questions": len(ids), "measure": f"nDCG@{CUT}", "folds": FOLDS, "weights": chosen,
        "weights_of_folds": [grid[number] for number in best], "cross_validated": round(float(np.mean(held_out)), 4),
        "each_alone": [round(float(value_GQ[row].mean()), 4) for row in _alone(grid)],
    }  # fmt: skip
    of_text = {data.queries[query_id]: grid[best[fold]] for query_id, fold in zip(ids, fold_Q.tolist(), strict=True)}
    return TunedWeights(chosen, of_text, facts)


def ndcg(scores: Mapping[str, float], judged: Mapping[str, int]) -> float:
    """Return nDCG at CUT, ties by descending id.

    >>> ndcg({"a": 2.0, "b": 1.0}, {"b": 1, "c": 1})
    0.38685280723454163
    """
    best = nlargest(CUT, scores.items(), key=lambda pair: (pair[1], pair[0]))
    ideal = sorted((grade for grade in judged.values() if grade > 0), reverse=True)[:CUT]
    return _gain([max(0, judged.get(doc_id, 0)) for doc_id, _ in best]) / _gain(ideal)


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / log2(place + 1) for place, grade in enumerate(grades, start=1))


def _shares(count: int) -> Iterator[tuple[float, ...]]:
    """Yield the shares of so many runs, whole steps of 1, even ones first: of equally good ones the first is taken."""
    steps = STEPS.get(count, FEWER_STEPS)
    all_ = [some for some in product(range(steps + 1), repeat=count) if sum(some) == steps]
    for some in sorted(all_, key=lambda some: (max(some) - min(some), some)):
        yield tuple(part / steps for part in some)


def _as_weights(shares: Sequence[float], runs: Sequence[Run], method: str) -> list[float]:
    if method != "scores":
        return list(shares)
    weights = [share / (_spread(run) or 1.0) for share, run in zip(shares, runs, strict=True)]
    return [float(f"{weight / (weights[-1] or 1.0):.4g}") for weight in weights]


def _spread(run: Run) -> float:
    """Return how far the best score of a query is from its least, on average."""
    gaps = [hits[0].score - hits[-1].score for hits in run.hits.values() if hits]
    return float(np.mean(gaps)) if gaps else 0.0


def _best(value_GQ: NDArray[np.float64]) -> int:
    means_G = np.round(value_GQ.mean(axis=1), 12)  # sums of other columns round otherwise
    return int(means_G.argmax())


def _alone(grid: Sequence[Sequence[float]]) -> list[int]:
    """Return which weights are those of one run alone, run by run."""
    alone = {
        next(place for place, weight in enumerate(weights) if weight): row
        for row, weights in enumerate(grid)
        if sum(map(bool, weights)) == 1
    }
    return [alone[place] for place in sorted(alone)]
