"""The late-interaction engine on encoded documents: build, search, memory, and its peers beside it in the same run.

    python tests/bench/bench_colbert.py EMB_DIR [EMB_DIR ...] --index DIR [--threads 1] [--out FILE.json]
    python tests/bench/bench_colbert.py EMB_DIR --index DIR --peer-python PYTHON --peer-index DIR

EMB_DIR is a folder of ../shared/bench/make_embeddings.py and exact_topk.py: emb.npy, doclens.npy, q.npy, gt.npy.
An index is built at DIR/<name of EMB_DIR> unless it is there (--build makes it anew). Each setting is timed one query
at a time and as one batch, k = 100; recall is against exact MaxSim over the vectors ("gt") and over our own codes
("codes"). "scan" scores every document in full with the same kernel. "cpu" is processor time, which moves less than
the clock where a machine is shared. A search that is not as `exact` says, score by score, is not timed.

--peer-python is an interpreter that has fast-plaid and xtr-warp-rs; their indexes are at --peer-index/<peer>, and are
searched by colbert_peers.py right after ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from colbert_peers import PEERS

HERE = Path(__file__).parent
K = 100
SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {"algorithm": "paper"},
    "paper, probe 2": {"algorithm": "paper", "probe": 2},
    "pruned": {"algorithm": "pruned"},
    "pruned 4, 1500, 448": {"algorithm": "pruned", "probe": 4, "candidates": 1500, "refined": 448, "full": 192},
    "pruned 2, 800, 192": {"algorithm": "pruned", "probe": 2, "candidates": 800, "refined": 192, "full": 128},
    "pruned 1, 700, 192": {"algorithm": "pruned", "probe": 1, "candidates": 700, "refined": 192, "full": 128},
    "pruned 1, 300, 128": {"algorithm": "pruned", "probe": 1, "candidates": 300, "refined": 128, "full": 100},
    "pruned 8, 6000, 1024": {"algorithm": "pruned", "probe": 8, "candidates": 6000, "refined": 2048, "full": 512},
}
MEMORY = """
import sys, json, resource
sys.path.insert(0, {root!r})
import numpy as np
from pathlib import Path
from retrievers.colbert import SearchConfig, open_index
from retrievers.colbert.search import search
index = open_index(Path({folder!r}))
queries = np.load({queries!r})
search(index, list(queries), k=100, config=SearchConfig(algorithm="pruned"), threads={threads})
pages = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss"))
print(json.dumps({{name: int(value.split()[0]) * 1024 for name, value in pages.items()}}), "torch" in sys.modules)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emb", nargs="+", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--no-exact", action="store_true", help="no exact search over the codes, which takes minutes")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="names, with ; between")
    parser.add_argument("--peer-python")
    parser.add_argument("--peer-index", type=Path)
    parser.add_argument("--peer-settings", default="")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: asked.threads]
    os.sched_setaffinity(0, cores)  # so many threads, whatever a library does by itself
    records: list[dict[str, Any]] = []
    for emb in asked.emb:
        ours = bench(emb, asked)
        records += ours
        if asked.peer_python:
            theirs = peers(emb, asked)
            beside(ours, theirs)
            records += theirs
    if asked.out:
        asked.out.write_text(json.dumps(records, indent=1) + "\n")


