"""The GPU kernels: how near they come to the limits of the card, and how long a search and a build take.

    python tests/bench/bench_gpu.py                                  # embeddings made from a seed: 10,000 documents
    python tests/bench/bench_gpu.py --documents 100000 --out gpu.json
    python tests/bench/bench_gpu.py --emb DIR --out gpu.json         # DIR: emb.npy, doclens.npy, q.npy

The limits are measured first, on the same card: int8 products by torch (`_int_mm`), float16 products, and a copy. Then
  assign    every token to its nearest centroid, fused product and maximum: tokens/s, int8 TOP/s, share of the limit
  maxsim    every document in full, codes read packed: tokens/s, and bytes of the index/s against the copy
  search    one query, and all at once: milliseconds a query, and recall@10 against the exact search over the codes
  build     an index from the embeddings, k-means and assignment on the GPU, codes and lists on the CPU: seconds;
            with --cpu the CPU's time for all of it too, and whether the bytes are the same

Refuses to time a kernel that disagrees with `reference`. Without a GPU it says so, and exits 1.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lotte.errors import UnavailableError
from retrievers.colbert import Arrays, SearchConfig, build_index, open_index
from retrievers.colbert.kernels import cpu, gpu, reference
from retrievers.colbert.kernels.arrays import Codec, Segment, quantised
from retrievers.colbert.search import gpu as gpu_search
from retrievers.colbert.search.cpu import TopK

DIM, QUERY_TOKENS, K = 128, 32, 100
CONFIGS = {
    "exact": SearchConfig(algorithm="exact"),
    "paper": SearchConfig(algorithm="paper"),
    "pruned, probe 1": SearchConfig(algorithm="pruned", probe=1),
    "pruned, probe 4": SearchConfig(algorithm="pruned", probe=4, refined=1024),
}


def made(documents: int, queries: int, seed: int = 7) -> tuple[Any, Any, Any]:
    """Return embeddings with the clusters of a corpus: a token is one of 20,000 senses, and noise."""
    rng = np.random.default_rng(seed)
    senses = unit(rng.standard_normal((20_000, DIM), np.float32) + 0.5 * rng.standard_normal(DIM, np.float32))
    lengths = rng.integers(60, 181, documents)
    vectors = np.empty((int(lengths.sum()), DIM), np.float16)
    chances = 1 / np.arange(1, len(senses) + 1) ** 0.9
    for first in range(0, len(vectors), 1 << 18):
        some = vectors[first : first + (1 << 18)]
        sense = rng.choice(len(senses), len(some), p=chances / chances.sum())
        some[:] = unit(senses[sense] + 0.06 * rng.standard_normal((len(some), DIM), np.float32))
    tokens = rng.integers(0, len(vectors), (queries, QUERY_TOKENS))
    near = vectors[tokens].astype(np.float32) + 0.06 * rng.standard_normal((queries, QUERY_TOKENS, DIM), np.float32)
    return vectors, lengths, unit(near)


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def seconds(work: Callable[[], Any], runs: int = 20) -> float:
    """Return the median time of some work on the GPU, by its own clock, after three runs that do not count."""
    import torch

    for _ in range(3):
        work()
    times = []
    for _ in range(runs):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        work()
        stop.record()
        stop.synchronize()
        times.append(float(start.elapsed_time(stop)) / 1000)
    return statistics.median(times)


def wall(work: Callable[[], Any], runs: int = 20) -> float:
    """Return the median time that a caller waits."""
    import torch

    times = []
    for run in range(runs + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if run >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def limits() -> dict[str, float]:
    """Return what the card does at best: operations/s, and bytes/s read plus written."""
    import torch

    size = 8192
    a, b = (torch.randint(-127, 128, (size, size), dtype=torch.int8, device="cuda") for _ in range(2))
    x, y = (torch.randn(size, size, dtype=torch.float16, device="cuda") for _ in range(2))
    block = torch.randint(0, 255, (1 << 31,), dtype=torch.uint8, device="cuda")
    other = torch.empty_like(block)
    return {
        "int8": 2 * size**3 / seconds(lambda: torch._int_mm(a, b.t())),
        "float16": 2 * size**3 / seconds(lambda: x @ y.t()),
        "copy": 2 * len(block) / seconds(lambda: other.copy_(block)),
    }


def agree(codec: Codec, segment: Segment, index: gpu_search.GpuIndex, points: Any, queries: Any) -> None:
    """Hold every kernel to the judge on some of what will be timed. Raises SystemExit where one differs."""
    import torch

    some = np.random.default_rng(0).integers(0, len(points), 2000)
    query, rows = quantised(queries[0]), np.arange(min(200, segment.num_documents), dtype=np.int32)
    asked, part = gpu.batch(index.codec, [query]), index.segments[0]
    context, rows_C = reference.context(codec, query, 1), gpu.moved(rows, "cuda")
    scores, wanted = context.scores.fine, reference.exact_maxsim(segment, context, rows)
    on_gpu = gpu.centroid_scores(index.codec, asked)
    checks = {
        "nearest": np.array_equal(
            gpu.nearest(points[some], codec.shifted), reference.nearest(points[some], codec.shifted)
        ),
        "centroid_scores": np.array_equal(on_gpu.cpu()[0, :, : query.count], scores[0, :, : query.count]),
        "centroid_interaction": np.array_equal(
            gpu.centroid_interaction(part, gpu.coarse(on_gpu), rows_C[None]).cpu()[0],
            reference.centroid_interaction(segment, context, rows),
        ),
    }
    for kind, near in ((torch.float32, 1e-3), (torch.float16, 0.05), (torch.bfloat16, 0.5)):
        for which in (rows_C, rows_C[None]):
            found = gpu.exact_maxsim(index.codec, part, asked.vectors.to(kind), asked.counts, which)
            checks[f"full_maxsim in {kind}, {which.ndim} axes"] = np.allclose(found.cpu()[0], wanted, atol=near)
    if wrong := [name for name, right in checks.items() if not right]:
        raise SystemExit(f"error: not timed, because {', '.join(wrong)} differs from the reference")


def assigned(points: Any, codec: Codec, limit: dict[str, float]) -> dict[str, float]:
    points_NH, centroids = gpu.moved(points, "cuda"), gpu.moved(codec.shifted, "cuda")
    took = seconds(lambda: gpu.nearest(points_NH, centroids))
    rate = 2 * len(points) * codec.num_centroids * codec.dim / took
    return {
        "tokens_per_second": len(points) / took,
        "operations_per_second": rate,
        "share_of_limit": rate / limit["int8"],
    }


def in_full(index: gpu_search.GpuIndex, queries: Any, limit: dict[str, float]) -> dict[str, float]:
    """Time every document with some queries; the bytes are those of the index, which a better kernel cannot avoid."""
    part, asked = index.segments[0], gpu.batch(index.codec, [quantised(query) for query in queries])
    rows, half = gpu_search._all(part, None), asked.vectors.half()
    took = seconds(lambda: gpu.exact_maxsim(index.codec, part, half, asked.counts, rows))
    tokens, stored = len(part.centroid_ids), part.centroid_ids.nbytes + part.residuals.nbytes
    rate = 2 * tokens * len(queries) * QUERY_TOKENS * DIM / took
    return {
        "tokens_per_second": tokens / took, "bytes_per_second": stored / took, "share_of_copy": stored / took / limit["copy"],
        "operations_per_second": rate, "share_of_limit": rate / limit["float16"], "ms": 1000 * took,
    }  # fmt: skip


def searched(index: gpu_search.GpuIndex, queries: Any) -> dict[str, dict[str, float]]:
    """Time searches as a caller waits for them: from arrays in memory to documents in memory."""

    def asked(some: Any, config: SearchConfig) -> list[TopK]:
        return gpu_search.search(index, list(some), k=K, config=config)

    out, truth = {}, asked(queries, CONFIGS["exact"])
    for name, config in CONFIGS.items():
        found = asked(queries, config)
        shares = [len({*a.rows[:10]} & {*b.rows[:10]}) / 10 for a, b in zip(found, truth, strict=True)]
        one = [wall(partial(asked, queries[at : at + 1], config), runs=3) for at in range(min(20, len(queries)))]
        batch = wall(partial(asked, queries, config), runs=5)
        out[name] = {
            "one_ms": 1000 * statistics.median(one),
            "batch_ms_per_query": 1000 * batch / len(queries),
            "recall@10": statistics.mean(shares),
        }
    return out


def built(folder: Path, vectors: Any, lengths: Any, threads: int, on: str | None) -> float:
    """Build an index on a GPU, or on the processor for None, and return the seconds it took."""
    start = time.perf_counter()
    build_index(folder, Arrays(vectors, lengths), threads=threads, gpu=on)
    return time.perf_counter() - start


def show(name: str, numbers: dict[str, Any]) -> None:
    parts = []
    for key, number in numbers.items():
        if key.endswith("_per_second"):
            parts.append(f"{number / 1e9:,.2f} G {key.removesuffix('_per_second')}/s")
        else:
            parts.append(f"{key.replace('_', ' ')} {number:,.3f}")
    print(f"{name:28} {'   '.join(parts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--emb", type=Path, help="a folder of emb.npy (N, 128), doclens.npy and q.npy (B, 32, 128)")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--cpu", action="store_true", help="build on the CPU too, and compare the bytes")
    parser.add_argument("--out", type=Path, help="also write the numbers here, as JSON")
    args = parser.parse_args()
    try:
        where = gpu.device()
    except UnavailableError as error:
        sys.exit(f"error: {error}")
    if where != "cuda":
        sys.exit("error: there is no CUDA GPU here, and the interpreter's times say nothing")
    import torch
    import triton

    if args.emb:
        vectors, lengths, queries = (
            np.load(args.emb / f"{name}.npy", mmap_mode="r") for name in ("emb", "doclens", "q")
        )
    else:
        vectors, lengths, queries = made(args.documents, args.queries)
    card = torch.cuda.get_device_name()
    size = f"{len(lengths):,} documents, {len(vectors):,} tokens, {len(queries)} queries"
    print(f"{card}, torch {torch.__version__}, triton {triton.__version__}: {size}, k = {K}\n", flush=True)
    rows: dict[str, Any] = {"limits": limits()}
    show("limits", {f"{name}_per_second": number for name, number in rows["limits"].items()})

    with tempfile.TemporaryDirectory() as scratch:
        gpu.nearest(np.zeros((1, DIM), np.int8), np.zeros((1, DIM), np.uint8))  # compiled before the build is timed
        folder = Path(scratch) / "gpu"
        rows["build"] = {"seconds": built(folder, vectors, lengths, args.threads, where)}
        if args.cpu:
            other = Path(scratch) / "cpu"
            rows["build"]["cpu_seconds"] = built(other, vectors, lengths, args.threads, None)
            same = all((other / path.name).read_bytes() == path.read_bytes() for path in folder.glob("*.npy"))
            rows["build"]["same_bytes"] = float(same)
        opened = open_index(folder)
        start = time.perf_counter()
        index = gpu_search.GpuIndex.of(opened)
        rows["build"]["move_seconds"] = time.perf_counter() - start
        show("build", rows["build"])

        codec, segment = opened.codec, opened.segments[0]
        points = np.concatenate(
            [
                cpu.as_bytes(vectors[first : first + (1 << 18)].astype(np.float32))
                for first in range(0, len(vectors), 1 << 18)
            ]
        )
        agree(codec, segment, index, points, queries)
        rows["assign"] = assigned(points, codec, rows["limits"])
        show(f"assign, {codec.num_centroids:,} cells", rows["assign"])
        for count in (1, 4, min(64, len(queries))):
            rows[f"maxsim, {count} queries"] = in_full(index, queries[:count], rows["limits"])
            show(f"maxsim, {count} queries", rows[f"maxsim, {count} queries"])
        for name, numbers in searched(index, queries).items():
            rows[f"search, {name}"] = numbers
            show(f"search, {name}", numbers)
    facts = {
        "card": card, "torch": torch.__version__, "triton": triton.__version__, "documents": len(lengths),
        "tokens": len(vectors), "queries": len(queries), "k": K, "centroids": codec.num_centroids, "rows": rows,
    }  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
