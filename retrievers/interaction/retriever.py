"""An interaction model as a retriever: it re-ranks another system's results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from lotte import Corpus, Queries, extras
from retrievers import index_folder, pipeline
from retrievers.options import SEARCH_TIME
from retrievers.pipeline import STAGES, Stage, TimedIndex
from retrievers.reranking import RerankingIndex
from retrievers.retriever import Card
from retrievers.texts import CandidatePairs, write_texts

if TYPE_CHECKING:
    from retrievers.interaction.model import InteractionModel

Own = TypeVar("Own", bound="InteractionRetriever")


@dataclass(frozen=True)
class InteractionRetriever:
    """What K-NRM, Conv-KNRM and Duet share; each gives its `kind`, and a name."""

    kind: ClassVar[str]

    checkpoint: str = field(metadata=SEARCH_TIME)  # a folder that `lotte train` made
    first: str = field(default="bm25", metadata={**SEARCH_TIME, **STAGES})  # a system, or a ranking file
    depth: int = field(default=1000, metadata=SEARCH_TIME)  # documents of the first ranking that are re-ranked

    def __post_init__(self) -> None:
        pipeline.require_one(self.first)
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")

    @property
    def stage(self) -> Stage:
        """Return the system whose ranking is re-ranked."""
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


class InteractionIndex(RerankingIndex):
    """The index of a first stage, and the texts that a model reads."""

    def __init__(self, recipe: InteractionRetriever, folder: index_folder.IndexFolder, first: TimedIndex) -> None:
        super().__init__(folder, first, recipe.depth, f"{recipe.kind} model")
        self._recipe = recipe

    def scored(
        self, queries: Queries, candidates: Mapping[str, Sequence[str]]
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        yield from self._recipe.model.scored(CandidatePairs(queries, self.texts), candidates)


@cache
def _model(kind: str, checkpoint: str) -> "InteractionModel":
    from retrievers.interaction.model import InteractionModel

    return InteractionModel.load(kind, checkpoint)
