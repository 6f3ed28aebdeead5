"""Make a dataset in Python, score BM25 on it, and write it as a folder that `lotte eval FOLDER` takes."""

import json
import sys
import tempfile
from pathlib import Path

import lotte
import retrievers
from leaderboard.measure import MRR, mean, nDCG, scores
from lotte import Doc, Docs

DOCUMENTS = {
    "d1": "Soak the chickpeas overnight; they double in size and cook in an hour.",
    "d2": "Tap water with chlorine slows a sourdough starter; let it stand in an open jug first.",
    "d3": "A dull knife slips. Sharpen it on a wet stone at an angle of twenty degrees.",
}
QUERIES = {"q1": "how long to soak chickpeas", "q2": "sharpening angle of a kitchen knife"}
JUDGMENTS = {"q1": {"d1": 1}, "q2": {"d3": 1}}


def main(out: Path) -> None:
    corpus = Docs(tuple(Doc(doc_id, text) for doc_id, text in DOCUMENTS.items()))
    run = retrievers.load("bm25").index(corpus, out / "index").search(QUERIES, k=10)
    for measure, values in scores(run, JUDGMENTS, [nDCG @ 10, MRR @ 10]).items():
        print(f"{measure}  {mean(values):.4f}")

    folder = out / "kitchen"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": key, "title": "", "text": text} for key, text in DOCUMENTS.items()])
    write_lines(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in QUERIES.items()])
    rows = [f"{query}\t{doc}\t{grade}\n" for query, judged in JUDGMENTS.items() for doc, grade in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))

    for dataset in lotte.read(folder):
        print(f"{dataset.name}: {len(dataset.corpus)} documents, {len(dataset.queries)} queries")


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
