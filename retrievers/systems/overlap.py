"""Word overlap: the share of a query's distinct words that a document contains.

The floor. A system that does not beat it is broken, and a test suite that has
it needs no weights and no GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lotte import Corpus, Hit, Queries, Run
from retrievers import index_folder, postings
from retrievers.arrays import mapped
from retrievers.options import NAME
from retrievers.retriever import Card
from retrievers.topk import Numbers, hits, places

PUBLISHED: dict[str, float] = {}  # dataset -> the number its authors printed; nobody printed ours


@dataclass(frozen=True)
class Overlap:
    lowercase: bool = True
    name: str = field(default="overlap", kw_only=True, metadata=NAME)

    @property
    def card(self) -> Card:
        return Card(family="lexical", index={"type": "inverted"}, search={"exact": True}, training_data=[])

    def words(self, text: str) -> list[str]:
        return sorted(set((text.lower() if self.lowercase else text).split()))

    def index(self, corpus: Corpus, path: Path) -> "OverlapIndex":
        with index_folder.write_index(path, self, corpus) as (folder, counts):
            texts = (self.words(doc.text) for doc in corpus)
            counts |= postings.write(folder, texts, weigh=lambda counts_P, *_: np.ones(len(counts_P)))
            np.save(folder / "places.npy", places(corpus.doc_ids))
        return self.open(path)

    def open(self, path: Path) -> "OverlapIndex":
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> "OverlapIndex":
        path, doc_ids = found.path, index_folder.open_checked(found, self).doc_ids
        place = mapped(path / "places.npy", np.int32, len(doc_ids))
        return OverlapIndex(self, path, doc_ids, place, postings.Postings.open(path))


@dataclass(frozen=True)
class OverlapIndex:
    recipe: Overlap
    path: Path
    doc_ids: Sequence[str]
    place: Numbers
    postings: postings.Postings

    def search(self, queries: Queries, *, k: int) -> Run:
        with index_folder.using(self.path):
            return Run({query_id: self._hits(text, k) for query_id, text in queries.items()})

    def _hits(self, text: str, k: int) -> tuple[Hit, ...]:
        words = self.recipe.words(text)
        shared = self.postings.scores(self.postings.vocabulary.numbers(words), len(self.doc_ids))
        return hits(shared / np.float32(max(len(words), 1)), self.place, self.doc_ids, k)


retriever = Overlap
