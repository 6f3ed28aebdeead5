"""Exact search over vectors beside FAISS's IndexFlatIP, on the same threads, in turns.

    python tests/bench/bench_dense.py                        # 100,000 x 384, 1 and 2 threads, batches and single queries
    python tests/bench/bench_dense.py --rows 1000000 --dim 768 --threads 1 --k 10 --out dense.json

A process for each number of threads, which both have from the start; rounds in turns, medians shown, the first round
left out. Single queries are asked one after another, each by a call of its own. Refuses results that are not FAISS's.
"""

import argparse
import json
import os
import subprocess
import sys
from statistics import median
from time import perf_counter

import numpy as np


def vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Return vectors of length 1 in a hundred loose groups, as texts of some topics have."""
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(99).standard_normal((100, dim))
    made = (middles[rng.integers(100, size=count)] + rng.standard_normal((count, dim))).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def timed(asked: argparse.Namespace, threads: int) -> list[dict[str, object]]:
    """Ask both, and return a row for each way of asking."""
    import faiss

    from retrievers.dense.search import ExactSearch

    faiss.omp_set_num_threads(threads)
    matrix, queries = vectors(asked.rows, asked.dim, 0), vectors(asked.queries, asked.dim, 1)
    ours = ExactSearch(matrix, np.arange(len(matrix)), 1.0001, threads=threads)
    theirs = faiss.IndexFlatIP(asked.dim)
    theirs.add(matrix)
    rows = []
    for k in map(int, asked.k.split(",")):
        for name, size in (("batch", asked.queries), ("single", 1)):
            count = asked.queries if size > 1 else asked.singles

            def ask(engine: str, k: int = k, size: int = size, count: int = count) -> tuple[float, list]:
                start, found = perf_counter(), []
                for first in range(0, count, size):
                    some = queries[first : first + size]
                    if engine == "ours":
                        found += list(ours.found(some, k))
                    else:
                        scores, rows = theirs.search(some, k)
                        found += zip(rows, scores, strict=True)
                return 1000 * (perf_counter() - start) / count, found

            times: dict[str, list[float]] = {"ours": [], "faiss": []}
            for number in range(asked.rounds + 1):
                found = {}
                for engine in times:
                    spent, found[engine] = ask(engine)
                    if number:
                        times[engine].append(spent)
            same(found["ours"], found["faiss"])
            mine, other = median(times["ours"]), median(times["faiss"])
            rows.append(
                {"threads": threads, "k": k, "asked": name, "ours_ms": mine, "faiss_ms": other, "times": other / mine}
            )
    return rows


def same(ours: list, theirs: list) -> None:
    """Raise unless both found the same, but for products that rounding cannot tell apart."""
    for (rows, scores), (their_rows, their_scores) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(scores, their_scores, atol=2e-6)
        clear = scores > scores[-1] + 2e-6
        assert set(rows[clear]) <= set(their_rows), "other rows than FAISS's"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=256, help="of a batch")
    parser.add_argument("--singles", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--k", default="10,100,1000")
    parser.add_argument("--out", help="a file for the figures, as JSON")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(timed(asked, int(asked.threads))))
        return
    rows = []
    for threads in asked.threads.split(","):
        env = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        command = [sys.executable, __file__, *sys.argv[1:], "--threads", threads, "--here"]
        done = subprocess.run(command, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True, check=True)
        rows += json.loads(done.stdout)
    for row in rows:
        print(
            "\t".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()), flush=True
        )
    if asked.out:
        with open(asked.out, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
