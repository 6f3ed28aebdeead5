"""The peers of the late-interaction engine: what fast-plaid and xtr-warp-rs need to build an index, and a query.

    python tests/bench/colbert_peers.py EMB_DIR --peer fast-plaid --index DIR --threads 2 --out peers.json
    python tests/bench/colbert_peers.py EMB_DIR --peer xtr-warp-rs --index DIR --threads 1 --out peers.json --build
    python tests/bench/colbert_peers.py EMB_DIR --peer fast-plaid --index DIR --threads 1 --out peers.json \\
        --settings defaults,probe2-1024

Run by a python that has the peer; nothing of ours is imported. EMB_DIR is a folder of make_embeddings.py and
exact_topk.py: emb.npy (tokens end to end, float16), doclens.npy, q.npy (queries, 32, 128) and gt.npy (queries, 1000).

An index is built when there is none at DIR, or with --build, by the peer's own rules but for 2 bits a dimension.
Each setting is then timed one query at a time ("one": every query by itself, median and 95th percentile) and all at
once ("batch": wall time by the number of queries), k = 100, with recall against exact MaxSim. The process is bound
to N cores before any library starts, so N threads are N, whatever a library does by itself.

FILE.json is a list with one record for each (documents, peer, setting, mode, threads). A run replaces the records
that it measures again and leaves the rest; what fails becomes a record with "error", and the run goes on (exit 1).
"cpu_ms" is processor time a query, which moves less than the clock when the machine is shared; "load" is the load
average before the measurement, this process included.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

K = 100
WARM_UP = 5  # queries before each timing
LONG = 10.0  # seconds: a batch that takes longer is run once, a shorter one three times


class FastPlaid:
    """PLAID in Rust and libtorch. Settings: cells a query token looks into, documents kept for the second stage."""

    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "defaults": {},  # probe 8, 4,096
        "probe4-1024": {"n_ivf_probe": 4, "n_full_scores": 1024},
        "probe2-1024": {"n_ivf_probe": 2, "n_full_scores": 1024},
        "probe2-256": {"n_ivf_probe": 2, "n_full_scores": 256},
        "probe16-16384": {"n_ivf_probe": 16, "n_full_scores": 16384},
    }

    def __init__(self, index: Path, threads: int):
        from fast_plaid.search import FastPlaid as Index

        self.threads = threads
        self.index = Index(str(index), device="cpu")

    def build(self, docs: list[Any]) -> None:
        self.index.create(documents_embeddings=docs, nbits=2)

    def load(self) -> None:
        """It loads by itself, at the first search."""

    def search(self, queries: Any, settings: dict[str, Any]) -> list[list[int]]:
        # Its own number of workers for a batch is the machine's cores, even when the process may use fewer.
        workers = self.threads if len(queries) > 1 else 1
        found = self.index.search(queries, top_k=K, show_progress=False, n_processes=workers, **settings)
        return [[doc for doc, _ in hits] for hits in found]


class XtrWarp:
    """WARP in Rust. Unset, all of a search's numbers follow from k and the size of the index."""

    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "defaults": {},
        "probe32": {"nprobe": 32},
        "probe64-wide": {"nprobe": 64, "bound": 1024, "centroid_score_threshold": 0.2, "max_candidates": 100_000},
        "probe128-widest": {"nprobe": 128, "bound": 4096, "centroid_score_threshold": 0.0, "max_candidates": 10**7},
    }

    def __init__(self, index: Path, threads: int):
        from xtr_warp import XTRWarp

        self.threads = threads
        self.index = XTRWarp(str(index))

    def build(self, docs: list[Any]) -> None:
        self.index.create(docs, device="cpu", nbits=2, show_progress=False)

    def load(self) -> None:
        self.index.load("cpu")

    def search(self, queries: Any, settings: dict[str, Any]) -> list[list[int]]:
        found = self.index.search(queries, top_k=K, num_threads=self.threads, show_progress=False, **settings)
        return [[doc for doc, _ in hits] for hits in found]


PEERS: dict[str, Any] = {"fast-plaid": FastPlaid, "xtr-warp-rs": XtrWarp}


