"""BM25 as the rank_bm25 library has it: BM25Okapi with its defaults, over lower-cased words between blanks.

That is how its README uses it, and so what people mean by it: no stop words,
no stemming, punctuation stays on. It looks at every document for every word of
a query, in Python: for small collections. It is also the judge of our bm25.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi

from lotte import Corpus, Hit, Queries, Run
from retrievers import index_folder
from retrievers.arrays import mapped, rises
from retrievers.options import NAME
from retrievers.retriever import Card
from retrievers.topk import Numbers, hits, places
from retrievers.vocabulary import Vocabulary

PUBLISHED: dict[str, float] = {}  # dataset -> the number its authors printed; they printed none


@dataclass(frozen=True)
class RankBM25:
    k1: float = 1.5
    b: float = 0.75
    epsilon: float = 0.25  # what a word of more than half the documents weighs, as a share of the mean weight
    name: str = field(default="rank_bm25", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        if not 0 < self.k1 < inf:
            raise ValueError(f"k1 is above 0, not {self.k1}")
        if not 0 <= self.b < 1:  # at 1 the library divides by the length of an empty document
            raise ValueError(f"b is 0 or more, and below 1, not {self.b}")
        if not 0 <= self.epsilon < inf:
            raise ValueError(f"epsilon is 0 or more, not {self.epsilon}")

    @property
    def card(self) -> Card:
        return Card(family="lexical", index={"type": "forward"}, search={"exact": True}, training_data=[])

    def index(self, corpus: Corpus, path: Path) -> "RankBM25Index":
        with index_folder.write_index(path, self, corpus) as (folder, counts):
            texts = [doc.text.lower().split() for doc in corpus]
            words = sorted({word for text in texts for word in text})
            numbers = {word: number for number, word in enumerate(words)}
            tokens = np.array([numbers[word] for text in texts for word in text], dtype=np.int32)
            Vocabulary.write(folder, words)
            np.save(folder / "tokens.npy", tokens)
            np.save(folder / "token_starts.npy", np.cumsum([0, *map(len, texts)], dtype=np.int64))
            np.save(folder / "places.npy", places(corpus.doc_ids))
            counts |= {"documents": len(texts), "words": len(words), "tokens": len(tokens)}
        return self.open(path)

    def open(self, path: Path) -> "RankBM25Index":
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> "RankBM25Index":
        path, doc_ids = found.path, index_folder.open_checked(found, self).doc_ids
        place, vocabulary = mapped(path / "places.npy", np.int32, len(doc_ids)), Vocabulary.open(path)
        tokens = mapped(path / "tokens.npy", np.int32, None)
        starts = mapped(path / "token_starts.npy", np.int64, len(doc_ids) + 1)
        rises(path / "token_starts.npy", starts, len(tokens))
        texts = [tokens[begin:end].tolist() for begin, end in pairwise(starts)]
        # the library divides by the number of words, so it cannot be asked about a corpus without any
        engine = BM25Okapi(texts, k1=self.k1, b=self.b, epsilon=self.epsilon) if len(tokens) else None
        return RankBM25Index(path, doc_ids, place, vocabulary, engine)


@dataclass(frozen=True)
class RankBM25Index:
    path: Path
    doc_ids: Sequence[str]
    place: Numbers
    vocabulary: Vocabulary
    engine: BM25Okapi | None

    def search(self, queries: Queries, *, k: int) -> Run:
        with index_folder.using(self.path):
            return Run({query_id: self._hits(text, k) for query_id, text in queries.items()})

    def _hits(self, text: str, k: int) -> tuple[Hit, ...]:
        if self.engine is None:
            return ()
        scores = self.engine.get_scores(self.vocabulary.numbers(text.lower().split()))
        return hits(scores.astype(np.float32), self.place, self.doc_ids, k)


retriever = RankBM25
