"""The training of K-NRM, Conv-KNRM and Duet: the triples of ColBERT's first step, and word vectors from its passages.

pairs       datasets -> one collection, questions, labels; some questions held out
negatives   BM25 over every set's passages
net         vectors of the passages' words, then the model on triples
checkpoint  the model with its provenance: data, settings, losses, a fingerprint of the training data
"""

from dataclasses import asdict
from pathlib import Path

from lotte import artifact
from retrievers.contamination import fingerprint
from retrievers.interaction.model import InteractionModel
from retrievers.interaction.task import InteractionTask
from retrievers.training import card
from retrievers.training.ranks import Ranks
from retrievers.training.settings import InteractionRecipe
from retrievers.training.steps import PairTraining


class InteractionTraining(PairTraining[InteractionRecipe]):
    """A training of a re-ranker over word vectors; `system` is which of them."""

    @property
    def steps(self) -> list[str]:
        """The names of the steps, in the order in which they are done."""
        return ["net", "checkpoint"] if self._lines else ["pairs", "negatives", "net", "checkpoint"]

    @property
    def last(self) -> Path:
        """Return the checkpoint of the step that trains."""
        return self.folder / "net" / "checkpoint"

    def _net(self) -> Path:
        recipe, folder = self.recipe, self.folder / "net"
        if artifact.meta(self.last):
            return self.last
        path = self._lines or self._triples("net", self._bm25, recipe.net.nway, recipe.passes, recipe.seed)
        texts = [self.pairs.passage(pid) for part in self.pairs.parts for pid in part.pids]
        model = InteractionModel.begin(recipe.model, texts, dim=recipe.dim, seed=recipe.seed).to(self._device)
        task = InteractionTask(model, self.pairs, self._ranking)
        facts = self._run(task, path, folder, recipe.net, f"training {recipe.model}")
        if Ranks.here().rank == 0:
            model.save(self.last, training=facts)
        Ranks.here().wait()
        return self.last

    def _checkpoint(self) -> Path:
        """Give the model its papers."""
        target, recipe = self.folder / "checkpoint", self.recipe
        if artifact.meta(target):
            return target
        known = fingerprint.Fingerprint.of([self.pairs.dataset()])
        trained = (artifact.meta(self.last) or {})["training"]
        facts = {
            "system": recipe.model,
            "data": [{"name": part.name, **part.facts} for part in self.pairs.parts],
            "start": {"id": "word vectors of the training passages", "seen": []},
            "steps": {"net": trained},
            "overlap": card.overlap(known, self._held_out),
            "settings": asdict(recipe),
            "software": card.software(),
        }
        papers = {card.TRAINING: artifact.readable(facts).encode(), fingerprint.NAME: known.content()}
        return InteractionModel.load(recipe.model, self.last).save(target, training=trained, papers=papers)
