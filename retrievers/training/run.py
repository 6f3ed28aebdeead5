"""ColBERTv2's training from pairs to a checkpoint: steps, each of which runs only once.

  pairs       datasets -> one collection, questions, labels; some questions held out
  negatives   BM25 over every set's passages
  v1          ColBERT v1 on triples: the start of everything that follows
  teacher     a cross-encoder from pairs and negatives, unless one is named; with mined negatives it comes after mine-1
  then, in each round:
  mine-R      the last model's compressed index, and its ranking for every question
  score-R     the teacher's scores of these; with teacher=hybrid the sum of the last model's and BM25's
  tuples-R    lines of one positive and nway - 1 others, with scores
  distil-R    KL to the teacher, cross-entropy to in-batch negatives
  checkpoint  the last model with its provenance: data, settings, losses, earlier training data

Every result is a file in the training folder, so a killed training resumes
where it was, and a step can be run by itself.

Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.2 and appendix F
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lotte import artifact
from lotte.errors import MismatchError
from retrievers import registry
from retrievers.colbert.model import checkpoint
from retrievers.fusion import add_scores
from retrievers.retriever import Retriever
from retrievers.training import examples, mine, teacher
from retrievers.training.begun import SETTINGS
from retrievers.training.ranks import Ranks
from retrievers.training.settings import HYBRID, ColBERTRecipe, Fit, InteractionRecipe, PairRecipe, Recipe, TctRecipe
from retrievers.training.sizes import require_lines
from retrievers.training.steps import PairTraining, Say

__all__ = ["SETTINGS", "ColBERTTraining", "Say", "Training"]


class ColBERTTraining(PairTraining[ColBERTRecipe]):
    """ColBERT's training: the first steps of the others, and the papers."""

    system = "colbert"

    @property
    def steps(self) -> list[str]:
        """The names of the steps, in the order in which they are done."""
        return [*self._begin, "checkpoint"]

    @property
    def last(self) -> Path:
        """Return the checkpoint of the last step that trains."""
        return self.v1


