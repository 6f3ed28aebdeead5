"""ColBERTv2's training from pairs to a checkpoint: steps, each of which is done once and never again.

  pairs       datasets -> one collection, questions, labels; some questions kept aside
  negatives   BM25 over every set's passages
  v1          ColBERT v1 on triples: the start of everything that follows
  teacher     a cross-encoder from pairs and negatives, unless one is named; on what v1 finds it comes after mine-1
  then, round after round:
  mine-R      the last model's index, with compression, and what it finds for every question
  score-R     the teacher's scores of that
  tuples-R    lines of one positive and nway - 1 others, with scores
  distil-R    KL to the teacher, cross-entropy to in-batch negatives
  checkpoint  the last model with its papers: data, settings, losses, what was seen

Everything is a file in the run's folder, so a run that was killed goes on where
it was, and a step can be run by itself.

Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.2 and appendix F
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lotte import artifact
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, UnknownNameError, named, writing
from lotte.parsing import json_object
from retrievers import registry
from retrievers.colbert.model import checkpoint
from retrievers.colbert.model.config import ModelConfig
from retrievers.training import examples, mine, sizes, teacher
from retrievers.training.example import Example
from retrievers.training.examples import Examples, Pairs
from retrievers.training.given import Given
from retrievers.training.loop import fit
from retrievers.training.ranks import Ranks
from retrievers.training.settings import DIM, Fit, Recipe, lasting
from retrievers.training.trainer import TrainingTask

Say = Callable[[str], None]
SETTINGS = "settings.json"
PCA_TEXTS = 1024  # passages that a principal projection is computed from


class Training:
    """A run in a folder. `steps` names what there is to do; `do` does one of it; `all` does what is left."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        datasets: Sequence[Dataset],
        say: Say,
        *,
        held_out: Sequence[Dataset] = (),
        given: Path | None = None,
    ) -> None:
        self.folder, self.recipe, self._datasets, self._say = folder, recipe, datasets, say
        self._held_out, self._lines = held_out, given
        self._check()

    @property
    def steps(self) -> list[str]:
        """The names of the steps, in the order in which they are done."""
        if self._lines:
            return ["given", "checkpoint"]
        rounds = [
            f"{name}-{number}"
            for number in range(1, self.recipe.rounds + 1)
            for name in ("mine", "score", "tuples", "distil")
        ]
        rounds.insert(1 if self.recipe.teacher_negatives == "mined" else 0, "teacher")
        return ["pairs", "negatives", "v1", *rounds, "checkpoint"]

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
            if name in ("v1", "teacher", "distil", "given"):  # these train, with all processes that there are
                return make(int(number)) if number else make()
            return Ranks.here().once(lambda: make(int(number)) if number else make())

    # the steps

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
        assert self._bm25 is not None
        return self.folder / "bm25"

    @cached_property
    def _bm25(self) -> mine.Mined:
        bm25, k = registry.load("bm25"), self.recipe.bm25_depth
        return mine.mine(self.pairs, self.folder / "bm25", bm25, k=k, say=self._say)

    def _v1(self) -> Path:
        recipe = self.recipe
        path = self._triples("v1", self._bm25, recipe.v1.nway, recipe.v1_passes, recipe.seed)
        return self._fit("v1", recipe.v1, None, path)

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
        options = {"checkpoint": str(self._before(number)), "device": recipe.device, "doc_maxlen": recipe.doc_maxlen}
        late = registry.make("colbertv2", {**options, "bits": recipe.bits})
        return mine.mine(self.pairs, folder, late, k=recipe.depth, say=self._say)

    def _score(self, number: int) -> Path:
        recipe, path = self.recipe, self.folder / f"round{number}" / "distillation_scores.json"
        if path.exists():
            return path
        draw = np.random.default_rng([recipe.seed, number])
        mined = self._training(self._mined(number))
        if recipe.mined_questions and recipe.mined_questions < len(mined):
            chosen = sorted(draw.permutation(np.array(sorted(mined)))[: recipe.mined_questions].tolist())
            mined = {qid: mined[qid] for qid in chosen}
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
            sizes.require_lines(path, count, recipe.distil.nway)
        return path

    def _distil(self, number: int) -> Path:
        config = replace(self.recipe.distil, seed=self.recipe.distil.seed + number - 1)
        return self._fit(
            f"round{number}", config, self._before(number), self.folder / f"round{number}" / "examples.json"
        )

    def _given(self) -> Path:
        """Train on lines that somebody else made."""
        assert self._lines
        return self._fit("given", self.recipe.distil, None, self._lines)

    def _checkpoint(self) -> Path:
        """Give the last model its papers."""
        from retrievers.training import card

        last = self.folder / "given" / "checkpoint" if self._lines else self._before(self.recipe.rounds + 1)
        target = self.folder / "checkpoint"
        if not (target / "training.json").exists():
            facts, known = card.papers(self.recipe, self.pairs, self.folder, self._held_out)
            card.give(last, target, facts, known)
        return target

    # what they share

    def _before(self, number: int) -> Path:
        """Return the checkpoint that a round begins with."""
        return self.folder / ("v1" if number == 1 else f"round{number - 1}") / "checkpoint"

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
        return ModelConfig(dim=recipe.dim or DIM, query_maxlen=recipe.query_maxlen, doc_maxlen=recipe.doc_maxlen)

    def _check_machine_and_start(self) -> None:
        """Raise what would else be found after hours: no such device, a start that cannot be as wide or as long."""
        import torch

        from retrievers.training import student

        if self._device.startswith("cuda"):
            count, number = torch.cuda.device_count(), int(self._device.partition(":")[2] or 0)
            if number >= count:
                raise UnavailableError(f"device={self._device} is asked for, and this machine has {count} GPUs for it")
        first = self.folder / ("given" if self._lines else "v1") / "checkpoint" / "config.json"
        if first.exists():
            return
        if (named := self.recipe.teacher or self.recipe.teacher_start) and not self._lines:
            checkpoint.find(named)
        self._projection(say=self._say)
        student.reader_of(checkpoint.find(self.recipe.start), self._model_config)
        if not self._lines:
            sizes.require_of_datasets(self.recipe, self._datasets)

    def _projection(self, say: Say = lambda line: None) -> str:
        """Return which projection the first model begins with: its start's "own", a "random" or the "principal" one.

        Raises  MismatchError if it cannot be had in the width that is asked for
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
                    f"{start.name} gives vectors of {len(own_HI)} numbers, and dim={recipe.dim} is asked for; leave "
                    "dim out, or have another projection made with -o projection=principal or -o projection=random"
                )
            if own_HI is not None:
                return "own"
        elif start.projection():
            say(f"the projection of {start.name} is not used: projection={chosen} makes another one")
        if chosen == "principal" and (dim := recipe.dim or DIM) > start.width:
            raise MismatchError(
                f"{start.name} has {start.width} numbers in a hidden state, and projection=principal cannot make "
                f"dim={dim} of them; take -o dim={start.width} or less, or -o projection=random"
            )
        return chosen

    def _check(self) -> None:
        """Raise MismatchError if the folder was begun with other settings."""
        settings = {key: value for key, value in asdict(self.recipe).items() if key != "device"}
        path = self.folder / SETTINGS
        if path.exists():
            begun = asdict(Recipe()) | _read_settings(path)  # a setting that is newer than the run
            had, has = (_flat(lasting(_as_first_written(either))) for either in (begun, settings))
            if other := [key for key in has if had.get(key) != has[key]]:
                raise MismatchError(
                    f"{self.folder} was begun with {_spelled(had, other)}, and is asked for {_spelled(has, other)}"
                    "; a training goes on with what it began with. Change it back, or name another --out"
                )
            if begun == settings:
                return
        elif not self._datasets:
            raise UnavailableError(f"{self.folder} holds no training yet: name the datasets to train on")
        with writing(self.folder):
            artifact.write_whole(path, artifact.readable(settings, ascii=True, sort=False))


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return json_object(path)
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; name another --out, or write it again") from None


def _as_first_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as runs have them that were begun before a start's projection was kept unless told otherwise."""
    projection = str(settings["projection"]).removeprefix("own-or-")
    return {**settings, "projection": projection, "dim": settings["dim"] or DIM}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of sections as they are typed: v1.lr."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= (
            {f"{key}.{inner}": plain for inner, plain in value.items()} if isinstance(value, Mapping) else {key: value}
        )
    return flat


def _spelled(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(f"{key}={named(str(settings.get(key)))}" for key in keys[:3]) + more
