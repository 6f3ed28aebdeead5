"""Two or more systems or ranking files, fused into one ranking.

    lotte eval --retriever hybrid -o 'of=bm25+colbertv2(checkpoint=shipped)'
    lotte eval --retriever hybrid -o of=runs/bm25.trec+runs/dense.trec -o method=scores -o weights=0.1,1
    lotte eval --retriever hybrid -o of=bm25+tct_colbert -o method=convex -o weights=tuned -o train=FOLDER/train

Which method is good where is measured in Bruch, Gai and Ingber 2023 (arXiv:2210.11934): convex combination, where a
little is known of which weight is good; reciprocal rank fusion needs nothing. So the default is a convex combination
in which lexical systems have 0.2 of the weights and models 0.8; systems of one kind, and ranking files, have equal
weights. The 0.2 was chosen on the nine collections of the shipped checkpoint's card, which are therefore no test of it.
`scores` with the weights 0.1 and 1 is how TCT-ColBERT is combined with BM25 (Lin et al. 2020, arXiv:2010.11386,
equation 7; 0.24 with doc2query-T5). Weights that are `tuned` are the best of a grid on the judged questions of `train`,
a folder whose answers are in the collection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from lotte import Corpus, Queries, Run
from lotte.errors import shown
from lotte.terminal import say
from retrievers import index_folder, pipeline, tuning
from retrievers.fusion import METHODS, fuse
from retrievers.options import NAME, SEARCH_TIME, SPOKEN
from retrievers.pipeline import STAGES, Stage, TimedIndex
from retrievers.retriever import Card, Index
from retrievers.tuning import TunedWeights

TUNED = "tuned"
LEXICAL_SHARE = 0.2  # of the weights, where systems of words stand beside models and no weights are given
MODELS = ("late-interaction", "dense", "learned-sparse")  # families of systems that have learnt what words mean
PUBLISHED: dict[str, float] = {  # Lin et al. 2020, table 1: TCT-ColBERT with BM25, alpha 0.10
    "msmarco/dev": 0.352,
    "trecdl/2019": 0.714,
}


@dataclass(frozen=True)
class Hybrid:
    of: str = field(metadata={**SEARCH_TIME, **STAGES})  # systems, or ranking files, with + between them
    method: str = field(default="convex", metadata=SEARCH_TIME)  # convex, rrf, scores
    weights: str = field(default="", metadata=SEARCH_TIME)  # numbers with a comma between; "": see below; or tuned
    train: str = field(default="", metadata=SPOKEN)  # a folder with the judged questions that weights are tuned on
    depth: int = field(default=1000, metadata=SEARCH_TIME)  # of each ranking that is looked at
    name: str = field(default="hybrid", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        if len(self.stages) < 2:
            raise ValueError(f"of must name two or more systems joined by +, not {shown(self.of)}")
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {shown(self.method)}")
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")
        if self.tuned != bool(self.train):
            raise ValueError("weights=tuned needs train=FOLDER, the judged queries to tune them on")
        if self.weights and not self.tuned and len(self.numbers) != len(self.stages):
            count = len(self.stages)
            raise ValueError(f"weights must be {count} numbers, one for each of {self.of}, not {self.weights}")

    @property
    def stages(self) -> list[Stage]:
        """Return the systems that are made one, in their order."""
        return pipeline.stages(self.of, "of")

    @property
    def tuned(self) -> bool:
        """Whether the weights are chosen on judged questions."""
        return self.weights == TUNED

    @cached_property
    def numbers(self) -> list[float]:
        """Return the weights, in the order of the stages. Raises ValueError for what is not a weight."""
        if not self.weights:
            return self._default_weights()
        try:
            weights = [float(text) for text in self.weights.split(",")]
        except ValueError:
            weights = []
        if not weights or not all(isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
            raise ValueError(f"weights must be numbers of 0 or more, not all 0, as in 0.1,1, not {shown(self.weights)}")
        return weights

    def _default_weights(self) -> list[float]:
        """Return the weights where none are given: equal, or shares of the two kinds of systems."""
        families = [stage.card.family for stage in self.stages]
        words = families.count("lexical")
        models = sum(family in MODELS for family in families)
        if self.method != "convex" or not words or not models or words + models < len(families):
            return [1.0] * len(families)
        shares = {True: LEXICAL_SHARE / words, False: (1 - LEXICAL_SHARE) / models}
        return [shares[family == "lexical"] for family in families]

    @property
    def card(self) -> Card:
        return pipeline.joint_card("hybrid", [stage.card for stage in self.stages])

    def fitted(self, facts: Mapping[str, str]) -> "Hybrid":
        """Return the system with each stage as a dataset wants it."""
        return replace(self, of="+".join(stage.fitted(facts).spelled() for stage in self.stages))

    def index(self, corpus: Corpus, path: Path) -> "HybridIndex":
        pipeline.write_parts(path, self, corpus, self.stages)
        return self.open(path)

    def open(self, path: Path) -> "HybridIndex":
        folder = index_folder.open_checked(path, self)
        return HybridIndex(self, folder, [(stage, stage.open(folder)) for stage in self.stages])


class HybridIndex:
    """The indexes of several systems, and how their rankings become one."""

    def __init__(self, recipe: Hybrid, folder: index_folder.IndexFolder, opened: list[tuple[Stage, Index]]) -> None:
        self._recipe, self._folder, self._indexes = recipe, folder, [index for _, index in opened]
        self._parts = [TimedIndex(stage, index) for stage, index in opened]

    def search(self, queries: Queries, *, k: int) -> Run:
        recipe, depth = self._recipe, max(k, self._recipe.depth)
        runs = [part.search(queries, k=depth) for part in self._parts]
        if not recipe.tuned:
            return fuse(runs, recipe.method, recipe.numbers, k=k)
        own = {query_id: self._tuned.of(text) for query_id, text in queries.items()}
        return fuse(runs, recipe.method, self._tuned.weights, k=k, own_weights=own)

    @cached_property
    def _tuned(self) -> TunedWeights:
        """Return weights chosen on the training questions, which no record's milliseconds count."""
        recipe = self._recipe
        data = tuning.read(Path(recipe.train), self._folder.doc_ids)
        say(f"tuning weights on {len(data.queries):,} queries of {data.name}")
        return tuning.tune(
            data, lambda queries: [one.search(queries, k=recipe.depth) for one in self._indexes], recipe.method
        )

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        """Return what each stage is, and what it cost."""
        recipe = self._recipe
        facts = {"method": recipe.method, "depth": max(k, recipe.depth)}
        if recipe.tuned:
            own = sum(text in self._tuned.of_text for text in queries.values())
            facts |= {"weights": self._tuned.weights, "tuned": {**self._tuned.facts, "asked_and_tuned_on": own}}
        else:
            facts |= {"weights": recipe.numbers}
        return {**facts, "stages": self.stages()}

    def stages(self) -> list[dict[str, Any]]:
        return [part.facts() for part in self._parts]


retriever = Hybrid
