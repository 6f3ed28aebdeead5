"""What a training will take: the same steps on a few questions and passages, with small batches and larger ones.

What both take alike (loading, saving) does not depend on how much is trained on; the rest grows with the passages that
are encoded, forwards and backwards. A validation encodes forwards alone, which takes a third.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from lotte import Dataset
from lotte.errors import UnknownNameError
from lotte.estimate import CostLine, Estimate, age, resident
from retrievers import estimate as of_system
from retrievers import registry
from retrievers.training import run
from retrievers.training.settings import Fit, PairRecipe

FIT_OF = {"v1": "v1", "teacher": "crossencoder", "distil": "distil", "student": "student", "net": "net"}  # by step
PASSES = {
    "v1": "v1_passes",
    "teacher": "teacher_passes",
    "distil": "passes",
    "student": "student_passes",
    "net": "passes",
}
STEPS, BATCHES, NWAY = 3, (2, 2, 8), 4  # the first run loads and compiles, and is not looked at
QUESTIONS, PASSAGES, VALIDATION, DEPTH, SCORED = 40, 1000, 8, 20, 8
FORWARD = 1 / 3  # of the time that forwards and backwards take


@dataclass(frozen=True)
class _Tried:
    """A small training: the seconds of each step, the memory held by then, and the bytes it left."""

    seconds: Mapping[str, float]
    memory: float
    disk: Mapping[str, float]


def estimate(
    recipe: PairRecipe, datasets: Sequence[Dataset], *, held_out: Sequence[Dataset] = (), until: str = ""
) -> list[Estimate]:
    """Return what the steps of a training take, all of them or those up to one.

    Raises  as the training does for what cannot be trained
    """
    begin = age()
    tried = []
    with TemporaryDirectory(prefix="lotte-estimate-") as scratch:
        for number, batch in enumerate(BATCHES):
            tried.append(_tried(_small(recipe, batch), Path(scratch) / str(number), datasets, held_out, until))
        steps = _until(until, run.training(recipe, Path(scratch) / "steps", datasets, lambda line: None).steps)
    _, few, many = tried
    whole = _Whole(recipe, datasets, few, many)
    made = [whole.step(step, few.seconds) for step in steps]
    return [replace(made[0], seconds=made[0].seconds + begin), *made[1:]]


def _small(recipe: PairRecipe, batch: int) -> Any:
    """Return the same training on a few questions, with batches of so many lines."""
    changes: dict[str, Any] = {"limit": QUESTIONS, "passages": PASSAGES, "validation": VALIDATION, "bm25_depth": DEPTH}
    small = {"depth": DEPTH, "scored": SCORED, "mined_questions": QUESTIONS, "rounds": 1}
    names = {field.name for field in fields(recipe)}
    changes |= {name: value for name, value in small.items() if name in names}
    for name in names:
        if isinstance(fit := getattr(recipe, name), Fit):
            fit = replace(fit, nway=min(fit.nway, NWAY), validate_every=0, save_every=10**6)
            changes[name] = replace(fit, steps=STEPS, batch=batch, parts=1, warmup=0)
    return replace(recipe, **changes)


def _until(step: str, steps: list[str]) -> list[str]:
    if step and step not in steps:
        raise UnknownNameError(f"this training has no step {step!r}; it has {', '.join(steps)}")
    return steps[: steps.index(step) + 1] if step else steps


def _tried(recipe: Any, folder: Path, datasets: Sequence[Dataset], held_out: Sequence[Dataset], until: str) -> _Tried:
    training = run.training(recipe, folder, datasets, lambda line: None, held_out=held_out)
    seconds, disk = {}, {}
    for step in _until(until, training.steps) if until in training.steps else training.steps:
        start, before = perf_counter(), _size(folder)
        training.all(step)
        seconds[step], disk[step] = perf_counter() - start, _size(folder) - before
    return _Tried(seconds, resident(), disk)


def _size(folder: Path) -> float:
    return float(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


class _Whole:
    """The whole training, as the small ones say it."""

    def __init__(self, recipe: PairRecipe, datasets: Sequence[Dataset], few: _Tried, many: _Tried) -> None:
        self.recipe, self.datasets, self.few, self.many = recipe, datasets, few, many
        limit, most = recipe.limit or 10**12, recipe.passages or 10**12
        self.questions = sum(min(len(data.queries), limit) for data in datasets) - recipe.validation
        self.passages = sum(min(len(data.corpus), most) for data in datasets)
        self.sampled = sum(min(len(data.corpus), PASSAGES) for data in datasets)
        self.asked = sum(min(len(data.queries), QUESTIONS) for data in datasets)

    def step(self, step: str, small: Mapping[str, float]) -> Estimate:
        """Return what a step takes; of a later round, what the first one takes."""
        name, _, number = step.partition("-")
        key = f"{name}-1" if number else name
        if name in FIT_OF:
            return self._fit(step, key, getattr(self.recipe, FIT_OF[name]), self._lines(name))
        if name == "negatives":
            return self._negatives(step)
        scale = {"pairs": self.passages / self.sampled, "mine": self.passages / self.sampled}.get(name, 1.0)
        if name in ("score", "tuples"):
            scored = getattr(self.recipe, "scored", 0) or getattr(self.recipe, "depth", DEPTH)
            scale = self._mined() / self.asked * (scored / SCORED)
        disk = self.few.disk[key] * scale
        return Estimate(step=step, seconds=small[key] * max(1.0, scale), memory=self.many.memory, disk=disk)

    def _mined(self) -> int:
        return min(self.questions, getattr(self.recipe, "mined_questions", 0) or self.questions)

    def _lines(self, name: str) -> int:
        questions = self._mined() if name == "distil" else self.questions
        return max(1, questions) * int(getattr(self.recipe, PASSES[name]))

    def _fit(self, step: str, key: str, fit: Fit, lines: int) -> Estimate:
        """Return what a training takes that encodes lines of passages, and validates now and then."""
        nway = min(fit.nway, NWAY)
        encoded = [STEPS * batch * nway for batch in BATCHES[1:]]
        line = CostLine.through(dict(zip(encoded, (self.few.seconds[key], self.many.seconds[key]), strict=True)))
        steps = fit.steps or max(1, lines // fit.batch)
        validations = 1 + (steps // fit.validate_every if fit.validate_every else 0)
        validated = validations * self.recipe.validation * (self.recipe.validation_depth + 1) * FORWARD
        held = CostLine.through(dict(zip(encoded, (self.few.memory, self.many.memory), strict=True)))
        memory = max(self.many.memory, held.of(STEPS * fit.batch * fit.nway / fit.parts))
        seconds = line.of(steps * fit.batch * fit.nway + validated)
        return Estimate(step=step, seconds=seconds, memory=memory, disk=self.few.disk[key])

    def _negatives(self, step: str) -> Estimate:
        """Return what BM25 takes for every set."""
        seconds = 0.0
        for data in self.datasets:
            costs = of_system.costs(registry.load("bm25"), data.corpus, data.queries, self.recipe.bm25_depth)
            asked = min(len(data.queries), self.recipe.limit or len(data.queries))
            seconds += costs.index.seconds - costs.begin + asked * costs.query
        return Estimate(
            step=step, seconds=seconds, memory=resident(), disk=8.0 * self.questions * self.recipe.bm25_depth
        )
