"""BM25 with Lucene's formula and English analysis: the baseline that every paper has.

Text is read as Lucene's EnglishAnalyzer reads it, weights are Lucene's but for
its one-byte document lengths, k1 and b are Anserini's. Held against Anserini's
numbers, and against bm25s: see tests/retrievers/test_bm25.py.
"""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus
from retrievers import index_folder, lexical
from retrievers.analyser import ENGLISH, english
from retrievers.batches import Integers
from retrievers.lexical import LexicalIndex
from retrievers.options import NAME
from retrievers.postings import Postings, Totals, Weights
from retrievers.retriever import Card

_LOTTE = {  # search test, forum test, search dev, forum dev
    "writing": (0.603, 0.640, 0.473, 0.662),
    "recreation": (0.565, 0.554, 0.563, 0.566),
    "science": (0.327, 0.371, 0.522, 0.513),
    "technology": (0.418, 0.394, 0.358, 0.307),
    "lifestyle": (0.638, 0.606, 0.544, 0.482),
    "pooled": (0.483, 0.472, 0.456, 0.478),
}
_BEIR = {
    "arguana": 0.3970, "bioasq": 0.5225, "climate-fever": 0.1651, "dbpedia-entity": 0.3180, "fever": 0.6513,
    "fiqa": 0.2361, "hotpotqa": 0.6330, "nfcorpus": 0.3218, "nq": 0.3055, "quora": 0.7886, "robust04": 0.4070,
    "scidocs": 0.1490, "scifact": 0.6789, "signal1m": 0.3304, "trec-covid": 0.5947, "trec-news": 0.3952,
    "webis-touche2020": 0.4422, "cqadupstack/android": 0.3801, "cqadupstack/english": 0.3453,
    "cqadupstack/gaming": 0.4822, "cqadupstack/gis": 0.2901, "cqadupstack/mathematica": 0.2015,
    "cqadupstack/physics": 0.3214, "cqadupstack/programmers": 0.2802, "cqadupstack/stats": 0.2711,
    "cqadupstack/tex": 0.2244, "cqadupstack/unix": 0.2749, "cqadupstack/webmasters": 0.3059,
    "cqadupstack/wordpress": 0.2483,
}  # fmt: skip
# LoTTE: Santhanam et al. 2022, arXiv:2112.01488, tables 5b and 7; that is Elasticsearch, run by BEIR's code
# BEIR: Anserini's regressions for BEIR v1.0.0, one field ("flat"), k1 = 0.9, b = 0.4: the recipe of this file
PUBLISHED: dict[str, float] = {
    **{
        f"lotte/{topic}/{split}/{kind}": value
        for topic, values in _LOTTE.items()
        for (split, kind), value in zip(
            [("test", "search"), ("test", "forum"), ("dev", "search"), ("dev", "forum")], values, strict=True
        )
    },
    **{f"beir/{name}": value for name, value in _BEIR.items()},
}


@dataclass(frozen=True)
class BM25:
    k1: float = 0.9  # how much the second time a word appears is still worth
    b: float = 0.4  # how much a long document pays for its length
    name: str = field(default="bm25", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        if not 0 <= self.k1 < inf:
            raise ValueError(f"k1 is 0 or more, not {self.k1}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b is from 0 to 1, not {self.b}")

    @property
    def card(self) -> Card:
        return Card(family="lexical", index={"type": "inverted"}, search={"exact": True}, training_data=[])

    def index(self, corpus: Corpus, path: Path) -> LexicalIndex:
        lexical.write(path, self, corpus, ENGLISH, self.weigh)
        return self.open(path)

    def open(self, path: Path) -> LexicalIndex:
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> LexicalIndex:
        return LexicalIndex(index_folder.open_checked(found, self), Postings.open(found.path), english)

    def weigh(self, totals: Totals) -> Weights:
        """Return Lucene's weights.

        Source  org.apache.lucene.search.similarities.BM25Similarity, which has no (k1 + 1) since version 8
        """
        lengths_D, mean = totals.lengths_D, totals.lengths_D.mean() if len(totals.lengths_D) else 1.0

        def weights(counts_P: NDArray[Any], lengths_P: Integers, documents_P: Integers) -> NDArray[np.float64]:
            rarity_P = np.log1p((len(lengths_D) - documents_P + 0.5) / (documents_P + 0.5))
            length_P = 1 - self.b + self.b * lengths_P / mean
            weights_P: NDArray[np.float64] = rarity_P * counts_P / (counts_P + self.k1 * length_P)
            return weights_P

        return weights


retriever = BM25
