"""The index of a re-ranking system: the first stage's index, and the texts."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from lotte import Hit, Queries, Run
from lotte.progress import Progress
from lotte.terminal import say
from retrievers import pipeline
from retrievers.index_folder import IndexFolder
from retrievers.pipeline import TimedIndex
from retrievers.texts import IndexTexts, required


class RerankingIndex(ABC):
    """What stands below `depth` keeps its order, under all that was scored again.

    reader  what reads the passages, for messages
    """

    def __init__(self, folder: IndexFolder, first: TimedIndex, depth: int, reader: str) -> None:
        self._folder, self._first, self._depth, self._reader = folder, first, depth, reader

    @abstractmethod
    def scored(
        self, queries: Queries, candidates: Mapping[str, Sequence[str]]
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield the scores of each query's candidates, doc_id -> score, in any order of the queries."""

    def search(self, queries: Queries, *, k: int) -> Run:
        """Answer every query with at most k hits."""
        depth = self._depth
        ranked = self._first.search(queries, k=max(k, depth))
        candidates = pipeline.candidates(ranked, depth)
        hits: dict[str, tuple[Hit, ...]] = dict.fromkeys(queries, ())
        with Progress(sum(map(len, candidates.values())), "pairs", self._reader) as progress:
            for query_id, scores in self.scored(queries, candidates):
                hits[query_id] = pipeline.joined(scores, ranked.hits[query_id][depth:])[:k]
                progress.advance(len(scores))
        return Run(hits)

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return how many documents were re-ranked, and the first stage with its cost."""
        return {"depth": self._depth, "stages": self.stages()}

    def stages(self) -> list[dict[str, Any]]:
        """Return what the first stage is, and what it cost."""
        return [self._first.facts()]

    @cached_property
    def texts(self) -> IndexTexts:
        """The passages. Raises UnavailableError if they are gone."""
        return required(self._folder, say, f"a {self._reader}")
