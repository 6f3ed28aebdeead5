"""Readers of a training's files: lines of examples, what was mined and scored, pairs, settings."""

import json
from pathlib import Path

from reader import Reader

from lotte.collection import Collection
from lotte.dataset import Dataset
from retrievers.training import examples, mine, teacher
from retrievers.training.given import Given
from retrievers.training.run import Training
from retrievers.training.settings import changed, small


def _dataset(folder: Path) -> Dataset:
    (folder / "collection.tsv").write_text("".join(f"{pid}\ttext {pid}\n" for pid in range(9)))
    queries = {str(qid): f"question {qid}" for qid in range(6)}
    qrels = {str(qid): {str(qid): 1} for qid in range(6)}
    corpus = Collection(folder / "collection.tsv")
    return Dataset(name="toy/train", corpus=corpus, queries=queries, qrels=qrels, measure="MRR@10")


def _lines(folder: Path) -> None:
    rows = [json.dumps([qid % 6, [qid % 6, 0.5], [(qid + 2) % 9, -1.25], [(qid + 4) % 9, 3e-5]]) for qid in range(24)]
    (folder / "examples.json").write_text("\n".join(rows) + "\n")
    (folder / "mined.json").write_text("".join(f"[{qid}, 1, 2, 3]\n" for qid in range(6)))
    (folder / "scores.json").write_text("".join(f"[{qid}, [[0.5, 1], [-2e-3, 2]]]\n" for qid in range(6)))


def _given(folder: Path) -> None:
    given = Given(_dataset(folder), folder / "examples.json", validation=2)
    kept, trained = given.validation, list(given.lines(0))
    assert not kept & {line.qid for line in trained}, "a question that is kept is trained on"
    assert given.ranking is not None


def _pairs(folder: Path) -> None:
    examples.gather([_dataset(folder)], folder / "pairs", validation=2)


def _read_pairs(folder: Path) -> None:
    pairs = examples.Pairs(folder / "pairs")
    assert isinstance(pairs.sha256 + str(pairs.validation), str) and isinstance(pairs.positives, dict)


def _settings(folder: Path) -> None:
    _trained(folder / "run", folder)


def _trained(run: Path, folder: Path) -> None:
    assert Training(run, changed(small(), ["start=x"]), [_dataset(folder)], lambda line: None).steps


READERS = [
    Reader("examples", "examples.json", _lines, _given),
    Reader("mined", "mined.json", _lines, lambda folder: mine.read(folder / "mined.json")),
    Reader("scores", "scores.json", _lines, lambda folder: teacher.read(folder / "scores.json")),
    Reader("pairs", "pairs/sets.json", _pairs, _read_pairs),
    Reader("pairs-qrels", "pairs/qrels.tsv", _pairs, _read_pairs),
    Reader("settings", "run/settings.json", _settings, _settings),
]
