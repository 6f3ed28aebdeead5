"""SPLADE: learned weights for all words of a model's vocabulary, in an inverted index.

    lotte eval DATASET --retriever splade -o checkpoint=naver/splade-v3
    lotte eval DATASET --retriever splade -o query_terms=10

SPLADEv2 and later, as sentence-transformers reads them: the maximum over a text's tokens of log(1 + relu(logit)).
Search is that of bm25, over the same kind of index: exact, unless `query_terms` leaves out a query's lightest words.
Formal et al. 2021, arXiv:2109.10086.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lotte import Corpus, Queries, Run
from lotte.errors import CorruptFileError, MismatchError, shown
from retrievers import index_folder, postings
from retrievers.batches import Batch
from retrievers.dense.encoder import DOCUMENT, QUERY
from retrievers.dense.model import MODEL, PRECISIONS, keep_if_same
from retrievers.index_meta import AGAIN, META
from retrievers.lexical import AskedQuery, LexicalIndex
from retrievers.options import NAME, SEARCH_TIME, SPOKEN
from retrievers.postings import Postings
from retrievers.retriever import Card
from retrievers.sparse import rows
from retrievers.sparse.encoder import SparseNetwork, SparseTextEncoder, sparse_network
from retrievers.topk import places

_LOTTE = {  # search test, forum test, search dev, forum dev
    "writing": (0.771, 0.730, 0.789, 0.781),
    "recreation": (0.690, 0.671, 0.707, 0.689),
    "science": (0.554, 0.437, 0.734, 0.599),
    "technology": (0.624, 0.508, 0.563, 0.421),
    "lifestyle": (0.823, 0.740, 0.712, 0.618),
    "pooled": (0.689, 0.601, 0.670, 0.606),
}
_BEIR = {
    "arguana": 0.479, "climate-fever": 0.235, "dbpedia-entity": 0.435, "fever": 0.786, "fiqa": 0.336,
    "hotpotqa": 0.684, "nfcorpus": 0.334, "nq": 0.521, "quora": 0.838, "scidocs": 0.158, "scifact": 0.693,
    "trec-covid": 0.710, "webis-touche2020": 0.272,
}  # fmt: skip
# Santhanam et al. 2022, arXiv:2112.01488, tables 4 (MRR@10), 5a, 5b and 7: the model of the first checkpoint
PUBLISHED: dict[str, float] = {
    "msmarco/dev": 0.368,
    "openqa/nq": 0.656,
    "openqa/tq": 0.747,
    "openqa/squad": 0.604,
    **{
        f"lotte/{topic}/{split}/{kind}": value
        for topic, values in _LOTTE.items()
        for (split, kind), value in zip(
            [("test", "search"), ("test", "forum"), ("dev", "search"), ("dev", "forum")], values, strict=True
        )
    },
    **{f"beir/{name}": value for name, value in _BEIR.items()},
}

RECALL_SAMPLE = 100  # queries that are also searched with all their words


@dataclass(frozen=True)
class Splade:
    checkpoint: str = "naver/splade_v2_distil"  # a folder, or a name on the Hugging Face hub
    query_checkpoint: str = field(default="", metadata=SEARCH_TIME)  # of a model with two encoders; "": the same
    revision: str = ""  # of the hub; "": the newest
    trust: bool = field(default=False, metadata=SPOKEN)  # whether the weights may be a pickle
    query_prompt: str = field(default="", metadata=SEARCH_TIME)  # before a query; none; "": the checkpoint's own
    doc_prompt: str = ""  # before a passage
    query_maxlen: int = field(default=0, metadata=SEARCH_TIME)  # tokens; 0: what the checkpoint says
    doc_maxlen: int = 0
    query_terms: int = field(default=0, metadata=SEARCH_TIME)  # words of a query that are looked for; 0: all
    doc_terms: int = 0  # words of a passage that are kept; 0: all
    batch: int = field(default=32, metadata=SEARCH_TIME)  # texts that are encoded at once
    precision: str = field(default="fp32", metadata=SEARCH_TIME)  # fp32, bf16, fp16
    device: str = field(default="auto", metadata=SEARCH_TIME)
    name: str = field(default="splade", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {shown(self.precision)}")
        for name in ("query_maxlen", "doc_maxlen", "query_terms", "doc_terms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 1 or more, or 0, not {getattr(self, name)}")
        if self.batch < 1:
            raise ValueError(f"batch must be 1 or more, not {self.batch}")

    @property
    def doc_encoder(self) -> SparseTextEncoder:
        """Return what encodes passages. The model is loaded once a process."""
        return SparseTextEncoder(self._network(""), prompts=(self.doc_prompt, DOCUMENT), maxlen=self.doc_maxlen)

    @property
    def query_encoder(self) -> SparseTextEncoder:
        """Return what encodes queries."""
        network = self._network(self.query_checkpoint)
        return SparseTextEncoder(network, prompts=(self.query_prompt, QUERY), maxlen=self.query_maxlen)

    def _network(self, other: str) -> SparseNetwork:
        found = (other, "") if other else (self.checkpoint, self.revision)
        return sparse_network(*found, self.trust, self.precision, self.device)

    @property
    def card(self) -> Card:
        from retrievers.contamination.check import Seen

        folder = self.doc_encoder.source.folder
        seen = Seen.read(folder)
        return Card(
            family="learned-sparse",
            model=self.doc_encoder.facts(),
            index={"type": "inverted", "doc_terms": self.doc_terms},
            search={"exact": not self.query_terms},
            training_data=(seen.names() or None) if seen else None,
            checkpoint=folder,
        )

    def index(self, corpus: Corpus, path: Path) -> "SpladeIndex":
        docs = self.doc_encoder
        if self.query_checkpoint and self.query_encoder.words != docs.words:  # before hours of work
            raise MismatchError(f"{self.query_checkpoint} and {self.checkpoint} do not share one vocabulary")
        with index_folder.resume_index(path, self, corpus) as (folder, meta):
            if not meta:
                keep_if_same(folder, docs.facts(), rows.ENCODED)
                encoded = rows.encode(
                    folder, corpus, lambda texts: docs.rows(texts, batch=self.batch, most=self.doc_terms),
                    f"{self.name}: encoding",
                )  # fmt: skip
                counts = postings.write(folder, _batches(encoded, docs.words), rows.as_made)
                encoded.unlink()
                np.save(folder / "places.npy", places(corpus.doc_ids))
                (folder / MODEL).unlink()
                meta |= {"counts": counts, "model": docs.facts()}
        return self.open(path)

    def open(self, path: Path) -> "SpladeIndex":
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> "SpladeIndex":
        return SpladeIndex(self, index_folder.open_checked(found, self))


def _batches(encoded: Path, words: list[str]) -> Iterator[Batch]:
    return (rows.batch_of(some, words) for some in rows.read(encoded))


class SpladeIndex(LexicalIndex):
    """An index of postings whose queries are weighed by a model."""

    def __init__(self, recipe: Splade, found: index_folder.IndexFolder) -> None:
        super().__init__(found, Postings.open(found.path), str.split, weighed=self.asked)
        self._recipe, self._found_folder = recipe, found

    def asked(self, queries: Queries) -> list[AskedQuery]:
        """Return the words of queries, and what each is worth. Raises MismatchError if other weights made the index."""
        recipe, encoder = self._recipe, self._recipe.query_encoder
        made_by = self._found_folder.meta.get("model")
        if not isinstance(made_by, dict) or "sha256" not in made_by:
            raise CorruptFileError(f"{self._found_folder.path / META} does not say which model made it; {AGAIN}")
        if not recipe.query_checkpoint and encoder.source.found.sha256 != made_by["sha256"]:
            where = self._found_folder.path
            raise MismatchError(f"{where} was made with other weights of {recipe.checkpoint}; build it again")
        made = encoder.rows(list(queries.values()), batch=recipe.batch, most=recipe.query_terms)
        ends = np.cumsum(made.lengths)[:-1]
        pairs = zip(np.split(made.ids, ends), np.split(made.weights, ends), strict=True)
        return [AskedQuery([encoder.words[one] for one in ids.tolist()], weights.tolist()) for ids, weights in pairs]

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return the settings in force, and the recall they have against all words of some of the queries."""
        facts: dict[str, Any] = {"query_terms": self._recipe.query_terms, "exact": not self._recipe.query_terms}
        if not self._recipe.query_terms or not queries:
            return facts
        some = dict(list(queries.items())[:: max(1, len(queries) // RECALL_SAMPLE)][:RECALL_SAMPLE])
        depth = min(k, 100)
        ours = self.search(some, k=depth)
        truth: Run = SpladeIndex(replace(self._recipe, query_terms=0), self._found_folder).search(some, k=depth)
        shares = [
            len(set(ours.doc_ids(one)) & set(truth.doc_ids(one))) / max(1, len(truth.doc_ids(one))) for one in some
        ]
        recall = {"depth": depth, "queries": len(some), "value": float(np.mean(shares))}
        return facts | {"recall_against_exact": recall}


retriever = Splade
