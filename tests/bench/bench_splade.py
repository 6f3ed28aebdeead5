"""Exact search over weights of words beside scipy's sparse products, on one thread, in turns.

    python tests/bench/bench_splade.py                    # 100,000 passages of 120 words, queries of 30
    python tests/bench/bench_splade.py --documents 1000000 --k 10 --out splade.json

Words have Zipf-like frequencies, weights are those of a SPLADE: log(1 + x), some words of a text heavy and most light.
scipy is asked in three ways, with its k best found by argpartition: the documents times a query, all queries at once
times the documents, and the same by single queries. The kernels are compiled before. Refuses scores that are not scipy's.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from scipy import sparse

import lotte
from retrievers import index_folder, lexical, postings
from retrievers.lexical import AskedQuery, LexicalIndex
from retrievers.postings import Postings
from retrievers.sparse.rows import SparseRows, as_made, batch_of
from retrievers.topk import places


def texts(count: int, words: int, size: int, seed: int) -> SparseRows:
    """Return the weights of texts of `size` different words each."""
    rng = np.random.default_rng(seed)
    chance = 1 / (np.arange(words) + 20.0)
    ids = np.empty((count, size), dtype=np.int32)
    for row in range(count):  # Gumbel's trick: so many different words, by their chances
        ids[row] = np.argpartition(np.log(chance) + rng.gumbel(size=words), -size)[-size:]
    ids.sort(axis=1)
    weights = np.log1p(rng.exponential(0.6, ids.shape)).astype(np.float32) + np.float32(1e-3)
    return SparseRows(np.full(count, size, np.int32), ids.ravel(), weights.ravel())


def matrix(rows: SparseRows, words: int) -> sparse.csr_matrix:
    ends = np.concatenate([[0], np.cumsum(rows.lengths)])
    return sparse.csr_matrix((rows.weights, rows.ids, ends), shape=(len(rows.lengths), words))


def best(scores: np.ndarray, k: int) -> np.ndarray:
    rows = np.argpartition(scores, -k)[-k:]
    return np.sort(scores[rows])[::-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=30_522)
    parser.add_argument("--doc-words", type=int, default=120)
    parser.add_argument("--query-words", type=int, default=30)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--k", default="10,100,1000")
    parser.add_argument("--out", help="a file for the figures, as JSON")
    asked = parser.parse_args()
    lexical.WORTH_COMPILED = -1.0
    documents = texts(asked.documents, asked.words, asked.doc_words, 0)
    queries = texts(asked.queries, asked.words, asked.query_words, 1)
    D, Q = matrix(documents, asked.words), matrix(queries, asked.words)
    DT = D.T.tocsr()
    named = [f"w{number:06d}" for number in range(asked.words)]
    ways = {
        "documents x query": lambda k: [best((D @ one.toarray().ravel()), k) for one in Q],
        "query x documents": lambda k: [best((one @ DT).toarray().ravel(), k) for one in Q],
        "queries x documents": lambda k: [best(scores, k) for scores in (Q @ DT).toarray()],
    }
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = lotte.Docs(tuple(lotte.Doc(str(row), "") for row in range(asked.documents)))
        start = perf_counter()
        postings.write(folder, [batch_of(documents, named)], as_made)
        np.save(folder / "places.npy", places(corpus.doc_ids))
        print(f"postings written in {perf_counter() - start:.1f} s")
        texts_of = {str(row): [named[word] for word in Q[row].indices] for row in range(asked.queries)}
        weighed = [AskedQuery(texts_of[str(row)], Q[row].data.tolist()) for row in range(asked.queries)]
        found = index_folder.IndexFolder(folder, {}, corpus.doc_ids)
        index = LexicalIndex(found, Postings.open(folder), str.split, weighed=lambda some: [weighed[int(q)] for q in some])
        for k in map(int, asked.k.split(",")):
            times: dict[str, list[float]] = {"ours": [], "ours, one by one": [], **{way: [] for way in ways}}
            for number in range(asked.rounds + 1):
                for way in times:
                    start = perf_counter()
                    if way == "ours":
                        ours = index._found(dict.fromkeys(texts_of, ""), k)
                    elif way == "ours, one by one":
                        for query in texts_of:
                            index._found({query: ""}, k)
                    else:
                        theirs = ways[way](k)
                    if number:
                        times[way].append(1000 * (perf_counter() - start) / asked.queries)
            for (_, scores), expected in zip(ours.values(), theirs, strict=True):
                np.testing.assert_allclose(scores, expected[: len(scores)], rtol=1e-5)
            mine = median(times["ours"])
            for way, spent in times.items():
                rows.append({"k": k, "way": way, "ms": median(spent), "times": median(spent) / mine})
                print(f"{k}\t{way}\t{rows[-1]['ms']:.3f} ms\t{rows[-1]['times']:.1f}", flush=True)
    if asked.out:
        Path(asked.out).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
