"""Readers of collections, questions, judgments and rankings."""

import json
from pathlib import Path

from reader import Reader

from leaderboard.measure import Success, nDCG, scores
from lotte import ranking, reading
from lotte.collection import Collection, OwnIds
from lotte.dataset import identity

TEXTS = ["red number one of the wing", "blue, at 1,000 m", "Grüße \u2028 und mehr", "no", "the last of them"]


def lotte(folder: Path) -> None:
    topic = folder / "science" / "test"
    topic.mkdir(parents=True)
    (topic / "collection.tsv").write_text("".join(f"{pid}\t{text}\n" for pid, text in enumerate(TEXTS)))
    for kind in ("search", "forum"):
        (topic / f"questions.{kind}.tsv").write_text("0\twhich wing\n1\thow high\n2\twhere\n")
        answers = [{"qid": qid, "query": "q", "answer_pids": [qid, qid + 1]} for qid in range(3)]
        (topic / f"qas.{kind}.jsonl").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))


def read_lotte(folder: Path) -> None:
    for dataset in reading.read(folder / "science" / "test"):
        identity(dataset)


def colbert(folder: Path) -> None:
    (folder / "collection.tsv").write_text("".join(f"{pid}\t{text}\ttitle\n" for pid, text in enumerate(TEXTS)))
    (folder / "queries.test.tsv").write_text("q1\tred wing\n2\thow high\n")
    (folder / "qrels.test.tsv").write_text("q1\t0\t0\t1\nq1\t0\t3\t2\n2\t0\t1\t1\n2\t0\t4\t0\n")
    (folder / "SOURCE.json").write_text('{"licence": "CC BY 4.0", "counts": {"passages": 5}}')
    (folder / "ids.tsv").write_text("".join(f"doc-{pid}\t{text}\n" for pid, text in enumerate(TEXTS)))


def beir(folder: Path) -> None:
    (folder / "qrels").mkdir()
    rows = [{"_id": f"doc-{pid}", "title": "t", "text": text, "metadata": {}} for pid, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "red"}\n{"_id": 2, "text": "high"}\n')
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\tdoc-0\t1\nq1\tdoc-3\t2\n2\tdoc-1\t1.0\n"
    )


def score(folder: Path) -> None:
    """Read a set and score a ranking of all its documents, as far as `lotte eval` goes."""
    from lotte.run import Run

    for dataset in reading.read(folder):
        identity(dataset)
        doc_ids = list(dataset.corpus.doc_ids)
        run = Run.of(
            {query_id: {one: float(at) for at, one in enumerate(doc_ids)} for query_id in dataset.queries}, depth=9
        )
        found = scores(run, dataset.judge(run), [Success @ 5, nDCG @ 10])
        assert all(0 <= value <= 1 for values in found.values() for value in values.values())
        ranking.write_trec(folder / "out.trec", run, tag="t")


RUNS = {
    "run-trec": "q1 Q0 0 1 2.5 tag\nq1 Q0 3 2 1e-3 tag\n2 Q0 1 1 -7 tag\n2 Q0 4 2 -7.5 tag more\n",
    "run-lotte": "q1\t0\t1\t2.5\nq1\t3\t2\t1\n2\t1\t1\t7\n",
    "run-marco": "q1\t0\t1\nq1\t3\t2\n2\t1\t1\n",
}


def _run(name: str) -> Reader:
    def make(folder: Path) -> None:
        colbert(folder)
        (folder / "run").write_text(RUNS[name])

    def read(folder: Path) -> None:
        (dataset,) = reading.read(folder)
        ranking.read(folder / "run", dataset.queries, dataset.corpus.doc_ids)

    return Reader(name, "run", make, read)


READERS = [
    Reader("collection", "collection.tsv", colbert, lambda folder: [*Collection(folder / "collection.tsv")]),
    Reader("own-ids", "ids.tsv", colbert, lambda folder: [*OwnIds(folder / "ids.tsv")]),
    Reader("questions", "science/test/questions.search.tsv", lotte, read_lotte),
    Reader("qas", "science/test/qas.forum.jsonl", lotte, read_lotte),
    Reader("qrels", "qrels.test.tsv", colbert, score),
    Reader("source", "SOURCE.json", colbert, score),
    Reader("beir-corpus", "corpus.jsonl", beir, score),
    Reader("beir-queries", "queries.jsonl", beir, score),
    Reader("beir-qrels", "qrels/test.tsv", beir, score),
    *map(_run, RUNS),
]
