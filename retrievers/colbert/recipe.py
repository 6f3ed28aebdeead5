"""A recipe of late interaction as the rest of the house knows one: a corpus makes an index, an index answers queries.

What is settled here: which options make an index and which only ask it, how
many threads work, and what a result says of both.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lotte import Corpus, Queries, Run, artifact
from lotte.dataset import corpus_sha256
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from lotte.terminal import say
from retrievers import index_folder
from retrievers.colbert import building, codec, search
from retrievers.colbert import index as indexes
from retrievers.colbert.codec import Bytes, CodecConfig, Floats
from retrievers.colbert.search import ALGORITHMS, Found, SearchConfig
from retrievers.index_folder import ASKING
from retrievers.retriever import Answer, Card

if TYPE_CHECKING:
    from retrievers.colbert.encoder import Encoder
    from retrievers.colbert.kernels.gpu_search import GpuIndex

SHIPPED = "shipped"  # the name of the checkpoint that is part of the package
WEIGHTS = Path(__file__).parent.parent / "weights"
QUERIES_AT_ONCE = 256  # encoded and asked together
LOOKS = ("probe", "candidates", "refined", "full")  # how much each stage of a search keeps
FEW = 500  # documents that are indexed sooner than one can read how long it will take
RECALL_SAMPLE = 20  # queries that are asked again with an exact search, to say what the pruning costs


def threads_here() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class LateInteraction:
    """The options of every late-interaction system; 0 and "" are rules in words, beside them."""

    checkpoint: str  # a folder, a name on the Hugging Face hub, or "shipped"
    revision: str = ""  # of the hub; "": the newest
    trust: bool = False  # whether the weights may be a pickle
    query_maxlen: int = field(default=0, metadata=ASKING)  # tokens; 0: what the dataset says, or else the checkpoint
    doc_maxlen: int = 300  # tokens; 0: what the checkpoint says
    bits: int = 2
    centroids: int = 0  # 0: by the paper's rule
    iterations: int = 4
    seed: int = 0
    search: str = field(default="paper", metadata=ASKING)  # paper, pruned
    probe: int = field(default=0, metadata=ASKING)
    candidates: int = field(default=0, metadata=ASKING)
    refined: int = field(default=0, metadata=ASKING)
    full: int = field(default=0, metadata=ASKING)
    exact: bool = field(default=False, metadata=ASKING)  # score every document
    device: str = field(default="auto", metadata=ASKING)
    precision: str = field(default="auto", metadata=ASKING)
    threads: int = field(default=0, metadata=ASKING)  # 0: all there are

    def __post_init__(self) -> None:
        if self.search not in ALGORITHMS:
            raise ValueError(f"search is one of {', '.join(ALGORITHMS)}, not {self.search!r}")
        if self.bits not in codec.BITS:
            raise ValueError(f"bits are 1, 2 or 4, not {self.bits}")
        for name in ("query_maxlen", "doc_maxlen", "centroids", *LOOKS, "threads", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more, not {getattr(self, name)}")
        if self.iterations < 1:
            raise ValueError(f"iterations are 1 or more, not {self.iterations}")

    @property
    def encoder(self) -> "Encoder":
        return _encoder(
            self.checkpoint, self.revision, self.trust, self.device, self.precision, self.query_maxlen, self.doc_maxlen
        )

    @property
    def model(self) -> dict[str, Any]:
        """Return what a result says of the model."""
        facts = self.encoder.facts()
        return facts | {"id": SHIPPED} if self.checkpoint == SHIPPED else facts

    @property
    def num_threads(self) -> int:
        return self.threads or threads_here()

    @property
    def gpu(self) -> str | None:
        """Return the GPU that compresses and searches, if one is named: "auto" has GPUs encode, and no more."""
        return self.device if self.device.startswith("cuda") else None

    @property
    def codec_config(self) -> CodecConfig:
        return CodecConfig(bits=self.bits, centroids=self.centroids, iterations=self.iterations, seed=self.seed)

    @property
    def search_config(self) -> SearchConfig:
        algorithm = "exact" if self.exact else self.search
        return SearchConfig(algorithm=algorithm, **{name: getattr(self, name) for name in LOOKS})

    def fitted(self, facts: Mapping[str, str]) -> "LateInteraction":
        """Return the recipe with the length of a query that the paper took for a dataset, if it took another there."""
        return self if self.query_maxlen else replace(self, query_maxlen=int(facts.get("query_tokens", "0")))

    @property
    def card(self) -> Card:
        from retrievers.training.overlap import Seen

        folder = self.encoder.checkpoint.folder
        seen = Seen.read(folder)
        return Card(
            family="late-interaction",
            model=self.model,
            index={"type": "centroids and residuals", "bits": self.bits, "seed": self.seed},
            search=asdict(self.search_config) | {"exact": self.search_config.algorithm == "exact"},
            training_data=(seen.names() or None) if seen else None,
            checkpoint=folder,
        )

    def index(self, corpus: Corpus, path: Path) -> "LateIndex":
        encoder = self._ready()
        codec.packed_width(encoder.dim, self.bits)
        if len(corpus) > FEW:
            _announce(self, corpus, path)
        with index_folder.making_on(path, self, corpus) as (folder, meta):
            source, config = building.Encoding(encoder, corpus), self.codec_config
            counts = building.build(folder, source, config, threads=self.num_threads, say=say, gpu=self.gpu)
            meta["counts"], origin = counts, getattr(corpus, "path", None)
            meta["segments"] = [{
                "number": 0, "documents": len(corpus), "tokens": counts["tokens"], "distance": counts["distance"],
                "doc_ids": index_folder.DOC_IDS, "paths": [str(origin.resolve())] if origin else [],
            }]  # fmt: skip
            meta |= {"model": self.model, "files": indexes.hashes(folder, meta)}
        return self.open(path)

    def adopts(self, folder: Path) -> bool:
        """Return whether a folder is an index that another program made, and we can read."""
        from retrievers.colbert import foreign

        return foreign.is_foreign(folder) is not None

    def adopt(self, folder: Path, path: Path) -> "LateIndex":
        """Make an index of one that another program made. A document's id is its place there."""
        from retrievers.colbert import foreign

        meta: dict[str, Any] = {}
        start = perf_counter()
        with artifact.folder(path, meta) as made:
            counts = foreign.convert(folder, made)
            recipe = replace(self, bits=counts["bits"])
            part = {"number": 0, "documents": counts["documents"], "tokens": counts["tokens"],
                    "distance": counts["distance"], "doc_ids": index_folder.DOC_IDS, "paths": []}  # fmt: skip
            corpus = {"sha256": None, "path": None, "documents": counts["documents"]}  # nobody knows which it was
            meta |= {"format": index_folder.FORMAT, "recipe": index_folder.recipe_of(recipe), "corpus": corpus,
                     "counts": counts, "segments": [part], "seconds": round(perf_counter() - start, 3),
                     "bytes": sum(file.stat().st_size for file in made.iterdir())}  # fmt: skip
            meta["files"] = indexes.hashes(made, meta)
        return recipe.open(path)

    def open(self, path: Path) -> "LateIndex":
        while True:
            meta = artifact.meta(path)
            try:
                found = index_folder.opened(path, self)
                return LateIndex(self, found, indexes.open_index(path, dict(found.meta)))
            except CorruptFileError:
                if artifact.meta(path) == meta:  # else a writer has put other files in their place meanwhile
                    raise

    def _ready(self) -> "Encoder":
        """Return the encoder. Raises UnavailableError before minutes of encoding if a GPU cannot be used."""
        if self.gpu:
            from retrievers.colbert.kernels import gpu

            gpu.device()
        return self.encoder

    def add(self, path: Path, corpus: Corpus) -> None:
        """Put further documents into an index; the ids are the user's own."""
        with index_folder.alone(path):
            found = index_folder.opened(path, self)
            self._check_model(found.meta)
            kept = indexes.open_index(path, dict(found.meta)).kept
            there = {doc_id for row, doc_id in enumerate(found.doc_ids) if kept is None or kept[row]}
            if twice := next((doc_id for doc_id in corpus.doc_ids if doc_id in there), None):
                raise MismatchError(f"document {twice!r} is in {path} already; --delete it first, or give another id")
            source = getattr(corpus, "path", None)
            meta = indexes.add(
                path, dict(found.meta), building.Encoding(self._ready(), corpus), corpus.doc_ids,
                str(source.resolve()) if source else None, threads=self.num_threads, gpu=self.gpu,
            )  # fmt: skip
            meta["corpus"] = {**meta["corpus"], "sha256": _changed(meta, "add", corpus_sha256(corpus))}
            if (drift := indexes.drift(meta)) > indexes.DRIFT:
                say(
                    f"the added documents are {drift - 1:.0%} farther from their centroids than the first ones: "
                    "answers lose quality; build the index again from all of them when it can be done"
                )
            self._commit(path, meta, [*found.doc_ids, *corpus.doc_ids])

    def delete(self, path: Path, doc_ids: Sequence[str]) -> None:
        """Take documents out of an index. Raises MismatchError for one that is not in it."""
        with index_folder.alone(path):
            found = index_folder.opened(path, self)
            kept = indexes.open_index(path, dict(found.meta)).kept
            rows = {doc_id: row for row, doc_id in enumerate(found.doc_ids) if kept is None or kept[row]}
            if absent := next((doc_id for doc_id in doc_ids if doc_id not in rows), None):
                raise MismatchError(f"document {absent!r} is not in {path}; nothing was deleted")
            meta = indexes.delete(path, dict(found.meta), [rows[doc_id] for doc_id in doc_ids])
            meta["corpus"] = {**meta["corpus"], "sha256": _changed(meta, "delete", sorted(doc_ids))}
            self._commit(path, meta, found.doc_ids)

    def damaged(self, path: Path) -> Iterator[str]:
        """Read all of an index; yield a line for everything that is not as it was written."""
        yield from indexes.damaged(path, dict(index_folder.read(path).meta))

    def _commit(self, path: Path, meta: dict[str, Any], doc_ids: Sequence[str]) -> None:
        if indexes.wants_compaction(meta):
            say("rewriting what is left of the index, without the deleted documents")
            meta = indexes.compact(path, meta, doc_ids)
        meta["counts"] = {**meta["counts"], "tokens": sum(part["tokens"] for part in meta["segments"])}
        meta["files"] = indexes.hashes(path, meta)
        indexes.commit(path, meta)

    def _check_model(self, meta: Mapping[str, Any]) -> None:
        ours, theirs = self.model, meta.get("model", {})
        if theirs.get("sha256") not in (None, ours["sha256"]):
            raise MismatchError(
                f"the index was made with weights {str(theirs['sha256'])[:8]}, and {self.checkpoint} has "
                f"{str(ours['sha256'])[:8]} now; build the index again, or name the revision it was made with"
            )


