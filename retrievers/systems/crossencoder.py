"""A cross-encoder that re-ranks another system's results: it reads query and passage together.

    lotte eval --retriever crossencoder -o checkpoint=runs/teacher/checkpoint -o first=bm25 -o depth=100
    lotte eval --retriever crossencoder -o checkpoint=cross-encoder/ms-marco-MiniLM-L6-v2 -o first=runs/bm25.trec

Any Hugging Face model for sequence classification with one output, or one that `lotte train crossencoder` made. Reading
all that a first stage found takes long: `scores=FILE` keeps every score as it is made, and none that is there is made
again, whatever stopped the run. What stands below `depth` keeps its order, under all that was read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotte import Corpus, Queries, extras
from lotte.errors import MismatchError, shown
from retrievers import index_folder, pipeline
from retrievers.options import NAME, SEARCH_TIME, SPOKEN
from retrievers.pipeline import STAGES, Stage, TimedIndex
from retrievers.reranking import RerankingIndex
from retrievers.retriever import Card
from retrievers.score_file import ScoreFile
from retrievers.texts import CandidatePairs, write_texts

if TYPE_CHECKING:
    from retrievers.training.teacher import CrossEncoder

PUBLISHED: dict[str, float] = {"msmarco/dev": 0.365}  # BERT-large over BM25, Nogueira and Cho 2019, table 1
LONGEST = 512  # tokens of query and passage together, where the checkpoint has as many positions


@dataclass(frozen=True)
class CrossEncoderRetriever:
    checkpoint: str = field(metadata=SEARCH_TIME)  # a folder, or a name on the Hugging Face hub
    first: str = field(default="bm25", metadata={**SEARCH_TIME, **STAGES})  # a system, or a ranking file
    depth: int = field(default=1000, metadata=SEARCH_TIME)  # of the first ranking that is read
    maxlen: int = field(default=0, metadata=SEARCH_TIME)  # tokens; 0: 512, or as many as the checkpoint has positions
    precision: str = field(default="fp32", metadata=SEARCH_TIME)  # fp32, bf16
    device: str = field(default="auto", metadata=SEARCH_TIME)
    scores: str = field(default="", metadata=SPOKEN)  # a file that keeps them; "": nowhere
    name: str = field(default="crossencoder", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        pipeline.require_one(self.first)
        if self.depth < 1 or self.maxlen < 0:
            raise ValueError(f"depth must be 1 or more and maxlen 0 or more, not {self.depth} and {self.maxlen}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be fp32 or bf16, not {shown(self.precision)}")

    @property
    def stage(self) -> Stage:
        """Return the system whose ranking is read."""
        return pipeline.stage(self.first, "first")

    @property
    def model(self) -> "CrossEncoder":
        """Return the model. Raises as `CrossEncoder.load` does."""
        return _model(self.checkpoint, self.maxlen, self.precision, self.device)

    @property
    def card(self) -> Card:
        from retrievers.colbert.model import checkpoint
        from retrievers.contamination.check import Seen

        found = checkpoint.find(self.checkpoint)
        seen = Seen.read(found.folder)
        own = Card(
            family="cross-encoder",
            model={"id": found.name, "revision": found.revision, "sha256": found.sha256},
            training_data=(seen.names() or None) if seen else None,
            checkpoint=found.folder,
        )
        return pipeline.joint_card("cross-encoder", [own, self.stage.card], model=own.model)

    def fitted(self, facts: Mapping[str, str]) -> "CrossEncoderRetriever":
        """Return the system with its first stage as a dataset wants it."""
        return replace(self, first=self.stage.fitted(facts).spelled())

    def index(self, corpus: Corpus, path: Path) -> "CrossEncoderIndex":
        extras.package("transformers", "reading pairs")  # before hours of the first stage
        _ = self.model
        pipeline.write_parts(path, self, corpus, [self.stage], write_texts)
        return self.open(path)

    def open(self, path: Path) -> "CrossEncoderIndex":
        folder = index_folder.open_checked(path, self)
        return CrossEncoderIndex(self, folder, TimedIndex(self.stage, self.stage.open(folder)))


class CrossEncoderIndex(RerankingIndex):
    """The index of a first stage, and the texts that a cross-encoder reads."""

    def __init__(self, recipe: CrossEncoderRetriever, folder: index_folder.IndexFolder, first: TimedIndex) -> None:
        super().__init__(folder, first, recipe.depth, "cross-encoder")
        self._recipe = recipe

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        return {**super().search_facts(queries, k=k), "maxlen": self._recipe.model.maxlen}

    def scored(
        self, queries: Queries, candidates: Mapping[str, Sequence[str]]
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield the scores of each query's candidates, those first that are in the file of scores."""
        from retrievers.training.teacher import scored

        kept = self._scores
        left = {}
        for query_id, doc_ids in candidates.items():
            known = kept.of(queries[query_id])
            if missing := [doc_id for doc_id in doc_ids if doc_id not in known]:
                left[query_id] = missing
            else:
                yield query_id, {doc_id: known[doc_id] for doc_id in doc_ids}
        for query_id, made in scored(self._recipe.model, CandidatePairs(queries, self.texts), left) if left else ():
            known = kept.add(queries[query_id], made)
            yield query_id, {doc_id: known[doc_id] for doc_id in candidates[query_id]}

    @cached_property
    def _scores(self) -> ScoreFile:
        recipe = self._recipe
        of = {
            "model": str((recipe.card.model or {})["sha256"]),
            "maxlen": recipe.model.maxlen,
            "precision": recipe.precision,
            "corpus": self._folder.meta["corpus"]["sha256"],
        }
        return ScoreFile(Path(recipe.scores) if recipe.scores else None, of)


@cache
def _model(checkpoint: str, maxlen: int, precision: str, device: str) -> "CrossEncoder":
    """Return a cross-encoder, loaded once a process. Raises as `CrossEncoder.load` does, and MismatchError for a GPU
    that is not there."""
    extras.package("transformers", "reading pairs")
    import torch

    from retrievers.colbert.model import checkpoint as checkpoints
    from retrievers.training.teacher import CrossEncoder

    if not maxlen:
        maxlen = min(LONGEST, checkpoints.find(checkpoint).positions)
    model = CrossEncoder.load(checkpoint, maxlen=maxlen, precision=precision)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device.startswith("cuda") and not torch.cuda.is_available():
        raise MismatchError(f"device={device}: torch finds no usable GPU on this machine")
    return model.to(device)


retriever = CrossEncoderRetriever