def bench(emb: Path, asked: argparse.Namespace) -> list[dict[str, Any]]:
    import numpy as np

    from retrievers.colbert import SearchConfig, open_index
    from retrievers.colbert.search import search
    from retrievers.index_meta import is_index

    queries = list(np.load(emb / "q.npy"))
    truth = np.load(emb / "gt.npy") if (emb / "gt.npy").is_file() else None
    folder = asked.index / emb.name
    facts = {"documents": len(np.load(emb / "doclens.npy")), "threads": asked.threads, "peer": "ours"}
    records = []
    if asked.build or not is_index(folder):
        records.append(facts | build(emb, folder, asked.threads))
        show(records[-1])
    start = perf_counter()
    index = open_index(folder)
    opened = (perf_counter() - start) * 1e3
    size = sum(file.stat().st_size for file in folder.iterdir() if not file.name.startswith("exact"))
    records.append(
        facts | {"mode": "size", "setting": "2 bits", "bytes_a_token": size / index.num_tokens, "open_ms": opened}
    )
    show(records[-1])
    exact = None if asked.no_exact else exact_rows(folder, index, queries)
    if truth is not None and exact is not None:
        records.append(facts | {"mode": "quality", "setting": "exact over codes", **recall(exact, truth, "gt")})
        show(records[-1])
    scan_one = scan(index)
    records.append(facts | {"mode": "one", "setting": "scan"} | timed(scan_one, queries[:20]))
    show(records[-1])
    for name in [name for name in SETTINGS if name in asked.settings.replace(";", ",") or asked.settings == "all"]:
        config = SearchConfig(**SETTINGS[name])
        check(index, queries[:3], config)

        def one(query: Any, config: SearchConfig = config) -> Any:
            return search(index, [query], k=K, config=config, threads=asked.threads)[0]

        found = [one(query).rows for query in queries]
        record = facts | {"mode": "one", "setting": name} | timed(one, queries)
        for name_of_truth, rows in (("codes", exact), ("gt", truth)):
            record |= {} if rows is None else recall(found, rows, name_of_truth)
        record["times_faster_than_scan"] = records_of(records, "scan")["cpu_ms"] / record["cpu_ms"]
        records.append(record)
        show(record)
        start, before = perf_counter(), process_time()
        search(index, queries, k=K, config=config, threads=asked.threads)
        batch = {
            "ms": (perf_counter() - start) * 1e3 / len(queries),
            "cpu_ms": (process_time() - before) * 1e3 / len(queries),
        }
        records.append(facts | {"mode": "batch", "setting": name} | batch)
        show(records[-1])
    records.append(facts | {"mode": "memory", "setting": "pruned"} | memory(folder, emb, asked.threads))
    show(records[-1])
    return records


def build(emb: Path, folder: Path, threads: int) -> dict[str, Any]:
    """Build from a mapped file of vectors, k-means and all."""
    import shutil

    import numpy as np

    from retrievers.colbert import Arrays, build_index

    shutil.rmtree(folder, ignore_errors=True)
    source = Arrays(np.load(emb / "emb.npy", mmap_mode="r"), np.load(emb / "doclens.npy"))
    start, before = perf_counter(), process_time()
    index = build_index(folder, source, threads=threads)
    spent = {"seconds": perf_counter() - start, "cpu_seconds": process_time() - before}
    return {"mode": "build", "setting": "2 bits", "centroids": index.codec.num_centroids, **spent}


def exact_rows(folder: Path, index: Any, queries: list[Any]) -> list[Any]:
    """Return the exact top 100 over the codes; kept beside the index, because it takes a while."""
    import numpy as np

    from retrievers.colbert import SearchConfig
    from retrievers.colbert.search import search

    if not (folder / "exact.npy").is_file():
        found = search(index, queries, k=K, config=SearchConfig(algorithm="exact"))
        np.save(folder / "exact.npy", np.stack([one.rows for one in found]))
    return list(np.load(folder / "exact.npy"))


def scan(index: Any) -> Callable[[Any], Any]:
    """Return a search that scores every document in full by bytes."""
    import numpy as np

    from retrievers.colbert.kernels import cpu
    from retrievers.colbert.kernels.arrays import SearchContext, quantised

    part = index.segments[0]
    rows = np.arange(part.num_documents, dtype=np.int32)

    def one(vectors: Any) -> Any:
        query = quantised(vectors)
        context = SearchContext(index.codec, query, cpu.centroid_scores(index.codec, query, 1))
        found = cpu.quantized_maxsim(part, context, rows)
        return np.argpartition(-found, K)[:K]

    return one


