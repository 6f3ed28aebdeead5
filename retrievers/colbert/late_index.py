"""A late-interaction index as its users see it: queries in, hits out, and which words matched which.

A query is encoded by the retriever's model, and searched with the retriever's settings.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lotte import Queries, Run
from lotte.errors import MismatchError, shown
from retrievers import index_folder
from retrievers.colbert.index.folder import ColbertIndex
from retrievers.colbert.index.meta import IndexMeta
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import Bytes, Floats, Pooling
from retrievers.colbert.model.tokens import rows_of
from retrievers.colbert.search.config import SearchConfig
from retrievers.colbert.search.cpu import TopK, search
from retrievers.retriever import Answer

if TYPE_CHECKING:
    from retrievers.colbert.model.encoder import Encoder
    from retrievers.colbert.search.gpu import GpuIndex

QUERIES_AT_ONCE = 256  # queries encoded and searched together
DOCUMENTS_AT_ONCE = 4096  # read again together
RECALL_SAMPLE = 20  # queries that are searched again exactly, to measure the recall of the pruning
RECALL_LEAST = 5  # of them, where a search looks at many tokens
RECALL_TOKENS = 200_000_000  # that they may look at together, before they are fewer


class Options(Protocol):
    """What an index needs of the recipe that asks it."""

    @property
    def checkpoint(self) -> str: ...
    @property
    def encoder(self) -> "Encoder": ...
    @property
    def pooling(self) -> Pooling: ...
    @property
    def search_config(self) -> SearchConfig: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def gpu(self) -> str | None: ...
    @property
    def model(self) -> Mapping[str, Any]: ...


class DocTexts(Protocol):
    """The texts of documents, by their ids."""

    def __getitem__(self, doc_id: str, /) -> str: ...


class TokenCentroids(NamedTuple):
    """Some tokens of an index: the centroid of each, and which token of the vocabulary it is."""

    centroid_ids: NDArray[np.int64]
    token_ids: NDArray[np.int64]


class LateIndex:
    """An index with the recipe that asks it."""

    def __init__(self, recipe: Options, meta: IndexMeta, doc_ids: Sequence[str], arrays: ColbertIndex) -> None:
        self._recipe, self._meta, self._doc_ids, self.arrays = recipe, meta, doc_ids, arrays

    def search(self, queries: Queries, *, k: int, among: Sequence[str] | None = None) -> Run:
        """Answer every query with at most k hits.

        among  doc_ids; if given, only these can be found
        """
        return self._search(queries, k, self._recipe.search_config, among)

    def search_among(self, queries: Queries, doc_ids: Collection[str], *, k: int) -> Run:
        """Answer every query with at most k of these documents."""
        rows = index_folder.rows_among(self._rows, doc_ids)
        return self.search(queries, k=k, among=[self._doc_ids[row] for row in rows.tolist()])

    def _search(self, queries: Queries, k: int, config: SearchConfig, among: Sequence[str] | None) -> Run:
        allowed = None
        if among is not None:
            allowed = np.zeros(self.arrays.num_documents, np.uint8)
            allowed[[self._rows[doc_id] for doc_id in among if doc_id in self._rows]] = 1
        hits: dict[str, Mapping[str, float]] = {}
        query_ids = list(queries)
        for first in range(0, len(query_ids), QUERIES_AT_ONCE):
            some = query_ids[first : first + QUERIES_AT_ONCE]
            vectors = list(self._encoder.queries([queries[query_id] for query_id in some]))
            found = self._found_by(vectors, k, config, allowed)
            for query_id, (rows, scores) in zip(some, found, strict=True):
                hits[query_id] = {
                    self._doc_ids[row]: score for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
                }
        return Run.of(hits, depth=k)

    def _found_by(self, vectors: list[Floats], k: int, config: SearchConfig, allowed: Bytes | None) -> list[TopK]:
        """Search where the recipe says: on a GPU if it names one."""
        if not self._recipe.gpu:
            threads = self._recipe.num_threads
            return search(self.arrays, vectors, k=k, config=config, threads=threads, allowed=allowed)
        from retrievers.colbert.search import gpu as gpu_search

        return gpu_search.search(self._on_gpu, vectors, k=k, config=config, allowed=allowed)

    @cached_property
    def _on_gpu(self) -> "GpuIndex":
        from retrievers.colbert.search.gpu import GpuIndex

        return GpuIndex.of(self.arrays, self._recipe.gpu)

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return the settings in force, and the recall they have against an exact search on a few of the queries."""
        config = self._recipe.search_config
        settled = config.settled(k, self.arrays.num_documents)
        if self._recipe.gpu and settled.algorithm == "pruned":  # there all that are refined are scored in full
            settled = replace(settled, full=settled.refined)
        facts: dict[str, Any] = asdict(settled) | {"exact": settled.algorithm == "exact"}
        size = max(RECALL_LEAST, min(RECALL_SAMPLE, RECALL_TOKENS // max(1, self.arrays.num_tokens)))
        sample = dict(list(queries.items())[:: max(1, len(queries) // size)][:size])
        if settled.algorithm == "exact" or not sample:
            return facts
        depth = min(k, 100)
        ours = self._search(sample, k, config, None)
        truth = self._search(sample, depth, SearchConfig(algorithm="exact"), None)
        shares = [
            len(set(ours.doc_ids(query_id)[:depth]) & set(truth.doc_ids(query_id)))
            / max(1, len(truth.doc_ids(query_id)))
            for query_id in sample
        ]
        recall = float(np.mean(shares))
        return facts | {"recall_against_exact": {"depth": depth, "queries": len(sample), "value": recall}}

    def tokens(self, texts: DocTexts) -> Iterator[TokenCentroids]:
        """Give the tokens of the index, some documents at a time; those of documents that are deleted are left out.

        texts  doc_id -> text, as it was indexed: which tokens they are the index does not know

        Raises  MismatchError if a text is not the one that was indexed, or tokens became one vector
        """
        self._require_a_vector_each("nobody knows which tokens a vector is of")
        alive = self.arrays.alive
        for base, segment in zip(self.arrays.bases, self.arrays.segments, strict=True):
            for first in range(0, segment.num_documents, DOCUMENTS_AT_ONCE):
                rows = np.arange(first, min(first + DOCUMENTS_AT_ONCE, segment.num_documents))
                if alive is not None:
                    rows = rows[alive[base + rows] != 0]
                doc_ids = [self._doc_ids[base + row] for row in rows.tolist()]
                found = self._encoder.tokens.docs([texts[doc_id] for doc_id in doc_ids])
                expected = segment.starts[rows + 1] - segment.starts[rows]
                for place in np.flatnonzero(np.diff(found.kept_starts()) != expected)[:1].tolist():
                    raise MismatchError(
                        f"document {shown(doc_ids[place])} is not the text that was indexed, so its tokens are not "
                        "known; build the index again"
                    )
                if len(rows):
                    ids = segment.centroid_ids[rows_of(segment.starts, rows)]
                    yield TokenCentroids(ids.astype(np.int64), found.ids[found.kept])

    def cluster_sizes(self) -> tuple[NDArray[np.int64], int, int]:
        """Return how many tokens each centroid has, and how many tokens the vocabulary, how many documents there are.

        Documents that are deleted are left out.
        """
        alive, sizes = self.arrays.alive, np.zeros(self.arrays.codec.num_centroids, np.int64)
        for base, segment in zip(self.arrays.bases, self.arrays.segments, strict=True):
            for first in range(0, segment.num_documents, DOCUMENTS_AT_ONCE):
                starts = segment.starts[first : first + DOCUMENTS_AT_ONCE + 1]
                ids = segment.centroid_ids[starts[0] : starts[-1]]
                if alive is not None:
                    ids = ids[np.repeat(alive[base + first : base + first + len(starts) - 1] != 0, np.diff(starts))]
                sizes += np.bincount(ids, minlength=len(sizes))
        documents = self.arrays.num_documents if alive is None else int(np.count_nonzero(alive))
        return sizes, self._encoder.tokens.size, documents

    def spelled(self, numbers: Iterable[int]) -> list[str]:
        """Return tokens, given by their numbers, as the vocabulary spells them."""
        return self._encoder.tokens.spelled(numbers)

    def _require_a_vector_each(self, consequence: str) -> None:
        """Raise MismatchError if tokens were pooled when documents were indexed."""
        if (factor := self._recipe.pooling.factor) > 1:
            raise MismatchError(f"{factor:g} tokens became one vector in this index (pool), so {consequence}")

    def explain(self, question: str, doc_id: str, text: str) -> list[Answer]:
        """Return, for every token of the query, the document token that answered it best.

        Raises  MismatchError if the text is not the one that was indexed
        """
        self._require_a_vector_each("no word can be shown")
        encoder = self._encoder
        base, segment = self._segment(self._rows[doc_id])
        tokens = slice(segment.starts[self._rows[doc_id] - base], segment.starts[self._rows[doc_id] - base + 1])
        doc_tokens = encoder.tokens_of_doc(text)
        if len(doc_tokens) != tokens.stop - tokens.start:
            raise MismatchError(f"document {doc_id!r} is not the text that was indexed; it cannot be explained")
        vectors = cpu.decode(self.arrays.codec, segment.centroid_ids[tokens], segment.residuals[tokens])
        sims_QN = encoder.queries([question])[0] @ vectors.T
        best = sims_QN.argmax(axis=1).tolist()
        return [
            Answer(word, doc_tokens[place], place, float(sims_QN[i, place]))
            for i, (word, place) in enumerate(zip(encoder.tokens_of_query(question), best, strict=False))
        ]

    def _segment(self, row: int) -> tuple[int, Any]:
        bases = self.arrays.bases
        place = max(i for i, base in enumerate(bases) if base <= row)
        return bases[place], self.arrays.segments[place]

    @cached_property
    def _rows(self) -> dict[str, int]:
        alive = self.arrays.alive
        return {doc_id: row for row, doc_id in enumerate(self._doc_ids) if alive is None or alive[row]}

    @cached_property
    def _encoder(self) -> "Encoder":
        """Return the recipe's encoder. Raises MismatchError if it is not the one that the index was made with."""
        recipe, dim = self._recipe, self.arrays.codec.dim
        self._meta.check_model(recipe.model, recipe.checkpoint)
        if recipe.encoder.dim != dim:
            raise MismatchError(
                f"{recipe.checkpoint} makes vectors of {recipe.encoder.dim} numbers, and the index has {dim}; build "
                "the index again"
            )
        return recipe.encoder
