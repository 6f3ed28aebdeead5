"""Late interaction as a retriever: it builds an index of a corpus, and the index answers queries.

The decisions here: which options belong to an index and which only to a search,
how many threads work, and what a record states of both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from math import inf
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lotte import Corpus, executor, sent_corpus
from lotte.collection import OwnIds, RowIds
from lotte.dataset import corpus_sha256
from lotte.errors import MismatchError, shown
from lotte.processors import num_processors
from lotte.terminal import say
from retrievers import blocks, index_folder, index_meta, sharded
from retrievers.colbert import sharding
from retrievers.colbert.adoption import Adoption
from retrievers.colbert.index import build, foreign, foreign_ids, update
from retrievers.colbert.index import folder as folders
from retrievers.colbert.index.codec import CodecConfig
from retrievers.colbert.index.kept_vectors import KeptVectors
from retrievers.colbert.index.kmeans import ASSIGNMENTS
from retrievers.colbert.index.meta import Built, Counts, IndexMeta
from retrievers.colbert.index.update import Addition
from retrievers.colbert.kernels import gpu
from retrievers.colbert.kernels.arrays import BITS, Pooling, packed_width
from retrievers.colbert.kernels.pooling import pooled
from retrievers.colbert.late_index import LateIndex
from retrievers.colbert.planned import Measured, announce
from retrievers.colbert.search.config import ALGORITHMS, SearchConfig
from retrievers.index_meta import META
from retrievers.options import KEPT, NAME, SEARCH_TIME, SPOKEN
from retrievers.retriever import Card

if TYPE_CHECKING:
    from retrievers.colbert.model.encoder import Encoder

SHIPPED = "shipped"  # the name of the checkpoint that is part of the package
WEIGHTS = Path(__file__).parent.parent / "weights"
OF_CODEC = ("bits", "centroids", "iterations", "seed", "assignment")  # options that are those of `CodecConfig`
STAGE_SIZES = ("probe", "candidates", "refined", "full")  # how much each stage of a search keeps
SYSTEM = "colbertv2"  # whose options are those of LateInteraction as they stand
FEW = 500  # documents that are indexed sooner than one can read how long it will take


@dataclass(frozen=True)
class LateInteraction:
    """The options of every late-interaction system; 0 and "" are rules in words, beside them."""

    checkpoint: str  # a folder, a name on the Hugging Face hub, or "shipped"
    revision: str = ""  # of the hub; "": the newest
    trust: bool = field(default=False, metadata=SPOKEN)  # whether the weights may be a pickle
    query_maxlen: int = field(default=0, metadata=SEARCH_TIME)  # tokens; 0: what the dataset or the checkpoint says
    doc_maxlen: int = 300  # tokens; 0: what the checkpoint says
    bits: int = 2
    centroids: int = 0  # 0: by the paper's rule
    iterations: int = 4
    seed: int = 0
    assignment: str = "auto"  # of tokens to centroids: auto, exact, two_level
    pool: float = 0.0  # one vector is kept of so many of a document; 0: what the checkpoint says, else 1, which is all
    search: str = field(default="auto", metadata=SEARCH_TIME)  # auto, paper, pruned
    probe: int = field(default=0, metadata=SEARCH_TIME)
    candidates: int = field(default=0, metadata=SEARCH_TIME)
    refined: int = field(default=0, metadata=SEARCH_TIME)
    full: int = field(default=0, metadata=SEARCH_TIME)
    exact: bool = field(default=False, metadata=SEARCH_TIME)  # score every document
    device: str = field(default="auto", metadata=SEARCH_TIME)
    precision: str = field(default="auto", metadata=SEARCH_TIME)
    threads: int = field(default=0, metadata=SEARCH_TIME)  # 0: all there are
    replicas: int = field(default=0, metadata=KEPT)  # processes that hold each shard of an index; 0: this one holds all
    vectors: str = field(default="", metadata=KEPT)  # a folder that keeps documents' vectors for the next index
    name: str = field(default="", kw_only=True, metadata=NAME)  # "": that of the class

    def __post_init__(self) -> None:
        if self.search not in ALGORITHMS:
            raise ValueError(f"search must be one of {', '.join(ALGORITHMS)}, not {shown(self.search)}")
        if self.assignment not in ASSIGNMENTS:
            raise ValueError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, not {shown(self.assignment)}")
        if self.bits not in BITS:
            raise ValueError(f"bits must be 1, 2 or 4, not {self.bits}")
        for name in ("query_maxlen", "doc_maxlen", "centroids", *STAGE_SIZES, "threads", "seed", "replicas"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not (self.pool == 0 or 1 <= self.pool < inf):
            raise ValueError(f"pool must be 1 or more, or 0 for the checkpoint's, not {self.pool}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more, not {self.iterations}")

    @property
    def encoder(self) -> "Encoder":
        """The encoder, loaded once for all recipes that ask for the same one."""
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
        """How many threads build and search: as many as there are processors, if no number was given."""
        return self.threads or num_processors()

    @property
    def gpu(self) -> str | None:
        """Return the GPU that compresses and searches, if one is named: "auto" has GPUs encode, and no more."""
        return self.device if self.device.startswith("cuda") else None

    @property
    def codec_config(self) -> CodecConfig:
        """How the index is compressed."""
        return CodecConfig(**{name: getattr(self, name) for name in OF_CODEC})

    @property
    def pooling(self) -> Pooling:
        """How many tokens of a document become one vector when it is indexed."""
        said = self.encoder.checkpoint.pooling
        return replace(said, factor=self.pool) if self.pool else said

    @property
    def search_config(self) -> SearchConfig:
        """How the index is searched."""
        algorithm = "exact" if self.exact else self.search
        return SearchConfig(algorithm=algorithm, **{name: getattr(self, name) for name in STAGE_SIZES})

    def fitted(self, facts: Mapping[str, str]) -> "LateInteraction":
        """Return the recipe with the length of a query that the paper took for a dataset, if it took another there."""
        return self if self.query_maxlen else replace(self, query_maxlen=int(facts.get("query_tokens", "0")))

    @property
    def card(self) -> Card:
        from retrievers.contamination.check import Seen

        folder = self.encoder.checkpoint.folder
        seen = Seen.read(folder)
        return Card(
            family="late-interaction",
            model=self.model,
            index={
                "type": "centroids and residuals",
                "bits": self.bits,
                "seed": self.seed,
                "pool": self.pooling.factor,
            },
            search=asdict(self.search_config) | {"exact": self.search_config.algorithm == "exact"},
            training_data=(seen.names() or None) if seen else None,
            checkpoint=folder,
        )

    def index(self, corpus: Corpus, path: Path) -> LateIndex:
        encoder = self._ready()
        packed_width(encoder.dim, self.bits)
        if len(corpus) > FEW:
            announce(self.measure(corpus), len(corpus), path)
        with index_folder.resume_index(path, self, corpus) as (folder, meta):
            if not meta:  # else all was done when a build was stopped, but for moving the folder
                origin = getattr(corpus, "path", None)
                made = build.build(
                    folder,
                    self._source(corpus, folder),
                    self.codec_config,
                    threads=self.num_threads,
                    say=say,
                    gpu=self.gpu,
                    paths=[str(origin.resolve())] if origin else [],
                )
                blocks.done(folder)
                meta |= {"counts": made.counts.json(), "segments": [made.segment.json()], "model": self.model}
        return self.open(path)

    def index_sharded(self, corpus: Corpus, path: Path, shards: int) -> LateIndex:
        """Leave an index in parts: see `sharding`."""
        sharded.bounds(len(corpus), shards)
        packed_width(self._ready().dim, self.bits)
        if len(corpus) > FEW:
            announce(self.measure(corpus), len(corpus), path)
        with index_folder.resume_index(path, self, corpus, shards) as (folder, meta):
            if not meta:
                said = {"recipe": index_folder.recipe_of(self), "model": self.model}
                made = sharding.write(
                    folder, self._source(corpus, folder), self.codec_config, corpus.doc_ids, shards, said,
                    threads=self.num_threads, say=say, gpu=self.gpu,
                )  # fmt: skip
                blocks.done(folder)
                meta |= {"counts": made, "model": self.model}
        return self.open(path)

    def open(self, path: Path) -> LateIndex:
        return folders.at_rest(path, lambda: self.open_described(index_folder.described(path)))

    def open_described(self, folder: index_folder.IndexFolder) -> LateIndex:
        whole = index_folder.open_checked(folder, self)
        if sharded.count(whole.meta):
            return sharding.open_parts(self, whole, self.replicas)
        meta = IndexMeta.parse(whole.meta, whole.path / META)
        return LateIndex(self, meta, whole.doc_ids, folders.open_arrays(whole.path, meta))

    def change(self, path: Path, *, delete: Sequence[str], add: Corpus | None) -> None:
        """Take documents out of an index and put others in: see `update.change`."""
        sharded.require_whole(path)
        addition = None if add is None else Addition(add, partial(self._encoding, add), self.num_threads, self.gpu)
        update.change(path, self, delete=delete, add=addition)

    def adopts(self, folder: Path) -> bool:
        """Return whether a folder is an index that another program made, and we can read."""
        return foreign.is_foreign(foreign_ids.index_in(folder)) is not None

    def adopt(self, folder: Path, path: Path, corpus: Corpus | None = None) -> LateIndex:
        """Make an index of one that another program made.

        A document's id is what a map beside the index says; else the collection's, by its place; else its place.

        Raises  MismatchError if the collection is not the one that was indexed
        """

        def recipe(counts: Counts) -> Mapping[str, Any]:
            return index_folder.recipe_of(replace(self, bits=counts.bits))

        adoption = Adoption(foreign_ids.index_in(folder), corpus, say)
        counts = _place(path, adoption.fill, recipe, corpus)
        return replace(self, bits=counts.bits).open(path)

    def damaged(self, path: Path) -> Iterator[str]:
        """Read all of an index; yield a line for everything that is not as it was written."""
        meta = index_meta.read(path)
        if sharded.count(meta):
            yield from sharded.differences(path, meta)
        else:
            yield from folders.verify(path)

    def measure(self, corpus: Corpus) -> Measured:
        """Return how much disk, memory and time an index takes, by encoding a few documents."""
        some = range(0, len(corpus), max(1, len(corpus) // 64))
        texts = [corpus[row].text for row in some]
        start = perf_counter()
        self.encoder.docs(texts[:4])  # the first batch pays for what is set up once
        loaded = perf_counter()
        lengths = np.diff(pooled(self.encoder.docs(texts), self.pooling).starts) if texts else np.zeros(1)
        total = (perf_counter() - loaded) / max(1, len(texts)) * len(corpus)
        plan = build.plan(len(corpus), float(lengths.mean()), self.encoder.dim, self.codec_config)
        if not self.gpu:  # there, next to nothing
            total += plan.products / build.assignment_rate(self.encoder.dim) / self.num_threads
        return Measured(plan, float(lengths.mean()), loaded - start, total)

    def _ready(self) -> "Encoder":
        """Return the encoder. Raises UnavailableError before minutes of encoding if a GPU cannot be used."""
        if self.gpu:
            gpu.device()
        return self.encoder

    def _source(self, corpus: Corpus, folder: Path) -> build.VectorSource:
        """Return what encodes a collection, or has its vectors where they are kept.

        folder  where a corpus is written that other processes could not open
        """
        encoder = self.encoder
        if not self.vectors:
            sent = None
            if executor.current().several:
                alike = replace(self, precision=encoder.precision)  # whatever "auto" would be elsewhere
                sent = partial(_elsewhere, alike, sent_corpus.sent(corpus, blocks.folder_for(folder)))
            return build.Encoding(encoder, corpus, self.pooling, sent)
        of = {"corpus": corpus_sha256(corpus), **encoder.facts_of_docs()}
        plain = build.Encoding(encoder, corpus, Pooling())
        return KeptVectors(Path(self.vectors), plain, of, encoder.numbers, self.pooling)

    def _encoding(self, corpus: Corpus, meta: IndexMeta) -> build.VectorSource:
        meta.check_model(self.model, self.checkpoint)
        return build.Encoding(self._ready(), corpus, self.pooling)


def build_index(
    path: Path | str,
    source: build.VectorSource,
    config: CodecConfig | None = None,
    *,
    doc_ids: Sequence[str] | None = None,
    checkpoint: str = SHIPPED,
    threads: int = 0,
    gpu: str | None = None,
) -> folders.ColbertIndex:
    """Make an index of token vectors that are there already; leave it whole at `path`, or nothing at all.

    source      `Arrays`, or anything else that is a `Source`
    config      bits and centroids; None: the defaults
    doc_ids     the documents' ids, all different; None: the numbers of their rows
    checkpoint  of the model that made the vectors, for `lotte search`: it is not looked for here
    threads     0: all there are
    gpu         what torch calls a GPU that looks for the nearest centroids; None: the threads do

    Raises  ValueError if the ids are not as many as the documents; CorruptFileError for an id that is not a word
            MismatchError if something stands at `path` that is not an index, or an id occurs twice
    """
    config = config or CodecConfig()
    if doc_ids is not None and len(doc_ids) != len(source):
        raise ValueError(f"{len(source):,} documents need as many ids; there are {len(doc_ids):,}")
    ids = index_folder.fit_ids(RowIds(len(source)) if doc_ids is None else doc_ids, "doc_ids")
    recipe = LateInteraction(checkpoint, **{name: getattr(config, name) for name in OF_CODEC})

    def made(folder: Path) -> Built:
        if not isinstance(ids, RowIds):
            index_folder.write_doc_ids(folder / index_folder.DOC_IDS, ids)
        return build.build(folder, source, config, threads=threads or num_processors(), say=say, gpu=gpu)

    _place(Path(path), made, lambda counts: index_folder.recipe_of(recipe) | {"retriever": SYSTEM})
    return folders.open_index(path)


def _elsewhere(recipe: LateInteraction, corpus: sent_corpus.SentCorpus) -> build.Encoding:
    """Return what encodes a collection, in a worker."""
    return build.Encoding(recipe._ready(), corpus.opened(), recipe.pooling)


def _place(
    path: Path,
    make: Callable[[Path], Built],
    recipe: Callable[[Counts], Mapping[str, Any]],
    corpus: Corpus | None = None,
) -> Counts:
    """Leave at `path` an index that was not made of texts here; return its counts.

    make    fills a folder
    recipe  returns name and options of the retriever that is to open it
    corpus  where its texts are, if that is known
    """
    start = perf_counter()
    with index_folder.placing(path, "") as (folder, meta):
        counts, segment = make(folder)
        meta |= IndexMeta(
            recipe=recipe(counts),
            corpus={**_origin(corpus, folder), "documents": counts.documents},
            counts=counts,
            segments=(segment,),
            sources=() if corpus is None else tuple(index_folder.source_of(corpus, corpus_sha256(corpus))),
            seconds=round(perf_counter() - start, 3),
            bytes=index_folder.size_of(folder),
        ).json()
    return counts


def _origin(corpus: Corpus | None, folder: Path) -> dict[str, Any]:
    """Return hash and path of a collection whose documents, in its order, are those of an index; else nothing of it.

    One with ids of its own is known by the index's sources alone.
    """
    if corpus is None:
        return {"sha256": None, "path": None}
    kept = folder / index_folder.DOC_IDS
    doc_ids = kept.read_text(encoding="utf-8").split("\n")[:-1] if kept.is_file() else RowIds(len(corpus))
    path = None if isinstance(corpus, OwnIds) else str(corpus.path.resolve()) if hasattr(corpus, "path") else None
    return {"sha256": corpus_sha256(corpus) if doc_ids == list(corpus.doc_ids) else None, "path": path}


@cache
def _encoder(
    checkpoint: str, revision: str, trust: bool, device: str, precision: str, query_maxlen: int, doc_maxlen: int
) -> "Encoder":
    from retrievers.colbert.model.encoder import Encoder

    made = Encoder.load(
        WEIGHTS if checkpoint == SHIPPED else checkpoint,
        revision=revision or None,
        trust=trust,
        device=device,
        precision=precision,
        query_maxlen=query_maxlen or None,
        doc_maxlen=doc_maxlen or None,
    )
    if (similarity := made.config.similarity) != "cosine":
        raise MismatchError(
            f"{made.checkpoint.name} was trained with similarity {similarity!r}, and {SYSTEM} compares by cosine; "
            "colbert takes both"
        )
    return made
