"""BM25: how long an index takes, and a query, beside the library's own road and beside rank_bm25.

    python tests/bench/bench_bm25.py                  # 20,000 passages, 200 queries
    python tests/bench/bench_bm25.py --passages 100000 --out bm25.json

Passages of some 100 words with Zipf's frequencies, made from a seed. "bm25s, plain" is the
library as its README shows it, with numpy and all tokens in memory; "rank_bm25" is asked a tenth of the
queries, because it is slow. Refuses to time a bm25 whose scores are not those of the library.
"""

import argparse
import json
import os
import platform
import random
import tempfile
from pathlib import Path
from time import perf_counter

import bm25s
import numpy as np

from lotte import Doc, Docs
from retrievers import load
from retrievers.analyser import english


def corpus(count: int, seed: int = 0) -> Docs:
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlucmfwypvbgk", k=rng.randint(3, 9))) for _ in range(50_000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    texts = (" ".join(rng.choices(words, weights, k=rng.randint(40, 160))) for _ in range(count))
    return Docs(tuple(Doc(str(row), text) for row, text in enumerate(texts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--out", help="also write the numbers here, as JSON")
    args = parser.parse_args()

    docs, rng = corpus(args.passages), random.Random(1)
    queries = {str(n): " ".join(rng.sample(rng.choice(docs.docs).text.split(), 6)) for n in range(args.queries)}
    rows: dict[str, dict[str, float]] = {}

    def row(name: str, built: float, asked: float, count: int) -> None:
        rows[name] = {"index_seconds": built, "queries_per_second": count / asked}
        print(f"{name:22} index {built:7.2f} s   {count / asked:9.0f} queries/s", flush=True)

    print(f"{args.passages:,} passages, {args.queries} queries of 6 words, k = {args.k}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as scratch:
        start = perf_counter()
        index = load("bm25").index(docs, Path(scratch) / "bm25")
        built = perf_counter() - start
        start = perf_counter()
        run = index.search(queries, k=args.k)
        asked = perf_counter() - start

        start = perf_counter()
        plain = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        plain.index([english(doc.text) for doc in docs], show_progress=False)
        plain_built = perf_counter() - start
        start = perf_counter()
        tokens = [english(text) for text in queries.values()]
        _, scores = plain.retrieve(tokens, k=args.k, show_progress=False)
        plain_asked = perf_counter() - start
        for found, hits in zip(scores, run.hits.values(), strict=True):
            np.testing.assert_allclose([hit.score for hit in hits], found[found > 0][: len(hits)], rtol=1e-4)
        row("bm25", built, asked, len(queries))
        row("bm25s, plain", plain_built, plain_asked, len(queries))

        few = dict(list(queries.items())[: max(1, args.queries // 10)])
        start = perf_counter()
        slow = load("rank_bm25").index(docs, Path(scratch) / "rank_bm25")
        built = perf_counter() - start
        start = perf_counter()
        slow.search(few, k=args.k)
        row("rank_bm25", built, perf_counter() - start, len(few))
    if args.out:
        record = {"machine": platform.platform(), "cores": os.cpu_count(), **vars(args), "rows": rows}
        Path(args.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
