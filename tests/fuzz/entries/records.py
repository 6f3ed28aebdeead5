"""Readers of records, runs with headers, and other boards' results; a record's id is mended, as a liar's would be."""

import json
from pathlib import Path

from reader import Reader

import lotte
from leaderboard import compare_rows, interchange, papers
from leaderboard.board import site
from leaderboard.evaluate import Order, evaluate
from leaderboard.record import submit
from leaderboard.record.audit import Report, audit
from leaderboard.record.loaded_dataset import LoadedDataset
from leaderboard.record.read import read
from leaderboard.record.schema import Record
from lotte import artifact, reading
from lotte.errors import LotteError
from retrievers import load

SAMPLE = "sample/test"
TASK = {
    "task_name": "SciFact", "dataset_revision": "r", "date": 1.7e9, "mteb_version": "2",
    "scores": {"test": [{"hf_subset": "default", "ndcg_at_10": 0.5, "recall_at_100": 0.75}]},
}  # fmt: skip
HEADER = "# ir_metadata.start\n# tag: theirs\n# method: {retrieval: [{name: a, method: b, params: {k1: 0.9}}]}\n# ir_metadata.end\n"


def _data(folder: Path) -> "lotte.Dataset":
    data = folder / "sample"
    data.mkdir(exist_ok=True)
    (data / "collection.tsv").write_text("".join(f"{pid}\tred wing number {pid}\n" for pid in range(6)))
    (data / "queries.test.tsv").write_text("0\tred 1\n1\twing 2\n2\tnumber 3\n")
    (data / "qrels.test.tsv").write_text("0\t0\t1\t1\n1\t0\t2\t1\n2\t0\t3\t1\n")
    return reading.read(data)[0]


def _evaluated(folder: Path) -> None:
    dataset = _data(folder)
    for name in ("overlap", "rank_bm25"):
        assert list(evaluate(name, load(name), [dataset], Order(out=folder / "out")))
    loaded = LoadedDataset.of(dataset)
    for name in ("overlap", "rank_bm25"):
        submit.add(folder / "out" / name / f"{SAMPLE}.json", folder / "results", loaded, by="me")


def _mended(content: bytes) -> bytes:
    """Give a record the id of what it says, so that more than its hash is looked at."""
    try:
        record = json.loads(content)
        record.pop("id", None)
        return json.dumps({**record, "id": artifact.digest(record)}, ensure_ascii=False).encode()
    except (ValueError, AttributeError, RecursionError):
        return content


def _board(folder: Path) -> None:
    record = folder / "results" / "overlap" / f"{SAMPLE}.json"
    other = folder / "results" / "rank_bm25" / f"{SAMPLE}.json"
    found: list[tuple[Path, Record]] = []
    list(audit(folder / "results", folder, Report()))
    site.build(folder / "results", folder / "site", lambda line: None, data=folder)
    refused: LotteError | None = None
    for use in (
        lambda: found.append((record, read(record))),
        lambda: compare_rows.compare([other, record]),
        lambda: submit.reproduce(folder / "out/overlap" / f"{SAMPLE}.json", record, _loaded(folder), by="you"),
        *(lambda form=form: list(interchange.export([record], form, folder / form)) for form in ("tira", "ir_metadata")),
        lambda: papers.tables(found),
    ):
        try:
            use()
        except LotteError as error:
            refused = error
    if not found and refused:
        raise refused


def _loaded(folder: Path) -> LoadedDataset:
    return LoadedDataset.of(reading.read(folder / "sample")[0])


def _header(folder: Path) -> None:
    _evaluated(folder)
    run = folder / "out" / "overlap" / f"{SAMPLE}.trec"
    (folder / "theirs.trec").write_text(HEADER + run.read_text())


def _task(folder: Path) -> None:
    (folder / "SciFact.json").write_text(json.dumps(TASK))
    (folder / "model_meta.json").write_text(json.dumps({"name": "org/model", "revision": "r", "n_parameters": 5}))


def _taken_in(folder: Path, file: str, **more: str) -> None:
    for path in interchange.take_in(folder / file, folder / "imported", folder, **more):
        read(path)


READERS = [
    Reader("record", f"results/overlap/{SAMPLE}.json", _evaluated, _board),
    Reader("record-of-a-liar", f"results/overlap/{SAMPLE}.json", _evaluated, _board, _mended),
    Reader("run-with-a-header", "theirs.trec", _header, lambda folder: _taken_in(folder, "theirs.trec", dataset=str(folder / "sample"))),
    Reader("mteb-result", "SciFact.json", _task, lambda folder: _taken_in(folder, "SciFact.json")),
    Reader("mteb-model", "model_meta.json", _task, lambda folder: _taken_in(folder, "SciFact.json")),
]  # fmt: skip
