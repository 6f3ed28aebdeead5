"""A training small enough for every test: a BERT of one layer, two sets of questions, and lines of passages.

As a program it trains in a process of its own, which a test may kill:
`toy_training.py FOLDER '{"steps": 6, ...}'` leaves the weights in FOLDER/weights.safetensors.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import tiny_checkpoint

from lotte.dataset import Dataset, Doc, Docs
from retrievers.training import examples
from retrievers.training.examples import Example, Pairs

RIGHT, WRONG, ABOUT = "yeast", "moon", ("bread", "star", "router", "soil", "kitchen", "garden", "server", "light")


def dataset(name="toy/a", *, questions=12, passages=40, seed=0):
    """A set whose right passages speak of yeast, and no other; question q is answered by passage q."""
    draw = np.random.default_rng(seed)

    def text(number, *words):
        return " ".join([*words, *draw.choice(ABOUT, int(draw.integers(2, 9))), f"{name[-1]}{number}"])

    docs = [Doc(f"{name}:{row}", text(row, RIGHT if row < questions else WRONG)) for row in range(passages)]
    queries = {f"{name}?{number}": text(number, "how", "to") for number in range(questions)}
    qrels = {query_id: {docs[row].doc_id: 1} for row, query_id in enumerate(queries)}
    return Dataset(name=name, corpus=Docs(tuple(docs)), queries=queries, qrels=qrels, measure="MRR@10")


def pairs(folder: Path, *sets: Dataset, validation=0) -> Pairs:
    return examples.gather(sets or (dataset(), dataset("toy/b", seed=1)), folder, validation=validation)


def wrong(some: Pairs) -> dict[int, list[int]]:
    """Every question's wrong passages, from its own set."""
    return {qid: [pid for pid in part.pids if WRONG in some.passage(pid)] for part in some.parts for qid in part.qids}


def lines(some: Pairs, count: int, *, nway: int = 3, scores: bool = False) -> list[Example]:
    passes = -(-count // len(some.questions))
    made = examples.triples(some, wrong(some), nway=nway, passes=passes, seed=0)
    draw = np.random.default_rng(0)
    return [
        Example(qid, pids, tuple(draw.normal(size=nway).tolist()) if scores else None)
        for qid, pids, _ in list(made)[:count]
    ]


def start(folder: Path) -> Path:
    if folder.exists():
        return folder
    return tiny_checkpoint.write(folder, dim=8, hidden=16, layers=1, heads=2, inner=32, positions=64, doc_maxlen=32)


def late(folder: Path, config, *, precision="fp32"):
    """Return a student's task, as it stands before the first step."""
    from retrievers.colbert.model.config import ModelConfig
    from retrievers.training.objective import LateTask
    from retrievers.training.student import Student

    some = pairs(folder / "pairs", validation=4)
    settings = ModelConfig(dim=8, query_maxlen=12, doc_maxlen=16)
    student = Student.load(start(folder / "start"), settings, dropout=config.dropout, precision=precision)
    ranking = {qid: sorted({*wrong(some)[qid][:6], *some.positives[qid]}) for qid in some.validation}
    return LateTask(student, some, config, ranking)


def tct(folder: Path, config, *, distil: str = "batch", **settings):
    """Return TCT-ColBERT's task: the start teaches a student of one vector per text, which begins with its weights."""
    from retrievers.colbert.model.config import ModelConfig
    from retrievers.training.settings import TctRecipe
    from retrievers.training.student import Student
    from retrievers.training.tct import TctStudent, TctTask

    some = pairs(folder / "pairs", validation=4)
    start_ = start(folder / "start")
    teacher = Student.load(start_, ModelConfig(dim=8, query_maxlen=12, doc_maxlen=16), dropout=0.0, precision="fp32")
    settings_ = ModelConfig(query_maxlen=16, doc_maxlen=20)
    student = TctStudent.load(start_, settings_, dropout=config.dropout, precision="fp32")
    ranking = {qid: sorted({*wrong(some)[qid][:6], *some.positives[qid]}) for qid in some.validation}
    recipe = TctRecipe(distil=distil, student=config, **settings)
    return TctTask(student, None if distil == "none" else teacher, some, recipe, ranking)


def train(folder: Path, **settings):
    """Train in `folder`/run, whose neighbours other trainings share. Returns the task and the facts."""
    from retrievers.training.loop import fit
    from retrievers.training.settings import Fit

    scores, data, count = settings.pop("scores", False), settings.pop("data", "toy"), settings.pop("count", 60)
    said = settings.pop("say", lambda line: None)
    task, taught = settings.pop("task", None), settings.pop("tct", "")
    config = Fit(**{"batch": 6, "nway": 3, "lr": 1e-3, "dropout": 0.1, "save_every": 2, **settings})
    if taught:
        task = tct(folder.parent, config, distil=taught)
    else:
        task = task(config) if task else late(folder.parent, config)
    given = lines(task._pairs, count, nway=config.nway, scores=scores)
    return task, fit(task, given, folder, config, data=data, title="toy", say=said)


def slow(folder: Path, config, pause: float):
    """Return a task that takes its time, and a file that says when its fifth step begins."""
    task = late(folder.parent, config)
    computed, count = task.loss, iter(range(10_000))

    def loss(encoded, batch):
        if next(count) == 4:
            (folder / "begun").touch()
        time.sleep(pause)
        return computed(encoded, batch)

    task.loss = loss
    return task


# what tests ask of a training


class Stopped(BaseException):
    """What a test kills a training with: nothing of the loop listens to it."""


def stopping_at(task, step: int, kind: type[BaseException] = Stopped):
    """Return the task, but with the step's loss the process is at its end."""
    computed, count = task.loss, iter(range(10_000))

    def loss(encoded, batch):
        if next(count) == step:
            raise kind
        return computed(encoded, batch)

    task.loss = loss
    return task


def log(folder: Path) -> list[dict]:
    from retrievers.training.journal import LOG

    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in log(folder) if "loss" in line]


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*state-*"))


def same(a, b) -> None:
    """Assert that two models have the same weights, to the last bit."""
    import torch

    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def close(a, b, **tolerance: float) -> None:
    """Assert that two models have nearly the same weights."""
    import torch

    assert a.keys() == b.keys()
    for name in a:
        if not name.endswith("key.bias"):  # its gradient is nothing but rounding, of which Adam makes a whole step
            torch.testing.assert_close(a[name], b[name], **tolerance)


# as a program


def run(folder: Path, settings: dict) -> None:
    """Train, and leave the weights and the facts in the folder."""
    from safetensors.torch import save_file

    pause = settings.pop("pause", 0)
    task, facts = train(folder, **settings, task=(lambda config: slow(folder, config, pause)) if pause else None)
    save_file(task.model.state_dict(), folder / "weights.safetensors")
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    run(Path(sys.argv[1]), json.loads(sys.argv[2]))