def _changed(meta: Mapping[str, Any], what: str, which: Any) -> str:
    """Return a name for a corpus that was changed: of what it was, and of the change."""
    return artifact.digest([meta["corpus"]["sha256"], what, which])


@cache
def _encoder(
    checkpoint: str, revision: str, trust: bool, device: str, precision: str, query_maxlen: int, doc_maxlen: int
) -> "Encoder":
    from retrievers.colbert.encoder import Encoder

    return Encoder.load(
        WEIGHTS if checkpoint == SHIPPED else checkpoint, revision=revision or None, trust=trust, device=device,
        precision=precision, query_maxlen=query_maxlen or None, doc_maxlen=doc_maxlen or None,
    )  # fmt: skip


def _announce(recipe: LateInteraction, corpus: Corpus, path: Path) -> None:
    """Say how much disk, memory and time an index will take, by encoding a few documents.

    Raises  UnavailableError if the disk has not that much left
    """
    some = range(0, len(corpus), max(1, len(corpus) // 64))
    texts = [corpus[row].text for row in some]
    recipe.encoder.docs(texts[:4])  # the first batch pays for what is set up once
    start = perf_counter()
    lengths = np.diff(recipe.encoder.docs(texts).starts) if texts else np.zeros(1)
    seconds = (perf_counter() - start) / max(1, len(texts))
    plan = building.plan(len(corpus), float(lengths.mean()), recipe.encoder.dim, recipe.codec_config)
    total = seconds * len(corpus)  # and next to nothing for what a GPU multiplies
    if not recipe.gpu:
        total += plan.products / building.assignment_rate(recipe.encoder.dim) / recipe.num_threads
    from lotte.progress import clock

    say(
        f"{len(corpus):,} documents of about {lengths.mean():.0f} tokens, {plan.centroids:,} centroids: about "
        f"{plan.disk / 1e6:,.0f} MB on disk ({plan.scratch / 1e6:,.0f} MB more while it is built), "
        f"{plan.memory / 1e6:,.0f} MB of memory beside the model, {clock(total)}"
    )
    parent = next(folder for folder in (path.resolve().parent, *path.resolve().parents) if folder.exists())
    if (free := shutil.disk_usage(parent).free) < plan.disk + plan.scratch:
        raise UnavailableError(
            f"{parent} has {free / 1e6:,.0f} MB left, and the index takes {(plan.disk + plan.scratch) / 1e6:,.0f} MB "
            "while it is built; make room, or choose another folder"
        )


class LateIndex:
    """An index with the recipe that asks it."""

    def __init__(self, recipe: LateInteraction, found: index_folder.IndexFolder, arrays: indexes.ColbertIndex) -> None:
        self._recipe, self._found, self.arrays = recipe, found, arrays
        self._doc_ids = found.doc_ids

    def search(self, queries: Queries, *, k: int, among: Sequence[str] | None = None) -> Run:
        """Answer every query with at most k hits.

        among  doc_ids; if given, only these can be found
        """
        return self._search(queries, k, self._recipe.search_config, among)

    def _search(self, queries: Queries, k: int, config: SearchConfig, among: Sequence[str] | None) -> Run:
        assert self._checked
        allowed = None
        if among is not None:
            allowed = np.zeros(self.arrays.num_documents, np.uint8)
            allowed[[self._rows[doc_id] for doc_id in among if doc_id in self._rows]] = 1
        hits: dict[str, Mapping[str, float]] = {}
        query_ids = list(queries)
        for first in range(0, len(query_ids), QUERIES_AT_ONCE):
            some = query_ids[first : first + QUERIES_AT_ONCE]
            vectors = list(self._recipe.encoder.queries([queries[query_id] for query_id in some]))
            found = self._found_by(vectors, k, config, allowed)
            for query_id, (rows, scores) in zip(some, found, strict=True):
                hits[query_id] = {
                    self._doc_ids[row]: score for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
                }
        return Run.of(hits, depth=k)

    def _found_by(self, vectors: list[Floats], k: int, config: SearchConfig, allowed: Bytes | None) -> list[Found]:
        """Search where the recipe says: on a GPU if it names one."""
        if not self._recipe.gpu:
            threads = self._recipe.num_threads
            return search.search(self.arrays, vectors, k=k, config=config, threads=threads, allowed=allowed)
        from retrievers.colbert.kernels import gpu_search

        return gpu_search.search(self._on_gpu, vectors, k=k, config=config, allowed=allowed)

    @cached_property
    def _on_gpu(self) -> "GpuIndex":
        from retrievers.colbert.kernels.gpu_search import GpuIndex

        return GpuIndex.of(self.arrays, self._recipe.gpu)

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return the settings in force, and the recall they have against an exact search on a few of the queries."""
        config = self._recipe.search_config
        settled = config.settled(k, self.arrays.num_documents)
        if self._recipe.gpu and settled.algorithm == "pruned":  # there all that are refined are scored in full
            settled = replace(settled, full=settled.refined)
        facts: dict[str, Any] = asdict(settled) | {"exact": settled.algorithm == "exact"}
        some = dict(list(queries.items())[:: max(1, len(queries) // RECALL_SAMPLE)][:RECALL_SAMPLE])
        if settled.algorithm == "exact" or not some:
            return facts
        depth = min(k, 100)
        ours = self._search(some, k, config, None)
        truth = self._search(some, depth, SearchConfig(algorithm="exact"), None)
        shares = [
            len(set(ours.doc_ids(query_id)[:depth]) & set(truth.doc_ids(query_id)))
            / max(1, len(truth.doc_ids(query_id)))
            for query_id in some
        ]
        return facts | {"recall_against_exact": {"depth": depth, "queries": len(some), "value": float(np.mean(shares))}}

    def explain(self, question: str, doc_id: str, text: str) -> list[Answer]:
        """Return, for every token of the query, the document token that answered it best.

        Raises  MismatchError if the text is not the one that was indexed
        """
        encoder = self._recipe.encoder
        base, segment = self._segment(self._rows[doc_id])
        tokens = slice(segment.starts[self._rows[doc_id] - base], segment.starts[self._rows[doc_id] - base + 1])
        doc_tokens = encoder.tokens_of_doc(text)
        if len(doc_tokens) != tokens.stop - tokens.start:
            raise MismatchError(f"document {doc_id!r} is not the text that was indexed; it cannot be explained")
        from retrievers.colbert.kernels import cpu

        vectors = cpu.decode(self.arrays.codec, segment.cells[tokens], segment.residuals[tokens])
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
        kept = self.arrays.kept
        return {doc_id: row for row, doc_id in enumerate(self._doc_ids) if kept is None or kept[row]}

    @cached_property
    def _checked(self) -> bool:
        """Look, once, whether the model is the one that the index was made with."""
        self._recipe._check_model(self._found.meta)
        if self._recipe.encoder.dim != self.arrays.codec.dim:
            raise MismatchError(
                f"{self._recipe.checkpoint} makes vectors of {self._recipe.encoder.dim} numbers, and the index has "
                f"{self.arrays.codec.dim}; build the index again"
            )
        return True
