"""TCT-ColBERT: one vector per passage, distilled from a ColBERT teacher; the search is exhaustive.

    lotte eval --retriever tct_colbert -o trust=true                       # castorini/tct_colbert-msmarco of the hub
    lotte eval --retriever tct_colbert -o checkpoint=runs/tct/checkpoint   # one that `lotte train tct_colbert` made
    lotte eval --retriever hybrid -o of=bm25+tct_colbert -o method=scores -o weights=0.1,1

The search is exact, as the paper's IndexFlatIP of FAISS is; ties have the order of a run. Lengths are the paper's: 36
tokens of a query and 154 of a passage, including the four tokens before each text. The published weights are a pickle,
which is opened with `trust=true` only. With a sparse system it makes the paper's hybrids (its equation 7): alpha 0.10
for bm25, 0.24 for doc2query-T5.
"""

from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lotte import Corpus, Queries, Run
from lotte.errors import MismatchError, UnavailableError
from lotte.processors import num_processors
from retrievers import index_folder
from retrievers.colbert.index.meta import require_model
from retrievers.colbert.model.config import read_json
from retrievers.contamination.check import TRAINING, Seen
from retrievers.dense import vectors
from retrievers.dense.model import MODEL, keep_if_same
from retrievers.dense.search import ExactSearch, Found
from retrievers.options import NAME, SEARCH_TIME, SPOKEN
from retrievers.retriever import Card
from retrievers.topk import FoundHits, places

if TYPE_CHECKING:
    from retrievers.colbert.model.tct import TctEncoder

# Lin et al. 2020, arXiv:2010.11386, table 1, Bi-encoder (TCT-ColBERT): MRR@10, and nDCG@10 on DL 19
PUBLISHED: dict[str, float] = {"msmarco/dev": 0.335, "trecdl/2019": 0.670}

CHECKPOINT = "castorini/tct_colbert-msmarco"
QUERIES_AT_ONCE = 64  # queries encoded and searched together


@dataclass(frozen=True)
class TctColBERT:
    checkpoint: str = CHECKPOINT  # a folder, or a name on the Hugging Face hub
    revision: str = ""  # of the hub; "": the newest
    trust: bool = field(default=False, metadata=SPOKEN)  # whether the weights may be a pickle
    query_maxlen: int = field(default=36, metadata=SEARCH_TIME)  # tokens
    doc_maxlen: int = 154  # tokens
    device: str = field(default="auto", metadata=SEARCH_TIME)
    precision: str = field(default="auto", metadata=SEARCH_TIME)
    threads: int = field(default=0, metadata=SEARCH_TIME)  # 0: all there are
    name: str = field(default="tct_colbert", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        for name in ("query_maxlen", "doc_maxlen"):
            if getattr(self, name) <= 4:
                raise ValueError(f"{name} must be 5 or more (4 tokens precede each text), not {getattr(self, name)}")
        if self.threads < 0:
            raise ValueError(f"threads must be 0 or more, not {self.threads}")

    @property
    def encoder(self) -> "TctEncoder":
        """The encoder, loaded once for all recipes that ask for the same one."""
        lengths = self.query_maxlen, self.doc_maxlen
        return _encoder(self.checkpoint, self.revision, self.trust, self.device, self.precision, lengths)

    @property
    def card(self) -> Card:
        found = self.encoder.checkpoint
        seen = Seen.read(found.folder)
        published = ["MS MARCO"] if self.checkpoint == CHECKPOINT else None
        taught = _taught(found.folder) or ("batch" if self.checkpoint == CHECKPOINT else "unknown")
        return Card(
            family="dense",
            model=self.encoder.facts(),
            index={"type": "flat", "dim": self.encoder.dim, "distil": taught},
            search={"exact": True},
            training_data=(seen.names() or None) if seen else published,
            checkpoint=found.folder,
        )

    def index(self, corpus: Corpus, path: Path) -> "PassageIndex":
        encoder = self.encoder
        with index_folder.resume_index(path, self, corpus) as (folder, meta):
            if not meta:
                keep_if_same(folder, encoder.facts(), vectors.VECTORS)
                longest = vectors.write(folder, corpus, _encode(encoder), "float32", "encoding")
                (folder / MODEL).unlink()
                meta |= {"counts": {"documents": len(corpus), "dim": encoder.dim}, "model": encoder.facts()}
                meta |= {"vectors": {"longest": longest}}
        return self.open(path)

    def open(self, path: Path) -> "PassageIndex":
        return PassageIndex(self, index_folder.open_checked(path, self))


class PassageIndex:
    """The vectors of a collection, and the recipe that asks them."""

    def __init__(self, recipe: TctColBERT, folder: index_folder.IndexFolder) -> None:
        self._recipe, self._folder = recipe, folder
        self._vectors = vectors.opened(folder.path, len(folder.doc_ids))
        longest = vectors.longest(folder)
        self._exact = ExactSearch(
            self._vectors, places(folder.doc_ids), longest, threads=recipe.threads or num_processors()
        )

    def search(self, queries: Queries, *, k: int) -> Run:
        """Answer every query with at most k hits."""
        ids = list(queries)
        found: dict[str, Found] = {}
        for first in range(0, len(ids), QUERIES_AT_ONCE):
            some = ids[first : first + QUERIES_AT_ONCE]
            query_QH = self._encoder.queries([queries[query_id] for query_id in some])
            with index_folder.using(self._folder.path):
                found |= dict(zip(some, self._exact.found(query_QH, k), strict=True))
        return Run(FoundHits(found, self._folder.doc_ids))

    @cached_property
    def _encoder(self) -> "TctEncoder":
        """Return the recipe's encoder. Raises MismatchError if it is not the one that the index was made with."""
        encoder, dim = self._recipe.encoder, self._vectors.shape[1]
        require_model(self._folder.meta.get("model"), encoder.facts(), self._recipe.checkpoint)
        if encoder.dim != dim:
            raise MismatchError(
                f"{self._recipe.checkpoint} makes vectors of {encoder.dim} numbers, and the index has {dim}; build the "
                "index again"
            )
        return encoder


def _encode(encoder: "TctEncoder") -> vectors.Encode:
    return lambda texts: encoder.docs(texts).vectors


def _taught(folder: Path) -> str:
    """Return which condition of the paper's table 3 a checkpoint was trained in; "" if nobody says."""
    path = folder / TRAINING
    settings = read_json(path).get("settings") if path.exists() else None
    said = settings.get("distil") if isinstance(settings, dict) else None
    return said if isinstance(said, str) else ""


@cache
def _encoder(
    checkpoint: str, revision: str, trust: bool, device: str, precision: str, lengths: tuple[int, int]
) -> "TctEncoder":
    from retrievers.colbert.model.tct import TctEncoder

    try:
        return TctEncoder.load(
            checkpoint, revision=revision or None, trust=trust, device=device, precision=precision,
            query_maxlen=lengths[0], doc_maxlen=lengths[1],
        )  # fmt: skip
    except UnavailableError as error:
        if checkpoint != CHECKPOINT:
            raise
        raise UnavailableError(f"{error}; `lotte train tct_colbert` makes another") from None


retriever = TctColBERT
