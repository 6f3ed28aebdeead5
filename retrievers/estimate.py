"""What indexing a collection and asking it will take, from a part of both, done here and now.

Late interaction knows by its own plan what it takes. Every other system indexes two samples of the collection, and
asks both: what both samples take alike does not depend on the collection, the rest grows with it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from lotte import Corpus, Doc, Docs, Queries
from lotte.estimate import CostLine, Estimate, age, resident
from retrievers import batches
from retrievers.colbert.retriever import LateInteraction
from retrievers.colbert.search.config import PRUNED_FROM
from retrievers.index_folder import size_of
from retrievers.lexical import LexicalIndex
from retrievers.retriever import Index, Retriever
from retrievers.texts import TEXTS

FEW, MANY = 50, 20_000  # documents of the samples, at least and at most
SAMPLING = 12.0  # seconds that all samples take, about
QUERIES, ASKED = 100, 3.0  # queries that are asked of a sample, and seconds after which no more are
LOADING = 5.0  # seconds at most that are taken for loading: what is more was compiled, once and for all
STRETCH = 6.0, 1 << 25  # bytes of memory for a byte of postings, as many as are weighed at a time
OF_DOCUMENT = 160  # bytes of memory for each document while an index is made: its id, its place, its length


@dataclass(frozen=True)
class Sampled:
    """A sample of a collection, indexed."""

    documents: int
    index: Index
    characters: int
    seconds: float
    disk: float


@dataclass(frozen=True)
class Costs:
    """What a system takes for a collection."""

    index: Estimate  # with what it takes to begin
    begin: float  # seconds of that
    query: float  # seconds of one


def index(system: Retriever, corpus: Corpus) -> Estimate:
    """Return what indexing a collection takes."""
    begin = age()
    if isinstance(system, LateInteraction):
        return _planned(system, corpus, begin)
    with _samples(system, corpus) as (few, many, loading):
        return _scaled(few, many, begin + loading, len(corpus))


def costs(system: Retriever, corpus: Corpus, queries: Queries, k: int) -> Costs:
    """Return what indexing a collection and asking it takes."""
    begin = age()
    with _samples(system, corpus) as (few, many, loading):
        if isinstance(system, LateInteraction):
            most = len(corpus) if system.exact else 2 * PRUNED_FROM
            whole = _planned(system, corpus, begin + loading)
        else:
            whole, most = _scaled(few, many, begin + loading, len(corpus)), len(corpus)
        taken = {sample.documents: _asked(sample.index, queries, k) for sample in (few, many)}
        line = CostLine.through({documents: seconds for documents, (seconds, _) in taken.items()})
        return Costs(whole, begin + loading, line.of(min(len(corpus), most)))


def _planned(system: LateInteraction, corpus: Corpus, begin: float) -> Estimate:
    measured = system.measure(corpus)
    plan = measured.plan
    return Estimate(
        step="index",
        seconds=begin + measured.loading + measured.seconds,
        memory=resident() + plan.memory,
        disk=plan.disk,
        scratch=plan.scratch,
    )


@contextmanager
def _samples(system: Retriever, corpus: Corpus) -> Iterator[tuple[Sampled, Sampled, float]]:
    """Give two samples of a collection, indexed, and how long it takes until a system is ready."""
    with TemporaryDirectory(prefix="lotte-estimate-") as scratch:
        start = perf_counter()
        first = _sampled(system, corpus, FEW, Path(scratch) / "first")  # loads, and may compile
        sizes = _read_in_batches(first, corpus)
        warm = _sampled(system, corpus, sizes[0], Path(scratch) / "warm") if sizes else first
        few, many = (_sampled(system, corpus, size, Path(scratch) / str(size)) for size in sizes or (2 * FEW, 8 * FEW))
        while perf_counter() - start + 2 * many.seconds < SAMPLING and many.documents < min(MANY, len(corpus)):
            few, many = many, _sampled(system, corpus, 4 * many.documents, Path(scratch) / str(4 * many.documents))
        yield few, many, min(LOADING, max(0.0, warm.seconds - _scaled(few, many, 0.0, warm.documents).seconds))


def _read_in_batches(first: Sampled, corpus: Corpus) -> tuple[int, int] | None:
    """Return the documents of two samples whose words are read as those of a large collection are: by compiled code."""
    if not isinstance(first.index, LexicalIndex):
        return None
    characters = first.characters / max(1, first.documents)
    few, many = (int(count * batches.FEW / max(1.0, characters)) for count in (1.5, 4))
    return (few, many) if many <= len(corpus) else None


def _sampled(system: Retriever, corpus: Corpus, count: int, path: Path) -> Sampled:
    step = max(1, len(corpus) // count)
    rows = range(0, len(corpus), step)[:count]
    docs = Docs(tuple(Doc(str(place), corpus[row].text) for place, row in enumerate(rows)))
    start = perf_counter()
    made = system.index(docs, path)
    seconds = perf_counter() - start
    kept = path / TEXTS  # a collection that is a file is not kept in its index
    characters = sum(len(doc.text) for doc in docs)
    return Sampled(len(docs), made, characters, seconds, size_of(path) - (kept.stat().st_size if kept.is_file() else 0))


def _scaled(few: Sampled, many: Sampled, begin: float, documents: int) -> Estimate:
    seconds = CostLine.through({few.documents: few.seconds, many.documents: many.seconds}).of(documents)
    disk = CostLine.through({few.documents: few.disk, many.documents: many.disk}).of(documents)
    memory = resident() + OF_DOCUMENT * documents + STRETCH[0] * max(0.0, min(disk, STRETCH[1]) - many.disk)
    return Estimate(step="index", seconds=begin + seconds, memory=memory, disk=disk)


def _asked(sample: Index, queries: Queries, k: int) -> tuple[float, int]:
    """Return the seconds of a query, and how many were asked for that."""
    some: Mapping[str, str] = dict(islice(queries.items(), QUERIES))
    if not some:
        return 0.0, 0
    first, text = next(iter(some.items()))
    sample.search({first: text}, k=k)  # which may compile
    start = perf_counter()
    sample.search({first: text}, k=k)
    one = perf_counter() - start
    chosen = dict(islice(some.items(), max(1, int(ASKED / max(one, 1e-6)))))
    start = perf_counter()
    sample.search(chosen, k=k)
    return (perf_counter() - start) / len(chosen), len(chosen)
