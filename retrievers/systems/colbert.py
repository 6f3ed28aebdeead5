"""ColBERT, the first version: exact MaxSim over uncompressed token vectors, for candidates of FAISS or another system.

    lotte eval --retriever colbert -o checkpoint=runs/v1/checkpoint                           # FAISS finds, end to end
    lotte eval --retriever colbert -o checkpoint=runs/v1/checkpoint -o first=bm25 -o depth=1000   # ranks BM25's again

Any late-interaction checkpoint: one that `lotte train colbert` made, or colbert-ir/colbertv1.9 of the hub. The settings
are the paper's: 2,000 partitions, of which a token of a query looks into 10 and takes 1,000 tokens, 16 bytes a token in
FAISS, and vectors of 2 bytes a number on disk for the second stage. Punctuation has vectors unless it is left out with
`mask_punctuation=true`, as in its code. An index that was made with `first` has no FAISS and can only re-rank.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lotte import Corpus, Hit, Queries, Run
from lotte.collection import RowIds
from lotte.errors import CorruptFileError, MismatchError, shown
from lotte.processors import num_processors
from lotte.terminal import say
from retrievers import index_folder, pipeline
from retrievers.colbert import ivfpq, stored_vectors
from retrievers.colbert.index.meta import require_model
from retrievers.colbert.kernels.arrays import Floats, Integers
from retrievers.colbert.retriever import SHIPPED, WEIGHTS
from retrievers.colbert.stored_vectors import KINDS, SIMILARITIES, StoredVectors
from retrievers.index_meta import AGAIN
from retrievers.options import NAME, SEARCH_TIME, SPOKEN
from retrievers.pipeline import STAGES, Stage, TimedIndex
from retrievers.retriever import Card

if TYPE_CHECKING:
    from retrievers.colbert.model.encoder import Encoder

_LOTTE = {  # search test, forum test, search dev, forum dev
    "writing": (0.747, 0.710, 0.763, 0.755),
    "recreation": (0.685, 0.656, 0.718, 0.691),
    "science": (0.536, 0.418, 0.717, 0.582),
    "technology": (0.619, 0.485, 0.528, 0.396),
    "lifestyle": (0.802, 0.730, 0.731, 0.611),
    "pooled": (0.673, 0.582, 0.654, 0.591),
}
_BEIR = {
    "climate-fever": 0.184, "dbpedia-entity": 0.392, "fever": 0.771, "fiqa": 0.317, "hotpotqa": 0.593,
    "nfcorpus": 0.305, "nq": 0.524, "quora": 0.854, "scidocs": 0.145, "scifact": 0.671, "trec-covid": 0.677,
    "arguana": 0.233,
}  # fmt: skip
# MS MARCO: Khattab and Zaharia 2020, arXiv:2004.12832, table 2, L2 end to end
# LoTTE and BEIR: Santhanam et al. 2022, arXiv:2112.01488, tables 5 and 7, the column ColBERT
PUBLISHED: dict[str, float] = {
    "msmarco/dev": 0.360,
    "msmarco/eval-local": 0.367,
    **{
        f"lotte/{topic}/{split}/{kind}": value
        for topic, values in _LOTTE.items()
        for (split, kind), value in zip(
            [("test", "search"), ("test", "forum"), ("dev", "search"), ("dev", "forum")], values, strict=True
        )
    },
    **{f"beir/{name}": value for name, value in _BEIR.items()},
}

QUERIES_AT_ONCE = 64  # queries encoded and searched together
_COUNTED = ("partitions", "sub_vectors", "code_bits")  # what an index says of its FAISS


@dataclass(frozen=True)
class ColBERT:
    checkpoint: str = ""  # a folder, a name on the Hugging Face hub, or "shipped"; it has to be said
    revision: str = ""  # of the hub; "": the newest
    trust: bool = field(default=False, metadata=SPOKEN)  # whether the weights may be a pickle
    query_maxlen: int = field(default=0, metadata=SEARCH_TIME)  # tokens; 0: what the dataset or the checkpoint says
    doc_maxlen: int = 180  # tokens; 0: what the checkpoint says
    mask_punctuation: bool = False  # whether punctuation becomes vectors of zeros
    bytes: int = 2  # of a number of a vector on disk: 2 or 4
    partitions: int = 2000  # of FAISS
    sub_vectors: int = 16  # into which FAISS cuts a vector, a byte each: the paper's s
    seed: int = 0
    first: str = field(default="", metadata={**SEARCH_TIME, **STAGES})  # a system, or a ranking file; "": FAISS
    depth: int = field(default=1000, metadata=SEARCH_TIME)  # documents of the first ranking that are re-ranked
    similarity: str = field(default="l2", metadata=SEARCH_TIME)  # l2, cosine
    nprobe: int = field(default=10, metadata=SEARCH_TIME)  # partitions that a token of a query looks into
    faiss_depth: int = field(default=1000, metadata=SEARCH_TIME)  # tokens that it takes there: the paper's k'
    device: str = field(default="auto", metadata=SEARCH_TIME)
    precision: str = field(default="auto", metadata=SEARCH_TIME)
    threads: int = field(default=0, metadata=SEARCH_TIME)  # 0: all there are
    name: str = field(default="colbert", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise ValueError(
                "checkpoint names a folder, a name on the Hugging Face hub (colbert-ir/colbertv1.9), or shipped; "
                "`lotte train colbert` makes one"
            )
        if self.first:
            pipeline.require_one(self.first)
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"similarity must be one of {', '.join(SIMILARITIES)}, not {shown(self.similarity)}")
        if self.bytes not in KINDS:
            raise ValueError(f"bytes must be 2 or 4, not {self.bytes}")
        for name in ("partitions", "sub_vectors", "depth", "nprobe", "faiss_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("query_maxlen", "doc_maxlen", "seed", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.nprobe > self.partitions:
            raise ValueError(f"nprobe must be at most the number of partitions, {self.partitions}, not {self.nprobe}")

    @property
    def stages(self) -> list[Stage]:
        """Return the system whose ranking is re-ranked, if there is one."""
        return [pipeline.stage(self.first, "first")] if self.first else []

    @property
    def encoder(self) -> "Encoder":
        """The encoder, loaded once for all recipes that ask for the same one."""
        lengths = self.query_maxlen, self.doc_maxlen
        return _encoder(
            self.checkpoint, self.revision, self.trust, self.device, self.precision, self.mask_punctuation, lengths
        )

    @property
    def num_threads(self) -> int:
        """How many threads search."""
        return self.threads or num_processors()

    @property
    def card(self) -> Card:
        from retrievers.contamination.check import Seen

        encoder = self.encoder
        seen = Seen.read(encoder.checkpoint.folder)
        facts = encoder.facts()
        index = {"type": "vectors", "bytes": self.bytes, "dim": encoder.dim}
        if not self.first:
            index |= {"type": "FAISS IVFPQ, and vectors", "partitions": self.partitions, "seed": self.seed}
        own = Card(
            family="late-interaction",
            model=facts | {"id": SHIPPED} if self.checkpoint == SHIPPED else facts,
            index=index,
            training_data=(seen.names() or None) if seen else None,
            checkpoint=encoder.checkpoint.folder,
        )
        if not self.first:
            return replace(own, search=self.search_settings)
        of = {"model": own.model, "index": index, "search": self.search_settings}
        return pipeline.joint_card(own.family, [own, *(stage.card for stage in self.stages)], **of)

    @property
    def search_settings(self) -> dict[str, Any]:
        """Return what says how an index is asked."""
        chosen = ("depth",) if self.first else ("nprobe", "faiss_depth")
        return {name: getattr(self, name) for name in ("similarity", *chosen)} | {"exact": False}

    def fitted(self, facts: Mapping[str, str]) -> "ColBERT":
        """Return the system with the length of a query, and the first stage, as a dataset wants them."""
        first = "".join(stage.fitted(facts).spelled() for stage in self.stages)
        return replace(self, first=first, query_maxlen=self.query_maxlen or int(facts.get("query_tokens", "0")))

    def index(self, corpus: Corpus, path: Path) -> "V1Index":
        encoder = self.encoder
        if not self.first:  # checked before hours of encoding
            ivfpq.package()
            ivfpq.require_parts(encoder.dim, self.sub_vectors)
        with index_folder.resume_index(path, self, corpus) as (folder, meta):
            if not meta:
                for stage in self.stages:
                    stage.index(corpus, folder)
                tokens = stored_vectors.write(folder, encoder, corpus, size=self.bytes)
                counts = {"documents": len(corpus), "tokens": tokens, "dim": encoder.dim}
                meta |= {"counts": counts | self._write_faiss(folder, tokens), "model": dict(self.card.model or {})}
                (folder / stored_vectors.JOURNAL).unlink()
        return self.open(path)

    def _write_faiss(self, folder: Path, tokens: int) -> dict[str, int]:
        """Leave what FAISS searches by, unless another system does. Returns what it came to."""
        for name in ivfpq.FILES:  # of a build that was stopped, and wanted another first stage
            (folder / name).unlink(missing_ok=True)
        if self.first or not tokens:
            return {}
        shape = ivfpq.Shape.fitting(tokens, self.partitions, self.sub_vectors)
        if (shape.partitions, shape.bits) != (self.partitions, ivfpq.BITS):
            say(
                f"only {tokens:,} vectors: using {shape.partitions:,} partitions instead of {self.partitions:,}, and "
                f"{shape.bits} bits for each of {shape.parts} parts of a vector"
            )
        ivfpq.write(folder, np.load(folder / stored_vectors.VECTORS, mmap_mode="r"), shape, self.seed, say)
        return dict(zip(_COUNTED, (shape.partitions, shape.parts, shape.bits), strict=True))

    def open(self, path: Path) -> "V1Index":
        folder = index_folder.open_checked(path, self)
        stored = StoredVectors.open(folder.path, documents=len(folder.doc_ids), size=self.bytes)
        return V1Index(self, folder, stored, [TimedIndex(stage, stage.open(folder)) for stage in self.stages])


class V1Index:
    """The vectors of a collection, and who finds the documents that they rank."""

    def __init__(
        self, recipe: ColBERT, folder: index_folder.IndexFolder, stored: StoredVectors, first: Sequence[TimedIndex]
    ) -> None:
        self._recipe, self._folder, self._stored, self._first = recipe, folder, stored, first

    def search(self, queries: Queries, *, k: int) -> Run:
        """Answer every query with at most k hits."""
        if not self._first:
            return Run.of(self._whole(queries), depth=k)
        (first,), depth = self._first, self._recipe.depth
        ranked = first.search(queries, k=max(k, depth))
        found = pipeline.candidates(ranked, depth)
        hits: dict[str, tuple[Hit, ...]] = dict.fromkeys(queries, ())
        for query_id, scores in self._again(queries, found).items():
            hits[query_id] = pipeline.joined(scores, ranked.hits[query_id][depth:])[:k]
        return Run(hits)

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return the settings in force, and what the first stage is and cost."""
        stages = {"stages": self.stages()} if self._first else {}
        return {**self._recipe.search_settings, **stages}

    def stages(self) -> list[dict[str, Any]]:
        """Return what a record says of the first stage, if another system is that."""
        return [first.facts() for first in self._first]

    def _again(self, queries: Queries, found: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """Return the scores of documents that somebody found."""
        scored: dict[str, dict[str, float]] = {}
        ids = list(found)
        for begin in range(0, len(ids), QUERIES_AT_ONCE):
            some = ids[begin : begin + QUERIES_AT_ONCE]
            vectors = self._encoder.queries([queries[query_id] for query_id in some])
            rows = [np.array([self._rows[doc_id] for doc_id in found[query_id]], np.int64) for query_id in some]
            scored |= dict(zip(some, self._scored(vectors, rows), strict=True))
        return scored

    def _whole(self, queries: Queries) -> dict[str, dict[str, float]]:
        """Return the scores of the documents whose tokens FAISS finds near a token of the query."""
        recipe, starts, ids = self._recipe, self._stored.starts, list(queries)
        scored: dict[str, dict[str, float]] = {query_id: {} for query_id in ids}
        if not (tokens := self._tokens):
            return scored
        for begin in range(0, len(ids), QUERIES_AT_ONCE):
            some = ids[begin : begin + QUERIES_AT_ONCE]
            vectors = self._encoder.queries([queries[query_id] for query_id in some])
            flat = vectors.reshape(-1, vectors.shape[-1])
            settings = {"nprobe": recipe.nprobe, "depth": recipe.faiss_depth, "threads": recipe.num_threads}
            near = tokens.nearest(flat, **settings).reshape(len(some), -1)
            rows = [np.unique(np.searchsorted(starts, one[one >= 0], side="right") - 1) for one in near]
            scored |= dict(zip(some, self._scored(vectors, rows), strict=True))
        return scored

    def _scored(self, vectors: Floats, rows: Sequence[Integers]) -> list[dict[str, float]]:
        id_of = self._folder.doc_ids

        def scores(query_QH: Floats, some: Integers) -> dict[str, float]:
            values = self._stored.scores(query_QH, some, self._recipe.similarity)
            return {id_of[row]: value for row, value in zip(some.tolist(), values.tolist(), strict=True)}

        with ThreadPoolExecutor(self._recipe.num_threads) as pool, index_folder.using(self._folder.path):
            return list(pool.map(scores, vectors, rows))

    @cached_property
    def _tokens(self) -> ivfpq.TokenIndex | None:
        """Return FAISS's index, None for a collection of nothing. Raises MismatchError for an index without one."""
        counts = self._folder.meta["counts"]
        tokens, dim = self._stored.vectors.shape
        if not tokens:
            return None
        made = [counts.get(name) for name in _COUNTED]
        if made == [None] * len(made):
            raise MismatchError(
                f"{self._folder.path} was built for re-ranking (first), without a FAISS index; set "
                "first= as well, or build it again without"
            )
        if not all(type(one) is int and one > 0 for one in made) or dim % made[1] or made[2] > ivfpq.BITS:
            raise CorruptFileError(f"{self._folder.path}: no FAISS index has {', '.join(_COUNTED)} {made}; {AGAIN}")
        return ivfpq.TokenIndex(self._folder.path, ivfpq.Shape(*made), dim=dim, tokens=tokens)

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        doc_ids = self._folder.doc_ids
        return _Numbers() if isinstance(doc_ids, RowIds) else {doc_id: row for row, doc_id in enumerate(doc_ids)}

    @cached_property
    def _encoder(self) -> "Encoder":
        """Return the recipe's encoder. Raises MismatchError if it is not the one that the index was made with."""
        encoder = self._recipe.encoder
        require_model(self._folder.meta.get("model"), encoder.facts(), self._recipe.checkpoint)
        return encoder


class _Numbers(dict[str, int]):
    """Ids that are the numbers of their rows: no need for millions of them."""

    def __missing__(self, doc_id: str) -> int:
        return int(doc_id)


@cache
def _encoder(
    checkpoint: str, revision: str, trust: bool, device: str, precision: str, masked: bool, lengths: tuple[int, int]
) -> "Encoder":
    from retrievers.colbert.model.config import PUNCTUATION
    from retrievers.colbert.model.encoder import Encoder

    return Encoder.load(
        WEIGHTS if checkpoint == SHIPPED else checkpoint,
        revision=revision or None,
        trust=trust,
        device=device,
        precision=precision,
        query_maxlen=lengths[0] or None,
        doc_maxlen=lengths[1] or None,
        skiplist=PUNCTUATION if masked else (),
    )


retriever = ColBERT
