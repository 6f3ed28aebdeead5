"""The measures: one short function each, and a row in MEASURES.

pytrec_eval computes the published values; the function here defines their
meaning, and tests/leaderboard/test_measure.py compares the two for every row.
Measures of nuggets, which trec_eval lacks, are computed here (nuggets.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import fsum, isfinite, log2
from typing import Any, TypeAlias

from leaderboard import nuggets
from lotte import Hit, Qrels, Run
from lotte.errors import LotteError, MismatchError, shown, unknown
from lotte.judgments import LARGEST

# ranking, query's relevance by doc_id, cut-off (None: the whole ranking), lowest relevance that counts
Definition: TypeAlias = Callable[[Sequence[str], Mapping[str, int], int | None, int], float]
OfNuggets: TypeAlias = Callable[[Sequence[str], nuggets.Nuggets, int], float]

TOOL = "pytrec-eval-terrier"
_BATCH = 500  # queries given to pytrec_eval at a time; it takes 140 bytes a hit


def success(ranking: Sequence[str], relevance: Mapping[str, int], k: int | None, level: int) -> float:
    """1 if any of the first k documents is relevant, else 0. LoTTE's measure, at k = 5."""
    return float(any(_relevant(ranking[:k], relevance, level)))


def ndcg(ranking: Sequence[str], relevance: Mapping[str, int], k: int | None, level: int) -> float:
    """Relevance over log2(rank + 1), summed to rank k, as a share of the best possible sum.

    Every grade above 0 counts, whatever the level: a grade is a gain here, and no verdict.
    """

    def dcg(grades: Sequence[int]) -> float:
        return sum(max(grade, 0) / log2(rank + 1) for rank, grade in enumerate(grades[:k], start=1))

    ideal = dcg(sorted(relevance.values(), reverse=True))
    return dcg([relevance.get(doc_id, 0) for doc_id in ranking]) / ideal if ideal else 0.0


def reciprocal_rank(ranking: Sequence[str], relevance: Mapping[str, int], k: int | None, level: int) -> float:
    """One over the rank of the first relevant document, 0 if it is not among the first k."""
    ranks = (rank for rank, hit in enumerate(_relevant(ranking[:k], relevance, level), start=1) if hit)
    return 1 / next(ranks, float("inf"))


def recall(ranking: Sequence[str], relevance: Mapping[str, int], k: int | None, level: int) -> float:
    """The share of the relevant documents that are among the first k."""
    total = _total(relevance, level)
    return sum(_relevant(ranking[:k], relevance, level)) / total if total else 0.0


def precision(ranking: Sequence[str], relevance: Mapping[str, int], k: int | None, level: int) -> float:
    """The share of the first k places that hold a relevant document; an empty place holds none."""
    return sum(_relevant(ranking[:k], relevance, level)) / (k or len(ranking) or 1)


def average_precision(ranking: Sequence[str], relevance: Mapping[str, int], k: int | None, level: int) -> float:
    """Precision at the rank of each relevant document, summed, over how many relevant ones there are."""
    found, total, precisions = 0, _total(relevance, level), 0.0
    for rank, hit in enumerate(_relevant(ranking[:k], relevance, level), start=1):
        found += hit
        precisions += hit * found / rank
    return precisions / total if total else 0.0


def _relevant(ranking: Sequence[str], relevance: Mapping[str, int], level: int) -> list[bool]:
    return [relevance.get(doc_id, 0) >= level for doc_id in ranking]


def _total(relevance: Mapping[str, int], level: int) -> int:
    return sum(grade >= level for grade in relevance.values())


@dataclass(frozen=True)
class Measure:
    """A measure: by its definition, and by the names that trec_eval has for it. `Success @ 5` cuts it off at 5."""

    name: str  # as people write it
    at: str  # as trec_eval writes it with a cut-off; "" if it has none, and the run is cut instead
    whole: str  # as trec_eval writes it without; "" if it needs one
    value: Definition
    of_nuggets: OfNuggets | None = None  # if documents are judged for the parts of an answer
    k: int | None = None

    def __matmul__(self, k: int) -> "Measure":
        return replace(self, k=k)

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"

    @property
    def trec(self) -> str:
        """What trec_eval calls it."""
        return f"{self.at}.{self.k}" if self.k and self.at else self.whole


Success = Measure("Success", "success", "", success)
nDCG = Measure("nDCG", "ndcg_cut", "ndcg", ndcg)
MRR = Measure("MRR", "", "recip_rank", reciprocal_rank)
R = Measure("R", "recall", "", recall)
P = Measure("P", "P", "", precision)
AP = Measure("AP", "map_cut", "map", average_precision)
AlphaNDCG = Measure("alpha-nDCG", "", "", ndcg, nuggets.alpha_ndcg)
Coverage = Measure("Coverage", "", "", recall, nuggets.coverage)
TREC = {measure.name: measure for measure in (Success, nDCG, MRR, R, P, AP)}
MEASURES = TREC | {measure.name: measure for measure in (AlphaNDCG, Coverage)}


