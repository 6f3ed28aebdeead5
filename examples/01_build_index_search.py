"""Build the sample collection from its dumps, index one topic with BM25, and search it."""

import sys
import tempfile
from pathlib import Path

import lotte
import retrievers
from leaderboard.measure import Success, mean, scores
from lotte.builder import build, spec
from lotte.progress import Progress

SAMPLE = Path(lotte.__file__).parent / "sample"


def main(out: Path) -> None:
    request = build.BuildRequest(
        spec.read(SAMPLE / "spec.toml"), SAMPLE / "dumps", out / "collection", SAMPLE / "gooaq.jsonl"
    )
    build.build(request, lambda total, title: Progress(total, "bytes", title), lambda line: None)

    search, forum = lotte.read(out / "collection" / "technology" / "test")
    print(f"{len(search.corpus)} passages, {len(search.queries)} search and {len(forum.queries)} forum questions")

    index = retrievers.load("bm25").index(search.corpus, out / "index")
    texts = {doc.doc_id: doc.text for doc in search.corpus}
    for hit in retrievers.search_one(index, "deleted a big log file but the disk is still full", k=3):
        print(f"{hit.score:.4f}  {hit.doc_id}  {texts[hit.doc_id][:60]}")

    for dataset in (search, forum):
        run = index.search(dataset.queries, k=10)
        print(f"{dataset.name}  Success@5  {mean(scores(run, dataset.qrels, [Success @ 5])[Success @ 5]):.4f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
