"""The two protocols of every system: a retriever, and the index that it builds."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from lotte import Corpus, Hit, Queries, Run

if TYPE_CHECKING:
    from retrievers.index_folder import IndexFolder


class Index(Protocol):
    """Something that can be asked. It never changes, so it is safe to share and to reopen."""

    def search(self, queries: Queries, *, k: int) -> Run:
        """Answer every query with at most k hits; a query that finds nothing gets none."""
        ...


def search_one(index: Index, query: str, *, k: int) -> Sequence[Hit]:
    """Return at most k hits of one query, best first."""
    return index.search({"": query}, k=k).hits[""]


class Retriever(Protocol):
    """A recipe: a model and its settings. It holds no documents, so it has no 'not indexed yet'."""

    def index(self, corpus: Corpus, path: Path) -> Index:
        """Read the corpus and leave a complete index at `path`, or nothing at all."""
        ...

    def open(self, path: Path) -> Index:
        """Open what `index` left. Raises MismatchError if another recipe made it."""
        ...


@runtime_checkable
class OpensDescribed(Protocol):
    """A recipe that opens an index whose `meta.json` has been read, and does not read it again."""

    def open_described(self, folder: "IndexFolder") -> Index:
        """Open what `index` left, as `open` does. `folder` is what `index_folder.described` returned."""
        ...


@runtime_checkable
class Changeable(Protocol):
    """A recipe whose indexes take further documents, and give some up, without being built again."""

    def change(self, path: Path, *, delete: Sequence[str], add: Corpus | None) -> None:
        """Take documents out of the index at `path`, then put others in: both or neither, whenever this is stopped.

        Raises  MismatchError, and changes nothing, if a document to delete is not there, or one to add is
        """
        ...


@runtime_checkable
class Shards(Protocol):
    """A recipe whose indexes may be in parts."""

    def index_sharded(self, corpus: Corpus, path: Path, shards: int) -> Index:
        """Do what `index` does, in so many parts. Raises MismatchError for more parts than documents."""
        ...


@runtime_checkable
class Adopts(Protocol):
    """A recipe that reads indexes of other programs."""

    def adopts(self, folder: Path) -> bool:
        """Return whether a folder is such an index."""
        ...

    def adopt(self, folder: Path, path: Path, corpus: Corpus | None = None) -> Index:
        """Leave at `path` an index of ours that has what the other one has.

        corpus  what it was made of, if somebody has it: its texts are shown
        """
        ...


@runtime_checkable
class Checkable(Protocol):
    """A recipe whose indexes know what was written."""

    def damaged(self, path: Path) -> Iterator[str]:
        """Read all of an index; yield a line for every part that is not what was written."""
        ...


@runtime_checkable
class Tells(Protocol):
    """An index that can say what its search settings cost in quality."""

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return the settings in force, and the recall they have against an exact search on some of the queries."""
        ...


@runtime_checkable
class Fits(Protocol):
    """A recipe that asks another way where a dataset's authors do."""

    def fitted(self, facts: Mapping[str, str]) -> Retriever:
        """Return the recipe as a dataset wants it, by its facts ("query_tokens": "300"); what the user set stays.

        An index of the one recipe is an index of the other.
        """
        ...


@runtime_checkable
class SearchesAmong(Protocol):
    """An index that can be searched within some of its documents."""

    def search_among(self, queries: Queries, doc_ids: Collection[str], *, k: int) -> Run:
        """Answer every query with at most k hits, as if the index had no other documents but for what words weigh.

        Raises  MismatchError for an id that is not in the index
        """
        ...


class Answer(NamedTuple):
    """Which token of a document answered a token of the query, and how well."""

    query_token: str
    doc_token: str
    position: int  # among the document's tokens that were compared
    score: float


@runtime_checkable
class Explains(Protocol):
    """An index that can say which words of a document answered which words of the query."""

    def explain(self, question: str, doc_id: str, text: str) -> list[Answer]:
        """Return an answer for every token of the query. Raises MismatchError if the text is not what was indexed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a result says of a system beside its name and options. A recipe that has one calls it `card`."""

    family: str = "unknown"  # "lexical", "late-interaction", "dense", ...
    model: Mapping[str, Any] | None = None  # id, revision, sha256, parameters, dim; None if there is no model
    index: Mapping[str, Any] = field(default_factory=dict)  # type, bits, centroids, seed
    search: Mapping[str, Any] = field(default_factory=dict)  # the settings in force, and whether it is exact
    training_data: Sequence[str] | None = None  # empty if it is not trained, None if nobody says
    checkpoint: Path | None = None  # folder with what a training left: training.json, a fingerprint of its pairs
    parts: Sequence["Card"] = ()  # of the systems that this one is made of