class Training(PairTraining[Recipe]):
    """ColBERTv2's training."""

    system = "colbertv2"

    @property
    def steps(self) -> list[str]:
        """The names of the steps, in the order in which they are done."""
        if self._lines:
            return [*self._begin, "checkpoint"]
        rounds = [
            f"{name}-{number}"
            for number in range(1, self.recipe.rounds + 1)
            for name in ("mine", "score", "tuples", "distil")
        ]
        if self.recipe.teacher != HYBRID:
            rounds.insert(1 if self.recipe.teacher_negatives == "mined" else 0, "teacher")
        begin = [step for step in self._begin if step != "v1" or self.recipe.v1_passes]
        return [*begin, *rounds, "checkpoint"]

    @property
    def last(self) -> Path:
        """Return the checkpoint of the last step that trains."""
        return self.v1 if self._lines else self._before(self.recipe.rounds + 1)

    @property
    def _of_lines(self) -> Fit:
        return self.recipe.distil

    def _require(self) -> None:
        recipe = self.recipe
        if self._lines:
            return
        if (named := recipe.teacher or recipe.teacher_start) and named != HYBRID:
            checkpoint.find(named)
        if not recipe.v1_passes and not checkpoint.find(recipe.start).projection():
            raise MismatchError(
                f"v1_passes=0 begins the rounds with {recipe.start}, which is not a late-interaction checkpoint: "
                "it has no projection; leave v1_passes out"
            )

    # the steps

    def _teacher(self) -> Path:
        recipe, folder = self.recipe, self.folder / "teacher"
        if recipe.teacher or artifact.meta(folder / "checkpoint"):
            return folder / "checkpoint"
        mined = self._mined(1) if recipe.teacher_negatives == "mined" else self._bm25
        path = self._triples("teacher", mined, recipe.crossencoder.nway, recipe.teacher_passes, recipe.seed + 1)
        model = teacher.CrossEncoder.load(
            recipe.teacher_start or recipe.start,
            maxlen=recipe.teacher_maxlen,
            precision=recipe.precision,
            fresh=True,
            seed=recipe.seed,
        ).to(self._device)
        task = teacher.CrossTask(model, self.pairs, recipe.crossencoder, self._ranking)
        facts = self._run(task, path, folder, recipe.crossencoder, "training the teacher")
        if Ranks.here().rank == 0:
            model.save(folder / "checkpoint", {"start": recipe.teacher_start or recipe.start, **facts})
        Ranks.here().wait()
        return folder / "checkpoint"

    def _mine(self, number: int) -> Path:
        self._mined(number)
        return self.folder / f"round{number}" / "mined"

    def _mined(self, number: int) -> mine.Mined:
        recipe, folder = self.recipe, self.folder / f"round{number}" / "mined"
        return mine.mine(self.pairs, folder, self._late(number), k=recipe.depth, say=self._say)

    def _late(self, number: int) -> Retriever:
        """Return the system that is mined in a round: the last model, with compression."""
        recipe = self.recipe
        options = {"checkpoint": str(self._before(number)), "device": recipe.device, "doc_maxlen": recipe.doc_maxlen}
        return registry.make("colbertv2", {**options, "bits": recipe.bits})

    def _hybrid_scores(self, number: int, mined: mine.Mined) -> dict[int, dict[int, float]]:
        """Return what the last model and BM25 say together of what either finds for each question, best first."""
        recipe = self.recipe
        late = mine.scores(self.pairs, self.folder / f"round{number}" / "mined", self._late(number), k=recipe.depth)
        bm25 = mine.scores(self.pairs, self.folder / "bm25", registry.load("bm25"), k=recipe.depth)
        scored = {}
        for qid, pids in mined.items():
            kept = {*pids, *self._bm25[qid], *self.pairs.positives.get(qid, ())}
            both = add_scores([late[qid], bm25[qid]], [1.0, recipe.bm25_weight])
            best = sorted(both.items(), key=lambda item: (-item[1], item[0]))
            scored[qid] = {pid: round(score, 5) for pid, score in best if pid in kept}
        return scored

    def _score(self, number: int) -> Path:
        recipe, path = self.recipe, self.folder / f"round{number}" / "distillation_scores.json"
        if path.exists():
            return path
        draw = np.random.default_rng([recipe.seed, number])
        mined = self._training(self._mined(number))
        if recipe.mined_questions and recipe.mined_questions < len(mined):
            chosen = sorted(draw.permutation(np.array(sorted(mined)))[: recipe.mined_questions].tolist())
            mined = {qid: mined[qid] for qid in chosen}
        if recipe.teacher == HYBRID:
            teacher.write(path, self._hybrid_scores(number, mined))
            return path
        candidates = {}
        for qid, pids in mined.items():
            right = self.pairs.positives.get(qid, ())
            others = [pid for pid in pids[: recipe.depth] if pid not in right]
            if recipe.scored and recipe.scored < len(others):
                others = [others[row] for row in sorted(draw.permutation(len(others))[: recipe.scored].tolist())]
            candidates[qid] = [*right[:4], *others]  # some questions have hundreds of right answers
        model = teacher.CrossEncoder.load(
            recipe.teacher or self.folder / "teacher" / "checkpoint",
            maxlen=recipe.teacher_maxlen,
            precision=recipe.precision,
        ).to(self._device)
        teacher.score(model, self.pairs, candidates, path)
        return path

    def _tuples(self, number: int) -> Path:
        recipe, path = self.recipe, self.folder / f"round{number}" / "examples.json"
        if not path.exists():
            scored = teacher.read(self._score(number))
            count = examples.write(path, examples.tuples(
                self.pairs, scored, nway=recipe.distil.nway, passes=recipe.passes, depth=recipe.depth,
                seed=recipe.seed + number,
            ))  # fmt: skip
            require_lines(path, count, recipe.distil.nway)
        return path

    def _distil(self, number: int) -> Path:
        config = replace(self.recipe.distil, seed=self.recipe.distil.seed + number - 1)
        return self._fit(
            f"round{number}", config, self._before(number), self.folder / f"round{number}" / "examples.json"
        )

    # what they share

    def _before(self, number: int) -> Path:
        """Return the checkpoint that a round begins with."""
        if number == 1 and not self.recipe.v1_passes:
            return checkpoint.find(self.recipe.start).folder
        return self.folder / ("v1" if number == 1 else f"round{number - 1}") / "checkpoint"


def training(recipe: PairRecipe, folder: Path, *datasets: Any, **more: Any) -> PairTraining[Any]:
    """Return the training whose settings a recipe has. It takes what `PairTraining` does."""
    from retrievers.interaction.training import InteractionTraining
    from retrievers.training.tct import TctTraining

    kinds: dict[type[PairRecipe], type[PairTraining[Any]]] = {
        Recipe: Training,
        ColBERTRecipe: ColBERTTraining,
        TctRecipe: TctTraining,
        InteractionRecipe: InteractionTraining,
    }
    made: PairTraining[Any] = kinds[type(recipe)](folder, recipe, *datasets, **more)
    return made