def parse(text: str) -> Measure:
    """Read "Success@5" or "AP"."""
    name, at, k = text.partition("@")
    if name not in MEASURES:
        raise unknown("measure", name, MEASURES)
    measure = MEASURES[name]
    if not at and measure.whole:
        return measure
    if not (k.isascii() and k.isdigit() and len(k) < 10 and int(k) >= 1):
        raise LotteError(f"measure {text!r} needs a cut-off of 1 or more, as in '{name}@5'")
    return measure @ int(k)


def score(run: Run, qrels: Qrels, measure: Measure, *, level: int = 1) -> dict[str, float]:
    """Return query_id -> value, for every judged query.

    level  the lowest relevance that counts as relevant, as trec_eval's -l

    Raises  MismatchError if the run skips one. pytrec_eval would leave it out of
            the mean instead, and so reward a system for giving up.
    """
    return scores(run, qrels, [measure], level=level)[measure]


def scores(
    run: Run,
    qrels: Qrels,
    measures: Iterable[Measure],
    *,
    level: int = 1,
    parts: Mapping[str, nuggets.Nuggets] | None = None,
) -> dict[Measure, dict[str, float]]:
    """Same as `score`, for several measures in one go.

    parts  of each query the nuggets of its answer, for the measures of nuggets
    """
    run.require(qrels)
    for query_id in qrels:
        _require_order(query_id, run.hits[query_id])
    values: dict[Measure, dict[str, float]] = {measure: {} for measure in measures}
    of_nuggets = [measure for measure in values if measure.of_nuggets]
    for measure in of_nuggets:
        values[measure] = _of_nuggets(measure, run, qrels, parts or {})
    direct = [measure for measure in values if measure not in of_nuggets and (measure.k is None or measure.at)]
    # what stands below every cut-off changes nothing, and takes pytrec_eval most of its time
    depth = max((measure.k for measure in direct if measure.k), default=0)
    deepest = depth if all(measure.k for measure in direct) else None
    for query_ids in _batches(qrels):
        judged = {query_id: _grades(qrels[query_id]) for query_id in query_ids}
        if direct:
            _evaluate(values, direct, run, judged, deepest, level)
        for measure in [measure for measure in values if measure not in (*direct, *of_nuggets)]:
            _evaluate(values, [measure], run, judged, measure.k, level)
    return values


def _of_nuggets(measure: Measure, run: Run, qrels: Qrels, parts: Mapping[str, nuggets.Nuggets]) -> dict[str, float]:
    if not parts:
        raise MismatchError(f"{measure} is a measure of nuggets, and the dataset has none; FreshStack's have")
    assert measure.of_nuggets is not None and measure.k is not None
    return {
        query_id: measure.of_nuggets(run.doc_ids(query_id)[: measure.k], parts.get(query_id, {}), measure.k)
        for query_id in qrels
    }


def _evaluate(
    values: dict[Measure, dict[str, float]],
    measures: Sequence[Measure],
    run: Run,
    judged: dict[str, dict[str, int]],
    depth: int | None,
    level: int,
) -> None:
    """Put the values of a few queries to the others; 0 for one without judgments, which pytrec_eval drops."""
    import pytrec_eval

    evaluator: Any = pytrec_eval.RelevanceEvaluator(judged, {m.trec for m in measures}, relevance_level=level)
    found = evaluator.evaluate({query_id: dict(run.hits[query_id][:depth]) for query_id in judged})
    for measure in measures:
        key = measure.trec.replace(".", "_")
        values[measure] |= {query_id: found.get(query_id, {}).get(key, 0.0) for query_id in judged}


def _require_order(query_id: str, hits: Sequence[Hit]) -> None:
    """Raise MismatchError unless hits are best first and name a document once: pytrec_eval would score another run."""
    found = [hit.score for hit in hits]
    if not isfinite(sum(found)):
        raise MismatchError(f"query {shown(query_id)}: a score is NaN or infinite, so it has no place in an order")
    if found != sorted(found, reverse=True):
        raise MismatchError(f"query {shown(query_id)}: hits are not best first; `Run.of` ranks scores")
    if len({hit.doc_id for hit in hits}) < len(hits):
        raise MismatchError(f"query {shown(query_id)}: a document occurs twice; a ranking names it once")


def _grades(relevance: Mapping[str, int]) -> dict[str, int]:
    """Return judgments as pytrec_eval can take them: its nDCG of a query with negative ones only never ends.

    Of the largest it takes memory for each grade up to it, and of one that no int of C holds it makes a miss.
    """
    if (most := max(relevance.values(), default=0)) > LARGEST:
        raise MismatchError(f"a relevance of {shown(most)} is above {LARGEST:,}, the largest that is scored")
    return {doc_id: max(grade, 0) for doc_id, grade in relevance.items()}


def _batches(query_ids: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(query_ids)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def mean(values: Mapping[str, float]) -> float:
    """Return the mean over all judged queries, whatever order they are in."""
    if not values:
        raise MismatchError("the dataset has no judged queries, so there is no mean over them")
    return fsum(values.values()) / len(values)
