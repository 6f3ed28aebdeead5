"""BM25 as in the rank_bm25 library: BM25Okapi with its defaults, over lower-cased words between blanks.

That is how its README uses it, and so what people mean by it: no stop words,
no stemming, punctuation stays on. The library looks at every document for every
word of a query, in Python. Here the same numbers are added up from postings, in
its order and its precision: the scores are the library's to the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus
from lotte.errors import CorruptFileError
from retrievers import index_folder, lexical, lexical_change
from retrievers.analyser import LOWER_BLANKS
from retrievers.arrays import mapped, rises
from retrievers.batches import Integers
from retrievers.index_meta import AGAIN
from retrievers.lexical import LexicalIndex
from retrievers.options import NAME
from retrievers.postings import Postings, Totals, Weights
from retrievers.retriever import Card
from retrievers.vocabulary import Vocabulary

TOKENS = "tokens.npy"
PUBLISHED: dict[str, float] = {}  # dataset -> the number its authors printed; they printed none


@dataclass(frozen=True)
class RankBM25:
    k1: float = 1.5
    b: float = 0.75
    epsilon: float = 0.25  # what a word of more than half the documents weighs, as a share of the mean weight
    name: str = field(default="rank_bm25", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        if not 0 < self.k1 < inf:
            raise ValueError(f"k1 must be above 0, not {self.k1}")
        if not 0 <= self.b < 1:  # at 1 the library divides by the length of an empty document
            raise ValueError(f"b must be 0 or more, and below 1, not {self.b}")
        if not 0 <= self.epsilon < inf:
            raise ValueError(f"epsilon must be 0 or more, not {self.epsilon}")

    @property
    def card(self) -> Card:
        return Card(family="lexical", index={"type": "inverted"}, search={"exact": True}, training_data=[])

    def index(self, corpus: Corpus, path: Path) -> LexicalIndex:
        self._write(corpus, path)
        return self.open(path)

    def change(self, path: Path, *, delete: Sequence[str], add: Corpus | None) -> None:
        lexical_change.change(path, self, delete=delete, add=add, write=self._write)

    def _write(self, corpus: Corpus, path: Path, *, history: index_folder.History | None = None) -> None:
        lexical.write(path, self, corpus, LOWER_BLANKS, self.weigh, kind=np.float64, history=history)

    def open(self, path: Path) -> LexicalIndex:
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> LexicalIndex:
        found = index_folder.open_checked(found, self)
        before = TOKENS in found.meta["files"] if "files" in found.meta else (found.path / TOKENS).is_file()
        postings = self._of_tokens(found) if before else Postings.open(found.path, np.float64)
        return LexicalIndex(found, postings, words)

    def weigh(self, totals: Totals) -> Weights:
        """Return the library's weights, by each of its operations in its order: they are the same to the last bit."""
        count = len(totals.lengths_D)
        documents, by_word = np.unique(totals.documents_W, return_inverse=True)
        rarities = [log(count - one + 0.5) - log(one + 0.5) for one in documents.tolist()]  # NumPy's log may differ
        total = 0.0
        for one in by_word.tolist():  # sum() would be more exact than the library
            total += rarities[one]
        least = self.epsilon * (total / len(by_word)) if len(by_word) else 0.0
        rarity = np.array([least if one < 0 else one for one in rarities], dtype=np.float64)
        mean_length = int(totals.lengths_D.sum()) / max(count, 1)

        def weights(counts_P: NDArray[Any], lengths_P: Integers, documents_P: Integers) -> NDArray[np.float64]:
            length_P = 1 - self.b + self.b * lengths_P / mean_length
            share_P = counts_P * (self.k1 + 1) / (counts_P + self.k1 * length_P)
            return np.asarray(rarity[np.searchsorted(documents, documents_P)] * share_P)

        return weights

    def _of_tokens(self, found: index_folder.IndexFolder) -> Postings:
        """Return the postings of an index that was made before there were any: it has each document's words."""
        path, vocabulary = found.path, Vocabulary.open(found.path)
        tokens = mapped(path / TOKENS, np.int32, None)
        starts = mapped(path / "token_starts.npy", np.int64, len(found.doc_ids) + 1)
        rises(path / "token_starts.npy", starts, len(tokens))
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < len(vocabulary):
            raise CorruptFileError(f"{path / TOKENS}: a number of no word; {AGAIN}")
        lengths_D = np.diff(starts)
        keys = tokens.astype(np.int64) << 32 | np.repeat(np.arange(len(lengths_D)), lengths_D)
        keys, counts_P = np.unique(keys, return_counts=True)
        documents_W = np.bincount(keys >> 32, minlength=len(vocabulary))
        used, first = np.unique(tokens, return_index=True)
        weights = self.weigh(Totals(lengths_D, documents_W[used[np.argsort(first)]]))
        rows = keys & 0xFFFFFFFF
        weights_P = weights(counts_P, lengths_D[rows], documents_W[keys >> 32])
        return Postings(vocabulary, np.concatenate([[0], np.cumsum(documents_W)]), rows.astype(np.uint32), weights_P)


def words(text: str) -> list[str]:
    """Return the words of a text: lower-cased, between blanks."""
    return text.lower().split()


retriever = RankBM25
