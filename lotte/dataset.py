"""Documents, questions, and which documents answer which question.

The data types of everything else. A dataset carries the measure its authors
report, so that nobody has to remember which one is official.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from lotte import ids
from lotte.errors import CorruptFileError, shown
from lotte.frame import FramePart, dataset_frame, dataset_of_frames, tables
from lotte.judgments import whole
from lotte.run import Run

if TYPE_CHECKING:
    from pandas import DataFrame

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
    """A corpus small enough to hold in memory.

    Raises  TypeError for what is not a pair of texts, as None or NaN for an empty cell of a table
    """

    docs: tuple[Doc, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.docs, tuple):
            object.__setattr__(self, "docs", tuple(self.docs))
        for row, doc in enumerate(self.docs):
            if not (isinstance(doc, Doc) and isinstance(doc.doc_id, str) and isinstance(doc.text, str)):
                raise TypeError(f"document {row}: expected Doc(doc_id, text) of two texts, found {shown(doc)}")

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
    """A corpus, its queries, and which documents are relevant to them."""

    name: str  # "lotte/science/test/forum"
    corpus: Corpus
    queries: Queries
    qrels: Qrels
    measure: str  # the measure its authors report: "Success@5", "nDCG@10"
    source: str = "unknown"  # "release", the id of a build, or where else it came from
    licence: str = "unknown"
    ignore_own: bool = False  # leave a document with its query's own id out of the ranking, unless judged relevant
    excluded: Mapping[str, Collection[str]] = field(default_factory=dict)  # query_id -> documents it may not find
    nuggets: Mapping[str, Mapping[str, Collection[str]]] = field(default_factory=dict)  # query -> part -> documents
    facts: Mapping[str, str] = field(default_factory=dict)  # how its texts were joined, and the like
    notes: tuple[str, ...] = ()  # messages for whoever scores it, one per line

    def __post_init__(self) -> None:
        """Take whole numbers of numpy and pandas for relevances; refuse what would be scored as something else.

        Raises  TypeError for an id or a text that is not text, or a relevance that is not a whole number;
                CorruptFileError for a query's id that is not a word
        """
        for query_id, text in self.queries.items():
            if not (isinstance(query_id, str) and isinstance(text, str)):
                raise TypeError(f"queries: expected text -> text, found {shown(query_id)}: {shown(text)}")
            ids.checked(query_id, "query", self.name)
        plain = True
        for query_id, judged in self.qrels.items():
            if not (isinstance(query_id, str) and isinstance(judged, Mapping)):
                raise TypeError(
                    f"qrels: expected query_id -> doc_id -> relevance, found {shown(query_id)}: {shown(judged)}"
                )
            for doc_id, relevance in judged.items():
                if not isinstance(doc_id, str):
                    raise TypeError(
                        f"qrels of query {shown(query_id)}: expected a document's id as text, found {shown(doc_id)}"
                    )
                plain = plain and type(relevance) is int
        if not plain:
            qrels = {
                query_id: {doc_id: whole(relevance) for doc_id, relevance in judged.items()}
                for query_id, judged in self.qrels.items()
            }
            object.__setattr__(self, "qrels", qrels)

    @classmethod
    def of_frames(
        cls, corpus: "DataFrame", queries: "DataFrame", qrels: "DataFrame", *, name: str, measure: str = "nDCG@10"
    ) -> "Dataset":
        """Return the dataset in three pandas frames: doc_id, text; query_id, text; query_id, doc_id, relevance.

        Raises  MismatchError for a column that is missing, or a cell that cannot be what it should
        """
        return dataset_of_frames(corpus, queries, qrels, name=name, measure=measure)

    def to_frame(self, part: FramePart = "judged") -> "DataFrame":
        """Return "judged", a row a judgment with both texts, or "corpus", "queries", "qrels", as a pandas frame."""
        return dataset_frame(self, part)

    def to_datasets(self) -> dict[str, Any]:
        """Return "corpus", "queries" and "qrels" as Hugging Face's datasets, with BEIR's columns, in memory."""
        return tables(self)

    def scored_part(self, run: Run) -> Run:
        """Return the part of a run that the dataset's authors would score. PeerQA overrides it."""
        run = run.without(self.excluded) if self.excluded else run
        return run.without_own(self.qrels) if self.ignore_own else run

    def deep_enough(self, depth: int) -> int:
        """Return how deep a ranking must be so that its scored part has so many documents."""
        return depth + self.ignore_own + max(map(len, self.excluded.values()), default=0)

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
        try:
            digest.update(line.encode())
        except UnicodeEncodeError:
            raise CorruptFileError(f"{shown(line)} contains an unpaired surrogate, which no file can hold") from None
    return digest.hexdigest()
