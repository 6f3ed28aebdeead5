"""Word overlap: the share of a query's distinct words that a document contains.

The lower bound: a system that does not beat it is broken. With it, tests need
neither weights nor a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lotte import Corpus
from retrievers import index_folder, lexical, lexical_change
from retrievers.analyser import BLANKS, LOWER_BLANKS
from retrievers.lexical import LexicalIndex
from retrievers.options import NAME
from retrievers.postings import Postings, Totals, Weights
from retrievers.retriever import Card

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

    def index(self, corpus: Corpus, path: Path) -> LexicalIndex:
        self._write(corpus, path)
        return self.open(path)

    def change(self, path: Path, *, delete: Sequence[str], add: Corpus | None) -> None:
        lexical_change.change(path, self, delete=delete, add=add, write=self._write)

    def _write(self, corpus: Corpus, path: Path, *, history: index_folder.History | None = None) -> None:
        analyser = LOWER_BLANKS if self.lowercase else BLANKS
        lexical.write(path, self, corpus, analyser, _one, distinct=True, history=history)

    def open(self, path: Path) -> LexicalIndex:
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> LexicalIndex:
        return LexicalIndex(index_folder.open_checked(found, self), Postings.open(found.path), self.words, mean=True)


def _one(totals: Totals) -> Weights:
    return lambda counts_P, lengths_P, documents_P: np.ones(len(counts_P))


retriever = Overlap
