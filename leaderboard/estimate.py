"""What `lotte eval` will take: every collection indexed once, every question asked, answers scored and written."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from leaderboard.evaluate import RECORDED, Order, by_corpus
from leaderboard.interval import interval
from leaderboard.measure import parse, scores
from lotte import Dataset, Run, ranking
from lotte.estimate import Estimate, resident
from retrievers import Retriever
from retrievers import estimate as of_system

SCORED = 200  # questions whose answers are scored to see how long that takes
LINE = 50  # bytes of a line of a run


def evaluation(system: Retriever, datasets: Iterable[Dataset], order: Order) -> Iterator[Estimate]:
    """Give a line for each collection that is indexed, and one for each dataset that is asked."""
    began = 0.0
    for group in by_corpus(datasets):
        first = group[0]
        costs = of_system.costs(system, first.corpus, first.queries, order.k)
        index = costs.index
        seconds, began = index.seconds - min(began, index.seconds), costs.begin
        kept = index.disk if order.index else 0.0
        scratch = index.scratch + index.disk - kept
        named = f"index {first.name}"
        yield Estimate(step=named, seconds=seconds, memory=index.memory, disk=kept, scratch=scratch)
        for dataset in group:
            yield asked(dataset, costs.query, order)


def asked(dataset: Dataset, query: float, order: Order) -> Estimate:
    """Return what asking a dataset takes, scoring the answers, and writing them.

    query  seconds of a query
    """
    depth = min(order.k, len(dataset.corpus))
    count = len(dataset.queries)
    seconds = (query + _scoring(dataset, depth)) * count
    hits = count * depth
    return Estimate(step=dataset.name, seconds=seconds, memory=resident() + 250.0 * hits, disk=float(LINE * hits))


def _scoring(dataset: Dataset, depth: int) -> float:
    """Return the seconds that scoring and writing the answers to a question takes."""
    doc_ids = [dataset.corpus.doc_ids[row] for row in range(depth)]
    some = [query_id for query_id in dataset.queries if query_id in dataset.qrels][:SCORED]
    if not some:
        return 0.0
    answers = {doc_id: float(-place) for place, doc_id in enumerate(doc_ids)}
    start = perf_counter()
    run = Run.of({query_id: answers for query_id in some}, depth=depth)
    found = scores(run, {query_id: dataset.qrels[query_id] for query_id in some}, [parse(name) for name in RECORDED])
    for values in found.values():
        interval(list(values.values()))
    with TemporaryDirectory(prefix="lotte-estimate-") as scratch:
        ranking.write_trec(Path(scratch) / "run.trec", run, tag="sample")
    return (perf_counter() - start) / len(some)
