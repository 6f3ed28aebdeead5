"""The base of every training: a run in a folder, whose steps run once, and the first steps, which all trainings share.

pairs       datasets -> one collection, questions, labels; some questions held out
negatives   BM25 over every set's passages
v1          ColBERT on triples; `given`, if the training lines come from outside
checkpoint  the last model with its provenance: data, settings, losses, earlier training data
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from lotte import artifact
from lotte.dataset import Dataset
from lotte.errors import MismatchError, UnavailableError, UnknownNameError, writing
from retrievers import registry
from retrievers.colbert.model import checkpoint
from retrievers.colbert.model.config import PUNCTUATION, ModelConfig
from retrievers.training import begun, examples, mine, sizes
from retrievers.training.example import Example
from retrievers.training.examples import Examples, Pairs
from retrievers.training.given import Given
from retrievers.training.loop import fit
from retrievers.training.ranks import Ranks
from retrievers.training.settings import DIM, Fit, PairRecipe
from retrievers.training.trainer import TrainingTask

Say = Callable[[str], None]
Settings = TypeVar("Settings", bound=PairRecipe)
PCA_TEXTS = 1024  # passages that a principal projection is computed from
_TRAIN = ("v1", "given", "teacher", "distil", "student", "net")  # steps


class PairTraining(ABC, Generic[Settings]):
    """A run in a folder. `steps` names what there is to do; `do` does one of it; `all` does what is left."""

    system: ClassVar[str]  # what is trained

    def __init__(
        self,
        folder: Path,
        recipe: Settings,
        datasets: Sequence[Dataset],
        say: Say,
        *,
        held_out: Sequence[Dataset] = (),
        given: Path | None = None,
    ) -> None:
        self.folder, self.recipe, self._datasets, self._say = folder, recipe, datasets, say
        self._held_out, self._lines = held_out, given
        begun.settle(folder, recipe, new=bool(datasets))

    @property
    @abstractmethod
    def steps(self) -> list[str]:
        """The names of the steps, in the order in which they are done."""

    @property
    @abstractmethod
    def last(self) -> Path:
        """Return the checkpoint of the last step that trains."""

    @property
    def v1(self) -> Path:
        """Return the first checkpoint: ColBERT on triples, or on the lines that were given."""
        return self.folder / ("given" if self._lines else "v1") / "checkpoint"

    @property
    def _begin(self) -> list[str]:
        return ["given"] if self._lines else ["pairs", "negatives", "v1"]

    @property
    def _of_lines(self) -> Fit:
        """Return the settings of a training on lines that somebody else made."""
        return self.recipe.v1

    def _require(self) -> None:
        """Raise what a checkpoint that is needed later cannot be, before any work."""
        return

    def all(self, until: str = "") -> Path:
        """Do every step that was not done, up to one of them. Returns the checkpoint's folder, or the step's."""
        if until and until not in self.steps:
            raise UnknownNameError(f"this training has no step {until!r}; it has {', '.join(self.steps)}")
        self._check_machine_and_start()
        steps = self.steps[: self.steps.index(until) + 1] if until else self.steps
        for step in steps:
            path = self.do(step)
            if step == "pairs":
                sizes.require_of_pairs(self.recipe, self.pairs, steps)
        return path

    def do(self, step: str) -> Path:
        """Do one step, if it is not done. Returns where its result stands."""
        name, _, number = step.partition("-")
        make: Callable[..., Path] = getattr(self, f"_{name}")
        with writing(self.folder):
            if name in _TRAIN:  # with all processes that there are
                return make(int(number)) if number else make()
            return Ranks.here().once(lambda: make(int(number)) if number else make())

    def _pairs(self) -> Path:
        return self.pairs.folder

    @cached_property
    def pairs(self) -> Pairs:
        """The questions and passages that it trains on, gathered at the first look."""
        recipe = self.recipe
        if self._lines:
            if len(self._datasets) != 1:
                raise MismatchError(f"{self._lines} is about one dataset, and {len(self._datasets)} were named")
            return Given(self._datasets[0], self._lines, validation=recipe.validation)
        if not self._datasets:  # it was begun, so they are here
            return Pairs(self.folder / "pairs")
        return examples.gather(
            self._datasets, self.folder / "pairs", validation=recipe.validation, held_out=self._held_out,
            limit=recipe.limit, passages=recipe.passages, seed=recipe.seed,
        )  # fmt: skip

    def _negatives(self) -> Path:
        _ = self._bm25
        return self.folder / "bm25"

    @cached_property
    def _bm25(self) -> mine.Mined:
        bm25, k = registry.load("bm25"), self.recipe.bm25_depth
        return mine.mine(self.pairs, self.folder / "bm25", bm25, k=k, say=self._say)

    def _v1(self) -> Path:
        recipe = self.recipe
        path = self._triples("v1", self._bm25, recipe.v1.nway, recipe.v1_passes, recipe.seed)
        return self._fit("v1", recipe.v1, None, path)

    def _given(self) -> Path:
        """Train on lines that somebody else made."""
        assert self._lines
        return self._fit("given", self._of_lines, None, self._lines)

    def _checkpoint(self) -> Path:
        """Give the last model its papers."""
        from retrievers.training import card

        target = self.folder / "checkpoint"
        if not (target / "training.json").exists():
            facts, known = card.papers(self.system, self.recipe, self.pairs, self.folder, self._held_out)
            card.give(self.last, target, facts, known)
        return target

    def _fit(self, name: str, config: Fit, start: Path | None, path: Path) -> Path:
        from retrievers.training import student
        from retrievers.training.objective import LateTask

        folder, recipe = self.folder / name, self.recipe
        if (folder / "checkpoint" / "config.json").exists():
            return folder / "checkpoint"
        dim, settings = recipe.dim or DIM, self._model_config
        projection = self._projection() if start is None else "own"
        model = student.Student.load(
            start or recipe.start, settings, dropout=config.dropout, precision=recipe.precision,
            scratch=recipe.scratch and start is None, own=projection == "own", seed=recipe.seed,
        )  # fmt: skip
        if projection == "principal":
            step = max(1, len(self.pairs.corpus) // PCA_TEXTS)
            texts = [self.pairs.passage(pid) for pid in range(0, len(self.pairs.corpus), step)]
            model.projection.weight.data = student.principal(model, texts, dim)
        model.to(self._device)
        task = LateTask(model, self.pairs, config, self._ranking)
        facts = self._run(task, path, folder, config, f"training {name}")
        if Ranks.here().rank == 0:
            model.save(folder / "checkpoint", training={"step": name, **facts}, readme=f"{name} of a training.\n")
        Ranks.here().wait()
        return folder / "checkpoint"

    def _run(self, task: TrainingTask, path: Path, folder: Path, config: Fit, title: str) -> dict[str, Any]:
        lines: Sequence[Example] = Examples(path, nway=config.nway, pairs=self.pairs)
        if isinstance(self.pairs, Given):
            lines = self.pairs.lines(config.nway)
        data = artifact.digest([artifact.sha256(path), self.pairs.sha256])
        return fit(task, lines, folder, config, data=data, title=title, say=self._say)

    def _triples(self, name: str, mined: mine.Mined, nway: int, passes: int, seed: int) -> Path:
        """Write the lines of a training on negatives, if they are not there."""
        path = self.folder / name / "examples.json"

        def make() -> Path:
            if not path.exists():
                lines = examples.triples(self.pairs, self._training(mined), nway=nway, passes=passes, seed=seed)
                sizes.require_lines(path, examples.write(path, lines), nway)
            return path

        return Ranks.here().once(make)

    def _training(self, mined: mine.Mined) -> mine.Mined:
        """Return what was mined for the questions that are trained on."""
        return {
            qid: pids for qid, pids in mined.items() if qid not in self.pairs.validation and qid in self.pairs.positives
        }

    @cached_property
    def _ranking(self) -> dict[int, list[int]]:
        """Return what is put in order for the validation: BM25's best, and what is right."""
        if isinstance(self.pairs, Given):
            return self.pairs.ranking
        return {
            qid: sorted({*self._bm25.get(qid, [])[: self.recipe.validation_depth], *self.pairs.positives[qid][:4]})
            for qid in self.pairs.validation
        }

    @property
    def _device(self) -> str:
        import torch

        if self.recipe.device == "auto":
            return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
        return self.recipe.device

    @property
    def _model_config(self) -> ModelConfig:
        recipe = self.recipe
        skiplist = PUNCTUATION if recipe.mask_punctuation else ()
        return ModelConfig(
            dim=recipe.dim or DIM, query_maxlen=recipe.query_maxlen, doc_maxlen=recipe.doc_maxlen, skiplist=skiplist
        )

    def _check_machine_and_start(self) -> None:
        """Raise what would else be found after hours: no such device, a start that cannot be as wide or as long."""
        import torch

        from retrievers.training import student

        if self._device.startswith("cuda"):
            count, number = torch.cuda.device_count(), int(self._device.partition(":")[2] or 0)
            if number >= count:
                raise UnavailableError(f"device={self._device} was requested, but this machine has {count} GPUs for it")
        if (self.v1 / "config.json").exists():
            return
        self._require()
        if not {"v1", "given"}.intersection(self.steps):
            return
        self._projection(say=self._say)
        student.reader_of(checkpoint.find(self.recipe.start), self._model_config)
        if not self._lines:
            sizes.require_of_datasets(self.recipe, self._datasets)

    def _projection(self, say: Say = lambda line: None) -> str:
        """Return which projection the first model begins with: its start's "own", a "random" or the "principal" one.

        Raises  MismatchError if it is not available with the requested dimensions
        """
        from retrievers.training import student

        recipe, start = self.recipe, checkpoint.find(self.recipe.start)
        if recipe.scratch:
            return "random"
        chosen = recipe.projection.removeprefix("own-or-")
        if chosen != recipe.projection:
            own_HI = student.own_projection(start)
            if own_HI is not None and recipe.dim not in (0, len(own_HI)):
                raise MismatchError(
                    f"{start.name} gives vectors of {len(own_HI)} dimensions, but dim={recipe.dim} was set; leave "
                    "dim out, or have another projection made with -o projection=principal or -o projection=random"
                )
            if own_HI is not None:
                return "own"
        elif start.projection():
            say(f"the projection of {start.name} is not used: projection={chosen} creates a new one")
        if chosen == "principal" and (dim := recipe.dim or DIM) > start.width:
            raise MismatchError(
                f"{start.name} has {start.width} numbers in a hidden state, and projection=principal cannot make "
                f"dim={dim} of them; take -o dim={start.width} or less, or -o projection=random"
            )
        return chosen
