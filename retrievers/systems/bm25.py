"""BM25 with Lucene's formula and English analyzer: the baseline of every paper.

Text is read as Lucene's EnglishAnalyzer reads it, weights are Lucene's but for
its one-byte document lengths, k1 and b are Anserini's. Held against Anserini's
numbers, and against bm25s: see tests/retrievers/test_bm25.py.

    lotte eval DATASET --retriever bm25 -o weights=unicoil.jsonl -o query_weights=queries.jsonl

With `weights`, what words are worth is read from a file that DeepCT, DeepImpact or uniCOIL made, in Anserini's form
(retrievers/sparse/files.py), and no text is read: a score is the sum of the weights of a query's words, or, where
`weights_as=tf`, BM25's with a weight in place of how often a word is there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus, Queries
from lotte.errors import MismatchError, UnavailableError, shown
from lotte.progress import Progress
from retrievers import index_folder, index_meta, lexical, lexical_change, postings, sharded
from retrievers.analyser import ENGLISH, english
from retrievers.batches import Integers
from retrievers.lexical import AskedQuery, LexicalIndex
from retrievers.lexical_shards import ShardedLexicalIndex
from retrievers.options import KEPT, NAME, SPOKEN
from retrievers.postings import Postings, Totals, Weights
from retrievers.retriever import Card
from retrievers.sparse import files, rows
from retrievers.topk import places

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
    weights: str = ""  # a file, or a folder of them, with weights of all words; "": the texts are read
    weights_as: str = ""  # impact, tf; "": impact, what a word is worth
    query_weights: str = field(default="", metadata=SPOKEN)  # a file of queries with weights; "": their texts are read
    replicas: int = field(default=0, metadata=KEPT)  # processes that hold each shard of an index; 0: this one holds all
    name: str = field(default="bm25", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        if not 0 <= self.k1 < inf:
            raise ValueError(f"k1 must be 0 or more, not {self.k1}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be from 0 to 1, not {self.b}")
        if self.weights_as not in ("", "impact", "tf"):
            raise ValueError(f"weights_as must be impact or tf, not {shown(self.weights_as)}")
        if self.replicas < 0:
            raise ValueError(f"replicas must be 0 or more, not {self.replicas}")
        if (self.weights_as or self.query_weights) and not self.weights:
            raise ValueError("weights_as and query_weights need an index of weights: set -o weights=FILE too")

    @property
    def card(self) -> Card:
        family = {"family": "learned-sparse"} if self.weights else {"family": "lexical", "training_data": []}
        return Card(index={"type": "inverted"}, search={"exact": True}, **family)

    def index(self, corpus: Corpus, path: Path) -> LexicalIndex | ShardedLexicalIndex:
        if self.weights:
            self._write_weights(corpus, path)
        else:
            self._write(corpus, path)
        return self.open(path)

    def index_sharded(self, corpus: Corpus, path: Path, shards: int) -> ShardedLexicalIndex:
        """Leave an index in parts: see `sharded`."""
        if self.weights:
            raise UnavailableError("an index of a file of weights has no shards; leave out --shards")
        sharded.bounds(len(corpus), shards)
        lexical.write(path, self, corpus, ENGLISH, self.weigh, shards=shards)
        return ShardedLexicalIndex(self, index_folder.open_checked(path, self), self.replicas)

    def change(self, path: Path, *, delete: Sequence[str], add: Corpus | None) -> None:
        """Take documents out of an index and put others in: see `lexical_change.change`."""
        if self.weights:
            raise UnavailableError("an index of a weights file cannot be changed; index the changed collection again")
        sharded.require_whole(path)
        lexical_change.change(path, self, delete=delete, add=add, write=self._write)

    def _write(self, corpus: Corpus, path: Path, *, history: index_folder.History | None = None) -> None:
        lexical.write(path, self, corpus, ENGLISH, self.weigh, history=history)

    def open(self, path: Path) -> LexicalIndex | ShardedLexicalIndex:
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> LexicalIndex | ShardedLexicalIndex:
        if sharded.count(found.meta):
            return ShardedLexicalIndex(self, index_folder.open_checked(found, self), self.replicas)
        words = files.words if self.weights else english
        weighed = self._weighed() if self.query_weights else None
        return LexicalIndex(index_folder.open_checked(found, self), Postings.open(found.path), words, weighed=weighed)

    def _write_weights(self, corpus: Corpus, path: Path) -> None:
        """Write an index of the weights of a file, or nothing."""
        as_counts = self.weights_as == "tf"
        with (
            index_folder.write_index(path, self, corpus) as (folder, counts),
            Progress(len(corpus), "passages", f"{self.name}: indexing") as progress,
        ):
            read = files.batches(Path(self.weights), corpus.doc_ids, progress.advance, lengths_are_sums=as_counts)
            counts |= postings.write(folder, read, self._weigh_counts if as_counts else rows.as_made)
            np.save(folder / "places.npy", places(corpus.doc_ids))

    def damaged(self, path: Path) -> Iterator[str]:
        """Read all of an index; yield a line for everything that is not as it was written."""
        yield from sharded.differences(path, index_meta.read(path))

    def _weigh_counts(self, totals: Totals) -> Weights:
        as_made, weigh = rows.as_made(totals), self.weigh(totals)
        return lambda bits_P, *others: weigh(as_made(bits_P, *others), *others)

    def _weighed(self) -> Callable[[Queries], list[AskedQuery]]:
        """Return what finds queries in the file of their weights."""
        known = files.by_id(Path(self.query_weights))

        def weighed(queries: Queries) -> list[AskedQuery]:
            if lacking := [query_id for query_id in queries if query_id not in known]:
                raise MismatchError(
                    f"{self.query_weights} has no line for {len(lacking):,} of {len(queries):,} queries; the first is "
                    f"{shown(lacking[0])}"
                )
            return [AskedQuery(list(known[one]), list(known[one].values())) for one in queries]

        return weighed

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
