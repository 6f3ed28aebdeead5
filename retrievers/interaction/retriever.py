"""An interaction model as a retriever: it ranks again what another system found."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lotte import Corpus, Hit, Queries, Run, extras
from lotte.progress import Progress
from lotte.terminal import say
from retrievers import index_folder, pipeline
from retrievers.options import SEARCH_TIME
from retrievers.pipeline import STAGES, Stage, TimedIndex
from retrievers.retriever import Card
from retrievers.texts import CandidatePairs, required, write_texts

if TYPE_CHECKING:
    from retrievers.interaction.model import InteractionModel

Own = TypeVar("Own", bound="InteractionRetriever")


@dataclass(frozen=True)
class InteractionRetriever:
    """What K-NRM, Conv-KNRM and Duet share; each gives its `kind`, and a name."""

    kind: ClassVar[str]

    checkpoint: str = field(metadata=SEARCH_TIME)  # a folder that `lotte train` made
    first: str = field(default="bm25", metadata={**SEARCH_TIME, **STAGES})  # a system, or a ranking file
    depth: int = field(default=1000, metadata=SEARCH_TIME)  # of the first ranking that is ranked again

    def __post_init__(self) -> None:
        pipeline.require_one(self.first)
        if self.depth < 1:
            raise ValueError(f"depth is 1 or more, not {self.depth}")

    @property
    def stage(self) -> Stage:
        """Return the system whose ranking is ranked again."""
        return pipeline.stage(self.first, "first")

    @property
    def model(self) -> "InteractionModel":
        """Return the model, loaded once a process. Raises as `InteractionModel.load` does."""
        extras.package("torch", self.kind)
        return _model(self.kind, self.checkpoint)

    @property
    def card(self) -> Card:
        from retrievers.contamination.check import Seen

        folder = Path(self.checkpoint)
        seen = Seen.read(folder)
        own = Card(
            family="interaction",
            model={"id": folder.name, "sha256": self.model.sha256},
            training_data=(seen.names() or None) if seen else None,
            checkpoint=folder,
        )
        return pipeline.joint_card("interaction", [own, self.stage.card], model=own.model)

    def fitted(self: Own, facts: Mapping[str, str]) -> Own:
        """Return the system with its first stage as a dataset wants it."""
        return replace(self, first=self.stage.fitted(facts).spelled())

    def index(self, corpus: Corpus, path: Path) -> "InteractionIndex":
        _ = self.model  # before hours of the first stage
        pipeline.write_parts(path, self, corpus, [self.stage], write_texts)
        return self.open(path)

    def open(self, path: Path) -> "InteractionIndex":
        folder = index_folder.open_checked(path, self)
        return InteractionIndex(self, folder, TimedIndex(self.stage, self.stage.open(folder)))


class InteractionIndex:
    """The index of a first stage, and the texts that a model reads."""

    def __init__(self, recipe: InteractionRetriever, folder: index_folder.IndexFolder, first: TimedIndex) -> None:
        self._recipe, self._folder, self._first = recipe, folder, first

    def search(self, queries: Queries, *, k: int) -> Run:
        depth = self._recipe.depth
        ranked = self._first.search(queries, k=max(k, depth))
        candidates = pipeline.candidates(ranked, depth)
        hits: dict[str, tuple[Hit, ...]] = dict.fromkeys(queries, ())
        texts = CandidatePairs(queries, required(self._folder, say, self._recipe.kind))
        with Progress(sum(map(len, candidates.values())), "pairs", self._recipe.kind) as progress:
            for query_id, scores in self._recipe.model.scored(texts, candidates):
                hits[query_id] = pipeline.joined(scores, ranked.hits[query_id][depth:])[:k]
                progress.advance(len(scores))
        return Run(hits)

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return how deep the first ranking was ranked again, and what that stage is and cost."""
        return {"depth": self._recipe.depth, "stages": [self._first.facts()]}


@cache
def _model(kind: str, checkpoint: str) -> "InteractionModel":
    from retrievers.interaction.model import InteractionModel

    return InteractionModel.load(kind, checkpoint)