def bind(threads: int) -> None:
    """Hold this process, and all that it starts, to so many cores. Only before torch and numpy are imported."""
    cores = sorted(os.sched_getaffinity(0))
    if threads > len(cores):
        raise SystemExit(f"error: {threads} threads, but only {len(cores)} cores; ask for fewer")
    os.sched_setaffinity(0, cores[:threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def build(peer: Any, emb: Path, index: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    doclens = np.load(emb / "doclens.npy").tolist()
    docs = list(torch.from_numpy(np.load(emb / "emb.npy")).split(doclens))  # a tensor each, and no copy
    start, used = perf_counter(), cpu_seconds()
    peer.build(docs)
    took, used = perf_counter() - start, cpu_seconds() - used
    meta = json.loads((index / "metadata.json").read_text())
    return {
        "seconds": took,
        "cpu_seconds": used,
        "bytes": sum(file.stat().st_size for file in index.rglob("*") if file.is_file()),
        "centroids": meta.get("num_centroids", meta.get("num_partitions")),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # with the documents, in memory
    }


def time_one(peer: Any, queries: Any, settings: dict[str, Any]) -> tuple[dict[str, Any], list[list[int]]]:
    for query in queries[:WARM_UP]:
        peer.search(query[None], settings)
    times, found, used = [], [], cpu_seconds()
    for query in queries:
        start = perf_counter()
        found += peer.search(query[None], settings)
        times.append(1000 * (perf_counter() - start))
    used = 1000 * (cpu_seconds() - used) / len(queries)
    return {"ms": statistics.median(times), "p95_ms": statistics.quantiles(times, n=20)[-1], "cpu_ms": used}, found


def time_batch(peer: Any, queries: Any, settings: dict[str, Any]) -> tuple[dict[str, Any], list[list[int]]]:
    peer.search(queries[:WARM_UP], settings)
    times, used = [], cpu_seconds()
    while len(times) < 3 and sum(times) < LONG:
        start = perf_counter()
        found = peer.search(queries, settings)
        times.append(perf_counter() - start)
    scale = 1000 / len(queries)
    used = scale * (cpu_seconds() - used) / len(times)
    return {"ms": scale * statistics.median(times), "runs": len(times), "cpu_ms": used}, found


MODES = {"one": time_one, "batch": time_batch}


def recall(found: list[list[int]], truth: Any, depth: int) -> float:
    shares = [len({*hits[:depth]} & {*best[:depth]}) / depth for hits, best in zip(found, truth.tolist(), strict=True)]
    return statistics.mean(shares)


def show(record: dict[str, Any]) -> str:
    name = f"{record['peer']:12} {record['setting']:16} {record['mode']:6} {record['threads']} threads "
    if "error" in record:
        return f"{name} failed: {record['error']}"
    if record["mode"] == "build":
        size = f"{record['bytes'] / 1e6:.0f} MB, {record['centroids']} centroids"
        return f"{name} {record['seconds']:8.1f} s  cpu {record['cpu_seconds']:8.1f} s  {size}"
    shares = f"recall@10 {record['recall@10']:.3f}  @100 {record['recall@100']:.3f}"
    return f"{name} {record['ms']:8.1f} ms  cpu {record['cpu_ms']:8.1f} ms  {shares}  empty {record['empty']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("emb", type=Path, metavar="EMB_DIR")
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--index", type=Path, required=True, help="where the index is, or is to be")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="records are added here, as JSON")
    parser.add_argument("--build", action="store_true", help="build the index again")
    parser.add_argument("--settings", help="names with commas; all without it, none for ''")
    args = parser.parse_args()
    known = PEERS[args.peer].settings
    wanted = list(known) if args.settings is None else [name for name in args.settings.split(",") if name]
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"{args.peer} has no setting {unknown[0]!r}; it has {', '.join(known)}")

    bind(args.threads)
    import numpy as np
    import torch

    queries, truth = torch.from_numpy(np.load(args.emb / "q.npy")), np.load(args.emb / "gt.npy")
    doclens = np.load(args.emb / "doclens.npy")
    size = {"documents": len(doclens), "tokens": int(doclens.sum())}
    facts = {**size, "peer": args.peer, "threads": args.threads}
    key, failed = ("documents", "peer", "setting", "mode", "threads"), False

    def note(setting: str, mode: str, work: Any) -> None:
        """Run work, add what it measured to the file, and go on whatever happens."""
        nonlocal failed
        record = {**facts, "setting": setting, "mode": mode, "load": os.getloadavg()[0]}
        try:
            record |= {"version": version(args.peer), "torch": torch.__version__} | work()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust is not an Exception
            failed, record["error"] = True, f"{type(error).__name__}: {error}"[:500]
        print(show(record), flush=True)
        old = json.loads(args.out.read_text()) if args.out.exists() else []
        kept = [other for other in old if [other[name] for name in key] != [record[name] for name in key]]
        args.out.write_text(json.dumps([*kept, record], indent=1) + "\n")

    if args.build or not (args.index / "metadata.json").exists():
        shutil.rmtree(args.index, ignore_errors=True)
        args.index.mkdir(parents=True)
        note("2 bits", "build", lambda: build(PEERS[args.peer](args.index, args.threads), args.emb, args.index))

    peer = None

    def search(setting: str, mode: str) -> dict[str, Any]:
        nonlocal peer
        if peer is None:
            opened = PEERS[args.peer](args.index, args.threads)
            opened.load()
            peer = opened
        measured, found = MODES[mode](peer, queries, known[setting])
        shares = {f"recall@{depth}": recall(found, truth, depth) for depth in (10, 100)}
        return measured | shares | {"k": K, "parameters": known[setting], "empty": sum(not hits for hits in found)}

    for setting in wanted:
        for mode in MODES:
            note(setting, mode, lambda setting=setting, mode=mode: search(setting, mode))
    sys.exit(failed)


if __name__ == "__main__":
    main()
