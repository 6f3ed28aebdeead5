"""Dense retrieval as a retriever: it builds an index of a corpus, and the index answers queries."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lotte import Corpus, Queries, Run, extras
from lotte.errors import CorruptFileError, MismatchError, shown
from lotte.processors import num_processors
from retrievers import index_folder
from retrievers.arrays import mapped
from retrievers.dense import vectors as stored
from retrievers.dense.encoder import DOCUMENT, POOLINGS, QUERY, SIMILARITIES, BiEncoder, Network, encoder, network
from retrievers.dense.graphs import GRAPHS, Graph, num_lists
from retrievers.dense.graphs import write as write_graph
from retrievers.dense.model import MODEL, PRECISIONS, device_of, keep_if_same
from retrievers.dense.search import ExactSearch, Floats, Found
from retrievers.index_meta import AGAIN, META
from retrievers.options import NAME, SEARCH_TIME, SPOKEN
from retrievers.retriever import Card
from retrievers.topk import FoundHits, places

RECALL_SAMPLE = 100  # queries that are also searched exactly


@dataclass(frozen=True)
class DenseRetriever:
    """The options of every system with one vector per passage; 0 and "" are rules in words, beside them."""

    checkpoint: str  # a folder, or a name on the Hugging Face hub
    query_checkpoint: str = field(default="", metadata=SEARCH_TIME)  # of a model with two towers; "": the same
    revision: str = ""  # of the hub; "": the newest
    trust: bool = field(default=False, metadata=SPOKEN)  # whether the weights may be a pickle
    pooling: str = ""  # of tokens to one vector: mean, cls, max, ...; "": what the checkpoint says
    similarity: str = ""  # dot, cosine; "": what the checkpoint says
    query_prompt: str = field(default="", metadata=SEARCH_TIME)  # before a query; none; "": the checkpoint's own
    doc_prompt: str = ""  # before a passage
    query_maxlen: int = field(default=0, metadata=SEARCH_TIME)  # tokens; 0: what the checkpoint says
    doc_maxlen: int = 0
    vectors: str = "float32"  # how they are kept: float32, float16
    search: str = field(default="exact", metadata=SEARCH_TIME)  # exact, hnsw, ivf; the last two are built if said then
    m: int = 32  # hnsw: neighbours of a vector
    ef_construction: int = 200  # hnsw: neighbours that are looked at for these
    ef: int = field(default=128, metadata=SEARCH_TIME)  # hnsw: neighbours that a search looks at
    lists: int = 0  # ivf; 0: four times the root of the passages
    probe: int = field(default=0, metadata=SEARCH_TIME)  # ivf: lists that are looked at; 0: 32
    batch: int = field(default=32, metadata=SEARCH_TIME)  # texts that are encoded at once
    precision: str = field(default="fp32", metadata=SEARCH_TIME)  # fp32, bf16, fp16
    device: str = field(default="auto", metadata=SEARCH_TIME)
    threads: int = field(default=0, metadata=SEARCH_TIME)  # 0: all there are
    name: str = field(default="", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        choices = {
            "pooling": ("", *POOLINGS), "similarity": ("", *SIMILARITIES), "vectors": stored.KINDS,
            "search": ("exact", *GRAPHS), "precision": PRECISIONS,
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                one_of = ", ".join(filter(None, known))
                raise ValueError(f"{name} must be one of {one_of}, not {shown(getattr(self, name))}")
        for name in ("query_maxlen", "doc_maxlen"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 1 or more, or 0 for the checkpoint's, not {getattr(self, name)}")
        for name, least in {
            "m": 2,
            "ef_construction": 1,
            "ef": 1,
            "lists": 0,
            "probe": 0,
            "batch": 1,
            "threads": 0,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")

    @property
    def doc_encoder(self) -> BiEncoder:
        """Return what encodes passages. The model is loaded once a process."""
        prompts = self.doc_prompt, DOCUMENT
        return encoder(self._network(""), prompts=prompts, similarity=self.similarity, maxlen=self.doc_maxlen)

    def query_encoder(self, similarity: str) -> BiEncoder:
        """Return what encodes queries, for an index of vectors that were made for a similarity."""
        prompts = self.query_prompt, QUERY
        return encoder(
            self._network(self.query_checkpoint), prompts=prompts, similarity=similarity, maxlen=self.query_maxlen
        )

    def _network(self, other: str) -> Network:
        found = (other, "") if other else (self.checkpoint, self.revision)
        return network(*found, self.trust, self.pooling, self.precision, self.device)

    @property
    def num_threads(self) -> int:
        """How many threads search: as many as there are processors, if no number was given."""
        return self.threads or num_processors()

    @property
    def gpu(self) -> str:
        """Return the GPU that searches, if there is one; "" if there is none."""
        device = device_of(self.device)
        return device if device.startswith("cuda") else ""

    @property
    def card(self) -> Card:
        from retrievers.contamination.check import Seen

        folder = self.doc_encoder.source.folder
        seen = Seen.read(folder)
        return Card(
            family="dense",
            model=self.doc_encoder.facts(),
            index={"type": "vectors" if self.search == "exact" else self.search, "numbers": self.vectors},
            search={"exact": self.search == "exact", "similarity": self.doc_encoder.similarity},
            training_data=(seen.names() or None) if seen else None,
            checkpoint=folder,
        )

    def index(self, corpus: Corpus, path: Path) -> "DenseIndex":
        if self.search in GRAPHS:  # before hours of work
            extras.package("faiss", f"{self.name} -o search={self.search}")
            if self.search == "ivf" and self.probe > (lists := num_lists(len(corpus), self.lists)):
                raise MismatchError(f"probe is {self.probe}, and {len(corpus):,} passages make {lists} lists")
        docs = self.doc_encoder
        if self.query_checkpoint:
            self._require_towers(docs, self.query_encoder(docs.similarity))
        with index_folder.resume_index(path, self, corpus) as (folder, meta):
            if not meta:
                facts = {"model": docs.facts(), "similarity": docs.similarity}
                keep_if_same(folder, facts, stored.VECTORS)
                longest = stored.write(
                    folder, corpus, lambda texts: docs.vectors(texts, batch=self.batch), self.vectors,
                    f"{self.name}: encoding",
                )  # fmt: skip
                if self.search in GRAPHS:
                    write_graph(
                        self.search, folder, stored.opened(folder, len(corpus)), m=self.m,
                        ef_construction=self.ef_construction, lists=self.lists, threads=self.num_threads,
                    )  # fmt: skip
                np.save(folder / "places.npy", places(corpus.doc_ids))
                (folder / MODEL).unlink()
                meta |= {"counts": {"documents": len(corpus)}, "vectors": {"longest": longest, **facts}}
                meta |= {"model": facts["model"]}
        return self.open(path)

    def open(self, path: Path) -> "DenseIndex":
        return self.open_described(index_folder.described(path))

    def open_described(self, found: index_folder.IndexFolder) -> "DenseIndex":
        return DenseIndex(self, index_folder.open_checked(found, self))

    def _require_towers(self, docs: BiEncoder, queries: BiEncoder) -> None:
        if docs.dim != queries.dim:
            raise MismatchError(
                f"{queries.source.name} makes vectors of {queries.dim} numbers, and {docs.source.name} of {docs.dim}: "
                "they are not two towers of one model"
            )


class DenseIndex:
    """The vectors of a collection, and the model that makes those of queries."""

    def __init__(self, recipe: DenseRetriever, folder: index_folder.IndexFolder) -> None:
        self._recipe, self._folder, self._doc_ids = recipe, folder, folder.doc_ids
        self._longest, said = stored.longest(folder), folder.meta["vectors"]
        if said.get("similarity") not in SIMILARITIES:
            raise CorruptFileError(f"{folder.path / META} does not describe its vectors; {AGAIN}")
        self._said, self._vectors = said, stored.opened(folder.path, len(folder.doc_ids))
        self._graph: Graph | None = None
        if recipe.search in GRAPHS:
            self._graph = Graph(
                recipe.search, folder.path, self._vectors.shape, ef=recipe.ef, probe=recipe.probe,
                threads=recipe.num_threads,
            )  # fmt: skip

    def search(self, queries: Queries, *, k: int) -> Run:
        with index_folder.using(self._folder.path):
            vectors = self._encoder.vectors(list(queries.values()), batch=self._recipe.batch)
            return Run(FoundHits(dict(zip(queries, self._found(vectors, k), strict=True)), self._doc_ids))

    def search_among(self, queries: Queries, doc_ids: Collection[str], *, k: int) -> Run:
        """Answer every query with at most k of these documents, all of which are looked at."""
        rows = index_folder.rows_among(self._row_of, doc_ids)
        with index_folder.using(self._folder.path):
            vectors = self._encoder.vectors(list(queries.values()), batch=self._recipe.batch)
            found = (self._exact.scored(rows, vector, k) for vector in vectors)
            return Run(FoundHits(dict(zip(queries, found, strict=True)), self._doc_ids))

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {doc_id: row for row, doc_id in enumerate(self._doc_ids)}

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return the settings in force, and the recall they have against an exact search on some of the queries."""
        facts: dict[str, Any] = {
            "search": self._recipe.search,
            "exact": self._graph is None,
            "batch": self._recipe.batch,
        }
        if self._graph is None or not queries:
            return facts
        some = list(queries.values())[:: max(1, len(queries) // RECALL_SAMPLE)][:RECALL_SAMPLE]
        vectors, depth = self._encoder.vectors(some, batch=self._recipe.batch), min(k, 100)
        shares = [
            len(np.intersect1d(ours[:depth], truth)) / max(1, len(truth))
            for (ours, _), (truth, _) in zip(
                self._found(vectors, k), self._exact.found(vectors, depth), strict=True
            )
        ]  # fmt: skip
        recall = {"depth": depth, "queries": len(some), "value": float(np.mean(shares))}
        return facts | self._graph.facts() | {"recall_against_exact": recall}

    def _found(self, vectors: Floats, k: int) -> Iterator[Found]:
        if self._graph is None:
            yield from self._exact.found(vectors, k)
            return
        for query, rows in zip(vectors, self._graph.rows(vectors, k), strict=True):
            yield self._exact.scored(rows, query, k)

    @cached_property
    def _exact(self) -> ExactSearch:
        place = mapped(self._folder.path / "places.npy", np.int32, len(self._doc_ids))
        recipe = self._recipe
        return ExactSearch(self._vectors, place, self._longest, threads=recipe.num_threads, gpu=recipe.gpu)

    @cached_property
    def _encoder(self) -> BiEncoder:
        """Return what encodes queries. Raises MismatchError if it is not of the model that made the index."""
        recipe = self._recipe
        made = recipe.query_encoder(self._said["similarity"])
        wide = self._vectors.shape[1]
        if len(self._vectors) and made.dim != wide:
            raise MismatchError(
                f"{made.source.name} makes vectors of {made.dim} numbers, and {self._folder.path} has {wide}"
            )
        before = (self._said.get("model") or {}).get("sha256")
        if not recipe.query_checkpoint and made.source.found.sha256 != before:
            raise MismatchError(
                f"{self._folder.path} was made with other weights of {recipe.checkpoint}; build it again"
            )
        return made
