"""Whether an index and a run are the same on other processors: colbertv2 with forced kernels and threads, side by side.

    python tests/bench/bench_processors.py DATASET [DATASET ...] [--precision int8] [--ways default plain] [--work DIR]

Each way evaluates each dataset in a process of its own, indexing and searching from nothing, and prints the official
measure, the sha256 of the index's arrays and of the run, and the seconds it took. Ways: this processor's best kernels
with two threads and with one; AVX2 for the encoder; plain loops for all; OpenBLAS for Haswell with numpy's AVX-512 off.
Exits 1 if two ways differ in a byte.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

WAYS: dict[str, tuple[dict[str, str], int]] = {
    "default": ({}, 2),
    "one thread": ({}, 1),
    "avxvnni": ({"LOTTE_KERNELS": "avxvnni"}, 2),
    "avx2": ({"LOTTE_KERNELS": "avx2"}, 2),
    "plain": ({"LOTTE_KERNELS": "plain"}, 2),
    "other libraries": (
        {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_ICL"}, 2
    ),
}  # fmt: skip


def digest(paths: list[Path]) -> str:
    """Return the first letters of one sha256 of all files' contents."""
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--checkpoint", default="shipped")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--search", default="paper")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--work", type=Path, help="keep indexes and runs here")
    args = parser.parse_args()
    differ = False
    print("dataset\tway\tmeasure\tvalue\tindex\trun\tseconds")
    with tempfile.TemporaryDirectory() as scratch:
        for dataset in args.datasets:
            seen = set()
            for way in args.ways:
                env, threads = WAYS[way]
                folder = (args.work or Path(scratch)) / way.replace(" ", "-") / Path(dataset).name
                options = {"checkpoint": args.checkpoint, "precision": args.precision, "threads": threads,
                           "device": "cpu", "search": args.search}  # fmt: skip
                start = perf_counter()
                done = subprocess.run(
                    [sys.executable, "-m", "leaderboard.cli", "eval", dataset, "--retriever", "colbertv2",
                     *(word for key, value in options.items() for word in ("-o", f"{key}={value}")),
                     "--index", str(folder / "index"), "--out", str(folder / "results")],
                    env=os.environ | env, stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                seconds = perf_counter() - start
                index = digest([*folder.rglob("*.npy"), *folder.rglob("codec.json")])
                run = digest(list(folder.rglob("*.trec")))
                seen.add((index, run))
                for line in done.stdout.splitlines():
                    name, measure, value = line.split("\t")
                    print(name, way, measure, value, index, run, f"{seconds:.0f}", sep="\t", flush=True)
            differ |= len(seen) > 1
    print("some bytes differ" if differ else "all the same bytes")
    sys.exit(differ)


if __name__ == "__main__":
    main()
