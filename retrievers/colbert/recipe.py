"""A recipe of late interaction as the rest of the house knows one: a corpus makes an index, an index answers queries.

What is settled here: which options make an index and which only ask it, how
many threads work, and what a result says of both.
"""

import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lotte import Corpus, artifact
from lotte.dataset import corpus_sha256
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, shown
from lotte.processors import num_processors
from lotte.terminal import say
from retrievers import index_folder, index_meta
from retrievers.colbert import building, codec
from retrievers.colbert import index as indexes
from retrievers.colbert.codec import CodecConfig
from retrievers.colbert.late_index import LateIndex
from retrievers.colbert.search import ALGORITHMS, SearchConfig
from retrievers.index_folder import ASKING, SPOKEN
from retrievers.retriever import Card

if TYPE_CHECKING:
    from retrievers.colbert.encoder import Encoder

SHIPPED = "shipped"  # the name of the checkpoint that is part of the package
WEIGHTS = Path(__file__).parent.parent / "weights"
LOOKS = ("probe", "candidates", "refined", "full")  # how much each stage of a search keeps
FEW = 500  # documents that are indexed sooner than one can read how long it will take


@dataclass(frozen=True)
class LateInteraction:
    """The options of every late-interaction system; 0 and "" are rules in words, beside them."""

    checkpoint: str  # a folder, a name on the Hugging Face hub, or "shipped"
    revision: str = ""  # of the hub; "": the newest
    trust: bool = field(default=False, metadata=SPOKEN)  # whether the weights may be a pickle
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
        return self.threads or num_processors()

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
        from retrievers.contamination.check import Seen

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
            if not meta:  # else all was done when a build was stopped, but for moving the folder
                source, config = building.Encoding(encoder, corpus), self.codec_config
                counts = building.build(folder, source, config, threads=self.num_threads, say=say, gpu=self.gpu)
                origin = getattr(corpus, "path", None)
                part = _part(counts, paths=[str(origin.resolve())] if origin else [])
                meta |= {"counts": counts, "segments": [part], "model": self.model}
        return self.open(path)

    def adopts(self, folder: Path) -> bool:
        """Return whether a folder is an index that another program made, and we can read."""
        from retrievers.colbert import foreign

        return foreign.is_foreign(folder) is not None

    def adopt(self, folder: Path, path: Path) -> "LateIndex":
        """Make an index of one that another program made. A document's id is its place there."""
        from retrievers.colbert import foreign

        start = perf_counter()
        with index_folder.placing(path, "") as (made, meta):
            counts = foreign.convert(folder, made)
            recipe = replace(self, bits=counts["bits"])
            corpus = {"sha256": None, "path": None, "documents": counts["documents"]}  # nobody knows which it was
            meta |= {"format": index_folder.FORMAT, "recipe": index_folder.recipe_of(recipe), "corpus": corpus,
                     "counts": counts, "segments": [_part(counts, paths=[])], "sources": [],
                     "seconds": round(perf_counter() - start, 3), "bytes": index_folder.size_of(made)}  # fmt: skip
        return recipe.open(path)

    def open(self, path: Path) -> "LateIndex":
        while True:
            found = index_folder.described(path)
            try:
                return self.open_described(found)
            except CorruptFileError:
                if index_meta.read(path) == found.meta:  # else a writer has put other files in their place meanwhile
                    raise

    def open_described(self, found: index_folder.IndexFolder) -> "LateIndex":
        whole = index_folder.opened(found, self)
        return LateIndex(self, whole, indexes.open_index(whole.path, dict(whole.meta)))

    def _ready(self) -> "Encoder":
        """Return the encoder. Raises UnavailableError before minutes of encoding if a GPU cannot be used."""
        if self.gpu:
            from retrievers.colbert.kernels import gpu

            gpu.device()
        return self.encoder

    def add(self, path: Path, corpus: Corpus) -> None:
        """Put further documents into an index; the ids are the user's own."""
        self.change(path, delete=(), add=corpus)

    def delete(self, path: Path, doc_ids: Sequence[str]) -> None:
        """Take documents out of an index. Raises MismatchError for one that is not in it."""
        self.change(path, delete=doc_ids, add=None)

    def change(self, path: Path, *, delete: Sequence[str], add: Corpus | None) -> None:
        """Do both, or neither: the new meta.json is what counts, and it is written last."""
        added = "" if add is None else corpus_sha256(add)
        with index_folder.alone(path):
            found = index_folder.opened(path, self)
            before, doc_ids = dict(found.meta), list(found.doc_ids)
            asked = artifact.digest([sorted(delete), added])
            if delete and added and before.get("changed") == asked:
                say(f"{path} was changed in this way already; nothing is done")  # a command that was stopped at its end
                return
            kept = indexes.open_index(path, before).kept
            rows = {doc_id: row for row, doc_id in enumerate(doc_ids) if kept is None or kept[row]}
            if absent := [doc_id for doc_id in delete if doc_id not in rows]:
                raise MismatchError(f"document {shown(absent[0])} is not in {path}; nothing was deleted")
            meta = before
            if delete:
                meta = indexes.delete(path, meta, [rows.pop(doc_id) for doc_id in dict.fromkeys(delete)])
                meta["corpus"] = {**meta["corpus"], "sha256": _changed(meta, "delete", sorted(delete))}
            if add is not None:
                meta = self._with(path, meta, add, rows)
                meta["corpus"] = {**meta["corpus"], "sha256": _changed(meta, "add", added)}
                meta["sources"] = [*index_folder.sources(before), *index_folder.source_of(add, added)]
                doc_ids += add.doc_ids
            self._commit(path, before, meta | {"changed": asked}, doc_ids)

    def _with(self, path: Path, meta: dict[str, Any], add: Corpus, there: Container[str]) -> dict[str, Any]:
        """Write documents as a segment; return the meta that counts it in."""
        self.check_model(meta)
        if twice := next((doc_id for doc_id in index_folder.check_ids(add) if doc_id in there), None):
            raise MismatchError(f"document {twice!r} is in {path} already; --delete it first, or give another id")
        source = getattr(add, "path", None)
        meta = indexes.add(
            path, meta, building.Encoding(self._ready(), add), add.doc_ids,
            str(source.resolve()) if source else None, threads=self.num_threads, gpu=self.gpu,
        )  # fmt: skip
        if (drift := indexes.drift(meta)) > indexes.DRIFT:
            say(
                f"the added documents are {drift - 1:.0%} farther from their centroids than the first ones: "
                "answers lose quality; build the index again from all of them when it can be done"
            )
        return meta

    def damaged(self, path: Path) -> Iterator[str]:
        """Read all of an index; yield a line for everything that is not as it was written."""
        yield from indexes.damaged(path, index_meta.read(path))

    def _commit(self, path: Path, before: dict[str, Any], meta: dict[str, Any], doc_ids: Sequence[str]) -> None:
        if indexes.wants_compaction(meta):
            say("rewriting what is left of the index, without the deleted documents")
            meta = indexes.compact(path, meta, doc_ids)
        meta["counts"] = {**meta["counts"], "tokens": sum(part["tokens"] for part in meta["segments"])}
        indexes.commit(path, before, meta)

    def check_model(self, meta: Mapping[str, Any]) -> None:
        """Raise MismatchError if an index was made with other weights than the checkpoint has now."""
        ours, theirs = self.model, meta.get("model", {})
        if theirs.get("sha256") not in (None, ours["sha256"]):
            raise MismatchError(
                f"the index was made with weights {str(theirs['sha256'])[:8]}, and {self.checkpoint} has "
                f"{str(ours['sha256'])[:8]} now; build the index again, or name the revision it was made with"
            )


def _part(counts: Mapping[str, Any], paths: list[str]) -> dict[str, Any]:
    """Return what meta.json says of the first segment."""
    same = {name: counts[name] for name in ("documents", "tokens", "distance")}
    return {"number": 0, **same, "doc_ids": index_folder.DOC_IDS, "paths": paths}


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