def check(index: Any, queries: list[Any], config: Any) -> None:
    """Refuse to time a search whose scores are not those of an exact search."""
    import numpy as np

    from retrievers.colbert.kernels import reference
    from retrievers.colbert.search import search

    part = index.segments[0]
    for query, found in zip(queries, search(index, queries, k=10, config=config), strict=True):
        for row, score in zip(found.rows, found.scores, strict=True):
            tokens = slice(part.starts[row], part.starts[row + 1])
            vectors = reference.decode(index.codec, part.centroid_ids[tokens], part.residuals[tokens])
            truth = reference.maxsim(query, vectors, np.array([0, len(vectors)]))[0]
            if abs(truth - score) > 0.02:
                raise SystemExit(f"error: document {row} scores {score}, and exactly {truth}: nothing is timed")


def timed(one: Callable[[Any], Any], queries: list[Any]) -> dict[str, float]:
    for query in queries[:3]:
        one(query)
    clock, cpu = [], []
    for query in queries:
        start, before = perf_counter(), process_time()
        one(query)
        clock.append((perf_counter() - start) * 1e3)
        cpu.append((process_time() - before) * 1e3)
    return {
        "ms": statistics.median(clock),
        "p95_ms": sorted(clock)[int(0.95 * len(clock))],
        "cpu_ms": statistics.median(cpu),
    }


def recall(found: list[Any], truth: Any, name: str) -> dict[str, float]:
    return {
        f"recall@{depth} {name}": statistics.mean(
            len(set(ours[:depth].tolist()) & set(theirs[:depth].tolist())) / depth
            for ours, theirs in zip(found, truth, strict=True)
        )
        for depth in (10, 100)
    }


def memory(folder: Path, emb: Path, threads: int) -> dict[str, Any]:
    """Return what a process that only searches holds: its own memory, and the mapped pages that it touched."""
    code = MEMORY.format(root=str(HERE.parent.parent), folder=str(folder), queries=str(emb / "q.npy"), threads=threads)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    numbers, has_torch = done.stdout.rsplit(maxsplit=1)
    pages = json.loads(numbers)
    return {"own_mb": pages["RssAnon"] / 1e6, "mapped_mb": pages["RssFile"] / 1e6, "torch": has_torch}


def peers(emb: Path, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Search the peers' indexes, in this run."""
    found = []
    for peer in ("fast-plaid", "xtr-warp-rs"):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "peers.json"
            command = [asked.peer_python, str(HERE / "colbert_peers.py"), str(emb), "--peer", peer, "--index",
                       str(asked.peer_index / peer), "--threads", str(asked.threads), "--out", str(out)]  # fmt: skip
            if asked.peer_settings:
                names = [name for name in asked.peer_settings.split(",") if name in PEERS[peer].settings]
                command += ["--settings", ",".join(names)]
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
            found += json.loads(out.read_text()) if out.is_file() else []
    return found


def beside(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Print, for every setting of a peer, our fastest that finds as much, and how many times faster it is."""
    for record in theirs:
        if "ms" not in record:
            continue
        enough = [
            one for one in ours
            if one["mode"] == "one" and one.get("recall@100 gt", 0) >= record["recall@100"]
        ]  # fmt: skip
        line = f"{record['peer']:12} {record['setting']:16} {record['mode']:6} {record['ms']:8.1f} ms  @100 {record['recall@100']:.3f}"
        if enough:
            best = min(enough, key=lambda one: one["ms"])
            same = next(one for one in ours if one["mode"] == record["mode"] and one["setting"] == best["setting"])
            line += f"  ours: {same['setting']:20} {same['ms']:6.2f} ms  @100 {best['recall@100 gt']:.3f}  {record['ms'] / same['ms']:6.1f} times"
        print(line, flush=True)


def records_of(records: list[dict[str, Any]], setting: str) -> dict[str, Any]:
    return next(record for record in records if record["setting"] == setting)


def show(record: dict[str, Any]) -> None:
    numbers = "  ".join(
        f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in record.items()
        if key not in ("peer", "mode", "setting", "documents", "threads")
    )
    print(
        f"{record['documents']:8,} {record['threads']} {record['mode']:8} {record['setting']:22} {numbers}", flush=True
    )


if __name__ == "__main__":
    main()
