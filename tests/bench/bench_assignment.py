"""Building a late-interaction index with every centroid looked at, and by two levels, side by side in one run.

    python tests/bench/bench_assignment.py EMB_DIR [EMB_DIR ...] --index DIR [--threads 2]

EMB_DIR is a folder of ../shared/bench/make_embeddings.py and, for recall, exact_topk.py: emb.npy, doclens.npy, q.npy,
gt.npy. For each folder and each assignment: processor seconds and clock seconds of k-means, of coding the tokens and of
the whole build, its memory at its highest (a process each; mapped files left out), the share of 65,536 tokens whose
centroid is the nearest of all, and recall@100 and @10 of an exact search over the codes against exact MaxSim over the
vectors. LOTTE_KERNELS forces a form of the kernels, as everywhere.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import perf_counter, process_time
from typing import Any

HERE = Path(__file__).parent
ASSIGNMENTS = ("exact", "two_level")
TOKENS = 1 << 16  # whose centroids are compared with the nearest of all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emb", nargs="+", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--assignments", default=",".join(ASSIGNMENTS), help="some of them, with , between")
    parser.add_argument("--no-recall", action="store_true", help="no exact search over the codes, which takes minutes")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # a build, in a process of its own
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(build(asked.emb[0], asked.index, asked.threads, asked.assignments)))
        return
    records: list[dict[str, Any]] = []
    for emb in asked.emb:
        of_emb = []
        for assignment in asked.assignments.split(","):
            folder = asked.index / f"{emb.name}-{assignment}"
            record = {"emb": emb.name, "threads": asked.threads, "assignment": assignment}
            record |= apart(emb, folder, asked.threads, assignment) | matches(emb, folder)
            if not asked.no_recall and (emb / "gt.npy").is_file():
                record |= recall(emb, folder)
            of_emb.append(record)
            show(record)
        if len(of_emb) == 2:
            first, second = (record["cpu"] for record in of_emb)
            print(f"{emb.name:>10}: {first:.1f} s and {second:.1f} s of processor, 1/{first / second:.2f}", flush=True)
        records += of_emb
    if asked.out:
        asked.out.write_text(json.dumps(records, indent=1) + "\n")


def apart(emb: Path, folder: Path, threads: int, assignment: str) -> dict[str, Any]:
    """Build in a process of its own, so that its memory is the build's."""
    command = [sys.executable, __file__, str(emb), "--index", str(folder), "--threads", str(threads),
               "--assignments", assignment, "--one"]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def build(emb: Path, folder: Path, threads: int, assignment: str) -> dict[str, Any]:
    import numpy as np

    from retrievers.colbert import Arrays, CodecConfig, build_index
    from retrievers.colbert.index import codec

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    warm_up(folder.with_name("warm"), assignment)
    spent = {name: [0.0, 0.0] for name in ("kmeans", "train", "encode")}
    for name in spent:
        setattr(codec, name, clocked(getattr(codec, name), spent[name]))
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = Arrays(np.load(emb / "emb.npy", mmap_mode="r"), np.load(emb / "doclens.npy"))
    found: dict[str, Any] = {"documents": len(source)}
    start, before = perf_counter(), process_time()
    with watched(found):
        index = build_index(folder, source, CodecConfig(assignment=assignment), threads=threads)
    found |= {"centroids": index.codec.num_centroids}
    found |= {"cpu": process_time() - before, "seconds": perf_counter() - start}
    for name, (cpu, clock) in spent.items():
        found |= {f"{name}_cpu": cpu, f"{name}_seconds": clock}
    return found


def warm_up(folder: Path, assignment: str) -> None:
    """Load or compile all kernels, which is not what is timed."""
    import numpy as np

    from retrievers.colbert import Arrays, CodecConfig, build_index

    rows = np.eye(128, dtype=np.float16)[np.arange(4096) % 128]
    shutil.rmtree(folder, ignore_errors=True)
    build_index(folder, Arrays(rows, np.full(64, 64)), CodecConfig(centroids=64, assignment=assignment))
    shutil.rmtree(folder)


@contextmanager
def watched(found: dict[str, Any]) -> Iterator[None]:
    """Look 50 times a second how much memory is the process's own, mapped files left out; keep the most in MB."""
    done, most = Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            most[0] = max(most[0], *(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon")))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        found["own_mb"] = most[0]


def clocked(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def run(*args: Any, **named: Any) -> Any:
        start, before = perf_counter(), process_time()
        try:
            return function(*args, **named)
        finally:
            spent[0] += process_time() - before
            spent[1] += perf_counter() - start

    return run


def matches(emb: Path, folder: Path) -> dict[str, float]:
    """Return the share of tokens that have the nearest centroid of all."""
    import numpy as np

    from retrievers.colbert import open_index
    from retrievers.colbert.kernels import cpu

    index = open_index(folder)
    vectors = np.load(emb / "emb.npy", mmap_mode="r")
    rows = np.sort(np.random.default_rng(0).choice(len(vectors), min(TOKENS, len(vectors)), replace=False))
    nearest = cpu.nearest(cpu.as_bytes(vectors[rows].astype(np.float32)), np.array(index.codec.shifted))
    return {"matches": float((nearest == index.segments[0].centroid_ids[rows]).mean())}


def recall(emb: Path, folder: Path) -> dict[str, float]:
    import numpy as np

    from retrievers.colbert import SearchConfig, open_index
    from retrievers.colbert.search import search

    truth = np.load(emb / "gt.npy")
    found = search(open_index(folder), list(np.load(emb / "q.npy")), k=100, config=SearchConfig(algorithm="exact"))
    return {
        f"recall@{depth}": float(
            np.mean([len(set(one.rows[:depth]) & set(best[:depth])) / depth for one, best in zip(found, truth, strict=True)])
        )
        for depth in (100, 10)
    }


def show(record: dict[str, Any]) -> None:
    numbers = "  ".join(
        f"{key} {value:.4f}" if key in ("matches", "recall@100", "recall@10") else f"{key} {value:.1f}"
        for key, value in record.items()
        if isinstance(value, float)
    )
    print(f"{record['documents']:8,} {record['threads']} {record['assignment']:10} {record['centroids']:6,} {numbers}", flush=True)


if __name__ == "__main__":
    main()
