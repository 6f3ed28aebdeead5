"""Documents, questions, and which documents answer which question.

These are the words everything else is said in. A dataset carries the measure
its authors report, so that nobody has to remember which number is the number.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from lotte.run import Run

Queries: TypeAlias = Mapping[str, str]  # query_id -> text
Qrels: TypeAlias = Mapping[str, Mapping[str, int]]  # query_id -> doc_id -> relevance, 0 or more


class Doc(NamedTuple):
    """A document, of which a passage is one kind."""

    doc_id: str
    text: str


class Corpus(Protocol):
    """Documents in a fixed order. Row i is the i-th; indexes speak rows, people speak doc_ids."""

    @property
    def doc_ids(self) -> Sequence[str]:
        """The ids of all documents, by row."""
        ...
    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Doc: ...
    def __iter__(self) -> Iterator[Doc]: ...


@dataclass(frozen=True)
class Docs:
    """A corpus small enough to hold in memory."""

    docs: tuple[Doc, ...]

    @property
    def doc_ids(self) -> Sequence[str]:
        """The ids of all documents, by row."""
        return [doc.doc_id for doc in self.docs]

    def __len__(self) -> int:
        return len(self.docs)

    def __getitem__(self, row: int) -> Doc:
        return self.docs[row]

    def __iter__(self) -> Iterator[Doc]:
        return iter(self.docs)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A corpus, the questions asked of it, and which documents answer them."""

    name: str  # "lotte/science/test/forum"
    corpus: Corpus
    queries: Queries
    qrels: Qrels
    measure: str  # the measure its authors report: "Success@5", "nDCG@10"
    source: str = "unknown"  # "release", the id of a build, or where else it came from
    licence: str = "unknown"
    ignore_own: bool = False  # leave a document with its query's own id out of the ranking, unless judged relevant
    facts: Mapping[str, str] = field(default_factory=dict)  # how its texts were joined, and the like
    notes: tuple[str, ...] = ()  # what whoever scores it should be told, a line each

    def scored_part(self, run: Run) -> Run:
        """Return the part of a run that the dataset's authors would score. PeerQA overrides it."""
        return run.without_own(self.qrels) if self.ignore_own else run

    def judge(self, run: Run) -> Qrels:
        """Return the judgments for this run. Open-QA overrides it: there, an answer is a match."""
        return self.qrels


def corpus_sha256(corpus: Iterable[Doc]) -> str:
    """Return the sha256 of the documents as lines `doc_id TAB text`, in order.

    For a LoTTE collection this is the sha256 of its `collection.tsv`.

    >>> corpus_sha256(Docs((Doc("0", "a"), Doc("1", "b"))))[:8]
    'a2b804b1'
    """
    return _sha256(f"{doc.doc_id}\t{doc.text}\n" for doc in corpus)


def queries_sha256(queries: Queries) -> str:
    """Return the sha256 of the questions as lines `query_id TAB text`, in order."""
    return _sha256(f"{query_id}\t{text}\n" for query_id, text in queries.items())


def qrels_sha256(qrels: Qrels) -> str:
    """Return the sha256 of the judgments as sorted lines `query_id 0 doc_id relevance`."""
    return _sha256(
        f"{query_id} 0 {doc_id} {relevance}\n"
        for query_id, judged in sorted(qrels.items())
        for doc_id, relevance in sorted(judged.items())
    )


def identity(dataset: "Dataset", corpus: str = "") -> dict[str, Any]:
    """Return what tells a dataset from every other: three hashes, and the counts that people compare.

    corpus  `corpus_sha256`, if it is known already: it reads all documents
    """
    return {
        "corpus_sha256": corpus or corpus_sha256(dataset.corpus),
        "queries_sha256": queries_sha256(dataset.queries),
        "qrels_sha256": qrels_sha256(dataset.qrels),
        "counts": {
            "documents": len(dataset.corpus),
            "queries": len(dataset.queries),
            "judged_queries": len(dataset.qrels),
            "judgments": sum(map(len, dataset.qrels.values())),
        },
    }


def _sha256(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()
