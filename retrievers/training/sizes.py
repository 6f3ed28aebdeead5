"""Checks, before mining, that there are enough questions and passages for the settings of a training."""

import sys
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from lotte.dataset import Dataset
from lotte.errors import MismatchError
from retrievers.colbert.model import checkpoint
from retrievers.training import teacher
from retrievers.training.examples import Pairs
from retrievers.training.ranks import Ranks
from retrievers.training.settings import HYBRID, InteractionRecipe, PairRecipe, Recipe, TctRecipe


def require_of_datasets(recipe: PairRecipe, datasets: Sequence[Dataset]) -> None:
    """Do `require` for v1 before datasets are gathered, when there may be as much as they have."""
    if datasets:  # else the training was begun
        questions = sum(min(len(data.queries), recipe.limit or sys.maxsize) for data in datasets)
        require(recipe, questions, max(len(data.corpus) for data in datasets), ["v1"])


def require_of_pairs(recipe: PairRecipe, pairs: Pairs, steps: Iterable[str]) -> None:
    """Do `require` for the steps that there are, and look whether the teacher can be one, before anything is mined."""
    names = {step.partition("-")[0] for step in steps}
    passages = max(len(part.pids) for part in pairs.parts)
    require(recipe, len(pairs.questions) - len(pairs.validation), passages, names)
    if not isinstance(recipe, Recipe):
        return
    if recipe.teacher == HYBRID:
        return
    if recipe.teacher and "score" in names:
        teacher.require_fit(checkpoint.find(recipe.teacher), maxlen=recipe.teacher_maxlen, fresh=False)
    elif not recipe.teacher and "teacher" in names:
        start = checkpoint.find(recipe.teacher_start or recipe.start)
        teacher.require_fit(start, maxlen=recipe.teacher_maxlen, fresh=True)


def require(recipe: PairRecipe, questions: int, passages: int, steps: Container[str]) -> None:
    """Raise MismatchError for a batch or a line that cannot be filled, or a batch that processes cannot share.

    questions  that are trained on, at most
    passages   of the largest set: what is mined is mined in one
    """
    demands = []
    if "v1" in steps:
        lines = questions * recipe.v1_passes
        demands.append(("v1", recipe.v1, "bm25_depth", recipe.bm25_depth, "v1_passes", lines))
    if "student" in steps and isinstance(recipe, TctRecipe):
        lines = questions * recipe.student_passes
        demands.append(("student", recipe.student, "bm25_depth", recipe.bm25_depth, "student_passes", lines))
    if "net" in steps and isinstance(recipe, InteractionRecipe):
        demands.append(("net", recipe.net, "bm25_depth", recipe.bm25_depth, "passes", questions * recipe.passes))
    if "teacher" in steps and isinstance(recipe, Recipe) and not recipe.teacher:
        name = "depth" if recipe.teacher_negatives == "mined" else "bm25_depth"
        lines = questions * recipe.teacher_passes
        demands.append(("crossencoder", recipe.crossencoder, name, getattr(recipe, name), "teacher_passes", lines))
    if "distil" in steps and isinstance(recipe, Recipe):
        depth = min(recipe.depth, recipe.scored or sys.maxsize)
        lines = min(questions, recipe.mined_questions or sys.maxsize) * recipe.passes
        demands.append(("distil", recipe.distil, "depth, scored", depth, "passes", lines))
    for name, fit, deep, depth, passes, lines in demands:
        if fit.nway - 1 > (most := min(depth, passages - 1)):
            raise MismatchError(
                f"{name}.nway={fit.nway} asks for {fit.nway - 1:,} negatives of a question, and there are {most:,} at "
                f"most, of {passages:,} passages; take a smaller nway, or mine deeper ({deep})"
            )
        if fit.batch > lines:
            raise MismatchError(
                f"{name}.batch={fit.batch} is more than the {lines:,} lines that {questions:,} questions give; take a "
                f"smaller batch, or more {passes}"
            )
        if fit.batch % (count := Ranks.here().count):
            raise MismatchError(f"{name}.batch={fit.batch} cannot be divided among {count} processes; change it")


def require_lines(path: Path, count: int, nway: int) -> None:
    """Raise MismatchError for a file of examples without a line, and remove it, so that it is not taken for done."""
    if not count:
        path.unlink()
        raise MismatchError(
            f"no question has {nway - 1} negatives beside its positive; mine deeper (depth, bm25_depth), or take a "
            "smaller nway"
        )
