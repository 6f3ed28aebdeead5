"""The two things every system is: a recipe, and the index the recipe makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lotte import Corpus, Queries, Run


class Index(Protocol):
    """Something that can be asked. It never changes, so it is safe to share and to reopen."""

    def search(self, queries: Queries, *, k: int) -> Run:
        """Answer every query with at most k hits; a query that finds nothing gets none."""
        ...


class Retriever(Protocol):
    """A recipe: a model and its settings. It holds no documents, so it has no 'not indexed yet'."""

    def index(self, corpus: Corpus, path: Path) -> Index:
        """Read the corpus and leave a complete index at `path`, or nothing at all."""
        ...

    def open(self, path: Path) -> Index:
        """Open what `index` left. Raises MismatchError if another recipe made it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a result says of a system beside its name and options. A recipe that has one calls it `card`."""

    family: str = "unknown"  # "lexical", "late-interaction", "dense", ...
    model: Mapping[str, Any] | None = None  # id, revision, sha256, parameters, dim; None if there is no model
    index: Mapping[str, Any] = field(default_factory=dict)  # type, bits, centroids, seed
    search: Mapping[str, Any] = field(default_factory=dict)  # the settings in force, and whether it is exact
    training_data: Sequence[str] | None = None  # empty if it is not trained, None if nobody says
